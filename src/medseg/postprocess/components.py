"""Keep a label's largest pieces, drop its small ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.case import Affine, LabelArray
from medseg.errors import BundleError
from medseg.geometry import voxel_volume_ml
from medseg.postprocess.regions import (
    Box,
    Connectivity,
    Mask,
    boxes_of,
    check_axes,
    check_connectivity,
    check_labels,
    memory_order,
    regions_of,
)

LABELS_AT_ONCE = 2
"""Labels cleaned at the same time: each needs memory for the numbers of its regions."""


class KeepLargestComponents:
    """Keep, for each label, its `count` largest connected components; what is dropped becomes background.

    Parameters
    ----------
    labels
        The label values to clean; the others are left as they are.
    connectivity
        Which voxels are joined: 6 (by a face), 18 (also by an edge) or 26 (also by a corner) in volumes, 4 or 8 in
        pictures.
    count
        Components kept for each label; None keeps all that are not too small. Of equal ones the first counts as the
        largest (in the order of X, then Y, then Z).
    minimum_ml
        Components smaller than this are dropped also when they are among the largest (volumes only).

    Raises
    ------
    BundleError
        A label that is background or no integer, a connectivity that no grid has or not this one, a count below 1, a
        negative volume, or a volume for a picture.
    """

    def __init__(
        self,
        *,
        labels: Iterable[int],
        connectivity: Connectivity,
        count: int | None = 1,
        minimum_ml: float = 0.0,
    ) -> None:
        self.labels, self.connectivity, self.count, self.minimum_ml = tuple(labels), connectivity, count, minimum_ml
        check_labels("KeepLargestComponents", self.labels)
        check_connectivity("KeepLargestComponents", connectivity)
        if (count is not None and count < 1) or minimum_ml < 0:
            raise BundleError(
                "KeepLargestComponents: nothing can be kept so",
                got=f"count {count}, minimum_ml {minimum_ml}",
                expected="count from 1 up, minimum_ml from 0 up",
            )

    def __call__(self, labels: LabelArray, affine: Affine) -> LabelArray:
        """The cleaned copy of a label map ``(X, Y[, Z])`` whose grid has `affine`."""
        if self.minimum_ml and labels.ndim != 3:
            raise BundleError("KeepLargestComponents: a picture has no volume", got=f"minimum_ml {self.minimum_ml}")
        check_axes("KeepLargestComponents", self.connectivity, labels.ndim)
        minimum_voxels = self.minimum_ml / voxel_volume_ml(affine) if self.minimum_ml else 0.0
        cleaned = labels.copy(order="K")
        order = memory_order(cleaned)
        view = cleaned.transpose(order)
        boxes = boxes_of(view, self.labels)
        # Labels lie apart, so that each can be cleaned by a thread of its own; the libraries let go of Python's lock.
        with ThreadPoolExecutor(max_workers=LABELS_AT_ONCE) as threads:
            tasks = [
                threads.submit(self._clean, view, labels.transpose(order), value, box, minimum_voxels, order)
                for value, box in boxes.items()
            ]
            for task in tasks:
                task.result()
        return cleaned

    def _clean(
        self, view: LabelArray, labels: LabelArray, value: int, box: Box, minimum_voxels: float, order: Sequence[int]
    ) -> None:
        mask = labels[box] == value
        dropped = self._dropped(mask, minimum_voxels, order)
        if dropped is not None:
            view[box][dropped] = 0

    def _dropped(self, mask: Mask, minimum_voxels: float, order: Sequence[int]) -> tuple[NDArray[np.intp], ...] | None:
        """Where the voxels of dropped regions lie; None where there are none."""
        regions = regions_of(mask, self.connectivity)
        count = regions.count if self.count is None else self.count
        if regions.count <= count and not minimum_voxels:
            return None
        voxels = np.flatnonzero(mask)
        numbers = regions.numbers.reshape(-1)[voxels]
        sizes = np.bincount(numbers, minlength=regions.count + 1)
        drop = sizes < minimum_voxels
        drop[_by_size(regions.numbers, sizes, count, order)[count:]] = True
        return np.unravel_index(voxels[drop[numbers]], mask.shape) if drop.any() else None


def _by_size(regions: NDArray[Any], sizes: NDArray[np.intp], count: int, order: Sequence[int]) -> NDArray[np.intp]:
    """Numbers of the regions, the largest first; where equal ones lie on both sides of `count`, by their place."""
    numbers = np.argsort(-sizes[1:], kind="stable") + 1
    if count >= len(numbers) or sizes[numbers[count - 1]] != sizes[numbers[count]]:
        return numbers
    tied = sizes == sizes[numbers[count]]
    tied[0] = False
    first = np.flatnonzero(sizes[numbers] == sizes[numbers[count]])
    numbers[first] = _by_place(regions, tied, order)
    return numbers


def _by_place(regions: NDArray[Any], wanted: NDArray[np.bool_], order: Sequence[int]) -> NDArray[np.intp]:
    """Numbers of the `wanted` regions by their first voxel, in the order of X, then Y, then Z."""
    where = np.nonzero(wanted[regions])
    own_axes = [where[order.index(axis)] for axis in range(len(order))]
    sorted_voxels = np.lexsort(own_axes[::-1])
    numbers = regions[where][sorted_voxels]
    _, first = np.unique(numbers, return_index=True)
    return np.asarray(numbers[np.sort(first)], dtype=np.intp)
