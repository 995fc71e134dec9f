"""What can be done to one label after the network, as `medseg postprocess tune` tries it and a bundle declares it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medseg.case import Affine, LabelArray
from medseg.postprocess.components import KeepLargestComponents
from medseg.postprocess.holes import FillHoles

MINIMA_ML = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Smallest pieces to keep that are tried, in ml; in pictures, which have no volume, none."""

KEEP, FILL = "medseg.postprocess.KeepLargestComponents", "medseg.postprocess.FillHoles"
STEPS = {KEEP: KeepLargestComponents, FILL: FillHoles}

Step = Mapping[str, Any]
"""A step as a configuration declares it, with its `_target_`."""


@dataclass(frozen=True)
class Option:
    """What is done to a label.

    Attributes
    ----------
    largest
        Keep only its largest piece.
    minimum_ml
        Drop its pieces below this volume; 0 drops none.
    fill
        Fill what it encloses.
    """

    largest: bool = False
    minimum_ml: float = 0.0
    fill: bool = False

    def __str__(self) -> str:
        done = ["largest component"] * self.largest
        done += [f"pieces from {self.minimum_ml:g} ml"] * bool(self.minimum_ml) + ["holes filled"] * self.fill
        return ", ".join(done) or "nothing"

    def steps(self, labels: Sequence[int], *, spatial_dims: int) -> list[dict[str, Any]]:
        """The steps that do this to `labels`, as a configuration declares them.

        Pieces are joined by corners too, so that a thin neck does not cut a region in two; a hole is what no path by
        faces leads out of, so that most is filled.
        """
        steps: list[dict[str, Any]] = []
        by_corners, by_faces = (26, 6) if spatial_dims == 3 else (8, 4)
        if self.largest or self.minimum_ml:
            step: dict[str, Any] = {"_target_": KEEP, "labels": list(labels), "connectivity": by_corners}
            if not self.largest:
                step |= {"count": None, "minimum_ml": self.minimum_ml}
            steps.append(step)
        if self.fill:
            steps.append({"_target_": FILL, "labels": list(labels), "connectivity": by_faces})
        return steps


def all_options(spatial_dims: int) -> list[Option]:
    """All that is tried, the simplest first."""
    keep = [Option(), Option(largest=True)]
    if spatial_dims == 3:
        keep += [Option(minimum_ml=minimum) for minimum in MINIMA_ML]
    return [*keep, *(Option(one.largest, one.minimum_ml, fill=True) for one in keep)]


def apply_steps(labels: LabelArray, steps: Iterable[Step], affine: Affine) -> LabelArray:
    """A label map ``(X, Y[, Z])`` after declared steps of this room, one after the other."""
    for step in steps:
        arguments = {name: value for name, value in step.items() if name != "_target_"}
        labels = STEPS[step["_target_"]](**arguments)(labels, affine)
    return labels
