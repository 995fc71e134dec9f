"""Which of several processes this one is, as torchrun says in the environment, and what it may take; without torch."""

from __future__ import annotations

import os
from pathlib import Path


def launched() -> tuple[int, int]:
    """The number of this process, from 0 on, and how many there are: (0, 1) where nothing launched several."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def on_this_machine() -> int:
    """How many processes torchrun started on this machine, this one with them: they share its memory."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this process writes and tells what belongs to the run as a whole."""
    return launched()[0] == 0


def memory_bytes() -> int:
    """The memory that this process may take: the machine's, or its container's where that is less."""
    limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 1 << 40
    container = Path("/sys/fs/cgroup/memory.max")
    text = container.read_text(encoding="ascii").strip() if container.is_file() else "max"
    return min(limit, int(text)) if text.isdecimal() else limit
