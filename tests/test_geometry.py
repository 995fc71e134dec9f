"""Where voxels lie: conversions, reorientation and the comparison of grids, against nibabel and by hand."""

from __future__ import annotations

import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from scipy.spatial.transform import Rotation

from medseg.case import Affine, Image
from medseg.errors import GeometryError
from medseg.geometry import (
    GRID_TOLERANCE_MM,
    affine_from_lps,
    grid_difference,
    lps_from_affine,
    orientation,
    reorient,
    spacing_mm,
    voxel_volume_ml,
)

CODES = [
    "".join(letters) for axes in itertools.permutations(("RL", "AP", "SI")) for letters in itertools.product(*axes)
]
SHAPE = (3, 4, 5)
angles = st.floats(-180, 180, allow_nan=False)
lengths_mm = st.floats(0.1, 10)
places_mm = st.floats(-500, 500)


def turned(x: float, y: float, z: float, *, spacing: tuple[float, float, float], origin: tuple[float, ...]) -> Affine:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [x, y, z], degrees=True).as_matrix() * np.asarray(spacing)
    affine[:3, 3] = origin
    return affine


def image(affine: Affine, shape: tuple[int, ...] = SHAPE, *, spacing_known: bool = True) -> Image:
    return Image(np.arange(np.prod(shape)).reshape(shape), affine, Path("x"), "CT", spacing_known)


def world(array: np.ndarray, affine: Affine) -> np.ndarray:
    """Position in mm of each value (they are unique), in the order of the values."""
    places = {int(value): affine @ [*index, 1.0] for index, value in np.ndenumerate(array)}
    return np.array([places[value] for value in sorted(places)])


def test_lps_to_ras_by_hand() -> None:
    affine = affine_from_lps(origin_mm=[10, 20, 30], spacing_mm=[1, 2, 3], direction=[1, 0, 0, 0, 0, -1, 0, 1, 0])
    # y steps 2 mm along +S, z steps 3 mm along -P = +A; R = -L and A = -P
    assert affine.tolist() == [[-1, 0, 0, -10], [0, 0, 3, -20], [0, 2, 0, 30], [0, 0, 0, 1]]


def test_a_picture_has_a_third_axis_of_1_mm() -> None:
    affine = affine_from_lps(origin_mm=[5, 6], spacing_mm=[0.5, 0.25], direction=[1, 0, 0, 1])
    assert np.diag(affine).tolist() == [-0.5, -0.25, 1, 1]
    assert affine[:3, 3].tolist() == [-5, -6, 0]


@given(angles, angles, angles, st.tuples(*[lengths_mm] * 3), st.tuples(*[places_mm] * 3))
@settings(max_examples=50, deadline=None)
def test_lps_and_back(x: float, y: float, z: float, spacing: tuple[float, float, float], origin: tuple) -> None:
    affine = turned(x, y, z, spacing=spacing, origin=origin)
    origin_lps, spacing_lps, direction = lps_from_affine(affine)
    np.testing.assert_allclose(origin_lps, [-origin[0], -origin[1], origin[2]])
    np.testing.assert_allclose(spacing_lps, spacing)
    np.testing.assert_allclose(direction.T @ direction, np.eye(3), atol=1e-12)
    again = affine_from_lps(origin_mm=origin_lps, spacing_mm=spacing_lps, direction=direction.ravel())
    np.testing.assert_allclose(again, affine, atol=1e-9)
    assert spacing_mm(affine) == pytest.approx(spacing)
    assert voxel_volume_ml(affine) == pytest.approx(np.prod(spacing) / 1000)


@given(*[st.floats(-25, 25)] * 3, st.sampled_from(CODES), st.tuples(*[lengths_mm] * 3))
@settings(max_examples=100, deadline=None)
def test_orientation_codes_are_nibabels(x: float, y: float, z: float, code: str, spacing: tuple) -> None:
    straight = inv_ornt_aff(ornt_transform(axcodes2ornt(code), axcodes2ornt("RAS")), SHAPE)
    affine = turned(x, y, z, spacing=(1, 1, 1), origin=(0, 0, 0)) @ np.linalg.inv(straight) @ np.diag([*spacing, 1])
    assert orientation(affine) == "".join(nib.aff2axcodes(affine))


def test_each_voxel_axis_gets_its_own_letter_at_45_degrees() -> None:
    for turn in (45.0, 135.0, -45.0):
        code = orientation(turned(turn, turn, 0, spacing=(1, 1, 4), origin=(0, 0, 0)))
        assert [sum(letter in pair for letter in code) for pair in ("RL", "AP", "SI")] == [1, 1, 1]


@pytest.mark.parametrize("code", CODES)
def test_reorient_moves_no_voxel_and_is_nibabels(code: str) -> None:
    before = image(turned(10, -7, 190, spacing=(0.7, 1.5, 4), origin=(-30, 12, 99)))
    after = reorient(before, code)
    change = ornt_transform(io_orientation(before.affine), axcodes2ornt(code))
    np.testing.assert_array_equal(after.array, apply_orientation(before.array, change))
    np.testing.assert_allclose(after.affine, before.affine @ inv_ornt_aff(change, SHAPE), atol=1e-9)
    np.testing.assert_allclose(world(after.array, after.affine), world(before.array, before.affine), atol=1e-9)
    assert orientation(after.affine) == code
    assert (after.source, after.modality, after.spacing_known) == (before.source, "CT", True)


@pytest.mark.parametrize("code", CODES)
def test_reorient_and_back_is_the_same_image(code: str) -> None:
    before = image(turned(3, 0, -4, spacing=(2, 1, 3), origin=(1, 2, 3)))
    back = reorient(reorient(before, code), orientation(before.affine))
    np.testing.assert_array_equal(back.array, before.array)
    np.testing.assert_allclose(back.affine, before.affine, atol=1e-9)


def test_reorient_leaves_the_channel_axis_where_it_is() -> None:
    flat = image(np.diag([1.0, 2.0, 3.0, 1.0]))
    both = Image(np.stack([flat.array, -flat.array]), flat.affine, flat.source)
    after = reorient(both, "SPL")
    assert after.array.shape == (2, 5, 4, 3)
    np.testing.assert_array_equal(after.array[0], reorient(flat, "SPL").array)
    np.testing.assert_array_equal(after.array[1], -after.array[0])


@pytest.mark.parametrize("code", ["", "RA", "RRS", "RASL", "XYZ", "ras", "RLS"])
def test_what_is_no_orientation_is_refused(code: str) -> None:
    with pytest.raises(GeometryError, match=f"unknown orientation; got '{code}'; expected three letters"):
        reorient(image(np.eye(4)), code)


BASE = turned(5, 10, -15, spacing=(1, 1, 2), origin=(-10, 20, 30))


def moved(**changes: object) -> Affine:
    values: dict = {"angles": (5, 10, -15), "spacing": (1, 1, 2), "origin": (-10, 20, 30), **changes}
    return turned(*values["angles"], spacing=values["spacing"], origin=values["origin"])


@pytest.mark.parametrize(
    ("other", "shape", "named"),
    [
        pytest.param(BASE, (3, 4, 6), "size (3, 4, 5) against (3, 4, 6)", id="size"),
        pytest.param(BASE, (4, 3, 5), "size (3, 4, 5) against (4, 3, 5)", id="turned size"),
        pytest.param(moved(spacing=(1, 1, 2.5)), SHAPE, "spacing (1, 1, 2) mm against (1, 1, 2.5) mm", id="spacing"),
        pytest.param(moved(spacing=(1, 1, 2.5), origin=(0, 0, 0)), SHAPE, "spacing", id="spacing before origin"),
        pytest.param(moved(angles=(5, 10, -16)), SHAPE, "direction", id="direction"),
        pytest.param(moved(angles=(5, 10, -16), origin=(0, 0, 0)), SHAPE, "direction", id="direction before origin"),
        pytest.param(moved(origin=(-10, 20, 31)), SHAPE, "origin (10, -20, 30) mm against (10, -20, 31)", id="origin"),
    ],
)
def test_a_difference_of_grids_is_named(other: Affine, shape: tuple[int, ...], named: str) -> None:
    difference = grid_difference(image(BASE), image(other, shape), spatial_dims=3)
    assert difference is not None
    assert difference.startswith(named)


@pytest.mark.parametrize(("factor", "same"), [(0.99, True), (1.01, False)], ids=["within", "beyond"])
@pytest.mark.parametrize("kind", ["spacing", "origin", "direction"])
def test_the_tolerance_is_of_the_voxel_that_moves_most(kind: str, factor: float, same: bool) -> None:
    step, other = factor * GRID_TOLERANCE_MM, np.eye(4)
    if kind == "origin":
        other[1, 3] += step
    elif kind == "spacing":
        other[2, 2] += step / (SHAPE[2] - 1)
    else:  # turned about X by a small angle: z = 4 moves along Y most
        other[:3, :3] = Rotation.from_euler("x", np.arcsin(step / (SHAPE[2] - 1))).as_matrix()
    difference = grid_difference(image(np.eye(4)), image(other), spatial_dims=3)
    assert (difference is None) == same
    assert same or str(difference).startswith(kind)


def test_no_difference_is_put_on_what_is_equal() -> None:
    """Each spacing alone moves a voxel by 0.009 mm, their sum by more: the text must not show two equal origins."""
    base = turned(0, 0, 45, spacing=(1, 1, 1), origin=(0, 0, 0))
    other = turned(0, 0, 45, spacing=(1.009 / 1, 1.009, 1), origin=(0, 0, 0))
    difference = grid_difference(image(base, (2, 2, 2)), image(other, (2, 2, 2)), spatial_dims=3)
    assert str(difference).startswith("spacing (1, 1, 1) mm against (1.009, 1.009, 1) mm")


def test_rounding_of_a_long_axis_hides_no_shift() -> None:
    """0.000011 mm of spacing on one voxel of X is nothing, whatever the length of Z; the origin is what differs."""
    base, other = np.eye(4), np.diag([1.000011, 1.0, 1.0, 1.0])
    other[0, 3] = 7.0
    difference = grid_difference(image(base, (2, 2, 1000)), image(other, (2, 2, 1000)), spatial_dims=3)
    assert str(difference).startswith("origin")


def test_float32_rounding_of_a_whole_ct_is_no_difference() -> None:
    affine = turned(8, -5, 12, spacing=(0.7421875, 0.7421875, 1.25), origin=(-187.3, -201.7, -512.9))
    stored = affine.astype(np.float32).astype(np.float64)
    big = np.broadcast_to(np.uint8(0), (512, 512, 400))
    assert grid_difference(Image(big, affine, Path("a")), Image(big, stored, Path("b")), spatial_dims=3) is None


def test_channels_do_not_count_and_the_label_has_none() -> None:
    both = Image(np.zeros((2, *SHAPE)), BASE, Path("a"))
    assert grid_difference(both, image(BASE), spatial_dims=3) is None


def test_pictures_without_spacing_agree_when_their_size_does() -> None:
    known, unknown = image(np.diag([0.2, 0.2, 1, 1]), (3, 4)), image(np.eye(4), (3, 4), spacing_known=False)
    assert grid_difference(known, unknown, spatial_dims=2) is None
    assert str(grid_difference(unknown, image(np.eye(4), (4, 3)), spatial_dims=2)).startswith("size (3, 4)")
    coarser = image(np.diag([0.4, 0.2, 1, 1]), (3, 4))
    assert str(grid_difference(known, coarser, spatial_dims=2)).startswith("spacing (0.2, 0.2, 1) mm against (0.4,")
