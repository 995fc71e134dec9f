"""Each finding against a hand-made series: what inspection lists, what reading refuses, which command repairs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medseg.errors import GeometryError, ImageError, MedsegError
from medseg.intake import read_image
from medseg.intake.inspection import Entry, inspect
from medseg.intake.inspection_text import as_table, as_values

Make = Callable[..., Path]
PIXELS = np.arange(6, dtype=np.int16).reshape(2, 3)
HU = {"RescaleSlope": 1, "RescaleIntercept": -1024, "RescaleType": "HU"}


def codes(entry: Entry, severity: str) -> list[str]:
    return [finding.code for finding in entry.findings if finding.severity == severity]


def only(path: Path, **options: Any) -> Entry:
    (entry,) = inspect(path, **options)
    return entry


def refused(path: Path) -> str:
    with pytest.raises(MedsegError) as error:
        read_image(path)
    return str(error.value)


def sheared(make_dicom: Make, folder: Path, z_mm: list[float], *, degrees: float = 15.0) -> Path:
    """Slices that are shifted along Y by the tangent of the tilt."""
    for k, z in enumerate(z_mm):
        place = [0, f"{z * np.tan(np.radians(degrees)):.6f}", z]
        make_dicom(folder / f"{k}.dcm", PIXELS + 6 * k, ImagePositionPatient=place, InstanceNumber=k + 1)
    return folder


def test_a_good_series_is_listed_with_its_facts(tmp_path: Path, make_series: Make) -> None:
    tags = {
        "PixelSpacing": [0.5, 0.7],
        "SeriesNumber": 3,
        "SeriesDescription": "Chest 2.0",
        "StudyInstanceUID": "1.2.9",
    }
    folder = make_series(tmp_path / "ct", [0, 2, 4], **tags)
    entry = only(folder)
    assert entry == Entry(
        folder,
        "series",
        modality="CT",
        study_uid="1.2.9",
        series_uid="1.2.3.4",
        series_number="3",
        description="Chest 2.0",
        transfer_syntax="Explicit VR Little Endian",
        slices=3,
        size=(3, 2, 3),
        spacing_mm=(0.7, 0.5, 2.0),
        orientation="LPS",
        findings=entry.findings,
    )
    assert codes(entry, "error") == []


@pytest.mark.parametrize(
    ("z_mm", "code", "repair"),
    [
        ([0, 2, 4, 8, 10], "missing-slices", None),
        ([0, 2, 4, 4, 6], "duplicate-positions", None),
        ([0, 2, 4, 6.5, 8.5], "uneven-spacing", "--resample 2"),
        ([0, 2, 4, 6, 10.9], "uneven-spacing", None),
    ],
    ids=["missing", "duplicate", "uneven", "a gap too wide to bridge"],
)
def test_places_that_form_no_grid(
    tmp_path: Path, make_series: Make, z_mm: list[float], code: str, repair: str | None
) -> None:
    folder = make_series(tmp_path / "ct", z_mm)
    entry = only(folder)
    assert codes(entry, "error") == [code]
    command = None if repair is None else f"medseg data fix {folder} -o fixed.nii.gz {repair}"
    assert entry.findings[0].command(folder) == command
    assert (command or "medseg data fix") in refused(folder) or command is None
    assert "slice 3" in refused(folder) or code == "uneven-spacing"


def test_volumes_in_one_series_are_told_apart_by_the_tag_that_differs(tmp_path: Path, make_dicom: Make) -> None:
    for k, (z, echo) in enumerate([(0, 10), (2, 10), (0, 90), (2, 90)]):
        make_dicom(tmp_path / f"{k}.dcm", PIXELS, kind="MR", ImagePositionPatient=[0, 0, z], EchoTime=echo)
    told = r"4 slices at 2 positions, 2 at each: .* they differ in EchoTime; .*4-D.*as its own series"
    with pytest.raises(GeometryError, match=told):
        read_image(tmp_path)
    assert codes(only(tmp_path), "error") == ["duplicate-positions"]


@pytest.mark.parametrize(
    ("odd", "code", "told"),
    [
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, "mixed-orientation", "different orientation"),
        ({"PixelSpacing": [1, 2]}, "mixed-spacing", r"\(2\.0, 1\.0\) mm; expected \(1\.0, 1\.0\) mm"),
        ({"RescaleSlope": None, "RescaleIntercept": None}, "mixed-rescale", "stored values; expected HU"),
        ({"RescaleType": "US"}, "mixed-rescale", "US; expected HU"),
    ],
    ids=["orientation", "spacing", "no rescale", "another unit"],
)
def test_the_odd_slice_is_named_and_not_the_majority(
    tmp_path: Path, make_series: Make, make_dicom: Make, odd: dict[str, Any], code: str, told: str
) -> None:
    folder = make_series(tmp_path / "ct", [2, 4, 6], **HU)
    tags = {"ImagePositionPatient": [0, 0, 0], "InstanceNumber": 9} | HU | odd
    make_dicom(folder / "0.dcm", PIXELS, **{name: value for name, value in tags.items() if value is not None})
    assert codes(only(folder), "error") == [code]
    with pytest.raises(GeometryError, match=rf"{told}.*slice 9|slice 9 \(0\.dcm\) with .*{told}"):
        read_image(folder)


def test_several_things_mixed_are_all_listed(tmp_path: Path, make_series: Make, make_dicom: Make) -> None:
    folder = make_series(tmp_path / "ct", [0, 2, 4])
    tags = {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1], "PixelSpacing": [3, 3]}
    make_dicom(folder / "odd.dcm", PIXELS.T.copy(), **tags)
    assert codes(only(folder), "error") == ["mixed-size", "mixed-spacing", "mixed-orientation"]


def test_slopes_that_differ_from_slice_to_slice_are_applied_each(tmp_path: Path, make_dicom: Make) -> None:
    for k in range(2):
        tags = {**HU, "RescaleSlope": k + 1, "ImagePositionPatient": [0, 0, 2 * k]}
        make_dicom(tmp_path / f"{k}.dcm", PIXELS, **tags)
    np.testing.assert_array_equal(read_image(tmp_path).array[0, 2, 1], [5 - 1024, 10 - 1024])


def test_a_tilted_gantry_names_its_repair(tmp_path: Path, make_dicom: Make) -> None:
    folder = sheared(make_dicom, tmp_path / "a b", [0, 2, 4])
    entry = only(folder)
    assert codes(entry, "error") == ["tilted-gantry"]
    assert "15.00 degrees" in entry.findings[0].message
    assert refused(folder).endswith(f"medseg data fix '{folder}' -o fixed.nii.gz --tilt")


def test_tilted_and_uneven_has_no_repair(tmp_path: Path, make_dicom: Make) -> None:
    entry = only(sheared(make_dicom, tmp_path, [0, 2, 4, 6.5]))
    assert codes(entry, "error") == ["uneven-spacing", "tilted-gantry"]
    assert [finding.repair for finding in entry.findings if finding.severity == "error"] == [None, None]


def test_a_sheared_nifti_is_refused_and_names_its_repair(tmp_path: Path) -> None:
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[1, 2] = 0.5
    path = tmp_path / "a.nii"
    nib.save(nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), affine), path)
    assert codes(only(path), "error") == ["sheared-grid"]
    with pytest.raises(GeometryError, match=r"not perpendicular.*14\.04 degrees.*medseg data fix .*a\.nii .*--tilt"):
        read_image(path)


def test_one_slice_is_refused_where_a_volume_is_needed(tmp_path: Path, make_dicom: Make) -> None:
    path = make_dicom(tmp_path / "a.dcm", PIXELS)
    assert codes(only(path), "warning") == ["one-slice", "implausible-hu"]
    assert read_image(path).array.shape == (1, 3, 2, 1)
    with pytest.raises(ImageError, match=r"one slice where a volume is needed; got size \(3, 2, 1\)"):
        read_image(path, spatial_dims=3)
    with pytest.raises(ImageError, match="a volume where a picture is needed"):
        read_image(path, spatial_dims=2)


def test_another_modality_than_the_bundle_s_is_refused(tmp_path: Path, make_series: Make) -> None:
    folder = make_series(tmp_path / "mr", [0, 2], kind="MR")
    with pytest.raises(ImageError, match=r"another modality; got MR; expected CT"):
        read_image(folder, modality="CT")
    assert read_image(folder, modality="MR").modality == "MR"


def test_colour_and_four_dimensions_are_listed(tmp_path: Path, make_dicom: Make) -> None:
    colour = np.zeros((2, 3, 3), np.uint8)
    make_dicom(tmp_path / "1" / "a.dcm", colour[..., 0], kind="SC", SamplesPerPixel=3, PhotometricInterpretation="RGB")
    nib.save(nib.Nifti1Image(np.ones((2, 3, 4, 5), np.int16), np.eye(4)), tmp_path / "b.nii")
    picture, volume = sorted(inspect(tmp_path), key=lambda entry: entry.kind, reverse=True)
    assert "not a grey image; got photometric interpretation RGB" in picture.findings[0].message
    assert "more than three dimensions" in volume.findings[0].message
    assert "split it into one file per time point" in volume.findings[0].message
    assert picture.has_errors
    assert volume.has_errors


def test_window_and_voi_table_are_for_screens_only(tmp_path: Path, make_series: Make) -> None:
    from pydicom.dataset import Dataset

    table = Dataset()
    table.add_new(0x00283002, "US", [6, 0, 8])
    table.add_new(0x00283006, "US", [255, 200, 100, 50, 20, 0])
    tags = {"WindowCenter": 2, "WindowWidth": 1, "VOILUTSequence": [table]}
    plain, shown = make_series(tmp_path / "a", [0, 2]), make_series(tmp_path / "b", [0, 2], **tags)
    np.testing.assert_array_equal(read_image(shown).array, read_image(plain).array)


@pytest.mark.parametrize("padding", [-2000, 63536], ids=["signed", "the same bits unsigned"])
def test_pixels_that_were_not_scanned_take_the_lowest_value(tmp_path: Path, make_dicom: Make, padding: int) -> None:
    """Stored -2000 marks what lies outside the circle; 10 * 2 - 1000 is the lowest that was scanned."""
    from pydicom import dcmread

    stored = np.array([[-2000, 10, 20], [30, 40, -2000]], np.int16)
    path = make_dicom(tmp_path / "a.dcm", stored, RescaleSlope=2, RescaleIntercept=-1000)
    file = dcmread(path)
    file.add_new(0x00280120, "SS" if padding < 0 else "US", padding)
    file.save_as(path)
    np.testing.assert_array_equal(read_image(path).array[0, ..., 0].T, [[-980, -980, -960], [-940, -920, -980]])
    (note,) = [finding for finding in only(path).findings if finding.code == "pixel-padding"]
    assert note.message == "2 of 6 pixels were not scanned (stored as -2000) and read as -980"


def test_padding_has_a_range_and_is_applied_in_each_slice(tmp_path: Path, make_dicom: Make) -> None:
    from pydicom import dcmread

    for k in range(2):
        stored = np.array([[-2000, 10 + k, 20], [30, 40, -1990]], np.int16)
        path = make_dicom(tmp_path / f"{k}.dcm", stored, ImagePositionPatient=[0, 0, 2 * k])
        file = dcmread(path)
        file.add_new(0x00280120, "SS", -2000)
        file.add_new(0x00280121, "SS", -1990)
        file.save_as(path)
    np.testing.assert_array_equal(read_image(tmp_path).array[0, 0, 0], [10, 10])
    np.testing.assert_array_equal(read_image(tmp_path).array[0, 2, 1], [10, 10])


def test_padding_among_the_values_is_doubted_and_not_applied(tmp_path: Path, make_dicom: Make) -> None:
    from pydicom import dcmread

    path = make_dicom(tmp_path / "a.dcm", PIXELS)
    file = dcmread(path)
    file.add_new(0x00280120, "SS", 3)
    file.save_as(path)
    np.testing.assert_array_equal(read_image(path).array[0, ..., 0], PIXELS.T)
    assert "doubtful-padding" in codes(only(path), "warning")


def test_nifti_headers_that_leave_left_and_right_open(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
    image.set_qform(np.eye(4), 0)
    image.set_sform(np.eye(4), 0)
    nib.save(image, tmp_path / "a.nii")
    image.set_qform(np.diag([-1.0, 1, 1, 1]), 1)
    image.set_sform(np.eye(4), 1)
    nib.save(image, tmp_path / "b.nii")
    image.set_qform(None, 0)
    nib.save(image, tmp_path / "good.nii")
    image.header["pixdim"][3] = 5
    nib.save(image, tmp_path / "c.nii")
    a, b, c, good = inspect(tmp_path)
    assert (codes(c, "warning"), good.findings) == (["two-spacings"], [])
    assert "got 1 x 1 x 5 mm against 1 x 1 x 1 mm" in c.findings[0].message
    assert codes(a, "warning") == ["no-orientation"]
    assert codes(b, "warning") == ["two-orientations"]
    assert "2 mm between them" in b.findings[0].message


def test_reading_tells_once_that_left_and_right_are_a_guess(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    image = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
    nib.save(image, tmp_path / "stated.nii.gz")
    image.set_qform(np.eye(4), 0)
    image.set_sform(np.eye(4), 0)
    nib.save(image, tmp_path / "open.nii.gz")
    assert read_image(tmp_path / "stated.nii.gz").doubts == ()
    assert not caplog.text
    (doubt,) = read_image(tmp_path / "open.nii.gz").doubts
    assert doubt == read_image(tmp_path / "open.nii.gz").doubts[0]
    assert doubt.startswith("the header does not say how the voxels lie in the patient: left and right are a guess")
    assert caplog.text.count("left and right are a guess") == 1
    assert "open.nii.gz" in caplog.text


def test_a_qform_that_is_no_rotation_does_not_matter_beside_an_sform(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.diag([2.0, 2, 2, 1]))
    image.set_qform(np.eye(4), 1)
    image.header["quatern_b"] = 5
    nib.save(image, tmp_path / "a.nii")
    read = read_image(tmp_path / "a.nii")
    np.testing.assert_array_equal(read.affine, np.diag([2.0, 2, 2, 1]))
    assert read.doubts == ()


@pytest.mark.parametrize(("name", "line"), [("a.nrrd", "space"), ("a.mha", "Transform"), ("a.mhd", "Transform")])
def test_nrrd_and_metaimage_that_leave_left_and_right_open(tmp_path: Path, name: str, line: str) -> None:
    """SimpleITK writes where the axes lie; without that line other readers, and itself, take a guess."""
    from SimpleITK import GetImageFromArray, WriteImage

    path = tmp_path / name
    WriteImage(GetImageFromArray(np.arange(24, dtype=np.int16).reshape(4, 3, 2)), str(path))
    assert codes(only(path), "warning") == []
    lines = path.read_bytes().split(b"\n")
    kept = [one for one in lines if not one.startswith((line.encode(), b"kinds")) or one.startswith(b"space d")]
    kept = [one.replace(b"space directions", b"spacings").replace(b"(1,0,0) (0,1,0) (0,0,1)", b"1 1 1") for one in kept]
    path.write_bytes(b"\n".join(one for one in kept if not one.startswith(b"space ")))
    assert codes(only(path), "warning") == ["no-orientation"]
    assert len(read_image(path).doubts) == 1


def test_masks_are_compared_with_the_image_of_their_name(tmp_path: Path, make_series: Make) -> None:
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    image, mask = np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.zeros((2, 3, 4), np.uint8)
    mask[1, 1, 1] = 1
    masks = {"a": (mask, 0.0), "b": (mask, 0.02), "c": (mask, 9.0), "d": (mask * 0, 0.0), "e": (mask, -1.0)}
    for case, (values, shift) in {**masks, "f": (mask[1:], 1.0)}.items():
        nib.save(nib.Nifti1Image(image, np.eye(4)), tmp_path / "images" / f"{case}_0000.nii.gz")
        moved = np.eye(4)
        moved[0, 3] = shift
        nib.save(nib.Nifti1Image(values, moved), tmp_path / "labels" / f"{case}.nii.gz")
    affine = read_image(make_series(tmp_path / "images" / "g", [0, 2, 4, 6])).affine + 9 * np.eye(4, k=3)
    nib.save(nib.Nifti1Image(np.ones((3, 2, 4), np.uint8), affine), tmp_path / "labels" / "g.nii.gz")
    found = {entry.path.name[0]: entry for entry in inspect(tmp_path) if entry.kind == "mask"}
    assert {case: codes(entry, "error") for case, entry in found.items()} == {
        "a": [],
        "b": ["other-grid"],
        "c": ["other-grid"],
        "d": [],
        "e": ["other-grid"],
        "f": ["other-grid"],
        "g": ["other-grid"],
    }
    reference = tmp_path / "images" / "b_0000.nii.gz"
    assert found["b"].findings[0].repair == f"--copy-geometry --reference {reference}"
    assert found["c"].findings[0].repair is None
    assert found["e"].findings[0].repair is None, "of the image's size and within it: its header may be the wrong one"
    assert found["f"].findings[0].repair == f"--resample-label --reference {reference.with_name('f_0000.nii.gz')}"


def test_masks_in_sub_folders_and_with_endings_are_compared_too(tmp_path: Path) -> None:
    for name in ("images/site", "labels/site", "atlas/site"):
        (tmp_path / name).mkdir(parents=True)
    values = np.arange(24).reshape(2, 3, 4).astype(np.uint8)
    for name in ("images/site/x", "images/site/x_seg", "labels/site/x_seg", "atlas/site/y"):
        nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / f"{name}.nii.gz")
    nib.save(nib.Nifti1Image(values, np.eye(4) + 9 * np.eye(4, k=3)), tmp_path / "labels" / "site" / "x_MASK.nii.gz")
    found = {entry.path.name[:-7]: codes(entry, "error") for entry in inspect(tmp_path) if entry.kind == "mask"}
    assert found == {"x_MASK": ["other-grid"], "x_seg": []}


def test_a_damaged_neighbour_is_told_with_the_series(tmp_path: Path, make_series: Make) -> None:
    folder = make_series(tmp_path / "ct", [0, 2, 4])
    (folder / "002.dcm").write_bytes((folder / "002.dcm").read_bytes()[:300])
    damaged, series = sorted(inspect(folder), key=lambda entry: entry.kind)
    assert (damaged.path.name, damaged.has_errors) == ("002.dcm", True)
    assert codes(series, "error") == ["unreadable-file"]


def test_nothing_of_the_patient_is_told(tmp_path: Path, make_series: Make) -> None:
    folder = make_series(tmp_path / "ct", [0, 2, 4, 4], SeriesDescription="CT of Secretname", SeriesNumber=2)
    entries = inspect(folder)
    assert entries[0].description == "(withheld)"
    told = as_table(entries, root=folder) + str(as_values(entries, root=folder))
    assert "secretname" not in told.lower()


def test_folders_are_searched_wholly_and_links_that_lead_back_once(tmp_path: Path, make_series: Make) -> None:
    deep = make_series(tmp_path / "p" / "study" / "ct", [0, 2])
    (deep / "loop").symlink_to(tmp_path)
    (tmp_path / "itself").symlink_to(tmp_path / "itself")
    assert [entry.path for entry in inspect(tmp_path)] == [deep]


def test_the_table_and_the_values_hold_the_same(tmp_path: Path, make_series: Make, make_dicom: Make) -> None:
    make_series(tmp_path / "one", [0, 2, 4, 6.5], StudyInstanceUID="1.2.9", SeriesNumber=1)
    make_dicom(
        tmp_path / "two" / "rt.dcm", PIXELS, SOPClassUID="1.2.840.10008.5.1.4.1.1.481.3", StudyInstanceUID="1.2.9"
    )
    nib.save(nib.Nifti1Image(np.ones((2, 3, 4), np.int16), np.eye(4)), tmp_path / "c.nii")
    values, table = as_values(inspect(tmp_path), root=tmp_path), as_table(inspect(tmp_path), root=tmp_path)
    assert (values["errors"], [study["study_uid"] for study in values["studies"]]) == (2, ["1.2.9"])
    series, structures = values["studies"][0]["series"]
    assert series["findings"][0]["repair"] == f"medseg data fix {tmp_path / 'one'} -o fixed.nii.gz --resample 2"
    assert structures["findings"][0]["message"] == "no image but RT Structure Set Storage"
    assert [image["path"] for image in values["images"]] == [str(tmp_path / "c.nii")]
    assert "study 1.2.9" in table
    assert "error: one: slices are not evenly spaced; got 2.000 mm" in table
    assert table.endswith("3 images and objects: 2 refused (2 errors), 0 warnings")


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
def test_bits_beyond_those_stored_are_no_part_of_the_value(tmp_path: Path, make_dicom: Make, signed: bool) -> None:
    """12 bits of 16; old scanners put an overlay into the others."""
    values = np.arange(6, dtype=np.int16).reshape(2, 3) * 100 - (300 if signed else 0)
    stored = (values.astype(np.uint16) & 0x0FFF) | 0xA000
    tags = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": int(signed)}
    path = make_dicom(tmp_path / "a.dcm", stored, **tags)
    np.testing.assert_array_equal(read_image(path).array[0, ..., 0].T, values)


@pytest.mark.real_data
def test_real_folders_are_listed_whole(real_data: Path) -> None:
    entries = inspect(real_data / "dicom_samples")
    assert len(entries) == 12
    stripped = {entry.path.name for entry in entries if entry.has_errors}
    assert stripped == {"emri_small_RLE.dcm", "emri_small_jpeg_ls_lossless.dcm"}
    syntaxes = {str(entry.transfer_syntax).partition(",")[0] for entry in entries}
    assert len(syntaxes) == 6
    (scan,) = inspect(real_data / "chest_ct_nlst" / "dicom_jpegls_16")
    assert (scan.modality, scan.size, scan.orientation, scan.findings) == ("CT", (512, 512, 16), "LPS", [])
    study = {entry.kind: entry for entry in inspect(real_data / "sarcoma_dicom_rtstruct")}
    assert study["series"].slices == 51
    assert [finding.message for finding in study["object"].findings] == ["no image but RT Structure Set Storage"]
    assert not any(entry.has_errors for entry in study.values())


@pytest.mark.real_data
def test_a_slice_taken_out_of_a_real_series_is_missed(real_data: Path, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "ct"
    shutil.copytree(real_data / "sarcoma_dicom_rtstruct" / "STS_003" / "CT", folder)
    for name in ("000020.dcm", "000021.dcm"):
        (folder / name).unlink()
    (entry,) = inspect(folder)
    assert codes(entry, "error") == ["missing-slices"]
    assert entry.findings[0].message.startswith("2 slices are missing; got 9.810 mm between slice ")
    assert "expected 3.270 mm" in entry.findings[0].message


@pytest.mark.parametrize(
    ("turn", "normal", "axes"),
    [
        ([1, 0, 0, 0, 1, 0], (0, 0, 1), "LPS"),
        ([1, 0, 0, 0, 0, -1], (0, 1, 0), "LIP"),
        ([0, 1, 0, 0, 0, -1], (-1, 0, 0), "PIR"),
        ([0.8, 0.6, 0, -0.6, 0.8, 0], (0, 0, 1), "LPS"),
    ],
    ids=["axial", "coronal", "sagittal", "oblique"],
)
def test_slices_of_any_direction_are_sorted_along_their_normal(
    tmp_path: Path, make_dicom: Make, turn: list[float], normal: tuple[int, ...], axes: str
) -> None:
    """Files in reverse order; slice k holds 6 k + 0..5 and lies 3 k mm along the normal."""
    for k in range(3):
        place = [3.0 * k * n for n in normal]
        make_dicom(tmp_path / f"{9 - k}.dcm", PIXELS + 6 * k, ImagePositionPatient=place, ImageOrientationPatient=turn)
    image = read_image(tmp_path)
    assert image.array[0, 0, 0].tolist() == [0, 6, 12]
    np.testing.assert_allclose(image.affine[:3, 2], 3 * np.array(normal) * [-1, -1, 1], atol=1e-9)
    assert only(tmp_path).orientation == axes


def test_a_tilted_multi_frame_file_names_its_repair_and_is_repaired(tmp_path: Path, make_enhanced: Make) -> None:
    from pydicom import dcmread

    from medseg.intake.repair import straighten

    path = make_enhanced(tmp_path / "a.dcm", [0, 4, 8])
    file = dcmread(path)
    for k, frame in enumerate(file.PerFrameFunctionalGroupsSequence):
        frame.PlanePositionSequence[0].ImagePositionPatient = [5, 6 + k, 4 * k]
    file.save_as(path)
    assert codes(only(path), "error") == ["tilted-gantry"]
    assert refused(path).endswith(f"medseg data fix {path} -o fixed.nii.gz --tilt")
    image = straighten(path)
    assert (image.modality, image.array.shape[2]) == ("MR", 3)
    np.testing.assert_allclose(image.affine[:3, :3], np.diag([-3, -2, 4]), atol=1e-9)
