"""`medseg score` and `medseg compare`: masks against truth, and one model against another."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.cli.arguments import Commands, Parser, add_json, add_output, add_run_log, add_verb, seed
from medseg.cli.console import DONE, say_report, say_result
from medseg.cli.score_options import add_score_options, score_plan

if TYPE_CHECKING:
    from medseg.evaluation.comparison import Difference
    from medseg.workflows.compare import Comparison

STRATA = "tell the scores of each stratum too: a column of a table by case or patient (numbers by quartiles), or size"
SAID = ("dice", "hd95_mm", "hd95_px")
"""Scores told on the console; all stand in the files."""


def add_commands(commands: Commands) -> None:
    """Add `score` and `compare`."""
    _add_score(commands)
    _add_compare(commands)


def add_strata(parser: Parser) -> None:
    """The flag --strata."""
    parser.add_argument("--strata", metavar="FILE:COLUMN|size", action="append", default=[], help=STRATA)


def _add_score(commands: Commands) -> None:
    parser = add_verb(
        commands,
        "score",
        _score,
        does="score any masks against any truth, matched by file name",
        example="medseg score masks phantoms/labels -o scores\n"
        "medseg score masks truth -o scores --patient-csv cases.csv:patient --strata cases.csv:scanner --strata size",
    )
    parser.add_argument("predictions", metavar="PRED_DIR", type=Path, help="folder of masks")
    parser.add_argument("truth", metavar="TRUTH_DIR", type=Path, help="folder of true masks")
    add_output(parser, does="folder for scores.csv, cases.csv and summary.json")
    patient = parser.add_mutually_exclusive_group()
    patient.add_argument(
        "--patient-regex", metavar="R", help="what in a case's id names its patient (default: all of it)"
    )
    _add_patient_csv(patient)
    add_strata(parser)
    add_score_options(parser)
    add_json(parser)
    add_run_log(parser)


def _add_compare(commands: Commands) -> None:
    parser = add_verb(
        commands,
        "compare",
        _compare,
        does="compare two models that were scored on the same cases: differences with intervals and paired tests",
        example="medseg compare scores/first scores/second -o comparison\n"
        "medseg compare a b --metric dice --strata cases.csv:scanner",
    )
    parser.add_argument("a", metavar="A", type=Path, help="folder with the scores.csv of the one model")
    parser.add_argument("b", metavar="B", type=Path, help="the same of the other; differences are B - A")
    parser.add_argument(
        "-o", "--output", metavar="DIR", type=Path, help="folder for comparison.csv, comparison.json, differences.csv"
    )
    parser.add_argument(
        "--metric",
        metavar="NAME",
        nargs="+",
        action="extend",
        default=[],
        dest="metrics",
        help="columns of scores.csv to compare (default: all that can be better or worse)",
    )
    _add_patient_csv(parser)
    add_strata(parser)
    parser.add_argument("--seed", metavar="S", type=seed, default=0, help="of resamples and sign patterns (default: 0)")
    add_json(parser)


def _add_patient_csv(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--patient-csv", metavar="FILE:COLUMN", help="a table with the patient of each case")


def _score(arguments: argparse.Namespace) -> int:
    from medseg.workflows import score

    report = score(
        arguments.predictions,
        arguments.truth,
        output_dir=arguments.output,
        plan=score_plan(arguments),
        patient_regex=arguments.patient_regex,
        patient_csv=arguments.patient_csv,
        strata=arguments.strata,
    )
    return say_report(arguments, report, scored=True)


def _compare(arguments: argparse.Namespace) -> int:
    from medseg.workflows.compare import compare

    found = compare(
        arguments.a,
        arguments.b,
        output_dir=arguments.output,
        metrics=arguments.metrics,
        patient_csv=arguments.patient_csv,
        strata=arguments.strata,
        seed=arguments.seed,
    )
    text = "\n".join(_lines(found, arguments.metrics or SAID, arguments.output))
    say_result(arguments, text, found.to_json())
    return DONE


def _lines(found: Comparison, metrics: Sequence[str], folder: Path | None) -> Iterator[str]:
    yield f"B ({found.b}) against A ({found.a}): {found.cases} cases of {found.patients} patients"
    if found.patients == found.cases and found.patients_from != "table":
        yield "each case counts as a patient of its own; if some are of one patient: --patient-csv FILE:COLUMN"
    yield from _table(found.differences, metrics)
    for column, strata in found.strata.items():
        for name, differences in strata.items():
            yield f"{column} = {name}:{'' if differences else ' none of its cases has these scores'}"
            yield from _table(differences, metrics)
    if folder is not None:
        yield f"all scores: {folder / 'comparison.csv'}; each case: {folder / 'differences.csv'}"


def _table(differences: Sequence[Difference], metrics: Sequence[str]) -> Iterator[str]:
    from medseg.evaluation.bootstrap import interval_text

    for one in (d for d in differences if d.metric in metrics):
        unit = "" if one.unit == "1" else f" {one.unit}"
        yield (
            f"{one.region}, {one.metric}: {one.mean_a:.4f} -> {one.mean_b:.4f}{unit}, "
            f"difference {one.mean_difference:+.4f} {interval_text(one.difference_ci95, sign='+')}, "
            f"{one.wins} wins, {one.losses} losses, {one.ties} ties, "
            f"p {one.p_permutation:.3g} (permutation), {one.p_wilcoxon:.3g} (Wilcoxon); "
            f"Holm over {len(differences)}: {one.p_permutation_holm:.3g}, {one.p_wilcoxon_holm:.3g}"
        )
        if one.most_different:
            most = ", ".join(f"{case['case']} {case['difference']:+.3f}" for case in one.most_different[:3])
            yield f"  most different: {most}"
