"""What flows through the corridor: images with their place in the patient, cases, predictions.

Axis names used in every signature and docstring
------------------------------------------------
``C`` channels, ``B`` batch, ``X, Y, Z`` the image's own voxel axes in the order in which `affine` maps them.
A volume is ``(C, X, Y, Z)``, a picture ``(C, X, Y)`` with X along the columns (to the right of the picture) and
Y along the rows (downwards). Label maps have no channel axis: ``(X, Y, Z)`` or ``(X, Y)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
FloatArray: TypeAlias = NDArray[np.floating[Any]]
LabelArray: TypeAlias = NDArray[np.integer[Any]]
Affine: TypeAlias = NDArray[np.float64]
"""(4, 4): voxel index (x, y, z, 1) to millimetres in RAS (right, anterior, superior positive)."""


@dataclass(frozen=True)
class Image:
    """Pixels and where they lie.

    Attributes
    ----------
    array
        Image ``(C, X, Y, Z)`` or ``(C, X, Y)`` in the unit of the modality (HU for CT); label map ``(X, Y, Z)`` or
        ``(X, Y)`` of integers.
    affine
        Voxel index to RAS millimetres, (4, 4); for pictures only the pixel spacing on its diagonal has a meaning.
    source
        The file or folder it was read from.
    modality
        DICOM modality code ("CT", "MR", "DX", "CR", ...) where the source tells it.
    spacing_known
        False where the source states no pixel spacing (PNG, most X-rays): then lengths are in pixels, not mm.
    doubts
        What its source leaves doubtful, in words: left and right, the unit of its values.
    """

    array: Array
    affine: Affine
    source: Path
    modality: str | None = None
    spacing_known: bool = True
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """One study of a data set: an image and, where it is known, its truth on the same grid."""

    id: str
    image: Image
    label: Image | None = None


@dataclass(frozen=True)
class Prediction:
    """The label map that a bundle gave for a case, on the grid of the image as it was stored."""

    id: str
    labels: Image
    label_names: dict[int, str]
