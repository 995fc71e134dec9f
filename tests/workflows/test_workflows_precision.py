"""`medseg bundle precision`: labels in both precisions compared, and the record that is left in the bundle."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from medseg.cli import main
from medseg.errors import BundleError, OutputError
from medseg.files import sha256_of
from medseg.inference import ReadCase, Segmentation, Segmenter
from medseg.workflows import precision
from medseg.workflows.precision import check_precision, dice_of_labels, precision_record_path, write_check

A = np.array([[0, 1, 1, 2], [1, 1, 0, 2]])
B = np.array([[1, 1, 0, 2], [1, 1, 0, 0]])


def test_dice_of_two_label_maps_by_hand() -> None:
    assert dice_of_labels(A, B, 1) == 2 * 3 / (4 + 4)
    assert dice_of_labels(A, B, 2) == 2 * 1 / (2 + 1)
    assert dice_of_labels(A, A, 1) == 1.0
    assert dice_of_labels(A, B, 7) == 1.0  # neither has any
    assert dice_of_labels(A, np.zeros_like(A), 1) == 0.0


@pytest.fixture
def bundle(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A trained run, on a CPU that says that it has AVX512-BF16."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    return Path(shutil.copytree(run, tmp_path / "bundle"))


def test_the_record_says_what_was_compared(bundle: Path, volumes: Path) -> None:
    check = check_precision(bundle, datalist=volumes, device="cpu")
    assert {one.name for one in check.agreements} == {"anterior", "posterior"}
    assert len(check.agreements) == 2  # one test case
    record = check.record
    assert (record.device.kind, record.device.features) == ("cpu", ("avx512_bf16",))
    assert record.weights_sha256 == sha256_of(bundle / "models" / "model.pt")
    assert (record.cases, record.torch_version) == (1, torch.__version__)
    assert record.minimum_dice == round(min(one.dice for one in check.agreements), 6)
    assert record.passed == (record.minimum_dice >= 0.998)
    assert not (bundle / "models" / "precision.json").exists()


@pytest.mark.parametrize("agree", [True, False])
def test_the_labels_decide(bundle: Path, volumes: Path, agree: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels that bfloat16 moves by a voxel are found out; a network that gives the same ones passes."""

    def segment(self: Segmenter, cases: Sequence[ReadCase]) -> list[Segmentation]:
        (case,) = cases
        bright = np.digitize(case.native.array[0], [120, 160]).astype(np.uint8)
        moved = self.precision_on(self.device) == torch.bfloat16 and not agree
        labels = np.roll(bright, 1, axis=0) if moved else bright
        return [Segmentation(case.native, replace(case.native, array=labels))]

    monkeypatch.setattr(Segmenter, "segment", segment)
    record = check_precision(bundle, datalist=volumes, device="cpu").record
    assert record.passed is agree
    assert (record.minimum_dice == 1.0) is agree


def test_the_command_writes_the_record_and_prediction_uses_it(
    bundle: Path, volumes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "dice_of_labels", lambda *_: 0.9985)
    assert main(["bundle", "precision", str(bundle), "--datalist", str(volumes), "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert "bfloat16 agrees with float32; smallest Dice 0.9985" in out
    (entry,) = json.loads((bundle / "models" / "precision.json").read_text())["records"]
    assert (entry["passed"], entry["minimum_dice"], entry["device"]["features"]) == (True, 0.9985, ["avx512_bf16"])
    command = ["evaluate", str(bundle), "--datalist", str(volumes), "-o", str(tmp_path / "out"), "precision=auto"]
    assert main([*command, "device=$torch.device('cpu')"]) == 0
    (manifest,) = (tmp_path / "out").glob("*_manifest.json")
    assert json.loads(manifest.read_text())["precision"] == "bfloat16"


def test_print_only_leaves_the_bundle_as_it_is(bundle: Path, volumes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(bundle.rglob("*"))
    command = ["bundle", "precision", str(bundle), "--datalist", str(volumes), "--device", "cpu", "--print-only"]
    assert main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["written"], told["record"]["cases"]) == (None, 1)
    assert sorted(bundle.rglob("*")) == before


def test_a_bundle_that_cannot_be_written_to_is_refused_before_the_work(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(OutputError, match=r"precision\.json: the record cannot be written.*--print-only"):
        precision_record_path(bundle)


@pytest.mark.parametrize("words", [["cases_at_most=1"], ["--overlay", "smoke"]], ids=" ".join)
def test_a_record_of_another_configuration_is_not_written(
    bundle: Path, volumes: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """It would count for the bundle as it is."""
    assert main(["bundle", "precision", str(bundle), "--datalist", str(volumes), *words]) == 2
    assert f"is of the bundle as it is; got {words[-1]};" in capsys.readouterr().err
    assert not (bundle / "models" / "precision.json").exists()


def test_a_disk_that_is_full_is_told(bundle: Path, volumes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = check_precision(bundle, datalist=volumes, device="cpu")

    def full(record: object, path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("medseg.inference.add_record", full)
    with pytest.raises(OutputError, match=r"precision\.json: .*No space left"):
        write_check(check, bundle / "models" / "precision.json")


def test_a_device_without_bfloat16_is_refused(bundle: Path, volumes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    with pytest.raises(BundleError, match="device cpu does not multiply bfloat16 in hardware"):
        check_precision(bundle, datalist=volumes, device="cpu")
