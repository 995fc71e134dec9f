"""A table of a network's layers: what each gives and how many weights it has."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medseg.errors import BundleError, first_line


@dataclass(frozen=True)
class Layer:
    """One row of the table; `parameters` are the layer's own, `output` is empty where the forward pass skips it."""

    name: str
    kind: str
    output: str
    parameters: int


def describe(network: nn.Module, input_shape: Sequence[int]) -> str:
    """A table of the layers of `network` with output shapes and parameter counts; the network stays as it is.

    Parameters
    ----------
    network
        Any network that takes one tensor, of medseg, MONAI or elsewhere.
    input_shape
        Shape of the input, (B, C, X, Y) or (B, C, X, Y, Z). Nothing is computed for it: shapes alone are followed.

    Raises
    ------
    BundleError
        Where the network does not take an input of this shape.
    """
    rows = [("layer", "kind", "output", "parameters")]
    rows += [
        (row.name, row.kind, row.output or "not used", f"{row.parameters:,}") for row in layers(network, input_shape)
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    table = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:<{widths[2]}}  {d:>{widths[3]}}" for a, b, c, d in rows]
    total = sum(weight.numel() for weight in network.parameters())
    trainable = sum(weight.numel() for weight in network.parameters() if weight.requires_grad)
    heading = f"{type(network).__name__}, input {_shape_text(input_shape)}"
    return "\n".join([heading, *table, f"parameters: {total:,} in all, {trainable:,} trainable"])


def layers(network: nn.Module, input_shape: Sequence[int]) -> list[Layer]:
    """The layers of `network` in order of definition: modules without parts, and those with weights of their own."""
    shadow = copy.deepcopy(network).to("meta").eval()
    outputs: dict[str, str] = {}
    named = {name or type(module).__name__: module for name, module in shadow.named_modules() if _is_layer(module)}
    for name, module in named.items():
        module.register_forward_hook(
            lambda _module, _args, result, name=name: outputs.update({name: _result_text(result)})
        )
    try:
        with torch.no_grad():
            shadow(torch.empty(tuple(input_shape), device="meta"))
    except (RuntimeError, ValueError, IndexError) as error:
        reason = first_line(error)
        what = f"{type(network).__name__} does not take an input of shape {_shape_text(input_shape)}: {reason}"
        raise BundleError(what) from error
    return [
        Layer(
            name, type(module).__name__, outputs.get(name, ""), sum(w.numel() for w in module.parameters(recurse=False))
        )
        for name, module in named.items()
    ]


def _is_layer(module: nn.Module) -> bool:
    own = any(True for _ in module.parameters(recurse=False))
    return own or not any(True for _ in module.children())


def _result_text(result: object) -> str:
    if isinstance(result, Tensor):
        return _shape_text(result.shape)
    if isinstance(result, list | tuple):
        return ", ".join(_result_text(part) for part in result)
    return type(result).__name__


def _shape_text(shape: Sequence[int]) -> str:
    return " x ".join(str(int(size)) for size in shape)
