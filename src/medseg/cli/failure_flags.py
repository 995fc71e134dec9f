"""`medseg flags`: from what a bundle knows which of its masks to look at first."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from medseg.cli.arguments import Commands, Parser, add_bundle, add_json, add_noun, add_verb
from medseg.cli.console import DONE, say_result
from medseg.cli.flags import add_datalist, add_device

if TYPE_CHECKING:
    from medseg.evaluation.flag_record import FlagRecord


def add_commands(commands: Commands) -> None:
    """Add `flags limits` and `flags fit`."""
    nouns = add_noun(commands, "flags", does="teach a bundle which of its masks to look at first")
    _add_limits(nouns)
    _add_fit(nouns)


def _add_limits(nouns: Commands) -> None:
    parser = add_verb(
        nouns,
        "limits",
        _limits,
        does="write models/flags.json: the limits of size, place, pieces, entropy and intensities, from training cases",
        example="medseg flags limits runs/first --datalist phantoms/datalist.json",
    )
    _add_common(parser, "whose training and validation cases are measured; its test cases are not looked at")
    parser.add_argument(
        "--share-flagged",
        metavar="SHARE",
        type=float,
        default=0.05,
        help="share of cases like those of training that may be flagged (default: 0.05)",
    )


def _add_fit(nouns: Commands) -> None:
    parser = add_verb(
        nouns,
        "fit",
        _fit,
        does="add a regression of the Dice to models/flags.json, from validation cases and failures made of them",
        example="medseg flags fit runs/first --datalist phantoms/datalist.json --dice-below 0.8",
    )
    _add_common(parser, "whose validation cases are segmented, as they are and spoilt")
    parser.add_argument(
        "--dice-below",
        metavar="DICE",
        type=float,
        required=True,
        help="a region with a smaller Dice has failed: what is too bad to use is yours to say",
    )


def _add_common(parser: Parser, data: str) -> None:
    add_bundle(parser)
    add_datalist(parser, does=data)
    add_device(parser, default="as the bundle says")
    parser.add_argument("--print-only", action="store_true", help="show the result, leave the bundle as it is")
    parser.add_argument(
        "--trust",
        action="store_true",
        help="let the bundle do all it wants, now and until its files change (medseg bundle trust shows what that is)",
    )
    add_json(parser)


def _limits(arguments: argparse.Namespace) -> int:
    from medseg.workflows.flags import flag_record_path, has_regression, learn_limits

    path = None if arguments.print_only else flag_record_path(arguments.bundle)
    record = learn_limits(
        arguments.bundle,
        datalist=arguments.datalist,
        share_flagged=arguments.share_flagged,
        device=arguments.device,
        trust=arguments.trust,
    )
    about = record.about
    lines = [
        f"limits from {about['training_cases']} training cases, "
        f"of pieces and entropy from {about['limits_of_network_from']} cases",
        f"flagged of the {about['validation_cases']} validation cases: {about['flagged_of_validation']}",
    ]
    if path is not None and has_regression(path):
        lines.append("the regression that was there stood on the old limits and goes: medseg flags fit makes it anew")
    return _end(arguments, record, path, lines)


def _fit(arguments: argparse.Namespace) -> int:
    from medseg.workflows.flags import flag_record_path, learn_predictor

    path = None if arguments.print_only else flag_record_path(arguments.bundle)
    record, _ = learn_predictor(
        arguments.bundle,
        datalist=arguments.datalist,
        dice_below=arguments.dice_below,
        device=arguments.device,
        trust=arguments.trust,
    )
    assert record.predictor is not None
    lines = [
        f"{name}: predicted Dice is off by {one.error['mae']:.3f} on average (cross-validated, {one.cases} cases of "
        f"{one.patients} patients, most of them spoilt on purpose)"
        for name, one in record.predictor.regions.items()
    ]
    curve = record.about.get("regression_roc_cross_validated")
    if curve is not None:
        low, high = curve["auc_ci95"]
        lines.append(
            f"failures (Dice below {arguments.dice_below:g}) told with AUC {curve['auc']:.3f} [{low:.3f}, {high:.3f}], "
            f"cross-validated, {curve['failed']} failed of {curve['failed'] + curve['good']}"
        )
    return _end(arguments, record, path, lines)


def _end(arguments: argparse.Namespace, record: FlagRecord, path: Any, lines: list[str]) -> int:
    from medseg.workflows.flags import save_flag_record

    if path is not None:
        save_flag_record(record, path)
    lines.append("not written" if path is None else f"written to {path}")
    predictor = None if record.predictor is None else record.predictor.to_json()
    values = {"path": path, "about": record.about, "limits": record.limits.to_json(), "predictor": predictor}
    say_result(arguments, "\n".join(lines), values)
    return DONE
