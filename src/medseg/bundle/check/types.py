"""Whether a plain value of a configuration fits an annotation, both as text."""

from __future__ import annotations

import ast
from functools import cache
from typing import Any

from medseg.bundle.check.sources import Found, Sources
from medseg.bundle.check.values import UNKNOWN

_NUMBERS = {"int": int, "float": (int, float), "complex": (int, float), "bool": bool, "str": str}
_SEQUENCES = frozenset(
    {"Sequence", "list", "List", "Iterable", "Collection", "tuple", "Tuple", "set", "Set", "MutableSequence"}
)
_MAPPINGS = frozenset({"Mapping", "dict", "Dict", "MutableMapping"})
_ANYTHING = frozenset({"Any", "object", "Hashable", "TypeVar", "T", "Sized"})
_CALLABLES = frozenset({"Callable"})
_PATHS = frozenset({"Path", "PathLike", "os.PathLike"})
_DEEPEST = 8


def fits(value: Any, annotation: str, module: str, sources: Sources) -> bool | None:
    """Whether `value` may be given where `annotation` stands; None where text does not tell.

    Parameters
    ----------
    value
        A plain value: number, text, boolean, None, list, dictionary.
    annotation, module
        The annotation as text and the module whose names it uses.
    """
    tree = _parsed(annotation)
    return None if tree is None else _fits(value, tree, module, sources, 0)


@cache
def _parsed(annotation: str) -> ast.expr | None:
    try:
        return ast.parse(annotation, mode="eval").body
    except SyntaxError:
        return None


def _fits(value: Any, node: ast.expr, module: str, sources: Sources, depth: int) -> bool | None:
    if depth > _DEEPEST or value is UNKNOWN:
        return None
    if isinstance(node, ast.Constant):
        return _fits_constant(value, node, module, sources, depth)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _any([_fits(value, part, module, sources, depth) for part in (node.left, node.right)])
    if isinstance(node, ast.Subscript):
        return _fits_generic(value, node, module, sources, depth)
    if isinstance(node, (ast.Name, ast.Attribute)):
        return _fits_name(value, ast.unparse(node), module, sources, depth)
    return None


def _fits_constant(value: Any, node: ast.Constant, module: str, sources: Sources, depth: int) -> bool | None:
    if node.value is None:
        return value is None
    tree = _parsed(node.value) if isinstance(node.value, str) else None
    return None if tree is None else _fits(value, tree, module, sources, depth + 1)


def _fits_generic(value: Any, node: ast.Subscript, module: str, sources: Sources, depth: int) -> bool | None:
    outer = ast.unparse(node.value).split(".")[-1]
    inner = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
    if outer == "Optional":
        return True if value is None else _fits(value, inner[0], module, sources, depth)
    if outer in ("Union", "Annotated"):
        return _any([_fits(value, one, module, sources, depth) for one in (inner if outer == "Union" else inner[:1])])
    if outer == "Literal":
        return value in [one.value for one in inner if isinstance(one, ast.Constant)]
    if outer in _SEQUENCES:
        return _fits_sequence(value, outer, inner, module, sources, depth)
    if outer in _MAPPINGS:
        return isinstance(value, dict)
    if outer in _CALLABLES or outer == "type":
        return False if isinstance(value, (bool, int, float, dict)) else None
    return _fits(value, node.value, module, sources, depth)


def _fits_sequence(
    value: Any, outer: str, inner: list[ast.expr], module: str, sources: Sources, depth: int
) -> bool | None:
    if isinstance(value, dict) and outer in ("Collection", "Iterable"):
        return None
    if not isinstance(value, (list, tuple)):
        return False if not isinstance(value, str) else _text_is_sequence(inner, outer)
    fixed = outer in ("tuple", "Tuple") and not (len(inner) > 1 and ast.unparse(inner[-1]) == "...")
    if fixed and len(inner) > 1 and len(value) != len(inner):
        return False
    kinds = inner if fixed and len(inner) > 1 else [inner[0]] * len(value)
    answers = [_fits(one, kind, module, sources, depth) for one, kind in zip(value, kinds, strict=False)]
    if any(answer is False and one is not None for answer, one in zip(answers, value, strict=False)):
        return False
    return None if None in answers else True


def _text_is_sequence(inner: list[ast.expr], outer: str) -> bool | None:
    """A text is a sequence of texts; of nothing else."""
    plain = ast.unparse(inner[0])
    if outer in ("list", "List", "tuple", "Tuple", "set", "Set"):
        return False
    return None if plain in ("str", "Hashable", "Any") else False if plain in _NUMBERS else None


def _fits_name(value: Any, name: str, module: str, sources: Sources, depth: int) -> bool | None:
    last = name.split(".")[-1]
    if value is None and name == "str" and module.startswith("monai."):
        return None  # where MONAI says str it often takes None too
    if name in _NUMBERS:
        return _fits_scalar(value, name)
    if last in _ANYTHING:
        return None
    if last in _SEQUENCES:
        return isinstance(value, (list, tuple)) if not isinstance(value, str) else None
    if last in _MAPPINGS:
        return isinstance(value, dict)
    if last in _CALLABLES:
        return False if isinstance(value, (bool, int, float, dict)) else None
    if name in _PATHS:
        return isinstance(value, str)
    if last == "None":
        return value is None
    return _fits_other(value, name, module, sources, depth)


def _fits_scalar(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "bool"
    if name == "int" and isinstance(value, float):
        return False
    return isinstance(value, _NUMBERS[name])  # type: ignore[arg-type]


def _fits_other(value: Any, name: str, module: str, sources: Sources, depth: int) -> bool | None:
    """A name of the module: an alias of a type, an enumeration, or a class that no plain value can be."""
    head, _, rest = name.partition(".")
    found = sources.lookup(module, head)
    for part in rest.split(".") if rest else []:
        found = sources.resolve(f"{found.module}.{part}") if found.kind == "module" else Found("opaque")
    if found.kind == "value" and isinstance(found.summary, str):
        tree = _parsed(found.summary)
        return None if tree is None else _fits(value, tree, found.module, sources, depth + 1)
    if found.kind == "class" and _is_plain_class(found):
        return False if isinstance(value, (bool, int, float, dict)) or value is None else None
    return None


def _is_plain_class(found: Found) -> bool:
    """A class whose objects are no numbers and cannot be made of one by whoever takes them."""
    bases = " ".join(found.summary["bases"])
    return not any(word in bases for word in ("Enum", "Protocol", "int", "float", "Number", "dtype", "dict", "Mapping"))


def _any(answers: list[bool | None]) -> bool | None:
    if True in answers:
        return True
    return None if None in answers else False


def spelt_out(annotation: str, module: str, sources: Sources) -> str:
    """An annotation for a reader: the name of a type replaced by what it stands for (`Precision` by its words)."""
    found = sources.lookup(module, annotation) if annotation.isidentifier() else Found("opaque")
    return found.summary if found.kind == "value" and isinstance(found.summary, str) else annotation
