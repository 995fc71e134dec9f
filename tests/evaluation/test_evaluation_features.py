"""Features of regions, counted by runs, against the same counted voxel by voxel."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from scipy import ndimage

from medseg.case import Image, LabelArray
from medseg.evaluation.features import region_features


def by_voxels(array: LabelArray, raw: LabelArray, value: int) -> dict[str, float]:
    """What `region_features` gives for voxels of 1 ml on axes of RAS, or for a picture."""
    size, axes = (1.0, "right anterior superior") if array.ndim == 3 else (1 / array.size, "across down")
    found, place = {}, np.argwhere(array == value)
    last = np.array(array.shape) - 1
    if len(place):
        found = {f"centre_{name}": p for name, p in zip(axes.split(), place.mean(0) / np.maximum(last, 1), strict=True)}
        found["border_share"] = float(((place == 0) | (place == last)).any(1).mean())
    pieces, count = ndimage.label(raw == value, np.ones((3,) * raw.ndim))
    if count:
        found["largest_share"] = np.bincount(pieces.ravel())[1:].max() / np.count_nonzero(pieces)
    return {("volume_ml" if array.ndim == 3 else "area_share"): len(place) * size, "fragments": count, **found}


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(4, 6, 5), (1, 5, 3), (5, 1, 1), (4, 3, 1), (7, 4), (5, 1)], ids=str)
def test_regions_are_those_of_their_voxels(shape: tuple[int, ...], order: Literal["C", "F"]) -> None:
    draw = np.random.default_rng(5)
    for share in (0.0, 0.3, 0.8, 1.0):
        array, raw = (np.asarray((draw.random(shape) < share) * draw.integers(1, 4, shape), order=order) for _ in "ar")
        image = Image(array.astype(np.uint8), np.diag([10.0, 10.0, 10.0, 1.0]), Path("m.nii.gz"))
        found = region_features(image, raw=raw.astype(np.uint8), names={0: "background", 1: "a", 2: "b", 3: "c"})
        for value, name in enumerate("abc", start=1):
            assert found[name] == pytest.approx(by_voxels(array, raw, value))
