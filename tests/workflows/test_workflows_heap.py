"""Freed memory goes back to the system although later arrays are still in use."""

from __future__ import annotations

import ctypes
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from medseg.workflows.heap import trim_heap


def resident_mib() -> float:
    found = re.search(r"^VmRSS:\s*(\d+) kB$", Path("/proc/self/status").read_text("ascii"), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="needs glibc"
)
def test_holes_between_arrays_in_use_are_given_back() -> None:
    arrays = [np.ones(2**16, dtype=np.uint8) for _ in range(3200)]  # 200 MiB, below what malloc maps on its own
    kept = arrays[::100]
    del arrays
    before = resident_mib()
    assert trim_heap()
    assert before - resident_mib() > 100
    assert all(array.min() == 1 for array in kept)


def test_another_malloc_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not trim_heap()
