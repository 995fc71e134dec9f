"""A loaded network over volumes in sliding windows, on the memory that there is."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from functools import partial

import torch

from medseg.inference.backends import Backend, runnable
from medseg.inference.memory import attempts, is_out_of_memory, windows_at_once
from medseg.inference.precision import resolve_precision
from medseg.inference.restore import Sink
from medseg.inference.tta import Network, mirrored
from medseg.inference.volume import Labelled, Volume, label_volumes
from medseg.inference.window import SlidingWindow

logger = logging.getLogger(__name__)


class WindowRunner:
    """Labels volumes; where memory does not suffice with fewer windows at once, and at last on the CPU.

    Parameters
    ----------
    network
        Gives logits ``(B, C, X, Y[, Z])``; in evaluation mode, on `device`.
    settings
        Windows, precision, test-time augmentation.
    device
        Where the network lies.
    precision
        From a device to the number format of the network's arithmetic on it; None: as `settings.precision` says.
    backend
        What runs the network.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        *,
        settings: SlidingWindow,
        device: torch.device,
        precision: Callable[[torch.device], torch.dtype] | None = None,
        backend: Backend = "torch",
    ) -> None:
        self.network, self.settings, self.device = network, settings, device
        self.precision = precision or partial(resolve_precision, settings.precision)
        self.backend: Backend = backend
        self._ready: dict[tuple[torch.device, torch.dtype], Network] = {}

    def __call__(
        self, volumes: Sequence[Volume], *, sinks: Sequence[Sequence[Sink]]
    ) -> tuple[list[Labelled], tuple[str, ...]]:
        """What `label_volumes` gives, and a sentence for each time that memory did not suffice."""
        notes: list[str] = []
        for device, at_once in attempts(self.device, self._at_once(volumes[0])):
            try:
                return self._label(volumes, sinks, device, at_once), tuple(notes)
            except Exception as error:
                if not is_out_of_memory(error) or (device.type == "cpu" and at_once == 1):
                    raise
            # Outside the handler: the traceback held the tensors that filled the memory.
            notes.append(f"out of memory on {device} with {at_once} window(s) at once: done again with less")
            logger.warning(notes[-1])
            if device.type == "cuda":
                torch.cuda.empty_cache()
        raise AssertionError("the last attempt returns or raises")

    def _label(
        self, volumes: Sequence[Volume], sinks: Sequence[Sequence[Sink]], device: torch.device, at_once: int
    ) -> list[Labelled]:
        network = self._runnable(device, at_once)
        with torch.inference_mode():
            return label_volumes(
                volumes, network=network, settings=self.settings, at_once=at_once, device=device, sinks=sinks
            )

    def _runnable(self, device: torch.device, at_once: int) -> Network:
        """The network with its layout, precision and test-time augmentation, on windows that lie on `device`."""
        settings, dtype = self.settings, self.precision(device)
        if (device, dtype) not in self._ready:
            network = self.network if device == self.device else _copied(self.network, device)
            backend = self.backend if device == self.device else "torch"
            self._ready[device, dtype] = runnable(network, backend=backend, device=device, dtype=dtype)
        run = self._ready[device, dtype]
        return mirrored(run, settings.mirror, at_once=at_once) if settings.tta and settings.mirror else run

    def _at_once(self, volume: Volume) -> int:
        wanted = self.settings.windows_at_once
        if wanted != "auto":
            return wanted
        return self._measured(volume) if self.device.type == "cuda" else 1

    def _measured(self, volume: Volume) -> int:
        """From the memory that one window takes on the GPU."""
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        try:
            window = torch.zeros(1, volume.inputs.shape[0], *self.settings.roi_size, device=self.device)
            with torch.inference_mode():
                self._runnable(self.device, 1)(window)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return 1  # the first attempt finds it out again and notes it, the next one is made on the CPU
        return windows_at_once(self.device, bytes_per_window=torch.cuda.max_memory_allocated(self.device) - before)


def _copied(network: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """A copy on `device`, made without memory of the device that the network is on: there is too little of that."""
    moved: dict[int, object] = {id(values): values.detach().to(device, copy=True) for values in network.buffers()}
    for values in network.parameters():
        moved[id(values)] = torch.nn.Parameter(values.detach().to(device, copy=True), requires_grad=False)
    return copy.deepcopy(network, moved)
