"""The data set that training reads: the deterministic transforms once, the random ones from (seed, epoch, case)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from typing import Any, TypeAlias

import numpy as np
from monai.transforms import Compose, Randomizable, RandomizableTrait
from torch.utils.data import Dataset

from medseg.errors import BundleError, MedsegError, user_error

Item: TypeAlias = dict[str, Any]
Chain: TypeAlias = Callable[[Any], Any] | Sequence[Callable[[Any], Any]]

_MOST_THREADS = 4
"""Reading is bound by disk and decompression; more threads than this gain nothing and cost memory."""


class CaseDataset(Dataset[Item | list[Item]]):
    """Cases through MONAI dictionary transforms, the deterministic part kept in memory.

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

    Raises
    ------
    BundleError
        A random transform stands in `preprocessing`: its first draw would be kept for the whole training.
    """

    def __init__(
        self,
        data: Sequence[Item],
        preprocessing: Chain,
        augmentation: Chain | None = None,
        *,
        seed: int = 0,
        cache: bool = True,
    ) -> None:
        self.data = tuple(data)
        self.preprocessing = _composed(preprocessing)
        self.augmentation = None if augmentation is None else _composed(augmentation)
        self.seed = seed
        _refuse_random(self.preprocessing)
        self._cached = self._preprocess_all() if cache else None

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Item | list[Item]:
        """The case `index % len(self)` as it is in epoch `index // len(self)`; `EpochSampler` gives such indices."""
        epoch, i = divmod(index, len(self))
        item = self._preprocess(i) if self._cached is None else deepcopy(self._cached[i])
        if self.augmentation is None:
            return item
        if isinstance(self.augmentation, Randomizable):
            self.augmentation.set_random_state(seed=_seed(self.seed, epoch, i))
        return self._applied(self.augmentation, item, i)

    def _preprocess_all(self) -> list[Item | list[Item]]:
        with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
            return list(pool.map(self._preprocess, range(len(self))))

    def _preprocess(self, i: int) -> Item | list[Item]:
        return self._applied(self.preprocessing, dict(self.data[i]), i)

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


def _seed(seed: int, epoch: int, i: int) -> int:
    return int(np.random.SeedSequence([seed, epoch, i]).generate_state(1)[0])


def _naming(error: MedsegError, case_id: str) -> MedsegError:
    return error if f"case {case_id}:" in str(error) else type(error)(f"case {case_id}: {error}")
