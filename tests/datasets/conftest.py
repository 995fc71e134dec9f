"""Imports ignite once where its own use of deprecated torch functions does not fail the tests."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import ignite.engine  # noqa: F401
