"""Bundles: find them, read and check what they say of themselves, load, merge and run them.

Importing this package imports neither torch nor MONAI: names are fetched when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medseg.bundle.describe import describe_bundle
    from medseg.bundle.load import open_workflow, run_workflow
    from medseg.bundle.locate import BundleInfo, find_bundle, list_bundles
    from medseg.bundle.metadata import Metadata, check_metadata, read_metadata
    from medseg.bundle.run import open_run, root
    from medseg.bundle.settings import mask_settings
    from medseg.bundle.start import initial_weights_file

__all__ = [
    "BundleInfo",
    "Metadata",
    "check_metadata",
    "describe_bundle",
    "find_bundle",
    "initial_weights_file",
    "list_bundles",
    "mask_settings",
    "open_run",
    "open_workflow",
    "read_metadata",
    "root",
    "run_workflow",
]

_ROOMS = {
    "BundleInfo": "locate",
    "Metadata": "metadata",
    "check_metadata": "metadata",
    "describe_bundle": "describe",
    "find_bundle": "locate",
    "initial_weights_file": "start",
    "list_bundles": "locate",
    "mask_settings": "settings",
    "open_run": "run",
    "open_workflow": "load",
    "read_metadata": "metadata",
    "root": "run",
    "run_workflow": "load",
}


def __getattr__(name: str) -> object:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_ROOMS[name]}"), name)
