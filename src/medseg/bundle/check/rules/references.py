"""References to nothing and in circles, expressions that are no Python or use names that nothing gives."""

from __future__ import annotations

import re
from collections.abc import Iterator

from medseg.bundle.check.context import Context
from medseg.bundle.check.expressions import ALWAYS, parse, references, unknown_names
from medseg.bundle.check.findings import Finding, did_you_mean
from medseg.bundle.check.lines import Node
from medseg.bundle.check.merged import SPECIAL
from medseg.bundle.check.values import texts

_SPECIAL_LIKE = re.compile(r"_\w+_")


def missing(context: Context) -> Iterator[Finding]:
    """References to ids that the configuration does not have."""
    for name, node, text in texts(context.merged):
        for wanted in references(text):
            if context.merged.find(wanted) is None:
                what = f"{name} refers to @{wanted}, which is nothing"
                hint = context.merged.nearest(wanted)
                yield context.error("missing-reference", node, what, hint=hint)


def circles(context: Context) -> Iterator[Finding]:
    """References that lead back to where they stand."""
    done: set[str] = set()
    for name, node, text in texts(context.merged):
        for wanted in references(text):
            loop = _loop(context, wanted, [], done)
            if loop is not None and any(name == one or name.startswith(f"{one}::") for one in loop):
                what = f"{name} refers to itself: {' -> '.join([*loop, loop[0]])}"
                yield context.error("circular-reference", node, what)


def _loop(context: Context, name: str, path: list[str], done: set[str]) -> list[str] | None:
    if name in path:
        return path[path.index(name) :]
    if name in done:
        return None
    for other in context.below(name):
        found = _loop(context, other, [*path, name], done)
        if found is not None:
            return found
    done.add(name)
    return None


def expressions(context: Context) -> Iterator[Finding]:
    """Expressions that are no Python, or use names that no import gives."""
    imported = frozenset(context.imports)
    for name, node, text in texts(context.merged):
        if not text.startswith("$"):
            continue
        expression = parse(text)
        if expression.problem is not None:
            yield context.error("no-python", node, f"{name} is no Python expression: {expression.problem}", text)
        for unknown in unknown_names(expression, imported):
            hint = did_you_mean(unknown.id, [*imported, *ALWAYS]) or f"add $import {unknown.id} to imports"
            what = f"{name}: nothing defines {unknown.id}"
            yield context.error("unknown-name", node, what, text, hint=hint)
        if expression.imported is not None:
            yield from _import(context, name, node, expression.imported[1])


def _import(context: Context, name: str, node: Node, source: str) -> Iterator[Finding]:
    found = context.sources.resolve(source)
    if found.kind == "missing":
        hint = did_you_mean(found.name, context.sources.names_in(found.module)) if found.module else None
        what = f"{name} imports {source}, which is not installed"
        yield context.error("missing-import", node, what, hint=hint)


def special_keys(context: Context) -> Iterator[Finding]:
    """Keys that look like `_target_` and are none of MONAI's."""
    for name, node in context.merged.ids.items():
        key = name.rpartition("::")[2]
        if name.startswith("_meta_") or key in SPECIAL or key.isdecimal():
            continue
        near = did_you_mean(key, SPECIAL, cutoff=0.8) if key.startswith("_") or key.endswith("_") else None
        if _SPECIAL_LIKE.fullmatch(key) or near is not None:
            what = f"{name}: {key} is no key that MONAI knows"
            yield context.error("unknown-key", node, what, expected=", ".join(SPECIAL[:5]), hint=near)
