"""RTSTRUCT into masks: hand-made contours on a grid whose LPS millimetres are its voxel indices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset

from medseg.case import Image
from medseg.errors import GeometryError, LabelError
from medseg.geometry import reorient
from medseg.intake import read_image, read_label

SHAPE = (8, 7, 5)
SECRET = "SECRETNAME"
Points = Sequence[tuple[float, float]]


def square(low: float, high: float) -> Points:
    """Corners round the pixels low..high along X and Y."""
    a, b = low - 0.5, high + 0.5
    return [(a, a), (b, a), (b, b), (a, b)]


MakeRt = Callable[..., Path]


@pytest.fixture
def make_rt(tmp_path: Path, series: Path) -> MakeRt:
    """Write an RTSTRUCT: ROI name to its contours, each (z, points); further attributes by keyword."""
    slices = [pydicom.dcmread(path, stop_before_pixels=True) for path in sorted(series.iterdir())]

    def make(rois: dict[str, list[tuple[float, Points]]], *, refer: bool = False, **changes: Any) -> Path:
        data = _dataset(slices[0])
        numbered = list(enumerate(rois.items(), start=1))
        data.StructureSetROISequence = [_item(ROINumber=n, ROIName=name) for n, (name, _) in numbered]
        data.ROIContourSequence = [
            _item(
                ReferencedROINumber=n,
                ContourSequence=[_contour(z, points, slices if refer else None) for z, points in contours],
            )
            for n, (_, contours) in numbered
        ]
        for keyword, value in changes.items():
            setattr(data, keyword, value)
        path = tmp_path / "rs.dcm"
        data.save_as(path, enforce_file_format=True)
        return path

    return make


def _dataset(of: Dataset) -> Dataset:
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = "1.2.99"
    data.PatientName, data.SeriesInstanceUID, data.Modality = SECRET, "1.2.98", "RTSTRUCT"
    study = _item(RTReferencedSeriesSequence=[_item(SeriesInstanceUID=of.SeriesInstanceUID)])
    data.ReferencedFrameOfReferenceSequence = [
        _item(FrameOfReferenceUID=of.FrameOfReferenceUID, RTReferencedStudySequence=[study])
    ]
    return data


def _contour(z: float, points: Points, slices: Sequence[Dataset] | None) -> Dataset:
    made = _item(
        ContourGeometricType="CLOSED_PLANAR",
        NumberOfContourPoints=len(points),
        ContourData=[f"{value:.4f}" for x, y in points for value in (x, y, z)],
    )
    if slices is not None:
        of = slices[round(z)]
        made.ContourImageSequence = [
            _item(ReferencedSOPClassUID=of.SOPClassUID, ReferencedSOPInstanceUID=of.SOPInstanceUID)
        ]
    return made


def _item(**values: Any) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def _volume(*boxes: tuple[slice, slice, slice], without: Sequence[tuple[slice, slice, slice]] = ()) -> np.ndarray:
    made = np.zeros(SHAPE, np.uint8)
    for box in boxes:
        made[box] = 1
    for box in without:
        made[box] = 0
    return made


KEYHOLE = [(0.5, 0.5), (5.5, 0.5), (5.5, 5.5), (0.5, 5.5), (0.5, 3), (2.5, 3), (2.5, 3.5), (3.5, 3.5)]
KEYHOLE += [(3.5, 2.5), (2.5, 2.5), (2.5, 3), (0.5, 3)]
ONE, TWO, THREE = slice(1, 2), slice(2, 3), slice(3, 4)
BIG = slice(1, 6)

DRAWN: dict[str, tuple[list[tuple[float, Points]], np.ndarray]] = {
    "one_slice": ([(1, square(1, 5))], _volume((BIG, BIG, ONE))),
    "inner_contour_is_a_hole": (
        [(1, square(1, 5)), (1, square(3, 3))],
        _volume((BIG, BIG, ONE), without=[(THREE, THREE, ONE)]),
    ),
    "keyhole": ([(1, KEYHOLE)], _volume((BIG, BIG, ONE), without=[(THREE, THREE, ONE)])),
    "island_in_a_hole": (
        [(1, square(1, 5)), (1, square(2, 4)), (1, square(3, 3))],
        _volume((BIG, BIG, ONE), (THREE, THREE, ONE), without=[])
        - _volume((slice(2, 5), slice(2, 5), ONE), without=[(THREE, THREE, ONE)]),
    ),
    "two_on_a_slice": ([(2, square(1, 1)), (2, square(4, 5))], _volume((ONE, ONE, TWO), (slice(4, 6),) * 2 + (TWO,))),
    "the_same_twice": ([(1, square(1, 5)), (1, square(1, 5))], _volume((BIG, BIG, ONE))),
    "the_same_twice_otherwise_written": (
        [(1, square(1, 5)), (1, square(1, 5)[::-1]), (1.001, [*square(1, 5)[2:], *square(1, 5)[:2]])],
        _volume((BIG, BIG, ONE)),
    ),
    "rounded_position": ([(1.04, square(1, 5))], _volume((BIG, BIG, ONE))),
    "one_between_slices": ([(1.4, square(1, 5))], _volume((BIG, BIG, ONE))),
    "all_between_slices": ([(z, square(1, 5)) for z in (0.5, 1.5, 2.5)], _volume((BIG, BIG, slice(1, 3)))),
    "every_second_slice": ([(z, square(1, 5)) for z in (0, 2, 4)], _volume((BIG, BIG, slice(0, 5)))),
    "two_alone_are_not_joined": ([(z, square(1, 5)) for z in (0, 3)], _volume((BIG, BIG, [0, 3]))),
    "gap_parts_two_regions": ([(z, square(1, 5)) for z in (0, 1, 4)], _volume((BIG, BIG, [0, 1, 4]))),
    "small_ones_apart": (
        [(0, square(1, 1)), (2, square(3, 3)), (4, square(5, 5))],
        _volume((ONE, ONE, slice(0, 1)), (THREE, THREE, TWO), (slice(5, 6), slice(5, 6), slice(4, 5))),
    ),
    # 5 x 5 above, the middle pixel below: the mean distance to the border is positive in the middle 3 x 3
    "shape_between": (
        [(0, square(1, 5)), (2, square(3, 3)), (4, square(3, 3))],
        _volume((BIG, BIG, slice(0, 1)), (slice(2, 5), slice(2, 5), ONE), (THREE, THREE, slice(2, 5))),
    ),
    "reaches_beside_the_image": ([(1, square(5, 20))], _volume((slice(5, 8), slice(5, 7), ONE))),
}


@pytest.mark.parametrize("name", DRAWN)
def test_contours_become_the_pixels_within(name: str, make_rt: MakeRt, series: Path) -> None:
    contours, expected = DRAWN[name]
    mask = read_label(make_rt({"GTV": contours}), reference=series)
    np.testing.assert_array_equal(mask.array, expected)
    np.testing.assert_array_equal(mask.affine, read_image(series).affine)


def test_the_mask_comes_onto_a_turned_copy_of_the_image(make_rt: MakeRt, series: Path) -> None:
    image = read_image(series)
    turned = reorient(Image(image.array, image.affine, Path("turned.nii.gz")), "SRP")
    contours = [(1.0, square(1, 5)), (1.0, square(3, 3)), (2.0, square(2, 3))]
    path = make_rt({"GTV": contours})
    expected = reorient(read_label(path, reference=image), "SRP")
    assert expected.array.any()
    mask = read_label(path, reference=turned)
    np.testing.assert_array_equal(mask.array, expected.array)


def test_rois_are_labels_by_their_number(make_rt: MakeRt, series: Path) -> None:
    mask = read_label(make_rt({"A": [(1, square(1, 2))], "B": [(1, square(4, 5))]}), reference=series)
    assert [int(mask.array[i, i, 1]) for i in (1, 2, 3, 4, 5)] == [1, 1, 0, 2, 2]


NAMES = {
    "one_of_two": ("B: 7\n", [0, 0, 0, 7, 7]),
    "both_one_value": ("A: 1\nB: 1\n", [1, 1, 0, 1, 1]),
    "some_not_there": ("C: 3\nA: 2\n", [2, 2, 0, 0, 0]),
    "json": ('{"A": 4}', [4, 4, 0, 0, 0]),
}


@pytest.mark.parametrize("name", NAMES)
def test_names_map_rois_to_labels(name: str, make_rt: MakeRt, series: Path, tmp_path: Path) -> None:
    text, expected = NAMES[name]
    file = tmp_path / ("names.json" if name == "json" else "names.yaml")
    file.write_text(text)
    mask = read_label(make_rt({"A": [(1, square(1, 2))], "B": [(1, square(4, 5))]}), reference=series, names=file)
    assert [int(mask.array[i, i, 1]) for i in (1, 2, 3, 4, 5)] == expected


def test_where_rois_overlap_the_later_name_wins_and_without_names_it_is_refused(make_rt: MakeRt, series: Path) -> None:
    path = make_rt({"A": [(1, square(1, 4))], "B": [(1, square(3, 5))]})
    with pytest.raises(LabelError, match="4 voxels of labels 1 and 2"):
        read_label(path, reference=series)
    assert read_label(path, reference=series, names={"A": 1, "B": 2}).array[3, 3, 1] == 2
    assert read_label(path, reference=series, names={"B": 2, "A": 1}).array[3, 3, 1] == 1


def test_names_that_look_like_numbers_or_truths_are_names(make_rt: MakeRt, series: Path, tmp_path: Path) -> None:
    rois = {name: [(1, square(i, i + 1))] for i, name in enumerate(("47.50", "001", "No"), start=1)}
    (tmp_path / "names.yaml").write_text("47.50: 4\n001: 5\nNo: 6\n")
    mask = read_label(make_rt(rois), reference=series, names=tmp_path / "names.yaml")
    assert [int(mask.array[i, i, 1]) for i in (1, 2, 3)] == [4, 5, 6]


BAD_NAMES = {
    "empty": ("", "an empty file"),
    "a_list": ("- A\n", "got list"),
    "zero": ("A: 0\n", "'A': 0"),
    "text": ("A: one\n", "'A': 'one'"),
    "no_yaml": ("A: [", "not YAML"),
    "twice": ("A: 1\nB: 3\nA: 2\n", "stands more than once; got 'A'; expected one line for each"),
    "twice_but_for_a_space": ("A: 1\n'A ': 2\n", "stands more than once; got 'A'"),
    "a_list_as_a_name": ("[A, B]: 1\n", "not YAML"),
    "none_there": ("X: 1\n", "got 'A'"),
}


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_map_nothing_are_refused(name: str, make_rt: MakeRt, series: Path, tmp_path: Path) -> None:
    text, message = BAD_NAMES[name]
    (tmp_path / "names.yaml").write_text(text)
    with pytest.raises(LabelError, match=message):
        read_label(make_rt({"A": [(1, square(1, 2))]}), reference=series, names=tmp_path / "names.yaml")


def _frame(uid: str, series: str) -> list[Dataset]:
    study = _item(RTReferencedSeriesSequence=[_item(SeriesInstanceUID=series)])
    return [_item(FrameOfReferenceUID=uid, RTReferencedStudySequence=[study])]


TILTED = [_item(ReferencedROINumber=1, ContourSequence=[])]
REFUSED: dict[str, tuple[list[tuple[float, Points]], dict[str, Any], type[Exception], str]] = {
    "other_frame": (
        [(1, square(1, 2))],
        {"ReferencedFrameOfReferenceSequence": _frame("1.2.5", "1.2.6")},
        GeometryError,
        "another frame of reference",
    ),
    "other_series": (
        [(1, square(1, 2))],
        {"ReferencedFrameOfReferenceSequence": _frame("", "1.2.6")},
        GeometryError,
        "another series",
    ),
    "above": ([(5, square(1, 2))], {}, GeometryError, "a contour at slice 5.00; expected slices 0 to 4"),
    "below": ([(-1, square(1, 2))], {}, GeometryError, "a contour at slice -1.00"),
    "beside": ([(1, square(20, 22))], {}, GeometryError, "contours outside the image"),
    "no_contours": ([], {}, LabelError, "no closed contours"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_contours_of_another_image_are_refused(name: str, make_rt: MakeRt, series: Path) -> None:
    contours, changes, kind, message = REFUSED[name]
    with pytest.raises(kind, match=message) as caught:
        read_label(make_rt({"GTV": contours}, **changes), reference=series)
    assert SECRET not in str(caught.value)


def test_contours_that_cross_slices_are_refused(make_rt: MakeRt, series: Path) -> None:
    path = make_rt({"GTV": [(1, square(1, 5))]})
    data = pydicom.dcmread(path)
    data.ROIContourSequence[0].ContourSequence[0].ContourData = [0, 0, 0, 4, 0, 1, 4, 4, 3, 0, 4, 2]
    data.save_as(path)
    with pytest.raises(GeometryError, match=r"reach over 3\.00 slices"):
        read_label(path, reference=series)


def test_points_and_lines_are_no_regions(make_rt: MakeRt, series: Path) -> None:
    path = make_rt({"marker": [(1, [(3, 3)])]})
    data = pydicom.dcmread(path)
    data.ROIContourSequence[0].ContourSequence[0].ContourGeometricType = "POINT"
    data.save_as(path)
    with pytest.raises(LabelError, match="no closed contours"):
        read_label(path, reference=series)


CHANGED_CONTOUR: dict[str, tuple[dict[str, Any], str]] = {
    "line": ({"ContourGeometricType": "OPEN_PLANAR"}, "kind OPEN_PLANAR, 4 points of 4"),
    "no_kind": ({"ContourGeometricType": ""}, "kind missing"),
    "points_missing": ({"NumberOfContourPoints": 5}, "kind CLOSED_PLANAR, 4 points of 5"),
    "no_points": ({"ContourData": None, "NumberOfContourPoints": 4}, "0 points of 4"),
}


@pytest.mark.parametrize("name", CHANGED_CONTOUR)
def test_a_contour_that_bounds_no_region_is_refused(name: str, make_rt: MakeRt, series: Path) -> None:
    changes, message = CHANGED_CONTOUR[name]
    path = make_rt({"GTV": [(1, square(1, 5)), (2, square(1, 5))]})
    data = pydicom.dcmread(path)
    for keyword, value in changes.items():
        setattr(data.ROIContourSequence[0].ContourSequence[1], keyword, value)
    data.save_as(path)
    with pytest.raises(LabelError, match=message):
        read_label(path, reference=series)


def test_contours_of_an_roi_that_is_not_named_are_refused(make_rt: MakeRt, series: Path) -> None:
    path = make_rt({"A": [(1, square(1, 2))], "B": [(1, square(4, 5))]})
    data = pydicom.dcmread(path)
    data.ROIContourSequence[1].ReferencedROINumber = 9
    data.save_as(path)
    with pytest.raises(LabelError, match="ROI numbers 9; expected some of 1, 2"):
        read_label(path, reference=series)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((0, 1), "become background; got label value 0 for number 0"),
        ((-1, 1), "become background; got label value -1"),
        ((2, 2), "several of its ROIs have one number; got 2"),
    ],
    ids=["0", "below 0", "twice"],
)
def test_numbers_that_are_no_labels_are_refused(
    numbers: tuple[int, int], message: str, make_rt: MakeRt, series: Path
) -> None:
    path = make_rt({"A": [(1, square(1, 2))], "B": [(1, square(4, 5))]})
    data = pydicom.dcmread(path)
    for number, roi, contours in zip(numbers, data.StructureSetROISequence, data.ROIContourSequence, strict=True):
        roi.ROINumber = contours.ReferencedROINumber = number
    data.save_as(path)
    with pytest.raises(LabelError, match=message):
        read_label(path, reference=series)
    if numbers != (2, 2):
        assert set(np.unique(read_label(path, reference=series, names={"A": 5, "B": 6}).array)) == {0, 5, 6}


def test_an_roi_of_another_frame_of_reference_is_refused_unless_names_leave_it_out(
    make_rt: MakeRt, series: Path
) -> None:
    path = make_rt({"CT": [(1, square(1, 2))], "MR": [(1, square(4, 5))]})
    data = pydicom.dcmread(path)
    data.ReferencedFrameOfReferenceSequence.append(_frame("1.2.5", "1.2.6")[0])
    data.StructureSetROISequence[1].ReferencedFrameOfReferenceUID = "1.2.5"
    data.save_as(path)
    for names in (None, {"MR": 1}):
        with pytest.raises(GeometryError, match=r"another frame of reference than the image; got ROI numbers 2 in 1"):
            read_label(path, reference=series, names=names)
    assert read_label(path, reference=series, names={"CT": 1}).array.sum() == 4


def test_an_roi_that_nobody_drew_is_left_out(make_rt: MakeRt, series: Path) -> None:
    mask = read_label(make_rt({"A": [], "B": [(1, square(4, 5))]}), reference=series)
    assert set(np.unique(mask.array)) == {0, 2}


def test_a_slice_that_the_series_lacks_is_refused(make_rt: MakeRt, series: Path) -> None:
    path = make_rt({"GTV": [(1, square(1, 2)), (4, square(1, 2))]}, refer=True)
    assert read_label(path, reference=series).array.any()
    sorted(series.iterdir())[4].unlink()
    with pytest.raises(GeometryError, match="1 of 2 referenced instances are missing"):
        read_label(path, reference=series)


def test_a_contour_elsewhere_than_its_slice_is_refused(make_rt: MakeRt, series: Path) -> None:
    path = make_rt({"GTV": [(1, square(1, 2))]}, refer=True)
    data = pydicom.dcmread(path)
    data.ROIContourSequence[0].ContourSequence[0].ContourData = [f"{v}" for x, y in square(1, 2) for v in (x, y, 3)]
    data.save_as(path)
    with pytest.raises(GeometryError, match=r"got slice 3\.00; expected slice 1"):
        read_label(path, reference=series)


def test_without_its_image_it_is_refused_with_the_command(make_rt: MakeRt) -> None:
    with pytest.raises(LabelError, match=r"medseg data labels .* --reference SERIES"):
        read_label(make_rt({"GTV": [(1, square(1, 2))]}))


def test_an_image_is_no_mask(series: Path) -> None:
    with pytest.raises(LabelError, match="not a mask; got CT Image Storage"):
        read_label(next(series.iterdir()), reference=series)


@pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader")
def test_monai_loads_a_mask_with_its_image(make_rt: MakeRt, series: Path) -> None:
    from monai.transforms import LoadImaged

    item = {"image": str(series), "label": [str(make_rt({"GTV": [(1, square(1, 5))]})), str(series)]}
    load = LoadImaged(keys="label", reader="medseg.intake.MedsegLabelReader", ensure_channel_first=True)
    label = load(item)["label"]
    assert label.shape == (1, *SHAPE)
    assert int(label.sum()) == 25


@pytest.mark.real_data
def test_a_tumour_contoured_by_a_clinician(real_data: Path, caplog: pytest.LogCaptureFixture) -> None:
    """STS_003: its mask as NIfTI was made from the same RTSTRUCT by others; Dice >= 0.99."""
    folder = real_data / "sarcoma_dicom_rtstruct" / "STS_003"
    mask = read_label(folder / "RTSTRUCT" / "RS.dcm", reference=folder / "CT").array == 1
    truth = read_label(folder / "CT_mask.nii.gz").array == 1
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) >= 0.99
    assert "going by position" in caplog.text, "its contours refer to instances that were renamed"
