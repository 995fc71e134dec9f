"""DICOM: units, place, order, polarity, and series that form no regular grid."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from pydicom import dcmread
from pydicom.uid import RLELossless

from medseg.errors import GeometryError, ImageError, LabelError, MedsegError
from medseg.intake import read_image, read_label

Make = Callable[..., Path]
PIXELS = np.arange(6, dtype=np.int16).reshape(2, 3)


@pytest.fixture(autouse=True)
def no_patient_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every error made in these tests is free of the patient's name."""
    original = MedsegError.__init__

    def checked(self: MedsegError, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        assert "SECRETNAME" not in str(self)

    monkeypatch.setattr(MedsegError, "__init__", checked)


def test_a_series_is_sorted_by_position_and_scaled_to_hu(tmp_path: Path, make_series: Make) -> None:
    folder = make_series(tmp_path / "ct", [4, 0, 2], RescaleSlope=2, RescaleIntercept=-1000, PixelSpacing=[0.5, 0.7])
    image = read_image(folder)
    assert (image.array.shape, image.array.dtype, image.modality) == ((1, 3, 2, 3), np.int16, "CT")
    np.testing.assert_array_equal(image.array[0, 2, 1], [2 * 15 - 1000, 2 * 25 - 1000, 2 * 5 - 1000])
    np.testing.assert_allclose(image.affine, np.diag([-0.7, -0.5, 2, 1]))


def test_a_series_agrees_with_simpleitk(tmp_path: Path, make_series: Make) -> None:
    folder = make_series(tmp_path / "ct", [6, 3, 0], RescaleSlope=1, RescaleIntercept=-1024, PixelSpacing=[0.5, 0.7])
    names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    peer = SimpleITK.ReadImage(names)
    image = read_image(folder)
    np.testing.assert_array_equal(image.array[0], SimpleITK.GetArrayFromImage(peer).T)
    corner = np.diag([-1, -1, 1]) @ np.array(peer.TransformIndexToPhysicalPoint((2, 1, 2)))
    np.testing.assert_allclose((image.affine @ [2, 1, 2, 1])[:3], corner)


def test_oblique_slices_lie_where_the_standard_says(tmp_path: Path, make_dicom: Make) -> None:
    """DICOM PS3.3 C.7.6.2.1.1: P = S + X * column spacing * i + Y * row spacing * j, in LPS."""
    x, y = np.array([0.8, 0.6, 0.0]), np.array([-0.36, 0.48, 0.8])
    normal, start = np.cross(x, y), np.array([10.0, -20.0, 30.0])
    for k in (2, 0, 1):
        position = [f"{v:.6f}" for v in start + 2.5 * k * normal]
        tags = {"ImagePositionPatient": position, "ImageOrientationPatient": [*x, *y], "PixelSpacing": [0.5, 0.7]}
        make_dicom(tmp_path / f"{k}.dcm", PIXELS + k, **tags)
    image = read_image(tmp_path)
    expected = start + x * 0.7 * 2 + y * 0.5 * 1 + normal * 2.5 * 2
    np.testing.assert_allclose((image.affine @ [2, 1, 2, 1])[:3], expected * [-1, -1, 1], atol=1e-5)
    assert image.array[0, 2, 1, 2] == 5 + 2


def test_scaling_by_a_fraction_or_per_slice(tmp_path: Path, make_dicom: Make) -> None:
    for k, slope in enumerate((1, 0.5)):
        tags = {"ImagePositionPatient": [0, 0, 2 * k], "RescaleSlope": slope, "RescaleIntercept": k}
        make_dicom(tmp_path / f"{k}.dcm", PIXELS, **tags)
    image = read_image(tmp_path)
    assert image.array.dtype == np.float32
    np.testing.assert_array_equal(image.array[0, 2, 1], [5, 5 * 0.5 + 1])


@pytest.mark.parametrize(
    ("z_mm", "message"),
    [
        ([0, 2, 4, 8, 10], r"1 slice is missing; got 4\.000 mm between slice 3 .* and slice 4 .*expected 2\.000 mm"),
        ([0, 2, 8, 10, 14], r"3 slices are missing; got 6\.000 mm .*, 4\.000 mm between"),
        ([0, 2, 4, 4, 6], r"more than one slice at one position; got 5 slices at 4 positions: slice 3 .* and slice 4"),
        ([0, 2, 4, 6.5, 8.5], r"not evenly spaced; got 2\.000 mm between .*2\.500 mm between slice 3 "),
    ],
    ids=["one missing", "three missing", "duplicate", "uneven"],
)
def test_slices_that_form_no_grid_are_refused(
    tmp_path: Path, make_series: Make, z_mm: list[float], message: str
) -> None:
    with pytest.raises(GeometryError, match=message):
        read_image(make_series(tmp_path / "ct", z_mm))


def test_positions_rounded_by_the_scanner_are_even(tmp_path: Path, make_series: Make) -> None:
    image = read_image(make_series(tmp_path / "ct", [0, 1.2, 2.5, 3.8, 5.0]))
    assert image.affine[2, 2] == pytest.approx(1.25)


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, "different orientation"),
        ({"PixelSpacing": [1, 2]}, r"different pixel spacing.*\(2\.0, 1\.0\) mm"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "orientation"),
        ({"ImagePositionPatient": None}, "does not say where it lies; got no ImagePositionPatient"),
        ({"PixelSpacing": None}, "no PixelSpacing"),
        ({"ImagePositionPatient": [0, 3, 4]}, r"do not lie above each other; got slice 2 .* 1\.500 mm beside"),
    ],
    ids=["orientation", "spacing", "skewed", "no position", "no spacing", "shifted"],
)
def test_a_slice_that_does_not_fit_is_refused(
    tmp_path: Path, make_series: Make, make_dicom: Make, tags: dict[str, Any], message: str
) -> None:
    folder = make_series(tmp_path / "ct", [0, 2])
    make_dicom(folder / "odd.dcm", PIXELS, **({"ImagePositionPatient": [0, 0, 4]} | tags))
    with pytest.raises(GeometryError, match=message):
        read_image(folder)


def test_slices_of_different_size_are_refused(tmp_path: Path, make_series: Make, make_dicom: Make) -> None:
    folder = make_series(tmp_path / "ct", [0, 2])
    make_dicom(folder / "odd.dcm", PIXELS.T.copy(), ImagePositionPatient=[0, 0, 4])
    with pytest.raises(GeometryError, match=r"different size.*\(2, 3\).*\(3, 2\)"):
        read_image(folder)


def test_a_tilted_gantry_is_refused_with_its_angle(tmp_path: Path, make_dicom: Make) -> None:
    """Each slice is shifted by 2 tan(10 degrees) mm along Y."""
    for k in range(3):
        make_dicom(tmp_path / f"{k}.dcm", PIXELS + k, ImagePositionPatient=[0, f"{2 * k * 0.1763270:.6f}", 2 * k])
    with pytest.raises(GeometryError, match=r"tilted.*10\.00 degrees"):
        read_image(tmp_path)


def test_two_series_are_refused_with_their_uids(tmp_path: Path, make_series: Make) -> None:
    make_series(tmp_path, [0, 2])
    for file in list(tmp_path.iterdir()):
        file.rename(tmp_path / f"first_{file.name}")
    make_series(tmp_path, [0, 2], series="1.2.3.99")
    told = r"more than one series.*2 images\) 1\.2\.3\.99; .*2 images\) 1\.2\.3\.4; .*--series"
    with pytest.raises(ImageError, match=told):
        read_image(tmp_path)


def test_a_folder_without_dicom_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(ImageError, match="holds no DICOM images"):
        read_image(tmp_path)


def test_a_single_slice_is_a_volume_of_its_thickness(tmp_path: Path, make_dicom: Make) -> None:
    """Recognised by the magic alone: the file has no suffix."""
    image = read_image(make_dicom(tmp_path / "IM0001", PIXELS, RescaleIntercept=-1024, RescaleSlope=1))
    assert image.array.shape == (1, 3, 2, 1)
    assert image.array[0, 2, 1, 0] == 5 - 1024
    np.testing.assert_allclose(image.affine, np.diag([-1, -1, 2, 1]))


@pytest.mark.parametrize("kind", ["DX", "CR", "SC"])
def test_an_x_ray_is_a_picture_with_its_spacing(tmp_path: Path, make_dicom: Make, kind: str) -> None:
    path = make_dicom(tmp_path / "a.dcm", PIXELS.astype(np.uint16), kind=kind, ImagerPixelSpacing=[0.2, 0.1])
    image = read_image(path)
    assert (image.array.shape, image.array.dtype, image.spacing_known) == ((1, 3, 2), np.uint16, True)
    np.testing.assert_allclose(image.affine, np.diag([0.1, 0.2, 1, 1]))
    assert image.modality == {"SC": "OT"}.get(kind, kind)


def test_spacing_in_the_patient_wins_and_none_is_unknown(tmp_path: Path, make_dicom: Make) -> None:
    tags = {"kind": "DX", "PixelSpacing": [0.3, 0.4], "ImagerPixelSpacing": [0.5, 0.6]}
    image = read_image(make_dicom(tmp_path / "a.dcm", PIXELS.astype(np.uint16), **tags))
    assert image.affine[0, 0] == pytest.approx(0.4)
    image = read_image(make_dicom(tmp_path / "b.dcm", PIXELS.astype(np.uint16), kind="DX"))
    assert not image.spacing_known
    np.testing.assert_array_equal(image.affine, np.eye(4))


@pytest.mark.parametrize(
    ("stated", "told"),
    [
        (["L", "F"], None),
        (["L", "FP"], None),
        ([], None),
        (["R", "F"], "got PatientOrientation R and F along rows"),
        (["A", "F"], "got PatientOrientation A and F along rows"),
        (["F", "R"], "got PatientOrientation F and R along rows"),
        (["SECRETNAME", "F"], r"got PatientOrientation \? and F along rows"),
    ],
    ids=["frontal", "inclined", "not stated", "mirrored", "lateral", "lying", "damaged"],
)
@pytest.mark.filterwarnings("ignore")
def test_an_x_ray_that_is_not_upright_or_frontal_is_doubted(
    tmp_path: Path, make_dicom: Make, stated: list[str], told: str | None
) -> None:
    path = make_dicom(tmp_path / "a.dcm", PIXELS.astype(np.uint16), kind="DX", PatientOrientation=stated)
    doubts = read_image(path).doubts
    assert len(doubts) == (told is not None)
    assert all(re.search(str(told), doubt) for doubt in doubts)


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_monochrome1_is_turned_once(tmp_path: Path, make_dicom: Make, bits: int) -> None:
    """The pixel stored as 0 is white: it comes out as the highest value, and 5 as five below."""
    stored = PIXELS.astype(np.uint8 if bits == 8 else np.uint16)
    tags = {"kind": "DX", "BitsStored": bits, "HighBit": bits - 1}
    plain = read_image(make_dicom(tmp_path / "2.dcm", stored, **tags))
    turned = read_image(make_dicom(tmp_path / "1.dcm", stored, PhotometricInterpretation="MONOCHROME1", **tags))
    np.testing.assert_array_equal(plain.array[0], stored.T)
    np.testing.assert_array_equal(turned.array[0], 2**bits - 1 - stored.T.astype(int))
    assert turned.array.dtype == plain.array.dtype


def test_monochrome1_of_a_slice_is_display_only(tmp_path: Path, make_dicom: Make) -> None:
    image = read_image(make_dicom(tmp_path / "a.dcm", PIXELS, PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_array_equal(image.array[0, ..., 0], PIXELS.T)


def test_rle_decodes(tmp_path: Path, make_dicom: Make) -> None:
    path = make_dicom(tmp_path / "a.dcm", PIXELS)
    file = dcmread(path)
    file.compress(RLELossless)
    file.save_as(path)
    np.testing.assert_array_equal(read_image(path).array[0, ..., 0], PIXELS.T)


def test_enhanced_frames_are_sorted_and_scaled_each(tmp_path: Path, make_enhanced: Make) -> None:
    image = read_image(make_enhanced(tmp_path / "a.dcm", [8, 0, 4], [1, 2, 3]))
    assert (image.array.shape, image.modality) == ((1, 2, 2, 3), "MR")
    np.testing.assert_array_equal(image.array[0, 1, 1], [2 * 13, 3 * 23, 3])
    np.testing.assert_allclose(image.affine, [[-3, 0, 0, -5], [0, -2, 0, -6], [0, 0, 4, 0], [0, 0, 0, 1]])
    assert read_image(make_enhanced(tmp_path / "b.dcm", [0, 4], [0.5, 1])).array.dtype == np.float32


def test_enhanced_phases_and_holes_are_refused(tmp_path: Path, make_enhanced: Make) -> None:
    with pytest.raises(GeometryError, match=r"more than one volume.*4 frames at 2 positions.*series of its own"):
        read_image(make_enhanced(tmp_path / "a.dcm", [0, 4, 0, 4]))
    with pytest.raises(GeometryError, match=r"1 slice is missing.*frame 3 and frame 4"):
        read_image(make_enhanced(tmp_path / "b.dcm", [0, 4, 8, 16, 20]))


def test_frames_without_positions_are_refused(tmp_path: Path, make_dicom: Make) -> None:
    path = make_dicom(tmp_path / "a.dcm", np.stack([PIXELS, PIXELS + 1]), kind="SC", NumberOfFrames=2)
    with pytest.raises(GeometryError, match=r"do not say where they lie.*expected 2 frames"):
        read_image(path)


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "not a grey image; got photometric interpretation PALETTE"),
        ({"RescaleSlope": 0, "RescaleIntercept": 5}, "erase the image"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4"}, "not a DICOM image; got Segmentation Storage"),
        ({"Rows": None}, "header ends early; got no image size"),
    ],
)
def test_objects_that_are_no_grey_image_are_refused(
    tmp_path: Path, make_dicom: Make, tags: dict[str, Any], message: str
) -> None:
    with pytest.raises(ImageError, match=message):
        read_image(make_dicom(tmp_path / "a.dcm", PIXELS, **tags))


@pytest.mark.parametrize("lost", ["ImagePositionPatient", "ImageOrientationPatient"])
def test_half_a_place_makes_no_picture_of_a_slice(tmp_path: Path, make_dicom: Make, lost: str) -> None:
    """Of a class that nobody knows, so that only its place tells that it is a slice."""
    path = make_dicom(tmp_path / "a.dcm", PIXELS, SOPClassUID="1.2.840.113619.4.99", **{lost: None})
    with pytest.raises(GeometryError, match=f"does not say where it lies; got no {lost}"):
        read_image(path)


def test_constant_x_rays_are_refused(tmp_path: Path, make_dicom: Make) -> None:
    with pytest.raises(ImageError, match="same value; got 0"):
        read_image(make_dicom(tmp_path / "a.dcm", np.zeros((2, 2), np.uint16), kind="DX"))


@pytest.mark.parametrize("keep", [0, 100, 140, 400, -1])
def test_a_truncated_file_is_refused_alone_and_in_its_series(tmp_path: Path, make_series: Make, keep: int) -> None:
    folder = make_series(tmp_path / "ct", [0, 2, 4])
    last = folder / "002.dcm"
    last.write_bytes(last.read_bytes()[:keep])
    for path in (last, folder):
        with pytest.raises(ImageError, match=r"002\.dcm"):
            read_image(path)


@pytest.mark.parametrize("content", [b"", bytes(3000)], ids=["empty", "zeros"])
@pytest.mark.parametrize("name", ["", ".{}"], ids=["no suffix", "number"])
def test_a_slice_that_lost_its_beginning_is_missed(
    tmp_path: Path, make_series: Make, name: str, content: bytes
) -> None:
    """Files of old scanners have no suffix; at an end of the series nothing else shows that one is not there."""
    folder = make_series(tmp_path / "ct", [0, 2, 4])
    for file in folder.iterdir():
        file.rename(folder / f"I{file.stem}{name.format(file.stem)}")
    for other in ("notes.txt", "DONE"):
        (folder / other).write_bytes(b"")
    assert read_image(folder).array.shape == (1, 3, 2, 3)
    last = max(file for file in folder.iterdir() if file.name != "notes.txt")
    last.write_bytes(content)
    with pytest.raises(ImageError, match=rf"{last.name}: cannot be read as DICOM"):
        read_image(folder)


def test_an_unreadable_value_is_refused_without_being_quoted(tmp_path: Path, make_dicom: Make) -> None:
    path = make_dicom(tmp_path / "a.dcm", PIXELS, RescaleIntercept=-1024, RescaleSlope=1)
    assert b"-1024.0 " in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(b"-1024.0 ", b"SECRETNM"))
    with pytest.raises(ImageError, match=r"a\.dcm") as refused:
        read_image(path)
    assert "SECRET" not in str(refused.value)


def test_masks_are_not_taken_from_dicom(tmp_path: Path, make_dicom: Make) -> None:
    with pytest.raises(LabelError, match="not a mask; got CT Image Storage"):
        read_label(make_dicom(tmp_path / "a.dcm", PIXELS))
