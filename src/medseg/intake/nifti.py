"""NIfTI files through nibabel, without SimpleITK."""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from medseg.case import Array, Image
from medseg.errors import GeometryError, ImageError
from medseg.intake.checks import checked_affine, unreadable

_DEFLATE_LIMIT = 1032
"""The most that gzip can shrink anything (zlib's technical notes)."""


def read_nifti(path: Path) -> Image:
    """A NIfTI volume as ``(X, Y, Z)``: scaled by its own slope and intercept, placed by its own affine."""
    import nibabel as nib
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError

    errors = (
        *(OSError, EOFError, ValueError, TypeError, LookupError, ArithmeticError, MemoryError),
        *(zlib.error, ImageFileError, HeaderDataError),
    )
    with unreadable(path, "NIfTI", *errors):
        file = nib.load(path)  # type: ignore[attr-defined, unused-ignore]
        _refuse_units(file.header, path)
        _refuse_bomb(file, path)
        affine = checked_affine(file.affine, path)
        array = _volume(_values(file), path)
    return Image(array, affine, path)


def _values(file: Any) -> Array:
    """Stored integers as they are; scaled values as float32."""
    if (file.dataobj.slope, file.dataobj.inter) == (1.0, 0.0):
        return np.asanyarray(file.dataobj)
    return np.asanyarray(file.get_fdata(dtype=np.float32, caching="unchanged"))


def _volume(array: Array, path: Path) -> Array:
    """`array` as ``(X, Y, Z)``; trailing axes of one element carry nothing and go."""
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim > 3:
        raise ImageError(
            f"{path}: more than three dimensions",
            got=f"size {array.shape}",
            expected="one volume",
            next_step="split it into one file per time point, echo or channel and give the one to use",
        )
    return array.reshape(array.shape + (1,) * (3 - array.ndim))


def _refuse_bomb(file: Any, path: Path) -> None:
    """Refuse a header that asks for more memory than its file could ever fill."""
    declared = math.prod(map(int, file.shape)) * int(file.get_data_dtype().itemsize)
    if declared > path.stat().st_size * _DEFLATE_LIMIT:
        raise ImageError(
            f"{path}: the header declares more voxels than the file can hold",
            got=f"size {tuple(map(int, file.shape))} in {path.stat().st_size} bytes",
            next_step="the file is damaged or truncated: copy or export it again",
        )


def _refuse_units(header: Any, path: Path) -> None:
    unit = header.get_xyzt_units()[0]
    if unit in ("meter", "micron"):
        raise GeometryError(f"{path}: lengths in another unit", got=unit, expected="mm", next_step="write it in mm")
