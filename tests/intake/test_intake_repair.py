"""`medseg data fix`: the repaired grid against places and values worked out by hand, from outside the code."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.case import Image
from medseg.errors import GeometryError, ImageError, LabelError, MedsegError, OutputError
from medseg.geometry import shear_deg, spacing_mm
from medseg.intake import check_pair, read_image, read_label
from medseg.intake.repair import copy_geometry, flip, put_on_grid, refuse_in_place, space_evenly, straighten
from medseg.outputs.images import write_image

Make = Callable[..., Path]


def save(path: Path, array: np.ndarray, affine: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def ramp(shape: tuple[int, int, int], affine: np.ndarray) -> np.ndarray:
    """At each voxel 2 R + 3 A + 5 S + 1000, of its place in RAS mm: linear, so linear interpolation is exact."""
    index = np.stack([*np.indices(shape), np.ones(shape)]).reshape(4, -1)
    return (np.array([2.0, 3.0, 5.0, 1000.0]) @ affine @ index).reshape(shape)


def places(image: Image) -> np.ndarray:
    """2 R + 3 A + 5 S + 1000 where each voxel of an image says it lies."""
    return ramp(image.array.shape, image.affine)


SHEARED = np.array([[-1.0, 0, 0, 10], [0, -1.0, -0.5, 20], [0, 0, 2.0, 30], [0, 0, 0, 1]])


def test_a_sheared_volume_keeps_every_value_in_its_place(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", ramp((6, 20, 5), SHEARED).astype(np.float32), SHEARED)
    image = straighten(path)
    assert shear_deg(image.affine) < 1e-6
    np.testing.assert_allclose(spacing_mm(image.affine), (1, 1, 2))
    assert image.array.shape == (6, 22, 5)
    true, outside = places(image), float(ramp((6, 20, 5), SHEARED).min())
    inside = np.abs(image.array - outside) > 1e-3
    inner = image.array[:, 2:-2]
    np.testing.assert_allclose(inner[inside[:, 2:-2]], true[:, 2:-2][inside[:, 2:-2]], atol=1e-2)
    assert inside.mean() > 0.85


def test_a_tilted_series_becomes_rectangular_slices(tmp_path: Path, make_dicom: Make) -> None:
    """Every slice is shifted by half a pixel along Y: a block's centre of mass goes straight up in the result."""
    for k in range(4):
        pixels = np.zeros((16, 8), np.int16)
        pixels[6:10, 2:6] = 100
        make_dicom(tmp_path / "ct" / f"{k}.dcm", pixels, ImagePositionPatient=[0, 0.5 * k, 2 * k], InstanceNumber=k + 1)
    with pytest.raises(GeometryError, match="--tilt"):
        read_image(tmp_path / "ct")
    image = straighten(tmp_path / "ct")
    assert (image.modality, image.array.dtype) == ("CT", np.int16)
    np.testing.assert_allclose(image.affine[:3, :3], np.diag([-1, -1, 2]), atol=1e-9)
    y = [(np.arange(image.array.shape[1]) * image.array[3, :, k]).sum() / image.array[3, :, k].sum() for k in range(4)]
    in_patient = [-(image.affine @ [0, value, 0, 1])[1] for value in y]
    np.testing.assert_allclose(in_patient, [7.5 + 0.5 * k for k in range(4)], atol=1e-6)
    assert [int(image.array[..., k].sum()) for k in range(4)] == [1600] * 4


def test_uneven_slices_are_interpolated_where_they_lie(tmp_path: Path, make_series: Make) -> None:
    """Slice k holds 10 k + 0..5 at z = 0, 2, 4, 7; every 2 mm: 0, 10, 20 and, two thirds of the way, 26.67 -> 27."""
    folder = make_series(tmp_path / "ct", [0, 2, 4, 7])
    image = space_evenly(folder, slice_spacing_mm=2)
    assert image.array[0, 0].tolist() == [0, 10, 20, 27]
    np.testing.assert_allclose(image.affine, np.diag([-1, -1, 2, 1]))
    assert space_evenly(folder, slice_spacing_mm=3.5).array[0, 0].tolist() == [0, 18, 30]


@pytest.mark.parametrize(
    ("z_mm", "told"),
    [
        ([0, 2, 4], "nothing to repair; got slices every 2 mm; expected uneven slices"),
        ([0, 2, 6, 8], "1 slice is missing"),
        ([0, 2, 4, 6, 10.9], "not evenly spaced"),
        ([0, 2, 2, 5], "more than one slice at one position"),
    ],
    ids=["even", "missing", "a gap too wide", "duplicate"],
)
def test_no_slice_is_made_up(tmp_path: Path, make_series: Make, z_mm: list[float], told: str) -> None:
    with pytest.raises(GeometryError, match=told):
        space_evenly(make_series(tmp_path / "ct", z_mm), slice_spacing_mm=2)


@pytest.mark.parametrize(
    ("mm", "told"),
    [(11, "no volume would be left; got 11 mm"), (1e-12, "larger than the memory")],
    ids=["too wide", "too narrow"],
)
def test_spacings_that_make_no_volume_are_refused(tmp_path: Path, make_series: Make, mm: float, told: str) -> None:
    with pytest.raises(MedsegError, match=told):
        space_evenly(make_series(tmp_path / "ct", [0, 2, 4.5, 6, 8, 10]), slice_spacing_mm=mm)


def test_what_is_not_there_or_dicom_is_named(tmp_path: Path, make_series: Make) -> None:
    series, missing = make_series(tmp_path / "ct", [0, 2]), tmp_path / "no.nii"
    for repair in (straighten, partial(space_evenly, slice_spacing_mm=1), partial(copy_geometry, reference=series)):
        with pytest.raises(ImageError, match=r"no\.nii: no such file or folder"):
            repair(missing)
    for repair in (copy_geometry, put_on_grid, partial(flip, axis="x")):
        with pytest.raises(ImageError, match="ct: DICOM is not repaired in this way"):
            repair(series, reference=series)


def test_what_is_not_tilted_is_not_repaired(tmp_path: Path, make_series: Make) -> None:
    path = save(tmp_path / "a.nii", np.arange(8, dtype=np.int16).reshape(2, 2, 2), np.eye(4))
    for good in (path, make_series(tmp_path / "ct", [0, 2, 4])):
        with pytest.raises(GeometryError, match="nothing to repair"):
            straighten(good)
    with pytest.raises(GeometryError, match=r"nothing to repair; got a file that is evenly spaced by its format"):
        space_evenly(path, slice_spacing_mm=1)


def test_the_copied_geometry_is_the_image_s_and_the_values_are_the_mask_s(tmp_path: Path) -> None:
    affine = np.diag([-0.7, -0.7, 3.0, 1.0])
    image = save(tmp_path / "i.nii", np.arange(24, dtype=np.int16).reshape(2, 3, 4), affine)
    mask = save(tmp_path / "m.nii", (np.arange(24) % 3).reshape(2, 3, 4).astype(np.uint8), np.eye(4))
    fixed = copy_geometry(mask, reference=image)
    np.testing.assert_array_equal(fixed.array, (np.arange(24) % 3).reshape(2, 3, 4))
    np.testing.assert_allclose(fixed.affine, affine, rtol=1e-6)
    other = save(tmp_path / "o.nii", np.ones((2, 3, 5), np.uint8), np.eye(4))
    with pytest.raises(GeometryError, match=r"another size than .*i\.nii; got \(2, 3, 5\); expected \(2, 3, 4\)"):
        copy_geometry(other, reference=image)


def test_a_mask_is_put_on_the_grid_by_place(tmp_path: Path) -> None:
    """The same box in the patient on a grid that is turned, flipped and half as wide."""
    image = save(tmp_path / "i.nii", np.arange(8 * 8 * 8, dtype=np.int16).reshape(8, 8, 8), np.eye(4))
    turned = np.array([[0, -0.5, 0, 7.25], [0.5, 0, 0, -0.25], [0, 0, 1, 0], [0, 0, 0, 1]])
    values = np.zeros((16, 16, 8), np.uint8)
    index = np.stack([*np.indices(values.shape), np.ones(values.shape)]).reshape(4, -1)
    r, a, s = (turned @ index)[:3].reshape(3, *values.shape)
    values[(r > 1.5) & (r < 5.5) & (a > 2.5) & (a < 4.5) & (s > 0.5) & (s < 3.5)] = 2
    mask = save(tmp_path / "m.nii", values, turned)
    expected = np.zeros((8, 8, 8), np.uint8)
    expected[2:6, 3:5, 1:4] = 2
    fixed = put_on_grid(mask, reference=image)
    np.testing.assert_array_equal(fixed.array, expected)
    check_pair(read_image(image), fixed, case_id="1", labels={2})


def test_a_mask_that_misses_the_image_is_refused(tmp_path: Path) -> None:
    image = save(tmp_path / "i.nii", np.arange(8, dtype=np.int16).reshape(2, 2, 2), np.eye(4))
    away = np.eye(4)
    away[0, 3] = 50
    mask = save(tmp_path / "m.nii", np.full((2, 2, 2), 3, np.uint8), away)
    with pytest.raises(GeometryError, match=r"labels that would be lost.*got labels 3"):
        put_on_grid(mask, reference=image)


def test_what_lies_beside_the_image_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    image = save(tmp_path / "i.nii", np.arange(8, dtype=np.int16).reshape(2, 2, 2), np.eye(4))
    mask = save(tmp_path / "m.nii", np.ones((2, 2, 5), np.uint8), np.eye(4))
    assert put_on_grid(mask, reference=image).array.sum() == 8
    assert "12 of its 20 marked voxels lie beside" in caplog.text


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_one_axis_is_reversed(tmp_path: Path, axis: str) -> None:
    values = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    image = save(tmp_path / "i.nii", values.astype(np.int16), np.diag([2.0, 2, 2, 1]))
    mask = save(tmp_path / "m.nii", np.flip(values, "xyz".index(axis)), np.diag([2.0, 2, 2, 1]))
    np.testing.assert_array_equal(flip(mask, axis=axis, reference=image).array, values)


def test_a_sheared_mask_follows_its_image(tmp_path: Path) -> None:
    image = save(tmp_path / "i.nii", ramp((6, 20, 5), SHEARED).astype(np.float32), SHEARED)
    values = np.zeros((6, 20, 5), np.uint8)
    values[2:4, 8:12, 1:4] = 1
    mask = save(tmp_path / "m.nii", values, SHEARED)
    with pytest.raises(GeometryError, match=r"not perpendicular.*repair its image by .*--tilt.*--resample-label"):
        read_label(mask)
    with pytest.raises(LabelError, match=r"looks like a mask.*got 2 values from 0 to 1.*--resample-label"):
        straighten(mask)
    write_image(straighten(image), tmp_path / "fixed.nii.gz")
    fixed = put_on_grid(mask, reference=tmp_path / "fixed.nii.gz")
    check_pair(read_image(tmp_path / "fixed.nii.gz"), fixed, case_id="1", labels={1})
    centres = [
        (grid @ [*np.argwhere(a).mean(0), 1])[:3] for grid, a in ((SHEARED, values), (fixed.affine, fixed.array))
    ]
    np.testing.assert_allclose(centres[0], centres[1], atol=0.51)


@pytest.mark.parametrize(("largest", "stored"), [(7, "int32"), (1 << 40, "int64")])
def test_whole_numbers_of_64_bits_keep_their_values(tmp_path: Path, largest: int, stored: str) -> None:
    values = np.array([0, 1, largest], dtype=np.int64).reshape(3, 1, 1)
    write_image(Image(values, np.eye(4), tmp_path), tmp_path / "a.nii.gz")
    back = nib.load(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(np.asarray(back.dataobj), values)
    assert back.get_data_dtype() == stored


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.nrrd", "a.mha", "A.NII.GZ", "a.Nii.gz", "A.MHA"])
def test_what_is_written_reads_back_the_same(tmp_path: Path, name: str) -> None:
    affine = np.array([[0, -0.5, 0, 7.0], [0.7, 0, 0, -3.0], [0, 0, 2.5, 11.0], [0, 0, 0, 1]])
    values = (np.arange(24).reshape(2, 3, 4) - 7).astype(np.int16)
    write_image(Image(values, affine, tmp_path), tmp_path / "new" / name)
    assert [path.name for path in (tmp_path / "new").iterdir()] == [name]
    back = read_image(tmp_path / "new" / name)
    np.testing.assert_array_equal(back.array[0], values)
    np.testing.assert_allclose(back.affine, affine, atol=1e-5)


def test_nothing_is_replaced_or_written_into_a_series(tmp_path: Path, make_series: Make) -> None:
    there = save(tmp_path / "a.nii", np.arange(8, dtype=np.int16).reshape(2, 2, 2), np.eye(4))
    folder = make_series(tmp_path / "ct", [0, 2])
    for output in (there, folder / "new.nii"):
        with pytest.raises(OutputError, match="nothing is repaired in place"):
            refuse_in_place(folder, output=output)
    with pytest.raises(OutputError, match="is there already"):
        write_image(read_image(there), there)
    with pytest.raises(OutputError, match=r"cannot hold the image; got 3 axes"):
        write_image(Image(np.zeros((2, 2, 2)), np.eye(4), there), tmp_path / "b.png")


def test_only_volumes_are_put_on_a_grid(tmp_path: Path) -> None:
    from PIL import Image as Pillow

    Pillow.fromarray(np.eye(4, dtype=np.uint8) * 255).save(tmp_path / "m.png")
    Pillow.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4)).save(tmp_path / "i.png")
    with pytest.raises(ImageError, match="only volumes are resampled"):
        put_on_grid(tmp_path / "m.png", reference=tmp_path / "i.png")
