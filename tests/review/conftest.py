"""Fixtures of the tests of the viewer."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from viewer_parts import make_folder


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """images/, truth/ and results/ as `medseg evaluate` leaves them, made once."""
    root = tmp_path_factory.mktemp("evaluated")
    make_folder(root)
    return root


@pytest.fixture
def folder(evaluated: Path, tmp_path: Path) -> Path:
    """A copy of results/ for one test, with images/ and truth/ beside it."""
    shutil.copytree(evaluated, tmp_path, dirs_exist_ok=True)
    return tmp_path / "results"
