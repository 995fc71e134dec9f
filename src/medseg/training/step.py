"""What the engines do with a batch: one training step, one validation step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from medseg.inference import Precision, autocast, channels_last


def _to_device(value: Any, device: torch.device) -> torch.Tensor:
    tensor: torch.Tensor = value.as_tensor() if hasattr(value, "as_tensor") else value
    return tensor.to(device, non_blocking=True)


class TrainingStep:
    """`iteration_update` of MONAI's SupervisedTrainer: forward, loss, backward, clip, step.

    MONAI's own step knows mixed precision on CUDA only; this one runs bfloat16 on CPUs as well, in channels-last
    layout, with the loss in float32, and clips gradients.

    Parameters
    ----------
    precision
        "auto", "bf16" or "fp32".
    max_gradient_norm
        Gradients are scaled down to this L2 norm over all parameters; None switches clipping off.
    """

    def __init__(self, *, precision: Precision = "auto", max_gradient_norm: float | None = 12.0) -> None:
        self.precision: Precision = precision
        self.max_gradient_norm = max_gradient_norm

    def __call__(self, engine: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
        device = engine.state.device
        image, label = _to_device(batch["image"], device), _to_device(batch["label"], device)
        image = image.contiguous(memory_format=channels_last(image.ndim - 2))
        engine.network.train()
        engine.optimizer.zero_grad(set_to_none=True)
        with autocast(self.precision, device):
            prediction = engine.inferer(image, engine.network)
        prediction = prediction.float()
        loss = engine.loss_function(prediction, label)
        loss.backward()
        if self.max_gradient_norm is not None:
            torch.nn.utils.clip_grad_norm_(engine.network.parameters(), self.max_gradient_norm)
        engine.optimizer.step()
        return {"image": image, "label": label, "pred": prediction.detach(), "loss": loss.detach()}


class EvaluationStep:
    """`iteration_update` of MONAI's SupervisedEvaluator: logits of whole images by the engine's inferer."""

    def __call__(self, engine: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
        device = engine.state.device
        image, label = _to_device(batch["image"], device), _to_device(batch["label"], device)
        engine.network.eval()
        with torch.inference_mode():
            prediction = engine.inferer(image, engine.network)
        return {"image": image, "label": label, "pred": prediction}
