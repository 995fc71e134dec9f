"""Which of several processes this one is, as torchrun says in the environment, and what it may take; without torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

SIDE_BY_SIDE = "MEDSEG_SIDE_BY_SIDE"
"""Environment variable: how many programs were begun at once on this machine; 1 where it is not set."""


def launched() -> tuple[int, int]:
    """The number of this process, from 0 on, and how many there are: (0, 1) where nothing launched several."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def on_this_machine() -> int:
    """How many processes torchrun started on this machine, this one with them: they share its memory."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this process writes and tells what belongs to the run as a whole."""
    return launched()[0] == 0


def begun_side_by_side() -> int:
    """How many programs share this machine's memory, as whoever began them at once says in the environment."""
    return max(1, int(os.environ.get(SIDE_BY_SIDE, "1")))


def memory_share_bytes() -> int:
    """This process's share of `memory_bytes`: the others of its run, and the runs begun beside it, have as much."""
    return memory_bytes() // (on_this_machine() * begun_side_by_side())


def memory_bytes() -> int:
    """The memory that this process may take: the machine's, or its container's or job's where that is less."""
    limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 1 << 40
    return min([limit, *group_limits_bytes()])


def group_limits_bytes(system: Path = Path("/")) -> Iterator[int]:
    """Limits of the control groups that hold this process, of version 1 or 2, and of those round them.

    Within a container its own group mostly looks like the outermost one; a job of Slurm finds its own further in.

    Parameters
    ----------
    system
        Where proc/ and sys/ are.
    """
    member = system / "proc" / "self" / "cgroup"
    for line in member.read_text(encoding="utf-8").splitlines() if member.is_file() else ():
        _, controllers, group = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top, name = ("memory", "memory.limit_in_bytes") if controllers else ("", "memory.max")
        inner = Path(group.lstrip("/"))
        for place in (inner, *inner.parents):
            file = system / "sys" / "fs" / "cgroup" / top / place / name
            text = file.read_text(encoding="ascii").strip() if file.is_file() else "max"
            if text.isdecimal():
                yield int(text)
