"""Memory that was freed goes back to the system, so that a run over many cases holds no more at its end."""

from __future__ import annotations

import ctypes
import sys

TRIM_EVERY_CASES = 16
"""A trim costs some 30 ms, and the pages must be had anew."""


def trim_heap() -> bool:
    """Give back the freed pages between those still in use; True if there were any.

    glibc gives back what is free at a heap's end alone. Where several threads work on arrays of changing size the holes
    in between grow with every case. Without effect, and False, where malloc is not glibc's.

    References
    ----------
    malloc_trim(3)
    """
    if not sys.platform.startswith("linux"):
        return False
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim is not None and bool(trim(ctypes.c_size_t(0)))
