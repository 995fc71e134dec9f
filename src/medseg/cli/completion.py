"""`medseg completion`: what a shell completes after `medseg`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medseg.cli.arguments import Commands, Parser, UsageError, add_verb
from medseg.cli.console import DONE, say

SHELLS = ("bash", "zsh", "fish")
_NAMES = "medseg bundle list 2>/dev/null | cut -d' ' -f1"
_FISH_NAMES = '(medseg bundle list 2>/dev/null | string replace -r " .*" "")'
_FUNCTIONS = {
    "bash": f'_medseg_bundles() {{\n  compgen -W "$({_NAMES})" -- "$1"\n  compgen -d -- "$1"\n}}\n',
    "zsh": f"_medseg_bundles() {{\n  compadd -- $({_NAMES})\n  _files -/\n}}\n",
    "fish": "",
}
_BUNDLE = {
    "bash": "_medseg_bundles",
    "zsh": "_medseg_bundles",
    "fish": f"{_FISH_NAMES} (__fish_complete_directories)",
}


def add_commands(commands: Commands) -> None:
    """Add `completion`."""
    parser = add_verb(
        commands,
        "completion",
        _completion,
        does="print the script that makes a shell complete commands, flags, files and bundles",
        example="medseg completion bash > ~/.local/share/bash-completion/completions/medseg\n"
        "medseg completion zsh > ~/.zfunc/_medseg\n"
        "medseg completion fish > ~/.config/fish/completions/medseg.fish",
    )
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=", ".join(SHELLS))


def script(shell: str, parser: Parser) -> str:
    """The completion script for `parser`: files, folders and bundles are looked up when the shell asks."""
    try:
        import shtab
    except ImportError as error:
        raise UsageError("shtab is not installed", next_step="pip install shtab") from error
    for action in _actions(parser):
        completer = _completer(action, shtab)
        if completer is not None:
            action.complete = completer  # type: ignore[attr-defined]
    text: str = shtab.complete(parser, shell=shell, preamble=_FUNCTIONS)  # type: ignore[arg-type]
    return text.rstrip("\n")


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from _actions(below)
        else:
            yield action


def _completer(action: argparse.Action, shtab: Any) -> dict[str, str] | None:
    """How the values of one argument are completed; None where its choices say it, or nothing is known."""
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    if metavar in ("BUNDLE", "DIR_OR_BUNDLE") or action.dest in ("bundle", "other"):
        return _BUNDLE
    if action.choices is not None or (action.type is not Path and metavar != "FILE_OR_DIR"):
        return None
    found: dict[str, str] = shtab.DIRECTORY if metavar.endswith("DIR") and metavar != "FILE_OR_DIR" else shtab.FILE
    return found


def _completion(arguments: argparse.Namespace) -> int:
    from medseg.cli.entry import new_parser

    say(script(arguments.shell, new_parser()))
    return DONE
