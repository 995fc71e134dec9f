"""The phantom CT: reproducible, anatomically on the right side, in HU, with truth that a radiologist would draw."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from medseg.case import Case
from medseg.datasets.phantom import ct_phantom
from medseg.datasets.phantom.anatomy import Blob, draw_anatomy
from medseg.datasets.phantom.ct import paint_thorax
from medseg.datasets.phantom.scan import draw_scan, lay_grid
from medseg.errors import DataError
from medseg.geometry import orientation, reorient, spacing_mm, voxel_volume_ml

SEEDS = tuple(range(1, 7))


@pytest.fixture(scope="module")
def phantoms() -> dict[int, Case]:
    return {seed: ct_phantom(seed, spacing_mm=(4.0, 4.0, 4.0)) for seed in SEEDS}


def _ras(case: Case) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    assert case.label is not None
    image, label = reorient(case.image, "RAS"), reorient(case.label, "RAS")
    return image.array[0], label.array, image.affine


def _painted(seed: int, **lungs: object) -> tuple[np.ndarray, np.ndarray]:
    """True HU and labels of a patient as drawn but for the given lungs, on the whole chest at 5 mm."""
    rng = np.random.default_rng(seed)
    anatomy = draw_anatomy(rng)
    anatomy = replace(anatomy, lungs=replace(anatomy.lungs, **lungs))
    height = anatomy.chest.height_mm
    scan = replace(draw_scan(rng, anatomy), bottom_mm=-1.5 * height, top_mm=20.0, prone=False, turn_deg=(0, 0, 0))
    grid = lay_grid(scan, anatomy, spacing_mm=(5.0, 5.0, 5.0), shape=None)
    painted = paint_thorax(grid, anatomy, scan)
    return painted.hu, painted.labels


def test_same_seed_same_bytes() -> None:
    first, second = (ct_phantom((7, 1), shape=(40, 40, 30)) for _ in range(2))
    assert first.label is not None
    assert second.label is not None
    assert first.image.array.tobytes() == second.image.array.tobytes()
    assert first.label.array.tobytes() == second.label.array.tobytes()
    np.testing.assert_array_equal(first.image.affine, second.image.affine)


def test_other_seed_other_patient() -> None:
    first, second = (ct_phantom((7, i), shape=(40, 40, 30)) for i in (1, 2))
    assert (first.image.array != second.image.array).mean() > 0.5


def test_types_and_grid(phantoms: dict[int, Case]) -> None:
    for seed, case in phantoms.items():
        assert case.label is not None
        assert case.id == f"phantom_ct_{seed:04d}"
        assert case.image.array.dtype == np.int16
        assert case.image.modality == "CT"
        assert case.image.array.shape == (1, *case.label.array.shape)
        assert case.label.array.dtype == np.uint8
        np.testing.assert_allclose(spacing_mm(case.image.affine), (4, 4, 4))
        np.testing.assert_array_equal(case.image.affine, case.label.affine)
        assert set(np.unique(case.label.array)) == {0, 1, 2}


def test_shape_alone_keeps_the_field_of_view() -> None:
    free = ct_phantom(3, spacing_mm=(5.0, 5.0, 5.0))
    fixed = ct_phantom(3, shape=(32, 48, 24))
    assert reorient(fixed.image, "RAS").array.shape == (1, 32, 48, 24)
    extent = [np.multiply(spacing_mm(c.image.affine), c.image.array.shape[1:]) for c in (free, fixed)]
    np.testing.assert_allclose(extent[0], extent[1], atol=2.6)


@pytest.mark.parametrize(
    ("grid", "told"),
    [
        ({"shape": (16, 16, 1)}, r"got \(16, 16, 1\); expected 2 voxels or more"),
        ({"spacing_mm": (0.0, 8.0, 8.0)}, "expected more than 0 mm"),
        ({"spacing_mm": (-8.0, 8.0, 8.0), "shape": (16, 16, 16)}, "expected more than 0 mm"),
    ],
    ids=["one slice", "no spacing", "backwards"],
)
def test_a_grid_that_is_none_is_refused(grid: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError, match=told):
        ct_phantom(1, **grid)


def test_storage_orientation_varies() -> None:
    codes = {orientation(ct_phantom(seed, shape=(24, 24, 16)).image.affine) for seed in range(12)}
    assert len(codes) >= 2


def test_left_lung_is_on_the_patients_left(phantoms: dict[int, Case]) -> None:
    for case in phantoms.values():
        _, label, affine = _ras(case)
        assert affine[0, 0] > 0
        left, right = ((label == value).nonzero()[0].mean() for value in (1, 2))
        assert left < right, "x grows towards the patient's right in RAS"


def test_heart_points_to_the_left() -> None:
    """Soft tissue between the lungs lies more to the left of the spine's canal than to the right."""
    rng = np.random.default_rng(1)
    anatomy = draw_anatomy(rng)
    scan = replace(draw_scan(rng, anatomy), off_centre_mm=(0.0, 0.0), turn_deg=(0, 0, 0), wobble_mm=0.0)
    grid = lay_grid(scan, anatomy, spacing_mm=(5.0, 5.0, 5.0), shape=None)
    heart = paint_thorax(grid, anatomy, scan).form.heart < 0
    assert grid.x[heart].mean() < -5


def test_volumes_are_those_of_adult_lungs() -> None:
    for seed in SEEDS:
        _, labels = _painted(seed, effusion_left_mm=0.0, effusion_right_mm=0.0)
        litres = np.bincount(labels.ravel(), minlength=3)[1:] * 0.125e-3
        assert 2 < litres.sum() < 9, f"seed {seed}"
        assert 0.4 < litres[0] / litres[1] < 2.2, f"seed {seed}"


def test_each_lung_is_one_piece(phantoms: dict[int, Case]) -> None:
    for case in phantoms.values():
        label = _ras(case)[1]
        for value in (1, 2):
            sizes = np.bincount(ndimage.label(label == value)[0].ravel())[1:]
            assert sizes.max() > 0.75 * sizes.sum()


def test_healthy_lung_is_aerated_and_its_surroundings_are_not() -> None:
    ill = {"nodules": (), "opacities": (), "emphysema": 0.0, "fibrosis_hu": 0.0}
    for seed in SEEDS[:3]:
        hu, labels = _painted(seed, **ill)
        inner = ndimage.binary_erosion(labels > 0, iterations=2)
        assert -960 < np.median(hu[inner]) < -650
        shell = ndimage.binary_dilation(labels > 0, iterations=3) & ~ndimage.binary_dilation(labels > 0, iterations=1)
        assert np.median(hu[shell]) > -150


def test_trachea_is_air_outside_the_label() -> None:
    for seed in SEEDS[:4]:
        hu, labels = _painted(seed)
        inside_body = ndimage.binary_fill_holes(ndimage.binary_opening(hu > -300), structure=np.ones((3, 3, 1)))
        top = labels.shape[2] - 4
        air = (hu[:, :, top] < -600) & inside_body[:, :, top]
        assert air.any(), "the windpipe passes the uppermost slices"
        assert (labels[:, :, top][air] == 0).all()


def test_stomach_and_bowel_gas_are_not_lung() -> None:
    rng = np.random.default_rng(5)
    anatomy = draw_anatomy(rng)
    chest = anatomy.chest
    low = -chest.height_mm - chest.left_dome_lower_mm - 45
    bubble = Blob((-0.4 * chest.half_width_mm, 0.2 * chest.half_depth_mm, low), (20.0, 20.0, 20.0), -990.0)
    anatomy = replace(anatomy, abdomen=replace(anatomy.abdomen, gas=(bubble,), bowel=(), stomach_gas=0.0))
    scan = replace(draw_scan(rng, anatomy), bottom_mm=low - 60, top_mm=20.0)
    grid = lay_grid(scan, anatomy, spacing_mm=(4.0, 4.0, 4.0), shape=None)
    painted = paint_thorax(grid, anatomy, scan)
    centre = grid.to_scanner(np.array([bubble.centre]))[0]
    at = tuple(int(np.abs(axis - c).argmin()) for axis, c in zip(grid.axes, centre, strict=True))
    assert painted.hu[at] < -900
    assert painted.labels[at] == 0


def test_nodules_and_opacities_are_lung_but_effusions_are_not() -> None:
    healthy, clear = _painted(2, opacities=(), nodules=(), effusion_left_mm=0.0, effusion_right_mm=0.0)
    centre = np.argwhere(ndimage.binary_erosion(clear == 2, iterations=4)).mean(axis=0)
    assert healthy[tuple(centre.astype(int))] < -300
    blob = Blob((70.0, 0.0, -110.0), (25.0, 25.0, 25.0), 40.0)
    hu, labels = _painted(2, opacities=(blob,), nodules=(), effusion_left_mm=0.0, effusion_right_mm=0.0)
    np.testing.assert_array_equal(labels, clear)
    assert (hu[labels > 0] > -100).sum() > (healthy[labels > 0] > -100).sum() + 100
    _, drained = _painted(2, opacities=(), nodules=(), effusion_left_mm=50.0, effusion_right_mm=0.0)
    assert (drained == 1).sum() < 0.95 * (clear == 1).sum()
    assert (drained == 2).sum() > 0.95 * (clear == 2).sum()


def test_fat_muscle_bone_and_air_have_their_hu(phantoms: dict[int, Case]) -> None:
    for case in phantoms.values():
        hu = case.image.array
        assert hu.min() >= -3024
        assert hu.max() <= 3071
        for low, high, least in ((-1024, -900, 0.05), (-150, -60, 0.005), (10, 120, 0.05), (250, 3071, 0.001)):
            assert ((hu >= low) & (hu <= high)).mean() > least, f"{case.id}: {low}..{high} HU"


def test_circular_field_of_view_is_padding_without_label() -> None:
    padded = [c for c in (ct_phantom(s, shape=(32, 32, 16)) for s in range(30)) if c.image.array.min() < -1999]
    assert padded, "some scans have a circular field of view"
    for case in padded:
        assert case.label is not None
        corner = case.label.array[0, 0]
        assert (corner == 0).all()
        assert (case.image.array[0, 0, 0] == case.image.array.min()).all()


def test_voxel_volume_is_what_the_affine_says(phantoms: dict[int, Case]) -> None:
    for case in phantoms.values():
        assert voxel_volume_ml(case.image.affine) == pytest.approx(0.064)
