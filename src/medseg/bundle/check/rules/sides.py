"""Left and right in mirrored images: labels that change places and should not, or keep them and should not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

from medseg.bundle.check.context import Context
from medseg.bundle.check.findings import Finding
from medseg.bundle.check.lines import Node
from medseg.bundle.check.merged import arguments
from medseg.bundle.check.values import components

_LABELS = "_meta_::network_data_format::outputs::pred::channel_def"
_OTHER = {"left": "right", "right": "left", "l": "r", "r": "l"}
_FLIPS = ("Flipd", "RandFlipd", "RandAxisFlipd")
_X = 0
"""The axis of medseg's grids that runs from one side of the patient to the other."""

_Pairs = set[frozenset[int]]


def mirrored(context: Context) -> Iterator[Finding]:
    """What mirrors images, against the names of the labels: a copied bundle still has the pairs of its source."""
    node = context.merged.find(_LABELS)
    if node is None or not isinstance(node.content, dict) or not context.own:
        return
    names = {int(value): str(one.content) for value, one in node.content.items() if value.isdecimal()}
    for name, component in components(context.merged):
        axes, pairs = _mirror(context, component)
        for a, b in sorted(map(sorted, (pair for pair in pairs if len(pair) == 2))):
            if a in names and b in names and not _may_change(names[a], names[b]):
                what = f"{name}: {names[a]} and {names[b]} change places in mirrored images"
                expected = "labels that are each other's mirror image, or swaps: []"
                yield context.warning("labels", _place(context, component), what, [a, b], expected)
        for a, b in combinations(sorted(names), 2):
            if _X in axes and _words(names[a]) == _other(names[b]) and {a, b} not in pairs:
                what = f"{name} mirrors left and right, where {names[a]} and {names[b]} keep their names"
                expected = f"{_changing(component)} with [{a}, {b}] among its swaps"
                yield context.warning("labels", _place(context, component), what, None, expected)


def _mirror(context: Context, component: Node) -> tuple[set[int], _Pairs]:
    """Along which axes labels are mirrored, and which of them then change places; nothing where text does not tell."""
    target = _target(component)
    given = {key: context.values.value(one) for key, one in arguments(component).items()}
    if target == "RandMirrorLabelsd":
        return _whole([given.get("axis")]), _pairs(given.get("swaps"))
    if target == "Mirror":
        swaps = given.get("swaps")
        every = [_pairs(one) for one in swaps.values()] if isinstance(swaps, Mapping) else []
        return _whole(given.get("axes")), set().union(*every)
    if target in _FLIPS and "label" in _listed(given.get("keys")):
        axis = given.get("spatial_axis")
        return ({_X} if axis is None else _whole(_listed(axis))), set()
    return set(), set()


def _target(component: Node) -> str:
    return str(component.content["_target_"].content).split(".")[-1]


def _place(context: Context, component: Node) -> Node:
    given = arguments(component)
    return context.values.target(given["swaps"]) if "swaps" in given else component.content["_target_"]


def _changing(component: Node) -> str:
    return "medseg.transforms.RandMirrorLabelsd" if _target(component) in _FLIPS else _target(component)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _whole(value: Any) -> set[int]:
    return {one for one in _listed(value) if isinstance(one, int)}


def _pairs(value: Any) -> _Pairs:
    return {frozenset(_whole(pair)) for pair in value if isinstance(pair, list)} if isinstance(value, list) else set()


def _words(name: str) -> list[str]:
    return re.findall(r"[^\W_]+", name.lower())


def _other(name: str) -> list[str]:
    """The words of what lies on the other side; of a label without a side none that there is."""
    words = _words(name)
    return [_OTHER.get(word, word) for word in words] if set(words) & _OTHER.keys() else []


def _may_change(one: str, other: str) -> bool:
    """Whether two names may be of one another's mirror image: left and right of the same, or so in another language."""
    if set(_words(one) + _words(other)) & _OTHER.keys():
        return _words(one) == _other(other)
    return bool(set(_words(one)) & set(_words(other)))
