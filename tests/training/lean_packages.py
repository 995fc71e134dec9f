"""Run a module or script where nothing is installed but what training needs: `lean_packages.py WHAT [ARGUMENT ...]`.

Every other package of this environment is not found, as if it were not installed: SimpleITK, pydicom and python-gdcm,
which medseg needs elsewhere, among them; and ISA-L and jsonschema, which GPU machines for rent seldom have.
"""

from __future__ import annotations

import re
import runpy
import sys
from importlib import metadata
from importlib.machinery import ModuleSpec
from typing import Any

NEEDED = (
    *("torch", "monai", "pytorch-ignite", "nibabel", "numpy", "PyYAML", "fire", "Pillow", "tensorboard"),
    *("tqdm", "scipy"),
)


def distributions() -> set[str]:
    """Those of `NEEDED` and what they need themselves, extras left out, by their normalised names."""
    found: set[str] = set()
    waiting = [normal(name) for name in NEEDED]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        for line in requirements(name):
            if "extra ==" not in line:
                waiting.append(normal(re.split(r"[^\w.-]", line, maxsplit=1)[0]))
    return found


def requirements(name: str) -> list[str]:
    """Those of a distribution; none where a marker keeps it from this machine."""
    try:
        return metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return []


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


class Lean:
    """A finder in front of another that does not find what is blocked."""

    def __init__(self, finder: Any, blocked: set[str]) -> None:
        self.finder, self.blocked = finder, blocked

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return None if name.partition(".")[0] in self.blocked else self.finder.find_spec(name, path, target)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.finder, name)


def block() -> set[str]:
    """Hide all packages that training does not need; their names."""
    kept = distributions() | {"medseg"}
    owners = metadata.packages_distributions()
    blocked = {package for package, of in owners.items() if not kept & {normal(name) for name in of}}
    sys.meta_path[:] = [Lean(finder, blocked) for finder in sys.meta_path]
    return blocked


if __name__ == "__main__":
    hidden = block()
    unneeded = {"SimpleITK", "pydicom", "gdcm", "isal", "jsonschema", "matplotlib", "pytest", "shtab"}
    assert unneeded <= hidden, sorted(hidden)
    what = sys.argv[1]
    sys.argv = [what, *sys.argv[2:]]
    if what.endswith(".py"):
        runpy.run_path(what, run_name="__main__")
    else:
        runpy.run_module(what, run_name="__main__", alter_sys=True)
