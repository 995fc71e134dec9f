"""Weights from a file into a network."""

from __future__ import annotations

from pathlib import Path

import torch

from medseg.errors import BundleError


def load_weights(network: torch.nn.Module, *, path: str, device: torch.device | str = "cpu") -> torch.nn.Module:
    """The network on `device` with the state dict of `path` in it (half precision is widened).

    Only tensors are read from the file (`weights_only`): a checkpoint cannot run code.

    Raises
    ------
    BundleError
        No such file, not a state dict, or weights of another network.
    """
    if not Path(path).is_file():
        raise BundleError(f"{path}: no weights", next_step="train the bundle first: medseg train")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict(state)
    except Exception as error:
        raise BundleError(
            f"{path}: the weights do not load into the bundle's network",
            got=str(error).splitlines()[0],
            expected="the state dict of network_def in configs/common.yaml",
        ) from error
    return network.to(device)


def start_weights(network: torch.nn.Module, *, path: str | None, device: torch.device | str = "cpu") -> torch.nn.Module:
    """The network that training starts from, on `device`, in the memory layout in which convolutions are fastest.

    Parameters
    ----------
    network
        As it was initialised.
    path
        File with a state dict to start from; None keeps the initialisation.
    device
        Where it will be trained.
    """
    if path is not None:
        load_weights(network, path=path)
    kernel_axes = max((parameter.ndim for parameter in network.parameters()), default=0)
    layouts = {4: torch.channels_last, 5: torch.channels_last_3d}
    layout = layouts.get(kernel_axes, torch.preserve_format)
    return network.to(device=device, memory_format=layout)  # type: ignore[call-overload]  # torch's stub lacks it
