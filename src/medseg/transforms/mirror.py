"""Left-right mirroring of anatomy whose sides are labels of their own."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.transforms import MapTransform, RandomizableTransform

from medseg.errors import BundleError


class RandMirrorLabelsd(RandomizableTransform, MapTransform):
    """Mirror image and mask along an axis and let the labels that are each other's mirror image change places.

    MONAI's RandFlipd leaves the labels as they are: a mirrored left lung would then be called left on the right side.

    Parameters
    ----------
    image_key, label_key
        Where the image ``(C, X, Y[, Z])`` and the mask ``(1, X, Y[, Z])`` of label values stand.
    axis
        Spatial axis, 0 for X.
    swaps
        Pairs of labels, e.g. ``[[1, 2]]`` for the left and the right lung; empty where none has a counterpart.
    prob
        How often.

    Raises
    ------
    BundleError
        An axis that is none, a label in two pairs, or the background.
    """

    def __init__(
        self,
        *,
        axis: int,
        swaps: Sequence[Sequence[int]],
        prob: float,
        image_key: str = "image",
        label_key: str = "label",
    ) -> None:
        RandomizableTransform.__init__(self, prob)
        MapTransform.__init__(self, [image_key, label_key])
        if axis not in (0, 1, 2):  # counted from the end it would be that of the channels for one of the two
            raise BundleError("RandMirrorLabelsd: axis", got=axis, expected="0, 1 or 2")
        named = [value for pair in swaps for value in pair]
        if len(set(named)) != len(named) or any(value < 1 for value in named) or any(len(pair) != 2 for pair in swaps):
            raise BundleError("RandMirrorLabelsd: swaps", got=swaps, expected="pairs of different labels from 1 up")
        self.image_key, self.label_key, self.axis, self.swaps = image_key, label_key, axis, swaps

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The dictionary with both mirrored, or with neither."""
        mirrored = dict(data)
        self.randomize(None)
        if self._do_transform:
            mirrored[self.image_key] = data[self.image_key].flip(1 + self.axis)
            mirrored[self.label_key] = self._swapped(data[self.label_key].flip(1 + self.axis))
        return mirrored

    def _swapped(self, label: torch.Tensor) -> torch.Tensor:
        swapped = label.clone()
        for first, second in self.swaps:
            swapped[label == first] = second
            swapped[label == second] = first
        return swapped
