"""Label maps written beside a datalist: 8-bit PNG for pictures, NIfTI for volumes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medseg.case import Image
from medseg.errors import LabelError, writing
from medseg.files import atomic_write

WHITE = frozenset({255, 65535})
"""What drawing programs store for label 1, in 8 and in 16 bits."""


def write_label(label: Image, folder: Path, case_id: str) -> Path:
    """Write a label map as `<case_id>.png` or `<case_id>.nii.gz`, values unchanged.

    Parameters
    ----------
    label
        (X, Y) or (X, Y, Z), values 0..255.
    folder
        Made if it does not exist.
    case_id
        The file's name without suffix.
    """
    if label.array.min() < 0 or label.array.max() > 255:
        raise LabelError(
            f"case {case_id}: label map does not fit 8 bits",
            got=f"{label.array.min()} to {label.array.max()}",
            expected="0 to 255",
        )
    path = folder / (f"{case_id}.png" if label.array.ndim == 2 else f"{case_id}.nii.gz")
    with writing(path):
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as aside:
            _write(label, aside)
    return path


def _write(label: Image, path: Path) -> None:
    values = label.array.astype(np.uint8)
    if values.ndim == 2:
        from PIL import Image as Picture

        Picture.fromarray(np.ascontiguousarray(values.T)).save(path)  # rows of a picture are Y
        return
    import nibabel

    nibabel.save(nibabel.Nifti1Image(values, label.affine), path)
