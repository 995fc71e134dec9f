"""Borders as scanned films and narrowed beams leave them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.transforms import MapTransform, RandomizableTransform

from medseg.errors import BundleError


class RandFramed(RandomizableTransform, MapTransform):
    """Cover the edges of a picture by a frame of one grey level; the mask under it becomes background.

    Each edge's width is drawn by itself, so that a frame may be on one side only.

    Parameters
    ----------
    image_key, label_key
        Where the image ``(C, X, Y[, Z])`` and the mask ``(1, X, Y[, Z])`` stand.
    widest
        The widest an edge can get, as a part of the image's size along that axis, above 0 and below 0.5.
    levels
        The frame's grey level is drawn from this range.
    prob
        How often.

    Raises
    ------
    BundleError
        A width that leaves nothing of the image, or none at all.
    """

    def __init__(
        self,
        *,
        widest: float,
        levels: tuple[float, float],
        prob: float,
        image_key: str = "image",
        label_key: str = "label",
    ) -> None:
        RandomizableTransform.__init__(self, prob)
        MapTransform.__init__(self, [image_key, label_key])
        if not 0 < widest < 0.5:
            raise BundleError("RandFramed: widest", got=widest, expected="above 0 and below 0.5")
        self.image_key, self.label_key, self.widest, self.levels = image_key, label_key, widest, levels
        self._widths: list[tuple[float, float]] = []
        self._level = 0.0

    def randomize(self, data: int) -> None:
        """Draw whether, the widths of both edges of each of `data` axes, and the grey level."""
        super().randomize(None)
        self._widths = [(self.R.uniform(0, self.widest), self.R.uniform(0, self.widest)) for _ in range(data)]
        self._level = self.R.uniform(*self.levels)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The dictionary with image and mask framed, or as it was."""
        framed = dict(data)
        self.randomize(data[self.image_key].ndim - 1)
        if self._do_transform:
            framed[self.image_key] = self._framed(data[self.image_key], self._level)
            framed[self.label_key] = self._framed(data[self.label_key], 0)
        return framed

    def _framed(self, values: Any, level: float) -> Any:
        framed = values.clone()
        for axis, (near, far) in enumerate(self._widths, start=1):
            size = values.shape[axis]
            first, last = round(near * size), round(far * size)
            framed.narrow(axis, 0, first).fill_(level)
            framed.narrow(axis, size - last, last).fill_(level)
        return framed
