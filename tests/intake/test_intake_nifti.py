"""NIfTI read straight into memory, beside nibabel's own reading."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.errors import ImageError, LabelError, MedsegError
from medseg.intake import read_image, read_label

AFFINE = np.array([[-2.0, 0.0, 0, 10], [0, 3, 0, -20], [0, 0, 4, 30], [0, 0, 0, 1]])
VALUES = (np.arange(2 * 3 * 4) * 7 - 50).astype(np.int16).reshape(2, 3, 4)


def same_as_nibabel(path: Path) -> None:
    image, expected = read_image(path), nib.load(path)
    np.testing.assert_array_equal(image.array[0], np.asarray(expected.dataobj).astype(image.array.dtype))
    np.testing.assert_array_equal(image.affine, expected.affine)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image], ids=["nifti-1", "nifti-2"])
@pytest.mark.parametrize("dtype", ["<i2", ">i2", "u1", "<u2", "<f4", ">f8", "<i4"])
def test_every_kind_of_file_reads_as_nibabel_reads_it(tmp_path: Path, dtype: str, kind: type, suffix: str) -> None:
    header = kind.header_class(endianness=dtype[0] if dtype[0] in "<>" else "<")
    header.set_data_dtype(dtype)
    nib.save(kind(np.abs(VALUES).astype(dtype), AFFINE, header), tmp_path / f"a{suffix}")
    same_as_nibabel(tmp_path / f"a{suffix}")


def test_extensions_before_the_voxels_are_passed_over(tmp_path: Path) -> None:
    image = nib.Nifti1Image(VALUES, AFFINE)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"x" * 1000))
    nib.save(image, tmp_path / "a.nii.gz")
    same_as_nibabel(tmp_path / "a.nii.gz")


@pytest.mark.parametrize(("slope", "intercept"), [(0.5, -3.0), (-2.0, 0.0), (1.0, -1024.0), (0.0, 7.0)], ids=str)
def test_scaling_is_that_of_nibabel(tmp_path: Path, slope: float, intercept: float) -> None:
    nib.save(nib.Nifti1Image(VALUES, AFFINE), tmp_path / "a.nii")
    data = bytearray((tmp_path / "a.nii").read_bytes())
    data[112:120] = np.array([slope, intercept], "<f4").tobytes()  # scl_slope and scl_inter of the NIfTI-1 header
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(bytes(data)))
    same_as_nibabel(tmp_path / "a.nii.gz")


def test_voxels_are_in_the_files_own_order_and_may_be_written_to(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(VALUES, AFFINE), tmp_path / "a.nii.gz")
    array = read_image(tmp_path / "a.nii.gz").array
    assert array[0].flags.f_contiguous
    assert array.flags.writeable


def test_a_file_of_several_gzip_members_is_read(tmp_path: Path) -> None:
    """As bgzip and pigz --independent write it."""
    nib.save(nib.Nifti1Image(VALUES, AFFINE), tmp_path / "b.nii")
    content = (tmp_path / "b.nii").read_bytes()
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(content[:360]) + gzip.compress(content[360:]))
    same_as_nibabel(tmp_path / "a.nii.gz")


def damaged(path: Path, at: int) -> Path:
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(bytes(data))
    return path


@pytest.mark.parametrize("read", [read_image, read_label])
def test_a_wrong_checksum_is_refused(tmp_path: Path, read: object) -> None:
    """Voxels that decompress but are not those that were compressed."""
    nib.save(nib.Nifti1Image(np.abs(VALUES), AFFINE), tmp_path / "a.nii.gz")
    with pytest.raises(ImageError, match=r"a\.nii\.gz: cannot be read as NIfTI"):
        read(damaged(tmp_path / "a.nii.gz", at=-6))  # type: ignore[operator]


@pytest.mark.parametrize("content", [b"", b"\x5c\x01", b"no header " * 100], ids=["nothing", "two bytes", "text"])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_what_has_no_header_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    with pytest.raises(MedsegError, match=rf"{name}: (cannot be read as NIfTI|the file is empty)"):
        read_image(tmp_path / name)


@pytest.mark.real_data
def test_a_whole_ct_reads_as_nibabel_reads_it(real_data: Path) -> None:
    same_as_nibabel(real_data / "chest_ct_nlst" / "ct.nii.gz")


@pytest.mark.parametrize("most", [2, 3, 25])
def test_a_mask_that_was_scaled_into_bytes_comes_back_as_its_labels(tmp_path: Path, most: int) -> None:
    """nibabel saves floating numbers as bytes with a slope of 2/255 and the like: label 1 is 0.996 then."""
    labels = np.arange(most + 1, dtype=np.float64).reshape(-1, 1, 1) * np.ones((1, 3, 4))
    image = nib.Nifti1Image(labels, np.eye(4))
    image.set_data_dtype(np.uint8)
    nib.save(image, tmp_path / "mask.nii.gz")
    assert nib.load(tmp_path / "mask.nii.gz").dataobj.slope != 1
    assert np.array_equal(read_label(tmp_path / "mask.nii.gz").array, labels)


def test_a_scaled_mask_with_values_between_labels_is_refused(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.array([0.0, 0.5, 1.0, 2.0]).reshape(4, 1, 1), np.eye(4))
    image.set_data_dtype(np.uint8)
    nib.save(image, tmp_path / "mask.nii")
    with pytest.raises(LabelError, match="values that are no integers"):
        read_label(tmp_path / "mask.nii")
