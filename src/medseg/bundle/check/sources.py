"""Installed packages and the bundle's own scripts as text: where a dotted name leads, and what is there.

Nothing is imported but the names of top packages are looked up (`importlib.util.find_spec` runs no code for those).
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from medseg.bundle.check.index import Index
from medseg.bundle.check.summary import summarise

Kind = Literal["class", "function", "value", "module", "opaque", "missing"]

_TOP_LEVEL = re.compile(rb"^(?:class|def|async def) +(\w+)|^((?:\w+ *= *)+)(\w+)[ \t]*(?:#.*)?$", re.MULTILINE)
_IN_STUB = re.compile(r"^(?:def |class )?([a-z]\w+)(?::|\()", re.MULTILINE)
_NOT_SCANNED = re.compile(r"(^|/)(_version|__main__|_extensions|tests?)\b")
_DEEPEST = 40


@dataclass(frozen=True)
class Found:
    """What a dotted name leads to.

    Attributes
    ----------
    kind
        "opaque": it may be anything, as it is not written in Python or made while running. "missing": it is not there.
    module, name
        Where it is defined. For a missing one the last module that is there, and the part that is not.
    summary
        Of a class or function, as in `medseg.bundle.check.summary`.
    """

    kind: Kind
    module: str = ""
    name: str = ""
    summary: Any = None


class Sources:
    """Modules by their names, as text.

    Parameters
    ----------
    folder
        The bundle's: MONAI puts it on Python's path, so its scripts can be named.
    """

    def __init__(self, folder: Path | None = None, index: Index | None = None) -> None:
        self.folder = folder
        self.index = Index() if index is None else index
        self._tops: dict[str, list[Path] | None] = {}
        self._files: dict[str, Path | None] = {}
        self._resolved: dict[str, Found] = {}

    def resolve(self, name: str) -> Found:
        """Where `torch.optim.AdamW` or MONAI's `UNet` leads."""
        if "." not in name and name in self.short_names:
            return self.lookup(self.short_names[name][0], name)
        if name not in self._resolved:
            self._resolved[name] = self._resolve(name.split("."), name)
        return self._resolved[name]

    def _resolve(self, parts: list[str], name: str) -> Found:
        if not all(part.isidentifier() for part in parts):
            return Found("missing", "", name)
        if parts[0] in sys.stdlib_module_names and parts[0] in sys.modules:
            return _of_standard_library(parts)
        if self.file(parts[0]) is None:
            return Found("opaque") if self._is_binary(parts[0]) else Found("missing", "", parts[0])
        depth = 1
        while depth < len(parts) and self.file(".".join(parts[: depth + 1])) is not None:
            depth += 1
        return self._walk(".".join(parts[:depth]), parts[depth:])

    def lookup(self, module: str, name: str, depth: int = 0) -> Found:
        """What `name` is in the namespace of a module, re-exports followed."""
        summary = self.module(module)
        if summary is None or depth > _DEEPEST:
            return Found("opaque")
        binding = summary["names"].get(name)
        if binding is None:
            return self._from_stars(summary, module, name, depth)
        if binding[0] == "import":
            return self._imported(binding[1], binding[2], depth)
        if binding[0] == "alias":
            return self._aliased(module, name, binding[1], depth)
        if binding[0] == "value":
            return Found("value", module, name)
        return Found(binding[0], module, name, binding[1])

    def names_in(self, module: str) -> list[str]:
        """Public names of a module, for hints."""
        summary = self.module(module)
        if summary is None:
            return [one for one in dir(sys.modules.get(module)) if not one.startswith("_")]
        names = [name for name in summary["names"] if not name.startswith("_")]
        for star in summary["stars"]:
            names += self.names_in(star) if star != module else []
        if module == "torch":
            names += _IN_STUB.findall(self._stubs)
        path = self.file(module)
        if path is not None and path.name == "__init__.py":
            names += [p.stem for p in path.parent.glob("[!_]*.py")]
            names += [p.parent.name for p in path.parent.glob("[!_]*/__init__.py")]
        return names

    def module(self, name: str) -> Any:
        """The summary of a module; None where there is no text of it."""
        path = self.file(name)
        if path is None or path.suffix != ".py":
            return None
        return self.index.summary(path, lambda text: summarise(text, name, package=path.name == "__init__.py"))

    def file(self, name: str) -> Path | None:
        """The file of a module: a package's `__init__.py`, its folder where it has none; None where there is none."""
        if name not in self._files:
            self._files[name] = self._find(name)
        return self._files[name]

    @cached_property
    def short_names(self) -> dict[str, list[str]]:
        """MONAI's classes and functions by their bare names, as its ComponentLocator finds them; with their modules."""
        package = self.file("monai")
        if package is None:
            return {}
        return self.index.table(package, lambda: _scan(package.parent))

    def _find(self, name: str) -> Path | None:
        top, _, rest = name.partition(".")
        for place in self._places(top):
            path = place.joinpath(*rest.split(".")) if rest else place
            if (path / "__init__.py").is_file():
                return path / "__init__.py"
            if path.with_name(path.name + ".py").is_file():
                return path.with_name(path.name + ".py")
            if path.is_dir():
                return path
        return None

    def _places(self, top: str) -> list[Path]:
        """Where a top package lies, without its suffix: in the bundle's folder, or where Python finds it."""
        if top not in self._tops:
            places = [] if self.folder is None else [self.folder / top]
            self._tops[top] = [*places, *_installed(top)]
        return self._tops[top] or []

    def _is_binary(self, top: str) -> bool:
        """Whether Python finds it, but not as text: built in, or compiled."""
        try:
            return top in sys.builtin_module_names or importlib.util.find_spec(top) is not None
        except (ImportError, ValueError):
            return False

    def _walk(self, module: str, rest: list[str]) -> Found:
        if not rest:
            return Found("module", module)
        found = self.lookup(module, rest[0])
        if found.kind == "missing" and module == "torch" and self._in_stub(rest[0]):
            found = Found("opaque")
        for part in rest[1:]:
            if found.kind == "module":
                found = self._walk(found.module, [part])
            elif found.kind == "class":
                found = self._member(found, part)
            else:
                return Found("opaque") if found.kind != "missing" else found
        return found

    def _member(self, found: Found, part: str) -> Found:
        """A function of a class, called on the class; a method wants an object first, so that it tells nothing."""
        made = found.summary["methods"].get(part)
        if made is None or not (made["static"] or made["bound"]):
            return Found("opaque")
        params = made["params"] if made["static"] else made["params"][1:]
        return Found("function", found.module, part, {**made, "params": params})

    def _in_stub(self, name: str) -> bool:
        """Whether torch's compiled core may have `name`: its functions and types stand in stubs."""
        return not self._stubs or re.search(rf"\b{re.escape(name)}\b", self._stubs) is not None

    @cached_property
    def _stubs(self) -> str:
        folder = (self.file("torch") or Path()).parent / "_C"
        files = (folder / "__init__.pyi", folder / "_VariableFunctions.pyi")
        return "".join(file.read_text(encoding="utf-8") for file in files if file.is_file())

    def _from_stars(self, summary: Any, module: str, name: str, depth: int) -> Found:
        for star in summary["stars"]:
            other = self.module(star)
            if other is None and module == "torch":
                continue  # of its compiled core; its names are looked up in stubs
            if other is None:
                return Found("opaque")
            if (other["all"] is None and name.startswith("_")) or (
                other["all"] is not None and name not in other["all"]
            ):
                continue
            found = self.lookup(star, name, depth + 1)
            if found.kind != "missing":
                return found
        if self.file(f"{module}.{name}") is not None:
            return Found("module", f"{module}.{name}")
        listed = summary["all"] is not None and name not in summary["all"]  # `__getattr__` for the names of `__all__`
        if summary["dynamic"] and module != "torch" and not listed:
            return Found("opaque")
        return Found("missing", module, name)

    def _imported(self, module: str, name: str | None, depth: int) -> Found:
        if name is None:
            return Found("module", module) if self.file(module) is not None else Found("opaque")
        if self.file(module) is None:
            return Found("opaque")  # an optional package that is not installed, or a compiled one
        found = self.lookup(module, name, depth + 1) if self.module(module) is not None else Found("missing")
        if found.kind in ("missing", "opaque") and self.file(f"{module}.{name}") is not None:
            return Found("module", f"{module}.{name}")
        return Found("opaque") if found.kind == "missing" else found

    def _aliased(self, module: str, name: str, expression: str, depth: int) -> Found:
        parts = expression.split(".")
        if not all(part.isidentifier() for part in parts) or parts[0] == name:
            return Found("value", module, name, expression)
        found = self.lookup(module, parts[0], depth + 1)
        for part in parts[1:]:
            if found.kind != "module":
                return Found("opaque")
            found = self.lookup(found.module, part, depth + 1)
        return Found("opaque") if found.kind == "missing" else found


def _of_standard_library(parts: list[str]) -> Found:
    """Names of modules of Python itself that run already: they can be asked, and many are not written in Python."""
    here: Any = sys.modules[parts[0]]
    for depth, part in enumerate(parts[1:], 1):
        module = ".".join(parts[:depth])
        if not hasattr(here, part):
            inside = not isinstance(here, ModuleType) or _is_submodule(f"{module}.{part}")
            return Found("opaque") if inside else Found("missing", module, part)
        here = getattr(here, part)
    return Found("module", parts[0]) if len(parts) == 1 else Found("opaque")


def _is_submodule(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _installed(top: str) -> list[Path]:
    try:
        spec = importlib.util.find_spec(top) if top.isidentifier() else None
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    if spec.submodule_search_locations is not None:
        return [Path(place) for place in spec.submodule_search_locations]
    origin = Path(spec.origin or "")
    return [origin.with_suffix("")] if origin.suffix == ".py" else []


def _scan(package: Path) -> dict[str, list[str]]:
    """Classes and functions at the top of each of MONAI's modules, with their aliases, by a search through the text."""
    table: dict[str, list[str]] = {}
    for path in sorted(package.rglob("*.py")):
        inside = path.relative_to(package).with_suffix("")
        if _NOT_SCANNED.search(inside.as_posix()):
            continue
        parts = inside.parts[:-1] if inside.name == "__init__" else inside.parts
        for name in _defined(path.read_bytes()):
            table.setdefault(name, []).append(".".join([package.name, *parts]))
    return table


def _defined(text: bytes) -> Iterator[str]:
    found: set[str] = set()
    for match in _TOP_LEVEL.finditer(text):
        name, targets, source = (group.decode() if group else "" for group in match.groups())
        if name:
            found.add(name)
        elif source in found:
            found |= {target.strip() for target in targets.split("=") if target.strip()}
    yield from sorted(found)
