"""The same numbers again from a GPU: kernels that always sum in the same order, at the price of speed."""

from __future__ import annotations

import os
from typing import Any

import torch
from ignite.engine import Events

from medseg.training.failures import on_exception

_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"


class Deterministic:
    """Handler of the trainer: while it runs, nothing but deterministic kernels, or those that are fastest.

    On a CPU a run is the same again either way. On a GPU many kernels add up in the order in which threads come, so two
    runs differ in the last bits, and soon in more. PyTorch then takes others, and refuses what has none
    (`torch.use_deterministic_algorithms`); the mean of the cross-entropy, which has none, is taken another way.

    Parameters
    ----------
    enabled
        False lets cuDNN try out kernels and keep the fastest.
    """

    def __init__(self, *, enabled: bool) -> None:
        self.enabled = enabled
        self._before: tuple[bool, bool, bool, bool] | None = None

    def attach(self, engine: Any) -> None:
        """Set as the run starts, as it was when it ends."""
        engine.add_event_handler(Events.STARTED, self._begin)
        engine.add_event_handler(Events.COMPLETED, self._end)
        on_exception(engine, self._end)

    def _begin(self, engine: Any) -> None:
        cudnn = torch.backends.cudnn
        fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]  # not in torch's stubs
        self._before = (torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark, fill)
        if self.enabled:
            os.environ.setdefault(_CUBLAS, ":4096:8")  # read when the first matrix is multiplied
            same_cross_entropy(engine.loss_function)
        _set(self.enabled, self.enabled, not self.enabled, False)

    def _end(self, engine: Any, *_: BaseException) -> None:
        if self._before is not None:
            _set(*self._before)


def _set(algorithms: bool, cudnn: bool, benchmark: bool, fill: bool) -> None:
    torch.use_deterministic_algorithms(algorithms)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn, benchmark
    # Memory that nobody has written is read by nobody here; filling it with NaN only takes time.
    torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]


def same_cross_entropy(loss: Any) -> None:
    """Have every mean cross-entropy within `loss` computed pixel by pixel first, in place.

    On CUDA the mean over pixels of `torch.nn.CrossEntropyLoss` is added up in any order; each pixel's own is not.
    """
    for module in loss.modules() if isinstance(loss, torch.nn.Module) else ():
        if type(module) is torch.nn.CrossEntropyLoss and module.reduction == "mean":
            module.__class__ = _SameCrossEntropy


class _SameCrossEntropy(torch.nn.CrossEntropyLoss):
    """The mean over classes-weighted pixels, as torch has it, from the loss of each pixel."""

    def forward(self, prediction: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        options = {"ignore_index": self.ignore_index, "label_smoothing": self.label_smoothing}
        each = torch.nn.functional.cross_entropy(prediction, label, self.weight, reduction="none", **options)  # type: ignore[arg-type]
        if label.is_floating_point():  # probabilities of the classes: the mean over pixels, whatever the weights
            return each.mean()
        ignored = label == self.ignore_index
        counted = (~ignored).to(each.dtype)
        if self.weight is not None:
            counted = counted * self.weight[label.masked_fill(ignored, 0)]  # 255 or -100 are no classes
        return each.sum() / counted.sum()
