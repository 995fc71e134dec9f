"""What MONAI's preprocessing did is undone, with networks that know the answer from the intensity.

Intensities are linear in space, which linear interpolation keeps exactly: the expected labels are those of the stored
voxels themselves.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import Compose, CropForegroundd, Orientationd, Resized, Spacingd, SpatialPadd
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform
from scipy.spatial.transform import Rotation

from medseg.inference import restore_labels

CODES = ["".join(c) for axes in itertools.permutations(("RL", "AP", "SI")) for c in itertools.product(*axes)]
SHAPE, SPACING_MM = (13, 9, 7), (1.0, 1.5, 2.0)  # 12 mm from the first to the last centre on every axis
BANDS = (20.25, 55.25, 90.25)


def banded(values: torch.Tensor) -> torch.Tensor:
    """Logits (4, ...) of values (...): label k where the value lies above k of the bands."""
    steps = [torch.zeros_like(values)]
    for band in BANDS:
        steps.append(steps[-1] + values - band)
    return torch.stack(steps)


def bands_of(values: np.ndarray) -> np.ndarray:
    return np.searchsorted(BANDS, values).astype(np.uint8)


def ramp() -> np.ndarray:
    """R + 3 A + 7 S in mm: no flip or exchange of axes leaves it as it is."""
    x, y, z = np.meshgrid(*(np.arange(n) * s for n, s in zip(SHAPE, SPACING_MM, strict=True)), indexing="ij")
    return (x + 3 * y + 7 * z).astype(np.float32)


def chain(*spacing: float) -> Compose:
    return Compose(
        [
            Orientationd(keys="image", axcodes="RAS", labels=None),
            Spacingd(keys="image", pixdim=spacing, mode="bilinear"),
        ]
    )


def undone(image: MetaTensor, chain: Compose, network: object = banded) -> np.ndarray:
    seen = chain({"image": image})["image"]
    logits = network(seen.as_tensor()[0])  # type: ignore[operator]
    affine, native = np.asarray(seen.affine), np.asarray(image.affine)
    return restore_labels(logits, affine=affine, native_affine=native, native_shape=image.shape[1:])


@pytest.mark.parametrize("spacing", [(2.0, 2.0, 2.0), (0.75, 3.0, 1.0)], ids=str)
@pytest.mark.parametrize("code", CODES)
def test_every_storage_orientation_gives_the_same_anatomy(code: str, spacing: tuple[float, ...]) -> None:
    ras = ramp()
    change = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(code))
    stored = apply_orientation(ras, change)
    ras_affine = np.diag([*SPACING_MM, 1.0])
    ras_affine[:3, 3] = (-40, 25, 310)
    affine = ras_affine @ inv_ornt_aff(change, SHAPE)
    labels = undone(MetaTensor(torch.tensor(stored.copy())[None], affine=torch.tensor(affine)), chain(*spacing))
    np.testing.assert_array_equal(labels, bands_of(stored))
    np.testing.assert_array_equal(labels, apply_orientation(bands_of(ras), change))
    assert np.unique(labels).tolist() == [0, 1, 2, 3]


def test_crop_and_padding_are_undone() -> None:
    ras, affine = ramp(), np.diag([*SPACING_MM, 1.0])
    ras[:3], ras[:, :, 5:] = 0, 0
    stored = MetaTensor(torch.tensor(ras)[None], affine=torch.tensor(affine))
    crop = CropForegroundd(keys="image", source_key="image")
    labels = undone(stored, Compose([crop, SpatialPadd(keys="image", spatial_size=(16, 12, 8))]))
    np.testing.assert_array_equal(labels, bands_of(ras))
    np.testing.assert_array_equal(undone(stored, crop, everything), (np.indices(SHAPE)[0] >= 3) & (ras.any((0, 1))))


def everything(values: torch.Tensor) -> torch.Tensor:
    return torch.stack([torch.zeros_like(values), torch.ones_like(values)])


@given(
    st.tuples(*[st.integers(1, 12)] * 3),
    st.tuples(*[st.floats(0.4, 6.0)] * 3),
    st.tuples(*[st.floats(0.8, 3.0)] * 3),
    st.tuples(*[st.floats(-180, 180)] * 3),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_what_covers_the_networks_grid_covers_the_image(
    shape: Sequence[int], spacing: Sequence[float], wanted: Sequence[float], angles: Sequence[float], rounded: bool
) -> None:
    """Also where the affine was rounded to float32, as NIfTI stores it, and slices are thick."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * np.asarray(spacing)
    affine[:3, 3] = (-100, -90, 30)
    if rounded:
        affine = affine.astype(np.float32).astype(np.float64)
    image = MetaTensor(torch.zeros(1, *shape), affine=torch.tensor(affine))
    assert undone(image, chain(*wanted), everything).all()


def picture(size: tuple[int, int], slopes: tuple[float, float]) -> MetaTensor:
    x, y = np.meshgrid(*map(np.arange, size), indexing="ij")
    return MetaTensor(torch.tensor(slopes[0] * x + slopes[1] * y, dtype=torch.float32)[None], affine=torch.eye(4))


@pytest.mark.parametrize(
    ("size", "square", "mode"),
    [
        pytest.param((48, 32), 16, "area", id="area 3 and 2 times smaller"),
        pytest.param((32, 48), 64, "bilinear", id="larger"),
        pytest.param((47, 33), 40, "bilinear", id="one axis smaller, one larger"),
        pytest.param((64, 37), 37, "bilinear", id="one axis kept"),
    ],
)
def test_a_picture_squeezed_to_a_square_comes_back_without_a_shift(
    size: tuple[int, int], square: int, mode: str
) -> None:
    """Resize counts from the outer faces of the pixels; a half-pixel slip would move every border of a band."""
    image = picture(size, (1.0, 2.0))
    resized = Resized(keys="image", spatial_size=(square, square), mode=mode)
    labels = undone(image, Compose([resized]))
    expected = bands_of(image[0].numpy())
    inner = (slice(4, -4), slice(4, -4))  # at the picture's edge the resized ramp is flat
    np.testing.assert_array_equal(labels[inner], expected[inner])
    assert np.unique(labels[inner]).size > 2


@pytest.mark.parametrize("size", [(61, 43), (43, 61), (17, 100)], ids=str)
def test_area_by_an_odd_factor_shifts_no_border_by_half_a_pixel_on_average(size: tuple[int, int]) -> None:
    for axis in (0, 1):
        middle = (size[axis] - 1) / 2
        image = picture(size, (1.0, 0.0) if axis == 0 else (0.0, 1.0))
        resized = Resized(keys="image", spatial_size=(32, 32), mode="area")
        above = [
            undone(image, Compose([resized]), lambda v, b=band: torch.stack([torch.zeros_like(v), v - b])).mean()
            for band in middle + np.arange(-4, 4) + 0.5
        ]
        expected = [0.5 - (offset + 0.5) / size[axis] for offset in range(-4, 4)]
        assert np.mean(np.array(above) - expected) * size[axis] == pytest.approx(0, abs=0.4)
