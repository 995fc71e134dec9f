"""Images out as DICOM: a CT series, a chest X-ray."""

from __future__ import annotations

from medseg.dicom.write import write_series, write_xray

__all__ = ["write_series", "write_xray"]
