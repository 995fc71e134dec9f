"""Which of several processes this one is, as torchrun says in the environment; without torch."""

from __future__ import annotations

import os


def launched() -> tuple[int, int]:
    """The number of this process, from 0 on, and how many there are: (0, 1) where nothing launched several."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this process writes and tells what belongs to the run as a whole."""
    return launched()[0] == 0
