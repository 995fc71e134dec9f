"""The viewer comes with an extra; without it, the command that installs it is named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from medseg.errors import ReviewError


@contextmanager
def review_extra() -> Iterator[None]:
    """Import the packages of the extra `review` inside.

    Raises
    ------
    ReviewError
        One of them is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("medseg"):
            raise
        raise ReviewError(
            "the viewer needs packages that are not installed",
            got=f"no module {error.name}",
            next_step="install them: pip install 'medseg[review]'",
        ) from error
