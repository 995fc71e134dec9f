"""NIfTI files: the header through nibabel, the voxels straight into memory, without SimpleITK."""

from __future__ import annotations

import math
from pathlib import Path
from typing import IO, Any

import numpy as np

from medseg.case import Array, Image
from medseg.deflate import DEFLATE_ERRORS
from medseg.errors import GeometryError, ImageError
from medseg.intake.checks import checked_affine, refuse_too_large, unreadable
from medseg.intake.nifti_header import open_nifti, read_header

_DEFLATE_LIMIT = 1032
"""The most that gzip can shrink anything (zlib's technical notes)."""

_READ_BYTES = 1 << 22
"""Read at once: small enough to stay in a processor's cache between decompression and copy."""

_HALF_STEP = 0.5001
"""Of the steps in which scaled values are stored, with room for the rounding of float32."""

_SCALED_VOXELS = 1 << 20
"""Scaled at once in float64, so that no second copy of the volume is held."""


def read_nifti(path: Path, *, as_label: bool = False) -> Image:
    """A NIfTI volume as ``(X, Y, Z)``: scaled by its own slope and intercept, placed by its own affine.

    A mask that was scaled to be stored in whole numbers comes back as the integers that it was.
    """
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError

    errors: tuple[Any, ...] = (
        *(OSError, EOFError, ValueError, TypeError, LookupError, ArithmeticError, MemoryError),
        *(*DEFLATE_ERRORS, ImageFileError, HeaderDataError),
    )
    with unreadable(path, "NIfTI", *errors), open_nifti(path) as file:
        header = read_header(file)
        _refuse_units(header, path)
        _refuse_bomb(header, path)
        affine = checked_affine(header.get_best_affine(), path)
        array = _volume(_scaled(_stored(file, header), header, as_label=as_label), path)
    return Image(array, affine, path)


def _stored(file: IO[bytes], header: Any) -> Array:
    """The stored values ``(X, Y, Z, ...)``, the first axis running fastest as the format has it."""
    shape = tuple(map(int, header.get_data_shape()))
    values = np.empty(math.prod(shape), dtype=header.get_data_dtype())
    file.seek(int(header.get_data_offset()))
    target, done = values.view(np.uint8).data, 0
    while done < values.nbytes:
        count = file.readinto(target[done : done + _READ_BYTES])  # type: ignore[attr-defined]
        if not count:
            raise EOFError(f"the file ends after {done} of {values.nbytes} bytes of voxels")
        done += count
    if file.read(1):  # and a compressed file's checksum is verified at its end only
        raise EOFError(f"the file goes on after the {values.nbytes} bytes of voxels that its header declares")
    return values.reshape(shape, order="F")


def _scaled(stored: Array, header: Any, *, as_label: bool) -> Array:
    """Stored values as they are where the file does not scale them; scaled values as float32.

    Half a step of the stored numbers is what the scaling took off a label: 0.996 in a file of steps of 2/255 was 1.
    """
    slope, intercept = header.get_slope_inter()
    if (slope, intercept) in ((None, None), (1.0, 0.0)) or stored.dtype.kind not in "iuf":
        return stored
    flat, scaled = stored.ravel(order="F"), np.empty(stored.size, dtype=np.float32)
    for start in range(0, flat.size, _SCALED_VOXELS):
        part = slice(start, start + _SCALED_VOXELS)
        scaled[part] = flat[part] * float(slope) + float(intercept)
    if as_label and stored.dtype.kind in "iu" and abs(float(slope)) < 1:
        whole = np.rint(scaled)
        if (np.abs(scaled - whole) <= _HALF_STEP * abs(float(slope))).all():
            scaled = whole
    return scaled.reshape(stored.shape, order="F")


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


def _refuse_bomb(header: Any, path: Path) -> None:
    """Refuse a header that asks for more memory than its file could ever fill."""
    shape = tuple(map(int, header.get_data_shape()))
    declared = int(header.get_data_offset()) + math.prod(shape) * int(header.get_data_dtype().itemsize)
    if declared > path.stat().st_size * _DEFLATE_LIMIT:
        raise ImageError(
            f"{path}: the header declares more voxels than the file can hold",
            got=f"size {shape} in {path.stat().st_size} bytes",
            next_step="the file is damaged or truncated: copy or export it again",
        )
    if int(header.get_data_offset()) < header.single_vox_offset:
        raise ImageError(f"{path}: its voxels begin inside the header", got=f"byte {header.get_data_offset()}")
    refuse_too_large(math.prod(shape), int(header.get_data_dtype().itemsize), path)


def _refuse_units(header: Any, path: Path) -> None:
    unit = header.get_xyzt_units()[0]
    if unit in ("meter", "micron"):
        raise GeometryError(f"{path}: lengths in another unit", got=unit, expected="mm", next_step="write it in mm")
