"""`medseg data fix`: each repair reads one image or mask and gives a new one; nothing is changed in place."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medseg.case import Array, Image
from medseg.errors import GeometryError, ImageError, OutputError
from medseg.geometry import marked_outside, resample, shear_deg, spacing_mm, upright_grid
from medseg.intake.checks import checked_image, checked_label, refuse_mask, refuse_too_large, shear_findings
from medseg.intake.dicom_grid import Plane, grid_findings
from medseg.intake.files import is_dicom, read_image, read_plain, split_series

if TYPE_CHECKING:
    from medseg.intake.dicom_image import Stack

logger = logging.getLogger(__name__)

AXES = ("x", "y", "z")


def refuse_in_place(path: Path, *, output: Path) -> None:
    """Refuse an output that is there already or lies in the folder that is repaired."""
    folder, _ = split_series(path)
    if output.exists() or (folder.is_dir() and output.resolve().is_relative_to(folder.resolve())):
        raise OutputError(
            f"{output}: nothing is repaired in place",
            got="a file that is there already" if output.exists() else "a file inside the series",
            expected="a new file elsewhere",
        )


def straighten(path: Path) -> Image:
    """A sheared volume (tilted gantry) on a rectangular grid ``(X, Y, Z)`` that covers it, interpolated linearly.

    Slices keep their place along their normal, so that each is only shifted within its plane. What lies outside the
    scan takes the image's lowest value. For images; a mask follows by `put_on_grid` with the result as reference.

    Raises
    ------
    GeometryError
        The voxel axes are perpendicular, or something else is wrong with the grid too.
    LabelError
        It is a mask.
    """
    folder, _ = _existing(path)
    if is_dicom(folder) or folder.is_dir():
        image = _series_with(path, "tilted-gantry")
    else:
        image = read_plain(folder)
        if not shear_findings(image):
            raise _nothing_to_do(path, "a sheared grid", f"{shear_deg(image.affine):.3f} degrees from a right angle")
        refuse_mask(image)
    affine, shape = upright_grid(image.affine, image.array.shape)
    refuse_too_large(int(np.prod(shape)), 8, path)
    image = replace(image, array=checked_image(image).array[0])
    return resample(image, affine=affine, shape=shape, nearest=False, outside=float(image.array.min()))


def space_evenly(path: Path, *, slice_spacing_mm: float) -> Image:
    """An unevenly spaced DICOM series at even positions ``(X, Y, Z)``, interpolated linearly between its slices.

    Raises
    ------
    GeometryError
        The slices are evenly spaced, or something else is wrong with them (missing slices are not made up); or fewer
        than two slices would be left.
    ImageError
        More slices than the memory holds.
    """
    from medseg.intake.dicom_image import headers_of, read_stack

    folder, uid = _existing(path)
    if not (is_dicom(folder) or folder.is_dir()):
        raise _nothing_to_do(path, "uneven slices", "a file that is evenly spaced by its format")
    stack = read_stack(headers_of(folder, series=uid), path, allowed=frozenset({"uneven-spacing"}))
    uneven = [finding for finding in grid_findings(stack.planes) if finding.code == "uneven-spacing"]
    if not uneven:
        raise _nothing_to_do(path, "uneven slices", f"slices every {spacing_mm(stack.affine)[2]:.6g} mm")
    if uneven[0].repair is None:
        raise uneven[0].error(path)
    heights = _heights_mm(stack.planes)
    places = _even_places(heights[-1], slice_spacing_mm, stack, path)
    affine = stack.affine.copy()
    affine[:3, 2] *= slice_spacing_mm / spacing_mm(stack.affine)[2]
    array = _between_slices(checked_image(Image(stack.array, affine, path)).array[0], heights, places)
    return Image(array, affine, path, stack.modality)


def copy_geometry(path: Path, *, reference: Path) -> Image:
    """The values ``(X, Y, Z)`` of a file with the affine of `reference`, which has as many voxels along each axis."""
    image, target = _plain(path), read_image(reference)
    _refuse_other_size(image, target)
    return replace(image, affine=target.affine, spacing_known=target.spacing_known)


def put_on_grid(path: Path, *, reference: Path) -> Image:
    """A mask ``(X, Y, Z)`` at the voxels of `reference`, each with the label of the nearest voxel.

    What of the mask lies beside the reference is cut off, with a warning that tells how much.

    Raises
    ------
    GeometryError
        A label lies wholly outside the reference, or is lost between its voxels.
    """
    label, target = checked_label(_plain(path, as_label=True)), read_image(reference)
    if label.array.ndim != 3 or target.array.ndim != 4:
        raise ImageError(f"{path}: only volumes are resampled", got=f"{label.array.ndim} axes", expected=3)
    shape = target.array.shape[1:]
    result = resample(label, affine=target.affine, shape=shape, nearest=True, outside=0)
    lost = sorted({int(v) for v in np.unique(label.array)} - {int(v) for v in np.unique(result.array)} - {0})
    if lost:
        raise GeometryError(
            f"{path}: labels that would be lost on the grid of {reference}",
            got=f"labels {', '.join(map(str, lost))}",
            expected="each label with at least one voxel",
            next_step="does the mask belong to this image?",
        )
    if outside := marked_outside(label, target):
        marked = np.count_nonzero(label.array)
        logger.warning("%s: %d of its %d marked voxels lie beside %s: cut off", path, outside, marked, reference)
    return result


def flip(path: Path, *, axis: str, reference: Path) -> Image:
    """The values ``(X, Y, Z)`` of a file in reverse order along one voxel axis, with the affine of `reference`."""
    image, target = _plain(path), read_image(reference)
    _refuse_other_size(image, target)
    number = AXES.index(axis)
    if number >= image.array.ndim:
        raise ImageError(f"{path}: no axis {axis}", got=f"size {image.array.shape}")
    array = np.flip(image.array, number)
    return replace(image, array=array, affine=target.affine, spacing_known=target.spacing_known)


def _existing(path: Path) -> tuple[Path, str | None]:
    """Folder or file, and the series where one is named."""
    folder, uid = split_series(path)
    if not folder.exists():
        raise ImageError(f"{folder}: no such file or folder")
    return folder, uid


def _plain(path: Path, *, as_label: bool = False) -> Image:
    folder, _ = _existing(path)
    if folder.is_dir() or is_dicom(folder):
        raise ImageError(
            f"{path}: DICOM is not repaired in this way",
            got="a DICOM file or series",
            expected="a mask or image as NIfTI, NRRD, MetaImage or picture",
            next_step="a mask in DICOM becomes one by medseg data labels",
        )
    return read_plain(path, as_label=as_label)


def _series_with(path: Path, code: str) -> Image:
    """A DICOM volume for all that the finding of this `code` is against it."""
    from medseg.intake.dicom_image import headers_of, read_stack

    folder, uid = split_series(path)
    headers = headers_of(folder, series=uid)
    if headers[0].kind == "picture":
        raise _nothing_to_do(path, f"a finding {code}", "a picture")
    stack = read_stack(headers, path, allowed=frozenset({code}))
    if not grid_findings(stack.planes):
        raise _nothing_to_do(path, f"a finding {code}", "an even, rectangular grid")
    return Image(stack.array, stack.affine, path, stack.modality)


def _heights_mm(planes: list[Plane]) -> Array:
    """Where each plane (N,) lies along the normal, from the first."""
    away = np.stack([plane.position_mm - planes[0].position_mm for plane in planes])
    return np.asarray(away @ planes[0].normal)


def _even_places(height_mm: float, slice_spacing_mm: float, stack: Stack, path: Path) -> Array:
    """Where the new slices lie, from the first; refused where they make no volume."""
    count = int(height_mm / slice_spacing_mm + 1e-6) + 1
    if count < 2:
        got, expected = f"{slice_spacing_mm:g} mm", f"at most {height_mm:g} mm"
        raise GeometryError(f"{path}: no volume would be left", got=got, expected=expected)
    refuse_too_large(stack.array[..., 0].size * count, 8, path)
    return np.arange(count) * slice_spacing_mm


def _between_slices(array: Array, heights: Array, places: Array) -> Array:
    """Slices of ``(X, Y, Z)`` at `places` (mm), linear between the two slices round each."""
    above = np.clip(np.searchsorted(heights, places, side="right"), 1, len(heights) - 1)
    weight = (places - heights[above - 1]) / (heights[above] - heights[above - 1])
    result = np.empty((*array.shape[:2], len(places)), array.dtype)
    for k, (upper, part) in enumerate(zip(above, np.clip(weight, 0, 1), strict=True)):
        values = (1 - part) * array[..., upper - 1] + part * array[..., upper]
        result[..., k] = np.rint(values) if array.dtype.kind in "iu" else values
    return result


def _refuse_other_size(image: Image, target: Image) -> None:
    if image.array.shape != target.array.shape[1:]:
        raise GeometryError(
            f"{image.source}: another size than {target.source}",
            got=image.array.shape,
            expected=target.array.shape[1:],
            next_step="a mask of another size is put on the image's grid by --resample-label",
        )


def _nothing_to_do(path: Path, wanted: str, got: str) -> GeometryError:
    return GeometryError(f"{path}: nothing to repair", got=got, expected=wanted)
