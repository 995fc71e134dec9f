"""The same thorax as a chest X-ray."""

from __future__ import annotations

from collections.abc import Sequence

from medseg.case import Case


def xray_phantom(seed: int | Sequence[int], *, shape: tuple[int, int] = (512, 512), case_id: str | None = None) -> Case:
    """Not there yet."""
    raise NotImplementedError
