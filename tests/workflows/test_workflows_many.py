"""Many cases through one model: order, resume, what fails alone, what ends the run, what the manifests say."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.transforms import CastToTyped
from PIL import Image as Pillow
from scipy.special import entr

from medseg.errors import BundleError, ImageError, OutputError, RunError
from medseg.evaluation.expected_dice import DicePredictor
from medseg.evaluation.flag_record import FlagRecord, write_flag_record
from medseg.evaluation.flags import Limit, Limits
from medseg.inference import ReadCase, Segmentation, Segmenter, SlidingWindow
from medseg.intake import LoadCased
from medseg.outputs import Report
from medseg.pictures import comparison
from medseg.workflows import EvaluateCases, PredictCases

LABELS = {"0": "background", "1": "bright"}
Item = dict[str, str]


def threshold(dims: int) -> torch.nn.Module:
    """Logits (0, value - 100) of one channel: bright voxels are 1."""
    net: Any = (torch.nn.Conv3d if dims == 3 else torch.nn.Conv2d)(1, 2, 1)
    with torch.no_grad():
        net.weight.zero_()
        net.weight[1], net.bias[0], net.bias[1] = 1.0, 0.0, -100.25
    return net


class Watched(Segmenter):
    """A segmenter that calls `during` with the stage and what it got, and remembers the sizes of its batches."""

    def __init__(self, dims: int = 3) -> None:
        super().__init__(
            network=threshold(dims),
            loading=[LoadCased()],
            preprocessing=[CastToTyped(keys="image", dtype=torch.float32)],
            inferer=SlidingWindow(roi_size=[8] * dims, precision="fp32"),
        )
        self.during: Callable[[str, Any], None] = lambda stage, what: None
        self.batches: list[int] = []

    def read(self, item: Any) -> ReadCase:
        self.during("read", Path(item["image"]))
        return super().read(item)

    def segment(self, cases: Sequence[ReadCase], *, sinks: Sequence[Any] = ()) -> list[Segmentation]:
        for case in cases:
            self.during("segment", case.native.source)
        self.batches.append(len(cases))
        return super().segment(cases, sinks=sinks)

    def finish(self, segmentation: Segmentation) -> Segmentation:
        self.during("finish", segmentation.image.source)
        return super().finish(segmentation)


def write_volume(path: Path, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 200, (6, 5, 4)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([10.0, 10.0, 5.0, 1.0])), path)


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    """Six small volumes, case_0 to case_5, each its own truth."""
    (tmp_path / "in").mkdir()
    for i in range(6):
        write_volume(tmp_path / "in" / f"case_{i}.nii.gz", i)
        values = np.asarray(nibabel.load(tmp_path / "in" / f"case_{i}.nii.gz").dataobj)
        truth = nibabel.Nifti1Image((values > 100).astype(np.uint8), np.diag([10.0, 10.0, 5.0, 1.0]))
        nibabel.save(truth, tmp_path / f"truth_{i}.nii.gz")
    return [
        {
            "id": f"case_{i}",
            "image": str(tmp_path / "in" / f"case_{i}.nii.gz"),
            "label": str(tmp_path / f"truth_{i}.nii.gz"),
        }
        for i in range(6)
    ]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    (tmp_path / "model.pt").write_bytes(b"weights")
    return tmp_path / "model.pt"


Run = Callable[..., Report]


@pytest.fixture
def run(tmp_path: Path, weights: Path) -> Run:
    """Segment items into `folder` as the evaluator of a bundle does; the report."""

    def go(
        items: Sequence[Item],
        segmenter: Segmenter | None = None,
        *,
        folder: str = "out",
        kind: type[PredictCases] = PredictCases,
        **options: Any,
    ) -> Report:
        given: dict[str, Any] = {
            "segmenter": segmenter or Watched(),
            "output_dir": str(tmp_path / folder),
            "labels": LABELS,
            "weights": str(weights),
            "bundle": {"name": "thresholds", "version": "1.2.3"},
            "settings": {"threshold": 100.25},
            **options,
        }
        cases = kind(**given)
        engine = Engine(cases)
        cases.attach(engine)
        engine.run(list(items), max_epochs=1)
        return cases.report

    return go


Disk = Callable[[str], None]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Mount, with the options given, a file system of its own at `out`; skips where that is not allowed."""
    (tmp_path / "out").mkdir()
    mounted = []

    def mount(options: str) -> None:
        words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(tmp_path / "out")]
        if shutil.which("mount") is None or subprocess.run(words, capture_output=True, check=False).returncode != 0:
            pytest.skip("no file system can be mounted here")
        mounted.append(options)

    yield mount
    if mounted:
        subprocess.run(["umount", str(tmp_path / "out")], capture_output=True, check=True)


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def masks(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("case_?.nii.gz")}


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_masks_do_not_depend_on_how_many_cases_are_in_flight(run: Run, items: list[Item], tmp_path: Path) -> None:
    for jobs in (1, 2, 4):
        report = run(items, folder=f"jobs_{jobs}", jobs=jobs)
        assert [(case.id, case.status) for case in report.cases] == [(item["id"], "done") for item in items]
    one = masks(tmp_path / "jobs_1")
    assert len(one) == 6
    assert masks(tmp_path / "jobs_2") == one
    assert masks(tmp_path / "jobs_4") == one
    values = np.asarray(nibabel.load(items[3]["image"]).dataobj)
    mask = np.asarray(nibabel.load(tmp_path / "jobs_2" / "case_3.nii.gz").dataobj)
    np.testing.assert_array_equal(mask, values > 100)


def test_the_report_keeps_the_order_of_the_inputs_whoever_is_first(run: Run, items: list[Item], tmp_path: Path) -> None:
    third_is_read, segmenter = threading.Event(), Watched()

    def during(stage: str, source: Path) -> None:
        if stage == "read" and source.name.startswith("case_0"):
            assert third_is_read.wait(10)
        if stage == "read" and source.name.startswith("case_2"):
            third_is_read.set()

    segmenter.during = during
    run(items, segmenter, jobs=2 + 1)
    assert [case["id"] for case in read(tmp_path / "out" / "report.json")["cases"]] == [item["id"] for item in items]


def test_the_next_case_is_read_while_the_network_has_the_first(run: Run, items: list[Item]) -> None:
    next_is_read, segmenter = threading.Event(), Watched()

    def during(stage: str, source: Path) -> None:
        if stage == "read" and source.name.startswith("case_1"):
            next_is_read.set()
        if stage == "segment" and source.name.startswith("case_0"):
            assert next_is_read.wait(10)

    segmenter.during = during
    assert run(items, segmenter, jobs=2).exit_code == 0


def test_the_last_case_is_postprocessed_while_the_network_has_the_next(run: Run, items: list[Item]) -> None:
    together, first_is_ahead, segmenter = threading.Barrier(2, timeout=10), threading.Event(), Watched()

    def during(stage: str, source: Path) -> None:
        if (stage, source.name[:6]) == ("segment", "case_0"):
            first_is_ahead.set()
        if (stage, source.name[:6]) == ("read", "case_1"):
            assert first_is_ahead.wait(10)
        if (stage, source.name[:6]) in (("finish", "case_0"), ("segment", "case_1")):
            together.wait()

    segmenter.during = during
    assert run(items, segmenter, jobs=2).exit_code == 0


def test_pictures_of_one_size_go_through_the_network_together(run: Run, tmp_path: Path) -> None:
    sizes = [(8, 8), (8, 8), (10, 6), (8, 8), (10, 6)]
    pictures = []
    for i, size in enumerate(sizes):
        values = np.random.default_rng(i).integers(0, 200, size).astype(np.uint8)
        Pillow.fromarray(values).save(tmp_path / f"x_{i}.png")
        pictures.append({"id": f"x_{i}", "image": str(tmp_path / f"x_{i}.png")})
    together, alone = Watched(2), Watched(2)
    assert run(pictures, together, folder="together", batch=4).exit_code == 0
    assert run(pictures, alone, folder="alone", batch=1).exit_code == 0
    # The first four are one batch of two sizes; the fifth stays alone and may be read before them.
    assert sorted(together.batches) == [1, 1, 3]
    assert alone.batches == [1] * 5
    for i in range(5):
        assert (tmp_path / "together" / f"x_{i}.png").read_bytes() == (tmp_path / "alone" / f"x_{i}.png").read_bytes()


def test_a_picture_that_breaks_its_batch_fails_alone(run: Run, tmp_path: Path) -> None:
    pictures = []
    for i in range(4):
        values = np.random.default_rng(i).integers(0, 200, (8, 8)).astype(np.uint8)
        Pillow.fromarray(values).save(tmp_path / f"x_{i}.png")
        pictures.append({"id": f"x_{i}", "image": str(tmp_path / f"x_{i}.png")})
    segmenter = Watched(2)

    def during(stage: str, source: Path) -> None:
        if stage == "segment" and source.stem == "x_2":
            raise ArithmeticError("no number")

    segmenter.during = during
    report = run(pictures, segmenter, batch=4)
    assert [(case.id, case.reason) for case in report.failed] == [("x_2", "ArithmeticError: no number")]
    assert {case.id for case in report.cases if case.status == "done"} == {"x_0", "x_1", "x_3"}


@pytest.mark.parametrize("stage", ["read", "segment", "finish"])
def test_an_error_in_any_stage_fails_its_case_alone(run: Run, items: list[Item], tmp_path: Path, stage: str) -> None:
    segmenter = Watched()

    def during(where: str, source: Path) -> None:
        if (where, source.name) == (stage, "case_2.nii.gz"):
            raise KeyError("lost")

    segmenter.during = during
    report = run(items, segmenter)
    assert [(case.id, case.reason) for case in report.failed] == [("case_2", "KeyError: 'lost'")]
    assert len(masks(tmp_path / "out")) == 5
    assert read(tmp_path / "out" / "report.json")["failed"] == 1


def test_what_an_earlier_run_left_is_not_taken_for_a_result_of_this_one(
    run: Run, items: list[Item], tmp_path: Path
) -> None:
    run(items[:2])
    segmenter, seen = Watched(), list[dict[str, Any]]()

    def during(where: str, source: Path) -> None:
        seen.append(read(tmp_path / "out" / "report.json"))  # what a killed run leaves
        if source.name == "case_1.nii.gz":
            raise KeyError("lost")

    segmenter.during = during
    report = run(items[:3], segmenter)
    assert (seen[0]["done"], seen[0]["not_done"], seen[0]["cases"]) == (0, 3, [])
    assert "was killed; the same command with --resume" in seen[0]["stopped"]
    assert str(report.failed[0].reason).startswith("KeyError: 'lost'; its mask in the output folder is of an earlier")
    assert read(tmp_path / "out" / "report.json")["stopped"] is None


def test_only_memory_errors_are_called_memory_errors(run: Run, items: list[Item]) -> None:
    segmenter = Watched()
    raised: dict[str, Exception] = {
        "case_1": MemoryError(),
        "case_2": RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"),
        "case_3": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB\nlong story"),
        "case_4": RuntimeError("shapes do not match, and memory is spoken of"),
    }

    def during(stage: str, source: Path) -> None:
        if stage == "segment" and source.name[:6] in raised:
            raise raised[source.name[:6]]

    segmenter.during = during
    reasons = {case.id: str(case.reason) for case in run(items, segmenter).failed}
    assert {case: reason.startswith("out of memory") for case, reason in reasons.items()} == {
        "case_1": True,
        "case_2": True,
        "case_3": True,
        "case_4": False,
    }
    assert "long story" not in reasons["case_3"]


@pytest.mark.parametrize("stage", ["read", "segment", "finish"])
def test_a_stage_that_dies_ends_the_run_by_name_and_it_can_be_resumed(
    run: Run, items: list[Item], tmp_path: Path, stage: str
) -> None:
    segmenter = Watched()

    def during(where: str, source: Path) -> None:
        if (where, source.name) == (stage, "case_3.nii.gz"):
            raise SystemExit("killed")

    segmenter.during = during
    started = time.monotonic()
    with pytest.raises(RunError, match=r"has died; got SystemExit: killed"):
        run(items, segmenter)
    assert time.monotonic() - started < 5
    report = read(tmp_path / "out" / "report.json")
    assert report["stopped"].startswith("the run cannot go on: stage ")
    assert report["not_done"] == 6 - report["done"] > 0
    assert hidden(tmp_path / "out") == []
    finished = run(items, resume=True)
    assert [(case.id, case.status) for case in finished.cases] == [(item["id"], "done") for item in items]
    assert sum(case.resumed for case in finished.cases) >= report["done"]


@pytest.mark.parametrize(("number", "error"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_ends_the_run_within_5_s_with_whole_files(
    run: Run, items: list[Item], tmp_path: Path, number: signal.Signals, error: type[BaseException]
) -> None:
    segmenter, before = Watched(), signal.getsignal(number)
    hang = threading.Event()

    def during(stage: str, source: Path) -> None:
        if stage == "read" and source.name.startswith("case_4"):
            os.kill(os.getpid(), number)
            hang.wait(20)  # such as a file on a server that does not answer

    segmenter.during = during
    started = time.monotonic()
    with pytest.raises(error):
        run(items, segmenter)
    assert time.monotonic() - started < 5
    hang.set()
    assert signal.getsignal(number) is before
    report = read(tmp_path / "out" / "report.json")
    assert report["stopped"] == f"stopped by {number.name}"
    there = [case["id"] for case in report["cases"]]
    assert there == sorted(set(there) - {"case_4"})
    assert report["done"] + report["not_done"] == 6
    assert run(items, resume=True).exit_code == 0
    assert len(masks(tmp_path / "out")) == 6


def failing_at(name: str, number: int) -> Callable[[Path, Path], Path]:
    """`Path.replace` that fails when the file of that name is to be put in its place."""
    replace = Path.replace

    def failing(self: Path, target: Path) -> Path:
        if target.name == name:
            raise OSError(number, os.strerror(number))
        return replace(self, target)

    return failing


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES], ids=errno.errorcode.get)
def test_a_disk_that_takes_no_more_ends_the_run_with_a_clear_reason(
    run: Run, items: list[Item], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", failing_at("case_2.nii.gz", number))
        with pytest.raises(RunError, match=r"nothing more can be written to .*; got case case_2: ") as stopped:
            run(items, jobs=1)
    assert os.strerror(number) in str(stopped.value)
    report = read(tmp_path / "out" / "report.json")
    assert [(case["id"], case["status"]) for case in report["cases"]] == [
        ("case_0", "done"),
        ("case_1", "done"),
        ("case_2", "failed"),
    ]
    assert (report["not_done"], hidden(tmp_path / "out")) == (3, [])
    assert sum(case.resumed for case in run(items, resume=True).cases) == 2
    assert len(masks(tmp_path / "out")) == 6


def test_tables_that_cannot_be_written_are_told_of(
    run: Run, items: list[Item], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "flags.csv").write_text("of masks that are about to be replaced")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", failing_at("report.json", errno.ENOSPC))
        with pytest.raises(RunError, match=r"tables of the run cannot be written to .*; got No space .* --resume"):
            run(items[:1])
    assert not (tmp_path / "out" / "flags.csv").exists(), "a run that ends early has none either"
    assert [case.resumed for case in run(items[:1], resume=True).cases] == [True]


def test_an_output_folder_that_goes_away_ends_the_run(run: Run, items: list[Item], tmp_path: Path) -> None:
    segmenter = Watched()

    def during(stage: str, source: Path) -> None:
        if (stage, source.name) == ("segment", "case_1.nii.gz"):
            shutil.rmtree(tmp_path / "out")

    segmenter.during = during
    with pytest.raises(RunError, match=r"nothing more can be written to .*; got case case_1: its results cannot be"):
        run(items, segmenter, jobs=1)
    assert len(segmenter.batches) == 2


def test_an_evaluation_that_ends_early_leaves_no_scores_of_the_one_before(
    run: Run, items: list[Item], tmp_path: Path
) -> None:
    run(items[:2], kind=EvaluateCases)
    assert (tmp_path / "out" / "scores.csv").is_file()
    segmenter = Watched()

    def during(stage: str, source: Path) -> None:
        if (stage, source.name) == ("segment", "case_1.nii.gz"):
            raise SystemExit

    segmenter.during = during
    with pytest.raises(RunError, match="has died"):
        run(items[:2], segmenter, kind=EvaluateCases, jobs=1)
    assert [*(tmp_path / "out").glob("*.csv"), *(tmp_path / "out").glob("summary.json")] == []


def test_an_image_that_may_not_be_read_is_no_full_disk(run: Run, items: list[Item]) -> None:
    segmenter = Watched()

    def during(stage: str, source: Path) -> None:
        if (stage, source.name) == ("read", "case_2.nii.gz"):
            raise ImageError(f"{source}: cannot be read") from PermissionError(errno.EACCES, "Permission denied")

    segmenter.during = during
    report = run(items, segmenter)
    assert [case.id for case in report.failed] == ["case_2"]
    assert len(report.cases) == 6


def test_a_read_only_folder_is_refused_before_any_work(run: Run, items: list[Item], tmp_path: Path, disk: Disk) -> None:
    disk("size=1m,ro")
    segmenter = Watched()
    with pytest.raises(OutputError, match="cannot be written to; got Read-only file system"):
        run(items, segmenter)
    assert segmenter.batches == []


def test_an_error_of_one_file_only_fails_its_case(run: Run, items: list[Item], tmp_path: Path) -> None:
    (tmp_path / "out" / "case_2.nii.gz").mkdir(parents=True)  # nothing can take the place of a folder
    report = run(items)
    assert [case.id for case in report.failed] == ["case_2"]
    assert "its results cannot be written" in str(report.failed[0].reason)
    assert len([case for case in report.cases if case.status == "done"]) == 5


def test_a_disk_that_is_really_full(run: Run, items: list[Item], tmp_path: Path, disk: Disk) -> None:
    disk("size=64k")
    (tmp_path / "out" / "filler").write_bytes(b"x" * 40_000)
    with pytest.raises(RunError, match="No space left on device"):
        run(items)
    assert hidden(tmp_path / "out") == []
    for name, content in masks(tmp_path / "out").items():
        (tmp_path / name).write_bytes(content)
        assert nibabel.load(tmp_path / name).get_fdata().shape == (6, 5, 4)
    (tmp_path / "out" / "filler").unlink()
    disk("remount,size=4m")
    assert run(items, resume=True).exit_code == 0


def test_what_was_killed_before_leaves_nothing_behind(run: Run, items: list[Item], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".0a1b2c3d.tmp.case_0.nii.gz").write_bytes(b"half")
    (tmp_path / "out" / ".keep").write_bytes(b"not ours")
    run(items[:1])
    assert hidden(tmp_path / "out") == [".keep"]


def test_images_that_were_moved_are_told_of_in_the_manifests_of_a_resumed_run(
    run: Run, items: list[Item], tmp_path: Path
) -> None:
    """The viewer and the report look for them there."""
    run(items[:2])
    before = read(tmp_path / "out" / "case_0_manifest.json")
    (tmp_path / "in").rename(tmp_path / "moved")
    moved = [{**item, "image": item["image"].replace("/in/", "/moved/")} for item in items[:2]]
    assert [case.resumed for case in run(moved, resume=True).cases] == [True, True]
    assert read(tmp_path / "out" / "case_0_manifest.json") == {**before, "input": "../moved/case_0.nii.gz"}


def test_resume_does_again_only_what_has_changed(run: Run, items: list[Item], tmp_path: Path) -> None:
    run(items)
    out = tmp_path / "out"
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("case_?.nii.gz")}
    write_volume(tmp_path / "in" / "case_0.nii.gz", 99)  # another input
    (out / "case_1.nii.gz").write_bytes(b"damaged")
    (out / "case_2_preview.png").unlink()
    (out / "case_3_manifest.json").write_text("{", encoding="utf-8")
    segmenter = Watched()
    report = run(items, segmenter, resume=True)
    assert {case.id: case.resumed for case in report.cases} == {f"case_{i}": i > 3 for i in range(6)}
    assert sum(segmenter.batches) == 4
    assert {case.status for case in report.cases} == {"done"}
    after = {path.name: path.stat().st_mtime_ns for path in out.glob("case_?.nii.gz")}
    assert {name for name in after if after[name] == before[name]} == {"case_4.nii.gz", "case_5.nii.gz"}
    written = read(out / "report.json")
    assert [case["resumed"] for case in written["cases"]] == [False] * 4 + [True] * 2
    assert written["cases"][5]["outputs"] == {
        "mask": "case_5.nii.gz",
        "preview": "case_5_preview.png",
        "manifest": "case_5_manifest.json",
    }


@pytest.mark.parametrize(
    "changed", [{"settings": {"threshold": 7}}, {"save_probabilities": True}], ids=["settings", "more-outputs"]
)
def test_resume_with_another_setting_does_all_again(run: Run, items: list[Item], changed: dict[str, Any]) -> None:
    run(items)
    assert not any(case.resumed for case in run(items, resume=True, **changed).cases)


def test_pictures_of_slices_are_looked_at_in_their_folder(run: Run, items: list[Item], tmp_path: Path) -> None:
    first = items[:1]
    run(first, formats=["png"])
    assert [case.resumed for case in run(first, resume=True, formats=["png"]).cases] == [True]
    (tmp_path / "out" / "case_0_slices" / "0003.png").write_bytes(b"damaged")
    assert [case.resumed for case in run(first, resume=True, formats=["png"]).cases] == [False]


def flags_of(weights: Path) -> str:
    """A record of these weights that flags every case with a bright region: it has failed below a Dice of 0.5."""
    limits = Limits({}, {"bright": {"volume_ml": Limit(1.0, 0.9, 1.1, (1.0, 1.0))}}, (), {}, {})
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    write_flag_record(FlagRecord(digest, limits, DicePredictor(0.5, {})), weights.parent / "flags.json")
    return str(weights.parent / "flags.json")


def test_flags_of_a_record_that_is_gone_are_not_taken_over(run: Run, items: list[Item], weights: Path) -> None:
    first, flags = items[:1], flags_of(weights)
    assert run(first, flags=flags).flagged
    assert run(first, resume=True, flags=flags).cases[0].resumed
    again = run(first, resume=True)
    assert not again.flagged
    assert {"flags", "flags_sha256"}.isdisjoint(read(weights.parent / "out" / "case_0_manifest.json"))
    assert run(first, resume=True).cases[0].resumed


def test_a_case_that_was_flagged_and_not_written_leaves_the_others_their_scores(
    run: Run, items: list[Item], weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(image: Any, truth: Any, *others: Any, **more: Any) -> Any:
        if truth.source.name == "truth_0.nii.gz":
            raise ValueError("no picture")
        return comparison(image, truth, *others, **more)

    monkeypatch.setattr("medseg.workflows.scored.comparison", draw)
    report = run(items[:2], kind=EvaluateCases, flags=flags_of(weights))
    assert [case.status for case in report.cases] == ["failed", "done"]
    summary = read(weights.parent / "out" / "summary.json")
    assert summary["failed_cases"] == ["case_0"]
    assert summary["failure_flags"]["cases"] == 1


def test_calibration_is_not_that_of_the_resumed_cases_alone(run: Run, items: list[Item], tmp_path: Path) -> None:
    run(items[:1], kind=EvaluateCases, reliability=True)
    assert read(tmp_path / "out" / "summary.json")["calibration"]["cases"] == 1
    report = run(items[:2], kind=EvaluateCases, resume=True)
    assert [case.resumed for case in report.cases] == [True, False]
    assert "calibration" not in read(tmp_path / "out" / "summary.json")
    assert not (tmp_path / "out" / "reliability.csv").exists(), "that of the run before would stand in the report"


def test_resume_with_other_weights_or_another_version_does_all_again(
    run: Run, items: list[Item], weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(items)
    weights.write_bytes(b"other weights")
    assert not any(case.resumed for case in run(items, resume=True).cases)
    monkeypatch.setattr("medseg.workflows.fingerprints.__version__", "99.0")
    assert not any(case.resumed for case in run(items, resume=True).cases)


def test_without_resume_all_is_done_again_in_place(run: Run, items: list[Item], tmp_path: Path) -> None:
    run(items)
    first = masks(tmp_path / "out")
    segmenter = Watched()
    report = run(items, segmenter)
    assert sum(segmenter.batches) == 6
    assert not any(case.resumed for case in report.cases)
    assert masks(tmp_path / "out") == first


def test_a_manifest_tells_how_its_mask_was_made(run: Run, items: list[Item], weights: Path, tmp_path: Path) -> None:
    run(items[:1], measurements=[lambda labels: {"bright": float(labels.array.sum())}])
    manifest = read(tmp_path / "out" / "case_0_manifest.json")
    assert manifest["bundle"] == {"name": "thresholds", "version": "1.2.3"}
    assert manifest["weights_sha256"] == hashlib.sha256(b"weights").hexdigest()
    assert manifest["input_sha256"] == hashlib.sha256(Path(items[0]["image"]).read_bytes()).hexdigest()
    assert manifest["settings"] == {"threshold": 100.25}
    assert len(manifest["settings_sha256"]) == 64
    assert (manifest["device"], manifest["precision"]) == ("cpu", "float32")
    assert list(manifest["seconds"]) == ["read", "network", "restore", "postprocess", "write"]
    assert all(seconds > 0 for seconds in manifest["seconds"].values())
    assert manifest["peak_memory_bytes"]["process"] > 10_000_000
    values = np.asarray(nibabel.load(items[0]["image"]).dataobj)
    bright = int((values > 100).sum())
    assert manifest["labels"] == [{"value": 1, "name": "bright", "voxels": bright, "volume_ml": bright * 0.5}]
    assert manifest["measurements"] == {"bright": float(bright)}
    # Logits (0, v - 100.25): the probability of the label that is given is 1 / (1 + exp(-|v - 100.25|)).
    sure = 1 / (1 + np.exp(-np.abs(values - 100.25)))
    stated = {one["value"]: one for one in manifest["confidence"]}
    assert stated[1]["voxels"] == bright
    assert stated[1]["mean_confidence"] == pytest.approx(sure[values > 100].mean(), abs=1e-5)
    assert stated[0]["mean_confidence"] == pytest.approx(sure[values <= 100].mean(), abs=1e-5)
    entropy = entr(sure) + entr(1 - sure)  # -sum p ln p
    assert stated[1]["mean_entropy"] == pytest.approx(entropy[values > 100].mean(), abs=1e-4)


def test_notes_of_the_network_stand_in_manifest_and_report(
    run: Run, items: list[Item], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    segment, told = Watched.segment, "out of memory on cuda:0 with 4 window(s) at once: done again with less"

    def segment_with_less(self: Watched, cases: Any, **others: Any) -> list[Segmentation]:
        return [replace(one, notes=(told,)) for one in segment(self, cases, **others)]

    monkeypatch.setattr(Watched, "segment", segment_with_less)
    run(items[:1])
    assert read(tmp_path / "out" / "case_0_manifest.json")["notes"] == [told]
    assert read(tmp_path / "out" / "report.json")["cases"][0]["notes"] == [told]


def test_what_an_image_leaves_doubtful_stands_in_manifest_and_report(
    run: Run, items: list[Item], tmp_path: Path
) -> None:
    image = nibabel.load(items[0]["image"])
    image.set_qform(image.affine, 0)
    image.set_sform(image.affine, 0)
    path = tmp_path / "open.nii.gz"
    nibabel.save(image, path)
    run([{**items[0], "image": str(path)}, items[1]])
    first, second = read(tmp_path / "out" / "report.json")["cases"]
    assert len(first["notes"]) == 1
    assert "left and right are a guess" in first["notes"][0]
    assert read(tmp_path / "out" / "case_0_manifest.json")["notes"] == first["notes"]
    assert second["notes"] == []


def test_evaluation_goes_on_where_it_was_and_scores_what_was_written(
    run: Run, items: list[Item], tmp_path: Path
) -> None:
    values = np.asarray(nibabel.load(items[1]["image"]).dataobj)
    wrong = nibabel.Nifti1Image((values > 150).astype(np.uint8), np.diag([10.0, 10.0, 5.0, 1.0]))
    nibabel.save(wrong, items[1]["label"])
    options = {"kind": EvaluateCases, "reliability": True}
    run(items, folder="whole", **options)
    run(items[:3], **options)
    report = run(items, resume=True, **options)
    assert [case.resumed for case in report.cases] == [True] * 3 + [False] * 3
    for name in ("scores.csv", "summary.json", "reliability.csv"):
        assert (tmp_path / "out" / name).read_text() == (tmp_path / "whole" / name).read_text(), name
    nibabel.save(wrong, items[2]["label"])  # another truth
    assert [case.resumed for case in run(items, resume=True, **options).cases] == [i != 2 for i in range(6)]


def test_reliability_counts_every_voxel_of_the_test_cases(run: Run, items: list[Item], tmp_path: Path) -> None:
    run(items, kind=EvaluateCases, reliability=True)
    summary = read(tmp_path / "out" / "summary.json")["calibration"]
    assert sum(one["voxels"] for one in summary["classes"].values()) == 6 * 6 * 5 * 4
    # Every label is right (the truth is the same threshold), so that the error is all that confidence lacks to 1.
    lacks = [1 - 1 / (1 + np.exp(-np.abs(np.asarray(nibabel.load(i["image"]).dataobj) - 100.25))) for i in items]
    assert summary["ece"] == pytest.approx(np.mean(lacks), abs=1e-5)


@pytest.mark.parametrize("wrong", [{"jobs": 0}, {"jobs": True}, {"batch": 1.5}], ids=str)
def test_a_number_of_jobs_that_is_none_is_refused(run: Run, items: list[Item], wrong: dict[str, Any]) -> None:
    with pytest.raises(BundleError, match="expected a whole number from 1 on"):
        run(items, **wrong)
