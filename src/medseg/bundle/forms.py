"""The forms that an expression of an untrusted bundle may take, told from its text alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from medseg.bundle.allowed import GLOBALS, is_callable, is_module, is_value, table

REFS = "__local_refs"
"""What MONAI writes in place of `@id`: `__local_refs['id']` (`ReferenceResolver.update_refs_pattern`)."""

_LARGEST_EXPONENT = 16
_PLAIN = (
    *(ast.Expression, ast.Constant, ast.List, ast.Tuple, ast.Dict, ast.Set, ast.Slice, ast.Subscript, ast.IfExp),
    *(ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Attribute, ast.Name, ast.Call, ast.keyword, ast.Load),
    *(
        ast.Add,
        ast.Sub,
        ast.Mult,
        ast.Div,
        ast.FloorDiv,
        ast.Mod,
        ast.Pow,
        ast.UAdd,
        ast.USub,
        ast.Not,
        ast.And,
        ast.Or,
    ),
    *(ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Is, ast.IsNot, ast.In, ast.NotIn),
)
_CALLED = {
    ast.Lambda: "a lambda",
    ast.ListComp: "a comprehension",
    ast.SetComp: "a comprehension",
    ast.DictComp: "a comprehension",
    ast.GeneratorExp: "a comprehension",
    ast.JoinedStr: "an f-string",
    ast.NamedExpr: "an assignment",
    ast.Starred: "a starred argument",
    ast.MatMult: "a matrix product",
}


def imported(text: str) -> tuple[str, str] | None:
    """Of an import statement the name it binds and the dotted name it binds it to; None for any other text.

    Raises
    ------
    SyntaxError
        The text is no Python, or more than one import.
    """
    try:
        body = ast.parse(text).body
    except (ValueError, RecursionError, MemoryError) as error:
        raise SyntaxError(str(error) or "nested too deeply") from error
    if not body or not isinstance(body[0], (ast.Import, ast.ImportFrom)):
        return None
    if len(body) > 1 or len(body[0].names) > 1:
        raise SyntaxError("more than one import")
    statement, alias = body[0], body[0].names[0]
    if isinstance(statement, ast.Import):
        return alias.asname or alias.name, alias.name
    if statement.level or alias.name == "*":
        raise SyntaxError("an import of everything or of what lies beside")
    return alias.asname or alias.name, f"{statement.module}.{alias.name}"


def is_importable(dotted: str) -> bool:
    """Whether an import statement may name it."""
    return is_module(dotted) or is_callable(dotted) or is_value(dotted)


def bad_name(name: str, dotted: str, names: Mapping[str, str]) -> bool:
    """Whether an import would give a name that is known already another meaning."""
    taken = {**names, **GLOBALS, **{builtin: f"builtins.{builtin}" for builtin in table("expressions")["builtins"]}}
    return name.startswith("_") or taken.get(name, dotted) != dotted


def refused_forms(tree: ast.Expression) -> Iterator[str]:
    """The parts of an expression that are not among the permitted forms, in words."""
    indexed = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Subscript) and _is_text(node.slice)}
    for node in ast.walk(tree):
        if not isinstance(node, _PLAIN):
            yield f"uses {_CALLED.get(type(node), type(node).__name__)}"
        elif isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            yield f"reads the attribute {node.attr}"
        elif isinstance(node, ast.Name) and node.id.startswith("_") and (node.id != REFS or id(node) not in indexed):
            yield f"uses the name {node.id}"
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow) and not _is_small(node.right):
            yield "takes a power that may never end"
        elif (isinstance(node, ast.keyword) and node.arg is None) or (isinstance(node, ast.Dict) and None in node.keys):
            yield "unpacks arguments"


def refused_names(tree: ast.Expression, names: Mapping[str, str]) -> Iterator[str]:
    """What the expression names, reads or calls beyond the list.

    Parameters
    ----------
    tree
        Of the text in which `@id` has become `__local_refs['id']`.
    names
        What the names of the configuration's imports stand for: "os" for os, "nets" for monai.networks.nets.
    """
    known = {**GLOBALS, **names}
    seen: set[int] = set()
    for node in ast.walk(tree):  # outer nodes first, so that a chain is judged as a whole
        if id(node) in seen:
            continue
        if isinstance(node, ast.Call):
            yield from _refused_call(node, known, seen)
        elif isinstance(node, ast.Attribute):
            yield from _refused_attribute(node, known, seen)
        elif isinstance(node, ast.Name):
            yield from _refused_name(node, known)


def chain(node: ast.expr) -> tuple[str, ...]:
    """`a.b.c` as its parts; empty for anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return (node.id, *reversed(parts)) if isinstance(node, ast.Name) else ()


def _refused_call(node: ast.Call, known: Mapping[str, str], seen: set[int]) -> Iterator[str]:
    parts = chain(node.func)
    if parts and parts[0] in known:
        _see(node.func, seen)
        dotted = ".".join((known[parts[0]], *parts[1:]))
        if not is_callable(dotted):
            yield f"calls {dotted}"
    elif isinstance(node.func, ast.Name):
        seen.add(id(node.func))
        if node.func.id not in table("expressions")["builtins"]:
            yield f"calls {node.func.id}"
    elif isinstance(node.func, ast.Attribute):
        seen.add(id(node.func))
        if node.func.attr not in table("expressions")["methods"]:
            yield f"calls the method {node.func.attr}"
    else:
        yield f"calls what {ast.unparse(node.func)} gives"


def _refused_attribute(node: ast.Attribute, known: Mapping[str, str], seen: set[int]) -> Iterator[str]:
    parts = chain(node)
    if parts and parts[0] in known:
        _see(node, seen)
        dotted = ".".join((known[parts[0]], *parts[1:]))
        if not is_callable(dotted) and not is_value(dotted):
            yield f"reads {dotted}"
    elif node.attr not in table("expressions")["attributes"] | table("expressions")["methods"]:
        yield f"reads the attribute {node.attr}"


def _refused_name(node: ast.Name, known: Mapping[str, str]) -> Iterator[str]:
    dotted = known.get(node.id)
    if dotted is not None and not is_callable(dotted) and not is_value(dotted):
        yield f"hands on the module {dotted}"
    elif dotted is None and node.id != REFS and node.id not in table("expressions")["builtins"]:
        yield f"uses the name {node.id}"


def _see(node: ast.expr, seen: set[int]) -> None:
    seen.update(id(part) for part in ast.walk(node))


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _is_small(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int) and 0 <= node.value <= _LARGEST_EXPONENT
