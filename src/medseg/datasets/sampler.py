"""The order of the cases in an epoch, from the seed and the epoch alone, for one process or several."""

from __future__ import annotations

from collections.abc import Iterator, Sized

import numpy as np
import torch.distributed
from torch.utils.data import DistributedSampler, Sampler

from medseg.errors import DataError


class EpochSampler(DistributedSampler[int]):
    """Shuffles from (seed, epoch) and yields `epoch * n + i`, which tells `CaseDataset` case and epoch at once.

    So a case's augmentation depends on seed, epoch and index only: batches are the same for any number of workers
    and after a resume. MONAI's engines call `set_epoch` at the start of each epoch, since this is a DistributedSampler.

    With torch.distributed the order is that of one process, dealt out in turn: share k of each of N processes, of
    batch_size / N cases, makes batch k of one process. What does not fill a batch waits for a later epoch, as
    `drop_last` has it; of fewer cases than a batch as many are taken as each process can have alike. No case counts
    twice.

    Parameters
    ----------
    dataset
        The data set of n cases.
    seed
        Seed of the order.
    shuffle
        False keeps the order of the data set.
    batch_size
        Cases of a step, over all processes; it counts where there are several.

    Raises
    ------
    DataError
        There are fewer cases than processes.
    """

    def __init__(self, dataset: Sized, *, seed: int, shuffle: bool = True, batch_size: int = 1) -> None:
        rank, processes = _place()
        super().__init__(
            dataset,  # type: ignore[arg-type]  # torch asks for a Dataset and uses its length only
            num_replicas=processes,
            rank=rank,
            shuffle=shuffle,
            seed=seed,
        )
        _refuse_idle(dataset, processes, "training")
        self.size, self.batch_size = len(dataset), batch_size

    def __len__(self) -> int:
        """How many cases of an epoch are this process's."""
        if self.num_replicas == 1:
            return self.size
        whole = self.size - self.size % self.batch_size if self.size > self.batch_size else self.size
        return whole // self.num_replicas

    def __iter__(self) -> Iterator[int]:
        order = np.arange(self.size)
        if self.shuffle:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(self.size)
        mine = order[self.rank :: self.num_replicas][: len(self)]
        return iter((self.epoch * self.size + mine).tolist())


class ShareSampler(Sampler[int]):
    """The cases of `dataset` in order, each in one of the processes only: the first takes cases 0, N, 2 N, ...

    For validation: every case counts once, so the shares may differ by one case.

    Parameters
    ----------
    dataset
        The data set of n cases.

    Raises
    ------
    DataError
        There are fewer cases than processes.
    """

    def __init__(self, dataset: Sized) -> None:
        rank, processes = _place()
        _refuse_idle(dataset, processes, "validation")
        self._mine = range(rank, len(dataset), processes)

    def __len__(self) -> int:
        return len(self._mine)

    def __iter__(self) -> Iterator[int]:
        return iter(self._mine)


def _place() -> tuple[int, int]:
    """This process's number, and how many there are."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return 0, 1
    return torch.distributed.get_rank(), torch.distributed.get_world_size()


def _refuse_idle(dataset: Sized, processes: int, section: str) -> None:
    if processes > 1 and len(dataset) < processes:
        raise DataError(
            f"fewer {section} cases than processes",
            got=f"{len(dataset)} cases for {processes} processes",
            next_step="start fewer processes: torchrun --nproc_per_node=...",
        )
