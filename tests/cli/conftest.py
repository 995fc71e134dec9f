"""What the tests of the command line share."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """Undo what the command line does to the process's logging."""
    root, ours = logging.getLogger(), logging.getLogger("medseg")
    handlers, level, our_level = root.handlers[:], root.level, ours.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    ours.setLevel(our_level)


Stand = Callable[[Any, str, Any], list[inspect.BoundArguments]]


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Stand:
    """Replace a function by one that takes what the real one takes, records it, and returns or raises `result`."""

    def replace(module: Any, name: str, result: Any) -> list[inspect.BoundArguments]:
        signature, calls = inspect.signature(getattr(module, name)), []

        def record(*args: Any, **kwargs: Any) -> Any:
            calls.append(signature.bind(*args, **kwargs))
            if isinstance(result, BaseException):
                raise result
            return result

        monkeypatch.setattr(module, name, record)
        return calls

    return replace
