"""`medseg data`: make phantoms, look into images, repair them, prepare datalists."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.cli.arguments import Commands, UsageError, add_json, add_noun, add_output, add_verb, positive, seed
from medseg.cli.console import DONE, SOME_FAILED, say_result
from medseg.cli.deidentify import add_deidentify, add_labels

if TYPE_CHECKING:
    from medseg.case import Image

LAYOUTS = ("montgomery", "decathlon", "pairs")


def add_commands(commands: Commands) -> None:
    """Add `data inspect`, `data fix`, `data phantom` and `data prepare`."""
    nouns = add_noun(commands, "data", does="inspect, repair, make and prepare images")
    _add_inspect(nouns)
    _add_fix(nouns)
    _add_phantom(nouns)
    _add_prepare(nouns)
    add_deidentify(nouns)
    add_labels(nouns)


def _add_inspect(commands: Commands) -> None:
    parser = add_verb(
        commands,
        "inspect",
        _inspect,
        does="list every study, series and image under a folder, and all that is wrong with each",
        example="medseg data inspect new_studies\nmedseg data inspect new_studies --json > findings.json",
    )
    parser.add_argument("path", metavar="PATH", type=Path, help="a file or a folder; nothing in it is changed")
    add_json(parser)
    parser.add_argument(
        "--modality",
        metavar="CODE",
        type=str.upper,
        help="what images are whose files do not say it: NIfTI of a CT is checked for HU",
    )


def _add_fix(commands: Commands) -> None:
    parser = add_verb(
        commands,
        "fix",
        _fix,
        does="repair the grid of an image or mask into a new file",
        example="medseg data fix mask.nii.gz -o fixed.nii.gz --resample-label --reference image.nii.gz",
    )
    parser.add_argument("path", metavar="PATH", type=Path, help="image, mask or DICOM series; it stays as it is")
    add_output(parser, metavar="OUT", does="the new file: .nii.gz, .nii, .nrrd or .mha; .png for a picture")
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("--copy-geometry", action="store_true", help="keep the values, take the grid of --reference")
    way.add_argument("--resample-label", action="store_true", help="put a mask onto the grid of --reference")
    way.add_argument("--flip", metavar="AXIS", choices=("x", "y", "z"), help="reverse one axis; grid of --reference")
    way.add_argument("--tilt", action="store_true", help="make the sheared grid of a tilted gantry rectangular")
    way.add_argument("--resample", metavar="MM", type=millimetres, help="space the slices of a series evenly")
    parser.add_argument("--reference", metavar="IMAGE", type=Path, help="the image whose grid is right")
    add_json(parser)


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
        "--seed", metavar="S", type=seed, default=0, help="the same seed gives the same files (default: 0)"
    )
    parser.add_argument("--kind", choices=("ct", "xray"), default="ct", help="CT volumes or chest X-rays (default: ct)")
    parser.add_argument("--dicom", action="store_true", help="write the images as DICOM too, into dicom/")
    parser.add_argument(
        "--wide", action="store_true", help="CT of all kinds of patients and scanners, some without any lung in view"
    )
    add_json(parser)


def _add_prepare(commands: Commands) -> None:
    parser = add_verb(
        commands,
        "prepare",
        _prepare,
        does="check a data set and split it by patient into training, validation and test",
        example=r"medseg data prepare pairs phantoms -o phantoms/datalist.json --patient-regex '([0-9]+)$'",
    )
    parser.add_argument("layout", metavar="LAYOUT", choices=LAYOUTS, help=", ".join(LAYOUTS))
    parser.add_argument("source", metavar="SRC", type=Path, help="the data set's folder")
    add_output(parser, metavar="DATALIST.json", does="the datalist to write; leakage.json comes beside it")
    parser.add_argument("--seed", metavar="S", type=seed, default=42, help="seed of the split (default: 42)")
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
    add_json(parser)


def _inspect(arguments: argparse.Namespace) -> int:
    from medseg.intake.inspection import inspect
    from medseg.intake.inspection_text import as_table, as_values

    entries = inspect(arguments.path, modality=arguments.modality)
    root = arguments.path
    say_result(arguments, as_table(entries, root=root), as_values(entries, root=root))
    return SOME_FAILED if any(entry.has_errors for entry in entries) else DONE


def _fix(arguments: argparse.Namespace) -> int:
    from medseg.intake.repair import refuse_in_place
    from medseg.outputs.images import write_image

    refuse_in_place(arguments.path, output=arguments.output)
    write_image(_repaired(arguments), arguments.output)
    return _done(arguments, f"repaired: {arguments.output}", {"output": arguments.output})


def _repaired(arguments: argparse.Namespace) -> Image:
    from medseg.intake import repair

    path, reference = arguments.path, arguments.reference
    if (arguments.tilt or arguments.resample is not None) != (reference is None):
        raise UsageError(
            f"got {'no ' if reference is None else ''}--reference",
            next_step="--copy-geometry, --resample-label and --flip need the image whose grid is right, others none",
        )
    if arguments.tilt:
        return repair.straighten(path)
    if arguments.resample is not None:
        return repair.space_evenly(path, slice_spacing_mm=arguments.resample)
    if arguments.flip is not None:
        return repair.flip(path, axis=arguments.flip, reference=reference)
    return (repair.copy_geometry if arguments.copy_geometry else repair.put_on_grid)(path, reference=reference)


def _phantom(arguments: argparse.Namespace) -> int:
    from medseg.datasets.phantom import write_phantoms

    write_phantoms(
        arguments.output,
        cases=arguments.cases,
        seed=arguments.seed,
        kind=arguments.kind,
        dicom=arguments.dicom,
        wide=arguments.wide,
    )
    values = {"output": arguments.output, "cases": arguments.cases, "kind": arguments.kind, "seed": arguments.seed}
    return _done(arguments, f"{arguments.cases} phantoms in {arguments.output}", values)


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
    return _done(arguments, f"datalist: {datalist}", _prepared(datalist) if arguments.json else {})


def _prepared(datalist: Path) -> dict[str, Any]:
    """What --json tells of a new datalist: how many cases each part has."""
    content = json.loads(datalist.read_text(encoding="utf-8"))
    parts = {part: len(content[part]) for part in ("training", "validation", "test")}
    return {"datalist": datalist, "cases": parts}


def millimetres(text: str) -> float:
    """A finite length above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a length in mm above 0")
    return value


def _done(arguments: argparse.Namespace, result: str, values: dict[str, Any]) -> int:
    say_result(arguments, result, values)
    return DONE
