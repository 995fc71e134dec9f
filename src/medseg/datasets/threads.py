"""Threads whose tensor operations use one core each: as many of them as cores, and sums in one order."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier

import torch


@contextmanager
def single_threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of `count` threads in which torch computes with one thread, as in a worker process of a DataLoader.

    A sum over a large image depends on how many threads share it, in its last bit; so what threads prepare is what
    worker processes prepare. OpenMP keeps the number for each thread, torch sets it for the calling one; what it keeps
    for the whole process is set back.
    """
    before = torch.get_num_threads()
    ready = Barrier(count + 1)

    def start() -> None:
        torch.set_num_threads(1)
        torch.get_num_threads()  # a thread's first operation takes over the process's number: let that be now
        ready.wait()

    with ThreadPoolExecutor(count) as pool:
        begun = [pool.submit(start) for _ in range(count)]
        ready.wait()
        torch.set_num_threads(before)
        for one in begun:
            one.result()
        yield pool
