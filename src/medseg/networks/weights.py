"""Weights from a file into a network."""

from __future__ import annotations

import copy
import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from medseg.errors import BundleError, first_line
from medseg.files import sha256_of
from medseg.networks.ensemble import Ensemble
from medseg.networks.fitting import fit
from medseg.networks.freezing import freeze as freeze_parts
from medseg.networks.weight_files import read_checkpoint, read_tensors

logger = logging.getLogger(__name__)

IN_CHECKPOINT = ""
"""In place of a file: the run is resumed, its checkpoint has the weights."""
_TOLD = 4


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
        network.load_state_dict(read_tensors(Path(path)))
    except BundleError:
        raise
    except Exception as error:
        raise BundleError(
            f"{path}: the weights do not load into the bundle's network",
            got=first_line(error),
            expected="the state dict of network_def in configs/common.yaml",
        ) from error
    return network


def weights_sha256(path: str | Sequence[str]) -> str:
    """SHA-256 of a file with weights; of an ensemble's files that of their hashes, one a line, in their order."""
    if isinstance(path, str):
        return sha256_of(Path(path))
    return hashlib.sha256("\n".join(sha256_of(Path(each)) for each in path).encode()).hexdigest()


def start_weights(
    network: torch.nn.Module,
    *,
    path: str | None = None,
    device: torch.device | str = "cpu",
    leave: Sequence[str] = (),
    freeze: Sequence[str] = (),
) -> torch.nn.Module:
    """The network that training starts from, on `device`, in the memory layout in which convolutions are fastest.

    Of the file all that fits is loaded, and the log says what was not and why. A head for another number of labels
    starts anew; a first convolution for another number of channels is adapted.

    Parameters
    ----------
    network
        As it was initialised.
    path
        File with weights to start from: a state dict, a checkpoint that holds one, or .safetensors; None keeps the
        initialisation, and so does `IN_CHECKPOINT`, for a run that is resumed.
    device
        Where it will be trained.
    leave
        Patterns of names whose tensors are not taken from the file, such as a head for labels of another meaning.
    freeze
        Patterns of names whose parameters are not trained. Those that the file does not give are told as a warning.

    Raises
    ------
    BundleError
        The file holds no weights, nearly none that fit, or some that are not finite; or a pattern fits nothing.
    """
    if path is None and leave:
        raise BundleError("patterns of what not to load, and no weights to load", got=", ".join(leave))
    file = None if path is None or path == IN_CHECKPOINT else Path(path)
    loaded = set[str]() if file is None else _start_from(network, file, leave)
    raw = freeze_parts(network, freeze) - loaded
    if raw and path != IN_CHECKPOINT:
        text = "%d frozen tensors are not from trained weights and stay as they were drawn at random: %s"
        logger.warning(text, len(raw), ", ".join(sorted(raw)[:_TOLD]) + (", ..." if len(raw) > _TOLD else ""))
    kernel_axes = max((parameter.ndim for parameter in network.parameters()), default=0)
    layouts = {4: torch.channels_last, 5: torch.channels_last_3d}
    layout = layouts.get(kernel_axes, torch.preserve_format)
    return network.to(device=device, memory_format=layout)  # type: ignore[call-overload]  # torch's stub lacks it


def _start_from(network: torch.nn.Module, path: Path, leave: Sequence[str]) -> set[str]:
    """Load what fits; the names of what was loaded."""
    checkpoint = read_checkpoint(path)
    found = fit(network, checkpoint.tensors, leave=leave)
    for line in (f"initial weights: {path}", *found.lines()):
        logger.info("%s", line)
    if not found.enough:
        raise BundleError(
            f"{path}: nothing or nearly nothing of it fits the network",
            got=f"{len(found.tensors)} of {found.total} tensors, {found.share:.1%} of the values",
            expected=f"names such as {', '.join(list(found.skipped)[:2])}; the file has {', '.join(found.extra[:2])}",
            next_step="give the network that the weights are from: network_def in configs/common.yaml",
        )
    spoilt = [name for name, tensor in found.tensors.items() if not torch.isfinite(tensor).all()]
    if spoilt:
        raise BundleError(
            f"{path}: weights that are not finite",
            got=f"{len(spoilt)} tensors, such as {spoilt[0]}",
            next_step="name weights of a training that went well",
        )
    network.load_state_dict(found.tensors, strict=False)
    return set(found.tensors)
