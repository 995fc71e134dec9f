"""`medseg tensorboard`, `medseg report`: look at what was trained, evaluated and predicted."""

from __future__ import annotations

import argparse
import sys
import threading
from pathlib import Path

from medseg.cli.arguments import Commands, add_json, add_output, add_verb, positive
from medseg.cli.console import DONE, say, say_result


def add_commands(commands: Commands) -> None:
    """Add `report` and `tensorboard`."""
    _add_report(commands)
    _add_tensorboard(commands)


def _add_report(commands: Commands) -> None:
    parser = add_verb(
        commands,
        "report",
        _report,
        does="one HTML file on a training run, an evaluation, scores or predictions, to read, print and send",
        example="medseg report runs/first scores -o report.html\nmedseg report masks -o masks.html",
    )
    parser.add_argument(
        "folders",
        metavar="DIR",
        type=Path,
        nargs="+",
        help="a folder that medseg train, evaluate, predict or score wrote, or a bundle's; several make one report",
    )
    add_output(parser, metavar="FILE.html", does="the file to write; replaced if it is there")
    parser.add_argument(
        "--datalist", metavar="FILE", type=Path, help="data of an evaluation, for its data sheet; a run has its own"
    )
    parser.add_argument(
        "--cases",
        metavar="N",
        type=positive,
        default=3,
        help="worst, median and best cases to show of each (default: 3)",
    )
    parser.add_argument(
        "--no-images",
        action="store_true",
        help="do not read the images of the datalist: no fingerprint, no search for images that stand twice",
    )
    parser.add_argument(
        "--save-plots", action="store_true", help="draw training.png and training.svg in the runs' folders again"
    )
    add_json(parser)


def _add_tensorboard(commands: Commands) -> None:
    parser = add_verb(
        commands,
        "tensorboard",
        _tensorboard,
        does="open TensorBoard on the training runs below a folder, until Ctrl-C",
        example="medseg tensorboard runs",
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="a run's folder, or a folder with runs below it")
    parser.add_argument(
        "--host", metavar="ADDRESS", default="127.0.0.1", help="address to listen at (default: 127.0.0.1, this machine)"
    )
    parser.add_argument("--port", metavar="N", type=positive, help="port to listen at (default: from 6006 on)")


def _tensorboard(arguments: argparse.Namespace) -> int:
    from medseg.review.tensorboard import log_folder, serve

    folder, runs = log_folder(arguments.folder)
    address = serve(folder, host=arguments.host, port=arguments.port)
    if not arguments.quiet:
        say(f"{runs} {'run' if runs == 1 else 'runs'} of {arguments.folder} at {address} (Ctrl-C ends it)")
        sys.stdout.flush()  # who reads it through a pipe is waiting for the address
    try:
        threading.Event().wait()
    except KeyboardInterrupt:  # how it is meant to end
        return DONE
    return DONE


def _report(arguments: argparse.Namespace) -> int:
    from medseg.review.report import save_plots, write_report

    path = write_report(
        arguments.folders,
        arguments.output,
        datalist=arguments.datalist,
        each=arguments.cases,
        read_images=not arguments.no_images,
    )
    plots = save_plots(arguments.folders) if arguments.save_plots else []
    text = "\n".join([f"report: {path}", *(f"plot: {plot}" for plot in plots)])
    say_result(arguments, text, {"report": str(path), "plots": [str(plot) for plot in plots]})
    return DONE
