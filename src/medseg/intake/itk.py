"""NRRD and MetaImage files (.nrrd, .nhdr, .mha, .mhd + raw) through SimpleITK."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medseg.case import Image
from medseg.errors import ImageError
from medseg.geometry import affine_from_lps
from medseg.intake.checks import checked_affine, unreadable
from medseg.intake.itk_header import check_itk_header


def read_itk(path: Path) -> Image:
    """A volume ``(X, Y, Z)``, or a picture ``(X, Y)`` where the file has two dimensions."""
    import SimpleITK

    check_itk_header(path)
    with unreadable(path, "an NRRD or MetaImage file", RuntimeError, OSError):
        file = _one_volume(SimpleITK.ReadImage(str(path), imageIO=_format(path)), path)
        array = SimpleITK.GetArrayFromImage(file).T
    affine = affine_from_lps(origin_mm=file.GetOrigin(), spacing_mm=file.GetSpacing(), direction=file.GetDirection())
    return Image(array, checked_affine(affine, path), path)


def _format(path: Path) -> str:
    """The reader by what the file holds: ITK itself finds none for a MetaImage whose suffix is in capitals."""
    with path.open("rb") as file:
        return "NrrdImageIO" if file.read(4) == b"NRRD" else "MetaImageIO"


def _one_volume(file: Any, path: Path) -> Any:
    while file.GetDimension() > 3 and file.GetSize()[-1] == 1:
        file = file[(slice(None),) * (file.GetDimension() - 1) + (0,)]
    if file.GetDimension() > 3 or file.GetNumberOfComponentsPerPixel() > 1:
        raise ImageError(
            f"{path}: more than one value per place",
            got=f"size {file.GetSize()}, {file.GetNumberOfComponentsPerPixel()} values per voxel",
            expected="one volume with one value per voxel",
            next_step="split it into one file per time point, echo or channel and give the one to use",
        )
    return file
