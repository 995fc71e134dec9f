"""`medseg train`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from medseg.cli.arguments import (
    Commands,
    add_bundle,
    add_configuration,
    add_json,
    add_output,
    add_run_log,
    add_verb,
    overrides,
    refuse_twice,
)
from medseg.cli.console import DONE, SOME_FAILED, say_error, say_error_values, say_result
from medseg.cli.flags import add_datalist, add_device
from medseg.errors import TrainingError, user_error

_TOLD = ("status", "epoch", "epochs", "best_validation_dice", "best_epoch", "training_seconds")
"""What --json tells of run.json."""


def add_commands(commands: Commands) -> None:
    """Add `train`."""
    parser = add_verb(
        commands,
        "train",
        _train,
        does="train a bundle's network; the same run as python -m monai.bundle run training",
        example="medseg train ct_lung --datalist phantoms/datalist.json -o runs/first epochs=20\n"
        "medseg train ct_lung --datalist phantoms/datalist.json -o runs/first --resume epochs=40",
    )
    add_bundle(parser)
    add_datalist(parser)
    add_output(parser, metavar="RUN_DIR", does="folder of the run, itself a bundle: models/, tensorboard/, run.json")
    parser.add_argument("--resume", action="store_true", help="go on from models/last.pt of RUN_DIR")
    add_device(parser)
    add_configuration(parser)
    add_json(parser)
    add_run_log(parser)


def _train(arguments: argparse.Namespace) -> int:
    changes = _checked_overrides(arguments)
    from medseg.workflows import train

    try:
        folder = train(
            arguments.bundle,
            datalist=arguments.datalist,
            run_dir=arguments.output,
            resume=bool(changes.pop("resume", arguments.resume)),
            device=arguments.device,
            overlays=tuple(arguments.overlay),
            overrides=changes,
            trust=arguments.trust,
        )
    except Exception as error:
        stopped = user_error(error)
        if not isinstance(stopped, TrainingError):
            raise
        say_error(stopped, cause=error if arguments.debug else None)
        if arguments.json:
            say_error_values(stopped, SOME_FAILED)
        return SOME_FAILED
    values = _values(folder)
    far = "trained"
    if values["status"] != "done":
        far = f"not finished, --resume goes on behind epoch {values['epoch']} of {values['epochs']}"
    say_result(arguments, f"{far}: {folder}", values)
    return DONE


def _checked_overrides(arguments: argparse.Namespace) -> dict[str, Any]:
    changes = overrides(arguments.overrides)
    flags = {"datalist": "--datalist", "run_dir": "-o"}
    flags |= {"device": "--device"} if arguments.device is not None else {}
    flags |= {"resume": "--resume"} if arguments.resume else {}
    refuse_twice(changes, flags)
    return changes


def _values(folder: Path) -> dict[str, Any]:
    file = folder / "run.json"
    if not file.is_file():  # of a bundle without medseg's RunRecord
        return {"run": str(folder), "status": "done"}
    record = json.loads(file.read_text(encoding="utf-8"))
    return {"run": str(folder), **{name: record[name] for name in _TOLD}}
