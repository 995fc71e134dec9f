"""Random transforms of a whole batch at once, on the device of the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import MapTransform, Randomizable

from medseg.training.batch_kernels import KERNELS, Kernel

Batch = dict[str, torch.Tensor]


class BatchAugmentation:
    """MONAI's random dictionary transforms on batches that lie on a device already.

    The transforms are those that a data set would apply case by case: each draws for each case by its own code, from a
    seed that the case brings along, so that the draws depend on seed, epoch and case alone. What was drawn is applied
    to all chosen cases at once for the transforms of `medseg.training.batch_kernels`; any other transform is called
    case by case, on the device. Nothing waits for the device. Noise is drawn there, so its values (not its
    distribution) differ between kinds of devices.

    Parameters
    ----------
    transforms
        Dictionary transforms of "image" and "label" that keep an image's size.
    """

    def __init__(self, *, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = tuple(transforms)

    def __call__(
        self, image: torch.Tensor, label: torch.Tensor, *, seeds: Sequence[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Image ``(B, C, X, Y[, Z])`` and label ``(B, 1, X, Y[, Z])`` augmented; what was given stays as it was.

        Parameters
        ----------
        image, label
            On one device.
        seeds
            One for each case.
        """
        batch = {"image": image.float().clone(), "label": label.clone()}
        for place, transform in enumerate(self.transforms):
            states = [int(np.random.SeedSequence([seed, place]).generate_state(1)[0]) for seed in seeds]
            kernel = KERNELS.get(type(transform))
            if kernel is not None and isinstance(transform, MapTransform) and kernel.fits(transform):
                _together(transform, kernel, batch, states)
            else:
                batch = _one_by_one(transform, batch, states)
        return batch["image"], batch["label"]


def _together(transform: Any, kernel: Kernel, batch: Batch, states: Sequence[int]) -> None:
    drawn = []
    for i, state in enumerate(states):
        transform.set_random_state(seed=state)
        transform.randomize(None)
        drawn.append(kernel.draw(transform, batch["image"][i]) if transform._do_transform else None)
    chosen = [i for i, one in enumerate(drawn) if one is not None]
    if not chosen:
        return
    whole = len(chosen) == len(states)
    for place, key in enumerate(transform.keys):
        values = batch[key] if whole else batch[key][chosen]
        changed = kernel.apply(transform, values, [drawn[i] for i in chosen], place).to(values.dtype)
        batch[key] = changed if whole else batch[key].index_copy(0, _indices(chosen, values.device), changed)


def _indices(chosen: Sequence[int], device: torch.device) -> torch.Tensor:
    return torch.tensor(chosen).to(device, non_blocking=True)


def _one_by_one(transform: Callable[[Any], Any], batch: Batch, states: Sequence[int]) -> Batch:
    results: list[dict[str, Any]] = []
    for i, state in enumerate(states):
        if isinstance(transform, Randomizable):
            transform.set_random_state(seed=state)
        results.append(transform({key: values[i] for key, values in batch.items()}))
    return {key: torch.stack([_plain(one[key]) for one in results]).to(batch[key].dtype) for key in batch}


def _plain(value: Any) -> torch.Tensor:
    tensor: torch.Tensor = value.as_tensor() if hasattr(value, "as_tensor") else value
    return tensor
