"""Fixtures shared by all rooms."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

LONG = ("workflows", "training")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of reference images; tests that use it are marked `real_data`."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("MEDSEG_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no reference images at {folder}: set MEDSEG_DATA to their folder")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Rooms whose tests take long come first: begun last, one of them keeps a process busy while the others wait."""
    items.sort(key=lambda item: item.path.parent.name not in LONG)
