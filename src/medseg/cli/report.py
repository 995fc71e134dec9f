"""`medseg tensorboard`, `medseg report`: look at what was trained, evaluated and predicted."""

from __future__ import annotations

import argparse
import sys
import threading
from pathlib import Path

from medseg.cli.arguments import Commands, add_verb, positive
from medseg.cli.console import DONE, say


def add_commands(commands: Commands) -> None:
    """Add `tensorboard`."""
    _add_tensorboard(commands)


def _add_tensorboard(commands: Commands) -> None:
    parser = add_verb(
        commands,
        "tensorboard",
        _tensorboard,
        does="open TensorBoard on the training runs below a folder, until Ctrl-C",
        example="medseg tensorboard runs",
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="a run's folder, or a folder with runs below it")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: 127.0.0.1, this machine)")
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
