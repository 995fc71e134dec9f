"""`medseg train`, `evaluate`, `predict`, `score`: what is done with a bundle and cases."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.cli.arguments import Commands, add_bundle, add_configuration, add_output, add_verb, overrides
from medseg.cli.console import DONE, SOME_FAILED, say, say_error, say_report, say_scores
from medseg.errors import TrainingError, user_error

if TYPE_CHECKING:
    from medseg.outputs import Report


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
        type=Path,
        required=True,
        help="an image, a folder of images, a DICOM series folder, or a folder of such folders",
    )
    add_output(parser, does="folder for masks, previews, manifests and report.json")
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
    changes = overrides(arguments.overrides)
    from medseg.workflows import evaluate

    report = evaluate(
        arguments.bundle,
        datalist=arguments.datalist,
        output_dir=arguments.output,
        overlays=tuple(arguments.overlay),
        overrides=changes,
    )
    return _say_scored(report, arguments)


def _predict(arguments: argparse.Namespace) -> int:
    changes = overrides(arguments.overrides)
    from medseg.workflows import predict

    report = predict(
        arguments.bundle,
        inputs=arguments.input,
        output_dir=arguments.output,
        overlays=tuple(arguments.overlay),
        overrides=changes,
    )
    return say_report(report, folder=arguments.output, quiet=arguments.quiet)


def _score(arguments: argparse.Namespace) -> int:
    from medseg.workflows import score

    report = score(arguments.predictions, arguments.truth, output_dir=arguments.output)
    return _say_scored(report, arguments)


def _say_scored(report: Report, arguments: argparse.Namespace) -> int:
    code = say_report(report, folder=arguments.output, quiet=arguments.quiet)
    if len(report.cases) > len(report.failed) and not arguments.quiet:
        say_scores(arguments.output)
    return code
