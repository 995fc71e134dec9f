"""One seed, one result: repeated with other workers, interrupted and resumed, through MONAI's own runner."""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from medseg.bundle import find_bundle
from medseg.errors import BundleError, DataError
from medseg.workflows import train


def checkpoint(run: Path, name: str = "last") -> dict[str, Any]:
    return torch.load(run / "models" / f"{name}.pt", weights_only=True)


def difference(one: Any, other: Any, at: str = "") -> list[str]:
    """Where two nested states are not equal bit for bit."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        return [place for key in one for place in difference(one[key], other[key], f"{at}/{key}")]
    if isinstance(one, list):
        return [
            place for i, pair in enumerate(zip(one, other, strict=True)) for place in difference(*pair, f"{at}/{i}")
        ]
    same = torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
    return [] if same else [at]


def curve(run: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    tags = [tag for tag in events.Tags()["scalars"] if tag not in ("train/epoch_seconds", "train/data_wait")]
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags}


def test_a_run_that_was_interrupted_and_resumed_is_the_run_that_was_not(run: Path, resumed_run: Path) -> None:
    assert difference(checkpoint(run), checkpoint(resumed_run)) == []
    assert difference(checkpoint(run, "model"), checkpoint(resumed_run, "model")) == []


def test_a_resumed_run_continues_its_curve_without_a_step_twice(run: Path, resumed_run: Path) -> None:
    assert curve(resumed_run) == curve(run)
    assert [step for step, _ in curve(run)["train/loss"]] == [1, 2, 3, 4]


def test_the_cosine_schedule_of_a_resumed_run_still_spans_all_its_epochs(resumed_run: Path) -> None:
    rates = [value for _, value in curve(resumed_run)["train/learning_rate"]]
    assert rates == pytest.approx([1e-3 * (1 + math.cos(math.pi * done / 4)) / 2 for done in range(4)], rel=1e-5)


def test_run_json_says_how_far_and_how_well(run: Path, resumed_run: Path) -> None:
    for folder in (run, resumed_run):
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        assert (record["status"], record["reason"], record["epoch"], record["epochs"]) == ("done", None, 4, 4)
        assert record["best_validation_dice"] == pytest.approx(checkpoint(folder)["best_metric"])
        assert record["settings"]["bundle"] == "mr_hippocampus"


def test_two_worker_processes_give_the_same_weights_as_none(
    run: Path, volumes: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    other = train("mr_hippocampus", datalist=volumes, run_dir=tmp_path / "run", overrides={**tiny, "workers": 2})
    assert difference(checkpoint(run), checkpoint(other)) == []


BLOCKED = """
import runpy, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("SimpleITK", "pydicom"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocker())
sys.argv[0] = "monai.bundle"
runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
"""


def monai_words(overrides: dict[str, Any]) -> list[str]:
    return [word for key, value in overrides.items() for word in (f"--{key}", str(value))]


def test_monais_own_runner_makes_the_same_run_without_simpleitk_and_pydicom(
    run: Path, volumes: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    configs = find_bundle("mr_hippocampus") / "configs"
    files = [str(configs / name) for name in ("common.yaml", "train.yaml")]
    words = ["run", "training", "--meta_file", str(configs / "metadata.json"), "--config_file", str(files)]
    words += monai_words({**tiny, "datalist": volumes, "run_dir": tmp_path / "run"})
    words += ["--logging_file", str(configs / "logging.conf")]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, *words], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said = [line for line in done.stdout.splitlines() if "medseg" in line and " epoch " in line]
    assert len(said) == 4
    assert "ignite" not in done.stdout
    assert "nvImageCodec" not in done.stdout
    assert difference(checkpoint(run), checkpoint(tmp_path / "run")) == []
    for file in ("configs/common.yaml", "configs/train.yaml", "configs/evaluate.yaml", "docs/README.md", "LICENSE"):
        assert (run / file).read_text(encoding="utf-8") == (tmp_path / "run" / file).read_text(encoding="utf-8"), file
    assert {path.relative_to(run) for path in run.glob("*")} == {
        path.relative_to(tmp_path / "run") for path in (tmp_path / "run").glob("*")
    }


def test_a_finished_run_is_not_resumed_from_its_beginning(run: Path) -> None:
    before = checkpoint(run)
    with pytest.raises(BundleError, match=r"the run is finished.*got epoch 4 of 4"):
        train(run, datalist=run / "datalist.json", run_dir=run, resume=True)
    assert difference(checkpoint(run), before) == []


@pytest.mark.parametrize("epochs", [8, 3])
def test_another_number_of_epochs_goes_on_with_the_rates_of_a_run_of_so_many(
    epochs: int, volumes: Path, tiny: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The cosine of the first run would be at 0 behind its last epoch, and rise again."""
    train("mr_hippocampus", datalist=volumes, run_dir=tmp_path, overrides={**tiny, "stop_after_minutes": 0})
    train(tmp_path, datalist=volumes, run_dir=tmp_path, resume=True, overrides={"epochs": 2, "stop_after_minutes": 9})
    with caplog.at_level(logging.INFO, "medseg"):
        train(tmp_path, datalist=volumes, run_dir=tmp_path, resume=True, overrides={"epochs": epochs})
    assert f"started for 2 epochs, resumed for {epochs}: the learning rate goes on as in a run of" in caplog.text
    rates = [value for _, value in curve(tmp_path)["train/learning_rate"]]
    spans = [4, 2, *[epochs] * epochs]
    cosines = [1e-3 * (1 + math.cos(math.pi * done / span)) / 2 for done, span in enumerate(spans)]
    assert rates == pytest.approx(cosines[:epochs], rel=1e-5)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name[0] != "."}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 1}, r"the run is finished.*got epoch 4 of 1"),
        (
            {"epochs": 9, "learning_rate": 0.5, "seed": 7},
            r"started with other settings.*got learning_rate=0\.5, seed=7; expected learning_rate=0\.001, seed=42",
        ),
        (
            {"epochs": 9, "train::dataloader::batch_size": 1},
            r"got train::dataloader::batch_size=1; expected train::dataloader::batch_size=@batch_size",
        ),
        ({"epochs": 9, "train::loss::loss::batch": False}, r"got train::loss::loss::batch=False; expected .*=True"),
    ],
    ids=["fewer epochs", "settings", "cases of a step", "loss"],
)
def test_a_refused_resume_changes_nothing(run: Path, changes: dict[str, Any], message: str) -> None:
    """Not even the configuration in the run's folder, with which it goes on."""
    before = contents(run)
    with pytest.raises(BundleError, match=message):
        train(run, datalist=run / "datalist.json", run_dir=run, resume=True, overrides=changes)
    assert contents(run) == before


def test_what_does_not_change_the_run_may_differ_and_is_recorded(run: Path, tmp_path: Path) -> None:
    longer = tmp_path / "longer"
    shutil.copytree(run, longer)
    (longer / "run.json").write_text("")  # as a power cut may leave it
    changes = {"epochs": 5, "early_stop_patience": 9, "device": "$torch.device('cpu')"}
    train(longer, datalist=run / "datalist.json", run_dir=longer, resume=True, overrides=changes)
    assert json.loads((longer / "run.json").read_text(encoding="utf-8"))["settings"]["epochs"] == 5
    assert "early_stop_patience: 9" in (longer / "configs" / "train.yaml").read_text(encoding="utf-8")


def test_a_run_is_not_resumed_on_other_cases(run: Path, volumes: Path) -> None:
    """Training and validation cases would be mixed; the same cases elsewhere are the same."""
    content = json.loads(volumes.read_text(encoding="utf-8"))
    other = volumes.with_name("other.json")
    content["training"], content["validation"] = [*content["training"][1:], *content["validation"]], content["test"]
    content["test"] = []
    other.write_text(json.dumps(content), encoding="utf-8")
    before = contents(run)
    with pytest.raises(DataError, match=r"other training cases.*got 1 more \(case_\d\), 1 fewer \(case_\d\)"):
        train(run, datalist=other, run_dir=run, resume=True, overrides={"epochs": 5})
    assert contents(run) == before


def test_a_run_killed_behind_its_last_epoch_is_brought_to_its_end(
    volumes: Path, tiny: dict[str, Any], run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While its curves are drawn, say: all epochs are done, and run.json does not say so yet."""

    class Gone(BaseException):
        pass

    def gone(*_: Any) -> None:
        raise Gone

    with monkeypatch.context() as patch:
        patch.setattr("medseg.training.history.save_training_plots", gone)
        with pytest.raises(Gone):
            train("mr_hippocampus", datalist=volumes, run_dir=tmp_path, overrides=tiny)
    train(tmp_path, datalist=volumes, run_dir=tmp_path, resume=True)
    record = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert (record["status"], record["epoch"], record["epochs"]) == ("done", 4, 4)
    assert difference(checkpoint(run), checkpoint(tmp_path)) == []
    assert (tmp_path / "training.png").is_file()
    with pytest.raises(BundleError, match="the run is finished"):
        train(tmp_path, datalist=volumes, run_dir=tmp_path, resume=True)


def test_resume_needs_a_run(volumes: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no run to resume"):
        train("mr_hippocampus", datalist=volumes, run_dir=tmp_path / "run", resume=True)
    assert not (tmp_path / "run").exists()


def test_a_run_that_lost_its_last_checkpoint_goes_on_from_the_one_before_to_the_same_end(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lost = tmp_path / "lost"
    shutil.copytree(run, lost)
    (lost / "models" / "last.pt").unlink()
    train(lost, datalist=run / "datalist.json", run_dir=lost, resume=True)
    assert "last.pt: the checkpoint is gone; going on from before_last.pt, epoch 3" in caplog.text
    assert difference(checkpoint(run), checkpoint(lost)) == []


def test_a_run_is_not_resumed_with_another_network(run: Path, volumes: Path) -> None:
    configs = {path: path.read_bytes() for path in (run / "configs").iterdir()}
    with pytest.raises(BundleError, match="started with another network"):
        train("mr_hippocampus", datalist=volumes, run_dir=run, resume=True)
    assert {path: path.read_bytes() for path in (run / "configs").iterdir()} == configs


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"half a file", "the checkpoint is damaged"), (None, "the checkpoint is damaged")],
    ids=["damaged", "weights only"],
)
def test_a_file_that_is_no_checkpoint_is_named(run: Path, tmp_path: Path, content: bytes | None, message: str) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(run, broken)
    (broken / "models" / "before_last.pt").unlink()
    (broken / "models" / "last.pt").write_bytes(content or (run / "models" / "model.pt").read_bytes())
    with pytest.raises(BundleError, match=f"last.pt: {message}"):
        train(broken, datalist=run / "datalist.json", run_dir=broken, resume=True)
