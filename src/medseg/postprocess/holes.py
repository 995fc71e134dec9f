"""Fill what a label encloses."""

from __future__ import annotations

from collections.abc import Iterable

from medseg.case import Affine, LabelArray
from medseg.postprocess.regions import (
    Connectivity,
    boxes_of,
    check_axes,
    check_connectivity,
    check_labels,
    holes_of,
    memory_order,
)


class FillHoles:
    """Give background that a label encloses that label; other labels inside it stay.

    Parameters
    ----------
    labels
        The label values to fill, one after the other in this order.
    connectivity
        Through which neighbours a hole would be open to the outside: 6 (faces only, so that the most is filled), 18
        or 26 in volumes, 4 or 8 in pictures. A volume is filled as a whole, not slice by slice.

    Raises
    ------
    BundleError
        A label that is background or no integer, or a connectivity that no grid has or not this one.
    """

    def __init__(self, *, labels: Iterable[int], connectivity: Connectivity) -> None:
        self.labels, self.connectivity = tuple(labels), connectivity
        check_labels("FillHoles", self.labels)
        check_connectivity("FillHoles", connectivity)

    def __call__(self, labels: LabelArray, affine: Affine) -> LabelArray:
        """The filled copy of a label map ``(X, Y[, Z])`` whose grid has `affine`."""
        check_axes("FillHoles", self.connectivity, labels.ndim)
        filled = labels.copy(order="K")
        view = filled.transpose(memory_order(filled))
        # Filling one label changes no other label's box: only background is written to, inside the own box.
        for value, box in boxes_of(view, self.labels).items():
            holes = holes_of(view[box] == value, self.connectivity)
            if holes is not None:
                view[box][holes & (view[box] == 0)] = value
        return filled
