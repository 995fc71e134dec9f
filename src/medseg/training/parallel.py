"""One network in several processes: gradients of the whole batch, normalisation over the whole batch."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import torch
import torch.distributed
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from medseg.errors import TrainingError
from medseg.training.distributed import gathered, processes

logger = logging.getLogger(__name__)


def distribute(network: torch.nn.Module, *, sync_batch_norm: bool = True) -> torch.nn.Module:
    """`network` as it is trained by several processes (PyTorch's DistributedDataParallel); itself in a run of one.

    Batch normalisation that is trained is turned into SyncBatchNorm on GPUs, in place: its statistics are those of the
    whole batch. PyTorch has none for CPUs: there, and without `sync_batch_norm`, a warning says that statistics are of
    each process's share. Frozen batch normalisation and instance normalisation need nothing.

    Parameters
    ----------
    network
        On its device, in training mode or not; it stays usable by itself, with the same weights.
    sync_batch_norm
        False keeps statistics local on GPUs, too.
    """
    if processes() == 1:
        return network
    device = next(network.parameters()).device
    local = _batch_norms(network)
    if device.type == "cuda" and sync_batch_norm:
        _synchronise(network, local)
    elif local:
        logger.warning(
            "batch normalisation takes the statistics of each process's share of the batch, not of the whole batch: "
            "the result differs from that of one process; %s",
            "sync_batch_norm is off"
            if device.type == "cuda"
            else "there is no SyncBatchNorm on CPUs: freeze it (network_def::freeze_batch_norm=true) or train on GPUs",
        )
    # PyTorch tells once of each run that a 1x1 kernel has two layouts that are the same in memory.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides", category=UserWarning)
    return DistributedDataParallel(network, device_ids=[torch.cuda.current_device()] if device.type == "cuda" else None)


def _batch_norms(network: torch.nn.Module) -> list[torch.nn.Module]:
    """The layers that take the statistics of a batch; a frozen one stays in evaluation mode."""
    mode = network.training
    network.train()
    found: list[torch.nn.Module] = [
        one
        for one in network.modules()
        if isinstance(one, _BatchNorm) and one.training and not isinstance(one, torch.nn.SyncBatchNorm)
    ]
    network.train(mode)
    return found


def _synchronise(network: torch.nn.Module, layers: list[torch.nn.Module]) -> None:
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if child in layers:
                setattr(parent, name, torch.nn.SyncBatchNorm.convert_sync_batchnorm(child))


class WholeBatchLoss(torch.nn.Module):
    """A loss of the whole batch, of which each process has computed a share.

    Dice over a batch, as all four bundles use it, is no mean over cases: the mean of the losses of the shares is
    another function. So predictions and labels of all shares are gathered, and each process computes the loss of the
    whole batch, and of it the gradient by its own share. DistributedDataParallel takes the mean of the gradients of N
    processes, whose sum is meant: each is multiplied by N before.

    In exact arithmetic a step is then that of one process with the whole batch, for any loss; in float32 it differs by
    the order of summation. In a run of one process it is `loss` itself.

    Parameters
    ----------
    loss
        Called as ``loss(prediction (B, C, ...), label (B, 1, ...))``.
    """

    def __init__(self, *, loss: torch.nn.Module) -> None:
        super().__init__()
        self.loss = loss
        self._checked = False

    def forward(self, prediction: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """The loss of the whole batch, the same number in each process."""
        if processes() == 1:
            alone: torch.Tensor = self.loss(prediction, label)
            return alone
        if not self._checked:
            _check_shapes(prediction)
            self._checked = True
        whole: torch.Tensor = self.loss(_WholeBatch.apply(prediction), _interleaved(label))
        return whole


class _WholeBatch(torch.autograd.Function):
    """All shares of a batch, (b, ...) each, as ``(b * N, ...)`` in the order of one process; gradient times N."""

    @staticmethod
    def forward(ctx: Any, share: torch.Tensor) -> torch.Tensor:
        return _interleaved(share)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return gradients[0][torch.distributed.get_rank() :: processes()] * processes()


def _interleaved(share: torch.Tensor) -> torch.Tensor:
    shares = [torch.empty_like(share, memory_format=torch.contiguous_format) for _ in range(processes())]
    torch.distributed.all_gather(shares, share.detach().contiguous())
    return torch.stack(shares, dim=1).flatten(0, 1)


def _check_shapes(prediction: torch.Tensor) -> None:
    """Once: the collective operation that follows has no error for tensors that differ, it hangs."""
    shapes = gathered([tuple(prediction.shape)])
    if len(set(shapes)) > 1:
        raise TrainingError(
            "the processes' shares of a batch differ in size",
            got=" and ".join(str(shape) for shape in sorted(set(shapes))),
            expected="patches of one size, as in one process",
            next_step="crop or pad to one size in train::augmentation",
        )
