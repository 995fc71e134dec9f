"""What the commands share: a parser that raises, flags, and `key=value` overrides."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from medseg.errors import MedsegError

Commands: TypeAlias = "argparse._SubParsersAction[Parser]"
Handler: TypeAlias = Callable[[argparse.Namespace], int]

_SCIENTIFIC = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")


class UsageError(MedsegError):
    """A command line that does not say what to do."""


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are MedsegErrors, so that every wrong input is told in the same way."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of leaving the process."""
        raise UsageError(message, next_step=_known_bundles(message) + f"see {self.prog} --help")


def add_verb(commands: Commands, name: str, handler: Handler, *, does: str, example: str) -> Parser:
    """A new command with the flags that all of them have; several examples stand on lines of their own."""
    parser = commands.add_parser(
        name,
        help=does,
        description=does[0].upper() + does[1:] + ".",
        epilog="example:\n" + "\n".join(f"  {line}" for line in example.splitlines()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(handler=handler, parser=parser)
    parser.add_argument("--quiet", action="store_true", help="say nothing but warnings and errors")
    parser.add_argument("--debug", action="store_true", help="log more; show the traceback of an error")
    return parser


def add_json(parser: Parser) -> None:
    """The flag --json, for commands that hand their result to `console.say_result`."""
    parser.add_argument(
        "--json", action="store_true", help="give the result as one JSON document on standard output, for machines"
    )


def add_run_log(parser: Parser) -> None:
    """Make the command write log.txt, everything at level DEBUG, into the folder of its --output."""
    parser.set_defaults(run_log=True)


def add_noun(commands: Commands, name: str, *, does: str) -> Commands:
    """A new command that has commands of its own."""
    parser = commands.add_parser(name, help=does, description=does[0].upper() + does[1:] + ".", allow_abbrev=False)
    return parser.add_subparsers(title="commands", metavar="COMMAND", required=True)


def add_bundle(parser: Parser) -> None:
    """The argument BUNDLE."""
    parser.add_argument("bundle", metavar="BUNDLE", help="a bundle's name or folder, or the folder of a training run")


def add_output(parser: Parser, *, metavar: str = "DIR", does: str) -> None:
    """The flag -o, --output."""
    parser.add_argument("-o", "--output", metavar=metavar, type=Path, required=True, help=does)


def add_configuration(parser: Parser) -> None:
    """The ways to change a bundle's configuration for one command."""
    parser.add_argument(
        "--overlay",
        metavar="NAME",
        action="append",
        default=[],
        help="merge configs/NAME.yaml of the bundle last (smoke: a few seconds' work); can be given again",
    )
    parser.add_argument(
        "--trust",
        action="store_true",
        help="let the bundle do all it wants, now and until its files change (medseg bundle trust shows what that is)",
    )
    parser.add_argument(
        "overrides",
        metavar="key=value",
        nargs="*",
        default=[],
        help="change a value of the configuration: epochs=3, train::trainer::max_epochs=3; values are YAML",
    )


def positive(text: str) -> int:
    """A whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a whole number from 1 on")
    return int(text)


def seed(text: str) -> int:
    """A whole number from 0 on, as generators take it."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a whole number from 0 on")
    return int(text)


def overrides(words: Sequence[str]) -> dict[str, Any]:
    """`key=value` words as a dictionary; values are YAML, where `1e-4` is a number too.

    Raises
    ------
    UsageError
        No `=`, no key, a key twice, or a value that is not YAML.
    """
    found: dict[str, Any] = {}
    for word in words:
        key, sign, text = word.partition("=")
        if not key or not sign:
            raise UsageError("wrong override", got=repr(word), expected="key=value")
        if key in found:
            raise UsageError(f"override {key!r} is given twice", next_step="leave one of them out")
        found[key] = _value(key, text)
    return found


def refuse_twice(changes: Mapping[str, Any], flags: Mapping[str, str]) -> None:
    """Refuse an override of what a flag says, too: one of them would be without effect.

    Parameters
    ----------
    changes
        As `overrides` gives them.
    flags
        Ids of the configuration and the flags, as they were given, that set them.
    """
    twice = next((name for name in flags if name in changes), None)
    if twice is not None:
        raise UsageError(f"{flags[twice]} and {twice}= are both given", next_step="leave one of them out")


def _value(key: str, text: str) -> Any:
    import yaml

    if text.startswith(("@", "$", "%")):  # references and expressions of MONAI's configurations
        return text
    try:
        return _numbers(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise UsageError(f"the value of override {key!r} is not YAML", got=repr(text)) from error


def _numbers(value: Any) -> Any:
    """YAML 1.1 takes `1e-4` for text: make it the number that was meant."""
    if isinstance(value, list):
        return [_numbers(v) for v in value]
    if isinstance(value, dict):
        return {k: _numbers(v) for k, v in value.items()}
    return float(value) if isinstance(value, str) and _SCIENTIFIC.fullmatch(value) else value


def _known_bundles(message: str) -> str:
    if "BUNDLE" not in message:
        return ""
    from medseg.cli.bundle import known_bundles

    return f"known bundles: {known_bundles()}; "
