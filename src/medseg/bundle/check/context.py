"""What the rules look at: one merged configuration, the installed sources, the bundle's other files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from medseg.bundle.check.expressions import parse, references
from medseg.bundle.check.findings import Finding
from medseg.bundle.check.lines import Node
from medseg.bundle.check.merged import Merged
from medseg.bundle.check.sources import Sources
from medseg.bundle.check.values import Values, texts


@dataclass
class Context:
    """One configuration and what it is checked against.

    Attributes
    ----------
    merged
        The configuration.
    sources
        Installed packages and the bundle's scripts, as text.
    others
        All configurations of the bundle, this one among them.
    """

    merged: Merged
    sources: Sources
    others: Sequence[Merged] = ()
    _below: dict[str, list[str]] = field(default_factory=dict)

    @cached_property
    def values(self) -> Values:
        """Values with references followed."""
        return Values(self.merged)

    @property
    def own(self) -> bool:
        """Whether the bundle has medseg's layout: then medseg itself runs it, and asks for more."""
        return self.merged.plan.own

    @cached_property
    def imports(self) -> dict[str, str]:
        """Names that import expressions give, wherever they stand, and what they name."""
        found = (parse(text).imported for _, _, text in texts(self.merged) if text.startswith("$"))
        return dict(one for one in found if one is not None)

    def below(self, name: str) -> list[str]:
        """Ids that the content of an id refers to."""
        if name not in self._below:
            inside = self._refers.get(name, [])
            inside = [
                *inside,
                *(one for key, ids in self._refers.items() if key.startswith(f"{name}::") for one in ids),
            ]
            self._below[name] = list(dict.fromkeys(inside))
        return self._below[name]

    @cached_property
    def _refers(self) -> dict[str, list[str]]:
        found = {name: references(text) for name, _, text in texts(self.merged)}
        return {name: ids for name, ids in found.items() if ids}

    def error(
        self,
        code: str,
        node: Node,
        what: str,
        got: object = None,
        expected: str | None = None,
        hint: str | None = None,
    ) -> Finding:
        """A finding that refuses the run, where `node` stands."""
        return Finding(code, "error", node.file, node.line, what, _shown(got), expected, hint)

    def warning(
        self,
        code: str,
        node: Node,
        what: str,
        got: object = None,
        expected: str | None = None,
        hint: str | None = None,
    ) -> Finding:
        """A finding that is shown only."""
        return Finding(code, "warning", node.file, node.line, what, _shown(got), expected, hint)


def _shown(got: object) -> str | None:
    text = None if got is None else got if isinstance(got, str) else repr(got)
    return text if text is None or len(text) < 120 else f"{text[:116]} ..."
