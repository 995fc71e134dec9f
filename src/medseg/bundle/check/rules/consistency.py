"""Training and inference: the same spacing, intensities, window and network, or a mistake."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from medseg.bundle.check.context import Context
from medseg.bundle.check.findings import Finding
from medseg.bundle.check.lines import Node
from medseg.bundle.check.merged import Merged, arguments
from medseg.bundle.check.values import UNKNOWN, components
from medseg.bundle.settings import settings_behind

_INTENSITIES = ("a_min", "a_max", "b_min", "b_max", "window")
_GRID = ("pixdim", "spacing_mm")


def shared_settings(contexts: Sequence[Context]) -> Iterator[Finding]:
    """In medseg's layout: what the segmenter is made of reads the same in every command's files."""
    own = [context for context in contexts if context.own and context.merged.find("segmenter") is not None]
    if len({context.merged.plan.overlays for context in own}) > 1:
        return  # an overlay for training alone: a run's folder has it for all commands
    if len(own) < 2:
        return
    settings = [settings_behind("segmenter", _plain(context.merged)) for context in own]
    for name in sorted({key for one in settings for key in one}):
        values = [one.get(name) for one in settings]
        if any(value != values[0] for value in values):
            yield _disagreement(own, name, values)


def _plain(merged: Merged) -> dict[str, Any]:
    found = merged.root.value()
    return dict(found) if isinstance(found, dict) else {}


def _disagreement(own: list[Context], name: str, values: list[Any]) -> Finding:
    """Told where the odd one stands: in the file of one command, not in common.yaml."""
    nodes = [context.merged.find(name) for context in own]
    odd = next((i for i, node in enumerate(nodes) if node is not None and not node.file.endswith("common.yaml")), 0)
    other = next((i for i, value in enumerate(values) if value != values[odd]), 0)
    node = nodes[odd] or own[odd].merged.root
    plans = [context.merged.plan.name for context in own]
    what = f"{name} is not the same in {plans[odd]} and {plans[other]}: the network would see what it has not learned"
    return own[odd].error("inconsistent", node, what, values[odd], repr(values[other]))


def spacing_and_intensities(contexts: Sequence[Context]) -> Iterator[Finding]:
    """In any layout: spacing and intensity window of the training's transforms and of the inference's."""
    train = next((c for c in contexts if c.merged.plan.name == "train"), None)
    infer = next((c for c in contexts if c.merged.plan.name == "inference"), None)
    if train is None or infer is None or train.own:
        return
    learned, used = _seen(train), _seen(infer)
    for key in sorted(set(learned) & set(used)):
        node, value = used[key]
        if value != learned[key][1]:
            what = f"{key[0]}::{key[1]} is another one than in training"
            yield infer.error("inconsistent", node, what, value, repr(learned[key][1]))


def _seen(context: Context) -> dict[tuple[str, str], tuple[Node, Any]]:
    """Grid and intensity arguments of transforms of images, by transform and argument; none of what stands twice."""
    found: dict[tuple[str, str], tuple[Node, Any]] = {}
    twice: set[tuple[str, str]] = set()
    for _, node in components(context.merged):
        target = str(node.content["_target_"].content).split(".")[-1]
        for argument, one in arguments(node).items():
            value = context.values.value(one) if argument in (*_GRID, *_INTENSITIES) else UNKNOWN
            if value is UNKNOWN or not target.endswith("d"):
                continue
            key = (target, argument)
            place = context.values.target(one)
            if key in found and found[key][0] is not place and found[key][1] != value:
                twice.add(key)
            found[key] = (place, value)
    return {key: one for key, one in found.items() if key not in twice}


def windows(contexts: Sequence[Context]) -> Iterator[Finding]:
    """An inference window smaller than the crops of the training gives less than the network learned to use."""
    for context in contexts:
        crops = [
            _size(context, node, ("roi_size", "spatial_size")) for _, node in components(context.merged) if _crops(node)
        ]
        for name, node in components(context.merged):
            if "SlidingWindow" not in str(node.content["_target_"].content):
                continue
            size = _size(context, node, ("roi_size",))
            for crop in crops:
                if size and crop and len(size) == len(crop) and any(0 < a < b for a, b in zip(size, crop, strict=True)):
                    what = f"{name}: the window is smaller than the crops that the network learns from"
                    place = context.values.target(node.content["roi_size"])
                    yield context.warning("inconsistent", place, what, size, f"at least {crop}")
                    break


def _crops(node: Node) -> bool:
    return str(node.content["_target_"].content).split(".")[-1].startswith(("RandSpatialCrop", "RandCropBy"))


def _size(context: Context, node: Node, names: tuple[str, ...]) -> list[int] | None:
    for name in names:
        one = node.content.get(name)
        value = None if one is None else context.values.value(one)
        if isinstance(value, list) and all(isinstance(part, int) for part in value):
            return value
    return None
