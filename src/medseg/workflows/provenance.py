"""What a manifest tells of a run: precision, peak memory, how sure the network was."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from medseg.inference import ClassConfidence, Segmenter


def precision_used(segmenter: Segmenter) -> str:
    """The number format of the network's arithmetic on the segmenter's device, such as "bfloat16"."""
    return str(segmenter.precision_on(segmenter.device)).removeprefix("torch.")


def peak_memory_bytes(device: torch.device) -> dict[str, int]:
    """The most memory that this process has held so far, and that torch has held on the GPU."""
    peaks: dict[str, int] = {}
    process = _process_peak_bytes()
    if process is not None:
        peaks["process"] = process
    if device.type == "cuda":
        peaks["cuda"] = torch.cuda.max_memory_allocated(device)
    return peaks


def _process_peak_bytes() -> int | None:
    """From proc(5) on Linux, whose getrusage counts what the process that started this one held; None on Windows."""
    status = Path("/proc/self/status")
    if status.is_file():
        found = re.search(r"^VmHWM:\s*(\d+) kB$", status.read_text("ascii", errors="replace"), re.MULTILINE)
        if found is not None:
            return int(found[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2): bytes on macOS, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def confidence_table(confidence: Sequence[ClassConfidence], names: Mapping[int, str]) -> list[dict[str, Any]]:
    """One entry per class, as JSON: voxels before postprocessing, means null where there are none."""
    return [
        {
            "value": one.value,
            "name": names.get(one.value, f"label {one.value}"),
            "voxels": one.voxels,
            "mean_confidence": _rounded(one.mean_confidence),
            "mean_entropy": _rounded(one.mean_entropy),
        }
        for one in confidence
    ]


def _rounded(value: float) -> float | None:
    return round(float(value), 6) if math.isfinite(value) else None
