"""Which cases a person should look at first: rules whose limits come from the training data.

Each feature of `medseg.evaluation.features` has limits on one side or both,

    low = m - w * (m - q5),  high = m + w * (q95 - m),

with m, q5 and q95 the median and the 5th and 95th percentile over the cases that the limits come from (of sizes: of
their logarithm), the two distances not below a floor, and one widening w for all: the smallest with which all but the
share asked for of those cases lie inside all of their limits. So the share of good cases that will be flagged is set
once for all rules together, and not once a rule.

What the truth and the image say (size, border, position, intensity) is taken from the training cases; what only the
network says (fragments, entropy) from validation cases, because a network is surer of the cases that it learnt from.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from medseg.errors import DataError
from medseg.evaluation.features import CaseFeatures, Numbers

INTENSITY = "intensity"
LARGEST_EXCESS = 5.0
"""How far beyond a limit still counts: what is further out is no worse."""

_LARGEST_LOGARITHM = 700.0
"""Of a limit: beyond e to the 709 or its reciprocal there is no number."""


@dataclass(frozen=True)
class Rule:
    """How a feature becomes a rule.

    Attributes
    ----------
    name
        The rule's name in manifests and tables.
    below, above
        Whether small, and whether large values are wrong.
    floor
        The least distance from the median to the 5th or 95th percentile that is believed.
    logarithm
        Whether distances are measured on the logarithm.
    of_network
        Whether the limits come from what the network gives on validation cases.
    """

    name: str
    below: bool = True
    above: bool = True
    floor: float = 0.02
    logarithm: bool = False
    of_network: bool = False


_SIZE = Rule("volume", floor=0.05, logarithm=True)
_POSITION = Rule("position", floor=0.02)
RULES: Mapping[str, Rule] = {
    "volume_ml": _SIZE,
    "area_share": _SIZE,
    "border_share": Rule("border", below=False, floor=0.002),
    "centre_right": _POSITION,
    "centre_anterior": _POSITION,
    "centre_superior": _POSITION,
    "centre_across": _POSITION,
    "centre_down": _POSITION,
    "fragments": Rule("fragments", below=False, floor=1.0, of_network=True),
    "largest_share": Rule("fragments", above=False, floor=0.01, of_network=True),
    "entropy": Rule("entropy", below=False, floor=0.02, of_network=True),
}
"""Feature of a region to its rule; a feature that is not here has none."""

_BRIGHTNESS = Rule(INTENSITY, floor=0.02)
_ROUGHNESS = Rule(INTENSITY, floor=0.05, logarithm=True)
_TURNED = Rule("turned", floor=0.02)
_LEAST_SCALED = 1e-6


@dataclass(frozen=True)
class Limit:
    """Where a feature is as in the cases that the limits come from.

    Attributes
    ----------
    median, low, high
        In the feature's own unit; `low` or `high` is None where that side is not looked at.
    seen
        The smallest and largest value among the cases that the limits come from.
    """

    median: float
    low: float | None
    high: float | None
    seen: tuple[float, float]

    def excess(self, value: float, *, logarithm: bool) -> float:
        """How far `value` is from the median, as a share of the way to the limit: above 1 it is out; at most 5."""
        limit = self.high if value > self.median else self.low
        if limit is None or value == self.median:
            return 0.0
        if logarithm:
            if value <= 0:
                return LARGEST_EXCESS
            way, found = math.log(limit / self.median), math.log(value / self.median)
        else:
            way, found = limit - self.median, value - self.median
        if way == 0:  # of large numbers that hardly vary, the record's six digits leave none
            return LARGEST_EXCESS
        return min(found / way, LARGEST_EXCESS)


@dataclass(frozen=True)
class Flag:
    """A reason to look at a case.

    Attributes
    ----------
    rule, region
        "volume" of "heart"; the region is "" where the whole case is meant.
    value, limit
        The feature's value and the limit that it is beyond.
    text
        One sentence for a reader.
    """

    rule: str
    region: str
    value: float
    limit: float
    text: str

    def to_json(self) -> dict[str, Any]:
        """As it stands in a manifest."""
        return asdict(self)


@dataclass(frozen=True)
class Limits:
    """The limits of a bundle.

    Attributes
    ----------
    intensity
        Feature of what the network is given to its limits.
    regions
        Region, then feature, to its limits.
    always
        Regions that every training case has: one that is not found is flagged.
    widening
        w of the two groups of features: "image" and "network".
    cases
        How many cases each group's limits come from.
    """

    intensity: Mapping[str, Limit]
    regions: Mapping[str, Mapping[str, Limit]]
    always: tuple[str, ...]
    widening: Mapping[str, float]
    cases: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """For models/flags.json."""
        content: dict[str, Any] = asdict(self)
        return {**content, "always": list(self.always)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Limits:
        """What `to_json` gave."""
        regions = {name: _limits_of(one) for name, one in content["regions"].items()}
        return cls(
            _limits_of(content["intensity"]),
            regions,
            tuple(content["always"]),
            dict(content["widening"]),
            dict(content["cases"]),
        )

    def flags(self, case: CaseFeatures) -> list[Flag]:
        """The rules that a case breaks, the worst first; of a rule and region the feature that is furthest out."""
        worst: dict[tuple[str, str], tuple[float, Flag]] = {}
        for region, feature, rule, limit, value in self._met(case):
            excess = limit.excess(value, logarithm=rule.logarithm)
            if excess > max(1.0, worst.get((rule.name, region), (0.0,))[0]):
                worst[rule.name, region] = excess, _flag(rule, region, feature, value, limit)
        found = sorted(worst.values(), key=lambda one: -one[0])
        return [*self._missing(case), *(flag for _, flag in found)]

    def excess(self, case: CaseFeatures) -> float:
        """How far out a case is: the largest excess of all its features; above 1 it is flagged."""
        if self._missing(case):
            return LARGEST_EXCESS
        excesses = (limit.excess(value, logarithm=rule.logarithm) for _, _, rule, limit, value in self._met(case))
        return max(excesses, default=0.0)

    def _met(self, case: CaseFeatures) -> Iterator[tuple[str, str, Rule, Limit, float]]:
        """(region, feature, rule, limit, value) of all that has limits; of a missing region only the size counts."""
        for feature, value in case.intensity.items():
            if feature in self.intensity:
                yield "", feature, rule_of("", feature), self.intensity[feature], value
        for region, numbers in case.regions.items():
            limits = {} if region in self._lost(case) else self.regions.get(region, {})
            for feature in (name for name in numbers if name in limits):
                yield region, feature, RULES[feature], limits[feature], numbers[feature]

    def _lost(self, case: CaseFeatures) -> list[str]:
        return [region for region, numbers in case.regions.items() if _size(numbers) == 0]

    def _missing(self, case: CaseFeatures) -> list[Flag]:
        return [
            Flag("missing", region, 0.0, 0.0, f"{region}: not found, though every training case has it")
            for region in self._lost(case)
            if region in self.always
        ]


def rule_of(region: str, feature: str) -> Rule:
    """The rule of a feature; of the whole case, that is of its intensities, where `region` is ""."""
    if region:
        return RULES[feature]
    if feature.startswith("bright_"):
        return _TURNED
    return _ROUGHNESS if feature.startswith("roughness") else _BRIGHTNESS


def make_limits(drawn: Sequence[CaseFeatures], segmented: Sequence[CaseFeatures], *, share_flagged: float) -> Limits:
    """Limits of all features.

    Parameters
    ----------
    drawn
        Training cases: intensities, and the regions as the truth has them.
    segmented
        Cases that the network did not learn from: the regions as the network has them.
    share_flagged
        Share of these cases that may lie beyond a limit, half of it for either group.

    Raises
    ------
    DataError
        No cases, or a share that is none.
    """
    if not drawn or not segmented or not 0 < share_flagged < 1:
        raise DataError(
            "no limits for failure flags",
            got=f"{len(drawn)} training cases, {len(segmented)} segmented cases, a share of {share_flagged}",
            expected="at least one case of each, and a share between 0 and 1",
        )
    groups = {"image": _values(drawn, of_network=False), "network": _values(segmented, of_network=True)}
    counts = {"image": len(drawn), "network": len(segmented)}
    widening = {name: _widening(values, counts[name], share_flagged / 2) for name, values in groups.items()}
    limits = {
        place: _limit([value for _, value in many], rule_of(*place), widening[name])
        for name, values in groups.items()
        for place, many in values.items()
    }
    regions = sorted({region for region, _ in limits} - {""})
    return Limits(
        {feature: limit for (region, feature), limit in limits.items() if not region},
        {name: {feature: limit for (region, feature), limit in limits.items() if region == name} for name in regions},
        tuple(name for name in regions if all(_size(case.regions.get(name, {})) > 0 for case in drawn)),
        widening,
        counts,
    )


def _values(cases: Sequence[CaseFeatures], *, of_network: bool) -> dict[tuple[str, str], list[tuple[int, float]]]:
    """(region, feature) to (case, value), of the cases in which the region is."""
    found: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for i, case in enumerate(cases):
        numbers = [(("", name), value) for name, value in case.intensity.items() if not of_network]
        for region, of_region in case.regions.items():
            if _size(of_region) > 0:
                numbers += [((region, name), value) for name, value in of_region.items() if name in RULES]
        for place, value in numbers:
            if rule_of(*place).of_network == of_network:
                found.setdefault(place, []).append((i, value))
    return found


def _widening(values: Mapping[tuple[str, str], Sequence[tuple[int, float]]], cases: int, share: float) -> float:
    """The smallest w, at least 1, with which all but `share` of the cases lie inside all of their limits."""
    worst = np.zeros(cases)
    for place, many in values.items():
        rule = rule_of(*place)
        limit = _limit([value for _, value in many], rule, 1.0)
        for i, value in many:
            worst[i] = max(worst[i], _unbounded(limit, value, rule))
    return max(1.0, float(np.quantile(worst, 1 - share, method="higher")))


def _unbounded(limit: Limit, value: float, rule: Rule) -> float:
    bound = limit.high if value > limit.median else limit.low
    if bound is None or value == limit.median:
        return 0.0
    a, b, c = (_scaled(one, rule) for one in (value, bound, limit.median))
    return (a - c) / (b - c)


def _limit(values: Sequence[float], rule: Rule, widening: float) -> Limit:
    scaled = np.asarray([_scaled(value, rule) for value in values])
    low, middle, high = np.percentile(scaled, [5, 50, 95])
    below = middle - widening * max(middle - low, rule.floor) if rule.below else None
    above = middle + widening * max(high - middle, rule.floor) if rule.above else None
    median, *bounds = (None if one is None else _own_unit(float(one), rule) for one in (middle, below, above))
    assert median is not None
    return Limit(median, bounds[0], bounds[1], (float(min(values)), float(max(values))))


def _scaled(value: float, rule: Rule) -> float:
    return math.log(max(value, _LEAST_SCALED)) if rule.logarithm else value


def _own_unit(value: float, rule: Rule) -> float:
    return math.exp(min(max(value, -_LARGEST_LOGARITHM), _LARGEST_LOGARITHM)) if rule.logarithm else value


def _size(numbers: Numbers) -> float:
    return numbers.get("volume_ml", numbers.get("area_share", 0.0))


def _limits_of(content: Mapping[str, Mapping[str, Any]]) -> dict[str, Limit]:
    return {
        name: Limit(one["median"], one["low"], one["high"], (one["seen"][0], one["seen"][1]))
        for name, one in content.items()
    }


_WORDS = {
    "volume_ml": ("volume", " ml"),
    "area_share": ("share of the picture", ""),
    "border_share": ("share of its voxels at the border of the image", ""),
    "centre_right": ("centre, from the patient's left 0 to the right 1", ""),
    "centre_anterior": ("centre, from the back 0 to the front 1", ""),
    "centre_superior": ("centre, from below 0 to above 1", ""),
    "centre_across": ("centre, from the left edge 0 to the right edge 1", ""),
    "centre_down": ("centre, from the upper edge 0 to the lower edge 1", ""),
    "fragments": ("pieces before postprocessing", ""),
    "largest_share": ("share of its voxels in the largest piece", ""),
    "entropy": ("mean entropy", " nats"),
    "bright_right": ("turned or mirrored? bright parts lie towards the patient's right by", ""),
    "bright_anterior": ("turned? bright parts lie towards the front by", ""),
    "bright_superior": ("turned? bright parts lie upwards by", ""),
    "bright_across": ("turned or mirrored? bright parts lie towards the right edge by", ""),
    "bright_down": ("turned? bright parts lie towards the lower edge by", ""),
}


def _flag(rule: Rule, region: str, feature: str, value: float, limit: Limit) -> Flag:
    bound = limit.high if value > limit.median else limit.low
    assert bound is not None
    of_all_channels = re.sub(r"_[0-9]+$", "", feature)
    words, unit = _WORDS.get(of_all_channels, (f"intensity, {feature} after preprocessing", ""))
    side = "above" if value > bound else "below"
    low, high = limit.seen
    text = f"{words} {value:.4g}{unit}, {side} {bound:.4g}{unit} (seen: {low:.4g} to {high:.4g}{unit})"
    return Flag(
        rule.name, region, float(f"{value:.6g}"), float(f"{bound:.6g}"), f"{region}: {text}" if region else text
    )
