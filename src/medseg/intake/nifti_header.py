"""What a NIfTI header says about where its voxels lie, beyond the affine that is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from medseg.findings import Finding
from medseg.geometry import GRID_TOLERANCE_MM


def nifti_findings(path: Path) -> list[Finding]:
    """Warnings where left and right are a guess, or where the header places the voxels twice and differently."""
    import nibabel as nib

    from medseg.intake.checks import unreadable

    with unreadable(path, "NIfTI", Exception):
        header: Any = nib.load(path).header  # type: ignore[attr-defined, unused-ignore]
        (qform, qcode), (sform, scode) = header.get_qform(coded=True), header.get_sform(coded=True)
        size = np.array([*header.get_data_shape()[:3], 1, 1, 1][:3])
    if not qcode and not scode:
        return [
            Finding(
                code="no-orientation",
                severity="warning",
                what="the header does not say how the voxels lie in the patient: left and right are a guess",
                got="qform_code 0 and sform_code 0",
                expected="one of them above 0",
                next_step="convert the original images again",
            )
        ]
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
    return []


def _largest_shift(difference: Any, size: Any) -> float:
    ends = np.stack(np.meshgrid(*([0, n - 1] for n in size), indexing="ij")).reshape(3, -1)
    return float(np.linalg.norm((difference @ np.vstack([ends, np.ones(ends.shape[1])]))[:3], axis=0).max())
