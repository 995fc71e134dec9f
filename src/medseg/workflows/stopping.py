"""Why a run over many cases ended early."""

from __future__ import annotations

from medseg.errors import RunError
from medseg.signals import StopRequests


def told(error: BaseException, requests: StopRequests) -> str:
    """Why a run ended before its last case, for its report."""
    if requests.signal is not None:
        return f"stopped by {requests.signal.name}"
    return str(error) if isinstance(error, RunError) else f"stopped by {type(error).__name__}"
