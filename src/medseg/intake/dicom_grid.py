"""From the positions of DICOM slices to one regular grid, or a refusal that says with numbers why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medseg.case import Affine, Array
from medseg.errors import GeometryError
from medseg.geometry import affine_from_lps

SLICE_TOLERANCE_MM = 0.1
"""How far a slice may lie from its even place: scanners round positions to 0.1 mm ..."""
SLICE_TOLERANCE_FRACTION = 0.1
"""... and never more than this part of the slice spacing."""
DUPLICATE_MM = 0.01
TILT_TOLERANCE_DEG = 0.2
DIRECTION_TOLERANCE = 1e-3
SPACING_TOLERANCE_MM = 1e-3


@dataclass(frozen=True)
class Plane:
    """Where one slice or frame lies and how its stored values become its unit.

    Attributes
    ----------
    name
        How errors call it: slice number and file, or frame number.
    index
        Its place in what was read: the number of the file or frame.
    position_mm, directions
        Centre of its first pixel (3,) and the unit vectors along its rows and columns (2, 3), in LPS.
    spacing_mm
        Distance of pixel centres along X (columns) and Y (rows).
    size
        Pixels along X and Y.
    thickness_mm
        Slice spacing to assume where it is the only slice.
    slope, intercept
        Unit = slope * stored + intercept.
    """

    name: str
    index: int
    position_mm: Array
    directions: Array
    spacing_mm: tuple[float, float]
    size: tuple[int, int]
    thickness_mm: float
    slope: float
    intercept: float

    @property
    def normal(self) -> Array:
        return np.asarray(np.cross(self.directions[0], self.directions[1]))


def place(planes: Sequence[Plane], source: Path) -> tuple[list[Plane], Affine]:
    """The planes sorted along their normal, and the RAS affine of the volume ``(X, Y, Z)`` they form.

    Raises
    ------
    GeometryError
        Mixed size, spacing or orientation; slices missing, doubled or unevenly spaced; a tilted gantry.
    """
    first = planes[0]
    _refuse_mixed(planes, source)
    ordered = sorted(planes, key=lambda plane: float(plane.position_mm @ first.normal))
    step = first.normal * first.thickness_mm
    if len(ordered) > 1:
        step = (ordered[-1].position_mm - ordered[0].position_mm) / (len(ordered) - 1)
        _refuse_duplicates(ordered, source)
        _refuse_uneven(ordered, step, source)
        _refuse_tilt(step, first.normal, source)
    step_mm = float(np.linalg.norm(step))
    direction = np.stack([first.directions[0], first.directions[1], step / step_mm], axis=1)
    spacing_mm, origin_mm = (*first.spacing_mm, step_mm), [float(v) for v in ordered[0].position_mm]
    return ordered, affine_from_lps(origin_mm=origin_mm, spacing_mm=spacing_mm, direction=direction)


def _refuse_mixed(planes: Sequence[Plane], source: Path) -> None:
    first = planes[0]
    _refuse_skew(first, source)
    for plane in planes[1:]:
        if plane.size != first.size:
            raise _mixed("size", plane, f"{plane.size}", first, f"{first.size}", source)
        if np.abs(np.subtract(plane.spacing_mm, first.spacing_mm)).max() > SPACING_TOLERANCE_MM:
            raise _mixed("pixel spacing", plane, f"{plane.spacing_mm} mm", first, f"{first.spacing_mm} mm", source)
        if np.abs(plane.directions - first.directions).max() > DIRECTION_TOLERANCE:
            got, other = (_numbers(p.directions.ravel()) for p in (plane, first))
            raise _mixed("orientation", plane, got, first, other, source)


def _mixed(what: str, plane: Plane, got: str, first: Plane, other: str, source: Path) -> GeometryError:
    return GeometryError(
        f"{source}: slices of different {what} in one series",
        got=f"{plane.name} has {got}",
        expected=f"{other} as {first.name}",
        next_step="keep the slices of one stack in the folder (is a localiser among them?)",
    )


def _refuse_skew(plane: Plane, source: Path) -> None:
    product = plane.directions @ plane.directions.T
    if np.abs(product - np.eye(2)).max() > DIRECTION_TOLERANCE or not min(plane.spacing_mm) > 0:
        raise GeometryError(
            f"{source}: {plane.name} has no valid orientation or pixel spacing",
            got=f"{_numbers(plane.directions.ravel())}, {plane.spacing_mm} mm",
            expected="two perpendicular unit vectors and a spacing above 0",
        )


def _refuse_duplicates(ordered: Sequence[Plane], source: Path) -> None:
    gaps = _gaps(ordered)
    twice = np.flatnonzero(gaps < DUPLICATE_MM)
    if twice.size:
        a, b = ordered[int(twice[0])], ordered[int(twice[0]) + 1]
        at = int((gaps >= DUPLICATE_MM).sum()) + 1
        raise GeometryError(
            f"{source}: more than one slice at one position",
            got=f"{len(ordered)} slices at {at} positions: {a.name} and {b.name} at {_numbers(a.position_mm)} mm",
            expected="one slice per position",
            next_step="several phases, echoes or copies are more than one volume: keep one of them in the folder",
        )


def _refuse_uneven(ordered: Sequence[Plane], step: Array, source: Path) -> None:
    positions = np.stack([plane.position_mm for plane in ordered])
    even = positions[0] + np.arange(len(ordered))[:, None] * step
    gaps = _gaps(ordered)
    typical = float(np.median(gaps))
    tolerance = min(SLICE_TOLERANCE_MM, SLICE_TOLERANCE_FRACTION * typical)
    if np.linalg.norm(positions - even, axis=1).max() <= tolerance:
        return
    for whole in (typical, float(gaps.min())):
        counts = np.rint(gaps / whole)
        if counts.min() >= 1 and counts.max() >= 2 and np.abs(gaps - counts * whole).max() <= 2 * tolerance:
            raise _missing(ordered, gaps, counts, whole, source)
    narrow, wide = int(np.argmin(gaps)), int(np.argmax(gaps))
    raise GeometryError(
        f"{source}: slices are not evenly spaced",
        got=f"{gaps[narrow]:.3f} mm between {ordered[narrow].name} and {ordered[narrow + 1].name}, "
        f"{gaps[wide]:.3f} mm between {ordered[wide].name} and {ordered[wide + 1].name}",
        expected=f"every slice within {tolerance:.3f} mm of an even {np.linalg.norm(step):.3f} mm",
        next_step="export the series again, evenly spaced",
    )


def _missing(ordered: Sequence[Plane], gaps: Array, counts: Array, typical: float, source: Path) -> GeometryError:
    """The error for gaps that are each `counts` times the `typical` one."""
    count, holes = int((counts - 1).sum()), np.flatnonzero(counts >= 2)
    at = [f"{gaps[i]:.3f} mm between {ordered[i].name} and {ordered[i + 1].name}" for i in holes[:5]]
    return GeometryError(
        f"{source}: {count} {'slice is' if count == 1 else 'slices are'} missing",
        got=", ".join(at),
        expected=f"{typical:.3f} mm as elsewhere",
        next_step="export the whole series again",
    )


def _refuse_tilt(step: Array, normal: Array, source: Path) -> None:
    cosine = float(step @ normal) / float(np.linalg.norm(step) * np.linalg.norm(normal))
    tilt = float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))
    if tilt > TILT_TOLERANCE_DEG:
        raise GeometryError(
            f"{source}: the gantry was tilted, so the slices form a sheared grid",
            got=f"{tilt:.2f} degrees between the slices' normal and their stacking",
            expected=f"at most {TILT_TOLERANCE_DEG} degrees",
            next_step="resample the series to a rectangular grid",
        )


def _gaps(ordered: Sequence[Plane]) -> Array:
    """Distances (N - 1,) of neighbours along the normal, in mm."""
    return np.diff([float(plane.position_mm @ ordered[0].normal) for plane in ordered])


def _numbers(values: Array) -> str:
    return "(" + ", ".join(f"{float(v):.6g}" for v in values) + ")"
