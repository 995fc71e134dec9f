"""Masks on disk: values, grid, type, and what is refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Picture

from medseg.case import Image
from medseg.errors import OutputError
from medseg.outputs import write_mask

# X runs to the left, Y to posterior, and the slices are tilted by the 3-4-5 triangle
OBLIQUE = np.array([[-0.5, 0, 0, 12.25], [0, -0.5 * 0.8, 2 * 0.6, -40], [0, 0.5 * 0.6, 2 * 0.8, 7.5], [0, 0, 0, 1]])


def labels(array, affine=OBLIQUE) -> Image:
    return Image(np.asarray(array), affine, Path("a"))


def test_a_volume_keeps_values_and_grid_for_every_reader(tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    array = np.arange(24).reshape(2, 3, 4)
    write_mask(labels(array), tmp_path / "a.nii.gz")
    read = nib.load(tmp_path / "a.nii.gz")
    assert read.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asarray(read.dataobj), array)
    np.testing.assert_allclose(read.affine, OBLIQUE, atol=1e-6)
    np.testing.assert_allclose(read.get_qform(), OBLIQUE, atol=1e-5)
    assert (int(read.header["sform_code"]), int(read.header["qform_code"])) == (1, 1)
    assert read.header.get_xyzt_units()[0] == "mm"
    other = sitk.ReadImage(str(tmp_path / "a.nii.gz"))
    np.testing.assert_allclose(other.GetOrigin(), (-12.25, 40, 7.5), atol=1e-4)  # LPS
    assert other.GetPixel(1, 2, 3) == array[1, 2, 3]


@pytest.mark.parametrize(("highest", "dtype"), [(0, np.uint8), (255, np.uint8), (256, np.uint16), (65535, np.uint16)])
def test_the_type_is_the_smallest_that_holds_the_labels(tmp_path: Path, highest, dtype) -> None:
    write_mask(labels([[[0, highest]]]), tmp_path / "a.nii.gz")
    read = nib.load(tmp_path / "a.nii.gz")
    assert read.get_data_dtype() == dtype
    assert int(np.asarray(read.dataobj).max()) == highest


def test_a_sheared_grid_has_no_qform_that_would_contradict_it(tmp_path: Path) -> None:
    tilted = np.array([[1, 0, 0, 0], [0, 1, 0.5, 0], [0, 0, 2, 0], [0, 0, 0, 1.0]])
    write_mask(labels(np.ones((2, 2, 2), int), tilted), tmp_path / "a.nii.gz")
    read = nib.load(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(read.affine, tilted)
    assert int(read.header["qform_code"]) == 0


def test_equal_masks_give_equal_files(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "b.nii.gz"):
        write_mask(labels(np.ones((2, 2, 2), int)), tmp_path / name)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64])
def test_the_memorys_order_does_not_matter(tmp_path: Path, name: str, dtype: type) -> None:
    """A file holds X fastest, whatever the array has; read back with nibabel and zlib."""
    array = (np.arange(300 * 3 * 200) % 251).astype(dtype).reshape(300, 3, 200)
    views = (array, np.asfortranarray(array), array[:, :, ::-1].copy()[:, :, ::-1])
    for number, view in enumerate(views):
        write_mask(labels(view), tmp_path / f"{number}{name}")
        np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / f"{number}{name}").dataobj), array)
    assert len({(tmp_path / f"{number}{name}").read_bytes() for number in range(3)}) == 1


def test_a_large_mask_is_one_whole_gzip_stream(tmp_path: Path) -> None:
    """More than one piece is compressed, and more than one group of slices is brought into order."""
    array = np.random.default_rng(0).integers(0, 3, (300, 300, 400)).astype(np.uint8)
    write_mask(labels(array), tmp_path / "a.nii.gz")
    content = gzip.decompress((tmp_path / "a.nii.gz").read_bytes())
    assert content[352:] == array.tobytes(order="F")


def test_a_picture_holds_the_labels_with_x_along_the_columns(tmp_path: Path) -> None:
    write_mask(labels([[0, 1], [2, 3], [4, 255]], np.eye(4)), tmp_path / "a.png")
    with Picture.open(tmp_path / "a.png") as read:
        assert (read.mode, read.size) == ("L", (3, 2))
        assert np.asarray(read).tolist() == [[0, 2, 4], [1, 3, 255]]


@pytest.mark.parametrize(
    ("array", "name", "message"),
    [
        pytest.param([[0, 256]], "a.png", r"0 to 256.*0 to 255", id="too-many-for-png"),
        pytest.param([[[0, 65536]]], "a.nii.gz", "0 to 65536", id="too-many-for-nifti"),
        pytest.param(np.zeros((1, 1, 32768), int), "a.nii", "at most 32767 voxels an axis", id="too-long-for-nifti"),
        pytest.param([[[-1, 1]]], "a.nii.gz", "-1 to 1", id="negative"),
        pytest.param([[[0, 1]]], "a.png", "expected .nii.gz", id="volume-as-png"),
        pytest.param([[0, 1]], "a.jpg", "'.jpg'", id="lossy"),
    ],
)
def test_what_the_format_cannot_hold_is_refused_and_leaves_nothing(tmp_path: Path, array, name, message) -> None:
    with pytest.raises(OutputError, match=message):
        write_mask(labels(array), tmp_path / name)
    assert list(tmp_path.iterdir()) == []
