"""Wide phantoms: what the usual ones lack is there, its truth is right, and the usual ones stay as they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from medseg.case import Case
from medseg.datasets.phantom import ct_phantom
from medseg.datasets.phantom.anatomy import Anatomy, Blob, Draw, draw_anatomy
from medseg.datasets.phantom.ct import paint_thorax
from medseg.datasets.phantom.elsewhere import paint_elsewhere
from medseg.datasets.phantom.scan import Scan, draw_scan, expose, lay_grid
from medseg.datasets.phantom.shapes import Grid
from medseg.datasets.phantom.vessels import carina_mm
from medseg.datasets.phantom.wide import widen
from medseg.geometry import spacing_mm

LEFT, RIGHT = 1, 2


@pytest.fixture(scope="module")
def wide() -> list[Case]:
    return [ct_phantom((12, i), spacing_mm=(8.0, 8.0, 8.0), wide=True) for i in range(24)]


def _patient(seed: int, **lungs: object) -> tuple[Anatomy, Scan, Grid]:
    """A usual patient but for the given lungs, whole chest at 5 mm, lying on his back, straight."""
    rng = np.random.default_rng(seed)
    anatomy = draw_anatomy(rng)
    clear = {"opacities": (), "nodules": (), "effusion_left_mm": 0.0, "effusion_right_mm": 0.0}
    anatomy = replace(anatomy, lungs=replace(anatomy.lungs, **{**clear, **lungs}))
    height = anatomy.chest.height_mm
    scan = replace(
        draw_scan(rng, anatomy), bottom_mm=-1.5 * height, top_mm=20.0, prone=False, turn_deg=(0, 0, 0), wobble_mm=0.0
    )
    return anatomy, scan, lay_grid(scan, anatomy, spacing_mm=(5.0, 5.0, 5.0), shape=None)


def _sizes(labels: np.ndarray) -> np.ndarray:
    return np.bincount(labels.ravel(), minlength=3)[1:]


def test_same_seed_same_bytes_and_not_the_usual_ones() -> None:
    first, second = (ct_phantom((3, 1), shape=(40, 40, 30), wide=True) for _ in range(2))
    assert first.image.array.tobytes() == second.image.array.tobytes()
    usual = ct_phantom((3, 1), shape=(40, 40, 30))
    assert usual.image.array.tobytes() != first.image.array.tobytes()


def test_some_show_no_lung_and_most_do(wide: list[Case]) -> None:
    empty = sum(not c.label.array.any() for c in wide if c.label is not None)
    assert 1 <= empty <= 10, "about one in eight shows another part of the body, slabs of the abdomen come on top"


def test_some_show_one_lung_alone(wide: list[Case]) -> None:
    seen = [[(c.label.array == side).any() for side in (LEFT, RIGHT)] for c in wide if c.label is not None]
    assert seen.count([True, False]) >= 1
    assert seen.count([False, True]) >= 1


def test_values_and_labels_are_valid(wide: list[Case]) -> None:
    for case in wide:
        assert case.label is not None
        assert case.image.array.dtype == np.int16
        assert case.image.array.min() >= -3024
        assert case.image.array.max() <= 3071
        assert set(np.unique(case.label.array)) <= {0, 1, 2}
        np.testing.assert_allclose(spacing_mm(case.image.affine), (8, 8, 8))


def test_half_the_size_is_an_eighth_of_the_volume() -> None:
    """The child has the adult's voxels when both are halved: the labels are the same array."""
    anatomy, scan, grid = _patient(3)
    child = lay_grid(replace(scan, size=0.5), anatomy, spacing_mm=(2.5, 2.5, 2.5), shape=None)
    assert child.shape == grid.shape
    np.testing.assert_allclose(child.z, grid.z)


def test_a_lung_that_is_gone_has_no_label_and_no_air() -> None:
    _, _, grid = _patient(4)
    for gone, label, other in ((-1, LEFT, RIGHT), (1, RIGHT, LEFT)):
        anatomy, scan, grid = _patient(4, airless=gone, effusion_hu=20.0)
        painted = paint_thorax(grid, anatomy, scan)
        assert not (painted.labels == label).any()
        assert _sizes(painted.labels)[other - 1] > 3000
        side = np.sign(grid.x) == gone
        chest = (painted.form.cage < -8) & (painted.form.diaphragm > 10) & side & (np.abs(grid.x) > 60) & (grid.z < -60)
        assert np.median(painted.hu[chest]) > -20


def test_air_outside_a_collapsed_lung_is_not_lung() -> None:
    anatomy, scan, grid = _patient(5)
    whole = paint_thorax(grid, anatomy, scan)
    anatomy, scan, grid = _patient(5, pneumothorax_right_mm=40.0)
    painted = paint_thorax(grid, anatomy, scan)
    assert _sizes(painted.labels)[LEFT - 1] == _sizes(whole.labels)[LEFT - 1]
    assert 0.15 < _sizes(painted.labels)[RIGHT - 1] / _sizes(whole.labels)[RIGHT - 1] < 0.85
    freed = ndimage.binary_erosion(whole.labels == RIGHT) & ~ndimage.binary_dilation(painted.labels == RIGHT)
    assert np.median(painted.hu[freed]) < -980


def test_metal_is_bright_and_streaks_in_its_slices_only() -> None:
    anatomy, scan, grid = _patient(6)
    plain = paint_thorax(grid, anatomy, scan).hu
    pin = Blob((0.0, 0.0, -100.0), (8.0, 8.0, 8.0), 3000.0, strength=1.0)
    with_metal = replace(anatomy, wall=replace(anatomy.wall, metal=(pin,)))
    hu = paint_thorax(grid, with_metal, scan).hu
    changed = np.abs(hu - plain).max(axis=(0, 1))
    slices = np.flatnonzero(changed)
    assert hu.max() > 2000
    np.testing.assert_allclose(grid.axes[2][slices], -100, atol=8 + 10 + 5)
    assert (np.abs(hu - plain) > 5).sum() > 500


def test_a_hernia_puts_gas_behind_the_heart_that_is_not_lung() -> None:
    anatomy, scan, grid = _patient(7)
    plain = paint_thorax(grid, anatomy, scan)
    anatomy = replace(anatomy, mediastinum=replace(anatomy.mediastinum, hernia_mm=28.0))
    painted = paint_thorax(grid, anatomy, scan)
    gas = (painted.hu < -900) & (plain.hu > -300)
    assert gas.sum() * 0.125 > 10, "millilitres"
    assert not painted.labels[gas].any()


def test_the_right_lung_reaches_in_to_the_trachea() -> None:
    """Where there is little fat, a few mm of wall part the right lung from the trachea's air; the left lung stays."""
    anatomy, scan, grid = _patient(7)
    plain = paint_thorax(grid, anatomy, scan)
    lean = replace(anatomy, mediastinum=replace(anatomy.mediastinum, right_recess=1.0, margin_mm=0.5))
    painted = paint_thorax(grid, lean, scan)
    x, y, carina = carina_mm(anatomy)
    beside = (grid.z > carina + 5) & (grid.z < carina + 25) & (abs(grid.y - y) < 10) & (grid.x > x)
    edges = [np.where((p.labels == RIGHT) & beside, grid.x, 999).min() - x for p in (plain, painted)]
    assert edges[0] > anatomy.mediastinum.trachea_mm + 8
    assert edges[1] < anatomy.mediastinum.trachea_mm + 4
    lumen = np.hypot(grid.x - x, grid.y - y) < anatomy.mediastinum.trachea_mm - 3
    assert not painted.labels[lumen & beside].any()
    assert _sizes(painted.labels)[LEFT - 1] >= _sizes(plain.labels)[LEFT - 1]


def test_the_right_lung_reaches_over_the_middle_behind_the_trachea() -> None:
    """It is right lung there, in one piece, behind the trachea's air; the left lung stays where it was."""
    anatomy, scan, grid = _patient(7)
    lean = replace(anatomy.mediastinum, right_recess=1.0, margin_mm=0.5, trachea_depth=0.0, gullet_mm=3.5)
    plain, painted = (
        paint_thorax(grid, replace(anatomy, mediastinum=replace(lean, recess_over_mm=over)), scan)
        for over in (0.0, 14.0)
    )
    x, y, carina = carina_mm(replace(anatomy, mediastinum=lean))
    behind = (grid.z > carina) & (grid.z < carina + 15) & (grid.y < y) & (grid.y > y - 30)
    edges = [np.where((p.labels == RIGHT) & behind, grid.x, 999).min() - x for p in (plain, painted)]
    assert edges[1] < 2, "behind the middle of the trachea"
    assert edges[0] - edges[1] > 8
    assert ndimage.label(painted.labels == RIGHT)[1] == 1
    left = [p.labels == LEFT for p in (plain, painted)]
    assert 2 * (left[0] & left[1]).sum() / (left[0].sum() + left[1].sum()) > 0.99


def test_other_parts_of_the_body_have_flesh_bone_and_air() -> None:
    for seed in range(8):
        anatomy, scan, grid = _patient(seed)
        hu = paint_elsewhere(grid, anatomy, scan)
        assert (hu < -950).any()
        assert ((hu > 0) & (hu < 100)).sum() > 200
        assert (hu > 200).any()


def test_a_scan_is_shifted_and_sharpened_where_asked() -> None:
    anatomy, scan, grid = _patient(8)
    scan = replace(scan, padding_hu=None, floor_hu=-1024.0)
    hu = paint_thorax(grid, anatomy, scan).hu
    plain = expose(hu.copy(), grid, scan)
    higher = expose(hu.copy(), grid, replace(scan, shift_hu=1024.0))
    np.testing.assert_allclose(np.clip(plain + 1024, 0, 3071), higher, atol=0.01)
    sharper = expose(hu.copy(), grid, replace(scan, sharpen=1.0))
    assert np.abs(np.diff(sharper, axis=0)).mean() > 1.2 * np.abs(np.diff(plain, axis=0)).mean()


def test_widening_leaves_the_seed_of_textures_and_keeps_the_lungs_in_the_patient() -> None:
    for seed in range(20):
        anatomy, scan, _ = _patient(seed)
        other, its_scan = widen(anatomy, scan, Draw(np.random.default_rng(seed)))
        assert other.texture_seed == anatomy.texture_seed
        assert its_scan.top_mm > its_scan.bottom_mm
        assert its_scan.field_mm > 0.85 * other.chest.half_width_mm
