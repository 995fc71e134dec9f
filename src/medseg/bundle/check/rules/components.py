"""Targets that do not import, and arguments that a target does not take, lacks, or that have the wrong type."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medseg.bundle.check.context import Context
from medseg.bundle.check.expressions import ALWAYS, Expression, parse
from medseg.bundle.check.findings import Finding, closest, did_you_mean
from medseg.bundle.check.lines import Node
from medseg.bundle.check.merged import arguments, is_component
from medseg.bundle.check.plans import ENTRIES
from medseg.bundle.check.signatures import Signature, ancestors, known_ancestors, method, signature
from medseg.bundle.check.sources import Found
from medseg.bundle.check.summary import dotted
from medseg.bundle.check.types import fits, spelt_out
from medseg.bundle.check.values import UNKNOWN, components, texts

_MODES = ("default", "callable", "debug")
_TRANSFORMS = "monai.transforms."
_PER_KEY = frozenset({"mode", "padding_mode", "scale_extent", "meta_key_postfix", "factor_key"})
"""Of dictionary transforms: one for all keys or one a key, also where MONAI 1.6's annotation speaks of one alone."""
_LISTS = frozenset(
    {
        *("loading", "preprocessing", "augmentation", "postprocessing", "transforms"),
        *("handlers", "train_handlers", "val_handlers"),
    }
)
"""Lists that hold components and nothing else, in medseg's bundles."""


def targets(context: Context) -> Iterator[Finding]:
    """Components: their target and their arguments."""
    for name, node in components(context.merged):
        target = node.content["_target_"]
        if not isinstance(target.content, str):
            yield context.error("bad-target", target, f"{name}: _target_ is no name", target.value(), "a dotted name")
        elif not target.content.startswith(("$", "@", "%")):
            yield from _target(context, name, node, target)


def without_target(context: Context) -> Iterator[Finding]:
    """In medseg's bundles a mapping in the sections train and validate that takes a component is one itself."""
    for name, node in context.merged.ids.items():
        if name.count("::") != 1 or not name.startswith(("train::", "validate::")) or not context.own:
            continue
        plain = isinstance(node.content, dict) and "_target_" not in node.content
        if plain and any(
            is_component(context.values.target(one)) and not is_component(one) for _, one in node.children()
        ):
            what = f"{name} has no _target_: it would be handed on as it is written"
            yield context.error("no-target", node, what, expected="_target_: the class that it is made of")


def without_target_in_lists(context: Context) -> Iterator[Finding]:
    """A list of transforms, handlers or other components has nothing else in it: MONAI would hand it on as written."""
    for name, node in context.merged.ids.items():
        if not isinstance(node.content, list) or name.startswith("_meta_") or name in ENTRIES:
            continue
        items = [context.values.target(one) for one in node.content]
        if any(map(is_component, items)) or (context.own and name.rpartition("::")[2] in _LISTS):
            for (key, place), item in zip(node.children(), items, strict=True):
                yield from _no_component(context, f"{name}::{key}", place, item)


def _no_component(context: Context, name: str, place: Node, item: Node) -> Iterator[Finding]:
    text = item.content if isinstance(item.content, str) else ""
    is_mapping = isinstance(item.content, dict) and not any(key.startswith("_") for key in item.content)
    is_empty = item.content is None and context.own
    if is_mapping or is_empty or (text and context.sources.resolve(text).kind in ("class", "function")):
        what = f"{name} has no _target_: nothing would be made of it"
        near = closest("_target_", item.content) if is_mapping else None
        hint = f"write _target_: {text}" if text else near and f"did you mean _target_ instead of {near}?"
        yield context.error("no-target", place, what, item.value(), "_target_: the class that it is made of", hint)


def _target(context: Context, name: str, node: Node, target: Node) -> Iterator[Finding]:
    found = context.sources.resolve(target.content)
    if found.kind == "missing":
        yield _no_target(context, name, target, found)
        return
    if found.kind == "module":
        what = f"{name}: {target.content} is a module"
        yield context.error("bad-target", target, what, expected="a class or function")
    mode = node.content.get("_mode_")
    if mode is not None and isinstance(mode.content, str) and mode.content not in _MODES:
        what = f"{name}: _mode_ is none that MONAI knows"
        hint = did_you_mean(mode.content, _MODES)
        yield context.error("bad-mode", mode, what, mode.content, ", ".join(_MODES), hint)
    if len(context.sources.short_names.get(target.content, [])) > 1:
        return  # which one MONAI takes depends on what is imported first
    takes = signature(found, context.sources)
    if takes is not None:
        partial = mode is not None and mode.content == "callable"
        yield from _arguments(context, name, node, target, takes, partial=partial)


def _no_target(context: Context, name: str, target: Node, found: Found) -> Finding:
    text = target.content
    if "." not in text:
        known = [*context.sources.short_names]
        what = f"{name}: MONAI has no class or function {text}"
        return context.error("missing-target", target, what, hint=did_you_mean(text, known, cutoff=0.75))
    hint = did_you_mean(found.name, context.sources.names_in(found.module), cutoff=0.5) if found.module else None
    where = f"{found.module} has no {found.name}" if found.module else f"no package {found.name} is installed"
    return context.error("missing-target", target, f"{name}: {text} cannot be imported: {where}", hint=hint)


def _arguments(
    context: Context, name: str, node: Node, target: Node, takes: Signature, *, partial: bool
) -> Iterator[Finding]:
    given = arguments(node)
    short = target.content.split(".")[-1]
    unknown = [key for key in given if key not in takes.names]
    for key in unknown:
        lacked = [one for one in takes.required if one not in given] if takes.open else []
        hint = did_you_mean(key, set(takes.names) - set(given), cutoff=0.85 if takes.open else 0.6)
        hint = hint or did_you_mean(key, lacked)
        hint = hint or (None if takes.open else did_you_mean(key, takes.names))  # given already, and once more misspelt
        hint = _other_order(context, given[key], target) or hint
        if takes.open and hint is None:
            continue  # handed on to what text does not tell
        make = context.warning if takes.open else context.error
        what = f"{name}: {short} {'has' if takes.open else 'takes'} no argument {key}"
        yield make("unknown-argument", given[key], what, expected=", ".join(takes.names), hint=hint)
    lacking = [one for one in takes.required if one not in given] if not partial else []
    for lack in lacking:
        what = f"{name}: {short} lacks its argument {lack}"
        yield context.error("missing-argument", target, what, hint=did_you_mean(lack, unknown))
    for key, one in given.items():
        if key in takes.parameters:
            yield from _type(context, f"{name}::{key}", one, takes, key)


def _other_order(context: Context, argument: Node, target: Node) -> str | None:
    """Of an overlay's argument for what an overlay before it has replaced, such as the network: how both can be had."""
    overlays = [str(file) for file in context.merged.plan.overlays]
    if argument.file not in overlays or target.file not in overlays[: overlays.index(argument.file)]:
        return None
    later, earlier = Path(argument.file).stem, Path(target.file).stem
    return f"{earlier} has put {target.content} in its place: give --overlay {later} before --overlay {earlier}"


def _type(context: Context, name: str, node: Node, takes: Signature, key: str) -> Iterator[Finding]:
    parameter = takes.parameters[key]
    value = context.values.value(node)
    if value is UNKNOWN or parameter.annotation is None or (value is None and parameter.none):
        return
    if fits(value, parameter.annotation, parameter.module, context.sources) is not False:
        return
    if key in _PER_KEY and "keys" in takes.names and _are_texts(value) and parameter.module.startswith(_TRANSFORMS):
        return
    place = context.values.target(node)
    what = name if place is node else f"{name}, which is {node.content},"
    what += " has the wrong type"
    expected = spelt_out(parameter.annotation, parameter.module, context.sources)
    if (
        isinstance(value, int)
        and value in (0, 1)
        and fits(bool(value), parameter.annotation, parameter.module, context.sources)
    ):
        yield context.warning("wrong-type", place, what, value, expected)
        return
    yield context.error("wrong-type", place, what, value, expected, _choice(value, expected))


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, (str, bool)) for one in value)


def _choice(value: Any, annotation: str) -> str | None:
    """The nearest of the texts that a Literal allows."""
    if not isinstance(value, str):
        return None
    try:
        tree = ast.parse(annotation, mode="eval")
    except SyntaxError:
        return None
    allowed = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    return did_you_mean(value, allowed)


def calls(context: Context) -> Iterator[Finding]:
    """Names and calls in expressions: `torch.devise`, `monai.utils.set_determinism(sed=1)`, `@network_def.too()`."""
    for name, node, text in texts(context.merged):
        expression = parse(text) if text.startswith("$") else None
        if expression is None or expression.tree is None:
            continue
        bound = {n.id for n in ast.walk(expression.tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        bound |= {n.arg for n in ast.walk(expression.tree) if isinstance(n, ast.arg)}
        for part in _outermost(expression.tree):
            yield from _chain(context, name, node, part, expression, bound)
        for call in ast.walk(expression.tree):
            if isinstance(call, ast.Call):
                yield from _call(context, name, node, call, expression, bound)


def _outermost(tree: ast.expr) -> Iterator[ast.Attribute]:
    inner = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    yield from (n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and id(n) not in inner)


def _found(context: Context, chain: str, bound: set[str]) -> Found | None:
    """What a dotted name in an expression leads to, its first part being an imported module."""
    head, _, rest = chain.partition(".")
    if head in bound or (head not in context.imports and head not in ALWAYS):
        return None
    source = context.imports.get(head, "numpy" if head == "np" else head)
    return context.sources.resolve(f"{source}.{rest}" if rest else source)


def _chain(
    context: Context, name: str, node: Node, part: ast.Attribute, expression: Expression, bound: set[str]
) -> Iterator[Finding]:
    chain = dotted(part)
    if chain is None:
        return
    head, _, rest = chain.partition(".")
    if head in expression.references:
        yield from _member(context, name, node, expression.references[head], rest.split(".")[0])
        return
    found = _found(context, chain, bound)
    if found is not None and found.kind == "missing":
        hint = did_you_mean(found.name, context.sources.names_in(found.module)) if found.module else None
        where = f"{found.module} has no {found.name}" if found.module else f"no package {found.name}"
        yield context.error("missing-name", node, f"{name}: {chain} is nothing: {where}", node.content, hint=hint)


def _member(context: Context, name: str, node: Node, wanted: str, member: str) -> Iterator[Finding]:
    """`@id.member`, where the class of the component is known."""
    found = _class_of(context, wanted)
    if found is None:
        return
    line = ancestors(found, context.sources)
    owners = known_ancestors(found, context.sources)
    known = {one for owner in owners for one in (*owner.summary["methods"], *owner.summary["attributes"])}
    if member in known:
        return
    dynamic = line is None or "__getattr__" in known
    hint = did_you_mean(member, known, cutoff=0.85 if dynamic else 0.6)
    if hint is not None or not dynamic:
        what = f"{name}: @{wanted} is a {found.name} and has no {member}"
        yield context.error("missing-name", node, what, node.content, hint=hint)


def _class_of(context: Context, wanted: str) -> Found | None:
    """The class of the object that an id gives: its target, or what its function says that it returns."""
    node = context.merged.find(wanted)
    node = None if node is None else context.values.target(node)
    target = node.content.get("_target_") if node is not None and isinstance(node.content, dict) else None
    if target is None or not isinstance(target.content, str):
        return None
    found = context.sources.resolve(target.content)
    if found.kind == "function" and found.summary["returns"]:
        head, _, rest = found.summary["returns"].partition(".")
        owner = context.sources.lookup(found.module, head) if head.isidentifier() else Found("opaque")
        found = context.sources.resolve(f"{owner.module}.{rest}") if owner.kind == "module" and rest else owner
    return found if found.kind == "class" else None


def _call(
    context: Context, name: str, node: Node, call: ast.Call, expression: Expression, bound: set[str]
) -> Iterator[Finding]:
    chain = dotted(call.func)
    takes = None if chain is None else _takes(context, chain, expression, bound)
    if takes is None or chain is None or any(isinstance(one, ast.Starred) for one in call.args):
        return
    if takes.open or takes.varargs or any(word.arg is None for word in call.keywords):
        return
    words = [word.arg for word in call.keywords if word.arg is not None]
    for word in words:
        if word not in takes.names:
            hint = did_you_mean(word, takes.names)
            what = f"{name}: {chain.split('.')[-1]}() takes no argument {word}"
            yield context.error("unknown-argument", node, what, expected=", ".join(takes.names), hint=hint)
    plain = [one.name for one in takes.parameters.values() if one.positional]
    if len(call.args) > len(plain):
        what = f"{name}: {chain.split('.')[-1]}() takes {len(plain)} arguments by position"
        yield context.error("unknown-argument", node, what, f"{len(call.args)}")
    for lacking in [one for one in takes.required if one not in words and one not in plain[: len(call.args)]]:
        what = f"{name}: {chain.split('.')[-1]}() lacks its argument {lacking}"
        yield context.error("missing-argument", node, what, hint=did_you_mean(lacking, set(words) - set(takes.names)))


def _takes(context: Context, chain: str, expression: Expression, bound: set[str]) -> Signature | None:
    head, _, rest = chain.partition(".")
    if head in expression.references:
        owner = _class_of(context, expression.references[head]) if rest and "." not in rest else None
        return None if owner is None else method(owner, rest, context.sources)
    found = _found(context, chain, bound)
    return None if found is None else signature(found, context.sources)
