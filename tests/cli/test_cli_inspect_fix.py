"""`medseg data inspect` and `medseg data fix`: from the command line to files that other commands take."""

from __future__ import annotations

import importlib
import inspect
import json
import shlex
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom import dcmread

from medseg.case import Image
from medseg.cli import main
from medseg.dicom import write_series
from medseg.errors import GeometryError
from medseg.intake import check_pair, read_image, read_label
from medseg.outputs import Report


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """A CT of 6 x 5 x 4 voxels with air and water in it."""
    values = np.where(np.arange(120).reshape(6, 5, 4) % 2, -1000, 0).astype(np.int16)
    image = Image(values, np.diag([-1.0, -1.0, 2.0, 1.0]), Path("made"))
    write_series(image, tmp_path / "ct", seed=1, series_description="made")
    return tmp_path / "ct"


def shift(folder: Path, *, y_mm: float = 0.0, last_mm: float = 0.0) -> None:
    """Tilt the series by `y_mm` a slice; move its last slice up."""
    files = sorted(folder.iterdir())
    for k, path in enumerate(files):
        file = dcmread(path)
        x, y, z = file.ImagePositionPatient
        file.ImagePositionPatient = [x, float(y) + k * y_mm, float(z) + (last_mm if k == len(files) - 1 else 0)]
        file.save_as(path)


def test_a_good_folder_gives_0_and_a_table(series: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "inspect", str(series)]) == 0
    out = capsys.readouterr().out
    assert "6x5x4" in out
    assert out.endswith("1 images and objects: 0 refused (0 errors), 0 warnings\n")


def test_json_goes_to_standard_output_in_place_of_the_table(series: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "inspect", str(series), "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    (entry,) = values["studies"][0]["series"]
    assert (entry["modality"], entry["size"], entry["spacing_mm"], entry["orientation"]) == (
        "CT",
        [6, 5, 4],
        [1.0, 1.0, 2.0],
        "LPS",
    )


@pytest.mark.parametrize("code", ["CT", "ct"])
def test_values_are_looked_at_whatever_case_the_modality_is_said_in(
    code: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = np.random.default_rng(0).integers(0, 255, (24, 24, 24)).astype(np.int16)
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "grey.nii")
    assert main(["data", "inspect", str(tmp_path / "grey.nii"), "--modality", code, "--json"]) == 0
    [entry] = json.loads(capsys.readouterr().out)["images"]
    assert (entry["modality"], [one["code"] for one in entry["findings"]]) == ("CT", ["implausible-hu"])


def test_what_is_refused_gives_1_and_what_is_not_there_2(
    series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sorted(series.iterdir())[1].unlink()
    assert main(["data", "inspect", str(series)]) == 1
    assert "error: ct: 1 slice is missing; got 4.000 mm between slice 1" in capsys.readouterr().out
    assert main(["data", "inspect", str(tmp_path / "none")]) == 2


@pytest.mark.parametrize("mistake", [{"y_mm": 0.5}, {"last_mm": 1.0}], ids=["tilted", "uneven"])
def test_the_command_that_inspection_names_repairs(
    series: Path,
    tmp_path: Path,
    mistake: dict[str, float],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shift(series, **mistake)
    assert main(["data", "inspect", str(series), "--json"]) == 1
    (finding,) = [
        f
        for f in json.loads(capsys.readouterr().out)["studies"][0]["series"][0]["findings"]
        if f["severity"] == "error"
    ]
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(finding["repair"])[1:]) == 0
    assert capsys.readouterr().out == "repaired: fixed.nii.gz\n"
    assert read_image(tmp_path / "fixed.nii.gz").array.shape[3] >= 4
    assert main(["data", "inspect", "fixed.nii.gz"]) == 0


@pytest.mark.parametrize(("cropped", "shifted_mm"), [(0, 0.05), (2, 1.0)], ids=["rounded header", "a part of the grid"])
def test_the_command_that_a_refused_pair_names_repairs(
    tmp_path: Path, cropped: int, shifted_mm: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, mask = np.arange(216, dtype=np.int16).reshape(6, 6, 6), np.zeros((6, 6, 6), np.uint8)
    mask[2:4, 2:4, 2:4] = 1
    moved = np.eye(4)
    moved[0, 3] = shifted_mm
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "an image.nii.gz")
    nib.save(nib.Nifti1Image(mask[cropped:], moved), tmp_path / "mask.nii.gz")
    image, label = read_image(tmp_path / "an image.nii.gz"), read_label(tmp_path / "mask.nii.gz")
    with pytest.raises(GeometryError, match=r"origin \(-?0, -?0, 0\) mm against") as refused:
        check_pair(image, label, case_id="7", labels={1})
    monkeypatch.chdir(tmp_path)
    command = str(refused.value).partition("medseg data fix")[2]
    assert main(["data", "fix", *shlex.split(command)]) == 0
    fixed = read_label(tmp_path / "fixed.nii.gz")
    check_pair(image, fixed, case_id="7", labels={1})
    assert np.argwhere(fixed.array).mean(axis=0).tolist() == [2.5 - cropped + round(shifted_mm), 2.5, 2.5]


@pytest.mark.parametrize(
    ("sizes", "affine"),
    [((6, 6, 6), np.diag([-1.0, 1, 1, 1])), ((2, 2, 2), np.diag([1.0, 1, 1, 1]) + np.eye(4, k=3))],
    ids=["outside the image", "elsewhere in it"],
)
def test_no_command_is_named_where_none_is_safe(
    tmp_path: Path, sizes: tuple[int, int, int], affine: np.ndarray
) -> None:
    """The mask's own header places it outside the image, or within but not where it was drawn: one of both is wrong."""
    drawn = np.zeros((6, 6, 6), np.uint8)
    drawn[tuple(slice(0, size) for size in sizes)] = 1
    image = Image(np.zeros((1, 6, 6, 6)), np.eye(4), tmp_path / "i.nii")
    label = Image(drawn, affine, tmp_path / "m.nii")
    with pytest.raises(GeometryError, match="find out which of the two headers is right") as refused:
        check_pair(image, label, case_id="7", labels=None)
    assert "medseg data fix" not in str(refused.value)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--tilt", "--reference", "i.nii"], "got --reference"),
        (["--flip", "x"], "got no --reference"),
        (["--resample", "0"], "expected a length in mm above 0"),
        (["--flip", "q", "--reference", "i.nii"], "invalid choice: 'q'"),
        ([], "one of the arguments --copy-geometry --resample-label --flip --tilt --resample is required"),
        (["--tilt", "--resample", "2"], "not allowed with"),
    ],
    ids=["no use of a reference", "no reference", "no length", "no axis", "nothing to do", "two repairs"],
)
def test_a_wrong_command_line_is_refused(
    tmp_path: Path, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "fix", "a.nii", "-o", str(tmp_path / "new.nii"), *words]) == 2
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_original_is_never_touched(series: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shift(series, y_mm=0.5)
    before = {file: file.read_bytes() for file in series.iterdir()}
    assert main(["data", "fix", str(series), "-o", str(series / "new.nii"), "--tilt"]) == 2
    assert "nothing is repaired in place" in capsys.readouterr().err
    assert {file: file.read_bytes() for file in series.iterdir()} == before


def test_a_mask_never_takes_the_place_of_its_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nib.save(nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4)), tmp_path / "ct.nii.gz")
    words = ["data", "labels", str(tmp_path / "rs.dcm"), "--reference", str(tmp_path / "ct.nii.gz")]
    assert main([*words, "-o", str(tmp_path / "x" / ".." / "ct.nii.gz")]) == 2
    assert "ct.nii.gz would take the place of an input" in capsys.readouterr().err


def test_a_mask_that_is_not_dicom_is_no_mask_to_turn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It was copied as it lay, on its own grid: neither the reference nor the names were looked at."""
    nib.save(nib.Nifti1Image(np.ones((2, 2, 2), np.uint8), np.eye(4)), tmp_path / "mask.nii.gz")
    nib.save(nib.Nifti1Image(np.arange(27, dtype=np.int16).reshape(3, 3, 3), np.eye(4)), tmp_path / "ct.nii.gz")
    words = ["data", "labels", str(tmp_path / "mask.nii.gz"), "--reference", str(tmp_path / "ct.nii.gz")]
    assert main([*words, "-o", str(tmp_path / "new.nii.gz")]) == 2
    assert "mask.nii.gz: no RTSTRUCT and no DICOM SEG; " in (told := capsys.readouterr().err)
    assert "medseg data fix --resample-label" in told
    assert not (tmp_path / "new.nii.gz").exists()


@pytest.mark.parametrize(("words", "given"), [([], {}), (["--series", "3"], {"series": "3"})], ids=["all", "one"])
def test_predict_hands_on_which_series_to_take(
    words: list[str], given: dict[str, str], stand_in: Callable[..., list[inspect.BoundArguments]]
) -> None:
    calls = stand_in(importlib.import_module("medseg.workflows"), "predict", Report(()))
    assert main(["predict", "ct_lung", "-i", "new", "-o", "out", *words]) == 0
    assert calls[0].arguments["overrides"] == given
