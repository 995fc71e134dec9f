"""DICOM out: other readers get the same values in the same place, and the validator finds no error."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK

from medseg.case import Image
from medseg.dicom import write_series, write_xray
from medseg.errors import GeometryError, ImageError, OutputError
from medseg.geometry import affine_from_lps, reorient

OBLIQUE = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])


def _volume(affine: np.ndarray, shape: tuple[int, int, int] = (5, 4, 3)) -> Image:
    hu = np.arange(np.prod(shape)).reshape(shape).astype(np.int16) * 50 - 1200
    return Image(hu[None], affine, Path("made"), "CT")


def _affine(rotation: np.ndarray, spacing: tuple[float, float, float] = (0.7, 0.9, 2.5)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = rotation * spacing
    affine[:3, 3] = (-12.25, 33.5, -417.125)
    return affine


AFFINES = {
    "ras": _affine(np.eye(3)),
    "lps": _affine(np.diag([-1.0, -1.0, 1.0])),
    "lpi": _affine(np.diag([-1.0, -1.0, -1.0])),
    "oblique": _affine(OBLIQUE),
    "sagittal": _affine(np.eye(3)[:, [1, 2, 0]]),
    "float_spacing": _affine(np.eye(3), (0.123456789, 2.97123456789, 3.3333333)),
}


def _itk_read(files: list[Path]) -> Image:
    read = SimpleITK.ReadImage([str(p) for p in files])
    affine = affine_from_lps(
        origin_mm=read.GetOrigin(), spacing_mm=read.GetSpacing(), direction=np.array(read.GetDirection())
    )
    return Image(SimpleITK.GetArrayFromImage(read).transpose(2, 1, 0), affine, files[0])


@pytest.mark.parametrize("name", AFFINES)
def test_simpleitk_reads_the_same_volume(tmp_path: Path, name: str) -> None:
    image = _volume(AFFINES[name])
    read = _itk_read(write_series(image, tmp_path / "s", seed=1))
    expected = reorient(image, "LPS")
    np.testing.assert_array_equal(read.array, expected.array[0])
    np.testing.assert_allclose(read.affine, expected.affine, atol=1e-4)


def test_pydicom_reads_hu_and_place_of_every_slice(tmp_path: Path) -> None:
    files = write_series(_volume(AFFINES["ras"]), tmp_path / "s", seed=1)
    slices = [pydicom.dcmread(p) for p in files]
    expected = reorient(_volume(AFFINES["ras"]), "LPS").array[0]
    for index, ds in enumerate(slices):
        hu = ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
        np.testing.assert_array_equal(hu.T, expected[:, :, index])
        assert float(ds.ImagePositionPatient[2]) == pytest.approx(-417.125 + 2.5 * index)
    assert [float(v) for v in slices[0].PixelSpacing] == [0.9, 0.7], "between rows, then between columns"
    assert len({ds.SOPInstanceUID for ds in slices}) == 3
    assert len({ds.SeriesInstanceUID for ds in slices}) == 1


@pytest.mark.parametrize("seed", [5, (2, 7)], ids=["int", "pair"])
def test_same_seed_same_files(tmp_path: Path, seed: int | tuple[int, int]) -> None:
    first, second = (write_series(_volume(AFFINES["ras"]), tmp_path / n, seed=seed) for n in "ab")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


def test_without_seed_two_series_differ(tmp_path: Path) -> None:
    uids = [pydicom.dcmread(write_series(_volume(AFFINES["ras"]), tmp_path / n)[0]).SeriesInstanceUID for n in "ab"]
    assert uids[0] != uids[1]


def test_padding_below_minus_1024_is_kept(tmp_path: Path) -> None:
    hu = np.full((1, 4, 4, 2), -3024, np.int16)
    hu[0, 0] = 3071
    image = Image(hu, np.eye(4), Path("made"), "CT")
    read = _itk_read(write_series(image, tmp_path / "s", seed=1))
    np.testing.assert_array_equal(read.array, reorient(image, "LPS").array[0])


SHEAR = np.array([[1, 0, 0.3, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
REFUSED = {
    "sheared": (Image(np.zeros((1, 3, 3, 3), np.int16), SHEAR, Path("x"), "CT"), GeometryError, "right angles"),
    "float": (Image(np.zeros((1, 3, 3, 3), np.float32), np.eye(4), Path("x"), "CT"), ImageError, "whole HU"),
    "picture": (Image(np.zeros((3, 3), np.int16), np.eye(4), Path("x"), "CT"), ImageError, "not a CT"),
    "magnetic": (Image(np.zeros((1, 3, 3, 3), np.int16), np.eye(4), Path("x"), "MR"), ImageError, "modality"),
    "too_dense": (Image(np.full((1, 3, 3, 3), 32000, np.int32), np.eye(4), Path("x"), "CT"), ImageError, "31743"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_ct_cannot_hold_is_refused(tmp_path: Path, name: str) -> None:
    image, kind, message = REFUSED[name]
    with pytest.raises(kind, match=message):
        write_series(image, tmp_path / "s")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(OutputError, match="not an empty folder"):
        write_series(_volume(AFFINES["ras"]), tmp_path)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_xray_is_read_back_unturned(tmp_path: Path, dtype: type) -> None:
    pixels = np.arange(35).reshape(1, 7, 5).astype(dtype)
    path = write_xray(Image(pixels, np.diag([0.3, 0.4, 1, 1]), Path("x"), "CR"), tmp_path / "x.dcm", seed=3)
    ds = pydicom.dcmread(path)
    assert ds.PhotometricInterpretation == "MONOCHROME2"
    np.testing.assert_array_equal(ds.pixel_array, pixels[0].T)
    assert [float(v) for v in ds.ImagerPixelSpacing] == [0.4, 0.3]
    read = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    np.testing.assert_array_equal(read[0], pixels[0].T)


def test_xray_without_known_spacing_states_none(tmp_path: Path) -> None:
    image = Image(np.zeros((1, 4, 4), np.uint8), np.eye(4), Path("x"), "CR", spacing_known=False)
    assert "ImagerPixelSpacing" not in pydicom.dcmread(write_xray(image, tmp_path / "x.dcm"))


def test_xray_of_floats_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="not an X-ray"):
        write_xray(Image(np.zeros((1, 4, 4)), np.eye(4), Path("x")), tmp_path / "x.dcm")


def _dciodvfy(path: Path) -> list[str]:
    tool = shutil.which("dciodvfy")
    if tool is None:
        pytest.skip("dciodvfy is not installed: apt-get install dicom3tools")
    done = subprocess.run([tool, "-new", str(path)], capture_output=True, text=True, check=False)
    return [line for line in (done.stderr + done.stdout).splitlines() if line.startswith("Error")]


@pytest.mark.parametrize("name", ["ras", "oblique", "float_spacing"])
def test_the_validator_accepts_the_series(tmp_path: Path, name: str) -> None:
    files = write_series(_volume(AFFINES[name]), tmp_path / "s", series_description="made", seed=1)
    assert [_dciodvfy(p) for p in files] == [[], [], []]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_validator_accepts_the_xray(tmp_path: Path, dtype: type) -> None:
    image = Image(np.ones((1, 7, 5), dtype), np.diag([0.3, 0.4, 1, 1]), Path("x"), "CR")
    assert _dciodvfy(write_xray(image, tmp_path / "x.dcm", series_description="made", seed=1)) == []
