"""The entry point: from the command line to a handler, and from what the handler raises to an exit code."""

from __future__ import annotations

import argparse
import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from medseg import __version__
from medseg.cli import (
    bundle,
    cases,
    completion,
    config,
    data,
    failure_flags,
    pacs,
    postprocess,
    report,
    review,
    scores,
    train,
)
from medseg.cli.arguments import Parser, UsageError
from medseg.cli.console import (
    INTERRUPTED,
    OUR_BUG,
    PIPE_CLOSED,
    WRONG_INPUT,
    complain,
    say_error,
    say_error_values,
)
from medseg.cli.log import run_command, set_up_logging
from medseg.errors import user_error
from medseg.files import is_utf8
from medseg.signals import TERMINATED

EXIT_CODES = """\
exit codes:
  0    done
  1    at least one case failed, or the run stopped midway; each is named
  2    wrong input: nothing was started
  70   a bug in medseg: the traceback says where
  130  interrupted
  143  ended by SIGTERM; --resume goes on
"""


def script() -> NoReturn:
    """The `medseg` command: run `main` and end the process.

    Who stops a run does not wait until Python has taken down torch, which takes seconds on a busy machine and is not
    safe while a thread still computes: everything is written, so the process just ends.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name of a file that the screen cannot show, as standard error does
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = main()
    except SystemExit as stop:  # help, version, SIGTERM
        code = stop.code if isinstance(stop.code, int) else WRONG_INPUT
    if code in (INTERRUPTED, TERMINATED):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code.

    Parameters
    ----------
    argv
        The arguments after the program's name; those of the process when None.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        arguments = parse(words)
        set_up_logging(quiet=arguments.quiet, debug=arguments.debug)
        code = run_command(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        return _reader_left()
    except Exception as error:  # noqa: BLE001 (the one place where every failure becomes an exit code)
        code = _exit_code(error, debug="--debug" in words)
        if "--json" in words:
            say_error_values(user_error(error) or error, code)
    return code


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The arguments of one command; `key=value` may stand anywhere after the commands that take them."""
    _refuse_other_encodings(words)
    arguments, extra = new_parser().parse_known_args(words)
    takes_overrides = hasattr(arguments, "overrides")
    unknown = [word for word in extra if word.startswith("-") or not takes_overrides]
    if unknown:
        raise UsageError(
            f"unknown argument {unknown[0]!r}",
            next_step=f"see {arguments.parser.prog} --help" + _override_hint(unknown[0], takes_overrides),
        )
    if takes_overrides:
        arguments.overrides = [*arguments.overrides, *extra]
    return arguments


def _refuse_other_encodings(words: Sequence[str]) -> None:
    """A path goes into manifests and lists: what is not UTF-8 could not be written there, at the end of a run."""
    wrong = next((word for word in words if not is_utf8(word)), None)
    if wrong is not None:
        raise UsageError(
            "a word of the command line is not UTF-8", got=os.fsencode(wrong), next_step="rename the file or folder"
        )


def _override_hint(word: str, takes_overrides: bool) -> str:
    named = word.lstrip("-")
    if not takes_overrides or not word.startswith("--"):
        return ""
    return f"; values of the bundle are set as {named if '=' in named else f'{named}=VALUE'}"


def new_parser() -> Parser:
    """The parser of the whole command line; nothing heavy is imported for it."""
    parser = Parser(
        prog="medseg",
        description="Medical images in, segmentations that people can trust out.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"medseg {__version__}")
    parser.set_defaults(quiet=False, debug=False, json=False, run_log=False)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    data.add_commands(commands)
    train.add_commands(commands)
    cases.add_commands(commands)
    scores.add_commands(commands)
    failure_flags.add_commands(commands)
    postprocess.add_commands(commands)
    bundle.add_commands(commands)
    config.add_commands(commands)
    pacs.add_commands(commands)
    review.add_commands(commands)
    report.add_commands(commands)
    completion.add_commands(commands)
    return parser


def _exit_code(error: Exception, *, debug: bool) -> int:
    refused = user_error(error)
    if refused is None:
        traceback.print_exception(error)
        sys.stderr.write("medseg: this is a bug in medseg, not in your input: please report the lines above\n")
        return OUR_BUG
    say_error(refused, cause=error if debug else None)
    return WRONG_INPUT


def _reader_left() -> int:
    """The reader of our output has gone (`medseg bundle list | head -1`): say nothing more, also not at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return PIPE_CLOSED
