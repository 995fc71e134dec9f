"""An image and its mask: one grid, known labels. One rule for the door, the transform chain and inspection."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from medseg.case import Array, Image
from medseg.errors import LabelError
from medseg.findings import Finding
from medseg.geometry import GRID_TOLERANCE_MM, grid_difference, marked_outside, spacing_mm

COPY_TOLERANCE = 0.1
"""A mask's header may be replaced by its image's where no voxel moves by more than this part of the smallest one."""
_MOST_VALUES_SHOWN = 8


def check_pair(image: Image, label: Image, *, case_id: str, labels: Collection[int] | None) -> None:
    """Refuse an image and a mask that do not belong together.

    Parameters
    ----------
    image, label
        Image ``(C, X, Y[, Z])`` and mask ``(X, Y[, Z])``.
    case_id
        Named in the error; "" where it is not known.
    labels
        Every value that the bundle knows; 0 (background) is always allowed. None: any value.

    Raises
    ------
    GeometryError
        Size, spacing, direction or origin differ by more than `GRID_TOLERANCE_MM` at any voxel.
    LabelError
        The mask holds values outside `labels`.
    """
    case = f"case {case_id}: " if case_id else ""
    found = grid_findings(image, label)
    if found:
        shown = replace(found[0], what=f"the mask lies on another grid than {image.source}")
        raise shown.error(label.source, case=case)
    if labels is not None:
        _check_values(label, case, labels)


def grid_findings(image: Image, label: Image) -> list[Finding]:
    """How the grid of a mask differs from that of its image, and the command that repairs it where that is safe."""
    axes = label.array.ndim
    if image.array.ndim != axes + 1:
        difference: str | None = f"{image.array.ndim - 1} dimensions against {axes}"
    else:
        difference = grid_difference(image, label, spatial_dims=axes)
    if difference is None:
        return []
    repair = _safe_repair(image, label) if image.array.ndim == 4 == axes + 1 else None
    return [
        Finding(
            code="other-grid",
            severity="error",
            what="the mask lies on another grid than its image",
            got=f"{difference} (image against mask)",
            expected=f"the same size, spacing, direction and origin, within {GRID_TOLERANCE_MM} mm at every voxel",
            next_step=None if repair else "find out which of the two headers is right, or draw the mask on its image",
            repair=repair,
        )
    ]


def _safe_repair(image: Image, label: Image) -> str | None:
    """Copy the geometry where it differs by rounding; resample a mask of another size that lies wholly in the image.

    A mask of the image's size elsewhere was mostly drawn on the image and has lost its place: none can tell.
    """
    reference = f"--reference {_quoted(image)}"
    shape = image.array.shape[1:]
    if shape == label.array.shape and _largest_shift(image, label) <= COPY_TOLERANCE * min(spacing_mm(image.affine)):
        return f"--copy-geometry {reference}"
    if shape == label.array.shape or not label.array.any() or marked_outside(label, image):
        return None
    return f"--resample-label {reference}"


def _largest_shift(image: Image, label: Image) -> float:
    """How far, in mm, the farthest voxel of two grids of one size lies apart."""
    ends = np.stack(np.meshgrid(*([0, n - 1] for n in label.array.shape), indexing="ij")).reshape(3, -1)
    corners = np.vstack([ends, np.ones(ends.shape[1])])
    return float(np.linalg.norm(((image.affine - label.affine) @ corners)[:3], axis=0).max())


def _quoted(image: Image) -> str:
    import shlex

    return shlex.quote(str(image.source))


def _check_values(label: Image, case: str, labels: Collection[int]) -> None:
    unknown = _values_outside(label.array, sorted({0, *labels}))
    if unknown.size:
        more = f" and {unknown.size - _MOST_VALUES_SHOWN} more" if unknown.size > _MOST_VALUES_SHOWN else ""
        raise LabelError(
            f"{case}{label.source}: the mask holds values that are no labels of the bundle",
            got=", ".join(f"{value:g}" for value in unknown[:_MOST_VALUES_SHOWN]) + more,
            expected="only " + ", ".join(str(value) for value in sorted({0, *labels})),
            next_step="map the values of the mask to those of the bundle",
        )


def _values_outside(array: Array, known: list[int]) -> Array:
    """The values that are not `known`; a dozen comparisons, not a sort: a whole CT takes tenths of a second."""
    return np.unique(array[np.isin(array, known, invert=True)])
