"""Stage two: what text cannot decide, found by building the network and passing an empty image of the window's size.

The network is built on torch's meta device where it can be: shapes without memory or arithmetic, so that a window of
any size costs milliseconds. No data is read.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from medseg.bundle.check.context import Context
from medseg.bundle.check.findings import Finding, did_you_mean, in_order
from medseg.bundle.check.lines import Node
from medseg.bundle.check.merged import Merged, arguments, is_component
from medseg.bundle.check.rules.windows import run_sizes
from medseg.bundle.check.sources import Sources
from medseg.bundle.check.values import components

NETWORK = "network_def"


def check_deep(merged: Merged, parser: Any) -> list[Finding]:
    """What is wrong with the network, its windows, and targets that expressions compute.

    Parameters
    ----------
    merged
        The configuration, in which stage one has found no error.
    parser
        MONAI's ConfigParser of the same content, or the guarded one of a bundle that nobody has trusted: what it makes
        of the network runs the bundle's code.
    """
    context = Context(merged, Sources(merged.bundle), [merged])
    try:
        return in_order([*_computed_targets(context, parser), *_network(context, parser)])
    finally:
        parser.ref_resolver.reset()


def parser_of(merged: Merged, *, trusted: bool) -> Any:
    """A parser of a merged configuration."""
    config = merged.root.value() | {"bundle_root": str(merged.bundle)}
    if trusted:
        from monai.bundle import ConfigParser

        return ConfigParser(config)
    from medseg.bundle.guard import GuardedParser

    return GuardedParser(config, writable=[])


def _computed_targets(context: Context, parser: Any) -> Iterator[Finding]:
    """Components whose `_target_` is an expression: what it gives has to be callable with the arguments."""
    for name, node in components(context.merged):
        target = node.content["_target_"]
        if not isinstance(target.content, str) or not target.content.startswith("$"):
            continue
        try:
            made = parser.get_parsed_content(f"{name}::_target_")
        except Exception as error:  # noqa: BLE001 (a stranger's expression may raise anything; it is told)
            yield context.error("bad-target", target, f"{name}: _target_ cannot be computed", _root(error))
            continue
        yield from _callable_with(context, name, node, made)


def _callable_with(context: Context, name: str, node: Node, made: Any) -> Iterator[Finding]:
    target, given = node.content["_target_"], arguments(node)
    if not callable(made):
        got = type(made).__name__
        yield context.error("bad-target", target, f"{name}: _target_ is nothing that can be called", got)
        return
    try:
        takes = inspect.signature(made)
    except (TypeError, ValueError):
        return  # built in, without a signature
    try:
        takes.bind(**dict.fromkeys(given))
    except TypeError as error:
        unknown = next((key for key in given if key not in takes.parameters), None)
        place = target if unknown is None else given[unknown]
        hint = None if unknown is None else did_you_mean(unknown, takes.parameters)
        yield context.error("unknown-argument", place, f"{name}: {error}", expected=str(takes), hint=hint)


def _network(context: Context, parser: Any) -> Iterator[Finding]:
    place = context.merged.find(NETWORK)
    if place is None or (not is_component(place) and context.values.items(place) is None):
        return
    try:
        network, device = _built(parser)
    except Exception as error:  # noqa: BLE001 (a network may raise anything; it is told with its line)
        yield context.error("network", _blamed(place, error), f"{NETWORK} cannot be built", _root(error))
        return
    channels = _channels(context)
    for name, node, size in _sizes(context, parser):
        yield from _passes(context, network, device, name, node, [1, channels, *size])


def _built(parser: Any) -> tuple[Any, str]:
    """The network and the device it is on: meta, or the CPU where it computes while it is built."""
    import torch

    try:
        with torch.device("meta"):
            return parser.get_parsed_content(NETWORK).eval(), "meta"
    except (RuntimeError, NotImplementedError) as error:
        if "meta" not in _root(error):
            raise
    parser.ref_resolver.reset()
    return parser.get_parsed_content(NETWORK).to("cpu").eval(), "cpu"


def _sizes(context: Context, parser: Any) -> Iterator[tuple[str, Node, list[int]]]:
    """Each size that the network is run with, once; those that expressions compute are computed."""
    seen: set[tuple[int, ...]] = set()
    for name, node in run_sizes(context):
        try:
            made = parser.get_parsed_content(name)
        except (RuntimeError, ValueError, TypeError, LookupError):
            continue  # an argument that needs data: it has no size before that
        parts = list(made) if isinstance(made, (list, tuple)) else []
        size = [part for part in parts if isinstance(part, int) and part > 0]
        if size and len(size) == len(parts) and tuple(size) not in seen:
            seen.add(tuple(size))
            yield name, context.values.target(node), size


def _passes(context: Context, network: Any, device: str, name: str, node: Node, shape: list[int]) -> Iterator[Finding]:
    import torch

    try:
        with torch.no_grad():
            output = _first_tensor(network(torch.empty(shape, device=device)))
    except Exception as error:  # noqa: BLE001 (a network may raise anything; it is told with its line)
        if _not_on_meta(error):
            return
        shown = " x ".join(map(str, shape))
        yield context.error("window", node, f"{name}: the network cannot take an image of {shown}", _root(error))
        return
    if output is None or not context.own:
        return
    labels = context.merged.find("_meta_::network_data_format::outputs::pred::num_channels")
    if labels is not None and output.shape[1] != labels.content:
        place = context.merged.find(NETWORK) or node
        what = f"{NETWORK} gives other channels than the metadata have labels"
        yield context.error("channels", place, what, int(output.shape[1]), str(labels.content))
    if list(output.shape[2:]) != shape[2:]:
        what = f"{name}: the network's output is not as large as its input"
        yield context.error("window", node, what, list(output.shape[2:]), str(shape[2:]))


def _first_tensor(output: Any) -> Any:
    """The logits: of deep supervision the finest, of a dictionary the first."""
    if isinstance(output, Mapping):
        output = next(iter(output.values()), None)
    if isinstance(output, (list, tuple)):
        output = output[0] if output else None
    return output if hasattr(output, "shape") else None


def _channels(context: Context) -> int:
    for name in (f"{NETWORK}::in_channels", "_meta_::network_data_format::inputs::image::num_channels"):
        node = context.merged.find(name)
        value = None if node is None else context.values.value(node)
        if isinstance(value, int):
            return value
    return 1


def _not_on_meta(error: BaseException) -> bool:
    text = _root(error).lower()
    return isinstance(error, NotImplementedError) or "meta" in text


def _blamed(place: Node, error: BaseException) -> Node:
    """The argument that the error names, or the component."""
    text = _root(error)
    named = [one for key, one in place.children() if len(key) > 3 and key in text]
    return named[0] if len(named) == 1 else place


def _root(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if len(text) < 300 else f"{type(error).__name__}: {text[:300]} ..."
