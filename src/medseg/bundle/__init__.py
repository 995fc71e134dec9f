"""Bundles: find them, read and check what they say of themselves, load, merge and run them.

Importing this package imports neither torch nor MONAI: names are fetched when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medseg.bundle.describe import describe_bundle
    from medseg.bundle.locate import BundleInfo, find_bundle, list_bundles
    from medseg.bundle.metadata import Metadata, check_metadata, read_metadata

__all__ = [
    "BundleInfo",
    "Metadata",
    "check_metadata",
    "describe_bundle",
    "find_bundle",
    "list_bundles",
    "read_metadata",
]

_ROOMS = {
    "BundleInfo": "locate",
    "Metadata": "metadata",
    "check_metadata": "metadata",
    "describe_bundle": "describe",
    "find_bundle": "locate",
    "list_bundles": "locate",
    "read_metadata": "metadata",
}


def __getattr__(name: str) -> object:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_ROOMS[name]}"), name)
