"""The cardiothoracic ratio of a frontal chest X-ray, from its label map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medseg.case import Image, LabelArray


def cardiothoracic_ratio(labels: LabelArray, *, heart: int, lungs: Sequence[int]) -> float | None:
    """Greatest width of the heart divided by the greatest inner width of the thorax (Danzer, AJMS 1919;157:513).

    Both are horizontal extents over all rows, in columns: the heart from its rightmost to its leftmost border (the two
    need not lie at one height), the thorax between the outer borders of the lungs. Lung drawn over the heart does not
    matter as long as the heart's borders stay visible on either side. A ratio needs no pixel spacing.

    Parameters
    ----------
    labels
        Label map ``(X, Y)`` of an upright frontal picture, X along the columns.
    heart, lungs
        Label values; each of `lungs` must be present.

    Returns
    -------
    float or None
        None where the heart or one of the lungs is missing: half a thorax has no width.
    """
    in_column = {value: np.asarray((labels == value).any(axis=1)) for value in (heart, *lungs)}
    if not all(columns.any() for columns in in_column.values()):
        return None
    thorax = np.logical_or.reduce([in_column[value] for value in lungs])
    return _extent(in_column[heart]) / _extent(thorax)


class CardiothoracicRatio:
    """`cardiothoracic_ratio` as a measurement that a bundle names in its YAML.

    Parameters
    ----------
    heart, lungs
        Label values of the heart and of each lung.
    """

    def __init__(self, *, heart: int, lungs: Sequence[int]) -> None:
        self.heart = heart
        self.lungs = tuple(lungs)

    def __call__(self, labels: Image) -> dict[str, float | None]:
        """``{"cardiothoracic_ratio": value}`` of a label map ``(X, Y)``; None where it cannot be measured."""
        return {"cardiothoracic_ratio": cardiothoracic_ratio(labels.array, heart=self.heart, lungs=self.lungs)}


def _extent(columns: LabelArray) -> int:
    """Number of columns from the first to the last one that is set."""
    where = np.flatnonzero(columns)
    return int(where[-1] - where[0]) + 1
