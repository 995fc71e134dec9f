"""`medseg predict --format`, with a shipped bundle on the X-ray of a named patient."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pydicom
import pytest

from medseg.cli import main
from medseg.intake import read_image, read_label

SECRET = "SECRETNAME"


@pytest.fixture(scope="module")
def xray(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("xray") / "phantoms"
    words = ["data", "phantom", "-o", str(folder), "--cases", "1", "--seed", "4", "--kind", "xray", "--dicom"]
    assert main([*words, "--quiet"]) == 0
    (path,) = (folder / "dicom").rglob("*.dcm")
    data = pydicom.dcmread(path)
    data.PatientName, data.PatientID = f"{SECRET}^Given", f"{SECRET}7"
    data.save_as(path)
    return path


def test_formats_are_written_and_only_dicom_tells_the_patient(
    xray: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["predict", "cxr_heart_lung", "-i", str(xray), "-o", str(out), "--debug"]
    assert main([*words, "--format", "nrrd", "dicom-seg", "sr"]) == 0
    said = capsys.readouterr()
    assert said.out
    assert SECRET not in said.out + said.err
    (manifest,) = out.glob("*_manifest.json")
    outputs = json.loads(manifest.read_text(encoding="utf-8"))["outputs"]
    assert set(outputs) == {"mask", "preview", "nrrd", "dicom-seg", "sr"}
    mask = read_label(out / outputs["mask"]["file"])
    assert set(np.unique(mask.array)) == {0, 1, 2, 3}
    for kind in ("nrrd", "dicom-seg"):
        back = read_label(out / outputs[kind]["file"], reference=read_image(xray))
        np.testing.assert_array_equal(back.array, mask.array)
    told = {path.name for path in out.rglob("*") if SECRET.encode() in path.read_bytes()}
    assert told == {outputs["dicom-seg"]["file"], outputs["sr"]["file"]}
    assert not any(SECRET in path.name for path in out.rglob("*"))
    segments = pydicom.dcmread(out / outputs["dicom-seg"]["file"]).SegmentSequence
    assert [(s.SegmentLabel, s.SegmentedPropertyTypeCodeSequence[0].CodeMeaning) for s in segments] == [
        ("left lung", "Lung"),
        ("right lung", "Lung"),
        ("heart", "Heart"),
    ]
    report = json.loads(manifest.read_text(encoding="utf-8"))["measurements"]["cardiothoracic_ratio"]
    elements = pydicom.dcmread(out / outputs["sr"]["file"]).iterall()
    numbers = [float(element.value) for element in elements if element.keyword == "NumericValue"]
    assert report == pytest.approx(numbers[-1], abs=1e-6)


REFUSED = {
    "not_dicom": ("cxr_heart_lung", ["dicom-seg"], "1 of 1 inputs that are not DICOM"),
    "contours_of_pictures": ("cxr_heart_lung", ["nifti", "rtstruct"], "rtstruct holds contours"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_written_is_refused_before_work(
    name: str, xray: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, formats, message = REFUSED[name]
    picture = next((xray.parents[2] / "images").iterdir())
    assert main(["predict", bundle, "-i", str(picture), "-o", str(tmp_path / "out"), "--format", *formats]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_format_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "ct_lung", "-i", str(tmp_path), "-o", str(tmp_path / "out"), "--format", "jpeg"]) == 2
    assert "invalid choice: 'jpeg'" in capsys.readouterr().err


def test_the_flag_and_the_setting_together_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["predict", "ct_lung", "formats=[sr]", "-i", str(tmp_path), "-o", str(tmp_path / "out")]
    assert main([*words, "--format", "nrrd"]) == 2
    assert "--format and formats= are both given" in capsys.readouterr().err
