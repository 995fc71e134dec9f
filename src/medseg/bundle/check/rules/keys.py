"""Keys of a case ("image", "label") that transforms read before anything has written them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medseg.bundle.check.context import Context
from medseg.bundle.check.findings import Finding, closest, did_you_mean
from medseg.bundle.check.lines import Node
from medseg.bundle.check.merged import arguments, is_component, is_disabled
from medseg.bundle.check.values import UNKNOWN, components

_READ = ("keys", "image_key", "label_key", "source_key", "orig_keys", "box_keys", "label_keys", "image_keys")
_READ_TOO = ("box_ref_image_keys", "ref_image_key", "ref_image_keys", "mask_key", "target_key", "cls_key")
_ENGINE = ("pred", "loss")
_LARGEST_LIST = 64_000_000
_SOURCES = {
    "medseg.datasets.load_datalist": {"image", "label"},
    "medseg.datasets.list_inputs": {"image", "label"},
}
"""What medseg's data sources give; of `list_inputs` an image alone, but its chains allow the label to be missing."""


class Chain:
    """The keys that are there while a case passes transforms.

    Attributes
    ----------
    known
        Keys that a case has at this point.
    sure
        Whether it can have no others.
    """

    def __init__(self, context: Context, known: set[str], *, sure: bool) -> None:
        self.context, self.known, self.sure = context, known, sure
        self.ever = set(known)

    def run(self, steps: list[Node]) -> Iterator[Finding]:
        """Pass the transforms."""
        for node in steps:
            if is_component(node) and not is_disabled(node):
                yield from self._step(node)
            elif isinstance(node.content, str):
                self.sure = False  # an expression: a lambda may write anything

    def _step(self, node: Node) -> Iterator[Finding]:
        given = {key: self.context.values.value(one) for key, one in arguments(node).items()}
        target = node.content["_target_"].content
        name = str(target).split(".")[-1]
        lenient = given.get("allow_missing_keys") is True
        loads = name.startswith(("LoadImage", "LoadCase"))
        for argument in (*_READ, *_READ_TOO):
            if argument not in given or (name.startswith("MaskToBox") and argument in ("box_keys", "label_keys")):
                continue
            for key in _texts(given[argument]):
                yield from self._read(node, argument, key, name, lenient=lenient, loads=loads)
        self._write(name, given)
        if not self._is_known(str(target)):
            self.sure = False

    def _read(self, node: Node, argument: str, key: str, name: str, *, lenient: bool, loads: bool) -> Iterator[Finding]:
        if key in self.known:
            return
        near = closest(key, self.ever, cutoff=0.7)
        certain = self.sure and not (lenient and near is None and not self.context.own)
        if not certain and (near is None or _differs_by_number(key, near) or loads):
            if loads or not self.sure:
                self.known.add(key)
                self.ever.add(key)
            return
        place = _place(self.context, node.content[argument], key)
        code, what = "unknown-key-read", f"{name} reads the key {key}, which nothing before it writes"
        if loads:
            code, what = "key-not-in-datalist", f"{name} loads the key {key}, which the data list does not have"
        known = ", ".join(sorted(self.known))
        yield self.context.error(code, place, what, expected=known, hint=did_you_mean(key, self.ever))

    def _write(self, name: str, given: dict[str, Any]) -> None:
        keys = _texts(given.get("keys"))
        new = {text for one in ("names", "name", "new_key", "output_key") for text in _texts(given.get(one))}
        new |= set(_texts(given.get("overwrite"))) | set(_texts(given.get("box_mask_keys")))
        postfixes = [text for one in _POSTFIXES for text in _texts(given.get(one))]
        new |= {f"{key}_{postfix.lstrip('_')}" for key in keys for postfix in postfixes}
        new |= {f"{prefix}{key}" for prefix in _texts(given.get("new_key_prefix")) for key in keys}
        for one in ("start_coord_key", "end_coord_key", "fg_indices_key", "bg_indices_key", "indices_key"):
            new |= set(_texts(given.get(one)))
        if name.startswith(("FgBgToIndices", "CropForeground", "ClassesToIndices")):
            new |= {f"{key}{end}" for key in keys for end in ("_fg_indices", "_bg_indices", "_cls_indices")}
            new |= {"foreground_start_coord", "foreground_end_coord"}
        if given.get("output_postfixes") is UNKNOWN or given.get("new_key_prefix") is UNKNOWN:
            self.sure = False
        if name.startswith("DeleteItems"):
            self.known -= set(keys)
        if name.startswith("SelectItems"):
            self.known &= set(keys)
        self.known |= new
        self.ever |= new

    def _is_known(self, target: str) -> bool:
        """Whether it is a transform of MONAI or medseg, which write nothing that is not in their arguments."""
        module = self.context.sources.resolve(target).module
        return module.startswith(("monai.transforms", "medseg."))


_POSTFIXES = ("output_postfixes", "fg_postfix", "bg_postfix", "meta_key_postfix")


def read_before_written(context: Context) -> Iterator[Finding]:
    """All chains of transforms: of data sets, of the segmenter, and behind the network."""
    ever: set[str] = set()
    sure = True
    for name, node in components(context.merged):
        given = arguments(node)
        steps = _steps(context, given)
        if steps is None or name.startswith("_meta_"):
            continue
        chain = _start(context, given)
        yield from chain.run(steps)
        ever |= chain.ever
        sure = sure and chain.sure and context.own
    for _, node in components(context.merged):
        after = arguments(node).get("postprocessing")
        steps = context.values.items(after) if after is not None and "val_data_loader" in node.content else None
        if steps is not None and ever:
            yield from Chain(context, ever | set(_ENGINE), sure=sure).run(steps)


def _steps(context: Context, given: dict[str, Node]) -> list[Node] | None:
    """The transforms of a data set or segmenter, in their order."""
    if "data" in given and "transform" in given:
        return context.values.items(given["transform"])
    parts = [given[one] for one in ("loading", "preprocessing", "augmentation") if one in given]
    if not parts or not ("data" in given or "loading" in given):
        return None
    found = [context.values.items(part) for part in parts]
    return None if None in found else [node for part in found for node in part or []]


def _start(context: Context, given: dict[str, Node]) -> Chain:
    """What a case has before the first transform."""
    if "data" not in given:
        return Chain(context, {"image", "label"}, sure=context.own)
    data = context.values.target(given["data"])
    if is_component(data) and data.content["_target_"].content in _SOURCES:
        known = set(_SOURCES[data.content["_target_"].content])
        return Chain(context, known & (_in_file(context, data) or known), sure=True)
    return Chain(context, set(), sure=False)


def _in_file(context: Context, data: Node) -> set[str] | None:
    """Keys of the cases in the data list that is given; None where there is no such file yet."""
    node = data.content.get("path")
    path = UNKNOWN if node is None else context.values.value(node)
    section = data.content.get("section")
    part = None if section is None else context.values.value(section)
    if not isinstance(path, str) or not isinstance(part, str) or not Path(path).is_file():
        return None
    try:
        small = Path(path).stat().st_size < _LARGEST_LIST
        content = json.loads(Path(path).read_text(encoding="utf-8")) if small else {}
        cases = content.get(part, [])
        keys = [set(one) for one in cases if isinstance(one, dict)]
    except (OSError, ValueError, AttributeError, TypeError):
        return None  # whoever reads the data list says what is wrong with it
    return set.intersection(*keys) if keys else None


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _place(context: Context, node: Node, key: str) -> Node:
    """Where a key stands: in the list, or where a reference leads."""
    for part in [one for _, one in node.children()] or [node]:
        if context.values.value(part) == key:
            return context.values.target(part)
    return context.values.target(node)


def _differs_by_number(one: str, other: str) -> bool:
    """image1 and image2, t1 and t1ce: names of a family, none a misspelling of another."""
    longer, shorter = (one, other) if len(one) >= len(other) else (other, one)
    return longer.startswith(shorter) or any(
        a != b and (a.isdigit() or b.isdigit()) for a, b in zip(one, other, strict=False)
    )
