"""The only place that knows RAS and LPS, affines, spacing, orientation and the comparison of grids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medseg.case import Affine, Array, Image
from medseg.errors import GeometryError

GRID_TOLERANCE_MM = 1e-2
"""Two grids are the same when no voxel centre moves by more than this (NIfTI stores affines as float32)."""

TILT_TOLERANCE_DEG = 0.2
"""Voxel axes count as perpendicular up to here: float32 affines and rounded slice positions come this close."""

_ROUNDING = 1e-3
"""A voxel this near to the edge of a grid, in voxels, lies on it."""
_RAS_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def affine_from_lps(
    *, origin_mm: Sequence[float], spacing_mm: Sequence[float], direction: Sequence[float] | Array
) -> Affine:
    """RAS affine of a grid given as DICOM and ITK do it.

    Parameters
    ----------
    origin_mm
        Centre of voxel (0, 0, 0) in LPS, 3 values (2 for a picture).
    spacing_mm
        Distance of voxel centres along X, Y, Z.
    direction
        Unit vectors of the voxel axes as the columns of a matrix, row-major, in LPS (ITK's `GetDirection`).
    """
    n = len(spacing_mm)
    lps = np.eye(4)
    lps[:n, :n] = np.asarray(direction, dtype=np.float64).reshape(n, n) * np.asarray(spacing_mm, dtype=np.float64)
    lps[:n, 3] = origin_mm
    return np.asarray(_RAS_LPS @ lps, dtype=np.float64)


def lps_from_affine(affine: Affine) -> tuple[Array, Array, Array]:
    """Origin (3,), spacing (3,) and direction (3, 3; columns: voxel axes) in LPS: undoes `affine_from_lps`."""
    lps = _RAS_LPS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    return lps[:3, 3], spacing, lps[:3, :3] / spacing


def spacing_mm(affine: Affine) -> tuple[float, float, float]:
    """Distance of voxel centres along X, Y, Z in mm."""
    x, y, z = np.linalg.norm(np.asarray(affine)[:3, :3], axis=0)
    return float(x), float(y), float(z)


def voxel_volume_ml(affine: Affine) -> float:
    """Volume of one voxel in millilitres (1 ml = 1000 mm3)."""
    return float(abs(np.linalg.det(np.asarray(affine)[:3, :3]))) / 1000.0


def orientation(affine: Affine) -> str:
    """Anatomical directions towards which X, Y, Z increase, nearest axis, such as "RAS" or "LPS"."""
    directions = np.asarray(affine)[:3, :3] / np.linalg.norm(np.asarray(affine)[:3, :3], axis=0)
    codes = ["", "", ""]
    for voxel_axis, world_axis in _nearest_axes(directions):
        codes[voxel_axis] = ("LPI", "RAS")[int(directions[world_axis, voxel_axis] > 0)][world_axis]
    return "".join(codes)


def reorient(image: Image, code: str) -> Image:
    """The same image with its voxel axes flipped and permuted so that they run towards `code`, e.g. "RAS".

    No value is interpolated. Works on volumes, with or without a channel axis in front.
    """
    current, lead = orientation(image.affine), image.array.ndim - 3
    if sorted(_axis_of(c) for c in code) != [0, 1, 2]:
        raise GeometryError("unknown orientation", got=repr(code), expected='three letters such as "RAS" or "LPS"')
    order = [next(i for i, c in enumerate(current) if _axis_of(c) == _axis_of(wanted)) for wanted in code]
    matrix, shape = np.zeros((4, 4)), image.array.shape[lead:]
    matrix[3, 3] = 1.0
    array = image.array.transpose(*range(lead), *(lead + i for i in order))
    for new_axis, old_axis in enumerate(order):
        flipped = current[old_axis] != code[new_axis]
        matrix[old_axis, new_axis] = -1.0 if flipped else 1.0
        matrix[old_axis, 3] = shape[old_axis] - 1 if flipped else 0.0
        array = np.flip(array, lead + new_axis) if flipped else array
    return Image(array, np.asarray(image.affine @ matrix), image.source, image.modality, image.spacing_known)


def shear_deg(affine: Affine) -> float:
    """By how many degrees the voxel axes miss right angles, at the worst pair."""
    directions = lps_from_affine(affine)[2]
    between = np.abs(directions.T @ directions - np.diag(np.einsum("ij,ij->j", directions, directions)))
    return float(np.degrees(np.arcsin(np.clip(between.max(), 0.0, 1.0))))


def upright_grid(affine: Affine, shape: Sequence[int]) -> tuple[Affine, tuple[int, int, int]]:
    """Affine and size of a rectangular grid that covers a sheared one of `shape` (X, Y, Z) voxels.

    X keeps its direction, Y its plane, and the old voxel (0, 0, 0) lies on the new grid, as do the old slices.
    """
    axes = np.asarray(affine)[:3, :3]
    x = axes[:, 0] / np.linalg.norm(axes[:, 0])
    y = axes[:, 1] - (axes[:, 1] @ x) * x
    y /= np.linalg.norm(y)
    z = np.cross(x, y) * np.sign(np.cross(x, y) @ axes[:, 2])
    steps_mm = np.array([axes[:, 0] @ x, axes[:, 1] @ y, axes[:, 2] @ z])
    to_new = np.stack([x, y, z]) @ axes / steps_mm[:, None]
    corners = np.stack(np.meshgrid(*([0, n - 1] for n in shape), indexing="ij")).reshape(3, -1)
    ends = to_new @ corners
    first = np.floor(ends.min(axis=1) + _ROUNDING)
    size = np.ceil(ends.max(axis=1) - _ROUNDING) - first + 1
    upright = np.eye(4)
    upright[:3, :3] = np.stack([x, y, z], axis=1) * steps_mm
    upright[:3, 3] = affine[:3, 3] + upright[:3, :3] @ first
    nx, ny, nz = (int(n) for n in size)
    return upright, (nx, ny, nz)


def resample(image: Image, *, affine: Affine, shape: Sequence[int], nearest: bool, outside: float) -> Image:
    """The image ``(X, Y, Z)`` at the voxels of another grid; whole numbers stay whole.

    Parameters
    ----------
    affine, shape
        The grid to fill.
    nearest
        True takes the value of the nearest voxel (masks), False interpolates linearly.
    outside
        The value beyond the image.
    """
    from scipy.ndimage import affine_transform

    matrix = np.linalg.inv(image.affine) @ affine
    whole = image.array.dtype.kind in "biu"
    values = affine_transform(
        image.array if nearest else image.array.astype(np.float32),
        np.asarray(matrix[:3, :3]),
        offset=matrix[:3, 3],
        output_shape=tuple(shape),
        order=0 if nearest else 1,
        mode="grid-constant",
        cval=outside,
    )
    array = (np.rint(values) if whole and not nearest else values).astype(image.array.dtype)
    return Image(array, affine, image.source, image.modality, image.spacing_known)


def marked_outside(label: Image, image: Image) -> int:
    """How many voxels of a mask ``(X, Y, Z)`` that are not 0 have their centre beside an image ``(C, X, Y, Z)``."""
    to_image = np.linalg.inv(image.affine) @ label.affine
    last = np.array(image.array.shape[-3:])[:, None] - 0.5 + _ROUNDING
    count = 0
    for z in np.flatnonzero(label.array.any(axis=(0, 1))):
        x, y = np.nonzero(label.array[:, :, z])
        places = to_image[:3, :3] @ np.stack([x, y, np.full(len(x), z)]) + to_image[:3, 3:]
        count += int(((places < -0.5 - _ROUNDING) | (places > last)).any(axis=0).sum())
    return count


def grid_difference(a: Image, b: Image, *, spatial_dims: int, tolerance_mm: float = GRID_TOLERANCE_MM) -> str | None:
    """All that differs between the grids of two images ("size", "spacing", "direction", "origin"), with both values.

    None when the sizes are equal and no voxel centre differs by more than `tolerance_mm`.
    """
    shape_a, shape_b = a.array.shape[-spatial_dims:], b.array.shape[-spatial_dims:]
    differences = [] if shape_a == shape_b else [f"size {_text(shape_a)} against {_text(shape_b)}"]
    if spatial_dims == 3 or (a.spacing_known and b.spacing_known):
        differences += _apart(a.affine, b.affine, shape_a, tolerance_mm)
    return ", ".join(differences) or None


def _apart(a: Affine, b: Affine, shape: Sequence[int], tolerance_mm: float) -> list[str]:
    """What of spacing, direction and origin moves a voxel of a grid of `shape` by more than `tolerance_mm`.

    Where only their sum does, the largest of them.
    """
    steps = np.array([n - 1 for n in shape] + [0] * (3 - len(shape)))
    corners = np.array([[i, j, k, 1.0] for i in (0, 1) for j in (0, 1) for k in (0, 1)]).T
    corners[:3] *= steps[:, None]
    if np.abs((a - b) @ corners)[:3].max() <= tolerance_mm:
        return []
    (origin_a, spacing_a, turn_a), (origin_b, spacing_b, turn_b) = lps_from_affine(a), lps_from_affine(b)
    moved_mm = {
        f"spacing {_text(spacing_a)} mm against {_text(spacing_b)} mm": np.abs(spacing_a - spacing_b) * steps,
        f"direction {_text(turn_a.ravel())} against {_text(turn_b.ravel())}": np.abs(turn_a - turn_b)
        * (spacing_a * steps),
        f"origin {_text(origin_a)} mm against {_text(origin_b)} mm (LPS)": np.abs(origin_a - origin_b),
    }
    largest_mm = {text: float(distances.max()) for text, distances in moved_mm.items()}
    far = [text for text, mm in largest_mm.items() if mm > tolerance_mm]
    return far or [max(largest_mm, key=largest_mm.__getitem__)]


def _nearest_axes(directions: Array) -> list[tuple[int, int]]:
    """(voxel axis, world axis) pairs, the best aligned first, each used once."""
    weights, pairs = np.abs(directions).copy(), []
    for _ in range(3):
        world, voxel = np.unravel_index(np.argmax(weights), weights.shape)
        pairs.append((int(voxel), int(world)))
        weights[world, :] = weights[:, voxel] = -1.0
    return pairs


def _axis_of(letter: str) -> int:
    return next((i for i, pair in enumerate(("LR", "PA", "IS")) if letter in pair), -1)


def _text(values: Sequence[float] | Array) -> str:
    return "(" + ", ".join(f"{float(v):.6g}" for v in values) + ")"
