"""`medseg bundle`: which bundles there are, what is in one, and where it may run in bfloat16."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.cli import bundle_files, check
from medseg.cli.arguments import Commands, add_bundle, add_configuration, add_json, add_noun, add_verb, overrides
from medseg.cli.console import DONE, say_result
from medseg.cli.flags import add_datalist, add_device

if TYPE_CHECKING:
    from medseg.workflows.precision import PrecisionCheck


def add_commands(commands: Commands) -> None:
    """Add `bundle list`, `show`, `precision`, `check`, and what is done with whole bundles."""
    nouns = add_noun(commands, "bundle", does="look at the bundles")
    add_json(
        add_verb(nouns, "list", _list, does="list the bundles that come with medseg", example="medseg bundle list")
    )
    show = add_verb(
        nouns,
        "show",
        _show,
        does="show a bundle's labels, data, network layers and parameter counts",
        example="medseg bundle show ct_lung",
    )
    add_bundle(show)
    add_json(show)
    _add_precision(nouns)
    check.add_commands(nouns)
    bundle_files.add_commands(nouns)


def known_bundles() -> str:
    """The names of the bundles that come with medseg, for messages."""
    from medseg.bundle import list_bundles

    return ", ".join(entry.name for entry in list_bundles()) or "none"


def _add_precision(nouns: Commands) -> None:
    parser = add_verb(
        nouns,
        "precision",
        _precision,
        does="write models/precision.json: whether bfloat16 gives the labels of float32 on this device, so that "
        "precision auto may use it",
        example="medseg bundle precision runs/first --datalist phantoms/datalist.json",
    )
    add_bundle(parser)
    add_datalist(parser, does="whose test cases are segmented both ways")
    add_device(parser, default="as the bundle says")
    parser.add_argument("--print-only", action="store_true", help="print the record, leave the bundle as it is")
    add_configuration(parser)
    add_json(parser)


def _list(arguments: argparse.Namespace) -> int:
    from medseg.bundle import list_bundles

    bundles = list_bundles()
    lines = []
    for entry in bundles:
        weights = "trained" if entry.weights else "no weights yet"
        lines.append(f"{entry.name:<16} {entry.version:<7} {weights:<14} {entry.task}: {', '.join(entry.labels)}")
    say_result(arguments, "\n".join(lines), {"bundles": [asdict(entry) for entry in bundles]})
    return DONE


def _show(arguments: argparse.Namespace) -> int:
    from medseg.bundle import describe_bundle, find_bundle, read_metadata

    folder = find_bundle(arguments.bundle)
    if arguments.json:
        say_result(arguments, "", {"folder": folder, **asdict(read_metadata(folder))})
    else:
        say_result(arguments, describe_bundle(folder), {})
    return DONE


def _precision(arguments: argparse.Namespace) -> int:
    changes = overrides(arguments.overrides)
    from medseg.workflows.precision import check_precision, precision_record_path, write_check

    given: dict[str, Any] = {"overlays": tuple(arguments.overlay), "overrides": changes}
    path = None if arguments.print_only else precision_record_path(arguments.bundle, **given)
    check = check_precision(
        arguments.bundle, datalist=arguments.datalist, device=arguments.device, trust=arguments.trust, **given
    )
    if path is not None:
        write_check(check, path)
    say_result(arguments, _check_text(check, path), {"written": path, "record": check.record.as_json()})
    return DONE


def _check_text(check: PrecisionCheck, path: Path | None) -> str:
    record, worst = check.record, check.worst
    verdict = "bfloat16 agrees with float32" if record.passed else "bfloat16 changes labels: float32 will be used"
    lines = [
        f"{verdict}; smallest Dice {worst.dice:.4f} ({worst.name}, case {worst.case}) of {record.cases} cases",
        f"on {record.device}; {'not written' if path is None else f'written to {path}'}",
    ]
    return "\n".join(lines if path is not None else [json.dumps(record.as_json(), indent=2), *lines])
