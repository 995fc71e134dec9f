"""What talks to a PACS comes with an extra; without it, the command that installs it is named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from medseg.errors import PacsError


@contextmanager
def pacs_extra() -> Iterator[None]:
    """Import the packages of the extra `pacs` inside; PacsError where one is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise PacsError(
            "talking to a PACS needs packages that are not installed",
            got=f"no module {error.name}",
            next_step="install them: pip install 'medseg[pacs]'",
        ) from error
