"""NIfTI, NRRD and MetaImage: values, place, and what is refused."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from PIL import Image as Pillow

from medseg.errors import GeometryError, ImageError, LabelError, MedsegError
from medseg.intake import read_image, read_label

AFFINE = np.array([[-2.0, 0, 0, 10], [0, 3, 0, -20], [0, 0, 4, 30], [0, 0, 0, 1]])
VALUES = np.arange(24, dtype=np.int16).reshape(2, 3, 4)


def write_nifti(path: Path, values: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(values, AFFINE), path)
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "A.NII.GZ"])
def test_nifti_keeps_integers_and_place(tmp_path: Path, name: str) -> None:
    path = write_nifti(tmp_path / name.lower(), VALUES).rename(tmp_path / name)
    image = read_image(path)
    assert image.array.dtype == np.int16
    np.testing.assert_array_equal(image.array, VALUES[None])
    np.testing.assert_array_equal(image.affine, AFFINE)
    assert (image.source, image.modality, image.spacing_known) == (path, None, True)


def test_nifti_scale_and_intercept_are_applied(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii", VALUES)
    data = bytearray(path.read_bytes())
    data[112:120] = np.array([0.5, -3.0], "<f4").tobytes()  # scl_slope and scl_inter of the NIfTI-1 header
    path.write_bytes(bytes(data))
    image = read_image(path)
    assert image.array.dtype == np.float32
    np.testing.assert_allclose(image.array[0], VALUES * 0.5 - 3.0)


ITK = RuntimeError("Exception thrown in SimpleITK\nFailed to allocate memory for image.")


@pytest.mark.parametrize(
    ("name", "where", "error"),
    [
        ("a.nii.gz", "medseg.intake.nifti._stored", MemoryError("Unable to allocate 1.06 GiB")),
        ("a.mha", "SimpleITK.ReadImage", ITK),
    ],
)
def test_a_good_file_that_finds_no_memory_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, where: str, error: Exception
) -> None:
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(VALUES), str(tmp_path / name))

    def full(*_args: object, **_kwargs: object) -> None:
        raise error

    monkeypatch.setattr(where, full)
    with pytest.raises(ImageError, match=r"allocate .*; too little memory was free"):
        read_image(tmp_path / name)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [("uint8", "uint8"), ("float64", "float32"), ("float32", "float32"), ("uint32", "int32"), (">i2", "int16")],
)
def test_dtypes_are_those_that_pytorch_has(tmp_path: Path, stored: str, expected: str) -> None:
    image = read_image(write_nifti(tmp_path / "a.nii", VALUES.astype(stored)))
    assert image.array.dtype == np.dtype(expected)
    np.testing.assert_array_equal(image.array[0], VALUES)


def test_a_fourth_axis_of_one_is_dropped_and_others_are_refused(tmp_path: Path) -> None:
    assert read_image(write_nifti(tmp_path / "one.nii", VALUES[..., None])).array.shape == (1, 2, 3, 4)
    path = write_nifti(tmp_path / "two.nii", np.stack([VALUES, VALUES], -1))
    with pytest.raises(ImageError, match=r"two\.nii.*\(2, 3, 4, 2\).*one volume.*split") as refused:
        read_image(path)
    assert "\n" not in str(refused.value)


def test_a_flat_nifti_is_a_volume_of_one_slice(tmp_path: Path) -> None:
    assert read_image(write_nifti(tmp_path / "a.nii", VALUES[..., 0])).array.shape == (1, 2, 3, 1)


def with_bad_place(path: Path, fill: float) -> Path:
    write_nifti(path, VALUES)
    data = bytearray(path.read_bytes())
    data[280:296] = np.full(4, fill, "<f4").tobytes()  # srow_x of the NIfTI-1 header
    path.write_bytes(bytes(data))
    return path


@pytest.mark.parametrize("fill", [0.0, np.nan], ids=["singular", "nan"])
def test_an_affine_that_places_nothing_is_refused(tmp_path: Path, fill: float) -> None:
    with pytest.raises(GeometryError, match=r"a\.nii.*affine"):
        read_image(with_bad_place(tmp_path / "a.nii", fill))


def test_lengths_in_metres_are_refused(tmp_path: Path) -> None:
    file = nib.Nifti1Image(VALUES, AFFINE)
    file.header.set_xyzt_units("meter")
    nib.save(file, tmp_path / "a.nii")
    with pytest.raises(GeometryError, match="meter"):
        read_image(tmp_path / "a.nii")


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("a.nrrd", 'space units: "cm" "cm" "cm"', "another unit; got cm, cm, cm; expected mm"),
        ("a.mha", "DistanceUnits = um", "another unit; got um; expected mm"),
        ("a.mha", "ElementToIntensityFunctionOffset = -1024", "stored scaled, which ITK ignores; got .*offset -1024"),
        ("a.nrrd", 'space units: "mm" "mm" "mm"', None),
        ("a.mha", "ElementToIntensityFunctionSlope = 1", None),
    ],
    ids=["nrrd in cm", "mha in um", "mha scaled", "nrrd in mm", "mha not scaled"],
)
def test_units_that_itk_ignores_are_refused(tmp_path: Path, name: str, line: str, message: str | None) -> None:
    path = tmp_path / name
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(VALUES), str(path))
    last = b"encoding" if name == "a.nrrd" else b"ElementType"
    path.write_bytes(path.read_bytes().replace(last, line.encode() + b"\n" + last, 1))
    if message is None:
        assert read_image(path).array.max() == 23
    else:
        with pytest.raises(MedsegError, match=rf"{name}: .*{message}"):
            read_image(path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((2, 2, 2), 7, np.int16), "same value; got 7"),
        (np.array([[[1.0, np.nan], [np.inf, 2.0]]], np.float32), "2 of 4 voxels NaN or infinite"),
        (np.zeros((2, 0, 2), np.int16), "no voxels|cannot be read"),
    ],
    ids=["constant", "not finite", "empty"],
)
def test_images_without_content_are_refused(tmp_path: Path, values: np.ndarray, message: str) -> None:
    with pytest.raises(ImageError, match=rf"a\.nii.*({message})"):
        read_image(write_nifti(tmp_path / "a.nii", values))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("keep", [0.0, 0.05, 0.6])
def test_truncated_files_are_refused(tmp_path: Path, suffix: str, keep: float) -> None:
    path = tmp_path / f"a{suffix}"
    values = np.random.default_rng(0).integers(0, 1000, (20, 20, 20)).astype(np.int16)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(values), str(path))
    read_image(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(ImageError, match=rf"a\{suffix}"):
        read_image(path)


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd", ".nii.gz", ".NRRD", ".MHA", ".MHD"])
def test_every_volume_format_gives_the_same_image(tmp_path: Path, suffix: str) -> None:
    """The same grid, given to ITK in LPS: RAS is LPS with the first two rows negated."""
    file = SimpleITK.GetImageFromArray(VALUES.T)
    file.SetSpacing((2.0, 3.0, 4.0))
    file.SetOrigin((-10.0, 20.0, 30.0))
    file.SetDirection((1, 0, 0, 0, -1, 0, 0, 0, 1))
    SimpleITK.WriteImage(file, str(tmp_path / f"a{suffix.lower()}"))
    (tmp_path / f"a{suffix.lower()}").rename(tmp_path / f"a{suffix}")
    image = read_image(tmp_path / f"a{suffix}")
    assert image.array.dtype == np.int16
    np.testing.assert_array_equal(image.array, VALUES[None])
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-5)


def test_a_header_without_its_raw_file_is_refused(tmp_path: Path) -> None:
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(VALUES), str(tmp_path / "a.mhd"))
    (tmp_path / "a.raw").unlink()
    with pytest.raises(ImageError, match=r"a\.mhd"):
        read_image(tmp_path / "a.mhd")


def test_vectors_and_time_series_of_itk_are_refused(tmp_path: Path) -> None:
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros((4, 3, 2, 3)), isVector=True), str(tmp_path / "v.nrrd"))
    with pytest.raises(ImageError, match="3 values per voxel"):
        read_image(tmp_path / "v.nrrd")


@pytest.mark.parametrize("name", ["a.xyz", "a", "a.raw"])
def test_unknown_formats_and_missing_files_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImageError, match="no such file"):
        read_image(tmp_path / name)
    (tmp_path / name).write_bytes(b"something")
    with pytest.raises(ImageError, match="unknown image format"):
        read_image(tmp_path / name)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([0.0, 1.0, 255.0]), "uint8"),
        (np.array([0.0, 0.9999999, 256.0]), "uint16"),
        (np.array([0, 70000, 1], np.int32), "int32"),
        (np.zeros(3, np.int16), "uint8"),
    ],
    ids=["stored as float", "float noise", "large", "empty mask"],
)
def test_masks_are_the_smallest_integers(tmp_path: Path, values: np.ndarray, expected: str) -> None:
    label = read_label(write_nifti(tmp_path / "a.nii", values.reshape(3, 1, 1)))
    assert label.array.dtype == np.dtype(expected)
    assert label.array.shape == (3, 1, 1)
    np.testing.assert_array_equal(label.array.ravel(), np.rint(values))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.0, 0.5, 1.0], "1 voxels such as 0.5"),
        ([0.0, -1.0, 1.0], "-1 to 1"),
        ([0.0, np.nan, 1.0], "1 voxels NaN"),
        ([0.0, 1.0, 3e9], "0 to 3000000000"),
    ],
)
def test_values_that_are_no_labels_are_refused(tmp_path: Path, values: list[float], message: str) -> None:
    with pytest.raises(LabelError, match=message):
        read_label(write_nifti(tmp_path / "a.nii", np.array(values).reshape(3, 1, 1)))


@pytest.mark.parametrize(
    ("name", "unwanted"),
    [("a.nii.gz", {"SimpleITK", "monai", "torch"}), ("a.png", {"SimpleITK", "monai", "torch", "nibabel", "pydicom"})],
)
def test_nifti_and_png_bring_no_library_they_do_not_need(tmp_path: Path, name: str, unwanted: set[str]) -> None:
    """nibabel itself imports pydicom where it is installed."""
    write_nifti(tmp_path / "a.nii.gz", VALUES)
    Pillow.fromarray(VALUES[0].astype(np.uint8)).save(tmp_path / "a.png")
    code = (
        "import sys, medseg.intake as intake\n"
        f"intake.read_image({str(tmp_path / name)!r})\n"
        f"sys.exit(' '.join({unwanted!r} & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_refusal_is_a_medseg_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes(b"\x1f\x8b no gzip")
    with pytest.raises(MedsegError) as refused:
        read_image(tmp_path / "a.nii.gz")
    assert "\n" not in str(refused.value)


def test_a_header_that_asks_for_more_than_the_file_can_hold_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii", VALUES)
    data = bytearray(path.read_bytes())
    data[40:48] = np.array([3, 32000, 32000, 32000], "<i2").tobytes()  # dim of the NIfTI-1 header: 65 TB
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(bytes(data)))
    with pytest.raises(ImageError, match=r"b\.nii\.gz.*more voxels than the file can hold.*\(32000, 32000, 32000\)"):
        read_image(tmp_path / "b.nii.gz")
