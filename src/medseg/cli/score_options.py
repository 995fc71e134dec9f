"""The flags of `medseg score` that say what to score besides overlap, volumes and distances."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING

from medseg.cli.arguments import Parser, UsageError

if TYPE_CHECKING:
    from medseg.evaluation import ScorePlan


def add_score_options(parser: Parser) -> None:
    """Tolerances, tubes and lesions, by label value."""
    group = parser.add_argument_group("what to score besides overlap, volumes and surface distances")
    for unit, where in (("mm", ""), ("px", ", in pictures whose pixel spacing is unknown")):
        group.add_argument(
            f"--tolerance-{unit}",
            metavar=unit.upper(),
            type=_length,
            nargs="+",
            default=[],
            help=f"normalised surface Dice (NSD) at these tolerances in {unit}{where}",
        )
    group.add_argument(
        "--tubes", metavar="LABEL", type=_label, nargs="+", default=[], help="centre-line Dice of these label values"
    )
    group.add_argument(
        "--lesions",
        metavar="LABEL",
        type=_label,
        nargs="+",
        default=[],
        help="match the connected pieces of these label values one to one: F1, panoptic quality, counts",
    )
    rule = group.add_mutually_exclusive_group()
    rule.add_argument(
        "--lesion-iou", metavar="IOU", type=_share, help="a lesion is found where the overlap (IoU) is above this"
    )
    rule.add_argument(
        "--lesion-mm",
        metavar="MM",
        type=_length,
        help="a lesion is found where the centres are at most so far apart (in pixels where the spacing is unknown)",
    )


def score_plan(arguments: argparse.Namespace) -> ScorePlan:
    """What the flags of `add_score_options` ask for.

    Raises
    ------
    UsageError
        Lesions without a rule, or a rule without lesions.
    """
    from medseg.evaluation import LesionRule, ScorePlan

    ruled = arguments.lesion_iou is not None or arguments.lesion_mm is not None
    if ruled != bool(arguments.lesions):
        raise UsageError(
            "--lesions and how to match them belong together",
            got="only one of them",
            expected="--lesions 1 --lesion-iou 0.1, or --lesions 1 --lesion-mm 10",
        )
    rule = LesionRule(iou_above=arguments.lesion_iou, centres_within=arguments.lesion_mm) if ruled else None
    return ScorePlan(
        tolerances_mm=tuple(arguments.tolerance_mm),
        tolerances_px=tuple(arguments.tolerance_px),
        tubes=tuple(f"label {value}" for value in arguments.tubes),
        lesions={f"label {value}": rule for value in arguments.lesions if rule is not None},
    )


def _label(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a label value from 1 on")
    return int(text)


def _length(text: str) -> float:
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a length above 0")
    return value


def _share(text: str) -> float:
    value = _number(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a share from 0 to below 1")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
