"""Planes of a volume in radiological display, and pictures as they are, at a common scale.

Radiological display: axial seen from the feet (the patient's right on the left of the picture, anterior up), coronal
seen from the front (right on the left, head up), sagittal seen from the left (anterior on the left, head up). A
volume reoriented to LPS gives all three by transposing and, for the upright ones, turning Z upside down.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from medseg.case import Array, Image, LabelArray
from medseg.geometry import reorient, spacing_mm

Chooser: TypeAlias = Callable[[LabelArray, int], int]
"""Index of the plane to show along an axis of a label map."""

_SAGITTAL, _CORONAL, _AXIAL = 0, 1, 2
_LETTERS = {_AXIAL: "RLAP", _CORONAL: "RLHF", _SAGITTAL: "APHF"}
_SMALLEST_AXIAL_PX = 224


@dataclass(frozen=True)
class View:
    """One plane ready to draw.

    Attributes
    ----------
    values
        ``(H, W)`` in the unit of the image.
    labels
        Label maps ``(H, W)``, in the order given.
    size_px
        Width and height to draw it at, from the pixel spacing.
    letters
        Towards which side of the patient the left, right, top and bottom border lie; empty for pictures, whose
        file does not say.
    """

    values: Array
    labels: tuple[LabelArray, ...]
    size_px: tuple[int, int]
    letters: str


def views_of(image: Image, labels: Sequence[LabelArray], *, choose: Chooser, long_side_px: int) -> list[View]:
    """The views of an image ``(C, X, Y[, Z])`` with label maps ``(X, Y[, Z])`` on its grid: one, or three of a volume.

    `choose` picks the planes from the first label map that is not empty.
    """
    if image.array.ndim == 3:
        x_mm, y_mm, _ = spacing_mm(image.affine)
        (size,) = _sizes([(image.array.shape[1] * x_mm, image.array.shape[2] * y_mm)], long_side_px)
        return [View(image.array[0].T, tuple(m.T for m in labels), size, "")]
    volume = reorient(replace(image, array=image.array[0]), "LPS")
    maps = [reorient(replace(image, array=m), "LPS").array for m in labels]
    guide = next((m for m in maps if m.any()), maps[0])
    axes = (_AXIAL, _CORONAL, _SAGITTAL)
    shown = [(axis, choose(guide, axis)) for axis in axes]
    extents = [_extent_mm(volume, axis) for axis in axes]
    return [
        View(_cut(volume.array, axis, index), tuple(_cut(m, axis, index) for m in maps), size, _LETTERS[axis])
        for (axis, index), size in zip(shown, _sizes(extents, long_side_px), strict=True)
    ]


def middle(labels: LabelArray, axis: int) -> int:
    """The plane in the middle of the volume."""
    return labels.shape[axis] // 2


def fullest(labels: LabelArray, axis: int) -> int:
    """The plane with most labelled voxels; the middle of the volume where none is labelled."""
    areas = _areas(labels, axis)
    return int(np.argmax(areas)) if areas.any() else middle(labels, axis)


def central(labels: LabelArray, axis: int) -> int:
    """The plane through the labels' centre of mass, or the fullest one where that misses most of them.

    The centre of mass of two lungs lies between them: a sagittal plane there would show neither.
    """
    areas = _areas(labels, axis)
    if not areas.any():
        return middle(labels, axis)
    centre = round(float(np.average(np.arange(areas.size), weights=areas)))
    return centre if areas[centre] >= 0.5 * areas.max() else int(np.argmax(areas))


def _areas(labels: LabelArray, axis: int) -> Array:
    others = tuple(i for i in range(labels.ndim) if i != axis)
    return np.asarray(np.count_nonzero(labels, axis=others))


def _cut(volume: Array, axis: int, index: int) -> Array:
    """Plane ``(H, W)`` of a volume ``(X, Y, Z)`` whose axes run to left, posterior, superior."""
    plane = volume[(slice(None),) * axis + (index,)].T  # a view: `take` would copy a volume that was reoriented
    return plane if axis == _AXIAL else plane[::-1]


def _extent_mm(volume: Image, axis: int) -> tuple[float, float]:
    width, height = (
        n * mm for i, (n, mm) in enumerate(zip(volume.array.shape, spacing_mm(volume.affine), strict=True)) if i != axis
    )
    return width, height


def _sizes(extents_mm: Sequence[tuple[float, float]], long_side_px: int) -> list[tuple[int, int]]:
    """Sizes in pixels at one scale: the longest side as asked, but the first extent never too small to be read."""
    longest = max(max(extent) for extent in extents_mm)
    scale = max(long_side_px / longest, min(_SMALLEST_AXIAL_PX / max(extents_mm[0]), 2.5 * long_side_px / longest))
    return [(max(1, round(width * scale)), max(1, round(height * scale))) for width, height in extents_mm]
