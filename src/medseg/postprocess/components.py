"""Connected components of label maps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from medseg.case import Affine, LabelArray
from medseg.errors import BundleError
from medseg.geometry import voxel_volume_ml

Mask: TypeAlias = NDArray[np.bool_]


class KeepLargestComponents:
    """Keep, for each label, its `count` largest connected components; what is dropped becomes background.

    Parameters
    ----------
    labels
        The label values to clean; the others are left as they are.
    count
        Components kept for each label.
    full_connectivity
        True joins voxels that touch by a corner or an edge (26 neighbours in 3-D, 8 in 2-D), False by a face only
        (6 and 4).
    minimum_ml
        Components smaller than this are dropped also when they are among the largest (volumes only).

    Raises
    ------
    BundleError
        A label that is background or no integer, a count below 1, a negative volume, or a volume for a picture.
    """

    def __init__(
        self, *, labels: Iterable[int], count: int = 1, full_connectivity: bool = True, minimum_ml: float = 0.0
    ) -> None:
        self.labels, self.count, self.minimum_ml = tuple(labels), count, minimum_ml
        self.full_connectivity = full_connectivity
        wrong = [value for value in self.labels if not isinstance(value, int) or value < 1]
        if wrong or not self.labels:
            raise BundleError("KeepLargestComponents: no labels", got=wrong or "none", expected="integers from 1 up")
        if count < 1 or minimum_ml < 0:
            raise BundleError(
                "KeepLargestComponents: nothing can be kept so",
                got=f"count {count}, minimum_ml {minimum_ml}",
                expected="count from 1 up, minimum_ml from 0 up",
            )

    def __call__(self, labels: LabelArray, affine: Affine) -> LabelArray:
        """The cleaned copy of a label map ``(X, Y[, Z])`` whose grid has `affine`."""
        from scipy import ndimage

        cleaned = labels.copy()
        if self.minimum_ml and labels.ndim != 3:
            raise BundleError("KeepLargestComponents: a picture has no volume", got=f"minimum_ml {self.minimum_ml}")
        minimum_voxels = self.minimum_ml / voxel_volume_ml(affine) if self.minimum_ml else 0.0
        boxes = ndimage.find_objects(labels, max_label=max(self.labels))
        for value in self.labels:
            box = boxes[value - 1]
            if box is not None:
                mask = labels[box] == value
                cleaned[box][mask & ~self._kept(mask, minimum_voxels)] = 0
        return cleaned

    def _kept(self, mask: Mask, minimum_voxels: float) -> Mask:
        from scipy import ndimage

        structure = ndimage.generate_binary_structure(mask.ndim, mask.ndim if self.full_connectivity else 1)
        components, _ = ndimage.label(mask, structure)
        sizes = np.bincount(components.ravel())
        sizes[0] = 0
        keep = np.zeros(sizes.size, dtype=bool)
        keep[np.argsort(-sizes, kind="stable")[: self.count]] = True
        keep &= (sizes > 0) & (sizes >= minimum_voxels)
        return np.asarray(keep[components])
