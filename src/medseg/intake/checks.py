"""What every image and every mask has to pass at the door, whatever file it came from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medseg.case import Affine, Array, Image
from medseg.errors import GeometryError, ImageError, LabelError, MedsegError
from medseg.findings import Finding
from medseg.geometry import TILT_TOLERANCE_DEG, shear_deg
from medseg.processes import memory_bytes

LABEL_TOLERANCE = 1e-3
"""How far a stored label may lie from an integer: scaled NIfTI masks come back as 0.9999999."""

_MANY_LABELS = 50
"""From more values than this on a mask is asked whether it is an image."""

_SINGULAR = 1e-6
MASK_FOLLOWS = "repair its image by medseg data fix --tilt, then put the mask onto that one's grid by --resample-label"


@contextmanager
def unreadable(path: Path, kind: str, *errors: type[BaseException], show_message: bool = True) -> Iterator[None]:
    """Turn the `errors` of a library into one ImageError that names the file; MedsegErrors pass through.

    `show_message` is False where the library's message might quote a value of the header (patient data).
    """
    try:
        yield
    except MedsegError:
        raise
    except errors as error:
        lines = str(error).strip().splitlines() if show_message else []
        got = f"{type(error).__name__}: {lines[-1].strip()}" if lines else type(error).__name__
        raise ImageError(f"{path}: cannot be read as {kind}", got=got, next_step=_next_step(error)) from error


def _next_step(error: BaseException) -> str:
    """A good file that found too little memory (SimpleITK tells of it in a RuntimeError) is not called damaged."""
    if isinstance(error, MemoryError) or any(words in str(error) for words in ("allocate memory", "bad_alloc")):
        return "too little memory was free: work on fewer at once or use a larger machine; or is it damaged?"
    return "the file is damaged, truncated or of another format: copy or export it again"


def refuse_too_large(values: int, itemsize: int, path: Path) -> None:
    """Refuse an image of so many values of `itemsize` bytes that it cannot be held twice, before memory is taken."""
    wanted, limit = 2 * values * itemsize, memory_bytes()
    if wanted > limit:
        raise ImageError(
            f"{path}: the image is larger than the memory",
            got=f"{values} values: {wanted / 1e9:.1f} GB to read it",
            expected=f"at most {limit / 1e9:.1f} GB",
            next_step="is the file damaged? If not, give a part of the image or use a machine with more memory",
        )


def checked_affine(affine: Array, path: Path) -> Affine:
    """`affine` as float64 (4, 4); refused when it is not finite or maps voxels onto a plane, a line or a point."""
    matrix = np.asarray(affine, dtype=np.float64)
    axes = matrix[:3, :3]
    lengths = np.linalg.norm(axes, axis=0)
    if not np.isfinite(matrix).all() or (lengths == 0).any() or abs(np.linalg.det(axes / lengths)) < _SINGULAR:
        raise GeometryError(
            f"{path}: its affine places no voxels in space",
            got=np.array2string(axes, precision=6, separator=", ").replace("\n", ""),
            expected="three finite, independent axes",
            next_step="write the file again with its spacing and orientation",
        )
    return matrix


def shear_findings(image: Image, *, is_mask: bool = False) -> list[Finding]:
    """Voxel axes that are not perpendicular: a CT with a tilted gantry that was written without resampling.

    An image is repaired by interpolation; a mask follows its repaired image, as labels are not interpolated.
    """
    off = shear_deg(image.affine)
    if off <= TILT_TOLERANCE_DEG:
        return []
    return [
        Finding(
            code="sheared-grid",
            severity="error",
            what="its voxel axes are not perpendicular (a tilted gantry?)",
            got=f"{off:.2f} degrees from a right angle",
            expected=f"at most {TILT_TOLERANCE_DEG} degrees",
            next_step=MASK_FOLLOWS if is_mask else "resample it to a rectangular grid",
            repair=None if is_mask else "--tilt",
        )
    ]


def no_orientation(got: str, expected: str) -> Finding:
    """A header that leaves open which way the voxels' axes run in the patient."""
    return Finding(
        code="no-orientation",
        severity="warning",
        what="the header does not say how the voxels lie in the patient: left and right are a guess",
        got=got,
        expected=expected,
        next_step="convert the original images again",
    )


def checked_image(image: Image) -> Image:
    """`image` ``(X, Y[, Z])`` with a channel axis in front and a dtype that PyTorch knows.

    Raises
    ------
    ImageError
        No voxels, NaN or Inf, or the same value everywhere.
    """
    array = image.array
    _refuse_empty(array, image.source)
    if array.dtype.kind == "f" and (bad := int(array.size - np.isfinite(array).sum())):
        raise ImageError(
            f"{image.source}: not every value is a number",
            got=f"{bad} of {array.size} voxels NaN or infinite",
            next_step="find out what they mean and write the image again with numbers",
        )
    low, high = array.min(), array.max()
    if low == high:
        raise ImageError(f"{image.source}: every voxel has the same value", got=low, expected="an image with a content")
    return replace(image, array=_torch_dtype(array, int(np.floor(low)), int(np.ceil(high)))[None])


def of_kind(image: Image, *, modality: str | None, spatial_dims: int | None) -> Image:
    """`image` ``(C, X, Y[, Z])`` as the modality it has to be; ImageError where it is another or not as many axes."""
    if modality is not None and image.modality not in (None, modality):
        raise ImageError(f"{image.source}: another modality", got=image.modality, expected=modality)
    size = image.array.shape[1:]
    if spatial_dims == 3 and (len(size) == 2 or min(size) == 1):
        raise ImageError(
            f"{image.source}: one slice where a volume is needed",
            got=f"size {size}",
            expected="several slices",
            next_step="give the whole series",
        )
    if spatial_dims == 2 and len(size) == 3:
        raise ImageError(f"{image.source}: a volume where a picture is needed", got=f"size {size}")
    return replace(image, modality=image.modality or modality)


def checked_label(label: Image) -> Image:
    """`label` ``(X, Y[, Z])`` as uint8, uint16 or int32, whichever is the smallest that holds it.

    Raises
    ------
    LabelError
        Values that are no integers, negative, not finite, or beyond int32; or those of an image.
    """
    array = label.array
    _refuse_empty(array, label.source)
    if array.dtype.kind == "f":
        array = _rounded(array, label.source)
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > np.iinfo(np.int32).max:
        raise LabelError(
            f"{label.source}: values that cannot be labels",
            got=f"{low} to {high}",
            expected="integers from 0 (background) up",
        )
    if high > _MANY_LABELS:
        _refuse_image(array, label.source)
    dtype = np.uint8 if high <= 255 else np.uint16 if high <= 65535 else np.int32
    return replace(label, array=array.astype(dtype))


def refuse_mask(image: Image) -> None:
    """Refuse what interpolation would spoil: between labels 1 and 3 it makes a 2.

    Raises
    ------
    LabelError
        An image as a mask is: few values, all whole and none below 0.
    """
    values = np.unique(image.array) if image.array.size and image.array.min() >= 0 else np.array([-1])
    if values.size <= _MANY_LABELS and values[0] >= 0 and (values == np.rint(values)).all():
        raise LabelError(
            f"{image.source}: looks like a mask, and labels are not interpolated",
            got=f"{values.size} values from {values[0]:g} to {values[-1]:g}",
            expected="an image",
            next_step=MASK_FOLLOWS,
        )


def _refuse_empty(array: Array, path: Path) -> None:
    if array.size == 0:
        raise ImageError(f"{path}: holds no voxels", got=f"size {array.shape}")
    if array.dtype.kind not in "biuf":
        raise ImageError(f"{path}: its values are no plain numbers", got=array.dtype, expected="one number per voxel")


def _refuse_image(array: Array, path: Path) -> None:
    """An image whose values are whole numbers, in place of its mask: hardly two voxels side by side are equal.

    An atlas, or a map of a thousand cells, has as many values, but within a region neighbours are of one.
    """
    one, other = array[1:], array[:-1]
    inside = (one != 0) & (other != 0)
    pairs = int(np.count_nonzero(inside))
    equal = int(np.count_nonzero(inside & (one == other)))
    if 2 * equal >= pairs:
        return
    values = int(np.unique(array).size)
    if values > _MANY_LABELS:
        raise LabelError(
            f"{path}: looks like an image, not like a mask",
            got=f"{values} values; of neighbours above 0 {equal / pairs:.0%} have the same",
            expected="regions of one value each",
            next_step="give the masks: are the folders of images and masks exchanged?",
        )


def _rounded(array: Array, path: Path) -> Array:
    finite = np.isfinite(array)
    if not finite.all():
        raise LabelError(f"{path}: not every value is a label", got=f"{int((~finite).sum())} voxels NaN or infinite")
    rounded = np.rint(array)
    off = np.abs(array - rounded) > LABEL_TOLERANCE
    if off.any():
        raise LabelError(
            f"{path}: values that are no integers",
            got=f"{int(off.sum())} voxels such as {float(array[off][0]):.6g}",
            expected="a mask of integers",
            next_step="was it resampled with interpolation, or is it the image? Use nearest neighbour for masks",
        )
    return rounded


def _torch_dtype(array: Array, low: int, high: int) -> Array:
    """Integers stay integers of a width that PyTorch has, native byte order; everything else becomes float32."""
    dtype: Any = array.dtype.newbyteorder("=")
    if dtype.kind == "b":
        dtype = np.uint8
    elif dtype.kind == "f":
        dtype = np.float32
    elif dtype.itemsize > 4 or dtype == np.uint32:
        info = np.iinfo(np.int32)
        dtype = np.int32 if info.min <= low and high <= info.max else np.float32
    return array.astype(dtype, copy=False)
