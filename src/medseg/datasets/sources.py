"""The source files that a module rests on: its own, and those of all modules that it imports, on and on."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import sys
from collections.abc import Collection, Iterator
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import NamedTuple

from medseg.files import sha256_of

_INSTALLED = frozenset({"site-packages", "dist-packages"})


class _Module(NamedTuple):
    name: str
    file: Path | None
    package: str


def source_hash(name: str, file: Path, *, without: Collection[str]) -> str:
    """SHA-256 over `file`, which holds the module `name`, and over the files of the modules that it imports.

    What is imported is read from the files themselves, so that it does not depend on what a process happens to have
    loaded. An installed package counts by its version, unless `file` belongs to it.

    Parameters
    ----------
    name, file
        The module as it is loaded, also `__main__`.
    without
        Packages that do not count; the standard library never does.
    """
    own = name.partition(".")[0]
    left, found = [_Module(name, file, getattr(sys.modules.get(name), "__package__", None) or "")], dict[str, str]()
    while left:
        module = left.pop()
        top = module.name.partition(".")[0]
        if module.name in found or top in without or top in sys.stdlib_module_names:
            continue
        if top != own and module.file is not None and _INSTALLED.intersection(module.file.parts):
            found[top] = _versions(top)
            continue
        found[module.name] = "" if module.file is None else sha256_of(module.file)
        left += _imported(module)
    return hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest()


def _imported(module: _Module) -> Iterator[_Module]:
    """The modules that stand in the import statements of `module`, those within functions, too."""
    if module.file is None or module.file.suffix != ".py":
        return
    status = module.file.stat()
    for name in _import_names(module.file, status.st_mtime_ns, status.st_size):
        spec = _spec(_absolute(name, module.package))
        if spec is not None:
            file = Path(spec.origin) if spec.has_location and spec.origin else None
            package = spec.name if spec.submodule_search_locations is not None else spec.parent
            yield _Module(spec.name, file if file is not None and file.is_file() else None, package or "")


@functools.cache
def _import_names(file: Path, _time: int, _size: int) -> tuple[str, ...]:
    """As they are written, with leading dots; what is taken from a module may be a module of its own."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return ()
    names: dict[str, None] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            parts = [alias.name.split(".") for alias in node.names]
            names |= dict.fromkeys(".".join(one[: i + 1]) for one in parts for i in range(len(one)))
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            dot = "" if base.endswith(".") else "."
            names |= dict.fromkeys([base, *(f"{base}{dot}{alias.name}" for alias in node.names)])
    return tuple(names)


def _absolute(name: str, package: str) -> str:
    try:
        return importlib.util.resolve_name(name, package) if name.startswith(".") else name
    except ImportError:  # from beyond the top, which fails when it is run as well
        return ""


def _spec(name: str) -> ModuleSpec | None:
    """Where a module lies, without importing it or what it is in; None where there is none."""
    spec = getattr(sys.modules.get(name), "__spec__", None)
    if isinstance(spec, ModuleSpec) or not name:
        return spec
    above = name.rpartition(".")[0]
    if above:
        outer = _spec(above)
        inside = None if outer is None else outer.submodule_search_locations
        return None if inside is None else PathFinder.find_spec(name, list(inside))
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None


def _versions(top: str) -> str:
    return " ".join(f"{name} {version(name)}" for name in sorted(set(_distributions().get(top, ()))))


@functools.cache
def _distributions() -> dict[str, list[str]]:
    return dict(packages_distributions())
