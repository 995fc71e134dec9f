"""`medseg train`, `evaluate`, `predict`, `score`: what is done with a bundle and cases."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.cli.arguments import (
    Commands,
    UsageError,
    add_bundle,
    add_configuration,
    add_output,
    add_verb,
    overrides,
    positive,
)
from medseg.cli.console import DONE, SOME_FAILED, say, say_error, say_report, say_scores
from medseg.errors import RunError, TrainingError, user_error

if TYPE_CHECKING:
    from medseg.outputs import Report

CASE_OPTIONS = ("resume", "jobs", "device", "tta", "precision", "backend", "save_probabilities")
FORMATS = (
    *("nifti", "nrrd", "mha", "png"),
    *("dicom-seg", "dicom-seg-deflated", "dicom-seg-labelmap", "rtstruct", "sr"),
)


def add_commands(commands: Commands) -> None:
    """Add `train`, `evaluate`, `predict` and `score`."""
    _add_train(commands)
    _add_evaluate(commands)
    _add_predict(commands)
    _add_score(commands)


def _add_train(commands: Commands) -> None:
    parser = add_verb(
        commands,
        "train",
        _train,
        does="train a bundle's network; the same run as python -m monai.bundle run training",
        example="medseg train ct_lung --datalist phantoms/datalist.json -o runs/first epochs=20",
    )
    add_bundle(parser)
    _add_datalist(parser)
    add_output(parser, metavar="RUN_DIR", does="folder of the run, itself a bundle: models/, tensorboard/, run.json")
    parser.add_argument("--resume", action="store_true", help="go on from models/last.pt of RUN_DIR")
    add_configuration(parser)


def _add_evaluate(commands: Commands) -> None:
    parser = add_verb(
        commands,
        "evaluate",
        _evaluate,
        does="segment the test cases of a datalist and score them",
        example="medseg evaluate runs/first --datalist phantoms/datalist.json -o scores",
    )
    add_bundle(parser)
    _add_datalist(parser)
    add_output(parser, does="folder for scores.csv, summary.json, masks and pictures")
    _add_case_options(parser)
    add_configuration(parser)


def _add_predict(commands: Commands) -> None:
    parser = add_verb(
        commands,
        "predict",
        _predict,
        does="segment new images: one mask per case, on the image's own grid",
        example="medseg predict ct_lung -i new_ct_series -o masks",
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
    _add_case_options(parser)
    add_configuration(parser)


def _add_score(commands: Commands) -> None:
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


def _add_case_options(parser: argparse.ArgumentParser) -> None:
    """The flags for many cases; each sets the id of its name in the bundle's configuration."""
    parser.add_argument(
        "--resume",
        action="store_true",
        default=None,
        help="skip the cases that were done with the same input, weights and settings, and do the others",
    )
    parser.add_argument("--jobs", metavar="N", type=positive, help="cases in flight at once (default: 2)")
    parser.add_argument("--device", metavar="DEVICE", type=device, help="cpu, cuda or cuda:1 (default: a GPU if any)")
    parser.add_argument("--tta", action="store_true", default=None, help="average over mirrored images: slower, calmer")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), help="of the network (default: auto)")
    parser.add_argument("--backend", metavar="NAME", help="what runs the network: torch, openvino (default: torch)")
    parser.add_argument(
        "--save-probabilities",
        action="store_true",
        default=None,
        help="write the probabilities of each class as 8-bit files",
    )


def device(text: str) -> str:
    """cpu, cuda or cuda:N; whether it is there is seen when the command runs."""
    if not re.fullmatch(r"cpu|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected cpu, cuda or cuda:N")
    return text


def path_or_address(text: str) -> Path | str:
    """A path; a DICOMweb address stays text, as a path has no double slash."""
    from medseg.dicom.web_address import is_web_address

    return text if is_web_address(text) else Path(text)


def _add_datalist(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--datalist", metavar="FILE", type=Path, required=True, help="the cases, as medseg data prepare writes them"
    )


def _train(arguments: argparse.Namespace) -> int:
    changes = overrides(arguments.overrides)
    from medseg.workflows import train

    try:
        folder = train(
            arguments.bundle,
            datalist=arguments.datalist,
            run_dir=arguments.output,
            resume=arguments.resume,
            overlays=tuple(arguments.overlay),
            overrides=changes,
        )
    except Exception as error:
        stopped = user_error(error)
        if not isinstance(stopped, TrainingError):
            raise
        say_error(stopped, cause=error if arguments.debug else None)
        return SOME_FAILED
    if not arguments.quiet:
        say(f"trained: {folder}")
    return DONE


def _evaluate(arguments: argparse.Namespace) -> int:
    changes = _changes(arguments)
    from medseg.workflows import CaseOptions, evaluate

    with _midway(arguments) as stopped:
        report = evaluate(
            arguments.bundle,
            datalist=arguments.datalist,
            output_dir=arguments.output,
            overlays=tuple(arguments.overlay),
            overrides=changes,
            options=CaseOptions(**_chosen(arguments)),
        )
    return SOME_FAILED if stopped else _say_scored(report, arguments)


def _predict(arguments: argparse.Namespace) -> int:
    changes = _changes(arguments) | ({} if arguments.series is None else {"series": arguments.series})
    if arguments.formats is not None and "formats" in changes:
        raise UsageError("--format and formats= are both given", next_step="leave one of them out")
    from medseg.workflows import CaseOptions, predict

    with _midway(arguments) as stopped:
        report = predict(
            arguments.bundle,
            inputs=arguments.input,
            output_dir=arguments.output,
            overlays=tuple(arguments.overlay),
            overrides=changes,
            options=CaseOptions(**_chosen(arguments), formats=arguments.formats),
            store=arguments.store,
        )
    return SOME_FAILED if stopped else say_report(report, folder=arguments.output, quiet=arguments.quiet)


def _chosen(arguments: argparse.Namespace) -> dict[str, Any]:
    """The flags for many cases by the names of `CaseOptions`."""
    return {name: getattr(arguments, name) for name in CASE_OPTIONS}


def _changes(arguments: argparse.Namespace) -> dict[str, Any]:
    """The `key=value` words; none of them may stand for a flag that is given too."""
    changes = overrides(arguments.overrides)
    twice = next((name for name, value in _chosen(arguments).items() if value is not None and name in changes), None)
    if twice is not None:
        raise UsageError(f"--{twice.replace('_', '-')} and {twice}= are both given", next_step="leave one of them out")
    return changes


@contextmanager
def _midway(arguments: argparse.Namespace) -> Iterator[list[RunError]]:
    """Tell of a run that stopped midway, which is no wrong input; holds the error then."""
    stopped: list[RunError] = []
    try:
        yield stopped
    except RunError as error:
        say_error(error, cause=error if arguments.debug else None)
        stopped.append(error)


def _score(arguments: argparse.Namespace) -> int:
    from medseg.workflows import score

    report = score(arguments.predictions, arguments.truth, output_dir=arguments.output)
    return _say_scored(report, arguments)


def _say_scored(report: Report, arguments: argparse.Namespace) -> int:
    code = say_report(report, folder=arguments.output, quiet=arguments.quiet)
    if len(report.cases) > len(report.failed) and not arguments.quiet:
        say_scores(arguments.output)
    return code
