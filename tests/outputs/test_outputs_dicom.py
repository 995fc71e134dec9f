"""SEG, RTSTRUCT and SR of a label map: read back equal, tied to their images, without an error of the validators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from highdicom.color import CIELabColor
from highdicom.seg import segread
from highdicom.sr import srread
from pydicom.sr.codedict import codes

from medseg.case import Image, Prediction
from medseg.dicom.codes import SegmentCode
from medseg.dicom.source import quiet_pydicom
from medseg.errors import OutputError
from medseg.intake import read_label
from medseg.intake.dicom_source import SourceImages, source_images
from medseg.outputs import Algorithm, Meaning, write_formats
from medseg.outputs.dicom_seg import make_seg
from medseg.outputs.measurements_sr import sizes
from medseg.outputs.rtstruct import make_rtstruct

ALGORITHM = Algorithm("ct_tiny", "0.3.0")
DICOM = ["dicom-seg", "dicom-seg-deflated", "dicom-seg-labelmap", "rtstruct", "sr"]
Segments = dict[int, SegmentCode]


def _source(image: Image) -> SourceImages:
    found = source_images(image)
    assert found is not None
    return found


def _write(image: Image, labels: np.ndarray, segments: Segments, formats: list[str], **ratio: float) -> dict[str, Path]:
    folder = image.source.parent
    prediction = Prediction("case", Image(labels, image.affine, image.source), {})
    meaning = Meaning(segments, ALGORITHM, ratio)
    names = write_formats(prediction, image, folder, formats=formats, meaning=meaning)
    return {kind: folder / name for kind, name in names.items()}


SEGS = ["dicom-seg", "dicom-seg-deflated", "dicom-seg-labelmap"]
RGB = {1: (86, 180, 233), 2: (230, 159, 0)}


@pytest.mark.parametrize("kind", SEGS)
def test_a_seg_is_read_back_equal_slice_by_slice_of_its_source(
    kind: str, ct: Image, labels: np.ndarray, segments: Segments
) -> None:
    """By highdicom, which finds the frames of each source instance, and by our own reader."""
    path = _write(ct, labels, segments, [kind])[kind]
    sources = _source(ct).datasets
    pixels = segread(path).get_pixels_by_source_instance(
        [source.SOPInstanceUID for source in sources], combine_segments=True, assert_missing_frames_are_empty=True
    )
    np.testing.assert_array_equal(pixels.transpose(2, 1, 0), labels)
    np.testing.assert_array_equal(read_label(path, reference=ct).array, labels)


@pytest.mark.parametrize("kind", SEGS)
def test_a_seg_tells_what_its_segments_are_and_who_found_them(
    kind: str, ct: Image, labels: np.ndarray, segments: Segments
) -> None:
    seg = segread(_write(ct, labels, segments, [kind])[kind])
    lung, tumour = (seg.get_segment_description(number) for number in (1, 2))
    assert (lung.segment_label, tumour.segment_label) == ("left lung", "tumour")
    assert lung.segmented_property_type == codes.SCT.Lung
    assert lung.segmented_property_category == codes.SCT.AnatomicalStructure
    assert tumour.segmented_property_type == codes.SCT.Neoplasm
    assert lung.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence[0].CodeValue == "7771000"
    assert tumour.anatomic_regions[0] == codes.SCT.SoftTissue
    assert lung.algorithm_type.value == "AUTOMATIC"
    (algorithm,) = lung.algorithm_identification
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("ct_tiny", "0.3.0")
    assert (lung.tracking_id, tumour.tracking_id) == ("ct_tiny left lung", "ct_tiny tumour")
    assert lung.tracking_uid != tumour.tracking_uid
    for number, description in ((1, lung), (2, tumour)):
        colour = CIELabColor.from_dicom_value(list(description.RecommendedDisplayCIELabValue))
        np.testing.assert_allclose(colour.to_rgb(), RGB[number], atol=2)


def test_the_same_region_is_tracked_and_each_file_is_new(ct: Image, labels: np.ndarray, segments: Segments) -> None:
    first, second = (make_seg(labels, _source(ct), segments=segments, algorithm=ALGORITHM) for _ in "ab")
    assert [s.TrackingUID for s in first.SegmentSequence] == [s.TrackingUID for s in second.SegmentSequence]
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.SeriesInstanceUID != second.SeriesInstanceUID


@pytest.mark.parametrize("stated", ["0.5", "-2.5", "0", None], ids=["gap", "negative", "zero", "missing"])
def test_slices_are_as_far_apart_as_their_positions_whatever_the_source_states(
    stated: str | None, ct: Image, labels: np.ndarray, segments: Segments
) -> None:
    source = _source(ct)
    for dataset in source.datasets:
        dataset.SpacingBetweenSlices, dataset.SliceThickness = stated, None
    made = make_seg(labels, source, segments=segments, algorithm=ALGORITHM)
    measures = made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert measures.SpacingBetweenSlices == pytest.approx(2.5)
    assert measures.SliceThickness > 0
    volume = made.get_volume(combine_segments=True)
    assert (volume.spatial_shape, volume.spacing[0]) == (labels.T.shape, pytest.approx(2.5))


def test_empty_slices_take_no_frames(ct: Image, labels: np.ndarray, segments: Segments) -> None:
    made = make_seg(labels, _source(ct), segments=segments, algorithm=ALGORITHM)
    filled = sum(int((labels == value).any(axis=(0, 1)).sum()) for value in (1, 2))
    assert int(made.NumberOfFrames) == filled < 2 * labels.shape[2]


def test_the_label_map_is_compressed(ct: Image, labels: np.ndarray, segments: Segments) -> None:
    paths = _write(ct, labels, segments, SEGS)
    syntaxes = {kind: str(pydicom.dcmread(path).file_meta.TransferSyntaxUID.name) for kind, path in paths.items()}
    assert syntaxes == {
        "dicom-seg": "Explicit VR Little Endian",
        "dicom-seg-deflated": "Deflated Explicit VR Little Endian",
        "dicom-seg-labelmap": "JPEG-LS Lossless Image Compression",
    }


def test_results_carry_the_patient_and_the_study_of_the_source(
    ct: Image, labels: np.ndarray, segments: Segments
) -> None:
    of = _source(ct).datasets[0]
    for path in _write(ct, labels, segments, DICOM).values():
        made = pydicom.dcmread(path)
        for name in ("PatientName", "PatientID", "PatientBirthDate", "StudyInstanceUID", "StudyDate", "StudyTime"):
            assert made[name].value == of[name].value, name
        assert made.get("FrameOfReferenceUID", of.FrameOfReferenceUID) == of.FrameOfReferenceUID
        assert made.SeriesInstanceUID != of.SeriesInstanceUID


ODD: dict[str, dict[str, Any]] = {
    "one_part": {"PatientName": "Mononym"},
    "latin_1": {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Jörg"},
    "japanese": {"SpecificCharacterSet": ["", "ISO 2022 IR 87"], "PatientName": "Yamada^Tarou=山田^太郎"},
    "chinese": {"SpecificCharacterSet": "GB18030", "PatientName": "Wang^XiaoDong=王^小东"},
    "no_name": {"PatientName": ""},
    "sex": {"PatientSex": "U"},
    "dates": {"PatientBirthDate": "unknown", "StudyDate": "2026-01-02", "StudyTime": "25:61"},
    "identifiers_too_long": {"StudyID": "12345678901234567890", "AccessionNumber": "1" * 20},
}


@pytest.mark.parametrize("name", ODD)
def test_patient_and_study_go_through_as_they_are_and_no_warning_tells_them(
    name: str, ct: Image, labels: np.ndarray, segments: Segments
) -> None:
    """Warnings are errors here; highdicom's quote the name."""
    with quiet_pydicom():
        for path in sorted(ct.source.iterdir()):
            data = pydicom.dcmread(path)
            for keyword, value in ODD[name].items():
                setattr(data, keyword, value)
            data.save_as(path)
    for path in _write(ct, labels, segments, DICOM).values():
        with quiet_pydicom():
            made = pydicom.dcmread(path)
            kept = [key for key in ODD[name] if key != "SpecificCharacterSet"]
            assert {key: str(made[key].value) for key in kept} == {key: str(data[key].value) for key in kept}


def test_what_a_library_says_of_a_source_is_not_passed_on(
    ct: Image, labels: np.ndarray, segments: Segments, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("SECRETNAME is no name")

    monkeypatch.setattr("highdicom.sr.ComprehensiveSR", fail)
    with pytest.raises(OutputError, match="case case: no sr can be made of") as caught:
        _write(ct, labels, segments, ["nrrd", "rtstruct", "sr"])
    assert "SECRET" not in str(caught.value)
    assert "got ValueError in outputs/test_outputs_dicom.py, line" in str(caught.value), "where to look for it"
    assert caught.value.__suppress_context__, "nor does a traceback show it"
    assert list(ct.source.parent.glob("case*")) == [], "nor are there contours of a case that failed"


KNOWN_TO_DEBIAN = ["dicom-seg", "rtstruct", "sr"]


@pytest.mark.parametrize("kind", KNOWN_TO_DEBIAN)
@pytest.mark.parametrize("empty", [False, True], ids=["found", "nothing_found"])
def test_dciodvfy_of_debian_finds_no_error(
    kind: str, empty: bool, ct: Image, labels: np.ndarray, segments: Segments, debian_errors: Any
) -> None:
    assert debian_errors(_write(ct, labels * (not empty), segments, [kind])[kind]) == []


@pytest.mark.parametrize("kind", [*KNOWN_TO_DEBIAN, "dicom-seg-labelmap"])
@pytest.mark.parametrize("empty", [False, True], ids=["found", "nothing_found"])
def test_dciodvfy_of_today_finds_no_error(
    kind: str, empty: bool, ct: Image, labels: np.ndarray, segments: Segments, package_errors: Any
) -> None:
    assert package_errors(_write(ct, labels * (not empty), segments, [kind])[kind]) == []


def test_the_validator_sees_a_broken_file(
    ct: Image, labels: np.ndarray, segments: Segments, package_errors: Any
) -> None:
    path = _write(ct, labels, segments, ["dicom-seg-labelmap"])["dicom-seg-labelmap"]
    broken = pydicom.dcmread(path)
    del broken.SegmentSequence[1].SegmentAlgorithmType
    broken.save_as(path)
    assert any("SegmentAlgorithmType" in line for line in package_errors(path))


def test_the_deflated_seg_is_the_plain_one_in_less_room(
    ct: Image, labels: np.ndarray, segments: Segments, tmp_path: Path, package_errors: Any
) -> None:
    """The validators cannot inflate, so the same data set is given to them as it is."""
    path = _write(ct, labels, segments, ["dicom-seg-deflated"])["dicom-seg-deflated"]
    plain = pydicom.dcmread(path)
    plain.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    plain.save_as(tmp_path / "plain.dcm")
    assert package_errors(tmp_path / "plain.dcm") == []
    assert path.stat().st_size < (tmp_path / "plain.dcm").stat().st_size / 2


def _dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_an_rtstruct_is_read_back_with_its_holes(ct: Image, labels: np.ndarray, segments: Segments) -> None:
    path = _write(ct, labels, segments, ["rtstruct"])["rtstruct"]
    back = read_label(path, reference=ct).array
    for value in (1, 2):
        assert _dice(back == value, labels == value) >= 0.99
    np.testing.assert_array_equal(back, labels)


def test_nothing_is_added_between_the_contours_of_our_own_rtstruct(ct: Image, segments: Segments) -> None:
    labels = np.zeros(ct.array.shape[1:], dtype=np.uint8)
    labels[5:15, 5:15, ::2] = 1
    path = _write(ct, labels, segments, ["rtstruct"])["rtstruct"]
    np.testing.assert_array_equal(read_label(path, reference=ct).array, labels)


def test_contours_lie_on_the_slices_they_refer_to_and_keep_the_volume(
    ct: Image, labels: np.ndarray, segments: Segments
) -> None:
    """Area by the shoelace formula in the plane of the slices; holes are part of their contour."""
    made = make_rtstruct(labels, ct.affine, _source(ct), segments=segments, algorithm=ALGORITHM)
    slices = {source.SOPInstanceUID: source for source in _source(ct).datasets}
    volumes_mm3 = {1: 0.0, 2: 0.0}
    for roi in made.ROIContourSequence:
        for contour in roi.ContourSequence:
            of = slices[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
            points = np.array(contour.ContourData, dtype=float).reshape(-1, 3) - np.array(
                of.ImagePositionPatient, float
            )
            across, down = np.array(of.ImageOrientationPatient, float).reshape(2, 3)
            np.testing.assert_allclose(points @ np.cross(across, down), 0, atol=1e-3)
            x, y = points @ across, points @ down
            area = abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
            volumes_mm3[int(roi.ReferencedROINumber)] += area * 2.5
            assert int(contour.NumberOfContourPoints) == len(points)
    for value, volume in volumes_mm3.items():
        assert volume == pytest.approx((labels == value).sum() * 0.7 * 0.9 * 2.5, rel=1e-3)


def test_each_part_is_one_contour_with_its_hole(ct: Image, labels: np.ndarray, segments: Segments) -> None:
    made = make_rtstruct(labels, ct.affine, _source(ct), segments=segments, algorithm=ALGORITHM)
    on_slice_2 = [
        contour
        for contour in made.ROIContourSequence[0].ContourSequence
        if contour.ContourImageSequence[0].ReferencedSOPInstanceUID == _source(ct).datasets[2].SOPInstanceUID
    ]
    assert len(on_slice_2) == 2, "the ring with its hole, and the island in it"


def test_rois_have_names_colours_and_kinds(ct: Image, labels: np.ndarray, segments: Segments) -> None:
    made = pydicom.dcmread(_write(ct, labels, segments, ["rtstruct"])["rtstruct"])
    assert [roi.ROIName for roi in made.StructureSetROISequence] == ["left lung", "tumour"]
    assert [roi.ROIGenerationAlgorithm for roi in made.StructureSetROISequence] == ["AUTOMATIC"] * 2
    assert [list(roi.ROIDisplayColor) for roi in made.ROIContourSequence] == [[86, 180, 233], [230, 159, 0]]
    assert [seen.RTROIInterpretedType for seen in made.RTROIObservationsSequence] == ["ORGAN", "GTV"]
    assert made.ApprovalStatus == "UNAPPROVED"


def test_an_rtstruct_of_a_picture_is_refused(xray: Image, segments: Segments) -> None:
    with pytest.raises(OutputError, match="RTSTRUCT of a picture"):
        make_rtstruct(np.zeros((60, 50), np.uint8), xray.affine, _source(xray), segments=segments, algorithm=ALGORITHM)


def _numbers(path: Path) -> dict[str, list[tuple[str, float, str]]]:
    """Tracking identifier to (name, value, unit) of each measurement."""
    (measurements,) = [
        item
        for item in pydicom.dcmread(path).ContentSequence
        if item.ConceptNameCodeSequence[0].CodeMeaning == "Imaging Measurements"
    ]
    found = {}
    for group in measurements.ContentSequence:
        items = group.ContentSequence
        name = next(i.TextValue for i in items if i.ConceptNameCodeSequence[0].CodeMeaning == "Tracking Identifier")
        numbers = [
            (
                item.ConceptNameCodeSequence[0].CodeMeaning,
                float(item.MeasuredValueSequence[0].NumericValue),
                item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue,
            )
            for item in items
            if item.ValueType == "NUM"
        ]
        found[name] = numbers
    return found


def test_a_report_has_volumes_and_mean_hu_of_each_region(ct: Image, labels: np.ndarray, segments: Segments) -> None:
    numbers = _numbers(_write(ct, labels, segments, ["sr"])["sr"])
    x, y, z = np.indices(labels.shape)
    for value, name in ((1, "ct_tiny left lung"), (2, "ct_tiny tumour")):
        inside = labels == value
        (volume, mean) = numbers[name]
        assert volume == ("Volume", pytest.approx(inside.sum() * 0.7 * 0.9 * 2.5 / 1000, abs=1e-5), "ml")
        expected = (10 * x + y + z - 1000)[inside].mean()
        assert mean == ("Attenuation Coefficient", pytest.approx(expected, abs=1e-5), "[hnsf'U]")


def test_a_report_refers_to_the_segments_of_its_seg(ct: Image, labels: np.ndarray, segments: Segments) -> None:
    paths = _write(ct, labels, segments, ["sr"])
    seg = pydicom.dcmread(paths["dicom-seg"])
    report = srread(paths["sr"])
    groups = report.content.get_volumetric_roi_measurement_groups()
    referred = [group.referenced_segment for group in groups]
    assert [item.referenced_sop_instance_uid for item in referred] == [seg.SOPInstanceUID] * 2
    assert [list(item.referenced_segment_numbers) for item in referred] == [[1], [2]]
    assert [group.tracking_uid for group in groups] == [item.TrackingUID for item in seg.SegmentSequence]
    assert [group.finding_type.meaning for group in groups] == ["Lung", "Neoplasm"]
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"


def test_a_bundle_of_one_segment_has_its_report_too(
    ct: Image, labels: np.ndarray, segments: Segments, package_errors: Any
) -> None:
    """highdicom tells a single segment once for all frames, where its own measurement groups do not look."""
    paths = _write(ct, np.where(labels == 1, 1, 0).astype(np.uint8), {1: segments[1]}, ["sr"])
    frames = pydicom.dcmread(paths["dicom-seg"]).PerFrameFunctionalGroupsSequence
    assert [frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber for frame in frames] == [1] * 6
    (group,) = srread(paths["sr"]).content.get_volumetric_roi_measurement_groups()
    assert list(group.referenced_segment.referenced_segment_numbers) == [1]
    assert package_errors(paths["dicom-seg"]) == []


def test_a_region_that_was_not_found_has_volume_0_and_no_mean(
    ct: Image, labels: np.ndarray, segments: Segments
) -> None:
    numbers = _numbers(_write(ct, np.where(labels == 1, 1, 0).astype(np.uint8), segments, ["sr"])["sr"])
    assert numbers["ct_tiny tumour"] == [("Volume", 0.0, "ml")]


def test_sizes_of_two_by_two_voxels() -> None:
    """2 voxels of 2 x 3 x 4 mm are 0.048 ml; their HU 10 and 30 have the mean 20."""
    image = Image(np.array([[[[10], [30]], [[50], [70]]]]), np.diag([2.0, 3.0, 4.0, 1.0]), Path("x"), "CT")
    found = sizes(image, np.array([[[1], [1]], [[0], [0]]]), 1)
    assert [(size.name.meaning, size.value) for size in found] == [
        ("Volume", pytest.approx(0.048)),
        ("Attenuation Coefficient", 20.0),
    ]
    assert [
        size.name.meaning for size in sizes(Image(image.array, image.affine, Path("x"), "MR"), image.array[0], 10)
    ] == ["Volume"]


def test_a_report_of_an_xray_has_the_ratio_and_areas(
    xray: Image, segments: Segments, debian_errors: Any, package_errors: Any
) -> None:
    labels = np.zeros((60, 50), np.uint8)
    labels[10:20, 5:10] = 1
    paths = _write(xray, labels, segments, ["sr", "dicom-seg"], cardiothoracic_ratio=0.47)
    assert debian_errors(paths["sr"]) == package_errors(paths["sr"]) == debian_errors(paths["dicom-seg"]) == []
    numbers = _numbers(paths["sr"])
    assert numbers["ct_tiny measurements"] == [("Cardiothoracic ratio", 0.47, "{ratio}")]
    assert numbers["ct_tiny left lung"] == [("Area", pytest.approx(50 * 0.09 / 100), "cm2")]
    np.testing.assert_array_equal(read_label(paths["dicom-seg"], reference=xray).array, labels)


def test_a_ratio_that_could_not_be_measured_is_left_out(xray: Image, segments: Segments) -> None:
    meaning = Meaning(segments, ALGORITHM, {"cardiothoracic_ratio": None})
    prediction = Prediction("case", Image(np.zeros((60, 50), np.uint8), xray.affine, xray.source), {})
    folder = xray.source.parent
    names = write_formats(prediction, xray, folder, formats=["sr"], meaning=meaning)
    assert "ct_tiny measurements" not in _numbers(folder / names["sr"])


def test_dicom_of_an_xray_that_says_it_is_turned_is_refused(xray: Image, segments: Segments) -> None:
    """The ratio of one that lies on its side was sent as 1.3, without the manifest's warning."""
    data = pydicom.dcmread(xray.source)
    data.PatientOrientation = ["F", "R"]
    data.save_as(xray.source)
    before = set(xray.source.parent.iterdir())
    for kind in ("sr", "dicom-seg"):
        with pytest.raises(OutputError, match=r"got PatientOrientation F and R along rows.*correct its PatientOrient"):
            _write(xray, np.ones((60, 50), np.uint8), segments, [kind], cardiothoracic_ratio=1.3)
    assert set(xray.source.parent.iterdir()) == before
    assert _write(xray, np.ones((60, 50), np.uint8), segments, ["nrrd"])["nrrd"].is_file()


REAL = {
    "ct": "sarcoma_dicom_rtstruct/STS_003/CT",
    "jpegls": "chest_ct_nlst/dicom_jpegls_16",
    "mr_without_frame_of_reference": "dicom_samples/mr_implicit_vr",
    "enhanced_philips": "dicom_samples/enhanced/philips_enhanced_mr.dcm",
    "enhanced_siemens": "dicom_samples/enhanced/siemens_multiframe_mr.dcm",
}


@pytest.mark.real_data
@pytest.mark.parametrize("name", REAL)
def test_results_on_real_series_are_read_back_equal(
    name: str, real_data: Path, tmp_path: Path, segments: Segments
) -> None:
    from medseg.intake import read_image

    image = read_image(real_data / REAL[name])
    shape = image.array.shape[1:]
    away = np.indices(shape) - np.array(shape).reshape(3, 1, 1, 1) / 2
    radius = np.sqrt(((away / (np.array(shape).reshape(3, 1, 1, 1) / 2)) ** 2).sum(axis=0))
    labels = np.where((radius < 0.9) & (radius > 0.4), 1, np.where(radius < 0.3, 2, 0)).astype(np.uint8)
    prediction = Prediction("case", Image(labels, image.affine, image.source), {})
    meaning = Meaning(segments, ALGORITHM, {})
    names = write_formats(prediction, image, tmp_path, formats=DICOM, meaning=meaning)
    for kind in (*SEGS, "rtstruct"):
        np.testing.assert_array_equal(read_label(tmp_path / names[kind], reference=image).array, labels, err_msg=kind)
