"""A process that has imported all that training needs, and forks a child for each run: to be killed without waiting.

It reads a line of JSON for each child, {"words": [...], "out": FILE, "die": ...}, and answers with its number; {"wait":
NUMBER} is answered with its exit code, as subprocess has it. It computes nothing itself, so a fork is safe.

With {"die": n} a child ends by SIGKILL in the middle of writing its n-th file of torch: half of it is there.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

import ignite.distributed
import monai.bundle
import torch.utils.tensorboard
from training_parts import without_pictures

import medseg.training
import medseg.workflows.train
from medseg.cli import entry


def die_in_save(number: int) -> None:
    """Have this process killed within its `number`-th `torch.save`."""
    save, left = torch.save, [number]

    def half(state: Any, path: Any) -> None:
        save(state, path)
        left[0] -= 1
        if left[0] == 0:
            os.truncate(path, os.path.getsize(path) // 2)  # noqa: PTH202 (as a kill would leave it)
            os.kill(os.getpid(), signal.SIGKILL)

    torch.save = half


def run(order: dict[str, Any]) -> NoReturn:
    """The child: the command, or MONAI's own."""
    with Path(order["out"]).open("w", encoding="utf-8") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    if "die" in order:
        die_in_save(order["die"])
    code: Any = 70
    try:
        with without_pictures():
            if order.get("monai"):
                monai.bundle.run(**order["monai"])
                code = 0
            else:
                code = entry.main(order["words"])
    except SystemExit as stop:
        code = stop.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def serve() -> None:
    """Until standard input ends."""
    assert medseg.training
    assert medseg.workflows.train
    assert ignite.distributed
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            answer = os.waitstatus_to_exitcode(os.waitpid(order["wait"], 0)[1])
        elif (answer := os.fork()) == 0:
            run(order)
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
