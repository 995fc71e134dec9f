"""gzip files and zlib streams: ISA-L's, several times as fast as Python's, or Python's where it is not installed.

Every installation of medseg has ISA-L; a machine that is lent for a training, with little but torch, need not.
"""

from __future__ import annotations

import zlib as _zlib
from typing import Any

try:
    from isal import igzip as gzip
    from isal import isal_zlib as zlib
except ImportError:
    import gzip  # type: ignore[no-redef]
    import zlib  # type: ignore[no-redef]

__all__ = ["DEFLATE_ERRORS", "gzip", "zlib"]

DEFLATE_ERRORS: tuple[Any, ...] = (_zlib.error, zlib.error)
"""What either of them raises for bytes that are no such stream."""
