"""What the user has told about where to look, as a channel that the network sees beside the image."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Randomizable

from medseg.errors import BundleError, GeometryError

Margin: TypeAlias = float | Sequence[Sequence[float]]
"""One length for all sides, or ``[near, far]`` for each axis; near is where the axis begins."""


def _pairs(margin_mm: Margin) -> list[tuple[float, float]]:
    """A pair for each axis; of one length a single pair, which holds for all axes."""
    try:
        if not isinstance(margin_mm, Sequence):
            return [(float(margin_mm), float(margin_mm))]
        return [(float(near), float(far)) for near, far in margin_mm]
    except (TypeError, ValueError):
        expected = "one length in mm, or [near, far] for each axis"
        raise BundleError("BoxPromptd: margin_mm", got=margin_mm, expected=expected) from None


class BoxPromptd(MapTransform):
    """Append to a crop made round a box where that box is: a channel ``1 / (1 + r^2)``, r the radius in its ellipsoid.

    The reader draws a box round what is to be segmented and the image is cropped at `margin_mm` beyond it, so the
    image's own borders tell the box. r is 0 in the box's middle and 1 on the ellipsoid that fills it; so the channel
    is 1 in the middle, 1/2 on the ellipsoid, and goes to 0 far away. Where the image is no longer than both margins
    along an axis, the box is one voxel long there.

    Parameters
    ----------
    keys
        Entries ``(1, X, Y[, Z])``, with their spacing (MetaTensor).
    margin_mm
        How far beyond the box the crop ends: one length, or ``[near, far]`` for each axis, for scans that end sooner.
    longest_mm
        The longest side that a box can have: a longer one means that the image was not cropped.
    allow_missing_keys
        Whether a key may be absent.

    Raises
    ------
    BundleError
        A margin below 0, no length for the longest side, or an entry without spacing or of other axes than the margins.
    GeometryError
        The image is larger than a crop round the largest box.
    """

    writes_to_input = False

    def __init__(
        self, keys: KeysCollection, *, margin_mm: Margin, longest_mm: float, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.margin_mm, self.longest_mm = _pairs(margin_mm), float(longest_mm)
        if not (all(side >= 0 for pair in self.margin_mm for side in pair) and self.longest_mm > 0):
            got = f"margin_mm {margin_mm}, longest_mm {longest_mm}"
            raise BundleError("BoxPromptd", got=got, expected="margins of 0 or more, a longest side above 0")

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The dictionary with ``(2, X, Y, Z)`` at `keys`: the image, and the channel."""
        prompted = dict(data)
        for key in self.key_iterator(prompted):
            image = data[key]
            if not isinstance(image, MetaTensor):
                raise BundleError(f"BoxPromptd: {key} without spacing", expected="a MetaTensor, as LoadCased gives")
            channel = self._channel(image.shape[1:], image.pixdim.tolist())
            prompted[key] = MetaTensor(torch.cat([image.as_tensor(), channel.to(image.dtype)[None]]), meta=image.meta)
        return prompted

    def _channel(self, shape: Sequence[int], spacing_mm: Sequence[float]) -> torch.Tensor:
        sides_mm = [count * step for count, step in zip(shape, spacing_mm, strict=True)]
        if len(self.margin_mm) not in (1, len(sides_mm)):
            got = f"{len(self.margin_mm)} pairs, an image of {len(sides_mm)} axes"
            raise BundleError("BoxPromptd: margin_mm", got=got, expected="one length, or [near, far] for each axis")
        self._refuse_uncropped(sides_mm)
        squared = torch.zeros(())
        for axis, (count, step) in enumerate(zip(shape, spacing_mm, strict=True)):
            low, high = self._box_mm(axis, sides_mm[axis])
            half = max((high - low) / 2, step / 2)
            along = ((torch.arange(count) + 0.5) * step - (low + high) / 2) / half
            squared = squared + (along**2).reshape([-1 if other == axis else 1 for other in range(len(shape))])
        return 1 / (1 + squared)

    def _margins_mm(self, axis: int) -> tuple[float, float]:
        return self.margin_mm[axis if len(self.margin_mm) > 1 else 0]

    def _box_mm(self, axis: int, side_mm: float) -> tuple[float, float]:
        """Where the box begins and ends, from the image's near border."""
        near, far = self._margins_mm(axis)
        return near, side_mm - far

    def _refuse_uncropped(self, sides_mm: Sequence[float]) -> None:
        longest = [self.longest_mm + sum(self._margins_mm(axis)) for axis in range(len(sides_mm))]
        if any(side > most for side, most in zip(sides_mm, longest, strict=True)):
            margin = max(side for pair in self.margin_mm for side in pair)
            raise GeometryError(
                "the image is not cropped round a box",
                got=f"{' x '.join(f'{side:.0f}' for side in sides_mm)} mm",
                expected=f"sides of at most {max(longest):.0f} mm",
                next_step=f"draw a box round what is to be segmented and crop {margin:g} mm beyond it",
            )


class RandBoxPromptd(Randomizable, BoxPromptd):
    """As `BoxPromptd`, each side of the box moved at random, for the training: no reader draws it to the millimetre.

    Parameters
    ----------
    keys, margin_mm, longest_mm, allow_missing_keys
        As for `BoxPromptd`.
    jitter_mm
        How far a side can be off, inwards or outwards; drawn evenly, anew for each side and case.

    Raises
    ------
    BundleError, GeometryError
        As for `BoxPromptd`; also where the jitter is no length.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        margin_mm: Margin,
        longest_mm: float,
        jitter_mm: float,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, margin_mm=margin_mm, longest_mm=longest_mm, allow_missing_keys=allow_missing_keys)
        self.jitter_mm = float(jitter_mm)
        if not self.jitter_mm >= 0:
            raise BundleError("RandBoxPromptd: jitter_mm", got=jitter_mm, expected="0 or more")
        self._moves_mm = torch.zeros(3, 2)

    def randomize(self, data: Any = None) -> None:
        """Draw how far each of two sides along each axis is off."""
        self._moves_mm = torch.from_numpy(self.R.uniform(-self.jitter_mm, self.jitter_mm, (3, 2)))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """As `BoxPromptd`, with a box of its own."""
        self.randomize()
        return super().__call__(data)

    def _box_mm(self, axis: int, side_mm: float) -> tuple[float, float]:
        low, high = super()._box_mm(axis, side_mm)
        return low + float(self._moves_mm[axis, 0]), high + float(self._moves_mm[axis, 1])
