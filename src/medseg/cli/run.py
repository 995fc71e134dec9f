"""`medseg score`."""

from __future__ import annotations

import argparse
from pathlib import Path

from medseg.cli.arguments import Commands, add_json, add_output, add_run_log, add_verb
from medseg.cli.console import say_report
from medseg.cli.score_options import add_score_options, score_plan


def add_commands(commands: Commands) -> None:
    """Add `score`."""
    parser = add_verb(
        commands,
        "score",
        _score,
        does="score any masks against any truth, matched by file name",
        example="medseg score masks phantoms/labels -o scores",
    )
    parser.add_argument("predictions", metavar="PRED_DIR", type=Path, help="folder of masks")
    parser.add_argument("truth", metavar="TRUTH_DIR", type=Path, help="folder of true masks")
    add_output(parser, does="folder for scores.csv and summary.json")
    add_score_options(parser)
    add_json(parser)
    add_run_log(parser)


def _score(arguments: argparse.Namespace) -> int:
    from medseg.workflows import score

    plan = score_plan(arguments)
    report = score(arguments.predictions, arguments.truth, output_dir=arguments.output, plan=plan)
    return say_report(arguments, report, scored=True)
