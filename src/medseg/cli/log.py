"""The log: on the screen what concerns the user, in a run's folder all of it."""

from __future__ import annotations

import argparse
import logging
import logging.handlers
import platform
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TextIO

from medseg import __version__
from medseg.errors import RunError, TrainingError, user_error
from medseg.processes import is_first
from medseg.terminal import Colour, coloured

logger = logging.getLogger(__name__)

LOG_FILE = "log.txt"
KEPT_LOGS, LOG_BYTES = 9, 16 << 20
"""log.txt and up to nine older ones, log.txt.1 the newest of them; none grows beyond 16 MiB."""

PLAIN = "%(message)s"
FULL = "%(asctime)s %(levelname)s %(name)s: %(message)s"
LIBRARIES_LOGGED = ("medseg", "monai", "ignite", "py.warnings")
"""Whose records go to the file. Others read files of patients (pydicom, pynetdicom, PIL, nibabel, highdicom) or talk to
servers (urllib3, requests): what they log may hold a name, or the UID of a study. At DEBUG torch logs each step of each
gradient, on a handler of its own."""

UNCONCERNED: dict[str, int] = {
    "monai.data.nvimgcodec_pydicom_plugin": logging.ERROR,
    "monai.bundle.workflows": logging.ERROR,
    "ignite.engine.engine": logging.CRITICAL,
}
"""Loggers and the level from which they are heard. MONAI says at import that a DICOM decoder for GPUs is missing, which
our reader never uses, and that logging is not configured from a file, which is what we want; ignite logs an exception
twice before it raises it, and it is told once, by whoever catches it."""

ON_STDOUT = (
    *("monai.apps", "monai.bundle.scripts", "monai.bundle.workflows", "monai.networks.utils", "monai.inferers.inferer"),
    *("monai.transforms.compose", "monai.data.image_writer", "monai.handlers.mlflow_handler"),
)
"""Loggers that MONAI gives a handler on standard output, where results belong, unless they are there before it."""

IGNORED_WARNINGS: tuple[tuple[str, type[Warning], str], ...] = (
    # MONAI: the decoder for GPUs again, as a warning.
    ("NvImgCodecPydicomReader", UserWarning, ""),
    # ignite imports torch.distributed.optim, which scripts its functions with what torch itself deprecates.
    (r"`torch\.jit\.[a-z_]+` is deprecated", DeprecationWarning, "torch"),
)
"""(beginning of the message, category, module) of the warnings of libraries that no user can act on."""


class ScreenFormatter(logging.Formatter):
    """Warnings yellow, errors red, where standard error shows colours."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one text."""
        text = super().format(record)
        colour: Colour = "red" if record.levelno >= logging.ERROR else "yellow"
        return text if record.levelno < logging.WARNING else coloured(text, colour, stream=sys.stderr)


class ScreenHandler(logging.StreamHandler[TextIO]):
    """A line of its own for each record: a progress bar makes way and comes back below."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record."""
        bars = sys.modules.get("tqdm")  # where nobody has imported it, no bar is shown
        with nullcontext() if bars is None else bars.tqdm.external_write_mode(file=self.stream):
            super().emit(record)


def set_up_logging(*, quiet: bool, debug: bool) -> None:
    """Log to standard error: ours from INFO (WARNING if quiet, DEBUG if asked), others' from WARNING (INFO)."""
    handler = ScreenHandler(sys.stderr)
    handler.setLevel(logging.NOTSET if debug else logging.WARNING if quiet else logging.INFO)
    handler.setFormatter(ScreenFormatter(FULL if debug else PLAIN))
    handler.addFilter(_for_debugging if debug else _concerns)
    logging.basicConfig(level=logging.INFO if debug else logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("medseg").setLevel(logging.DEBUG if debug else logging.INFO)
    for name in (*ON_STDOUT, *UNCONCERNED):
        logger_of_library = logging.getLogger(name)
        logger_of_library.removeFilter(_concerns)
        if not debug:
            logger_of_library.addFilter(_concerns)  # a level would not last: MONAI sets it when it is imported
    if not debug:
        for message, category, module in IGNORED_WARNINGS:
            warnings.filterwarnings("ignore", message=message, category=category, module=module)


def _concerns(record: logging.LogRecord) -> bool:
    ours = record.name.partition(".")[0] == "medseg"
    return ours or record.levelno >= UNCONCERNED.get(record.name, logging.WARNING)


def _for_debugging(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] == "medseg" or record.levelno >= logging.INFO


class RunLog(logging.handlers.RotatingFileHandler):
    """log.txt in a folder that the run itself makes: what is logged before waits in memory.

    A command that is refused makes no folder, and leaves no log in one of its user's. A log.txt that is there becomes
    log.txt.1.

    Parameters
    ----------
    folder
        Where the results go.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / LOG_FILE
        super().__init__(path, maxBytes=LOG_BYTES, backupCount=KEPT_LOGS, encoding="utf-8", delay=True)
        self.setFormatter(logging.Formatter(FULL))
        self.addFilter(_may_be_kept)
        self._folder, self._waiting, self._rotated = folder, list[logging.LogRecord](), False
        self._is_theirs = folder.is_dir() and not path.exists()

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, or keep it until the folder is there."""
        self._waiting.append(record)
        if not self._folder.is_dir():
            return
        if not self._rotated:
            self._rotated = True
            if (self._folder / LOG_FILE).exists():
                self.doRollover()
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            super().emit(one)

    def withdraw(self) -> None:
        """Take the log away again from a folder that was there before and had none: it may hold images."""
        if self._is_theirs:
            self.close()
            (self._folder / LOG_FILE).unlink(missing_ok=True)


def _may_be_kept(record: logging.LogRecord) -> bool:
    """Records of named libraries; warnings only of these, by the file that they name first."""
    if record.name.partition(".")[0] not in {name.partition(".")[0] for name in LIBRARIES_LOGGED}:
        return False
    if record.name != "py.warnings":
        return True
    place = record.getMessage().partition(": ")[0].replace("\\", "/")
    return any(f"/{name}/" in place for name in LIBRARIES_LOGGED)


def run_command(arguments: argparse.Namespace) -> int:
    """Run the command's handler and give its exit code; log.txt, where it has one, tells what ran and how it ended.

    No patient data: of the flags only switches and numbers are told, and of what failed its kind and place in the code,
    with the message where it is one of ours.
    """
    if not (arguments.run_log and is_first()):  # of several processes the first keeps the log
        return int(arguments.handler(arguments))
    log = RunLog(arguments.output)
    with _logging_to(log):
        python, machine = platform.python_version(), platform.platform()
        logger.debug("%s; medseg %s, Python %s, %s", arguments.parser.prog, __version__, python, machine)
        logger.debug("flags: %s", _flags(arguments))
        try:
            code = int(arguments.handler(arguments))
        except BaseException as error:
            logger.debug("%s", _told(error))
            if _nothing_was_started(error):
                log.withdraw()
            raise
        logger.debug("exit code %d", code)
        return code


@contextmanager
def _logging_to(handler: logging.Handler) -> Iterator[None]:
    """Send to `handler` too what the named libraries log and warn of, from DEBUG on."""
    levels = {name: logging.getLogger(name).level for name in LIBRARIES_LOGGED}
    for name in levels:
        logging.getLogger(name).setLevel(logging.DEBUG)
    logging.getLogger().addHandler(handler)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        logging.getLogger().removeHandler(handler)
        handler.close()
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _flags(arguments: argparse.Namespace) -> str:
    """Switches, numbers and names of overrides: a path, or a value of an override, may tell of a patient."""
    given = [f"{name}={value}" for name, value in vars(arguments).items() if isinstance(value, int | float) and value]
    return ", ".join(given + [f"{word.partition('=')[0]}=..." for word in getattr(arguments, "overrides", ())])


def _nothing_was_started(error: BaseException) -> bool:
    known = user_error(error)
    return known is not None and not isinstance(known, RunError | TrainingError)


def _told(error: BaseException) -> str:
    ours = user_error(error)
    if ours is not None:
        return f"refused: {type(ours).__name__}: {ours}"
    frames = "".join(traceback.format_tb(error.__traceback__))
    return f"stopped by {type(error).__name__}:\n{frames}"
