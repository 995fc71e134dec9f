"""Batches of a data set, prepared while the network computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import torch
from monai.data import list_data_collate
from torch.utils.data import DataLoader, Dataset, Sampler

from medseg.datasets.threads import single_threads

_END = object()


class CaseLoader(DataLoader[Any]):
    """A DataLoader whose batches are prepared ahead, by worker processes or, without any, by a thread of this one.

    The thread is enough where the network takes most of the time: torch and NumPy let go of Python's lock, cached cases
    are not copied to other processes, and nothing can hang. An error of a case comes out where its batch was due, as
    without a thread (MONAI's ThreadDataLoader ends the epoch instead). Batches are the same for any `num_workers` and
    `ahead`: tensor operations use one thread in all of them, and torch's global random state is not drawn from.

    Parameters
    ----------
    dataset, sampler, batch_size, drop_last
        As of DataLoader. Cases are put together as MONAI does it: images as MetaTensors, lists of items joined.
    num_workers
        Worker processes, which live until the end of the run; 0 for the thread.
    ahead
        Batches that the thread, or each worker, prepares beyond the one that is used; 0 with no workers prepares each
        when it is asked for.
    timeout
        Seconds after which a worker that gives no batch ends the run; 0 waits for ever.
    pin_memory
        Copies to a GPU need not be waited for; None where there is one.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        *,
        batch_size: int,
        sampler: Sampler[int] | None = None,
        num_workers: int = 0,
        ahead: int = 2,
        timeout: float = 0,
        drop_last: bool = False,
        pin_memory: bool | None = None,
    ) -> None:
        self.ahead = ahead
        super().__init__(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            num_workers=num_workers,
            prefetch_factor=max(1, ahead) if num_workers else None,
            persistent_workers=num_workers > 0,
            timeout=timeout if num_workers else 0,
            drop_last=drop_last,
            collate_fn=list_data_collate,
            pin_memory=torch.cuda.is_available() if pin_memory is None else pin_memory,
            generator=torch.Generator(),
        )

    def __iter__(self) -> Any:
        """One epoch's batches; their order is taken from the sampler now."""
        batches = super().__iter__()
        return _prepared_ahead(batches, self.ahead) if self.num_workers == 0 else batches


def _prepared_ahead(batches: Iterator[Any], ahead: int) -> Iterator[Any]:
    with single_threads(1) as thread:
        due: deque[Future[Any]] = deque(thread.submit(next, batches, _END) for _ in range(max(1, ahead)))
        try:
            while (batch := due.popleft().result()) is not _END:
                if ahead:
                    due.append(thread.submit(next, batches, _END))
                yield batch
                if not ahead:
                    due.append(thread.submit(next, batches, _END))
        finally:
            for each in due:
                each.cancel()
