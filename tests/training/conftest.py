"""Data sets, and the uninterrupted runs that others are compared with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from training_parts import BUNDLES, tiny, without_pictures, write_cases

from medseg.workflows import train


@pytest.fixture(scope="session")
def datalists(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A datalist for each bundle that is trained here."""
    return {bundle: write_cases(bundle, tmp_path_factory.mktemp("data") / bundle) for bundle in BUNDLES}


@pytest.fixture(scope="session")
def whole_runs(datalists: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders of uninterrupted runs, without worker processes."""
    folder = tmp_path_factory.mktemp("whole")
    with without_pictures():
        return {
            bundle: train(bundle, datalist=datalists[bundle], run_dir=folder / bundle, overrides=tiny(bundle))
            for bundle in BUNDLES
        }


@pytest.fixture
def no_pictures() -> Iterator[None]:
    """Runs draw no plots and no graph, which take two thirds of their time and are tested elsewhere."""
    with without_pictures():
        yield
