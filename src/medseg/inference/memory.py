"""What to do when memory does not suffice: fewer windows at once, then the CPU."""

from __future__ import annotations

from collections.abc import Iterator

import torch

LARGEST_BATCH = 16
SHARE_OF_FREE_MEMORY = 0.5
"""Of a GPU's free memory that windows may take; the rest is for sums and the restored blocks."""

_SAYS_SO = ("DefaultCPUAllocator", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""How torch tells of memory in a plain RuntimeError: the machine's own is exhausted, and it names its allocator; or a
GPU's, asked for past torch's allocator by CUDA itself or for a workspace of cuBLAS."""


def is_out_of_memory(error: BaseException) -> bool:
    """True for errors that say that memory could not be had, and for no others."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _SAYS_SO)


def attempts(device: torch.device, batch: int) -> Iterator[tuple[torch.device, int]]:
    """What to try, in order: half as many windows at once down to one, then one at a time on the CPU."""
    while batch >= 1:
        yield device, batch
        batch //= 2
    if device.type != "cpu":
        yield torch.device("cpu"), 1


def windows_at_once(device: torch.device, *, bytes_per_window: int) -> int:
    """Windows that a GPU's free memory holds; on a CPU one at a time is fastest."""
    if device.type != "cuda":
        return 1
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, min(LARGEST_BATCH, int(SHARE_OF_FREE_MEMORY * free / max(1, bytes_per_window))))
