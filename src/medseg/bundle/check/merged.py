"""The files of a plan merged as MONAI merges them, every value still knowing its file and line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from medseg.bundle.check.findings import COMMAND_LINE, Finding, did_you_mean
from medseg.bundle.check.lines import Node, of_value
from medseg.bundle.check.plans import Plan, Reader

SPECIAL = ("_target_", "_disabled_", "_requires_", "_desc_", "_mode_", "_debug_")
"""Keys of a component that are no arguments (MONAI 1.6: `ConfigComponent.non_arg_keys`, `instantiate`)."""

_RELATIVE = re.compile(r"[@%](?:::)+")
_DEEPEST_MACRO = 3
_MOST_COPIED = 20_000


class Merged:
    """One plan's configuration.

    Attributes
    ----------
    root
        The tree, overlays and overrides merged and macros replaced by what they name.
    ids
        Every id ("train::trainer::max_epochs") and its node, in the files' order.
    findings
        What could not be merged.
    """

    def __init__(self, bundle: Path, plan: Plan, reader: Reader) -> None:
        self.bundle, self.plan = bundle, plan
        self.findings: list[Finding] = []
        self.ids: dict[str, Node] = {}
        self.macros: set[str] = set()
        self._copied = 0
        self._kept: dict[str, Any] = {}
        self.root = Node({}, str(plan.files[0]), 1)
        for file in plan.files:
            document = reader.document(file)
            for key, node in {} if document is None else document.root.copy().children():
                self._merge(key, node, overlay=file in plan.overlays)
        self._add_metadata(reader)

    def _add_metadata(self, reader: Reader) -> None:
        path = self.bundle / "configs" / "metadata.json"
        document = reader.document(path) if path.is_file() else None
        self.root.content["_meta_"] = Node({}, str(path), 1) if document is None else document.root.copy()

    def override(self, overrides: Mapping[str, Any]) -> list[str]:
        """Set what the command line says; the names that the configuration does not have."""
        unknown = []
        for name, value in overrides.items():
            node = of_value(value, file=COMMAND_LINE)
            if self.find(name) is None and not self._is_argument(name):
                unknown.append(name)
                continue
            parent, _, last = normal(name).rpartition("::")
            _put(self.find(parent) if parent else self.root, last, node)
        return unknown

    def finish(self) -> Merged:
        """Replace macros and list all ids; to be called once everything is merged."""
        for _ in range(_DEEPEST_MACRO):
            if not self._replace_macros(self.root, ""):
                break
        self.ids = dict(_walk(self.root, ""))
        return self

    def kept(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make` makes of the finished configuration, made once."""
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]

    def find(self, name: str) -> Node | None:
        """The node of an id; None where there is none."""
        node: Node | None = self.root
        for part in normal(name).split("::") if name else []:
            node = _child(node, part)
        return node

    def nearest(self, name: str) -> str | None:
        """A hint at the id that was meant by `name`, which does not exist."""
        parts = normal(name).split("::")
        for depth, part in enumerate(parts):
            parent = self.find("::".join(parts[:depth]))
            if _child(parent, part) is None:
                return self._near(parts, depth, parent)
        return None

    def _near(self, parts: list[str], depth: int, parent: Node | None) -> str | None:
        prefix = "".join(f"{one}::" for one in parts[:depth])
        beside = [prefix + key for key, _ in parent.children()] if parent else []
        hint = did_you_mean(prefix + parts[depth], beside, cutoff=0.6 if depth == 0 else 0.8)
        if hint is None and depth + 1 == len(parts):
            ends = [one for one in self.ids if one.endswith(f"::{parts[-1]}") and not one.startswith("_meta_")]
            hint = f"did you mean {ends[0]}?" if ends else None
        return hint

    def _is_argument(self, name: str) -> bool:
        """True for a further argument of a component that is there: `network_def::dropout`."""
        parent = normal(name).rpartition("::")[0]
        node = self.find(parent) if parent else None
        return node is not None and isinstance(node.content, dict) and "_target_" in node.content

    def _merge(self, key: str, node: Node, *, overlay: bool) -> None:
        name = normal(key.removeprefix("+"))
        before = self.find(name)
        if key.startswith("+") and before is not None:
            self._extend(name, before, node)
            return
        parent, _, last = name.rpartition("::")
        place = self.find(parent) if parent else self.root
        if not _put(place, last, node):
            whose = f"{'overlay ' if overlay else ''}{Path(node.file).name}"
            hint = self.nearest(parent)
            what = f"{whose} names an id that {self.plan.name}{Path(self.plan.files[0]).suffix} does not have"
            self.findings.append(Finding("unknown-id", "error", node.file, node.line, what, name, hint=hint))

    def _extend(self, name: str, before: Node, node: Node) -> None:
        if isinstance(before.content, dict) and isinstance(node.content, dict):
            before.content.update(node.content)
        elif isinstance(before.content, list) and isinstance(node.content, list):
            before.content.extend(node.content)
        else:
            what = f"+{name} cannot be merged"
            expected = "a list behind a list, or a mapping behind a mapping"
            self.findings.append(Finding("bad-merge", "error", node.file, node.line, what, expected=expected))

    def _replace_macros(self, node: Node, name: str) -> bool:
        replaced = False
        for key, child in list(node.children()):
            inner = f"{name}::{key}" if name else key
            text = child.content
            if not isinstance(text, str):
                replaced = self._replace_macros(child, inner) or replaced
            elif text.startswith("%") and not re.search(r"\.(json|ya?ml)", text, re.IGNORECASE):
                wanted = absolute(text, inner)[1:]
                self.macros.add(wanted)
                replaced = self._replace_macro(node, key, child, inner, wanted) or replaced
        return replaced

    def _replace_macro(self, node: Node, key: str, macro: Node, name: str, wanted: str) -> bool:
        """Put a copy of what a macro names in its place; one that holds itself would never end."""
        target = self.find(wanted)
        self._copied += 0 if target is None else 1 + sum(1 for _ in _walk(target, ""))
        inside = name == wanted or name.startswith(f"{wanted}::")
        if target is not None and not inside and self._copied < _MOST_COPIED:
            _put(node, key, _at_line(target.copy(), macro))
            return True
        code, why = ("missing-reference", "names nothing") if target is None else ("circular-reference", "has no end")
        hint = self.nearest(wanted) if target is None else None
        what = f"{name}: macro %{wanted} {why}"
        self.findings.append(Finding(code, "error", macro.file, macro.line, what, hint=hint))
        macro.content = None
        return False


def _at_line(copied: Node, macro: Node) -> Node:
    """The copy of what a macro names: it stands where the macro stands, what is in it where it was written."""
    copied.file, copied.line = macro.file, macro.line
    return copied


def normal(name: str) -> str:
    """`#` is the old separator."""
    return name.replace("#", "::")


def absolute(text: str, name: str) -> str:
    """A text with its relative ids (`@##A`, `%#A`) made absolute, as MONAI does; `name` is where it stands."""
    text = normal(text)
    parts = name.split("::")
    for prefix in sorted(set(_RELATIVE.findall(text)), reverse=True):
        up = prefix.count("::")
        if up <= len(parts):
            above = "::".join(parts[: len(parts) - up])
            text = text.replace(prefix, prefix[0] + (f"{above}::" if above else ""))
    return text


def is_component(node: Node | None) -> bool:
    """Whether it is a mapping with a `_target_`."""
    return node is not None and isinstance(node.content, dict) and "_target_" in node.content


def is_disabled(node: Node) -> bool:
    """Whether `_disabled_` says so in plain."""
    flag = node.content.get("_disabled_")
    return flag is not None and (flag.content is True or str(flag.content).strip().lower() == "true")


def arguments(node: Node) -> dict[str, Node]:
    """The arguments of a component."""
    return {key: one for key, one in node.content.items() if key not in SPECIAL}


def _child(node: Node | None, part: str) -> Node | None:
    if node is None:
        return None
    if isinstance(node.content, dict):
        return node.content.get(part)
    if isinstance(node.content, list) and part.lstrip("-").isdecimal() and int(part) < len(node.content):
        return node.content[int(part)]
    return None


def _put(parent: Node | None, key: str, node: Node) -> bool:
    if parent is not None and isinstance(parent.content, dict):
        parent.content[key] = node
        return True
    if parent is not None and isinstance(parent.content, list) and key.isdecimal() and int(key) < len(parent.content):
        parent.content[int(key)] = node
        return True
    return False


def _walk(node: Node, name: str) -> Iterator[tuple[str, Node]]:
    for key, child in node.children():
        inner = f"{name}::{key}" if name else key
        yield inner, child
        yield from _walk(child, inner)
