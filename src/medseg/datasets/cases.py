"""The data set that training reads: the deterministic transforms once, the random ones from (seed, epoch, case)."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
from monai.transforms import Compose, Randomizable, RandomizableTrait
from torch.utils.data import Dataset

from medseg.datasets.cache import DiskCache
from medseg.datasets.items import Item, copy_of, lean, size_bytes
from medseg.datasets.threads import single_threads
from medseg.errors import BundleError, MedsegError, user_error
from medseg.processes import memory_share_bytes

logger = logging.getLogger(__name__)

Chain: TypeAlias = Callable[[Any], Any] | Sequence[Callable[[Any], Any]]

_MOST_THREADS = 4
"""Reading is bound by disk and decompression; more threads than this gain nothing and cost memory."""


class CaseDataset(Dataset[Item | list[Item]]):
    """Cases through MONAI dictionary transforms, the deterministic part done once and kept in memory and on disk.

    What is kept, and where, changes no number: only how often the deterministic part is computed. An item has the keys
    that the transforms leave, "id", and with augmentation "seed", for what is drawn once it is part of a batch.

    Parameters
    ----------
    data
        {"id", "image", "label", ...} for each case, as `load_datalist` gives them.
    preprocessing
        Deterministic dictionary transforms: one, or a list of them.
    augmentation
        Random dictionary transforms, applied anew at each access; may return a list of items (`num_samples` > 1).
    seed
        Together with the epoch and the case it fixes the random state of `augmentation`.
    cache
        True preprocesses all cases now, with threads, and keeps the results; False preprocesses at each access.
    memory_gib
        What the kept cases may take at most; those beyond it are prepared, or read from disk, at each access, and a
        warning says how many. None: half of the memory of the machine, or of its container or job, less what other
        data sets of this process keep. Processes that train together, and runs begun at once, have a share each.
    disk_cache
        Folder of a `DiskCache`, which the next run reads; None for none.
    disk_gib
        Size of that folder above which its oldest files go.

    Raises
    ------
    BundleError
        A random transform stands in `preprocessing`: its first draw would be kept for the whole training. Or the
        disk cache cannot hold what the transforms make.
    OutputError
        The disk cache's folder cannot be used.
    """

    def __init__(
        self,
        data: Sequence[Item],
        preprocessing: Chain,
        augmentation: Chain | None = None,
        *,
        seed: int = 0,
        cache: bool = True,
        memory_gib: float | None = None,
        disk_cache: str | None = None,
        disk_gib: float = 50.0,
    ) -> None:
        self.data = tuple(data)
        self.preprocessing = _composed(preprocessing)
        self.augmentation = None if augmentation is None else _composed(augmentation)
        self.seed = seed
        _refuse_random(self.preprocessing)
        self._disk = None
        if disk_cache is not None:
            self._disk = DiskCache(disk_cache, transforms=self.preprocessing, most_gib=disk_gib)
        self._most_bytes = _room_bytes() if memory_gib is None else int(memory_gib * 2**30)
        self._cached = self._preprocess_all() if cache else {}

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Item | list[Item]:
        """The case `index % len(self)` as it is in epoch `index // len(self)`; `EpochSampler` gives such indices."""
        epoch, i = divmod(index, len(self))
        item = copy_of(self._cached[i]) if i in self._cached else self._preprocess(i)
        if self.augmentation is None:
            return item
        if isinstance(self.augmentation, Randomizable):
            self.augmentation.set_random_state(seed=_seed(self.seed, epoch, i))
        return self._seeded(self._applied(self.augmentation, item, i), epoch, i)

    def _seeded(self, result: Item | list[Item], epoch: int, i: int) -> Item | list[Item]:
        """`result` with the seed of what is drawn for it later, when it is part of a batch."""
        for sample, one in enumerate(result if isinstance(result, list) else [result]):
            one["seed"] = _seed(self.seed, epoch, i, 1 + sample)
        return result

    def _preprocess_all(self) -> dict[int, Item | list[Item]]:
        """By index, as many as memory may take; each once in any case, so that a broken one is found at the start."""
        kept: dict[int, Item | list[Item]] = {}
        left = self._most_bytes
        with single_threads(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
            for i, item in enumerate(pool.map(self._preprocess, range(len(self)))):
                left -= size_bytes(item)
                if left >= 0:
                    kept[i] = item
        _KEPT_BYTES[self] = sum(map(size_bytes, kept.values()))
        self._tell(len(kept))
        return kept

    def _tell(self, kept: int) -> None:
        if kept < len(self):
            logger.warning(
                "%d of %d cases are kept in memory (%.1f GiB), the others are %s at each access",
                *(kept, len(self), self._most_bytes / 2**30),
                "prepared anew" if self._disk is None else "read from disk",
            )
        if self._disk is not None:
            read, made = self._disk.counts
            logger.info("disk cache %s: %d cases read, %d prepared", self._disk.folder, read, made)
            self._disk.prune()

    def _preprocess(self, i: int) -> Item | list[Item]:
        if self._disk is None:
            return self._prepared(i)
        return self._disk.get(self.data[i], lambda: self._prepared(i))

    def _prepared(self, i: int) -> Item | list[Item]:
        return lean(self._applied(self.preprocessing, dict(self.data[i]), i))

    def _applied(self, chain: Callable[[Any], Any], item: Item | list[Item], i: int) -> Item | list[Item]:
        """`chain` of `item`, with the case's id kept in the result and named in every error."""
        case_id = self.data[i]["id"]
        try:
            result = chain(item)
        except Exception as error:
            known = user_error(error)
            if known is None:
                error.add_note(f"in case {case_id}")
                raise
            raise _naming(known, case_id) from error
        for one in result if isinstance(result, list) else [result]:
            one["id"] = case_id
        return result


_KEPT_BYTES: WeakKeyDictionary[CaseDataset, int] = WeakKeyDictionary()
"""What each data set of this process keeps: those for training and for validation have one memory together."""


def _room_bytes() -> int:
    half = memory_share_bytes() // 2
    if 2 * sum(_KEPT_BYTES.values()) > half:
        gc.collect()  # what a run that is over kept, such as the fold before, may not have been given back yet
    return max(0, half - sum(_KEPT_BYTES.values()))


def _composed(chain: Chain) -> Callable[[Any], Any]:
    return chain if callable(chain) else Compose(list(chain))


def _refuse_random(chain: Callable[[Any], Any]) -> None:
    steps = chain.flatten().transforms if isinstance(chain, Compose) else (chain,)
    found = [type(s).__name__ for s in steps if isinstance(s, RandomizableTrait) and type(s) is not Compose]
    if found:
        raise BundleError(
            "preprocessing holds random transforms",
            got=", ".join(found),
            expected="deterministic ones, whose result is kept",
            next_step="move them to the augmentation",
        )


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def _naming(error: MedsegError, case_id: str) -> MedsegError:
    return error if f"case {case_id}:" in str(error) else type(error)(f"case {case_id}: {error}")
