"""Failures made on purpose: images spoilt as real ones are, with the truth that then holds.

A validation set has hardly any failures to learn from or to measure a warning with. Each kind here is something that
happens: noise of a low dose, blur of a moved patient, a wrong window or inverted grey values of a wrong header, a
part of the body outside the field, and an image stored mirrored or upside down while its header says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

import numpy as np

from medseg.case import Array, FloatArray, LabelArray

Spoil: TypeAlias = Callable[[FloatArray, LabelArray, np.random.Generator], tuple[FloatArray, LabelArray]]
"""From one channel ``(X, Y[, Z])`` and its truth to the spoilt image and the truth that holds for it."""


def spoilt(image: Array, truth: LabelArray, *, kind: str, seed: int) -> tuple[FloatArray, LabelArray]:
    """An image ``(C, X, Y[, Z])`` and its truth ``(X, Y[, Z])``, spoilt in one of the ways of `KINDS`.

    Parameters
    ----------
    image, truth
        As they are stored.
    kind
        A key of `KINDS`.
    seed
        Of the noise.
    """
    channels = [KINDS[kind](one.astype(np.float32), truth, np.random.default_rng(seed)) for one in image]
    return np.stack([changed for changed, _ in channels]), channels[0][1]


def _noise(share_of_sd: float) -> Spoil:
    def spoil(image: FloatArray, truth: LabelArray, generator: np.random.Generator) -> tuple[FloatArray, LabelArray]:
        noise = generator.standard_normal(image.shape, dtype=np.float32)
        return image + np.float32(share_of_sd * image.std()) * noise, truth

    return spoil


def _blur(share_of_size: float) -> Spoil:
    def spoil(image: FloatArray, truth: LabelArray, generator: np.random.Generator) -> tuple[FloatArray, LabelArray]:
        from scipy.ndimage import gaussian_filter

        return gaussian_filter(image, [share_of_size * length for length in image.shape]), truth

    return spoil


def _window(low: float, high: float) -> Spoil:
    """What lies between two percentiles keeps its contrast, the rest is black or white."""

    def spoil(image: FloatArray, truth: LabelArray, generator: np.random.Generator) -> tuple[FloatArray, LabelArray]:
        return np.clip(image, *np.percentile(image, [low, high]).astype(np.float32)), truth

    return spoil


def _inverted(image: FloatArray, truth: LabelArray, generator: np.random.Generator) -> tuple[FloatArray, LabelArray]:
    return image.max() + image.min() - image, truth


def _cropped(axis: int) -> Spoil:
    """The first half along an axis is not in the image."""

    def spoil(image: FloatArray, truth: LabelArray, generator: np.random.Generator) -> tuple[FloatArray, LabelArray]:
        seen, left = image.copy(), truth.copy()
        gone = tuple(slice(0, image.shape[k] // 2) if k == axis else slice(None) for k in range(image.ndim))
        seen[gone], left[gone] = image.min(), 0
        return seen, left

    return spoil


def _flipped(axis: int) -> Spoil:
    def spoil(image: FloatArray, truth: LabelArray, generator: np.random.Generator) -> tuple[FloatArray, LabelArray]:
        return np.flip(image, axis).copy(), np.flip(truth, axis).copy()

    return spoil


KINDS: Mapping[str, Spoil] = MappingProxyType(
    {
        "noise, half the contrast": _noise(0.5),
        "noise, twice the contrast": _noise(2.0),
        "blur": _blur(0.03),
        "narrow window": _window(40, 60),
        "bright window": _window(0, 30),
        "inverted": _inverted,
        "half cropped, first axis": _cropped(0),
        "half cropped, second axis": _cropped(1),
        "flipped, first axis": _flipped(0),
        "flipped, second axis": _flipped(1),
    }
)
"""Name to what is done; axes are those of the file."""
