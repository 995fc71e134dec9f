"""Label maps as files that other tools read: NIfTI for volumes, 8-bit PNG for pictures."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.case import Affine, Image, LabelArray
from medseg.errors import OutputError
from medseg.files import atomic_write

_SCANNER_CODE = 1
"""NIfTI's NIFTI_XFORM_SCANNER_ANAT: the affine gives scanner coordinates."""


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
    import nibabel as nib

    nifti = nib.Nifti1Image(_unsigned(labels.array, path, highest=65535), labels.affine)
    nifti.set_sform(labels.affine, code=_SCANNER_CODE)
    nifti.set_qform(labels.affine, code=qform_code(labels.affine))
    nifti.header.set_xyzt_units("mm")
    nifti.header["descrip"] = b"medseg label map"
    content = nifti.to_bytes()
    with atomic_write(path) as temporary:
        # level 1: label maps shrink well at once; no time stamp: equal masks give equal files
        temporary.write_bytes(gzip.compress(content, 1, mtime=0) if path.name.endswith(".gz") else content)


def _unsigned(labels: LabelArray, path: Path, *, highest: int) -> NDArray[np.unsignedinteger[Any]]:
    """The smallest of uint8 and uint16 that holds the labels."""
    low, high = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    if low < 0 or high > highest:
        raise OutputError(f"mask {path.name}: label values", got=f"{low} to {high}", expected=f"0 to {highest}")
    return np.asarray(labels, dtype=np.uint8) if high <= 255 else np.asarray(labels, dtype=np.uint16)


def qform_code(affine: Affine) -> int:
    """0 (none) for a sheared grid: a qform is a rotation, so it would contradict the sform."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return _SCANNER_CODE if np.allclose(directions.T @ directions, np.eye(3), atol=1e-5) else 0
