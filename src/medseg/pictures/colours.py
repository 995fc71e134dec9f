"""One fixed colour per label value, told apart by colour-blind eyes as well."""

from __future__ import annotations

import colorsys
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from medseg.case import LabelArray

Rgb: TypeAlias = tuple[int, int, int]

# Okabe and Ito, Color Universal Design (2008), without black; ordered so that the first labels stand out on grey
_OKABE_ITO: tuple[Rgb, ...] = (
    (86, 180, 233),
    (230, 159, 0),
    (0, 158, 115),
    (240, 228, 66),
    (204, 121, 167),
    (213, 94, 0),
    (0, 114, 178),
)
_GOLDEN_ANGLE = 0.381966
"""Part of a turn; its multiples never come close to each other again."""


def label_colour(index: int) -> Rgb:
    """Colour (red, green, blue; 0 to 255) of a label value; 0, the background, is black."""
    if index == 0:
        return 0, 0, 0
    if index <= len(_OKABE_ITO):
        return _OKABE_ITO[index - 1]
    turn = index * _GOLDEN_ANGLE % 1.0
    red, green, blue = colorsys.hsv_to_rgb(turn, 0.55 + 0.35 * (index % 2), 1.0 - 0.15 * (index % 3))
    return round(255 * red), round(255 * green), round(255 * blue)


def colour_labels(labels: LabelArray) -> Picture.Image:
    """Picture of a label map ``(X, Y)``, X along the columns, each label in its colour on black."""
    return Picture.fromarray(paint(labels.T))


def paint(labels: LabelArray) -> NDArray[np.uint8]:
    """Colours ``(H, W, 3)`` of a label map ``(H, W)``."""
    values, where = np.unique(labels, return_inverse=True)
    colours = np.array([label_colour(int(value)) for value in values], dtype=np.uint8)
    return np.asarray(colours[where.reshape(labels.shape)], dtype=np.uint8)
