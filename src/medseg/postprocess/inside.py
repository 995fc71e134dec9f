"""Keep a label only where another one is: a tumour in its organ."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from medseg.case import Affine, LabelArray
from medseg.errors import BundleError
from medseg.postprocess.regions import (
    Connectivity,
    Mask,
    box_of,
    check_axes,
    check_connectivity,
    check_labels,
    chosen,
    holes_of,
    memory_order,
    regions_of,
    voxels_of,
)


class KeepInside:
    """Drop what lies outside another class; what is dropped becomes background.

    Parameters
    ----------
    labels
        The label values that belong inside.
    within
        The label values that they belong in.
    connectivity
        Which voxels touch: 6, 18 or 26 in volumes, 4 or 8 in pictures.
    enclosed
        False keeps each piece of `labels` that touches `within`, such as a tumour at an organ's surface; True keeps
        only voxels that `within` encloses on all sides (a way out leads through neighbours of `connectivity`).

    Raises
    ------
    BundleError
        A label that is background, no integer or on both sides, or a connectivity that no grid has or not this one.
    """

    def __init__(
        self, *, labels: Iterable[int], within: Iterable[int], connectivity: Connectivity, enclosed: bool = False
    ) -> None:
        self.labels, self.within = tuple(labels), tuple(within)
        self.connectivity, self.enclosed = connectivity, enclosed
        check_labels("KeepInside", self.labels)
        check_labels("KeepInside: within", self.within)
        check_connectivity("KeepInside", connectivity)
        if both := set(self.labels) & set(self.within):
            raise BundleError("KeepInside: a label cannot be inside itself", got=sorted(both))

    def __call__(self, labels: LabelArray, affine: Affine) -> LabelArray:
        """The cleaned copy of a label map ``(X, Y[, Z])`` whose grid has `affine`."""
        check_axes("KeepInside", self.connectivity, labels.ndim)
        cleaned = labels.copy(order="K")
        view = cleaned.transpose(memory_order(cleaned))
        box = box_of(chosen(view, (*self.labels, *self.within)))
        if box is not None:
            inner, outer = chosen(view[box], self.labels), chosen(view[box], self.within)
            kept = self._enclosed(outer) if self.enclosed else self._touching(inner, outer)
            view[box][inner & ~kept] = 0
        return cleaned

    def _enclosed(self, outer: Mask) -> Mask:
        holes = holes_of(outer, self.connectivity)
        return np.zeros_like(outer) if holes is None else holes

    def _touching(self, inner: Mask, outer: Mask) -> Mask:
        """Regions of both together that hold some of `outer`."""
        regions = regions_of(inner | outer, self.connectivity)
        kept = np.zeros(regions.count + 1, dtype=bool)
        kept[np.unique(regions.numbers[outer])] = True
        return voxels_of(regions, kept)
