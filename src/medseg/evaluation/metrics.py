"""The registry of scores: what each column of scores.csv is, in which unit, and which way is better.

A score's name is its column. Those of lengths and sizes end with their unit ("hd95_mm", "truth_ml"); pictures of
unknown pixel spacing have the same scores in pixels ("hd95_px", "truth_px"). The normalised surface Dice carries its
tolerance in the name: ``METRICS["nsd_1mm"]``, ``METRICS["nsd_2.5mm"]``, ``METRICS["nsd_2px"]`` are all there, iterating
lists one of each unit. docs/concepts/scores.md has the formulas and what each score is where a mask is empty.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType

RELOADED = "Metrics Reloaded (Maier-Hein et al., Nat Methods 2024;21:195-212)"
NIKOLOV = "Nikolov et al., J Med Internet Res 2021;23:e26151"
HEIMANN = "Heimann et al., IEEE Trans Med Imaging 2009;28:1251-1265"
_NSD = re.compile(r"nsd_(\d+(?:\.\d+)?)(mm|px)")


@dataclass(frozen=True)
class Metric:
    """What one column of scores.csv is.

    Attributes
    ----------
    name
        The column.
    unit
        "1" for fractions, "mm", "ml", "cm2", "px", or "lesions" for counts.
    higher_is_better
        True, False, or None where neither is better: sizes and signed differences, which only describe.
    title
        For headings and axes, without the unit.
    source
        Where the definition comes from.
    """

    name: str
    unit: str
    higher_is_better: bool | None
    title: str
    source: str

    @property
    def heading(self) -> str:
        """The title with the unit, where there is one: "HD95 (mm)"."""
        return self.title if self.unit in ("1", "lesions") else f"{self.title} ({self.unit})"


def nsd_name(tolerance: float, unit: str) -> str:
    """The column of the normalised surface Dice at `tolerance`, in `unit` "mm" or "px": "nsd_2.5mm"; no exponents."""
    return f"nsd_{Decimal(f'{tolerance:.6g}'):f}{unit}"


def _fractions() -> Iterator[Metric]:
    for name, title in (("dice", "Dice"), ("iou", "IoU"), ("precision", "Precision"), ("recall", "Recall")):
        yield Metric(name, "1", True, title, RELOADED)
    yield Metric("specificity", "1", True, "Specificity", RELOADED)


def _sizes() -> Iterator[Metric]:
    for unit, kind in (("ml", "volume"), ("cm2", "area"), ("px", "area")):
        yield Metric(f"truth_{unit}", unit, None, f"True {kind}", "voxels of the truth times their size")
        yield Metric(f"predicted_{unit}", unit, None, f"Predicted {kind}", "voxels of the prediction times their size")
        yield Metric(f"{kind}_difference_{unit}", unit, None, f"{kind.title()} difference", "predicted - truth")
        yield Metric(f"{kind}_error_{unit}", unit, False, f"{kind.title()} error", f"|predicted - truth|; {HEIMANN}")
        if unit != "cm2":  # the relative error of an area has one name, whatever the unit
            relative = f"|predicted - truth| / truth; {HEIMANN}"
            yield Metric(f"{kind}_error_relative", "1", False, f"Relative {kind} error", relative)


def _distances() -> Iterator[Metric]:
    for unit in ("mm", "px"):
        yield Metric(f"hd_{unit}", unit, False, "Hausdorff distance", f"{RELOADED}; elements as in {NIKOLOV}")
        yield Metric(f"hd95_{unit}", unit, False, "HD95", f"{RELOADED}; elements as in {NIKOLOV}")
        yield Metric(f"assd_{unit}", unit, False, "Mean surface distance", f"{RELOADED}; elements as in {NIKOLOV}")
        yield _nsd("1", unit)


def _nsd(tolerance: str, unit: str) -> Metric:
    return Metric(f"nsd_{tolerance}{unit}", "1", True, f"NSD at {tolerance} {unit}", NIKOLOV)


def _objects() -> Iterator[Metric]:
    yield Metric("cldice", "1", True, "Centre-line Dice", "Shit et al., CVPR 2021:16560-16569")
    yield Metric("lesion_f1", "1", True, "Lesion F1", RELOADED)
    yield Metric("lesion_precision", "1", True, "Lesion precision", RELOADED)
    yield Metric("lesion_recall", "1", True, "Lesion recall", RELOADED)
    yield Metric("panoptic_quality", "1", True, "Panoptic quality", "Kirillov et al., CVPR 2019:9404-9413")
    yield Metric("lesions_truth", "lesions", None, "True lesions", "connected components of the truth")
    yield Metric("lesions_predicted", "lesions", None, "Predicted lesions", "connected components of the prediction")
    yield Metric("lesions_matched", "lesions", None, "Matched lesions", "pairs of a true and a predicted lesion")


class _Registry(Mapping[str, Metric]):
    """The fixed names in the order of the columns, and the normalised surface Dice at whatever tolerance."""

    def __init__(self, metrics: Iterator[Metric]) -> None:
        self._fixed = MappingProxyType({metric.name: metric for metric in metrics})

    def __getitem__(self, name: str) -> Metric:
        if name in self._fixed:
            return self._fixed[name]
        match = _NSD.fullmatch(name)
        if match is None:
            raise KeyError(name)
        return _nsd(match[1], match[2])

    def __iter__(self) -> Iterator[str]:
        return iter(self._fixed)

    def __len__(self) -> int:
        return len(self._fixed)


METRICS: Mapping[str, Metric] = _Registry(
    metric for group in (_fractions(), _sizes(), _distances(), _objects()) for metric in group
)


def in_order(names: set[str]) -> list[str]:
    """Names of scores in the order of the registry's columns, tolerances rising; a name that is no score is refused.

    Raises
    ------
    KeyError
        A name that the registry does not have.
    """
    order = {name: place for place, name in enumerate(METRICS)}

    def key(name: str) -> tuple[int, float]:
        match = _NSD.fullmatch(METRICS[name].name)
        return (order[f"nsd_1{match[2]}"], float(match[1])) if match else (order[name], 0.0)

    return sorted(names, key=key)
