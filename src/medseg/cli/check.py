"""`medseg bundle check`: every mistake in a bundle's configuration, before anything runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.cli.arguments import Commands, add_bundle, add_configuration, add_json, add_verb, overrides
from medseg.cli.console import DONE, WRONG_INPUT, complain, say_result

if TYPE_CHECKING:
    from medseg.bundle.check import Finding


def add_commands(nouns: Commands) -> None:
    """Add `check` to the commands of `medseg bundle`."""
    parser = add_verb(
        nouns,
        "check",
        _check,
        does="find the mistakes in a bundle's configuration, each with its file and line",
        example="medseg bundle check ct_lung\nmedseg bundle check mine --static --overlay smoke epochs=20",
    )
    add_bundle(parser)
    parser.add_argument(
        "--static",
        action="store_true",
        help="stop after what the text decides, in a second: build no network, run nothing of the bundle",
    )
    add_configuration(parser)
    add_json(parser)


def _check(arguments: argparse.Namespace) -> int:
    changes = overrides(arguments.overrides)
    from medseg.bundle.check import check_bundle, errors
    from medseg.bundle.locate import find_bundle

    folder = find_bundle(arguments.bundle)
    findings = check_bundle(
        folder, overlays=tuple(arguments.overlay), overrides=changes, static=arguments.static, trust=arguments.trust
    )
    if not arguments.json:
        for finding in findings:
            complain(finding.text(folder))
    say_result(arguments, _summary(folder, findings), [asdict(finding) for finding in findings])
    return WRONG_INPUT if errors(findings) else DONE


def _summary(folder: Path, findings: Sequence[Finding]) -> str:
    wrong = sum(finding.severity == "error" for finding in findings)
    return f"{folder.name}: {_many(wrong, 'error')}, {_many(len(findings) - wrong, 'warning')}"


def _many(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"
