"""Which arguments a class or function takes, from its text: parents and handed-on `**kwargs` followed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from medseg.bundle.check.sources import Found, Sources

_NO_ARGUMENTS = frozenset({"object", "ABC", "Protocol", "Generic", "abc.ABC", "typing.Protocol", "typing.Generic"})
_ENUMS = frozenset({"Enum", "IntEnum", "StrEnum", "Flag", "enum.Enum", "enum.IntEnum", "NamedTuple", "TypedDict"})
_MODULE = ("torch.nn.modules.module", "Module")
_DEEPEST = 12


@dataclass(frozen=True)
class Parameter:
    """One argument.

    Attributes
    ----------
    annotation
        As text; None where there is none.
    module
        Whose names the annotation uses.
    none
        Whether its default is None.
    """

    name: str
    required: bool
    annotation: str | None
    module: str
    none: bool
    positional: bool = True


@dataclass
class Signature:
    """The arguments of a call.

    Attributes
    ----------
    parameters
        By name, in their order.
    also
        Further names that are taken: looked up in `**kwargs`, or deprecated.
    open
        Any name may be right.
    varargs
        Any number of positional arguments.
    """

    parameters: dict[str, Parameter] = field(default_factory=dict)
    also: set[str] = field(default_factory=set)
    open: bool = False
    varargs: bool = False

    @property
    def names(self) -> list[str]:
        """All that can be given by name."""
        return [*self.parameters, *sorted(self.also - set(self.parameters))]

    @property
    def required(self) -> list[str]:
        """What has no default."""
        return [one.name for one in self.parameters.values() if one.required]


def signature(found: Found, sources: Sources, depth: int = 0) -> Signature | None:
    """The arguments of what a name leads to; None where text does not tell."""
    if depth > _DEEPEST or found.kind not in ("class", "function"):
        return None
    if found.kind == "function":
        return _of_function(found.summary, found, sources, method=False, depth=depth)
    return _of_class(found, sources, depth)


def method(found: Found, name: str, sources: Sources) -> Signature | None:
    """The arguments of a method of a class, without `self`; None where text does not tell or there is none."""
    for owner in ancestors(found, sources) or []:
        if name in owner.summary["methods"]:
            return _of_function(owner.summary["methods"][name], owner, sources, method=True, depth=0)
    return None


def ancestors(found: Found, sources: Sources) -> list[Found] | None:
    """The class and its parents, nearest first; None where one of them is not known."""
    line, known = _line(found, sources)
    return line if known else None


def known_ancestors(found: Found, sources: Sources) -> list[Found]:
    """The class and those of its parents that are known."""
    return _line(found, sources)[0]


def _line(found: Found, sources: Sources, depth: int = 0) -> tuple[list[Found], bool]:
    line, known = [found], True
    for base in found.summary["bases"]:
        if base in _NO_ARGUMENTS or base.split(".")[-1] in ("ABC", "Protocol", "Generic"):
            continue
        parent = _parent(found, base, sources)
        if parent.kind != "class" or depth > _DEEPEST:
            known = False
            continue
        more, more_known = _line(parent, sources, depth + 1)
        line += [one for one in more if all((one.module, one.name) != (o.module, o.name) for o in line)]
        known = known and more_known
    return line, known


def _parent(found: Found, base: str, sources: Sources) -> Found:
    head, _, rest = base.partition(".")
    parent = sources.lookup(found.module, head)
    for part in rest.split(".") if rest else []:
        if parent.kind != "module":
            return Found("opaque")
        parent = sources.resolve(f"{parent.module}.{part}")
    return parent


def _of_class(found: Found, sources: Sources, depth: int) -> Signature | None:
    if found.summary["odd"] or "metaclass" in found.summary["meta"]:
        return None
    if any(base.split(".")[-1] in _ENUMS or base in _ENUMS for base in found.summary["bases"]):
        return None
    if found.summary["dataclass"] and "__init__" not in found.summary["methods"]:
        return _of_dataclass(found, sources)
    line = ancestors(found, sources)
    for owner in line or known_ancestors(found, sources):
        if (owner.module, owner.name) == _MODULE:
            return Signature()
        for maker in ("__init__", "__new__"):
            if maker in owner.summary["methods"]:
                return _of_function(owner.summary["methods"][maker], owner, sources, method=True, depth=depth)
        if owner.summary["bases"] and line is None:
            return None  # an unknown parent may come before the next one
    return Signature() if line is not None else None


def _of_dataclass(found: Found, sources: Sources) -> Signature | None:
    line = ancestors(found, sources)
    if line is None:
        return None
    made = Signature()
    for owner in reversed(line):
        for name, has_default, annotation in owner.summary["fields"]:
            if "ClassVar" not in annotation:
                made.parameters[name] = Parameter(name, not has_default, annotation, owner.module, none=False)
    return made


def _of_function(summary: Any, found: Found, sources: Sources, *, method: bool, depth: int) -> Signature | None:
    if summary["odd"]:
        return None
    params = summary["params"][1 if method and not summary["static"] else 0 :]
    made = Signature(
        {
            name: Parameter(name, not has_default, annotation, found.module, none, kind != "keyword")
            for name, kind, has_default, annotation, none in params
            if kind != "positional"
        },
        also=set(summary["also"]),
        varargs=summary["varargs"],
    )
    if summary["kwargs"] is not None:
        _add_handed_on(made, summary["kwargs"], found, sources, depth)
    return made


def _add_handed_on(made: Signature, use: Any, found: Found, sources: Sources, depth: int) -> None:
    made.also |= set(use["taken"])
    if use["open"] or not use["handed"]:
        made.open = True
        return
    for callee in use["handed"]:
        other = _handed_to(callee, found, sources, depth)
        if other is None:
            made.open = True
            continue
        made.open = made.open or other.open
        made.also |= set(other.names)
        for name, parameter in other.parameters.items():
            optional = Parameter(name, False, parameter.annotation, parameter.module, parameter.none)
            made.parameters.setdefault(name, optional)


def _handed_to(callee: str, found: Found, sources: Sources, depth: int) -> Signature | None:
    """What the call that `**kwargs` goes to takes; which arguments it has already is not looked at."""
    if callee == "super":
        if found.kind != "class":
            return None
        for base in found.summary["bases"]:
            parent = _parent(found, base, sources)
            return signature(parent, sources, depth + 1)
        return None
    name = callee.removesuffix(".__init__")
    if not all(part.isidentifier() for part in name.split(".")):
        return None
    target = _parent(found, name, sources)
    if target.kind == "function" and target.module == found.module and target.name == found.name:
        return None
    return signature(target, sources, depth + 1)
