"""Masks that come as DICOM: RTSTRUCT and SEG, which need the image they were drawn on."""

from __future__ import annotations

from pathlib import Path

from medseg.case import Image
from medseg.errors import LabelError
from medseg.intake.dicom_header import read_header, uid_name
from medseg.intake.label_names import Names, read_names

_RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
_SEG = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""Segmentation Storage, and the newer Label Map Segmentation Storage."""


def read_dicom_label(path: Path, *, reference: Image | Path | str | None, names: Names | Path | str | None) -> Image:
    """A label map on the grid of `reference`; see `medseg.intake.read_label`."""
    sop = read_header(path).sop
    if sop != _RTSTRUCT and sop not in _SEG:
        raise LabelError(
            f"{path}: not a mask",
            got=uid_name(sop),
            expected="RTSTRUCT or SEG among DICOM, or a mask as NIfTI, NRRD or PNG",
        )
    if reference is None:
        raise LabelError(
            f"{path}: needs the image that it was drawn on",
            got=uid_name(sop),
            next_step=f"medseg data labels {path} --reference SERIES -o mask.nii.gz",
        )
    from medseg.intake.files import read_image

    image = reference if isinstance(reference, Image) else read_image(reference)
    wanted = read_names(names) if isinstance(names, (str, Path)) else names
    if sop == _RTSTRUCT:
        from medseg.intake.rtstruct import read_rtstruct

        return read_rtstruct(path, reference=image, names=wanted)
    from medseg.intake.dicom_seg import read_dicom_seg

    return read_dicom_seg(path, reference=image, names=wanted)
