"""Several processes that train one network: how they find each other, what all know, what the first alone does.

The configuration multi_gpu.yaml of a bundle names what is here; in a run of one process everything is as without it.
"""

from __future__ import annotations

import atexit
import logging
import os
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import ignite.distributed as idist
import torch
import torch.distributed

from medseg.errors import BundleError, TrainingError
from medseg.processes import is_first, launched, on_this_machine

logger = logging.getLogger(__name__)

T = TypeVar("T")

_TO_BE_ENDED_SECONDS = 10.0
"""How long a process that cannot go on by itself waits for torchrun to end it, which takes less than a second."""

_START = "torchrun --nproc_per_node=N -m medseg.cli train BUNDLE --overlay multi_gpu ..."


def processes() -> int:
    """How many processes train together: 1 before `join`."""
    return int(idist.get_world_size())


def join(*, device: torch.device) -> None:
    """Meet the other processes that torchrun has started: by NCCL where `device` is a GPU, by Gloo on the CPU.

    On GPUs each process takes the one that torchrun gave it; its "cuda" is that one from now on. The processes but the
    first tell nothing but errors: whatever else there is to say, the first one says, too.

    Raises
    ------
    BundleError
        There are fewer GPUs than processes, or `device` names one GPU for all of them.
    """
    rank, count = launched()
    if "WORLD_SIZE" not in os.environ:
        logger.warning("multi_gpu has no effect: there is one process; %s starts N of them", _START)
    if rank > 0:
        logging.getLogger("medseg").setLevel(logging.ERROR)
    if count == 1 or processes() > 1:
        return
    if device.type == "cuda":
        _check_gpus(device)
    idist.initialize("nccl" if device.type == "cuda" else "gloo")
    logger.info("%d processes train together, by %s", count, idist.backend())


def _check_gpus(device: torch.device) -> None:
    here, there = on_this_machine(), torch.cuda.device_count()
    if ":" in str(device):
        raise BundleError(
            f"device {device} is one GPU for {here} processes", expected="cuda", next_step="leave its number out"
        )
    if here > there:
        raise BundleError(
            f"{here} processes on this machine and {there} GPUs",
            expected="a GPU for each process",
            next_step=f"torchrun --nproc_per_node={there}",
        )


def leave() -> None:
    """Wait until all processes are done, and part from them when Python ends; without effect in a run of one.

    Not before: processes that have parted cannot be relied on to meet again, and another run may follow.
    """
    if processes() > 1:
        idist.barrier()
        atexit.unregister(idist.finalize)
        atexit.register(idist.finalize)


def share_of_batch(batch_size: int) -> int:
    """How many of the `batch_size` cases of a step are this process's: as many for each.

    Raises
    ------
    BundleError
        They cannot be dealt out evenly.
    """
    if batch_size % processes():
        raise BundleError(
            f"batch_size is the number of cases of a step, over all {processes()} processes",
            got=batch_size,
            expected=f"a multiple of {processes()}",
            next_step="set batch_size=..., or start fewer processes",
        )
    return batch_size // processes()


def gathered(mine: Sequence[T]) -> list[T]:
    """What all processes have, one of each in turn: the order of the cases that `ShareSampler` dealt out.

    Every process calls it, and gets the same.
    """
    if processes() == 1:
        return list(mine)
    parts: list[Any] = [None] * processes()
    torch.distributed.all_gather_object(parts, list(mine))
    longest = max(len(part) for part in parts)
    return [part[i] for i in range(longest) for part in parts if i < len(part)]


def summed(counts: torch.Tensor) -> torch.Tensor:
    """The sum of `counts` over all processes, each of which calls it with a tensor of the same shape."""
    if processes() > 1:
        counts = counts.clone()
        torch.distributed.all_reduce(counts)
    return counts


def first_decides(mine: bool) -> bool:
    """What the first process says, which every process calls for."""
    if processes() == 1:
        return mine
    said = [mine]
    torch.distributed.broadcast_object_list(said, src=0)
    return said[0]


def first_alone(action: Callable[[], None]) -> None:
    """Run `action` in the first process while the others wait for it; where it fails, none goes on.

    Raises
    ------
    BundleError
        Several processes were started, and the configuration is one for a single process.
    TrainingError
        In the other processes, where the first one failed; what went wrong is raised there.
    """
    if launched()[1] > processes():
        raise BundleError(
            f"{launched()[1]} processes were started for a configuration of one, each would do the same",
            next_step="add --overlay multi_gpu, or configs/multi_gpu.yaml behind the configuration files; "
            "a run's folder has no overlays: to go on with it, name the bundle that it was started from",
        )
    said = [""]
    try:
        if is_first():
            action()
    except Exception as error:
        said = [str(error) or type(error).__name__]
        raise
    finally:
        if processes() > 1:
            torch.distributed.broadcast_object_list(said, src=0)
    if said[0]:
        wait_to_be_ended()
        raise TrainingError("the first process could not go on", got=said[0])


def wait_to_be_ended() -> None:
    """Leave the word to the process that failed: torchrun ends the others as soon as it is gone."""
    time.sleep(_TO_BE_ENDED_SECONDS)


def lost_process(error: BaseException) -> TrainingError | None:
    """What to say where `error` means no more than that another process of the run has ended; None otherwise."""
    if processes() == 1 or not isinstance(error, RuntimeError):
        return None
    gone = ("gloo", "Connection closed", "Connection reset", "NCCL", "Timed out", "Broken pipe")
    if not isinstance(error, torch.distributed.DistError) and not any(word in str(error) for word in gone):
        return None
    return TrainingError(
        "another process of this run has ended, so this one ends, too",
        next_step="what went wrong is in the message of that process; models/last.pt is the last whole epoch",
    )
