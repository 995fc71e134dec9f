"""The folder layouts that `prepare` knows, by name."""

from __future__ import annotations

from medseg.datasets.layouts import decathlon, montgomery, pairs
from medseg.datasets.layouts.found import Found, Layout, RawCase
from medseg.errors import DataError

LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in (montgomery.LAYOUT, decathlon.LAYOUT, pairs.LAYOUT)}

__all__ = ["LAYOUTS", "Found", "Layout", "RawCase", "find_layout"]


def find_layout(name: str) -> Layout:
    """The layout called `name`; a DataError lists the known ones."""
    if name not in LAYOUTS:
        raise DataError("unknown layout", got=repr(name), expected=f"one of {', '.join(LAYOUTS)}")
    return LAYOUTS[name]
