"""The order of the cases in an epoch, from the seed and the epoch alone."""

from __future__ import annotations

from collections.abc import Iterator, Sized

import numpy as np
import torch.distributed
from torch.utils.data import DistributedSampler


class EpochSampler(DistributedSampler[int]):
    """Shuffles from (seed, epoch) and yields `epoch * n + i`, which tells `CaseDataset` case and epoch at once.

    So a case's augmentation depends on seed, epoch and index only: batches are the same for any number of workers
    and after a resume. Works with and without torch.distributed; MONAI's engines call `set_epoch` at the start of
    each epoch, since this is a DistributedSampler.

    Parameters
    ----------
    dataset
        The data set of n cases.
    seed
        Seed of the order.
    shuffle
        False keeps the order of the data set.
    """

    def __init__(self, dataset: Sized, *, seed: int, shuffle: bool = True) -> None:
        joined = torch.distributed.is_available() and torch.distributed.is_initialized()
        super().__init__(
            dataset,  # type: ignore[arg-type]  # torch asks for a Dataset and uses its length only
            num_replicas=torch.distributed.get_world_size() if joined else 1,
            rank=torch.distributed.get_rank() if joined else 0,
            shuffle=shuffle,
            seed=seed,
        )
        self.size = len(dataset)

    def __iter__(self) -> Iterator[int]:
        order = np.arange(self.size)
        if self.shuffle:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(self.size)
        padded = np.resize(order, self.total_size)  # every process takes as many; the first cases fill up
        return iter((self.epoch * self.size + padded[self.rank :: self.num_replicas]).tolist())
