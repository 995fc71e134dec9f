"""The configuration that a command runs: every value after merging, and where it comes from."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.bundle.check.findings import COMMAND_LINE
from medseg.bundle.check.lines import Node
from medseg.bundle.check.merged import Merged, absolute
from medseg.bundle.printable import printable
from medseg.bundle.wants import references
from medseg.errors import BundleError

_DEEPEST = 32
_UNSET = object()


@dataclass(frozen=True)
class Setting:
    """One value of the merged configuration.

    Attributes
    ----------
    name
        Its id, such as "train::optimizer::lr".
    value
        As written: a number, a text, a reference "@...", an expression "$...".
    source
        "configs/train.yaml:12", "overlay smoke, configs/smoke.yaml:3", or "command line".
    means
        What a reference leads to, where that is a value that stands in the files.
    """

    name: str
    value: Any
    source: str
    means: Any = None


def settings(merged: Merged, *, only: str | None = None) -> list[Setting]:
    """All values of a configuration, or those at and below the id `only`; containers are told by what they hold.

    Raises
    ------
    BundleError
        There is no id `only`.
    """
    wanted = None if only is None else only.replace("#", "::").removeprefix("@")
    rows = _rows(merged)
    found = [
        _setting(name, node, merged)
        for name, node in merged.ids.items()
        if name in rows
        and (wanted is None or name == wanted or name.startswith(f"{wanted}::"))
        and (wanted is not None or not name.startswith("_meta_"))
    ]
    if not found:
        raise BundleError(f"the configuration has no {only}", next_step=merged.nearest(wanted or ""))
    return found


def resolved(merged: Merged, parser: Any, *, only: Collection[str]) -> dict[str, str]:
    """The values of all expressions and references, as MONAI's `parser` evaluates them; components are not made.

    `only` names the ids that are asked for. Expressions that need a component (`@net.parameters()`) are left out.
    """
    found = {}
    for name in only:
        node = merged.ids[name]
        computed = isinstance(node.content, str) and node.content.startswith(("$", "@"))
        if computed and not _imports(node) and not _needs_component(node, merged):
            found[name] = repr(parser.get_parsed_content(name))
    return found


def as_text(rows: Sequence[Setting], *, values: Mapping[str, str] | None = None) -> str:
    """Aligned lines `id: value  # source`."""
    known = values or {}
    left = [f"{row.name}: {_shown(row.value)}{_meaning(row, known)}" for row in rows]
    width = min(max(map(len, left)), 72)
    return printable("\n".join(f"{text:<{width}}  # {row.source}" for text, row in zip(left, rows, strict=True)))


def as_values(rows: Sequence[Setting], *, values: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """The same for machines."""
    known = values or {}
    return [
        {"id": row.name, "value": row.value, "source": row.source}
        | ({} if row.means is None else {"means": row.means})
        | ({"resolved": known[row.name]} if row.name in known else {})
        for row in rows
    ]


def _rows(merged: Merged) -> set[str]:
    """The ids that get a line: values, and lists of values that stand on one line."""
    rows = {name for name, node in merged.ids.items() if _is_whole(node)}
    return {name for name in rows if name.rpartition("::")[0] not in rows}


def _is_whole(node: Node) -> bool:
    if isinstance(node.content, list):
        inner = [child for _, child in node.children()]
        values = not any(isinstance(one.content, (dict, list)) for one in inner)
        return values and len({(one.file, one.line) for one in inner}) <= 1
    return not (isinstance(node.content, dict) and node.content)


def _setting(name: str, node: Node, merged: Merged) -> Setting:
    means = _meant(name, node, merged)
    return Setting(name, node.value(), _source(node, merged), None if means is _UNSET else means)


def _source(node: Node, merged: Merged) -> str:
    if node.file == COMMAND_LINE:
        return COMMAND_LINE
    path = Path(node.file)
    place = f"{path.relative_to(merged.bundle) if path.is_relative_to(merged.bundle) else path}:{node.line or 1}"
    return f"overlay {path.stem}, {place}" if path in merged.plan.overlays else place


def _meant(name: str, node: Node, merged: Merged) -> Any:
    """The value at the end of a chain of references; _UNSET where it is made or computed, or there is no reference."""
    first = node
    for _ in range(_DEEPEST):
        if not isinstance(node.content, str) or not node.content.startswith("@"):
            return node.value() if node is not first and _is_plain(node) else _UNSET
        name = absolute(node.content, name)[1:]
        target = merged.find(name)
        if target is None:
            return _UNSET
        node = target
    return _UNSET


def _is_plain(node: Node) -> bool:
    """Whether it holds values only: no component, expression or reference."""
    if isinstance(node.content, dict) and "_target_" in node.content:
        return False
    if isinstance(node.content, str):
        return not node.content.startswith(("$", "@", "%"))
    return all(_is_plain(child) for _, child in node.children())


def _needs_component(node: Node, merged: Merged, depth: int = 0) -> bool:
    """Whether evaluating it would make something: it refers, over any number of steps, to a `_target_`."""
    if depth > _DEEPEST:
        return True
    if isinstance(node.content, dict) and "_target_" in node.content:
        return True
    if isinstance(node.content, str):
        targets = [merged.find(name) for name in references(node.content) if name != "bundle_root"]  # known: the folder
        return any(one is None or _needs_component(one, merged, depth + 1) for one in targets)
    return any(_needs_component(child, merged, depth + 1) for _, child in node.children())


def _imports(node: Node) -> bool:
    return node.content.lstrip("$ ").startswith(("import ", "from "))


def _meaning(row: Setting, known: Mapping[str, str]) -> str:
    if row.name in known:
        return f" = {known[row.name]}"
    is_reference = isinstance(row.value, str) and row.value.startswith("@")
    return f" = {_shown(row.means)}" if is_reference and row.means is not None else ""


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, str) and (not value or value != value.strip()) else _plain(value)


def _plain(value: Any) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def tree(merged: Merged) -> Iterator[tuple[str, Any]]:
    """Ids and plain values of all leaves, for comparing two configurations."""
    rows = _rows(merged)
    for name, node in merged.ids.items():
        if name in rows:
            yield name, node.value()
