"""Ids that nothing refers to: settings without effect, most often misspelt."""

from __future__ import annotations

from collections.abc import Iterator

from medseg.bundle.check.context import Context
from medseg.bundle.check.expressions import references
from medseg.bundle.check.findings import Finding, did_you_mean
from medseg.bundle.check.lines import Node
from medseg.bundle.check.merged import Merged, is_component, normal
from medseg.bundle.check.plans import ENTRIES
from medseg.bundle.check.rules.properties import OPTIONAL, REQUIRED
from medseg.bundle.check.values import texts

_SECTIONS = ("train", "validate", "validation", "infer", "evaluate", "test")
"""Mappings at the top that only hold ids: one level deeper is looked at too."""

_BY_NAME = frozenset(
    {*ENTRIES, "imports", "_meta_", "segmenter", "trained_network", *OPTIONAL, *REQUIRED["train"], *REQUIRED["infer"]}
)
"""Asked for by a command, by MONAI, or by medseg (`medseg bundle precision` asks for the segmenter)."""


def unreferenced(context: Context) -> Iterator[Finding]:
    """Ids that no configuration of the bundle refers to."""
    used = _used(context.others)
    if not _runs(context.merged):
        return  # read by a script, which may ask for any id
    for name, node in _candidates(context.merged):
        if not _is_used(name, used):
            yield _finding(context, name, node, used)


def _finding(context: Context, name: str, node: Node, used: frozenset[str]) -> Finding:
    parent, _, last = name.rpartition("::")
    prefix = f"{parent}::" if parent else ""
    beside = {one.removeprefix(prefix).split("::")[0] for one in (*used, *_BY_NAME) if one.startswith(prefix)}
    hint = did_you_mean(last, beside - {last}, cutoff=0.82)
    what = f"nothing refers to {name}: it has no effect"
    make = context.warning if hint is None else context.error
    return make("unused-id", node, what, hint=hint)


def _used(configurations: object) -> frozenset[str]:
    """What texts refer to, macros among them."""
    found: set[str] = set()
    for merged in configurations if isinstance(configurations, (list, tuple)) else []:
        for _, _, text in texts(merged):
            found |= set(references(text))
        found |= merged.macros
    return frozenset(found)


def _is_used(name: str, used: frozenset[str]) -> bool:
    known = used | _BY_NAME
    if name in known or any(one.startswith(f"{name}::") for one in known):
        return True
    parts = name.split("::")
    return any("::".join(parts[:depth]) in used for depth in range(1, len(parts)))


def _candidates(merged: Merged) -> Iterator[tuple[str, Node]]:
    for name, node in merged.root.children():
        if name.startswith("_"):
            continue
        if name in _SECTIONS and isinstance(node.content, dict) and not is_component(node):
            yield from ((f"{name}::{key}", one) for key, one in node.children() if not key.startswith("_"))
        else:
            yield normal(name), node


def _runs(merged: Merged) -> bool:
    return any(merged.find(name) is not None for name in ENTRIES)
