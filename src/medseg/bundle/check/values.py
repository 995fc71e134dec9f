"""What values come to without running anything: references followed, simple expressions worked out."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator
from typing import Any

from medseg.bundle.check.expressions import parse
from medseg.bundle.check.lines import Node
from medseg.bundle.check.merged import Merged, absolute, is_component, is_disabled


class _Unknown:
    def __repr__(self) -> str:
        return "something computed"


UNKNOWN = _Unknown()
"""What text does not tell."""

_DEEPEST = 30
_CALLS: dict[str, Callable[..., Any]] = {
    "len": len,
    "int": int,
    "float": float,
    "str": str,
    "list": list,
    "tuple": tuple,
    "max": max,
    "min": min,
    "sum": sum,
    "sorted": sorted,
}
_ARITHMETIC: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Gt: operator.gt,
    ast.Lt: operator.lt,
    ast.GtE: operator.ge,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_LONGEST = 10_000


class Values:
    """The values of one merged configuration."""

    def __init__(self, merged: Merged) -> None:
        self.merged = merged

    def target(self, node: Node) -> Node:
        """The node that a reference leads to, over any number of steps; the node itself where it is none."""
        for _ in range(_DEEPEST):
            text = node.content
            if not isinstance(text, str) or not text.startswith("@"):
                break
            found = self.merged.find(text[1:])
            if found is None:
                break
            node = found
        return node

    def value(self, node: Node, depth: int = 0) -> Any:
        """The plain value of a node, UNKNOWN in it where it is made by a component or a larger expression."""
        if depth > _DEEPEST or is_component(node):
            return UNKNOWN
        if isinstance(node.content, dict):
            return {key: self.value(one, depth + 1) for key, one in node.content.items()}
        if isinstance(node.content, list):
            return [self.value(one, depth + 1) for one in node.content]
        text = node.content
        if isinstance(text, str) and text.startswith("@"):
            found = self.target(node)
            return UNKNOWN if found is node else self.value(found, depth + 1)
        if isinstance(text, str) and text.startswith("$"):
            return self._expression(text, depth + 1)
        return UNKNOWN if isinstance(text, str) and text.startswith("%") else text

    def items(self, node: Node, depth: int = 0) -> list[Node] | None:
        """The nodes of a list, also of `$@a + @b` and of what a `Compose` holds; None where text does not tell."""
        node = self.target(node)
        if depth > _DEEPEST:
            return None
        if isinstance(node.content, list):
            return [self.target(one) for one in node.content]
        if is_component(node) and "transforms" in node.content:
            return self.items(node.content["transforms"], depth + 1)
        if is_component(node):
            return [node]
        if isinstance(node.content, str) and node.content.startswith("$"):
            expression = parse(node.content)
            return None if expression.tree is None else self._sum(expression.tree, expression.references, depth)
        return None

    def _sum(self, tree: ast.expr, references: dict[str, str], depth: int) -> list[Node] | None:
        if isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Add):
            left, right = (self._sum(side, references, depth) for side in (tree.left, tree.right))
            return None if left is None or right is None else [*left, *right]
        if isinstance(tree, ast.Name) and tree.id in references:
            found = self.merged.find(references[tree.id])
            return None if found is None else self.items(found, depth + 1)
        return None

    def _expression(self, text: str, depth: int) -> Any:
        expression = parse(text)
        if expression.tree is None:
            return UNKNOWN
        try:
            return self._evaluate(expression.tree, expression.references, depth)
        except (TypeError, ValueError, ArithmeticError, LookupError):
            return UNKNOWN

    def _evaluate(self, node: ast.AST, references: dict[str, str], depth: int) -> Any:  # noqa: C901 (one case a form)
        inner = lambda one: self._evaluate(one, references, depth)  # noqa: E731
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name) if name in references:
                found = self.merged.find(references[name])
                return UNKNOWN if found is None else self.value(found, depth + 1)
            case ast.List(elts=parts) | ast.Tuple(elts=parts):
                return [inner(part) for part in parts]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return _known(operator.neg, inner(operand))
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return _known(operator.not_, inner(operand))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                return _known(_ARITHMETIC[type(op)], inner(left), inner(right))
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _ARITHMETIC:
                return _known(_ARITHMETIC[type(op)], inner(left), inner(right))
            case ast.IfExp(test=test, body=body, orelse=orelse):
                asked = inner(test)
                return UNKNOWN if asked is UNKNOWN else inner(body if asked else orelse)
            case ast.Subscript(value=value, slice=key):
                return _known(operator.getitem, inner(value), inner(key))
            case ast.Call(func=ast.Name(id=name), args=given, keywords=[]) if name in _CALLS:
                return _known(_CALLS[name], *(inner(one) for one in given))
        return UNKNOWN


def _known(function: Callable[..., Any], *values: Any) -> Any:
    if any(value is UNKNOWN or _is_long(value) for value in values):
        return UNKNOWN
    return function(*values)


def _is_long(value: Any) -> bool:
    """Too large to multiply: `$[0] * 10**9` in a stranger's configuration."""
    return (isinstance(value, int) and abs(value) > _LONGEST) or (
        isinstance(value, (list, str)) and len(value) > _LONGEST
    )


def components(merged: Merged) -> Iterator[tuple[str, Node]]:
    """Every component that is not disabled, with its id."""
    yield from merged.kept("components", lambda: [one for one in _own(merged) if _is_live(one[1])])


def texts(merged: Merged) -> Iterator[tuple[str, Node, str]]:
    """Every text of the configuration, its relative ids made absolute; the metadata's are plain texts."""
    found = ((name, node) for name, node in _own(merged) if isinstance(node.content, str))
    yield from merged.kept("texts", lambda: [(name, node, absolute(node.content, name)) for name, node in found])


def _own(merged: Merged) -> Iterator[tuple[str, Node]]:
    yield from ((name, node) for name, node in merged.ids.items() if not name.startswith("_meta_"))


def _is_live(node: Node) -> bool:
    return is_component(node) and not is_disabled(node)
