"""An image in a few numbers: its grid and the spread of its values, as manifests and data sheets tell them."""

from __future__ import annotations

from typing import Any

import numpy as np

from medseg.case import Image
from medseg.geometry import orientation, spacing_mm

MOST_VOXELS = 1_000_000
"""Percentiles of larger images are taken from every n-th voxel along each axis."""
_PERCENTILES = {"min": 0, "p1": 1, "median": 50, "p99": 99, "max": 100}


def describe_image(image: Image) -> dict[str, Any]:
    """Size, spacing and intensities of an image ``(C, X, Y[, Z])``, ready for JSON, rounded to six digits.

    Returns
    -------
    dict
        ``size``: voxels along X, Y[, Z]; ``spacing_mm``, null where unknown; ``orientation``, such as "LPS", null for
        pictures; ``modality``; ``channels``; ``intensity``: min, p1, median, p99, max, mean and sd of the first
        channel, taken from at most a million voxels on a regular grid.
    """
    axes = image.array.ndim - 1
    known = axes == 3 or image.spacing_known
    return {
        "size": [int(n) for n in image.array.shape[1:]],
        "spacing_mm": [_rounded(mm) for mm in spacing_mm(image.affine)[:axes]] if known else None,
        "orientation": orientation(image.affine) if axes == 3 else None,
        "modality": image.modality,
        "channels": int(image.array.shape[0]),
        "intensity": _intensity(image),
    }


def _intensity(image: Image) -> dict[str, float]:
    first = image.array[0]
    step = max(1, int(np.ceil((first.size / MOST_VOXELS) ** (1 / first.ndim))))
    values = np.asarray(first[(slice(None, None, step),) * first.ndim], dtype=np.float64)
    found = dict(zip(_PERCENTILES, np.percentile(values, list(_PERCENTILES.values())), strict=True))
    return {name: _rounded(v) for name, v in {**found, "mean": values.mean(), "sd": values.std()}.items()}


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
