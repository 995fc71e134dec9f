"""`$` expressions and `@` references of a configuration, read and never evaluated."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from medseg.bundle.check.merged import normal

REFERENCE = re.compile(r"@\w*(?:::\w*)*")
"""As MONAI finds references in a text (`ReferenceResolver.id_matcher`)."""

ALWAYS = frozenset({"monai", "torch", "np", "numpy"})
"""Modules that every expression may use without an import (`_default_globals` of MONAI's config_parser)."""

MOST_NESTED = 100
"""Levels of an expression's syntax; what looks at it goes down with them."""

_BUILTINS = frozenset(dir(builtins))
_STAND_IN = "__reference_"


@dataclass(frozen=True)
class Expression:
    """The text behind a `$`.

    Attributes
    ----------
    tree
        Its syntax, each reference being a name; None where it is no Python or an import.
    references
        Name in the tree to the id that it stands for.
    imported
        Name to dotted module or attribute, where it is an import statement.
    problem
        What Python says of its syntax.
    """

    tree: ast.expr | None
    references: dict[str, str]
    imported: tuple[str, str] | None = None
    problem: str | None = None


@cache
def parse(text: str) -> Expression:
    """The expression of a text that starts with `$`."""
    body = normal(text)[1:]
    imported = _import(body)
    if imported is not None:
        return Expression(None, {}, imported)
    references: dict[str, str] = {}

    def stand_in(match: re.Match[str]) -> str:
        if match.group() == "@":
            return "@"
        name = f"{_STAND_IN}{len(references)}"
        references[name] = match.group()[1:]
        return name

    code = REFERENCE.sub(stand_in, body)
    try:
        return Expression(expression_tree(code).body, references)
    except SyntaxError as error:
        return Expression(None, references, problem=error.msg)


def expression_tree(code: str) -> ast.Expression:
    """The syntax of an expression.

    Raises
    ------
    SyntaxError
        It is no Python, or nested so deeply that Python's own parser or whatever walks along it may give up.
    """
    try:
        tree = ast.parse(code.lstrip(" \t"), mode="eval")
    except (ValueError, RecursionError, MemoryError) as error:  # null bytes, and what no parser should be asked
        raise SyntaxError(str(error) or "nested too deeply") from error
    level: list[ast.AST] = [tree]
    for _ in range(MOST_NESTED if len(code) > MOST_NESTED else 0):
        level = [inner for node in level for inner in ast.iter_child_nodes(node)]
    if level and len(code) > MOST_NESTED:
        raise SyntaxError("nested too deeply")
    return tree


def references(text: str) -> list[str]:
    """Ids that a text refers to: all in an expression, the one that another text consists of."""
    text = normal(text)
    found = [one[1:] for one in REFERENCE.findall(text) if text.startswith("$") or text == one]
    return [one for one in dict.fromkeys(found) if one]


def unknown_names(expression: Expression, imported: frozenset[str]) -> Iterator[ast.Name]:
    """Names in an expression that nothing gives a value."""
    if expression.tree is None:
        return
    nodes = list(ast.walk(expression.tree))
    bound = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    bound |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    known = bound | imported | ALWAYS | _BUILTINS | set(expression.references)
    yield from (node for node in nodes if isinstance(node, ast.Name) and node.id not in known)


def _import(body: str) -> tuple[str, str] | None:
    """The name that an import statement gives, and what it stands for."""
    if "import" not in body:
        return None
    try:
        first = next(iter(ast.parse(body.strip()).body), None)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if not isinstance(first, (ast.Import, ast.ImportFrom)):
        return None
    alias = first.names[0]
    source = alias.name if isinstance(first, ast.Import) else f"{first.module}.{alias.name}"
    return alias.asname or alias.name, source
