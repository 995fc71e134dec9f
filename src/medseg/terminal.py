"""What a stream can show: a terminal that redraws lines and knows colours, or a file, a pipe, a log."""

from __future__ import annotations

import logging
import os
import sys
from typing import IO, Literal, TypeAlias

Colour: TypeAlias = Literal["red", "yellow"]
_CODES: dict[Colour, str] = {"red": "31", "yellow": "33"}


def redraws(stream: IO[str]) -> bool:
    """Whether a progress bar may be drawn on `stream`: a terminal, and not one that calls itself dumb."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def knows_colours(stream: IO[str]) -> bool:
    """Whether text on `stream` may be coloured; a NO_COLOR that is not empty forbids it (no-color.org)."""
    return redraws(stream) and not os.environ.get("NO_COLOR")


def coloured(text: str, colour: Colour, *, stream: IO[str]) -> str:
    """`text` in `colour` where `stream` shows colours, else as it is (ECMA-48, SGR)."""
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if knows_colours(stream) else text


def wants_progress() -> bool:
    """Whether to draw a bar on standard error: it redraws, and whoever set up the log lets INFO through to it."""
    if not redraws(sys.stderr) or not logging.getLogger("medseg").isEnabledFor(logging.INFO):
        return False
    return all(handler.level <= logging.INFO for handler in logging.getLogger().handlers if _is_screen(handler))


def _is_screen(handler: logging.Handler) -> bool:
    return isinstance(handler, logging.StreamHandler) and handler.stream is sys.stderr
