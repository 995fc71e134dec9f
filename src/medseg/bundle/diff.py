"""What differs between two bundles: settings by id, metadata, weights and scripts by hash, reported scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.bundle.check.merged import normal
from medseg.bundle.check.plans import PURPOSES, Plan, Reader
from medseg.bundle.metadata import METADATA_FILE, check_metadata
from medseg.bundle.pack import is_weights, own_files
from medseg.bundle.printable import printable
from medseg.bundle.trust import merge
from medseg.bundle.verify import SCORES_FILE, read_scores
from medseg.errors import BundleError
from medseg.files import sha256_of

ABSENT = "-"


@dataclass(frozen=True)
class Difference:
    """One thing that differs: where ("train", "overlay smoke", "weights", "scripts"), which, and the two."""

    where: str
    name: str
    first: Any
    second: Any


def diff_bundles(first: Path, second: Path) -> list[Difference]:
    """All differences of two bundles, file by file of configs/; what all purposes share is told as "common".

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
    scores = read_scores(bundle, current=False)
    own = [path for path in own_files(bundle) if path.is_file()]
    return {
        **_settings(bundle, [path for path in own if path.parent.name == "configs"]),
        "metadata": dict(_leaves(check_metadata(bundle / METADATA_FILE), "")),
        "weights": {path.name: sha256_of(path) for path in own if is_weights(path)},
        "scores": {} if scores is None else dict(_leaves(scores["regions"], "")),
        "records": {path.name: sha256_of(path) for path in own if path.parent.name == "models" and _is_record(path)},
        "scripts": {path.relative_to(bundle).as_posix(): sha256_of(path) for path in own if path.suffix == ".py"},
    }


def _is_record(path: Path) -> bool:
    return path.suffix == ".json" and path.name != SCORES_FILE.name


def _settings(bundle: Path, files: Sequence[Path]) -> dict[str, Mapping[str, Any]]:
    """The values of each configuration as it is written, common.yaml first; a file that is no mapping by its hash."""
    known = ("common", *PURPOSES)
    named = {path.stem: path for path in files if path.suffix != ".conf" and path.name != METADATA_FILE.name}
    found: dict[str, Mapping[str, Any]] = {}
    for name in sorted(named, key=lambda one: (known.index(one) if one in known else len(known), one)):
        where = name if name in known or "common" not in named else f"overlay {name}"
        found[where] = _file(bundle, named[name])
    return found


def _file(bundle: Path, path: Path) -> dict[str, Any]:
    reader = Reader()
    document = reader.document(path)
    if document is None and any(one.code == "unreadable" for one in reader.findings):
        raise BundleError(f"bundle {bundle.name}: {reader.findings[0].text(bundle)}")
    if document is None:
        return {path.name: sha256_of(path)}
    content = document.root.value()
    if not any(mark in key for key in content for mark in ("::", "#", "+")):  # else it names what it changes by id
        content = merge(bundle, Plan(path.stem, (path,), own=False), reader).root.value()
    return {normal(key): value for key, value in _leaves(content, "") if not key.startswith("_meta_")}


def _leaves(value: Any, name: str) -> list[tuple[str, Any]]:
    """Ids and values; a list of plain values is one, however it is laid out, one of mappings is told by index."""
    inside: Sequence[tuple[object, Any]] = ()
    if isinstance(value, Mapping):
        inside = list(value.items())
    elif isinstance(value, list) and any(isinstance(one, (Mapping, list)) for one in value):
        inside = list(enumerate(value))
    if not inside:
        return [(name, value)]
    return [leaf for key, one in inside for leaf in _leaves(one, f"{name}::{key}" if name else str(key))]


def _shown(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
