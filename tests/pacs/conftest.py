"""What the tests of the PACS room share: series, a real Orthanc, a server that fails when told."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import fake_pacs
import local_orthanc
import pytest
from pacs_series import make_series


@pytest.fixture
def series(tmp_path: Path) -> list[Path]:
    return make_series(tmp_path / "series")


@pytest.fixture
def fake(series: list[Path]) -> Iterator[fake_pacs.FakePacs]:
    """A server that holds `series`."""
    with fake_pacs.serving() as pacs:
        pacs.files += [path.read_bytes() for path in series]
        yield pacs


@pytest.fixture(scope="session")
def running_orthanc() -> Iterator[local_orthanc.Orthanc]:
    if not local_orthanc.installed():
        pytest.skip(local_orthanc.HINT)
    with local_orthanc.running() as server:
        yield server


@pytest.fixture
def orthanc(running_orthanc: local_orthanc.Orthanc) -> local_orthanc.Orthanc:
    """A server that holds nothing."""
    running_orthanc.clear()
    return running_orthanc


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the developer's own environment."""
    for name in ("TOKEN", "USER", "PASSWORD", "PLAIN"):
        monkeypatch.delenv(f"MEDSEG_DICOMWEB_{name}", raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """Undo what the command line does to the process's logging."""
    loggers = [logging.getLogger(name) for name in (None, "medseg", "pynetdicom")]
    handlers, levels = loggers[0].handlers[:], [logger.level for logger in loggers]
    yield
    loggers[0].handlers[:] = handlers
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
