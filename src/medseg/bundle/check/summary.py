"""What a Python module offers, read from its text: names, classes, signatures; nothing is imported.

A summary is plain JSON, so that the index can keep it: `{"names": {name: binding}, "stars": [module, ...],
"all": [name, ...] or None, "dynamic": bool}`. A binding is one of

- `["import", module, attribute or None]`
- `["function", signature]`
- `["class", class]`
- `["alias", expression]`: another name for what the expression names
- `["value"]`: anything else
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import Any

PASSED_THROUGH = frozenset(
    {
        *("deprecated", "deprecated_arg", "deprecated_arg_default", "export", "alias", "require_pkg", "staticmethod"),
        *(
            "classmethod",
            "abstractmethod",
            "no_grad",
            "inference_mode",
            "override",
            "final",
            "wraps",
            "cache",
            "lru_cache",
        ),
        *("contextmanager", "ignore", "unused", "_disable_dynamo_if_unsupported", "typing_extensions", "compatibility"),
        *(
            "runtime_validation",
            "dataclass",
            "property",
            "overload",
            "set_module",
            "total_ordering",
            "runtime_checkable",
        ),
    }
)
"""Decorators that leave a signature as it is; what any other one makes of it is not known."""

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def summarise(text: str, module: str, *, package: bool) -> dict[str, Any]:
    """The summary of a module's text; an empty, dynamic one where it is no Python of this version."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return {"names": {}, "stars": [], "all": None, "dynamic": True}
    found: dict[str, Any] = {"names": {}, "stars": [], "all": None, "dynamic": False}
    for node in _statements(tree.body):
        _add(node, found, module, package)
    return found


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements of a module, those in its `if`, `try` and `with` blocks too."""
    for node in body:
        yield node
        for field in ("body", "orelse", "finalbody"):
            if isinstance(node, (ast.If, ast.Try, ast.With, ast.For)):
                yield from _statements(getattr(node, field, []))
        if isinstance(node, ast.Try):
            for handler in node.handlers:
                yield from _statements(handler.body)


def _add(node: ast.stmt, found: dict[str, Any], module: str, package: bool) -> None:
    names = found["names"]
    if isinstance(node, ast.ImportFrom):
        source = _source(node, module, package)
        for alias in node.names:
            if alias.name == "*":
                found["stars"].append(source)
            else:
                names.setdefault(alias.asname or alias.name, ["import", source, alias.name])
    elif isinstance(node, ast.Import):
        for alias in node.names:
            names[alias.asname or alias.name.split(".")[0]] = [
                "import",
                alias.name if alias.asname else alias.name.split(".")[0],
                None,
            ]
    elif isinstance(node, _Function):
        if node.name == "__getattr__":
            found["dynamic"] = True
        names[node.name] = ["function", _signature(node)]
    elif isinstance(node, ast.ClassDef):
        names[node.name] = ["class", _class(node)]
    else:
        _add_assigned(node, found)


def _add_assigned(node: ast.stmt, found: dict[str, Any]) -> None:
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            for name in _names(target):
                found["names"].setdefault(name, _assigned(node.value))
            if "globals" in ast.unparse(target):
                found["dynamic"] = True
        if any(isinstance(t, ast.Name) and t.id == "__all__" for t in targets):
            found["all"] = _strings(node.value)
    elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name) and node.target.id == "__all__":
        more = _strings(node.value)
        found["all"] = None if more is None or found["all"] is None else [*found["all"], *more]
    elif isinstance(node, ast.Expr) and ("globals()" in (text := ast.unparse(node)) or "sys.modules[__name__]" in text):
        found["dynamic"] = True


def _assigned(value: ast.expr | None) -> list[Any]:
    if value is None:
        return ["value"]
    if isinstance(value, (ast.Name, ast.Attribute)) and (text := dotted(value)) is not None:
        return ["alias", text]
    if isinstance(value, ast.Tuple | ast.Subscript | ast.BinOp):
        text = ast.unparse(value)
        return ["alias", text] if len(text) < 200 else ["value"]
    return ["value"]


def _names(target: ast.expr) -> list[str]:
    if isinstance(target, ast.Name):
        return [target.id]
    return [n for one in target.elts for n in _names(one)] if isinstance(target, (ast.Tuple, ast.List)) else []


def _strings(value: ast.expr | None) -> list[str] | None:
    """The texts of a literal list; None where it is computed."""
    if isinstance(value, (ast.List, ast.Tuple)):
        texts = [one.value for one in value.elts if isinstance(one, ast.Constant) and isinstance(one.value, str)]
        return texts if len(texts) == len(value.elts) else None
    return None


def _source(node: ast.ImportFrom, module: str, package: bool) -> str:
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    base = parts[: len(parts) - node.level + (1 if package else 0)]
    return ".".join([*base, *([node.module] if node.module else [])])


def dotted(node: ast.expr) -> str | None:
    """`a.b.c` as text; None for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (inner := dotted(node.value)) is not None:
        return f"{inner}.{node.attr}"
    return None


def _class(node: ast.ClassDef) -> dict[str, Any]:
    methods: dict[str, Any] = {}
    fields: list[Any] = []
    attributes: set[str] = set()
    for one in _statements(node.body):
        if isinstance(one, _Function):
            methods[one.name] = _signature(one)
            attributes |= set(_own_attributes(one))
        elif isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name):
            fields.append([one.target.id, one.value is not None, ast.unparse(one.annotation)])
        elif isinstance(one, ast.Assign):
            attributes |= {name for target in one.targets for name in _names(target)}
    decorators = [_decorator(d) for d in node.decorator_list]
    return {
        "bases": [dotted(b.value if isinstance(b, ast.Subscript) else b) or "?" for b in node.bases],
        "meta": [k.arg for k in node.keywords],
        "methods": methods,
        "fields": fields,
        "attributes": sorted(attributes | {name for name, _, _ in fields}),
        "values": _enum_values(node),
        "dataclass": "dataclass" in decorators,
        "odd": any(d not in PASSED_THROUGH for d in decorators),
    }


def _own_attributes(function: _Function) -> Iterator[str]:
    for node in ast.walk(function):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name):
            yield node.attr


def _enum_values(node: ast.ClassDef) -> list[Any]:
    assigned = [one.value for one in node.body if isinstance(one, ast.Assign)]
    return [v.value for v in assigned if isinstance(v, ast.Constant) and isinstance(v.value, (str, int))]


def _decorator(node: ast.expr) -> str:
    call = node.func if isinstance(node, ast.Call) else node
    return (dotted(call) or "?").split(".")[-1]


def _signature(node: _Function) -> dict[str, Any]:
    spec = node.args
    plain = [*spec.posonlyargs, *spec.args]
    required = len(plain) - len(spec.defaults)
    params = [
        [a.arg, "positional" if i < len(spec.posonlyargs) else "any", i >= required, _annotation(a), _default(spec, i)]
        for i, a in enumerate(plain)
    ]
    params += [
        [a.arg, "keyword", d is not None, _annotation(a), isinstance(d, ast.Constant) and d.value is None]
        for a, d in zip(spec.kwonlyargs, spec.kw_defaults, strict=True)
    ]
    decorators = [_decorator(d) for d in node.decorator_list]
    return {
        "params": params,
        "varargs": spec.vararg is not None,
        "kwargs": None if spec.kwarg is None else _kwargs_use(node, spec.kwarg.arg),
        "also": _deprecated(node.decorator_list),
        "static": "staticmethod" in decorators,
        "bound": "classmethod" in decorators,
        "property": "property" in decorators,
        "odd": any(d not in PASSED_THROUGH and d not in ("setter", "getter") for d in decorators),
        "returns": None if node.returns is None else ast.unparse(node.returns),
    }


def _annotation(argument: ast.arg) -> str | None:
    if argument.annotation is None:
        return None
    if isinstance(argument.annotation, ast.Constant) and isinstance(argument.annotation.value, str):
        return argument.annotation.value
    return ast.unparse(argument.annotation)


def _default(spec: ast.arguments, index: int) -> bool:
    """Whether the default of a plain argument is None."""
    at = index - (len(spec.posonlyargs) + len(spec.args) - len(spec.defaults))
    default = spec.defaults[at] if at >= 0 else None
    return isinstance(default, ast.Constant) and default.value is None


def _deprecated(decorators: list[ast.expr]) -> list[str]:
    """Old names of arguments that MONAI's `deprecated_arg` still takes."""
    names = []
    for node in decorators:
        if isinstance(node, ast.Call) and _decorator(node) == "deprecated_arg":
            given = [*node.args[:1], *(k.value for k in node.keywords if k.arg == "name")]
            names += [v.value for v in given if isinstance(v, ast.Constant) and isinstance(v.value, str)]
    return names


def _kwargs_use(function: _Function, name: str) -> dict[str, Any]:
    """What becomes of `**kwargs`: names that are looked up in it, and calls that it is handed on to.

    `"open"` where it goes anywhere else: any name may be right then.
    """
    taken: list[str] = []
    handed: list[str] = []
    understood: set[int] = set()
    for node in ast.walk(function):
        taken += _looked_up(node, name, understood)
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                if keyword.arg is None and isinstance(keyword.value, ast.Name) and keyword.value.id == name:
                    handed.append(_callee(node.func))
                    understood.add(id(keyword.value))
    uses = [n for n in ast.walk(function) if isinstance(n, ast.Name) and n.id == name]
    return {"taken": taken, "handed": handed, "open": any(id(n) not in understood for n in uses)}


def _looked_up(node: ast.AST, name: str, understood: set[int]) -> list[str]:
    """Texts under which a node looks into the mapping `name`; what is understood is noted."""
    where: ast.expr | None = None
    key: ast.expr | None = None
    if isinstance(node, ast.Subscript):
        where, key = node.value, node.slice
    elif isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.ops[0], (ast.In, ast.NotIn)):
        where, key = node.comparators[0], node.left
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args[:1]:
        getter = node.func.attr in ("get", "pop", "setdefault")
        where, key = (node.func.value, node.args[0]) if getter else (None, None)
    if not (isinstance(where, ast.Name) and where.id == name and isinstance(key, ast.Constant)):
        return []
    understood.add(id(where))
    return [str(key.value)]


def _callee(function: ast.expr) -> str:
    """`super` for a call of the parent's `__init__`, a dotted name, or `?`."""
    if isinstance(function, ast.Attribute) and function.attr == "__init__":
        inner = function.value
        if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Name) and inner.func.id == "super":
            return "super"
        return f"{dotted(inner) or '?'}.__init__"
    return dotted(function) or "?"
