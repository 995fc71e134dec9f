"""Which scores are taken beyond those that need no choice: tolerances, tubes and lesions, declared per bundle."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from medseg.errors import BundleError
from medseg.evaluation.lesions import LesionRule

Tolerances: TypeAlias = Sequence[float] | Mapping[str, Sequence[float]]
"""For every region alike, or by the region's name."""


@dataclass(frozen=True)
class ScorePlan:
    """What to score; a bundle's evaluate.yaml names it as `scores` of its cases.

    Attributes
    ----------
    tolerances_mm
        Of the normalised surface Dice: how far apart two experts' outlines of the structure lie. One list for every
        region, or a list for each that has one. There is no default: it depends on the structure.
    tolerances_px
        The same for pictures whose spacing is unknown.
    tubes
        Regions that get a centre-line Dice.
    lesions
        Regions whose connected components are matched one by one, and how.
    distances
        Whether surface distances are taken at all.

    Raises
    ------
    BundleError
        A tolerance that is no positive number, or tolerances without distances.
    """

    tolerances_mm: Tolerances = ()
    tolerances_px: Tolerances = ()
    tubes: Sequence[str] = ()
    lesions: Mapping[str, LesionRule] = field(default_factory=dict)
    distances: bool = True

    def __post_init__(self) -> None:
        stated = [t for given in (self.tolerances_mm, self.tolerances_px) for group in _lists(given) for t in group]
        wrong = [t for t in stated if not _is_length(t)]
        if wrong:
            raise BundleError("ScorePlan: tolerances", got=wrong, expected="lengths above 0, such as [1, 2.5]")
        if stated and not self.distances:
            raise BundleError("ScorePlan: tolerances without distances", got=stated, expected="distances: true")

    def tolerances(self, region: str, unit: str) -> tuple[float, ...]:
        """Those of a region in "mm" or "px", rising."""
        given = self.tolerances_mm if unit == "mm" else self.tolerances_px
        of_region = given.get(region, ()) if isinstance(given, Mapping) else given
        return tuple(sorted(set(of_region)))

    def named(self) -> set[str]:
        """The regions that the plan names."""
        by_name = [given for given in (self.tolerances_mm, self.tolerances_px) if isinstance(given, Mapping)]
        return {*self.tubes, *self.lesions, *(region for given in by_name for region in given)}

    def check(self, regions: Iterable[str]) -> None:
        """Refuse a plan that names a region which is not among `regions`.

        Raises
        ------
        BundleError
            With the unknown names and the known ones.
        """
        known = list(regions)
        unknown = sorted(self.named() - set(known))
        if unknown:
            raise BundleError("ScorePlan: no such region", got=", ".join(unknown), expected=f"of {', '.join(known)}")


def _lists(given: Tolerances) -> list[Sequence[float]]:
    return list(given.values()) if isinstance(given, Mapping) else [given]


def _is_length(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0
