"""Every kind of file of the reference images either reads, or is refused for a reason that is written here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from medseg.errors import GeometryError, ImageError
from medseg.geometry import orientation, spacing_mm
from medseg.intake import case_id, check_pair, find_inputs, read_image, read_label

pytestmark = pytest.mark.real_data

VOLUME_PAIRS = [
    ("hippocampus/imagesTr", "hippocampus/labelsTr", {1, 2}, 1),
    ("sarcoma_ct_mr/CT/images", "sarcoma_ct_mr/CT/labels", {1}, 1),
    ("sarcoma_ct_mr/MR_T1/images", "sarcoma_ct_mr/MR_T1/labels", {1}, 1),
]
GREY_FOLDERS = [
    *(f"mednist/{name}" for name in ("AbdomenCT", "BreastMRI", "CXR", "ChestCT", "Hand", "HeadCT")),
    *(f"brain_tumor_mr/{p}/{c}_tumor" for p in ("train", "val") for c in ("glioma", "meningioma", "no", "pituitary")),
    "liver_ct_slices/images",
    "cxr_wingspan/CXR_png",
]
COMPRESSED = ["mr_compressed_j2k", "mr_compressed_jpeg", "mr_compressed_jpegls", "mr_compressed_rle"]


def every(folder: Path, step: int) -> list[Path]:
    files = sorted(folder.iterdir())
    assert files
    return files[::step]


@pytest.mark.parametrize(("images", "labels", "known", "step"), VOLUME_PAIRS, ids=str)
def test_volume_pairs_read_and_fit(real_data: Path, images: str, labels: str, known: set[int], step: int) -> None:
    for path in every(real_data / images, step):
        image, label = read_image(path), read_label(real_data / labels / path.name)
        assert image.array.ndim == 4
        assert label.array.dtype == np.uint8
        check_pair(image, label, case_id=case_id(path), labels=known)


@pytest.mark.parametrize("folder", GREY_FOLDERS)
def test_pictures_read_as_eight_bit_grey(real_data: Path, folder: str) -> None:
    """MedNIST has a picture that shows nothing: constant ones, by Pillow's own count, are all that may be refused."""
    inputs, refused = find_inputs(real_data / folder), 0
    assert len(inputs) == len(list((real_data / folder).iterdir()))
    for found in inputs:
        with Pillow.open(found.path) as picture:
            low, high = picture.convert("L").getextrema()
        if low == high:
            refused += 1
            with pytest.raises(ImageError, match="same value"):
                read_image(found.path)
        else:
            array = read_image(found.path).array
            assert (array.dtype, array.shape[0], array.max()) == (np.uint8, 1, high)
    assert refused <= len(inputs) // 100


def test_picture_masks_fit_their_images(real_data: Path) -> None:
    for path in every(real_data / "liver_ct_slices" / "images", 1):
        label = read_label(real_data / "liver_ct_slices" / "masks" / f"{path.stem}.png")
        check_pair(read_image(path), label, case_id=path.stem, labels={1})
    for path in every(real_data / "cxr_wingspan" / "CXR_png", 1):
        for side in ("leftMask", "rightMask", "heartMask"):
            label = read_label(real_data / "cxr_wingspan" / "ManualMask" / side / path.name)
            check_pair(read_image(path), label, case_id=path.stem, labels={255})


def test_the_left_lung_lies_at_high_x_in_a_frontal_x_ray(real_data: Path) -> None:
    masks = real_data / "cxr_wingspan" / "ManualMask"
    name = every(masks / "leftMask", 1)[0].name
    left, right = (np.argwhere(read_label(masks / side / name).array).mean(0) for side in ("leftMask", "rightMask"))
    assert left[0] > right[0]
    assert abs(left[1] - right[1]) < 100


def test_jpeg_ls_slices_equal_the_volume_they_come_from(real_data: Path) -> None:
    """The NIfTI has what lies outside the scan (-2048) clipped to -1024."""
    whole = read_image(real_data / "chest_ct_nlst" / "ct.nii.gz")
    part = read_image(real_data / "chest_ct_nlst" / "dicom_jpegls_16")
    assert (part.array.shape, part.array.dtype, part.modality) == ((1, 512, 512, 16), np.int16, "CT")
    first = np.linalg.solve(whole.affine, part.affine @ [0, 0, 0, 1])
    k = round(float(first[2]))
    np.testing.assert_allclose(first, [0, 0, k, 1], atol=1e-3)
    np.testing.assert_allclose(part.affine[:3, :3], whole.affine[:3, :3], atol=1e-4)
    np.testing.assert_array_equal(np.maximum(part.array, -1024), whole.array[..., k : k + 16])


def test_compressed_copies_hold_identical_pixels(real_data: Path) -> None:
    """And the sagittal series lies where its headers say: sorted along the normal, which points right."""
    copies = [read_image(real_data / "dicom_samples" / name) for name in COMPRESSED]
    for image in copies:
        assert (image.array.shape, image.array.dtype, image.modality) == ((1, 256, 256, 4), np.uint16, "MR")
        np.testing.assert_array_equal(image.array, copies[0].array)
        np.testing.assert_array_equal(image.affine, copies[0].affine)
        assert orientation(image.affine) == "PIR"
    for name in ("mr_uncompressed", "mr_implicit_vr"):
        image = read_image(real_data / "dicom_samples" / name)
        np.testing.assert_array_equal(image.affine, copies[0].affine)
        assert image.array.shape == copies[0].array.shape


@pytest.mark.parametrize(
    ("name", "spacing"),
    [("philips_enhanced_mr.dcm", (1, 1, 1.2)), ("siemens_multiframe_mr.dcm", (0.9375, 0.9375, 0.9))],
)
def test_enhanced_files_are_volumes(real_data: Path, name: str, spacing: tuple[float, ...]) -> None:
    image = read_image(real_data / "dicom_samples" / "enhanced" / name)
    assert image.array.shape == (1, 256, 256, 8)
    assert spacing_mm(image.affine) == pytest.approx(spacing, abs=1e-3)


@pytest.mark.parametrize("name", ["emri_small_RLE.dcm", "emri_small_jpeg_ls_lossless.dcm"])
def test_enhanced_files_stripped_of_their_positions_are_refused(real_data: Path, name: str) -> None:
    with pytest.raises(GeometryError, match=r"do not say where they lie.*expected 10 frames"):
        read_image(real_data / "dicom_samples" / "enhanced" / name)


@pytest.mark.parametrize("name", ["explicit_VR-UN.dcm", "nema-ct1_jpll.dcm"])
def test_single_ct_slices_are_volumes_of_one_slice(real_data: Path, name: str) -> None:
    image = read_image(real_data / "dicom_samples" / "single" / name)
    assert (image.array.shape, image.array.dtype, image.modality) == ((1, 512, 512, 1), np.int16, "CT")


def test_a_study_folder_gives_its_series_and_not_its_structure_set(real_data: Path) -> None:
    study = real_data / "sarcoma_dicom_rtstruct" / "STS_003"
    series, mask = find_inputs(study)
    assert (series.path.name, mask.path.name) == ("CT", "CT_mask.nii.gz")
    image, label = read_image(series.path), read_label(mask.path)
    check_pair(image, label, case_id=series.id, labels={1})
    with pytest.raises(ImageError, match="not a DICOM image; got RT Structure Set Storage"):
        read_image(study / "RTSTRUCT" / "RS.dcm")
    with pytest.raises(ImageError, match="holds no DICOM images"):
        read_image(study / "RTSTRUCT")
