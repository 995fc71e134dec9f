"""DICOM SEG into masks: hand-made binary, fractional and label map files on a grid of LPS millimetres."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels.utils import pack_bits

from medseg.case import Image
from medseg.dicom import write_xray
from medseg.errors import GeometryError, LabelError
from medseg.geometry import reorient
from medseg.intake import read_image, read_label

SHAPE = (4, 3, 5)
SECRET = "SECRETNAME"
SEG, LABELMAP_SEG = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"
LABELS = np.zeros(SHAPE, np.uint8)
LABELS[0, 0, 1], LABELS[1:3, 1, 2], LABELS[3, 2, 2], LABELS[3, 0, 4] = 1, 1, 2, 2
ACROSS, DOWN = (1, 0, 0), (0, 1, 0)


MakeSeg = Callable[..., Path]


@pytest.fixture
def make_seg(tmp_path: Path, series: Path) -> MakeSeg:
    """A SEG of LABELS: `frames` are (number, z, pixels (rows, columns)); further attributes by keyword."""
    of = pydicom.dcmread(next(iter(sorted(series.iterdir()))), stop_before_pixels=True)

    def make(
        kind: str,
        frames: list[tuple[int, float, np.ndarray]],
        *,
        turn: tuple[int, ...] = (*ACROSS, *DOWN),
        first: tuple[float, float] = (0, 0),
        spacing: float = 1.0,
        **changes: Any,
    ) -> Path:
        data = _dataset(of, kind, np.stack([pixels for _, _, pixels in frames]))
        shared = _item(
            PlaneOrientationSequence=[_item(ImageOrientationPatient=list(turn))],
            PixelMeasuresSequence=[_item(PixelSpacing=[spacing, spacing], SliceThickness=1)],
        )
        data.SharedFunctionalGroupsSequence = [shared]
        data.PerFrameFunctionalGroupsSequence = [_frame(kind, number, z, first) for number, z, _ in frames]
        for keyword, value in changes.items():
            setattr(data, keyword, value)
        path = tmp_path / "seg.dcm"
        data.save_as(path, enforce_file_format=True)
        return path

    return make


def _dataset(of: Dataset, kind: str, frames: np.ndarray) -> Dataset:
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = LABELMAP_SEG if kind == "LABELMAP" else SEG
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = "1.2.99"
    data.PatientName, data.SeriesInstanceUID, data.Modality = SECRET, "1.2.98", "SEG"
    data.FrameOfReferenceUID, data.SegmentationType = of.FrameOfReferenceUID, kind
    data.ReferencedSeriesSequence = [_item(SeriesInstanceUID=of.SeriesInstanceUID)]
    data.SegmentSequence = [_item(SegmentNumber=n, SegmentLabel=name) for n, name in ((1, "lung"), (2, "heart"))]
    data.NumberOfFrames, data.Rows, data.Columns = frames.shape
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
    bits = 1 if kind == "BINARY" else 8
    data.BitsAllocated, data.BitsStored, data.HighBit = bits, bits, bits - 1
    data.MaximumFractionalValue = 200
    stored = pack_bits(frames.astype(np.uint8).ravel()) if bits == 1 else frames.astype(np.uint8).tobytes()
    data.PixelData = stored + b"\0" * (len(stored) % 2)
    return data


def _frame(kind: str, number: int, z: float, first: tuple[float, float]) -> Dataset:
    made = _item(PlanePositionSequence=[_item(ImagePositionPatient=[*first, z])])
    if kind != "LABELMAP":
        made.SegmentIdentificationSequence = [_item(ReferencedSegmentNumber=number)]
    return made


def _item(**values: Any) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def binary(labels: np.ndarray = LABELS) -> list[tuple[int, float, np.ndarray]]:
    """Frames with something in them, in no order of slices."""
    found = [(n, float(z), (labels[:, :, z] == n).T) for n in (2, 1) for z in range(labels.shape[2] - 1, -1, -1)]
    return [frame for frame in found if frame[2].any()]


def fractional() -> list[tuple[int, float, np.ndarray]]:
    """200 is the whole: 100 is half and within, 99 is not."""
    frames = []
    for number, z, inside in binary():
        pixels = np.where(inside, 100, 99)
        frames.append((number, z, pixels))
    return frames


KINDS = {
    "binary": ("BINARY", binary),
    "fractional": ("FRACTIONAL", fractional),
    "label_map": ("LABELMAP", lambda: [(0, float(z), LABELS[:, :, z].T) for z in (4, 2, 1, 0)]),
}


@pytest.mark.parametrize("name", KINDS)
def test_segments_come_onto_the_grid_of_the_image(name: str, make_seg: MakeSeg, series: Path) -> None:
    kind, frames = KINDS[name]
    mask = read_label(make_seg(kind, frames()), reference=series)
    np.testing.assert_array_equal(mask.array, LABELS)
    np.testing.assert_array_equal(mask.affine, read_image(series).affine)


def test_frames_that_run_the_other_way_are_turned(make_seg: MakeSeg, series: Path) -> None:
    """Rows run up and columns to the right of the patient: the first pixel is the last corner."""
    frames = [(n, z, pixels[::-1, ::-1]) for n, z, pixels in binary()]
    mask = read_label(make_seg("BINARY", frames, turn=(-1, 0, 0, 0, -1, 0), first=(3, 2)), reference=series)
    np.testing.assert_array_equal(mask.array, LABELS)


def test_frames_whose_rows_and_columns_change_places_are_turned(make_seg: MakeSeg, series: Path) -> None:
    frames = [(n, z, pixels.T) for n, z, pixels in binary()]
    mask = read_label(make_seg("BINARY", frames, turn=(*DOWN, *ACROSS)), reference=series)
    np.testing.assert_array_equal(mask.array, LABELS)


def test_the_mask_comes_onto_a_turned_copy_of_the_image(make_seg: MakeSeg, series: Path) -> None:
    image = read_image(series)
    turned = reorient(Image(image.array, image.affine, Path("turned.nii.gz")), "IRA")
    mask = read_label(make_seg("BINARY", binary()), reference=turned)
    np.testing.assert_array_equal(mask.array, reorient(Image(LABELS, image.affine, Path("x")), "IRA").array)


def test_a_frame_smaller_than_the_image_goes_where_it_lies(make_seg: MakeSeg, series: Path) -> None:
    mask = read_label(make_seg("BINARY", [(1, 2.0, np.ones((2, 1)))], first=(2, 1)), reference=series)
    assert np.argwhere(mask.array).tolist() == [[2, 1, 2], [2, 2, 2]]


def test_names_map_segments_to_labels(make_seg: MakeSeg, series: Path) -> None:
    mask = read_label(make_seg("BINARY", binary()), reference=series, names={"heart": 5})
    np.testing.assert_array_equal(mask.array, np.where(LABELS == 2, 5, 0))


def test_overlap_is_refused_without_names_and_the_last_name_wins(make_seg: MakeSeg, series: Path) -> None:
    frames = [(1, 2.0, np.ones((3, 4))), (2, 2.0, np.ones((3, 4)))]
    with pytest.raises(LabelError, match="12 voxels of labels 1 and 2"):
        read_label(make_seg("BINARY", frames), reference=series)
    mask = read_label(make_seg("BINARY", frames), reference=series, names={"heart": 2, "lung": 1})
    assert set(np.unique(mask.array)) == {0, 1}


FULL = np.ones((3, 4))
REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "other_frame": ({"FrameOfReferenceUID": "1.2.5"}, GeometryError, "another frame of reference"),
    "other_series": (
        {"ReferencedSeriesSequence": [_item(SeriesInstanceUID="1.2.6")]},
        GeometryError,
        "another series",
    ),
    "half_a_voxel": ({"first": (0.5, 0)}, GeometryError, "pixels up to 0.50 voxels from"),
    "other_spacing": ({"spacing": 0.9}, GeometryError, "another grid"),
    "half_the_pixels": ({"spacing": 2.0}, GeometryError, "another grid .* got pixels of 2 x 2 voxels; expected 1 x 1"),
    "outside": ({"first": (1, 0)}, GeometryError, r"reaches outside .* voxels \[1, 0, 2\] to \[4, 2, 2\]"),
    "turned_by_45_degrees": ({"turn": (0.8, 0.6, 0, -0.6, 0.8, 0)}, GeometryError, "another grid"),
    "no_such_kind": ({"SegmentationType": "SURFACE"}, LabelError, "unknown kind of segmentation; got 'SURFACE'"),
    "no_segments": ({"SegmentSequence": []}, LabelError, "holds no segments"),
    "frames_without_a_place": ({"PerFrameFunctionalGroupsSequence": []}, GeometryError, "frames without a place"),
    "frames_of_no_segment": ({"PerFrameFunctionalGroupsSequence": [Dataset()]}, LabelError, "which segment it shows"),
    "more_than_the_image_holds": (
        {"NumberOfFrames": 500, "Rows": 512, "Columns": 512},
        GeometryError,
        "does not fit into .* got 500 frames of 512 x 512 pixels",
    ),
    "segments_of_one_number": (
        {"SegmentSequence": [_item(SegmentNumber=1, SegmentLabel=name) for name in ("lung", "heart")]},
        LabelError,
        "several of its segments have one number; got 1",
    ),
    "segment_0": (
        {"SegmentSequence": [_item(SegmentNumber=n, SegmentLabel="lung") for n in (0, 1)]},
        LabelError,
        "become background; got label value 0",
    ),
    "no_segment_of_the_name": ({"names": {"rib": 1}}, LabelError, "got 'lung', 'heart'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_seg_of_another_image_is_refused(name: str, make_seg: MakeSeg, series: Path) -> None:
    changes, kind, message = REFUSED[name]
    names = changes.get("names")
    changes = {key: value for key, value in changes.items() if key != "names"}
    with pytest.raises(kind, match=message) as caught:
        read_label(make_seg("BINARY", [(1, 2.0, FULL)], **changes), reference=series, names=names)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("value", [None, 0])
def test_fractions_of_an_unknown_whole_are_refused(value: int | None, make_seg: MakeSeg, series: Path) -> None:
    with pytest.raises(LabelError, match=r"which value is the whole; got MaximumFractionalValue (missing|0)"):
        read_label(make_seg("FRACTIONAL", [(1, 2.0, FULL)], MaximumFractionalValue=value), reference=series)


UNDESCRIBED = {"binary": ("BINARY", [(1, 2.0, FULL), (7, 2.0, FULL)]), "label_map": ("LABELMAP", [(0, 2.0, 7 * FULL)])}


@pytest.mark.parametrize("name", UNDESCRIBED)
def test_a_segment_that_is_not_described_is_refused(name: str, make_seg: MakeSeg, series: Path) -> None:
    kind, frames = UNDESCRIBED[name]
    with pytest.raises(LabelError, match="does not describe; got 7; expected some of 1, 2"):
        read_label(make_seg(kind, frames), reference=series)


def test_between_two_slices_is_refused(make_seg: MakeSeg, series: Path) -> None:
    with pytest.raises(GeometryError, match="another grid"):
        read_label(make_seg("BINARY", [(1, 1.5, FULL)]), reference=series)


def test_a_picture_has_a_seg_without_a_place(make_seg: MakeSeg, tmp_path: Path) -> None:
    pixels = np.arange(12).reshape(1, 4, 3).astype(np.uint8)
    picture = write_xray(Image(pixels, np.eye(4), Path("x"), "CR"), tmp_path / "x.dcm", seed=1)
    of = pydicom.dcmread(picture, stop_before_pixels=True)
    path = make_seg(
        "BINARY",
        [(1, 0.0, LABELS[:, :, 2].T == 1)],
        FrameOfReferenceUID="",
        ReferencedSeriesSequence=[_item(SeriesInstanceUID=of.SeriesInstanceUID)],
    )
    np.testing.assert_array_equal(read_label(path, reference=picture).array, LABELS[:, :, 2] == 1)
    write_xray(Image(pixels, np.eye(4), Path("x"), "CR"), tmp_path / "y.dcm", seed=2)
    with pytest.raises(GeometryError, match="another series"):
        read_label(path, reference=tmp_path / "y.dcm")
