"""Whether the values of a CT can be Hounsfield units: air and soft tissue where they belong."""

from __future__ import annotations

import numpy as np

from medseg.case import Array
from medseg.findings import Finding

SOFT_TISSUE_HU = (-200, 200)
"""Fat (-120) to contrast-filled organs; water is 0 by definition."""
AIR_HU = (-1150, -650)
"""Where most of what is darker than any tissue lies: air round the patient, lungs."""
DARK_HU = -500
DENSE_HU = 900
"""Cortical bone and metal; the soft tissue of a CT whose -1024 was not added lies here too."""
LEAST_SOFT_TISSUE = 0.01
LEAST_DARK = 0.05
MOST_DENSE = 0.15
LEAST_RANGE_HU = 200
_SAMPLES = 1 << 20
_BIN_HU = 50


def hu_finding(array: Array) -> Finding | None:
    """What makes the values of a CT (any shape) no Hounsfield units, with numbers; None where they may be.

    About a million voxels, evenly spread, are looked at.
    """
    flat = array.reshape(-1, order="A")
    values = np.ascontiguousarray(flat[:: max(1, flat.size // _SAMPLES)])  # once through memory, not at every look
    low, high = float(values.min()), float(values.max())
    soft = float(((values >= SOFT_TISSUE_HU[0]) & (values <= SOFT_TISSUE_HU[1])).mean())
    dense = float((values >= DENSE_HU).mean())
    why = _why_not(low, high, soft, dense) or _air_elsewhere(values[(values > low) & (values < DARK_HU)], values.size)
    if why is None:
        return None
    return Finding(
        code="implausible-hu",
        severity="warning",
        what=f"values that are hardly Hounsfield units: {why}",
        got=f"values from {low:.6g} to {high:.6g}; {soft:.1%} between {SOFT_TISSUE_HU[0]} and {SOFT_TISSUE_HU[1]}, "
        f"{dense:.1%} from {DENSE_HU} up",
        expected="air at -1000, fat near -100, soft tissue between 0 and 100",
        next_step="check the rescale slope and intercept, or the conversion that wrote the file",
    )


def _why_not(low: float, high: float, soft: float, dense: float) -> str | None:
    if high - low < LEAST_RANGE_HU:
        return "their range is too narrow"
    if soft < LEAST_SOFT_TISSUE:
        return "no soft tissue"
    if low >= 0:
        return "no air and no fat, nothing is below 0"
    if dense > MOST_DENSE:
        return "much is denser than bone (is the intercept of -1024 missing?)"
    return None


def _air_elsewhere(dark: Array, total: int) -> str | None:
    """Where the peak of the `dark` values is, if it is no air's; the very lowest value, often padding, is left out."""
    if dark.size < LEAST_DARK * total:
        return None
    values, counts = np.unique(np.floor(dark / _BIN_HU), return_counts=True)
    peak = (float(values[np.argmax(counts)]) + 0.5) * _BIN_HU
    return None if AIR_HU[0] <= peak <= AIR_HU[1] else f"most of what is dark lies near {peak:.0f}"
