"""Keep a label's largest pieces, drop its small ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.case import Affine, LabelArray
from medseg.errors import BundleError
from medseg.geometry import voxel_volume_ml
from medseg.postprocess.regions import Connectivity, check_axes, check_connectivity, check_labels, memory_order
from medseg.postprocess.runs import Indices, Runs, runs_of


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
        order = memory_order(labels)
        cleaned = np.array(labels.transpose(order), order="C")
        flat = cleaned.reshape(-1)
        for runs in runs_of(cleaned, self.labels).values():
            flat[self._dropped(runs, minimum_voxels, order)] = 0
        return cleaned.transpose(np.argsort(order))

    def _dropped(self, runs: Runs, minimum_voxels: float, order: Sequence[int]) -> Indices:
        """Flat indices of the voxels of components that are dropped."""
        numbers = runs.components(self.connectivity)
        sizes = np.bincount(numbers, weights=runs.lengths)  # float64, exact for counts
        drop = sizes < minimum_voxels
        if self.count is not None and self.count < len(sizes):
            drop[_by_size(runs, numbers, sizes, order)[self.count :]] = True
        return runs.voxels(drop[numbers])


def _by_size(runs: Runs, numbers: Indices, sizes: NDArray[Any], order: Sequence[int]) -> Indices:
    """Numbers of the components, the largest first, equal ones by their first voxel in the order of X, then Y, then Z.

    A run's first voxel comes before its others in that order, whichever axis it runs along.
    """
    place = np.unravel_index(runs.starts, runs.shape)
    own_axes = [place[order.index(axis)] for axis in range(len(order))]
    in_order = numbers[np.lexsort(own_axes[::-1])]
    found, first = np.unique(in_order, return_index=True)
    return np.asarray(found[np.lexsort((first, -sizes))], dtype=np.intp)
