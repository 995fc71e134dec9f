"""NIfTI files written as fast as the disk takes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from medseg.case import Affine, Array
from medseg.deflate import zlib
from medseg.errors import OutputError

_SCANNER_CODE = 1
"""NIfTI's NIFTI_XFORM_SCANNER_ANAT: the affine gives scanner coordinates."""

_LONGEST_AXIS = 32767
"""NIfTI-1 stores its sizes in 16 bits."""

_GZIP_STREAM = 31
"""wbits for a gzip stream of the largest window."""

_LEVEL = 1
"""ISA-L's levels: 0 gives larger files and is no faster on label maps, 2 the same files, 3 takes five times as long."""

_COMPRESSED_BYTES = 1 << 16
"""Compressed at once: stays in a processor's cache (17 ms for a label map of 37 MB; 35 ms in pieces of 1 MB)."""

_COPIED_BYTES = 1 << 24
"""Slices brought into the file's order at once, where they are not in it already."""


def refuse_long_axes(shape: tuple[int, ...], name: str) -> None:
    """OutputError where an axis of `shape` is longer than the format can say; `name` is the file's."""
    if max(shape) > _LONGEST_AXIS:
        raise OutputError(f"{name}: size", got=shape, expected=f"at most {_LONGEST_AXIS} voxels an axis")


def write_nifti(values: Array, path: Path, *, affine: Affine, description: str) -> None:
    """Write a volume ``(X, Y, Z)`` in its own type with `affine` as sform and qform; equal volumes give equal files.

    Parameters
    ----------
    values
        Quickest in Fortran order, X running fastest, as the format has it.
    path
        ``.nii.gz`` is compressed, ``.nii`` is not. An existing file is replaced: atomic writing is the caller's.
    affine
        Voxel to mm, (4, 4). A sheared one gets no qform, which is a rotation and would contradict it.
    description
        At most 79 ASCII characters for the header.
    """
    header = _header(values, affine, description)
    with path.open("wb") as file:
        if path.name.endswith(".gz"):
            _write_compressed(header, values, file)
        else:
            file.write(header)
            _in_file_order(values, file.write)


def _header(values: Array, affine: Affine, description: str) -> bytes:
    import nibabel as nib

    header = nib.Nifti1Header()
    header.set_data_dtype(values.dtype)
    header.set_data_shape(values.shape)
    header.set_slope_inter(1.0, 0.0)
    header.set_sform(affine, code=_SCANNER_CODE)
    header.set_qform(affine, code=_qform_code(affine), strip_shears=True)
    header.set_xyzt_units("mm")
    header["descrip"] = description.encode("ascii")
    header["vox_offset"], header["magic"] = 352, b"n+1"
    return bytes(header.binaryblock) + b"\0" * 4  # no header extensions follow


def _write_compressed(header: bytes, values: Array, file: BinaryIO) -> None:
    """One gzip stream without a time stamp.

    One thread does: ISA-L compresses a label map at 2 GB/s, faster than its pieces are handed to several.
    """
    stream: Any = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP_STREAM)
    file.write(stream.compress(header))

    def compress(part: memoryview) -> None:
        for start in range(0, len(part), _COMPRESSED_BYTES):
            file.write(stream.compress(part[start : start + _COMPRESSED_BYTES]))

    _in_file_order(values, compress)
    file.write(stream.flush())


def _in_file_order(values: Array, take: Callable[[memoryview], object]) -> None:
    """Give the bytes of a volume to `take`, X fastest, a few slices at a time."""
    step = max(1, _COPIED_BYTES // max(1, values[..., :1].nbytes))
    for start in range(0, values.shape[-1], step):
        slices = np.asfortranarray(values[..., start : start + step])
        take(slices.ravel(order="K").view(np.uint8).data)


def _qform_code(affine: Affine) -> int:
    """0 (none) for a sheared grid."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return _SCANNER_CODE if np.allclose(directions.T @ directions, np.eye(3), atol=1e-5) else 0
