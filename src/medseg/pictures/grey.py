"""From the values of a modality to the grey levels of a screen."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medseg.case import Array, Image, LabelArray

_SAMPLES = 1_000_000
"""Percentiles are taken from about this many voxels: enough for a display, and fast on any volume."""


class Window(NamedTuple):
    """Values shown as black and as white; `name` is empty where it is no window in HU."""

    low: float
    high: float
    name: str = ""


LUNG = Window(-1350.0, 150.0, "lung window")
SOFT_TISSUE = Window(-160.0, 240.0, "soft tissue window")


def choose_window(image: Image, labels: LabelArray) -> Window:
    """Lung or soft tissue window for CT, by what is labelled; for all else the 1st to 99th percentile.

    Parameters
    ----------
    image
        ``(C, X, Y[, Z])``, of which the first channel counts.
    labels
        ``(X, Y[, Z])``; where nothing is labelled the whole image decides.
    """
    values, marked = _sample(image.array[0]), _sample(labels) > 0
    if not _is_hounsfield(values, image.modality, volume=labels.ndim == 3):
        low, high = np.percentile(values, [1, 99])
        return Window(float(low), float(high)) if high > low else Window(float(values.min()), float(values.max()))
    aerated = (values > -980) & (values < -500)
    is_lung = aerated[marked].mean() > 0.5 if marked.any() else aerated.mean() > 0.1
    return LUNG if is_lung else SOFT_TISSUE


def grey_levels(values: Array, window: Window) -> NDArray[np.uint8]:
    """Grey levels 0 to 255 of values of any shape."""
    width = max(window.high - window.low, float(np.finfo(np.float32).tiny))
    scaled = (np.asarray(values, dtype=np.float32) - window.low) / width
    return np.asarray(np.clip(scaled, 0.0, 1.0) * 255.0 + 0.5, dtype=np.uint8)


def _sample(array: Array) -> Array:
    """Every n-th voxel along each axis."""
    step = max(1, int(np.ceil((array.size / _SAMPLES) ** (1 / array.ndim))))
    return array[(slice(None, None, step),) * array.ndim]


def _is_hounsfield(values: Array, modality: str | None, *, volume: bool) -> bool:
    """Told by the source, or by air and tissue both lying where HU has them."""
    if modality is not None:
        return modality == "CT" and bool(values.min() < -100)
    return volume and bool(-4096 <= values.min() <= -500 and 100 <= values.max() <= 32767)
