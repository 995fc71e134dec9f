"""How long the help of every command takes, from the start of the process to its end.

    .venv/bin/python benchmarks/help_speed.py

Prints for each command the least processor time and wall-clock time of three runs, and exits with 1 where the processor
time, which is what a machine with nothing else to do would take, is half a second or more.
2026-11-21, a core of an AMD EPYC shared with others, Python 3.11: 0.10 to 0.19 s for each command.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Iterator

from medseg.cli.entry import new_parser

LIMIT_SECONDS = 0.5
RUNS = 3


def commands(parser: argparse.ArgumentParser) -> Iterator[list[str]]:
    """The words of each command and each group of commands."""
    yield parser.prog.split()[1:]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from commands(child)


def seconds(words: list[str]) -> tuple[float, float]:
    """The least processor time and wall-clock time of `medseg WORDS --help`."""
    processor, wall = [], []
    for _ in range(RUNS):
        start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "medseg.cli", *words, "--help"], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        wall.append(time.perf_counter() - start)
        processor.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(processor), min(wall)


def main() -> int:
    """Measure, print, judge."""
    measured = {" ".join(["medseg", *words]): seconds(words) for words in commands(new_parser())}
    for name, (processor, wall) in sorted(measured.items(), key=lambda item: -item[1][0]):
        print(f"{processor:.3f} s processor, {wall:.3f} s wall  {name} --help")
    return int(max(processor for processor, _ in measured.values()) >= LIMIT_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
