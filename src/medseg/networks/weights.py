"""Weights from a file into a network."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch

from medseg.errors import BundleError
from medseg.files import sha256_of
from medseg.networks.ensemble import Ensemble


def load_weights(
    network: torch.nn.Module, *, path: str | Sequence[str], device: torch.device | str = "cpu"
) -> torch.nn.Module:
    """The network on `device` with the state dict of `path` in it (half precision is widened).

    Only tensors are read from the file (`weights_only`, or a .safetensors file): a checkpoint cannot run code.

    Parameters
    ----------
    network
        As it was initialised.
    path
        File with a state dict; several of them make an `Ensemble` of as many copies of the network.
    device
        Where it will run.

    Raises
    ------
    BundleError
        No such file, not a state dict, or weights of another network.
    """
    if isinstance(path, str):
        return _loaded(network, path).to(device)
    if not path:
        raise BundleError("weights", got="an empty list", expected="the file of each member of the ensemble")
    return Ensemble([_loaded(copy.deepcopy(network), each) for each in path]).to(device)


def _loaded(network: torch.nn.Module, path: str) -> torch.nn.Module:
    if not Path(path).is_file():
        raise BundleError(f"{path}: no weights", next_step="train the bundle first: medseg train")
    try:
        network.load_state_dict(_tensors(Path(path)))
    except BundleError:
        raise
    except Exception as error:
        raise BundleError(
            f"{path}: the weights do not load into the bundle's network",
            got=str(error).splitlines()[0],
            expected="the state dict of network_def in configs/common.yaml",
        ) from error
    return network


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    """The state dict of a file, made of nothing but tensors.

    Raises
    ------
    BundleError
        It holds anything else, or safetensors is not installed.
    """
    if path.suffix == ".safetensors":
        return _safetensors(path)
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict):
        raise _not_weights(path, f"a {type(state).__name__}")
    for name, value in state.items():
        if not isinstance(value, torch.Tensor):
            raise _not_weights(path, f"{name}: a {type(value).__name__}")
    return state


def _not_weights(path: Path, got: str) -> BundleError:
    return BundleError(f"{path}: not weights alone", got=got, expected="a state dict: names and tensors")


def _safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise BundleError(f"{path} needs safetensors", next_step="pip install 'medseg[safetensors]'") from error
    tensors: dict[str, torch.Tensor] = load_file(path)
    return tensors


def weights_sha256(path: str | Sequence[str]) -> str:
    """SHA-256 of a file with weights; of an ensemble's files that of their hashes, one a line, in their order."""
    if isinstance(path, str):
        return sha256_of(Path(path))
    return hashlib.sha256("\n".join(sha256_of(Path(each)) for each in path).encode()).hexdigest()


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
