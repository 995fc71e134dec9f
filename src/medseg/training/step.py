"""What the engines do with a batch: one training step, one validation step."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch

from medseg.errors import BundleError
from medseg.inference import Precision, autocast, channels_last
from medseg.networks.sample_norm import keep_layout
from medseg.networks.small_maps import exact_small_maps
from medseg.training.batch_augmentation import BatchAugmentation
from medseg.training.memory import FittingParts, forward_in_parts

logger = logging.getLogger(__name__)

_COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")


def _to_device(value: Any, device: torch.device) -> torch.Tensor:
    tensor: torch.Tensor = value.as_tensor() if hasattr(value, "as_tensor") else value
    return tensor.to(device, non_blocking=True)


class TrainingStep:
    """`iteration_update` of MONAI's SupervisedTrainer: forward, loss, backward, clip, step.

    MONAI's own step knows mixed precision on CUDA only; this one runs bfloat16 on CPUs as well, in channels-last
    layout, with the loss in float32, and clips gradients. On a CPU, where oneDNN's bfloat16 kernels can let what lay in
    memory before into a gradient, layers of which that is known run in float32 (`medseg.networks.small_maps`), and so
    does once more a step whose gradient is not finite while its loss is.
    A batch that the device's memory does not hold goes through the network in parts, with a warning.

    Parameters
    ----------
    precision
        "auto", "bf16" or "fp32".
    max_gradient_norm
        Gradients are scaled down to this L2 norm over all parameters, above 0; None switches clipping off.
    augmentation
        Applied to the whole batch on the device, from the "seed" of each case that `CaseDataset` gives.
    compile_mode
        Of `torch.compile`, for the network: "default", "reduce-overhead" (CUDA graphs), "max-autotune"; None runs it
        as it is. Parameters, and so checkpoints, stay the network's own.

    Raises
    ------
    BundleError
        No such mode, or a norm that leaves nothing of a gradient.
    TrainingError
        From a step: the memory does not hold one sample, or not the share of one of several processes.
    """

    def __init__(
        self,
        *,
        precision: Precision = "auto",
        max_gradient_norm: float | None = 12.0,
        augmentation: BatchAugmentation | None = None,
        compile_mode: str | None = None,
    ) -> None:
        if compile_mode not in (None, *_COMPILE_MODES):
            raise BundleError(
                "no such mode of torch.compile",
                got=compile_mode,
                expected=f"null or one of {', '.join(_COMPILE_MODES)}",
                next_step="set compile_mode",
            )
        if max_gradient_norm is not None and not max_gradient_norm > 0:
            expected = "a number above 0, or null for gradients as they are"
            raise BundleError("max_gradient_norm", got=max_gradient_norm, expected=expected)
        self.precision: Precision = precision
        self.max_gradient_norm = max_gradient_norm
        self.augmentation = augmentation
        self.compile_mode = compile_mode
        self._network: torch.nn.Module | None = None
        self._forward: Any = None
        self._parts = FittingParts()

    def __call__(self, engine: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
        device = engine.state.device
        image, label = _to_device(batch["image"], device), _to_device(batch["label"], device)
        if self.augmentation is not None:
            with torch.no_grad():
                image, label = self.augmentation(image, label, seeds=batch["seed"].tolist())
        image = image.contiguous(memory_format=channels_last(image.ndim - 2))
        self._prepare(engine.network)
        engine.network.train()
        prediction, loss = self._gradients(engine, image, label, self.precision)
        norm = self._clipped(engine)
        if device.type == "cpu" and not torch.isfinite(norm) and torch.isfinite(loss):
            logger.info("step %d: a gradient that is not finite, the step is taken in float32", engine.state.iteration)
            prediction, loss = self._gradients(engine, image, label, "fp32")
            norm = self._clipped(engine)
        engine.optimizer.step()
        return {"image": image, "label": label, "pred": prediction, "loss": loss, "gradient_norm": norm}

    def _prepare(self, network: torch.nn.Module) -> None:
        """Once, before the first step."""
        if network is self._network:
            return
        keep_layout(network)
        exact_small_maps(network)
        self._network = network
        self._forward = network if self.compile_mode is None else torch.compile(network, mode=self.compile_mode)

    def _gradients(
        self, engine: Any, image: torch.Tensor, label: torch.Tensor, precision: Precision
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits and loss of the batch, whose gradient the parameters then hold."""

        def forward(part: torch.Tensor) -> torch.Tensor:
            with autocast(precision, part.device):
                prediction: torch.Tensor = engine.inferer(part, self._forward)
            return prediction.float()

        def step(at_once: int) -> tuple[torch.Tensor, torch.Tensor]:
            engine.optimizer.zero_grad(set_to_none=True)
            prediction = forward(image) if at_once == len(image) else forward_in_parts(forward, image, at_once=at_once)
            loss = engine.loss_function(prediction, label)
            loss.backward()
            return prediction.detach(), loss.detach()

        return self._parts.run(step, samples=len(image))

    def _clipped(self, engine: Any) -> torch.Tensor:
        """The gradient's norm over all parameters, before it is scaled down to the limit if there is one."""
        limit = float("inf") if self.max_gradient_norm is None else self.max_gradient_norm
        return torch.nn.utils.clip_grad_norm_(engine.network.parameters(), limit)


class EvaluationStep:
    """`iteration_update` of MONAI's SupervisedEvaluator: logits of whole images by the engine's inferer."""

    def __call__(self, engine: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
        device = engine.state.device
        image, label = _to_device(batch["image"], device), _to_device(batch["label"], device)
        engine.network.eval()
        with torch.inference_mode():
            prediction = engine.inferer(image, engine.network)
        return {"image": image, "label": label, "pred": prediction}
