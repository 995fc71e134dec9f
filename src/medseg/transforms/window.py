"""Intensities of a window as 0 to 1."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from medseg.errors import BundleError


class WindowIntensityd(MapTransform):
    """The values of a window as 0 to 1, others clipped: MONAI's ScaleIntensityRanged to 0..1 with `clip`, in one copy.

    Parameters
    ----------
    keys
        Entries ``(C, X, Y[, Z])`` of the dictionary.
    window
        The lowest and the highest value of the window, in the unit of the image (HU for CT).
    allow_missing_keys
        Whether a key may be absent.

    Raises
    ------
    BundleError
        A window that is empty or upside down.
    """

    writes_to_input = False

    def __init__(self, keys: KeysCollection, *, window: Sequence[float], allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.low, self.high = (float(value) for value in window)
        if not self.low < self.high:
            raise BundleError("WindowIntensityd: window", got=window, expected="[lowest, highest]")

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The dictionary with float32 at `keys`; what was given is not written to."""
        scaled = dict(data)
        for key in self.key_iterator(scaled):
            given = data[key]
            values = given.as_tensor() if isinstance(given, MetaTensor) else torch.as_tensor(given)
            values = values.float().clamp(self.low, self.high).sub_(self.low).mul_(1.0 / (self.high - self.low))
            scaled[key] = MetaTensor(values, meta=dict(given.meta)) if isinstance(given, MetaTensor) else values
        return scaled
