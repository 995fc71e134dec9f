"""One door for every file: which format it is, who reads it, and the checks that all of them pass."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from medseg.case import Image
from medseg.errors import DataError, ImageError, LabelError
from medseg.files import is_utf8
from medseg.findings import Finding, doubts, refuse
from medseg.intake.checks import checked_image, checked_label, of_kind, shear_findings
from medseg.intake.hounsfield import hu_finding
from medseg.intake.itk import read_itk
from medseg.intake.itk_header import itk_findings
from medseg.intake.nifti import read_nifti
from medseg.intake.nifti_header import nifti_findings
from medseg.intake.raster import read_raster

NIFTI = (".nii", ".nii.gz")
ITK = (".nrrd", ".nhdr", ".mha", ".mhd")
RASTER = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
DICOM = (".dcm", ".dicom", ".ima")
"""Suffixes that promise DICOM; any file with the DICOM magic is DICOM, whatever its suffix."""

_MAGIC, _MAGIC_AT = b"DICM", 128
_OF_THE_DISK = "lost+found"
_SERIES = re.compile(r"#([0-9.]+)")


def read_image(path: Path | str, *, modality: str | None = None, spatial_dims: int | None = None) -> Image:
    """Read one image, in the unit of its modality (HU for CT), where it lies in the patient.

    Parameters
    ----------
    path
        NIfTI, NRRD, MetaImage, PNG, JPEG, TIFF, BMP, a DICOM file, the folder of one DICOM series, or FOLDER/#UID for
        one of several series in a folder.
    modality
        What the image has to be (DICOM code): a file that says otherwise is refused, one that does not say is taken
        for it. The values of a CT are looked at, whether they may be Hounsfield units.
    spatial_dims
        3 refuses pictures and single slices, 2 refuses volumes; None takes both.

    Returns
    -------
    Image
        ``(C, X, Y, Z)``, or ``(C, X, Y)`` for pictures and X-rays; C is 1. Integers stay integers, anything scaled by a
        fraction is float32. Its `doubts`, of which each is logged once as a warning, tell where left and right are a
        guess, where a header places the voxels twice and differently, and where a CT's values are hardly HU.

    Raises
    ------
    ImageError
        Unreadable, truncated, of an unknown format, empty, constant, in colour, with NaN or Inf, or not of the
        `modality` or `spatial_dims` asked for.
    GeometryError
        Slices that form no regular grid, or an affine that is none or is sheared.
    """
    folder, uid = split_series(Path(path))
    source = _existing(folder)
    if is_dicom(source) or source.is_dir():
        from medseg.intake.dicom_image import read_dicom

        image = read_dicom(source, series=uid)
    else:
        image = read_plain(source)
        refuse(shear_findings(image), source)
        image = replace(image, doubts=doubts(placement_findings(source), source))
    image = of_kind(checked_image(image), modality=modality, spatial_dims=spatial_dims)
    units = hu_finding(image.array) if image.modality == "CT" else None
    return image if units is None else replace(image, doubts=image.doubts + doubts([units], image.source))


def read_label(
    path: Path | str,
    *,
    reference: Image | Path | str | None = None,
    names: Mapping[str, int] | Path | str | None = None,
) -> Image:
    """Read one mask as integers, whatever they were stored as.

    Parameters
    ----------
    path
        NIfTI, NRRD, MetaImage or a picture; an RTSTRUCT or a DICOM SEG (binary, fractional, label map).
    reference
        For RTSTRUCT and SEG the image it was drawn on, as `read_image` gives it, or its file or folder: they are
        checked against it and come onto its grid. Other masks have a grid of their own.
    names
        For RTSTRUCT and SEG: ROI name or segment label to label value, or a YAML or JSON file of these, in the order
        in which they win where they overlap, the last first. None: each ROI or segment its number.

    Returns
    -------
    Image
        ``(X, Y, Z)`` or ``(X, Y)``, the smallest of uint8, uint16 and int32 that holds its values.

    Raises
    ------
    ImageError
        Unreadable, truncated, of an unknown format or empty.
    LabelError
        In colour, with values that are no integers from 0 up, or DICOM without `reference` or without a mask.
    GeometryError
        An RTSTRUCT or SEG that was drawn on another series or does not lie on the image's grid.
    """
    source = _existing(Path(path))
    if source.is_dir():
        raise LabelError(f"{source}: a folder is no mask", next_step="give the file")
    if is_dicom(source):
        from medseg.intake.dicom_label import read_dicom_label

        return checked_label(read_dicom_label(source, reference=reference, names=names))
    label = read_plain(source, as_label=True)
    refuse(shear_findings(label, is_mask=True), source)
    return checked_label(label)


def split_series(path: Path) -> tuple[Path, str | None]:
    """Folder and SeriesInstanceUID of FOLDER/#UID; any other path and None."""
    match = _SERIES.fullmatch(path.name)
    return (path, None) if match is None or path.exists() else (path.parent, match[1])


def suffix(path: Path) -> str:
    """The suffix that tells the format, in lower case; ".nii.gz" is one suffix."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()


def stem(path: Path) -> str:
    """The file's name without the suffix that tells its format, each letter as one sign.

    What was unpacked on a Mac may hold an umlaut as two signs: it is the same name, of an image and its mask.
    """
    return unicodedata.normalize("NFC", path.name[: len(path.name) - len(suffix(path))])


def refuse_other_encodings(paths: Iterable[Path]) -> None:
    """Refuse names that are not UTF-8: they would be the ids of cases, and stand in manifests, tables and lists.

    Raises
    ------
    DataError
        There are some.
    """
    wrong = [path for path in paths if not is_utf8(str(path))]
    if wrong:
        raise DataError(
            "names of files are not UTF-8",
            got=f"{len(wrong)} such as {os.fsencode(wrong[0])!r}",
            expected="UTF-8; archives of other systems may hold umlauts otherwise",
            next_step="rename them; convmv -f latin1 -t utf8 -r --notest FOLDER does it for all",
        )


def visible(folder: Path) -> list[Path]:
    """What is in a folder, by name, without hidden entries and the `lost+found` of a disk, which nobody can look into.

    Raises
    ------
    DataError
        The folder cannot be listed, or what is in it cannot be looked at.
    """
    try:
        found = sorted(e for e in folder.iterdir() if not e.name.startswith(".") and e.name != _OF_THE_DISK)
        for entry in found[:1]:
            entry.lstat()  # a folder can be listed and closed all the same
    except OSError as error:
        raise DataError(f"{folder}: the folder cannot be read", got=error.strerror or type(error).__name__) from error
    return found


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM: by its magic, or because its suffix says so.

    One that may not be read counts as DICOM where its suffix promises no other image: it may be a slice, so whoever
    wants it is told of it instead of getting a series without it.
    """
    if not may_be_file(path):
        return False
    if path.suffix.lower() in DICOM:
        return True
    try:
        with path.open("rb") as file:
            return file.read(_MAGIC_AT + len(_MAGIC))[_MAGIC_AT:] == _MAGIC
    except OSError:
        return not is_plain_image(path)


def dicom_files(folder: Path) -> list[Path]:
    """The DICOM files directly in a folder, by name, and those among them that have lost their beginning.

    A slice whose copy failed is often empty or begins with zeros; at an end of its series nothing would show that it is
    not there. Only files named as the DICOM files around are looked at: with a suffix of theirs, or one of digits; of
    those without a suffix not the empty marks that other programs leave, such as DONE and LOCKFILE.
    """
    files = [file for file in visible(folder) if may_be_file(file)]
    dicom = {file for file in files if is_dicom(file)}
    suffixes = {file.suffix.lower() for file in dicom}
    lost = {
        file
        for file in files
        if file.suffix.lower() in suffixes or (dicom and file.suffix[1:].isdecimal())
        if file.suffix or re.search("[0-9]", file.name)
        if file not in dicom and not is_plain_image(file) and _begins_with_zeros(file)
    }
    return [file for file in files if file in dicom or file in lost]


def _begins_with_zeros(path: Path) -> bool:
    with path.open("rb") as file:
        return not any(file.read(_MAGIC_AT + len(_MAGIC)))


def may_be_file(path: Path) -> bool:
    """Whether it is a file; what may not be looked at, such as a link into a closed folder, may be one."""
    try:
        return path.is_file()
    except OSError:
        return True


def is_plain_image(path: Path) -> bool:
    """Whether a file's suffix is one of the formats that are read, DICOM apart."""
    return suffix(path) in NIFTI + ITK + RASTER


def _existing(path: Path) -> Path:
    if not path.exists():
        raise ImageError(f"{path}: no such file or folder")
    return path


def placement_findings(path: Path) -> list[Finding]:
    """Warnings where a file that is not DICOM leaves open how its voxels lie in the patient."""
    kind = suffix(path)
    if kind in NIFTI:
        return nifti_findings(path)
    return itk_findings(path) if kind in ITK else []


def read_plain(path: Path, *, as_label: bool = False) -> Image:
    """A file that is not DICOM, as it is: ``(X, Y, Z)`` or ``(X, Y)``, its values and grid unchecked."""
    kind = suffix(path)
    if path.stat().st_size == 0:
        raise ImageError(f"{path}: the file is empty (0 bytes)", next_step="copy or export it again")
    if kind in NIFTI:
        return read_nifti(path, as_label=as_label)
    if kind in ITK:
        return read_itk(path)
    if kind in RASTER:
        return read_raster(path, as_label=as_label)
    raise ImageError(
        f"{path}: unknown image format",
        got=f"suffix {kind!r}",
        expected=f"DICOM or one of {', '.join(NIFTI + ITK + RASTER)}",
    )
