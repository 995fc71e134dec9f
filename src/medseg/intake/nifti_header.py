"""NIfTI headers: reading them, and what they say about where the voxels lie, beyond the affine that is used."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import numpy as np

from medseg.deflate import gzip
from medseg.findings import Finding
from medseg.geometry import GRID_TOLERANCE_MM, spacing_mm
from medseg.intake.checks import no_orientation, unreadable

_SPACING_TOLERANCE_MM = 1e-3
_HEADER_BYTES = 540
"""Length of the longer of the two headers (NIfTI-2)."""


def open_nifti(path: Path) -> IO[bytes]:
    """The file's bytes, unpacked."""
    if path.suffix.lower() != ".gz":
        return path.open("rb")
    file: IO[bytes] = gzip.open(path, "rb")
    return file


def read_header(file: IO[bytes]) -> Any:
    """The header that a file starts with: NIfTI-1 or NIfTI-2, of either byte order."""
    import nibabel as nib
    from nibabel.filebasedimages import ImageFileError

    block = file.read(_HEADER_BYTES)
    for kind in (nib.Nifti1Header, nib.Nifti2Header):
        length = kind.template_dtype.itemsize
        if len(block) >= length and kind.may_contain_header(block):
            return kind(block[:length])
    raise ImageFileError("it does not start with a NIfTI header")


def nifti_findings(path: Path) -> list[Finding]:
    """Warnings where left and right are a guess, or where the header places the voxels twice and differently."""
    from nibabel.spatialimages import HeaderDataError

    with unreadable(path, "NIfTI", Exception), open_nifti(path) as file:
        header = read_header(file)
    (sform, scode), size = header.get_sform(coded=True), np.array([*header.get_data_shape()[:3], 1, 1, 1][:3])
    try:
        qform, qcode = header.get_qform(coded=True)
    except (HeaderDataError, ValueError):  # no rotation; the sform stands alone
        qform, qcode = None, 0
    if not qcode and not scode:
        return [no_orientation("qform_code 0 and sform_code 0", "one of them above 0")]
    if qcode and scode and (moved := _largest_shift(qform - sform, size)) > GRID_TOLERANCE_MM:
        return [
            Finding(
                code="two-orientations",
                severity="warning",
                what="qform and sform place the voxels differently; the sform is used",
                got=f"{moved:.6g} mm between them at the farthest voxel",
                expected=f"at most {GRID_TOLERANCE_MM} mm",
                next_step="find out which is right; software differs in which it uses",
            )
        ]
    return [] if int(header["qform_code"]) else _two_spacings(header, sform, size)


def _two_spacings(header: Any, sform: Any, size: Any) -> list[Finding]:
    """A warning where pixdim, which some software takes where there is no qform, is not the spacing of the sform."""
    stated, used = np.asarray(header["pixdim"][1:4], dtype=np.float64), np.asarray(spacing_mm(sform))
    if (np.abs(np.abs(stated) - used)[size > 1] <= _SPACING_TOLERANCE_MM).all():
        return []
    sizes = [" x ".join(f"{mm:.6g}" for mm in spacing) for spacing in (stated, used)]
    return [
        Finding(
            code="two-spacings",
            severity="warning",
            what="pixdim and sform give voxels of different sizes; the sform is used",
            got=f"{sizes[0]} mm against {sizes[1]} mm",
            expected=f"the same within {_SPACING_TOLERANCE_MM} mm",
            next_step="find out which is right; software differs in which it uses, and volumes with it",
        )
    ]


def _largest_shift(difference: Any, size: Any) -> float:
    ends = np.stack(np.meshgrid(*([0, n - 1] for n in size), indexing="ij")).reshape(3, -1)
    return float(np.linalg.norm((difference @ np.vstack([ends, np.ones(ends.shape[1])]))[:3], axis=0).max())
