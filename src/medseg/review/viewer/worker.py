"""The child process that holds the networks: one image at a time, asked and told in lines of JSON.

It reads requests from standard input and tells on standard output what it is at; whatever a library prints goes to
standard error instead. It ends when its standard input does, so that it never outlives the viewer.

Requests: ``{"load": bundle}`` and ``{"job", "bundle", "image", "id", "output"}``. Answers: ``{"ready": true}``,
``{"job", "stage"}``, and last ``{"job", "done": {kind: file}}`` or ``{"job", "failed": reason}``.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import IO, TYPE_CHECKING, Any

from medseg.errors import user_error

if TYPE_CHECKING:
    from medseg.workflows.service import LoadedBundle

logger = logging.getLogger("medseg.review")

LOADED_AT_MOST = 3
"""Networks kept in memory; the one that was not used for longest goes first."""

_NICENESS = 2


class Worker:
    """Loads bundles when they are first asked for, and segments.

    Parameters
    ----------
    answers
        Where answers are written.
    folder
        Where it may write for the time of loading; the viewer removes it.
    """

    def __init__(self, answers: IO[str], *, folder: Path) -> None:
        self._answers, self._folder = answers, folder
        self._loaded: OrderedDict[str, LoadedBundle] = OrderedDict()

    def tell(self, **answer: object) -> None:
        """Write one answer."""
        self._answers.write(json.dumps(answer) + "\n")
        self._answers.flush()

    def answer(self, request: Mapping[str, Any]) -> None:
        """Do what a request asks; whatever it raises is told, and the next request finds the worker as it was."""
        job = request.get("job")
        try:
            if job is None:
                self._bundle(str(request["load"]))
            else:
                self._segment(request)
        except Exception as error:
            known = user_error(error)
            if known is None:
                logger.exception("a bug in medseg, not in the image")
            elif job is None:  # loaded ahead: no job shows it
                logger.warning("medseg: %s", known)
            self.tell(job=job, failed=str(known) if known is not None else f"{type(error).__name__}: {error}")

    def _segment(self, request: Mapping[str, Any]) -> None:
        job = request["job"]
        self.tell(job=job, stage="load")
        bundle = self._bundle(str(request["bundle"]))
        report = bundle.segment(
            Path(request["image"]),
            case_id=request["id"],
            output_dir=Path(request["output"]),
            watch=lambda stage: self.tell(job=job, stage=stage),
        )
        if report.reason is not None:
            self.tell(job=job, failed=report.reason)
        else:
            self.tell(job=job, done=dict(report.outputs), notes=list(report.notes))

    def _bundle(self, path: str) -> LoadedBundle:
        if path not in self._loaded:
            from medseg.workflows.service import LoadedBundle

            with tempfile.TemporaryDirectory(prefix="load-", dir=self._folder) as folder:
                self._loaded[path] = LoadedBundle(path, folder=Path(folder))
            while len(self._loaded) > LOADED_AT_MOST:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(path)
        return self._loaded[path]


def main(folder: str) -> None:
    """Answer requests until standard input ends; `folder` is the viewer's own."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    if hasattr(os, "nice"):
        os.nice(_NICENESS)  # the page goes first
    requests: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    worker = Worker(answers, folder=Path(folder))
    import medseg.workflows.service  # noqa: F401 (torch and MONAI take seconds: before the first request, not after it)

    worker.tell(ready=True)
    while True:
        worker.answer(json.loads(requests.get()))


def _listen(requests: SimpleQueue[str]) -> None:
    for line in sys.stdin:
        requests.put(line)
    os._exit(0)  # the viewer is gone; a network that still computes holds nothing up


if __name__ == "__main__":
    main(sys.argv[1])
