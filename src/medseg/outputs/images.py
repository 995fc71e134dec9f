"""Images as files: NIfTI, NRRD, MetaImage for volumes, PNG for pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from medseg.case import Array, Image
from medseg.errors import OutputError, writing
from medseg.files import atomic_write
from medseg.geometry import lps_from_affine
from medseg.outputs.nifti import refuse_long_axes

_NIFTI = (".nii", ".nii.gz")
_SCANNER_CODE = 1
"""NIfTI's NIFTI_XFORM_SCANNER_ANAT: the affine gives scanner coordinates."""


def write_image(image: Image, path: Path) -> None:
    """Write an image whole or not at all, its values and grid unchanged; an existing file is never replaced.

    Parameters
    ----------
    image
        ``(X, Y, Z)`` for ``.nii``, ``.nii.gz``, ``.nrrd`` and ``.mha``; 8- or 16-bit ``(X, Y)`` for ``.png``.
    path
        The file to write; its suffix chooses the format, its folder is made.

    Raises
    ------
    OutputError
        Another suffix, a file that is there already or cannot be written, or values that the format cannot hold.
    """
    if path.exists():
        raise OutputError(f"{path} is there already", next_step="give a new file")
    write = _writer(image, path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary:
            write(image, temporary)


def _writer(image: Image, path: Path) -> Any:
    name, axes = path.name.lower(), image.array.ndim
    if axes == 3 and name.endswith(_NIFTI):
        refuse_long_axes(image.array.shape, path.name)
        return _write_nifti
    if axes == 3 and name.endswith((".nrrd", ".mha")):
        return _write_itk
    if axes == 2 and name.endswith(".png") and image.array.dtype in (np.uint8, np.uint16):
        return _write_png
    raise OutputError(
        f"{path.name}: cannot hold the image",
        got=f"{axes} axes of {image.array.dtype}",
        expected=".nii.gz, .nii, .nrrd or .mha for a volume, .png for a picture of 8 or 16 bits",
    )


def _write_nifti(image: Image, path: Path) -> None:
    import nibabel as nib

    array = _known_to_nifti(image.array)
    nifti = nib.Nifti1Image(array, image.affine, dtype=array.dtype)
    nifti.set_sform(image.affine, code=_SCANNER_CODE)
    nifti.set_qform(image.affine, code=_SCANNER_CODE)
    nifti.header.set_xyzt_units("mm")
    nib.save(nifti, path)


def _known_to_nifti(array: Array) -> Array:
    """NIfTI has no booleans and no 16-bit floats; what fits 32 bits is not written in 64, which few programs read."""
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind in "iu" and array.dtype.itemsize > 4 and array.size:
        ends = np.iinfo(np.int32)
        return array.astype(np.int32) if ends.min <= array.min() and array.max() <= ends.max else array
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _write_itk(image: Image, path: Path) -> None:
    import SimpleITK

    origin, spacing, direction = lps_from_affine(image.affine)
    file = SimpleITK.GetImageFromArray(np.ascontiguousarray(image.array.T))
    file.SetOrigin([float(v) for v in origin])
    file.SetSpacing([float(v) for v in spacing])
    file.SetDirection([float(v) for v in direction.ravel()])
    SimpleITK.WriteImage(file, str(path), useCompression=True)


def _write_png(image: Image, path: Path) -> None:
    from PIL import Image as Picture

    Picture.fromarray(np.ascontiguousarray(image.array.T)).save(path, format="PNG")
