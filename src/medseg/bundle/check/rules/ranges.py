"""Numbers that no run can start with: an overlap of one and a half, no jobs, batches of nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from medseg.bundle.check.context import Context
from medseg.bundle.check.findings import Finding
from medseg.bundle.check.merged import arguments
from medseg.bundle.check.values import components


@dataclass(frozen=True)
class _Range:
    """Which numbers an argument may have; null is left to the types.

    Attributes
    ----------
    least, below
        From the one to below the other.
    expected
        The same in words.
    above
        `least` itself is none of them.
    targets
        What the names of the components that it holds for contain.
    """

    least: float
    expected: str
    below: float = math.inf
    above: bool = False
    targets: tuple[str, ...] = ("medseg.",)

    def holds(self, value: Any) -> bool:
        """Whether a value, or each of a list, is a number of the range or none that can be judged."""
        if isinstance(value, list):
            return all(self.holds(one) for one in value)
        if not isinstance(value, int | float) or isinstance(value, bool):
            return True
        return self.least <= value < self.below and not (self.above and value == self.least)


_COUNT = _Range(1, "a whole number from 1 on")
_RANGES = {
    "overlap": _Range(0, "from 0 to below 1", below=1, targets=("SlidingWindow",)),
    "jobs": _COUNT,
    "batch": _COUNT,
    "at_most": _Range(1, "at least one, or null for all"),
    "interval": _COUNT,
    "patience": _Range(1, "a whole number from 1 on, or null"),
    "minutes": _Range(0, "a number from 0 on, or null for no limit"),
    "batch_size": _Range(1, "a whole number from 1 on", targets=("Loader",)),
    "num_workers": _Range(0, "a whole number from 0 on", targets=("Loader",)),
    "seed": _Range(0, "a whole number from 0 on"),
    "spacing_mm": _Range(0, "lengths above 0", above=True),
    "max_gradient_norm": _Range(0, "a number above 0, or null for gradients as they are", above=True),
    "lr": _Range(0, "a number from 0 on", targets=("torch.optim.",)),
}


def outside(context: Context) -> Iterator[Finding]:
    """Arguments outside what their components take; those refuse them too, but later and without the line."""
    told = set()
    for name, node in components(context.merged):
        target = str(node.content["_target_"].content)
        for argument, one in arguments(node).items():
            known = _RANGES.get(argument)
            if known is None or not any(part in target for part in known.targets):
                continue
            value, place = context.values.value(one), context.values.target(one)
            if not known.holds(value) and id(place) not in told:
                told.add(id(place))
                which = "" if place is one else f", which is {one.content},"
                what = f"{name}::{argument}{which} is out of range"
                yield context.error("range", place, what, value, known.expected)
