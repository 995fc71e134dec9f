"""What a bundle that nobody has trusted may call and name: the list of allowed.toml, by name and by object."""

from __future__ import annotations

import importlib
import tomllib
from collections.abc import Mapping
from enum import Enum
from functools import cache
from importlib import resources
from types import ModuleType
from typing import Any

GLOBALS: Mapping[str, str] = {"monai": "monai", "torch": "torch", "np": "numpy", "numpy": "numpy"}
"""Names that MONAI's expressions know without an import (`monai.bundle.config_parser._default_globals`)."""

Names = Mapping[str, frozenset[str]]


@cache
def table(section: str) -> Names:
    """A section of allowed.toml: package to names, or kind to names."""
    text = resources.files("medseg.bundle").joinpath("allowed.toml").read_text(encoding="utf-8")
    return {key: frozenset(names) for key, names in tomllib.loads(text)[section].items()}


def roots() -> frozenset[str]:
    """The top packages that the list speaks of."""
    packages = [*table("callables"), *table("constants"), *table("enumerations")]
    return frozenset(package.split(".")[0] for package in packages)


def is_module(dotted: str) -> bool:
    """Whether a bundle may import the module of that name: a listed package, or one that holds such packages."""
    packages = {*table("callables"), *table("constants"), *table("enumerations")}
    return any(package == dotted or package.startswith(f"{dotted}.") for package in packages)


def is_callable(dotted: str) -> bool:
    """Whether a spelled-out name is on the list; a module below the listed package may stand in between.

    Only text is looked at: whether the name leads to the listed object is seen when it is looked up (`permitted`).
    """
    module, _, name = dotted.rpartition(".")
    if any(part.startswith("_") or not part for part in dotted.split(".")):
        return False
    if not module:
        return any(package.startswith("monai.") and _aliases(name) & names for package, names in _callables())
    return any(
        (module == package or module.startswith(f"{package}.")) and bool(_aliases(name) & names)
        for package, names in _callables()
    )


def is_value(dotted: str) -> bool:
    """Whether a spelled-out name is a listed constant, or a member of a listed enumeration."""
    module, _, name = dotted.rpartition(".")
    if name in table("constants").get(module, ()):
        return True
    package, _, enumeration = module.rpartition(".")
    return not name.startswith("_") and enumeration in table("enumerations").get(package, ())


def permitted(thing: Any) -> bool:
    """Whether an object is itself what a listed name stands for, by whatever path it was reached."""
    name = getattr(thing, "__name__", None)
    if not isinstance(name, str) or isinstance(thing, ModuleType):
        return False
    packages = [package for package, names in _callables() if name in names]
    return any(getattr(importlib.import_module(package), name, None) is thing for package in packages)


def plain_value(thing: Any) -> bool:
    """Whether a module's attribute is a value and nothing that runs: a number, a text, a dtype, an enumeration."""
    if isinstance(thing, (int, float, str, Enum)) or (isinstance(thing, type) and issubclass(thing, Enum)):
        return True
    import numpy as np
    import torch

    if isinstance(thing, (torch.dtype, torch.memory_format, torch.layout, np.dtype)):
        return True
    return isinstance(thing, type) and issubclass(thing, np.generic)


def _callables() -> list[tuple[str, frozenset[str]]]:
    return list(table("callables").items())


def _aliases(name: str) -> set[str]:
    """MONAI's dictionary transforms go by three names: Resized, ResizeD, ResizeDict."""
    stem = name.removesuffix("Dict") if name.endswith("Dict") else name.removesuffix("D")
    return {name} if stem == name else {name, f"{stem}d"}
