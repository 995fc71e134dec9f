"""Batches augmented at once: what MONAI's transforms do case by case, from the same draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import (
    Rand2DElasticd,
    RandAdjustContrastd,
    RandAffined,
    RandFlipd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandHistogramShiftd,
    RandScaleIntensityd,
    RandScaleIntensityFixedMeand,
    RandShiftIntensityd,
    RandSimulateLowResolutiond,
    ScaleIntensityd,
)

from medseg.training import BatchAugmentation
from medseg.training.batch_kernels import KERNELS
from medseg.transforms import RandMirrorLabelsd

SEEDS = (11, 12, 13, 14, 15)
BOTH = ["image", "label"]
TRANSFORMS: dict[str, Callable[[int], Any]] = {
    "affine": lambda d: RandAffined(
        keys=BOTH,
        prob=0.5,
        rotate_range=[0.4] * d,
        scale_range=[0.3] * d,
        translate_range=[2] * d,
        shear_range=[0.1] * d,
        mode=["bilinear", "nearest"],
        padding_mode=["zeros", "border"],
    ),
    "affine reflected": lambda d: RandAffined(keys="image", prob=0.5, rotate_range=[0.4], padding_mode="reflection"),
    "flip": lambda d: RandFlipd(keys=BOTH, prob=0.5, spatial_axis=0),
    "flip last two": lambda d: RandFlipd(keys=BOTH, prob=0.5, spatial_axis=[-1, 0]),
    "flip all": lambda d: RandFlipd(keys=BOTH, prob=0.5),
    "smooth": lambda d: RandGaussianSmoothd(
        keys="image", prob=0.5, sigma_x=(0.3, 2), sigma_y=(0.3, 1), sigma_z=(1, 1.5)
    ),
    "scale": lambda d: RandScaleIntensityd(keys="image", prob=0.5, factors=0.4),
    "scale each channel": lambda d: RandScaleIntensityd(keys="image", prob=0.5, factors=0.4, channel_wise=True),
    "scale about the mean": lambda d: RandScaleIntensityFixedMeand(
        keys="image", prob=0.5, factors=0.4, preserve_range=True
    ),
    "shift": lambda d: RandShiftIntensityd(keys="image", prob=0.5, offsets=0.4),
    "gamma": lambda d: RandAdjustContrastd(keys="image", prob=0.5, gamma=(0.6, 1.8)),
    "gamma that keeps": lambda d: RandAdjustContrastd(keys="image", prob=0.5, gamma=(0.6, 1.8), retain_stats=True),
    "gamma inverted": lambda d: RandAdjustContrastd(keys="image", prob=0.5, gamma=(0.6, 1.8), invert_image=True),
    "low resolution": lambda d: RandSimulateLowResolutiond(
        keys="image", prob=0.5, upsample_mode="bilinear" if d == 2 else "trilinear"
    ),
    "no kernel": lambda d: RandHistogramShiftd(keys="image", prob=0.5),
    "not random": lambda d: ScaleIntensityd(keys="image", minv=-1.0, maxv=1.0),
    "ours": lambda d: RandMirrorLabelsd(axis=0, swaps=[[1, 2]], prob=0.5),
    "elastic": lambda d: Rand2DElasticd(keys=BOTH, prob=0.5, spacing=[4, 4], magnitude_range=[1, 2], mode="nearest"),
}
CASES = [(name, d) for name in TRANSFORMS for d in (2, 3) if (name, d) != ("elastic", 3)]


def batch(spatial_dims: int, size: tuple[int, ...] = (12, 9, 8)) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(spatial_dims)
    size = size[:spatial_dims]
    image = torch.randn(len(SEEDS), 2, *size, generator=generator)
    return image, torch.randint(0, 3, (len(SEEDS), 1, *size), generator=generator).to(torch.uint8)


def case_by_case(transform: Any, image: torch.Tensor, label: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """MONAI's own way, seeded as the batch is."""
    found = []
    for one, mask, seed in zip(image, label, SEEDS, strict=True):
        if hasattr(transform, "set_random_state"):
            transform.set_random_state(seed=int(np.random.SeedSequence([seed, 0]).generate_state(1)[0]))
        found.append(transform({"image": one.clone(), "label": mask.clone()}))
    images, labels = ([plain(one[key]) for one in found] for key in BOTH)
    return torch.stack(images), torch.stack(labels)


def plain(values: Any) -> torch.Tensor:
    return values.as_tensor() if isinstance(values, MetaTensor) else values


@pytest.mark.parametrize(("name", "spatial_dims"), CASES)
def test_a_batch_is_what_its_cases_are_one_by_one(name: str, spatial_dims: int) -> None:
    image, label = batch(spatial_dims)
    kept = image.clone()
    ours = BatchAugmentation(transforms=[TRANSFORMS[name](spatial_dims)])(image, label, seeds=SEEDS)
    theirs = case_by_case(TRANSFORMS[name](spatial_dims), image, label)
    torch.testing.assert_close(ours[0], theirs[0].float(), rtol=1e-4, atol=1e-4)
    assert float((ours[1] != theirs[1]).float().mean()) < 0.002  # a voxel that lies half way between two
    assert ours[1].dtype == torch.uint8
    assert torch.equal(image, kept)
    changed = (ours[0] != image).flatten(1).any(1) | (ours[1] != label).flatten(1).any(1)
    assert changed.any()
    assert name == "not random" or not changed.all()


@pytest.mark.parametrize("size", [(12, 9, 1), (1, 9, 8), (7, 1)])
def test_a_plane_is_turned_as_monai_turns_it(size: tuple[int, ...]) -> None:
    image, label = batch(len(size), size)
    ours = BatchAugmentation(transforms=[TRANSFORMS["affine"](len(size))])(image, label, seeds=SEEDS)
    theirs = case_by_case(TRANSFORMS["affine"](len(size)), image, label)
    torch.testing.assert_close(ours[0], theirs[0].float(), rtol=1e-4, atol=1e-4)
    assert float((ours[1] != theirs[1]).float().mean()) < 0.02


def test_noise_has_the_drawn_spread_and_is_the_same_again() -> None:
    image = torch.zeros(4, 1, 40, 40)
    label = torch.zeros(4, 1, 40, 40, dtype=torch.uint8)
    noise = BatchAugmentation(
        transforms=[RandGaussianNoised(keys="image", prob=1.0, mean=3.0, std=0.5, sample_std=False)]
    )
    first, _ = noise(image, label, seeds=[1, 2, 3, 4])
    assert torch.equal(first, noise(image, label, seeds=[1, 2, 3, 4])[0])
    torch.testing.assert_close(first.mean((1, 2, 3)), torch.full((4,), 3.0), atol=0.06, rtol=0)
    torch.testing.assert_close(first.std((1, 2, 3)), torch.full((4,), 0.5), atol=0.04, rtol=0)
    drawn = BatchAugmentation(transforms=[RandGaussianNoised(keys="image", prob=1.0, std=0.5)])
    deviations = drawn(torch.zeros(64, 1, 20, 20), torch.zeros(64, 1, 20, 20), seeds=range(64))[0].std((1, 2, 3))
    assert 0.2 < float(deviations.mean()) < 0.3  # uniform from 0 to 0.5
    assert float(deviations.max()) > 0.4


def test_a_case_is_the_same_in_any_batch() -> None:
    image, label = batch(3)
    chain = [TRANSFORMS[name](3) for name in ("affine", "flip", "smooth", "gamma that keeps", "low resolution")]
    augmented = BatchAugmentation(transforms=[*chain, RandGaussianNoised(keys="image", prob=0.5)])
    whole = augmented(image, label, seeds=SEEDS)
    for i in (3, 0):
        alone = augmented(image[i : i + 1], label[i : i + 1], seeds=SEEDS[i : i + 1])
        torch.testing.assert_close(alone[0][0], whole[0][i], rtol=1e-5, atol=1e-5)
        assert torch.equal(alone[1][0], whole[1][i])


def test_how_often_a_transform_acts_is_its_probability() -> None:
    image = torch.ones(400, 1, 2, 2)
    scaled, _ = BatchAugmentation(transforms=[RandScaleIntensityd(keys="image", prob=0.3, factors=0.5)])(
        image, image, seeds=range(400)
    )
    acted = float((scaled != 1).flatten(1).any(1).float().mean())
    assert abs(acted - 0.3) < 0.07
    assert 0.5 <= float(scaled.min()) < 0.6
    assert 1.4 < float(scaled.max()) <= 1.5


def test_every_kernel_is_compared_with_monai() -> None:
    compared = {type(make(2)) for make in TRANSFORMS.values()} | {RandGaussianNoised}
    assert set(KERNELS) <= compared
