"""Label maps as files that other tools read: NIfTI for volumes, 8-bit PNG for pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.case import Image, LabelArray
from medseg.errors import OutputError
from medseg.files import atomic_write
from medseg.outputs.nifti import refuse_long_axes, write_nifti


def write_mask(labels: Image, path: Path) -> None:
    """Write a label map whole or not at all; the suffix chooses the format.

    Parameters
    ----------
    labels
        ``(X, Y, Z)`` for ``.nii.gz`` and ``.nii``: unsigned 8-bit, 16-bit if a label is above 255, with exactly the
        given affine as sform and qform. ``(X, Y)`` for ``.png``: 8-bit grey whose values are the labels.
    path
        The file to write; its folder must exist.

    Raises
    ------
    OutputError
        Another suffix, or labels that the format cannot hold.
    """
    if path.suffix == ".png" and labels.array.ndim == 2:
        _write_png(labels, path)
    elif path.name.endswith((".nii", ".nii.gz")) and labels.array.ndim == 3:
        _write_nifti(labels, path)
    else:
        raise OutputError(
            f"mask {path.name} of {labels.array.ndim} axes",
            got=f"suffix {path.suffix!r}",
            expected=".nii.gz or .nii for a volume, .png for a picture",
        )


def _write_png(labels: Image, path: Path) -> None:
    from PIL import Image as Picture

    picture = Picture.fromarray(_unsigned(labels.array, path, highest=255).T)
    with atomic_write(path) as temporary:
        picture.save(temporary, format="PNG")


def _write_nifti(labels: Image, path: Path) -> None:
    values = _unsigned(labels.array, path, highest=65535)
    refuse_long_axes(values.shape, f"mask {path.name}")
    with atomic_write(path) as temporary:
        write_nifti(values, temporary, affine=labels.affine, description="medseg label map")


def _unsigned(labels: LabelArray, path: Path, *, highest: int) -> NDArray[np.unsignedinteger[Any]]:
    """The smallest of uint8 and uint16 that holds the labels."""
    low, high = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    if low < 0 or high > highest:
        raise OutputError(f"mask {path.name}: label values", got=f"{low} to {high}", expected=f"0 to {highest}")
    return np.asarray(labels, dtype=np.uint8) if high <= 255 else np.asarray(labels, dtype=np.uint16)
