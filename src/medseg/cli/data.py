"""`medseg data`: make phantoms, prepare datalists."""

from __future__ import annotations

import argparse
from pathlib import Path

from medseg.cli.arguments import Commands, add_noun, add_output, add_verb
from medseg.cli.console import DONE, say

LAYOUTS = ("montgomery", "decathlon", "pairs")


def add_commands(commands: Commands) -> None:
    """Add `data phantom` and `data prepare`."""
    nouns = add_noun(commands, "data", does="make and prepare images to learn from")
    _add_phantom(nouns)
    _add_prepare(nouns)


def _add_phantom(commands: Commands) -> None:
    parser = add_verb(
        commands,
        "phantom",
        _phantom,
        does="make thorax phantoms with their true masks",
        example="medseg data phantom -o phantoms --cases 12 --seed 7",
    )
    add_output(parser, does="folder for images/ and labels/ (layout: pairs)")
    parser.add_argument("--cases", metavar="N", type=positive, default=10, help="how many (default: 10)")
    parser.add_argument(
        "--seed", metavar="S", type=int, default=0, help="the same seed gives the same files (default: 0)"
    )
    parser.add_argument("--kind", choices=("ct", "xray"), default="ct", help="CT volumes or chest X-rays (default: ct)")
    parser.add_argument("--dicom", action="store_true", help="write the images as DICOM")


def _add_prepare(commands: Commands) -> None:
    parser = add_verb(
        commands,
        "prepare",
        _prepare,
        does="check a data set and split it by patient into training, validation and test",
        example=r"medseg data prepare pairs phantoms -o phantoms/datalist.json --patient-regex '^[^_]+_[0-9]+'",
    )
    parser.add_argument("layout", metavar="LAYOUT", choices=LAYOUTS, help=", ".join(LAYOUTS))
    parser.add_argument("source", metavar="SRC", type=Path, help="the data set's folder")
    add_output(parser, metavar="DATALIST.json", does="the datalist to write; leakage.json comes beside it")
    parser.add_argument("--seed", metavar="S", type=int, default=42, help="seed of the split (default: 42)")
    parser.add_argument(
        "--fractions",
        metavar="F",
        type=float,
        nargs=3,
        default=(0.8, 0.1, 0.1),
        help="parts of training, validation and test (default: 0.8 0.1 0.1)",
    )
    patient = parser.add_mutually_exclusive_group()
    patient.add_argument(
        "--patient-regex", metavar="R", help="what in a case's id names its patient (default: all of it)"
    )
    patient.add_argument("--patient-csv", metavar="FILE:COLUMN", help="a table with the patient of each case")


def _phantom(arguments: argparse.Namespace) -> int:
    from medseg.datasets.phantom import write_phantoms

    write_phantoms(
        arguments.output,
        cases=arguments.cases,
        seed=arguments.seed,
        kind=arguments.kind,
        dicom=arguments.dicom,
    )
    return _done(arguments, f"{arguments.cases} phantoms in {arguments.output}")


def _prepare(arguments: argparse.Namespace) -> int:
    from medseg.datasets import prepare

    datalist = prepare(
        arguments.layout,
        arguments.source,
        arguments.output,
        seed=arguments.seed,
        fractions=tuple(arguments.fractions),
        patient_regex=arguments.patient_regex,
        patient_csv=arguments.patient_csv,
    )
    return _done(arguments, f"datalist: {datalist}")


def positive(text: str) -> int:
    """A whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a whole number from 1 on")
    return int(text)


def _done(arguments: argparse.Namespace, result: str) -> int:
    if not arguments.quiet:
        say(result)
    return DONE
