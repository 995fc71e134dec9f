"""How long the help of every command takes, from the start of the process to its end.

    .venv/bin/python benchmarks/help_speed.py

Prints the median of five runs for each command and exits with 1 where one takes half a second or more.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

from medseg.cli.entry import new_parser

LIMIT_SECONDS = 0.5
RUNS = 5


def commands(parser: argparse.ArgumentParser) -> Iterator[list[str]]:
    """The words of each command and each group of commands."""
    yield parser.prog.split()[1:]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from commands(child)


def seconds(words: list[str]) -> float:
    """The median time of `medseg WORDS --help`."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "medseg.cli", *words, "--help"], check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> int:
    """Measure, print, judge."""
    measured = {" ".join(["medseg", *words]): seconds(words) for words in commands(new_parser())}
    for name, taken in sorted(measured.items(), key=lambda item: -item[1]):
        print(f"{taken:.3f} s  {name} --help")
    return int(max(measured.values()) >= LIMIT_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
