"""Windows and crops that the network cannot take: too few axes, or sizes that its strides do not divide."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from medseg.bundle.check.context import Context
from medseg.bundle.check.findings import Finding
from medseg.bundle.check.lines import Node
from medseg.bundle.check.merged import arguments, is_component
from medseg.bundle.check.values import components

_CROPS = ("RandSpatialCropd", "RandSpatialCropSamplesd", "RandCropByLabelClassesd", "RandCropByPosNegLabeld")
_FIXED = {"SwinUNETR": 32, "BasicUNet": 16, "VNet": 16, "BasicUNetPlusPlus": 16}
"""What each side has to be a multiple of, from the networks' own checks and depths (monai/networks/nets)."""


def divisible(context: Context) -> Iterator[Finding]:
    """Each window against the network's strides and the sizes that the metadata state."""
    network = context.merged.find("network_def")
    if network is None or not is_component(network):
        return
    yield from _shape(context, network)
    factors, axes = multiples(context, network), _axes(context, network)
    for name, node in run_sizes(context):
        value = context.values.value(node)
        sizes = value if isinstance(value, list) else [value] * (axes or 0)
        place = context.values.target(node)
        if isinstance(value, list) and axes is not None and len(value) != axes:
            yield context.error("window", place, f"{name} has not one size an axis", value, f"{axes} sizes")
        elif factors is not None and all(isinstance(size, int) for size in sizes):
            wrong = [n for n, by in zip(sizes, _per_axis(factors, len(sizes)), strict=False) if n > 0 and n % by]
            if wrong:
                by = ", ".join(map(str, _per_axis(factors, len(sizes))))
                what = f"{name} cannot pass the network's strides"
                yield context.error("window", place, what, value, f"multiples of {by}")
        if context.own:
            yield from _stated(context, name, place, sizes)


def run_sizes(context: Context) -> Iterator[tuple[str, Node]]:
    """Sizes with which the network is run: windows of inferers and crops of the training."""
    for name, node in components(context.merged):
        given = arguments(node)
        target = str(node.content["_target_"].content).split(".")[-1]
        if "SlidingWindow" in target and "roi_size" in given:
            yield f"{name}::roi_size", given["roi_size"]
        if target in _CROPS:
            flag = given.get("random_size")
            fixed = target != "RandSpatialCropd" or (flag is not None and context.values.value(flag) is False)
            for one in ("spatial_size", "roi_size"):
                if one in given and fixed:
                    yield f"{name}::{one}", given[one]


def _axes(context: Context, network: Node) -> int | None:
    one = arguments(network).get("spatial_dims")
    value = None if one is None else context.values.value(one)
    if isinstance(value, int):
        return value
    shape = context.merged.find("_meta_::network_data_format::inputs::image::spatial_shape")
    return len(shape.content) if context.own and shape is not None and isinstance(shape.content, list) else None


def multiples(context: Context, network: Node) -> list[int] | int | None:
    """What the sides of a window have to be multiples of, one number or one an axis; None where text does not tell."""
    given = {key: context.values.value(one) for key, one in arguments(network).items()}
    name = str(network.content["_target_"].content).split(".")[-1]
    if name in ("UNet", "Unet", "AttentionUnet"):
        return _product(given.get("strides"))
    if name in ("DynUNet", "DynUnet", "Dynunet"):
        return _product(given.get("strides"))
    if name == "SegResNet":
        blocks = given.get("blocks_down", [1, 2, 2, 4])
        return int(2 ** (len(blocks) - 1)) if isinstance(blocks, list) else None
    return _FIXED.get(name)


def _product(strides: Any) -> list[int] | int | None:
    if not isinstance(strides, list) or not strides:
        return None
    if all(isinstance(one, int) for one in strides):
        return math.prod(strides)
    rows = [one if isinstance(one, list) else None for one in strides]
    if any(row is None or not all(isinstance(n, int) for n in row) for row in rows):
        return None
    return [math.prod(column) for column in zip(*[row or [] for row in rows], strict=False)]


def _per_axis(factors: list[int] | int, axes: int) -> list[int]:
    return factors if isinstance(factors, list) else [max(factors, 1)] * axes


def _stated(context: Context, name: str, place: Node, sizes: list[Any]) -> Iterator[Finding]:
    """The sizes that metadata.json says the network takes."""
    from medseg.bundle.describe import example_size
    from medseg.errors import BundleError

    shape = context.merged.find("_meta_::network_data_format::inputs::image::spatial_shape")
    stated = shape.value() if shape is not None and isinstance(shape.content, list) else []
    for size, text in zip(sizes, stated, strict=False):
        by = str(text).partition("*")[0]
        if not isinstance(text, str) or not by.isdecimal() or not isinstance(size, int):
            continue
        try:
            legal = size % int(by) == 0 or example_size(text) == size
        except BundleError:
            return
        if not legal:
            what = f"{name} is not a size that metadata.json allows"
            yield context.error("window", place, what, size, text)
            return


def _shape(context: Context, network: Node) -> Iterator[Finding]:
    """Lists of the network that have to be as long as each other."""
    given = {key: context.values.value(one) for key, one in arguments(network).items()}
    name = str(network.content["_target_"].content).split(".")[-1]
    rules = {
        "UNet": [("channels", "strides", 1)],
        "AttentionUnet": [("channels", "strides", 1)],
        "DynUNet": [("kernel_size", "strides", 0), ("strides", "upsample_kernel_size", 1), ("filters", "strides", 0)],
        "SegResNet": [("blocks_down", "blocks_up", 1)],
    }
    for longer, shorter, more in rules.get(name, []):
        one, other = given.get(longer), given.get(shorter)
        if isinstance(one, list) and isinstance(other, list) and len(one) != len(other) + more:
            what = f"network_def: {longer} has {len(one)} values and {shorter} has {len(other)}"
            expected = f"{more} more in {longer}" if more else "as many"
            yield context.error("network", arguments(network)[shorter], what, expected=expected)
