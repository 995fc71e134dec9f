"""The channel that tells the network where the reader's box is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from medseg.errors import BundleError, GeometryError
from medseg.transforms import BoxPromptd, RandBoxPromptd


def image(*shape: int, spacing_mm: tuple[float, ...]) -> MetaTensor:
    affine = np.diag([*spacing_mm, 1.0])
    return MetaTensor(torch.rand(1, *shape), affine=affine)


def prompted(given: MetaTensor, **settings: Any) -> MetaTensor:
    return BoxPromptd("image", **{"margin_mm": 50.0, "longest_mm": 350.0, **settings})({"image": given})["image"]


def test_it_is_one_in_the_middle_a_half_on_the_ellipsoid_and_smaller_beyond() -> None:
    given = image(71, 61, 51, spacing_mm=(2.0, 2.0, 4.0))  # 142 x 122 x 204 mm: a box of 42 x 22 x 104 mm
    result = prompted(given)
    assert result.shape == (2, 71, 61, 51)
    torch.testing.assert_close(result[0].as_tensor(), given[0].as_tensor())
    channel = result[1]
    assert channel[35, 30, 25] == 1
    # 10 voxels of 2 mm along X are 20 of 21 mm, 13 of 4 mm along Z all 52 mm
    assert float(channel[45, 30, 25]) == pytest.approx(1 / (1 + (20 / 21) ** 2))
    assert float(channel[35, 30, 38]) == pytest.approx(0.5)
    assert float(channel[35, 41, 12]) == pytest.approx(1 / (1 + (22 / 11) ** 2 + 1))
    assert float(channel[0, 0, 0]) == pytest.approx(1 / (1 + (70 / 21) ** 2 + (60 / 11) ** 2 + (100 / 52) ** 2))


def test_the_ellipsoid_of_the_box_holds_its_share_of_the_volume() -> None:
    channel = prompted(image(80, 90, 60, spacing_mm=(2.0, 2.0, 3.0)))[1]
    box_ml = 60 * 80 * 80 / 1000
    assert int((channel > 0.5).sum()) * 12 / 1000 == pytest.approx(box_ml * np.pi / 6, rel=0.01)


def test_orientation_and_axes_make_no_difference_to_the_distance() -> None:
    given = image(70, 60, 50, spacing_mm=(2.0, 2.5, 4.0))
    flipped = MetaTensor(given.as_tensor().flip(1), affine=np.diag([-2.0, 2.5, 4.0, 1.0]))
    torch.testing.assert_close(prompted(flipped)[1].as_tensor(), prompted(given)[1].as_tensor())
    turned = MetaTensor(given.as_tensor().permute(0, 3, 1, 2), affine=np.diag([4.0, 2.0, 2.5, 1.0]))
    torch.testing.assert_close(prompted(turned)[1].as_tensor(), prompted(given)[1].permute(2, 0, 1).as_tensor())


def test_an_image_within_its_own_margins_has_a_box_of_one_voxel() -> None:
    channel = prompted(image(21, 61, 61, spacing_mm=(2.0, 2.0, 2.0)))[1]
    assert channel[10, 30, 30] == 1
    assert float(channel[11, 30, 30]) == pytest.approx(1 / (1 + 2.0**2))


def test_where_the_scan_ends_sooner_that_side_has_a_margin_of_its_own() -> None:
    given = image(60, 60, 60, spacing_mm=(2.0, 2.0, 2.0))
    channel = prompted(given, margin_mm=[[50.0, 50.0], [50.0, 50.0], [50, 0]])[1]
    # 120 mm along Z: the box is 70 mm long there, from 50 to 120, its middle at 85 mm = voxels 41 and 42
    assert int(channel[30, 30].argmax()) in (41, 42)
    # voxel 0's middle lies 84 of 35 mm from there, voxel 30's 1 of 10 mm from the middle of the other axes
    expected = 1 / (1 + 2 * (1 / 10) ** 2 + (84 / 35) ** 2)
    assert float(channel[30, 30, 0]) == pytest.approx(expected)
    even = prompted(given, margin_mm=[[50, 50]] * 3)
    torch.testing.assert_close(even.as_tensor(), prompted(given).as_tensor())


@pytest.mark.parametrize("margin_mm", ["wide", [50, 50, 50], [[50, 50, 50]] * 3])
def test_margins_that_are_no_pairs_are_refused(margin_mm: Any) -> None:
    with pytest.raises(BundleError, match=r"expected one length in mm, or \[near, far\] for each axis"):
        prompted(image(60, 60, 60, spacing_mm=(2.0, 2.0, 2.0)), margin_mm=margin_mm)


def test_margins_of_other_axes_than_the_images_are_refused() -> None:
    with pytest.raises(BundleError, match="got 2 pairs, an image of 3 axes"):
        prompted(image(60, 60, 60, spacing_mm=(2.0, 2.0, 2.0)), margin_mm=[[50, 50]] * 2)


def test_the_given_image_is_left_as_it_was_and_the_grid_stays() -> None:
    given = image(60, 60, 60, spacing_mm=(2.0, 2.0, 2.0))
    data = {"image": given, "label": 1}
    result = BoxPromptd("image", margin_mm=50.0, longest_mm=350.0)(data)
    assert data["image"] is given
    assert given.shape == (1, 60, 60, 60)
    assert result["label"] == 1
    torch.testing.assert_close(result["image"].affine, given.affine)


def test_an_image_that_was_not_cropped_is_refused() -> None:
    with pytest.raises(GeometryError, match=r"got 500 x 500 x 600 mm; expected sides of at most 450 mm; draw a box"):
        prompted(image(250, 250, 200, spacing_mm=(2.0, 2.0, 3.0)))


@pytest.mark.parametrize("settings", [{"margin_mm": -1.0}, {"margin_mm": float("nan")}, {"longest_mm": 0.0}])
def test_settings_that_are_no_lengths_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(BundleError, match="expected margins of 0 or more"):
        prompted(image(60, 60, 60, spacing_mm=(2.0, 2.0, 2.0)), **settings)


def test_an_image_without_spacing_is_refused() -> None:
    with pytest.raises(BundleError, match="image without spacing"):
        BoxPromptd("image", margin_mm=50.0, longest_mm=350.0)({"image": torch.zeros(1, 60, 60, 60)})


LENGTHS = {"margin_mm": 50.0, "longest_mm": 350.0}


def box_of(channel: torch.Tensor, spacing_mm: tuple[float, ...]) -> list[tuple[float, float]]:
    """First and last mm of the ellipsoid along each axis, from the channel on the lines through its middle."""
    middle = np.unravel_index(int(channel.argmax()), channel.shape)
    found = []
    for axis, step in enumerate(spacing_mm):
        line = channel[tuple(slice(None) if a == axis else middle[a] for a in range(3))].numpy().astype(float)
        places = (np.arange(line.size) + 0.5) * step
        first, second, third = np.polyfit(places, 1 / line - 1, 2)  # r^2 is a parabola of the place
        centre = -second / (2 * first)
        half = np.sqrt((1 - (third - first * centre**2)) / first)
        found.append((centre - half, centre + half))
    return found


def test_the_random_box_has_each_side_within_the_jitter_and_its_own_draws() -> None:
    given, spacing_mm = image(91, 81, 61, spacing_mm=(2.0, 2.0, 4.0)), (2.0, 2.0, 4.0)
    sides_mm = (182.0, 162.0, 244.0)
    random = RandBoxPromptd("image", jitter_mm=8.0, **LENGTHS)
    random.set_random_state(seed=3)
    moves = []
    for _ in range(20):
        box = box_of(random({"image": given})["image"][1].as_tensor(), spacing_mm)
        moves.append([(low - 50.0, high - side + 50.0) for (low, high), side in zip(box, sides_mm, strict=True)])
    found = np.array(moves)  # (20, 3 axes, 2 sides)
    assert np.abs(found).max() < 9.0  # what a parabola through lines beside the very middle can tell
    assert (found.max(axis=0) > 2.5).all()
    assert (found.min(axis=0) < -2.5).all()
    assert np.abs(np.corrcoef(found.reshape(20, 6).T) - np.eye(6)).max() < 0.8  # no side moves with another


def test_the_random_box_comes_from_its_seed() -> None:
    given = image(60, 60, 60, spacing_mm=(2.0, 2.0, 2.0))
    random = RandBoxPromptd("image", jitter_mm=8.0, **LENGTHS)
    one, other = (random.set_random_state(seed=seed)({"image": given})["image"] for seed in (5, 5))
    assert torch.equal(one, other)
    assert not torch.equal(one, random({"image": given})["image"])


def test_without_jitter_it_is_the_box_itself() -> None:
    given = image(60, 70, 50, spacing_mm=(2.0, 2.0, 3.0))
    random = RandBoxPromptd("image", jitter_mm=0.0, **LENGTHS)({"image": given})["image"]
    torch.testing.assert_close(random.as_tensor(), prompted(given).as_tensor())


def test_a_jitter_that_is_no_length_is_refused() -> None:
    with pytest.raises(BundleError, match="RandBoxPromptd: jitter_mm; got -1"):
        RandBoxPromptd("image", jitter_mm=-1, **LENGTHS)
