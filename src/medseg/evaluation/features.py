"""What can be measured of a case without its truth: how the regions look, how sure the network was, how bright it is.

Everything is a plain number with a name, so that limits and a regression can be read in models/flags.json:

- per region: ``volume_ml`` (pictures: ``area_share``, of the picture), ``fragments`` (connected pieces before
  postprocessing, by corners too), ``largest_share`` (of the region's voxels in its largest piece, before
  postprocessing), ``border_share`` (of its voxels on the outermost layer of the image), its centre as a fraction of
  the image (``centre_right``, ``centre_anterior``, ``centre_superior``; pictures ``centre_across``, ``centre_down``),
  ``confidence`` and ``entropy`` (means over its voxels, before postprocessing);
- per case: mean, standard deviation, percentiles and roughness of what the network is given, that is of the image
  after the bundle's preprocessing, and where its bright parts lie (``bright_right``, ``bright_anterior``,
  ``bright_superior``; pictures ``bright_across``, ``bright_down``): the centre of its brightest twentieth, seen from
  the centre of all that is brighter than the mean, as a share of the image. A turned or mirrored one has it elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from medseg.case import Affine, Array, Image, LabelArray
from medseg.geometry import orientation, voxel_volume_ml
from medseg.postprocess.regions import memory_order
from medseg.postprocess.runs import Indices, Runs, runs_of

Numbers: TypeAlias = Mapping[str, float]

PERCENTILES = (5, 25, 50, 75, 95)
MOST_VOXELS = 2_000_000
"""Larger inputs are looked at on every second, third, ... voxel along each axis."""

_DIRECTIONS = {
    "R": ("right", False),
    "L": ("right", True),
    "A": ("anterior", False),
    "P": ("anterior", True),
    "S": ("superior", False),
    "I": ("superior", True),
}
"""Where an axis points to: the name of the direction, and whether it runs against it."""


class Sure(Protocol):
    """How sure the network is of one class: `medseg.inference.ClassConfidence` is one."""

    @property
    def value(self) -> int:
        """The class."""

    @property
    def mean_confidence(self) -> float:
        """Mean largest probability of its voxels."""

    @property
    def mean_entropy(self) -> float:
        """Mean entropy of its voxels, in nats."""


@dataclass(frozen=True)
class CaseFeatures:
    """The numbers of one case.

    Attributes
    ----------
    intensity
        Of what the network is given; empty where it was not looked at.
    regions
        Region to its numbers. A region that was not found has only its size, 0, and no fragments.
    """

    intensity: Numbers = field(default_factory=dict)
    regions: Mapping[str, Numbers] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Rounded to six digits."""
        return {
            "intensity": {name: float(f"{value:.6g}") for name, value in self.intensity.items()},
            "regions": {
                region: {name: float(f"{value:.6g}") for name, value in numbers.items()}
                for region, numbers in self.regions.items()
            },
        }


def intensity_features(inputs: Array, affine: Affine) -> dict[str, float]:
    """Numbers of what the network is given, ``(C, X, Y[, Z])``; names end with the channel where there are several.

    Roughness is the mean absolute difference of neighbours over the standard deviation: high for noise, low for blur.
    `affine` (4, 4) tells the directions of a volume's axes; of a picture it is not looked at.
    """
    found: dict[str, float] = {}
    for channel, values in enumerate(np.asarray(inputs, dtype=np.float32)):
        ending = f"_{channel}" if len(inputs) > 1 else ""
        found |= {f"{name}{ending}": value for name, value in _of_channel(values, affine).items()}
    return found


def region_features(
    labels: Image, *, raw: LabelArray, names: Mapping[int, str], sure: Iterable[Sure] = ()
) -> dict[str, dict[str, float]]:
    """Numbers of each region of a case.

    Parameters
    ----------
    labels
        The label map ``(X, Y[, Z])`` as it is written.
    raw
        The same before postprocessing: stray pieces are counted there.
    names
        Value to name; 0 is left out.
    sure
        How sure the network is of each class that it found.
    """
    values = sorted(set(names) - {0})
    of_class = {one.value: one for one in sure}
    order, final = _runs(labels.array, values)
    _, before = _runs(raw, values)
    found: dict[str, dict[str, float]] = {}
    for value in values:
        numbers = _shape(labels, final[value], order)
        numbers |= _pieces(before[value])
        if value in of_class:
            numbers["confidence"] = float(of_class[value].mean_confidence)
            numbers["entropy"] = float(of_class[value].mean_entropy)
        found[names[value]] = numbers
    return found


def size_name(spatial_dims: int) -> str:
    """The name of a region's size: "volume_ml" or "area_share"."""
    return "volume_ml" if spatial_dims == 3 else "area_share"


def _of_channel(values: NDArray[np.float32], affine: Affine) -> dict[str, float]:
    step = int(np.ceil((values.size / MOST_VOXELS) ** (1 / values.ndim)))
    near = values[tuple(slice(None, None, step) for _ in values.shape)]
    sd = float(near.std())
    found = {"mean": float(near.mean()), "sd": sd}
    quantiles = np.percentile(near, PERCENTILES)
    found |= {f"p{percent}": float(value) for percent, value in zip(PERCENTILES, quantiles, strict=True)}
    steps = [float(np.abs(np.diff(near, axis=axis)).mean()) for axis in range(near.ndim) if near.shape[axis] > 1]
    found["roughness"] = float(np.mean(steps)) / sd if steps and sd > 0 else 0.0
    towards = _bright_towards(near, bright=float(quantiles[-1]), mean=found["mean"])
    return {**found, **{f"bright_{name}": -way if against else way for name, against, way in _along(towards, affine)}}


def _bright_towards(values: NDArray[np.float32], *, bright: float, mean: float) -> list[float]:
    """Along each axis, as a share of it: the way from the centre of what is above the mean to that of the bright."""
    from_centre, to_centre = _centres(values > mean), _centres(values >= bright)
    lengths = [max(1, length - 1) for length in values.shape]
    return [(to - start) / length for to, start, length in zip(to_centre, from_centre, lengths, strict=True)]


def _centres(mask: NDArray[np.bool_]) -> list[float]:
    """The centre of a mask along each axis, in voxels; of an empty one that of the grid."""
    counts = [mask.sum(tuple(other for other in range(mask.ndim) if other != axis)) for axis in range(mask.ndim)]
    return [float(np.average(np.arange(len(one)), weights=one if one.any() else None)) for one in counts]


def _runs(labels: LabelArray, values: Sequence[int]) -> tuple[tuple[int, ...], dict[int, Runs]]:
    """The runs of each label, and the axes of the label map in the order in which they lie in memory."""
    order = memory_order(labels)
    return order, runs_of(np.ascontiguousarray(labels.transpose(order)), values)


def _shape(labels: Image, runs: Runs, order: Sequence[int]) -> dict[str, float]:
    """Runs instead of voxels: there are some hundred times fewer."""
    size, voxels = size_name(labels.array.ndim), int(runs.lengths.sum())
    if voxels == 0:
        return {size: 0.0}
    unit = voxel_volume_ml(labels.affine) if labels.array.ndim == 3 else 1 / labels.array.size
    place = np.unravel_index(runs.starts, runs.shape)
    sums = [int(along @ runs.lengths) for along in place]
    sums[-1] += int((runs.lengths * (runs.lengths - 1)).sum()) // 2  # runs go on along the last axis
    middle = [sums[order.index(axis)] / voxels / max(1, labels.array.shape[axis] - 1) for axis in range(len(order))]
    border_share = _border_voxels(runs, place) / voxels
    return {size: voxels * unit, "border_share": border_share, **_centre(middle, labels.affine)}


def _border_voxels(runs: Runs, place: Sequence[Indices]) -> int:
    """Voxels of runs, which begin at `place`, on the outermost layer of the image."""
    *slow, first = place
    on_side = np.any([(p == 0) | (p == n - 1) for p, n in zip(slow, runs.shape[:-1], strict=True)], axis=0)
    ends = (first == 0).astype(np.intp) + (first + runs.lengths == runs.shape[-1])
    return int(np.where(on_side, runs.lengths, np.minimum(ends, runs.lengths)).sum())


def _centre(middle: Sequence[float], affine: Affine) -> dict[str, float]:
    """The centre along the patient's axes, whatever the order in which the file stores them."""
    return {f"centre_{name}": 1 - where if against else where for name, against, where in _along(middle, affine)}


def _along(numbers: Sequence[float], affine: Affine) -> list[tuple[str, bool, float]]:
    """The direction of each axis, whether the axis runs against it, and its number."""
    if len(numbers) == 2:
        return [("across", False, numbers[0]), ("down", False, numbers[1])]
    return [(*_DIRECTIONS[letter], number) for letter, number in zip(orientation(affine), numbers, strict=True)]


def _pieces(runs: Runs) -> dict[str, float]:
    if len(runs.starts) == 0:
        return {"fragments": 0.0}
    numbers = runs.components(26 if len(runs.shape) == 3 else 8)
    sizes = np.bincount(numbers, weights=runs.lengths)
    return {"fragments": float(len(sizes)), "largest_share": float(sizes.max() / sizes.sum())}
