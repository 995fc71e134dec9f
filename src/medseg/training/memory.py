"""How many samples of a batch the network takes at once: all, unless the device's memory holds fewer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import torch
from torch.utils.checkpoint import checkpoint

from medseg.errors import TrainingError
from medseg.inference.memory import is_out_of_memory
from medseg.training.distributed import processes

logger = logging.getLogger(__name__)

T = TypeVar("T")


class FittingParts:
    """Runs what works on a batch with half as many samples at once until the memory suffices, and remembers that."""

    def __init__(self) -> None:
        self.at_once: int | None = None

    def run(self, work: Callable[[int], T], *, samples: int) -> T:
        """What `work` returns, which is given how many samples to take at once, for a batch of `samples`.

        Raises
        ------
        TrainingError
            Not even one sample fits, or several processes train, which would have to take their parts together.
        """
        while True:
            at_once = min(samples, self.at_once or samples)
            try:
                return work(at_once)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                refused = str(error).strip().splitlines() or ["nothing said"]
            # Outside of the except block: the error holds the frames and so the tensors that did not fit.
            self.at_once = self._fewer(at_once, refused[0])

    def _fewer(self, at_once: int, refused: str) -> int:
        if at_once == 1 or processes() > 1:
            raise TrainingError(
                f"a step with {'one sample' if at_once == 1 else f'{at_once} samples'} needs more memory than there is",
                got=refused,
                next_step="set a smaller window, batch_size or network, or train on a device with more memory",
            )
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        fewer = at_once // 2
        logger.warning(
            "a step with %d samples at once needs more memory than there is: from now on %d at a time go through the "
            "network, twice, which is slower. The loss is that of the whole batch as before; batch normalisation that "
            "is not frozen sees %d samples at a time",
            at_once,
            fewer,
            fewer,
        )
        return fewer


def forward_in_parts(
    forward: Callable[[torch.Tensor], torch.Tensor], image: torch.Tensor, *, at_once: int
) -> torch.Tensor:
    """Logits (B, C, ...) of images (B, C, ...), which keep nothing for the way back but themselves.

    What the backward pass needs of a part is computed again when its turn comes (Chen et al. 2016, arXiv:1604.06174),
    so that one part at a time lies in memory, and the gradient of any loss of the whole batch is what it would be.
    """
    return torch.cat([checkpoint(forward, part, use_reentrant=False) for part in image.split(at_once)])
