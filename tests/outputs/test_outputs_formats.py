"""A label map in further formats: read back equal, refused before work where the input does not allow them."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from PIL import Image as Picture

from medseg.case import Image, Prediction
from medseg.cli.cases import FORMATS as OFFERED
from medseg.dicom import write_series, write_xray
from medseg.dicom.codes import segment_codes
from medseg.errors import OutputError
from medseg.intake import read_image, read_label
from medseg.outputs import FORMATS, Algorithm, Meaning, check_formats, known_formats, write_formats

AFFINE = np.array([[0.0, 0, -1.5, 10], [-0.8, 0, 0, 20], [0, 0.8, 0, 30], [0, 0, 0, 1]])
NAMES = {0: "background", 1: "lung", 2: "heart"}
MEANING = Meaning(segment_codes(NAMES, None, colours={}), Algorithm("tiny", "1.0"), {})
LABELS = np.array([[[0, 1], [2, 0], [0, 0]], [[1, 1], [0, 0], [2, 2]]], np.uint8)


def _volume(source: Path) -> tuple[Prediction, Image]:
    image = Image(np.arange(12.0).reshape(1, *LABELS.shape), AFFINE, source, "MR")
    return Prediction("case", Image(LABELS, AFFINE, source), NAMES), image


def _picture(source: Path) -> tuple[Prediction, Image]:
    image = Image(np.arange(6.0).reshape(1, 2, 3), np.diag([0.5, 0.25, 1, 1]), source, "DX")
    return Prediction("case", Image(LABELS[:, :, 1], image.affine, source), NAMES), image


@pytest.mark.parametrize("kind", ["nrrd", "mha"])
def test_itk_formats_of_a_volume_are_read_back_equal(kind: str, tmp_path: Path) -> None:
    prediction, image = _volume(tmp_path / "x.nii.gz")
    assert write_formats(prediction, image, tmp_path, formats=[kind], meaning=MEANING) == {kind: f"case.{kind}"}
    read = read_label(tmp_path / f"case.{kind}")
    np.testing.assert_array_equal(read.array, LABELS)
    np.testing.assert_allclose(read.affine, AFFINE, atol=1e-9)
    assert SimpleITK.ReadImage(str(tmp_path / f"case.{kind}")).GetPixelIDTypeAsString() == "8-bit unsigned integer"


def test_a_volume_as_pictures_is_a_file_for_each_slice(tmp_path: Path) -> None:
    prediction, image = _volume(tmp_path / "x.nii.gz")
    (tmp_path / "case_slices").mkdir()
    for other in ("0003.png", "notes.png"):  # of an earlier run on a volume with more slices, and somebody's
        (tmp_path / "case_slices" / other).write_bytes(b"")
    names = write_formats(prediction, image, tmp_path, formats=["png", "nifti"], meaning=MEANING)
    assert {path.name for path in (tmp_path / "case_slices").iterdir()} == {"0001.png", "0002.png", "notes.png"}
    assert names == {
        "nifti": "case.nii.gz",
        "png": "case_slices/0001.png",
        "png_0002": "case_slices/0002.png",
    }
    for k in (0, 1):
        pixels = np.asarray(Picture.open(tmp_path / "case_slices" / f"{k + 1:04d}.png"))
        np.testing.assert_array_equal(pixels.T, LABELS[:, :, k])


def test_a_picture_in_formats_of_volumes(tmp_path: Path) -> None:
    prediction, image = _picture(tmp_path / "x.png")
    names = write_formats(prediction, image, tmp_path, formats=["nifti", "nrrd", "png"], meaning=MEANING)
    assert names == {"nifti": "case.nii.gz", "nrrd": "case.nrrd", "png": "case.png"}
    nifti = nibabel.load(tmp_path / "case.nii.gz")
    np.testing.assert_array_equal(np.asarray(nifti.dataobj)[:, :, 0], LABELS[:, :, 1])
    nrrd = SimpleITK.ReadImage(str(tmp_path / "case.nrrd"))
    assert nrrd.GetSpacing() == (0.5, 0.25)
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(nrrd).T, LABELS[:, :, 1])


def test_an_empty_label_map_is_written_in_every_format(tmp_path: Path) -> None:
    hu = np.arange(60).reshape(1, 4, 3, 5).astype(np.int16)
    write_series(Image(hu, np.eye(4), Path("x"), "CT"), tmp_path / "ct", seed=1)
    image = read_image(tmp_path / "ct")
    empty = Prediction("case", Image(np.zeros((4, 3, 5), np.uint8), image.affine, image.source), NAMES)
    names = write_formats(empty, image, tmp_path, formats=FORMATS, meaning=MEANING)
    assert set(FORMATS) <= set(names)
    for kind in ("nrrd", "mha"):
        assert not read_label(tmp_path / names[kind]).array.any()
    for kind in ("dicom-seg", "dicom-seg-deflated", "dicom-seg-labelmap"):
        assert not read_label(tmp_path / names[kind], reference=image).array.any()


def test_dicom_of_an_image_that_is_none_is_refused(tmp_path: Path) -> None:
    prediction, image = _volume(tmp_path / "x.nii.gz")
    with pytest.raises(OutputError, match="case case: rtstruct of an image that is not DICOM"):
        write_formats(prediction, image, tmp_path, formats=["rtstruct"], meaning=MEANING)


def test_the_command_offers_every_format() -> None:
    assert OFFERED == FORMATS


@pytest.mark.parametrize("formats", [["nifti", "jpeg"], "nifti", [3]], ids=["unknown", "text", "number"])
def test_unknown_formats_are_refused(formats: list[str]) -> None:
    with pytest.raises(OutputError, match="unknown format"):
        known_formats(formats)


def test_a_format_given_twice_is_written_once() -> None:
    assert known_formats(["nrrd", "sr", "nrrd"]) == ("nrrd", "sr")


@pytest.mark.parametrize("format_", ["dicom-seg", "dicom-seg-labelmap", "rtstruct", "sr"])
def test_dicom_formats_are_refused_before_work_for_other_inputs(format_: str, tmp_path: Path) -> None:
    picture = write_xray(Image(np.eye(4, dtype=np.uint8)[None], np.eye(4), Path("x"), "CR"), tmp_path / "x.dcm")
    other = tmp_path / "y.nii.gz"
    other.write_bytes(b"")
    check_formats([format_], inputs=[picture, tmp_path], spatial_dims=3)
    with pytest.raises(OutputError, match=r"1 of 2 inputs that are not DICOM, such as .*y\.nii\.gz; give the DICOM"):
        check_formats([format_], inputs=[picture, other], spatial_dims=3)


def test_contours_of_pictures_are_refused() -> None:
    with pytest.raises(OutputError, match="pictures; leave it out"):
        check_formats(["rtstruct"], inputs=[], spatial_dims=2)


def test_without_highdicom_the_command_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medseg.outputs.formats.find_spec", lambda name: None)
    check_formats(["nrrd", "rtstruct"], inputs=[], spatial_dims=3)
    with pytest.raises(OutputError, match=r"pip install 'medseg\[dicom\]'"):
        check_formats(["dicom-seg"], inputs=[], spatial_dims=3)
