"""The reference of the command line, as Markdown, from the parser itself."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from medseg.cli.entry import EXIT_CODES, new_parser

HEAD = """\
# Commands

Generated from the parser: `medseg COMMAND --help` says the same. Every command takes `--help`, `--quiet` (nothing but
warnings and errors) and `--debug` (log more, show tracebacks). Results go to standard output, the log to standard
error. What `--json` prints: [JSON results](json.md).

`train`, `evaluate`, `predict` and `score` write `log.txt` into the folder of their results: everything at level DEBUG,
but nothing of libraries that read files of patients. A log that is there becomes `log.txt.1`, and so on to `log.txt.9`.
Progress bars are for terminals, other than `TERM=dumb`; so are colours, which `NO_COLOR=1` switches off.

"""
COMMON = {"help", "quiet", "debug"}


def commands_page() -> str:
    """The whole page: exit codes, then each command with usage, arguments and examples."""
    codes = "\n".join(f"| {code} | {text} |" for code, text in _exit_codes())
    table = f"| exit code | meaning |\n|---|---|\n{codes}\n"
    return HEAD + table + "".join(_section(parser) for parser in _verbs(new_parser()))


def _exit_codes() -> Iterator[tuple[str, str]]:
    for line in EXIT_CODES.splitlines()[1:]:
        code, _, text = line.strip().partition(" ")
        yield code, text.strip()


def _verbs(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for action in below:
        for child in action.choices.values():
            yield from _verbs(child)
    if not below:
        yield parser


def _section(parser: argparse.ArgumentParser) -> str:
    usage = " ".join(parser.format_usage().removeprefix("usage: ").split())
    rows = [_row(parser, action) for action in parser._actions if action.dest not in COMMON]
    table = "\n".join(["| argument | what |", "|---|---|", *rows]) + "\n\n" if rows else ""
    notes = (parser.epilog or "").strip()
    head = f"\n## {parser.prog}\n\n{parser.description}\n\n```text\n{_wrapped(usage)}\n```\n\n"
    return f"{head}{table}```text\n{notes}\n```\n"


def _row(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    formatter = parser._get_formatter()
    if action.option_strings:
        value = "" if action.nargs == 0 else " " + formatter._format_args(action, action.dest.upper())
        name = ", ".join(action.option_strings) + value
    else:
        name = formatter._metavar_formatter(action, action.dest)(1)[0]
    return f"| <code>{_cell(name)}</code> | {_cell(formatter._expand_help(action))} |"


def _cell(text: str) -> str:
    for character in "|[]*_<":
        text = text.replace(character, f"&#{ord(character)};")
    return text


def _wrapped(usage: str) -> str:
    import textwrap

    return "\n".join(
        textwrap.wrap(usage, 110, subsequent_indent="    ", break_on_hyphens=False, break_long_words=False)
    )
