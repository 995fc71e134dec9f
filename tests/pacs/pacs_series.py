"""What the tests send to a PACS, and how patient they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medseg.case import Image
from medseg.dicom import write_series
from medseg.dicom.retries import Retries

QUICK = Retries(attempts=5, first_wait_s=0.001)


def make_series(folder: Path, *, seed: int = 1, slices: int = 5) -> list[Path]:
    """A small CT series; the same seed gives the same study and UIDs."""
    hu = np.arange(8 * 8 * slices).reshape(1, 8, 8, slices).astype(np.int16) + seed
    return write_series(Image(hu, np.diag([1.0, 1.0, 2.0, 1.0]), Path("made"), "CT"), folder, seed=seed)
