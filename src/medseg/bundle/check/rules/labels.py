"""Labels of the metadata, channels of the network, loss, metrics and transforms: one set, or a mistake."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from medseg.bundle.check.context import Context
from medseg.bundle.check.findings import Finding
from medseg.bundle.check.lines import Node
from medseg.bundle.check.merged import arguments, is_component
from medseg.bundle.check.values import UNKNOWN, components

_FORMAT = "_meta_::network_data_format"
_NUMBERS = ("labels", "applied_labels", "heart", "lungs", "regions", "swaps")
"""Arguments of medseg's and MONAI's components that are values of labels."""
_MOST = {"uint8": 255, "int8": 127}
_SINGLE = ("sigmoid", "softmax", "other_act")
_MIXING = frozenset(
    {
        *("Affine", "RandAffine", "Rotate", "RandRotate", "Zoom", "RandZoom", "Rand2DElastic", "Rand3DElastic"),
        *("GridDistortion", "RandGridDistortion", "Resize", "ResampleToMatch", "Spacing", "SpatialResample"),
        "ResampleToSpacing",
    }
)
"""Transforms that interpolate, without the `d` of those of dictionaries; MONAI's default is bilinear or area."""
_MIXED = frozenset({"linear", "bilinear", "trilinear", "bicubic", "area"})


def interpolated(context: Context) -> Iterator[Finding]:
    """A label map whose values are mixed: between 0 and 2 lies 1, another label. One-hot maps may be mixed."""
    if any("to_onehot" in arguments(node) for _, node in components(context.merged)):
        return
    for name, node in components(context.merged):
        target, given = str(node.content["_target_"].content).split(".")[-1], arguments(node)
        keys = context.values.value(given["keys"]) if "keys" in given else []
        keys = [keys] if isinstance(keys, str) else keys
        if target.removesuffix("d") not in _MIXING or not isinstance(keys, list) or "label" not in keys:
            continue
        mode = context.values.value(given["mode"]) if "mode" in given else "bilinear"  # or area: MONAI's defaults
        if isinstance(mode, list):
            mode = mode[keys.index("label")] if len(mode) == len(keys) else UNKNOWN
        if isinstance(mode, str) and mode.lower() in _MIXED:
            place = context.values.target(given["mode"]) if "mode" in given else node.content["_target_"]
            expected = f"mode: [{', '.join('nearest' if key == 'label' else 'bilinear' for key in keys)}]"
            yield context.warning("labels", place, f"{name}: {target} mixes the values of the label", mode, expected)


def narrowed(context: Context) -> Iterator[Finding]:
    """Labels beyond what their voxels are narrowed to: 256 becomes 0 in 8 bits, without a word."""
    known = context.merged.find(f"{_FORMAT}::outputs::pred::channel_def")
    stated = known.content if known is not None and isinstance(known.content, dict) else {}
    largest = max((int(key) for key in stated if key.isdecimal()), default=0)
    for name, node in components(context.merged):
        given = arguments(node)
        keys = context.values.value(given["keys"]) if "keys" in given else None
        most = _MOST.get(str(given["dtype"].content).rpartition(".")[2]) if "dtype" in given else None
        if most is not None and largest > most and "label" in (keys if isinstance(keys, list) else [keys]):
            what = f"{name}::dtype does not hold the label {largest} of the metadata"
            yield context.error("labels", given["dtype"], what, str(given["dtype"].content), "$torch.int16")


def channels(context: Context) -> Iterator[Finding]:
    """Channels of the network against those of the metadata."""
    network = context.merged.find("network_def")
    if network is None or not is_component(network):
        return
    given = arguments(network)
    inputs = f"{_FORMAT}::inputs::image"
    for argument, place in (("in_channels", f"{inputs}::num_channels"), ("out_channels", _outputs())):
        stated = context.merged.find(place)
        one = given.get(argument)
        value = None if one is None else context.values.value(one)
        if one is None or stated is None or not isinstance(stated.content, int) or not isinstance(value, int):
            continue
        if value != stated.content and stated.content != 1:
            what = f"network_def::{argument} and {place.removeprefix('_meta_::')} of the metadata disagree"
            yield context.error("channels", one, what, value, str(stated.content))
        elif value != stated.content and argument == "in_channels":
            what = f"network_def::{argument} and the metadata's number of input channels disagree"
            yield context.error("channels", one, what, value, str(stated.content))


def _outputs() -> str:
    return f"{_FORMAT}::outputs::pred::num_channels"


def axes(context: Context) -> Iterator[Finding]:
    """`spatial_dims` of any component of medseg's bundles against the sizes that the metadata state."""
    shape = context.merged.find(f"{_FORMAT}::inputs::image::spatial_shape")
    if shape is None or not isinstance(shape.content, list) or not context.own:
        return
    for name, node in components(context.merged):
        one = arguments(node).get("spatial_dims")
        value = None if one is None else context.values.value(one)
        if one is not None and isinstance(value, int) and value != len(shape.content):
            what = f"{name}::spatial_dims and the spatial_shape of the metadata disagree"
            yield context.error("axes", context.values.target(one), what, value, str(len(shape.content)))


def classes(context: Context) -> Iterator[Finding]:
    """One-hot sizes and numbers of classes against the network's channels."""
    wanted = _out_channels(context)
    if wanted is None or wanted < 2:
        return
    for name, node in components(context.merged):
        given = arguments(node)
        for argument in ("to_onehot", "num_classes"):
            one = given.get(argument)
            if one is None or name == "network_def":
                continue
            value = context.values.value(one)
            for number in value if isinstance(value, list) else [value]:
                if isinstance(number, int) and not isinstance(number, bool) and number != wanted:
                    what = f"{name}::{argument} is not the number of the network's classes"
                    yield context.error("classes", context.values.target(one), what, number, str(wanted))
        yield from _ratios(context, name, given, wanted)


def _ratios(context: Context, name: str, given: dict[str, Node], wanted: int) -> Iterator[Finding]:
    one = given.get("ratios")
    value = None if one is None else context.values.value(one)
    if one is not None and isinstance(value, list) and len(value) != wanted:
        what = f"{name}::ratios has not one ratio for each class"
        yield context.error("classes", one, what, value, f"{wanted} numbers")


def _out_channels(context: Context) -> int | None:
    node = context.merged.find("network_def::out_channels")
    value = None if node is None else context.values.value(node)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def label_values(context: Context) -> Iterator[Finding]:
    """Values of labels that the metadata do not have."""
    node = context.merged.find(f"{_FORMAT}::outputs::pred::channel_def")
    if node is None or not isinstance(node.content, dict) or not context.own:
        return
    known = {int(key) for key in node.content if key.isdecimal()}
    for name, component in components(context.merged):
        target = str(component.content["_target_"].content)
        if not target.startswith("medseg.") and "applied_labels" not in component.content:
            continue
        for argument, one in arguments(component).items():
            if argument in _NUMBERS:
                yield from _unknown_labels(context, f"{name}::{argument}", one, known)


def _unknown_labels(context: Context, name: str, node: Node, known: set[int]) -> Iterator[Finding]:
    place = context.values.target(node)
    if place.file.endswith("metadata.json"):
        return
    for part in [one for _, one in place.children()] or [place]:
        if isinstance(part.content, list):
            yield from _unknown_labels(context, name, part, known)
        elif isinstance(part.content, int) and not isinstance(part.content, bool) and part.content not in known:
            expected = ", ".join(map(str, sorted(known)))
            yield context.error("labels", part, f"{name}: {part.content} is no label of the metadata", None, expected)


def losses(context: Context) -> Iterator[Finding]:
    """Activations of MONAI's losses that exclude each other, or are missing."""
    for name, node in components(context.merged):
        found = context.sources.resolve(str(node.content["_target_"].content))
        if not found.module.startswith("monai.losses.dice"):
            continue
        given = arguments(node)
        on = [one for one in _SINGLE if one in given and context.values.value(given[one]) not in (False, None)]
        if len(on) > 1:
            what = f"{name}: {' and '.join(on)} exclude each other"
            yield context.error("loss", given[on[1]], what, expected=f"one of {', '.join(_SINGLE)}")
        if not on:
            what = f"{name}: {found.name} gets the network's raw values, for it has neither softmax nor sigmoid"
            yield context.warning("loss", node.content["_target_"], what, expected="softmax: true, or sigmoid: true")
        yield from _one_hot(context, name, node, given)


def _one_hot(context: Context, name: str, node: Node, given: dict[str, Node]) -> Iterator[Finding]:
    """medseg's readers give one channel of label values: a loss over classes has to make them one-hot."""
    flag = given.get("to_onehot_y")
    value: Any = False if flag is None else context.values.value(flag)
    wanted = _out_channels(context)
    loads = any("LoadCased" in str(one.content["_target_"].content) for _, one in components(context.merged))
    if loads and wanted is not None and wanted > 1 and value is False:
        what = f"{name}: the label has one channel, the network {wanted}"
        yield context.error("loss", flag or node.content["_target_"], what, expected="to_onehot_y: true")
