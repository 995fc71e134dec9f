"""`medseg evaluate` and `medseg predict`: what is done with a bundle and many cases."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from medseg.cli.arguments import (
    Commands,
    Parser,
    add_bundle,
    add_configuration,
    add_json,
    add_output,
    add_run_log,
    add_verb,
    overrides,
    refuse_twice,
)
from medseg.cli.console import SOME_FAILED, say_error, say_error_values, say_report
from medseg.cli.flags import add_case_options, add_datalist, path_or_address
from medseg.cli.scores import add_strata
from medseg.errors import RunError

CASE_OPTIONS = ("resume", "jobs", "device", "tta", "precision", "backend", "save_probabilities")
FORMATS = (
    *("nifti", "nrrd", "mha", "png"),
    *("dicom-seg", "dicom-seg-deflated", "dicom-seg-labelmap", "rtstruct", "sr"),
)


def add_commands(commands: Commands) -> None:
    """Add `evaluate` and `predict`."""
    _add_evaluate(commands)
    _add_predict(commands)


def _add_evaluate(commands: Commands) -> None:
    parser = add_verb(
        commands,
        "evaluate",
        _evaluate,
        does="segment the test cases of a datalist and score them",
        example="medseg evaluate runs/first --datalist phantoms/datalist.json -o scores",
    )
    add_bundle(parser)
    add_datalist(parser)
    add_output(parser, does="folder for scores.csv, summary.json, masks and pictures")
    add_strata(parser)
    _add_common(parser)


def _add_predict(commands: Commands) -> None:
    parser = add_verb(
        commands,
        "predict",
        _predict,
        does="segment new images: one mask per case, on the image's own grid",
        example="medseg predict ct_lung -i new_ct_series -o masks\n"
        "medseg predict cxr_heart_lung -i xrays -o masks --device cpu --jobs 3 --resume",
    )
    add_bundle(parser)
    parser.add_argument(
        "-i",
        "--input",
        metavar="FILE_OR_DIR",
        type=path_or_address,
        required=True,
        help="an image, a folder of images, a DICOM series folder, or a folder of such folders; or a series in a PACS: "
        "dicomweb://HOST[:PORT][/prefix]/studies/UID[/series/UID], dicomwebs:// for TLS",
    )
    parser.add_argument(
        "--series",
        metavar="UID|NUMBER|DESCRIPTION|auto",
        help="which DICOM series to take of each study; auto: of the bundle's modality, no localiser or secondary "
        "capture, original before derived, then the most slices",
    )
    add_output(parser, does="folder for masks, previews, manifests and report.json")
    parser.add_argument(
        "--format",
        metavar="FORMAT",
        choices=FORMATS,
        nargs="+",
        action="extend",
        dest="formats",
        help=f"write each label map as one or several of {', '.join(FORMATS)}, besides its mask",
    )
    parser.add_argument(
        "--store", action="store_true", help="store the label maps as DICOM SEG in the PACS that the series came from"
    )
    _add_common(parser)


def _add_common(parser: Parser) -> None:
    add_case_options(parser)
    add_configuration(parser)
    add_json(parser)
    add_run_log(parser)


def _evaluate(arguments: argparse.Namespace) -> int:
    changes = _changes(arguments, datalist="--datalist", output_dir="-o")
    from medseg.workflows import CaseOptions, evaluate

    with _midway(arguments) as stopped:
        report = evaluate(
            arguments.bundle,
            datalist=arguments.datalist,
            output_dir=arguments.output,
            overlays=tuple(arguments.overlay),
            overrides=changes,
            trust=arguments.trust,
            options=CaseOptions(**_chosen(arguments)),
            strata=arguments.strata,
        )
    return SOME_FAILED if stopped else say_report(arguments, report, scored=True)


def _predict(arguments: argparse.Namespace) -> int:
    asked = {"series": "--series"} if arguments.series is not None else {}
    asked |= {"formats": "--format"} if arguments.formats is not None else {}
    changes = _changes(arguments, input="-i", output_dir="-o", **asked)
    changes |= {} if arguments.series is None else {"series": arguments.series}
    from medseg.workflows import CaseOptions, predict

    with _midway(arguments) as stopped:
        report = predict(
            arguments.bundle,
            inputs=arguments.input,
            output_dir=arguments.output,
            overlays=tuple(arguments.overlay),
            overrides=changes,
            trust=arguments.trust,
            options=CaseOptions(**_chosen(arguments), formats=arguments.formats),
            store=arguments.store,
        )
    return SOME_FAILED if stopped else say_report(arguments, report)


def _chosen(arguments: argparse.Namespace) -> dict[str, Any]:
    """The flags for many cases by the names of `CaseOptions`."""
    return {name: getattr(arguments, name) for name in CASE_OPTIONS}


def _changes(arguments: argparse.Namespace, **flags: str) -> dict[str, Any]:
    """The `key=value` words; none of them may stand for one of `flags`, or for one of many cases that is given too."""
    changes = overrides(arguments.overrides)
    chosen = {name for name, value in _chosen(arguments).items() if value is not None}
    refuse_twice(changes, flags | {name: f"--{name.replace('_', '-')}" for name in chosen})
    return changes


@contextmanager
def _midway(arguments: argparse.Namespace) -> Iterator[list[RunError]]:
    """Tell of a run that stopped midway, which is no wrong input; holds the error then."""
    stopped: list[RunError] = []
    try:
        yield stopped
    except RunError as error:
        say_error(error, cause=error if arguments.debug else None)
        if arguments.json:
            say_error_values(error, SOME_FAILED)
        stopped.append(error)
