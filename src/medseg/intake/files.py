"""One door for every file: which format it is, who reads it, and the checks that all of them pass."""

from __future__ import annotations

from pathlib import Path

from medseg.case import Image
from medseg.errors import ImageError, LabelError
from medseg.intake.checks import checked_image, checked_label
from medseg.intake.itk import read_itk
from medseg.intake.nifti import read_nifti
from medseg.intake.raster import read_raster

NIFTI = (".nii", ".nii.gz")
ITK = (".nrrd", ".nhdr", ".mha", ".mhd")
RASTER = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
DICOM = (".dcm", ".dicom", ".ima")
"""Suffixes that promise DICOM; any file with the DICOM magic is DICOM, whatever its suffix."""

_MAGIC, _MAGIC_AT = b"DICM", 128


def read_image(path: Path | str) -> Image:
    """Read one image, in the unit of its modality (HU for CT), where it lies in the patient.

    Parameters
    ----------
    path
        NIfTI, NRRD, MetaImage, PNG, JPEG, TIFF, BMP, a DICOM file, or the folder of one DICOM series.

    Returns
    -------
    Image
        ``(C, X, Y, Z)``, or ``(C, X, Y)`` for pictures and X-rays; C is 1. Integers stay integers, anything scaled by a
        fraction is float32.

    Raises
    ------
    ImageError
        Unreadable, truncated, of an unknown format, empty, constant, in colour, or with NaN or Inf.
    GeometryError
        Slices that form no regular grid, or an affine that is none.
    """
    source = _existing(Path(path))
    if is_dicom(source) or source.is_dir():
        from medseg.intake.dicom_image import read_dicom

        return checked_image(read_dicom(source))
    return checked_image(_read_plain(source))


def read_label(path: Path | str) -> Image:
    """Read one mask as integers, whatever they were stored as.

    Returns
    -------
    Image
        ``(X, Y, Z)`` or ``(X, Y)``, the smallest of uint8, uint16 and int32 that holds its values.

    Raises
    ------
    ImageError
        Unreadable, truncated, of an unknown format or empty.
    LabelError
        In colour, in DICOM, or with values that are no integers from 0 up.
    """
    source = _existing(Path(path))
    if source.is_dir() or is_dicom(source):
        raise LabelError(f"{source}: masks are not read from DICOM", next_step="give the mask as NIfTI, NRRD or PNG")
    return checked_label(_read_plain(source, as_label=True))


def suffix(path: Path) -> str:
    """The suffix that tells the format, in lower case; ".nii.gz" is one suffix."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()


def stem(path: Path) -> str:
    """The file's name without the suffix that tells its format."""
    return path.name[: len(path.name) - len(suffix(path))]


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM: by its magic, or because its suffix says so."""
    if not path.is_file():
        return False
    if path.suffix.lower() in DICOM:
        return True
    with path.open("rb") as file:
        return file.read(_MAGIC_AT + len(_MAGIC))[_MAGIC_AT:] == _MAGIC


def is_plain_image(path: Path) -> bool:
    """Whether a file's suffix is one of the formats that are read, DICOM apart."""
    return suffix(path) in NIFTI + ITK + RASTER


def _existing(path: Path) -> Path:
    if not path.exists():
        raise ImageError(f"{path}: no such file or folder")
    return path


def _read_plain(path: Path, *, as_label: bool = False) -> Image:
    kind = suffix(path)
    if path.stat().st_size == 0:
        raise ImageError(f"{path}: the file is empty (0 bytes)", next_step="copy or export it again")
    if kind in NIFTI:
        return read_nifti(path)
    if kind in ITK:
        return read_itk(path)
    if kind in RASTER:
        return read_raster(path, as_label=as_label)
    raise ImageError(
        f"{path}: unknown image format",
        got=f"suffix {kind!r}",
        expected=f"DICOM or one of {', '.join(NIFTI + ITK + RASTER)}",
    )
