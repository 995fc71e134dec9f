"""Which tensors of a file fit a network: those that do, the first convolution with other channels, and the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from medseg.networks.patterns import matching

LEAST_SHARE = 0.1
"""Of the network's values that must come from the file: what fits by chance (norms, biases) is less."""


@dataclass
class Fit:
    """What becomes of each tensor.

    Attributes
    ----------
    tensors
        What is loaded, by the network's names: `adapted` are among them.
    adapted, skipped
        The network's names to what was done or why not.
    extra
        Names of the file that the network lacks.
    prefix
        What was taken off the file's names.
    total, values
        Tensors of the network and values in them.
    """

    prefix: str = ""
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    adapted: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    extra: list[str] = field(default_factory=list)
    total: int = 0
    values: int = 0

    @property
    def share(self) -> float:
        """Of the network's values, those that come from the file."""
        return sum(tensor.numel() for tensor in self.tensors.values()) / max(self.values, 1)

    @property
    def enough(self) -> bool:
        """Whether more than chance fits."""
        return self.share >= LEAST_SHARE

    def lines(self) -> list[str]:
        """A short table: how many, then one line for each tensor that was not simply loaded."""
        taken = f' ("{self.prefix}" taken off its names)' if self.prefix else ""
        head = f"loaded {len(self.tensors)} of {self.total} tensors, {self.share:.1%} of the values{taken}"
        adapted = [f"  adapted  {name}: {how}" for name, how in self.adapted.items()]
        skipped = [f"  skipped  {name}: {why}; starts anew" for name, why in self.skipped.items()]
        return [head, *adapted, *skipped, *(f"  not used {name}: in the file alone" for name in self.extra)]


def fit(network: torch.nn.Module, state: Mapping[str, torch.Tensor], *, leave: Sequence[str] = ()) -> Fit:
    """Match the tensors of a file with those of a network, by name and shape; neither is changed.

    Parameters
    ----------
    network
        Whose names and shapes count. A tensor that it holds under two names (DynUNet's skip layers) counts once.
    state
        The file's tensors. A prefix that all its matching names share ("module.") is taken off.
    leave
        Patterns of names that are left as they are initialised.

    Raises
    ------
    BundleError
        A pattern of `leave` fits no tensor of the network.
    """
    names = _names(network)
    found = Fit(prefix=_prefix(state, names))
    renamed = {name.removeprefix(found.prefix): tensor for name, tensor in state.items()}
    left = matching(leave, set(names.values()), what="tensors")
    inputs = _input_convolutions(network)
    for name, own in _tensors(network).items():
        found.total, found.values = found.total + 1, found.values + own.numel()
        alias = next((alias for alias, first in names.items() if first == name and alias in renamed), None)
        if name in left:
            found.skipped[name] = "left out as asked"
        elif alias is None:
            found.skipped[name] = "not in the file"
        else:
            _place(found, name, own, renamed[alias], adaptable=name in inputs)
    found.extra = [name for name in renamed if name not in names]
    return found


def _place(found: Fit, name: str, own: torch.Tensor, theirs: torch.Tensor, *, adaptable: bool) -> None:
    if theirs.shape == own.shape:
        found.tensors[name] = theirs
    elif adaptable and theirs.ndim == own.ndim and _but_channels(theirs) == _but_channels(own):
        found.tensors[name] = with_channels(theirs, own.shape[1])
        found.adapted[name] = f"{theirs.shape[1]} input channels in the file, {own.shape[1]} here: their mean, rescaled"
    else:
        found.skipped[name] = f"{tuple(theirs.shape)} in the file, {tuple(own.shape)} here"


def with_channels(weight: torch.Tensor, channels: int) -> torch.Tensor:
    """The weight (O, I, ...) of a convolution for `channels` inputs: the mean over I, times I / channels.

    An image whose channels are all alike gives the same features as before.
    """
    mean = weight.float().mean(1, keepdim=True) * (weight.shape[1] / channels)
    return mean.expand(-1, channels, *weight.shape[2:]).clone()


def _but_channels(weight: torch.Tensor) -> tuple[int, ...]:
    return (weight.shape[0], *weight.shape[2:])


def _names(network: torch.nn.Module) -> dict[str, str]:
    """Every name of the state dict to the first name of the same tensor."""
    first: dict[int, str] = {}
    state = network.state_dict(keep_vars=True)
    return {name: first.setdefault(id(tensor), name) for name, tensor in state.items()}


def _tensors(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Each tensor of the state dict once."""
    names = _names(network)
    state = network.state_dict()
    return {name: tensor for name, tensor in state.items() if names[name] == name}


def _prefix(state: Iterable[str], names: Mapping[str, str]) -> str:
    """The beginning of the file's names without which most of them are the network's; the shortest of equals."""
    listed = list(state)
    starts = {".".join(name.split(".")[:depth]) + "." for name in listed for depth in (1, 2, 3)}
    hits = {
        start: sum(1 for name in listed if name.startswith(start) and name.removeprefix(start) in names)
        for start in starts
    }
    hits[""] = sum(1 for name in listed if name in names)
    return min(hits, key=lambda start: (-hits[start], len(start), start))


def _input_convolutions(network: torch.nn.Module) -> set[str]:
    """Names of the weights of the convolutions that take the network's input."""
    plain = {
        f"{name}.weight": module
        for name, module in network.named_modules()
        if isinstance(module, _ConvNd) and not isinstance(module, _ConvTransposeNd) and module.groups == 1
    }
    channels = next((module.in_channels for module in plain.values()), 0)
    return {name.removeprefix(".") for name, module in plain.items() if module.in_channels == channels}
