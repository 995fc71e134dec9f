"""What differs between two bundles: settings by id, metadata, weights by hash, reported scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.bundle.check.plans import PURPOSES, Plan, Reader, overlay_names
from medseg.bundle.metadata import METADATA_FILE, check_metadata
from medseg.bundle.printable import printable
from medseg.bundle.show_config import tree
from medseg.bundle.trust import merge
from medseg.bundle.verify import read_scores
from medseg.files import sha256_of

ABSENT = "-"


@dataclass(frozen=True)
class Difference:
    """One thing that differs: where ("train", "overlay smoke", "metadata", "weights", "scores"), which, and the two."""

    where: str
    name: str
    first: Any
    second: Any


def diff_bundles(first: Path, second: Path) -> list[Difference]:
    """All differences of two bundles; what all purposes share is told once, as "common".

    Raises
    ------
    BundleError
        A configuration or the metadata of one of them cannot be read.
    """
    sides = (_parts(first), _parts(second))
    found: list[Difference] = []
    for where in dict.fromkeys([*sides[0], *sides[1]]):
        one, two = (side.get(where, {}) for side in sides)
        names = [name for name in dict.fromkeys([*one, *two]) if one.get(name, ABSENT) != two.get(name, ABSENT)]
        found += [Difference(where, name, one.get(name, ABSENT), two.get(name, ABSENT)) for name in names]
    return found


def as_text(found: list[Difference], first: Path, second: Path) -> str:
    """One line a difference, grouped by where."""
    if not found:
        return f"{first.name} and {second.name} are the same"
    lines = [f"- {first}", f"+ {second}"]
    for where in dict.fromkeys(one.where for one in found):
        lines.append(f"{where}:")
        for one in (each for each in found if each.where == where):
            lines.append(f"  {one.name}: {_shown(one.first)} -> {_shown(one.second)}")
    return printable("\n".join(lines))


def _parts(bundle: Path) -> dict[str, Mapping[str, Any]]:
    files = {purpose: _file(bundle, purpose) for purpose in ("common", *PURPOSES)}
    overlays = {f"overlay {name}": _file(bundle, name) for name in overlay_names(bundle / "configs")}
    metadata = dict(_leaves(check_metadata(bundle / METADATA_FILE), ""))
    weights = {path.name: sha256_of(path) for path in sorted((bundle / "models").glob("model*")) if path.is_file()}
    scores = read_scores(bundle, current=False)
    return {
        **files,
        **overlays,
        "metadata": metadata,
        "weights": weights,
        "scores": {} if scores is None else dict(_leaves(scores["regions"], "")),
    }


def _file(bundle: Path, name: str) -> dict[str, Any]:
    """The values of one file of configs/; nothing where it is absent."""
    path = bundle / "configs" / f"{name}.yaml"
    if not path.is_file():
        return {}
    document = Reader().document(path)
    if document is not None and any("::" in key or key.startswith("+") for key, _ in document.root.children()):
        return dict(_leaves(document.root.value(), ""))  # an overlay: it names what it changes by id
    merged = merge(bundle, Plan(name, (path,), own=False), Reader())
    return {key: value for key, value in tree(merged) if not key.startswith("_meta_")}


def _leaves(value: Any, name: str) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        return [leaf for key, one in value.items() for leaf in _leaves(one, f"{name}::{key}" if name else str(key))]
    return [(name, value)]


def _shown(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
