"""From the positions of DICOM slices to one regular grid, or findings that say with numbers why there is none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medseg.case import Affine, Array
from medseg.findings import Finding, refuse
from medseg.geometry import TILT_TOLERANCE_DEG, affine_from_lps

SLICE_TOLERANCE_MM = 0.1
"""How far a slice may lie from its even place: scanners round positions to 0.1 mm ..."""
SLICE_TOLERANCE_FRACTION = 0.1
"""... and never more than this part of the slice spacing."""
WIDEST_GAP = 2.0
"""An uneven gap is bridged by interpolation up to this part of the usual one: beyond, slices may be missing."""
DUPLICATE_MM = 0.01
DIRECTION_TOLERANCE = 1e-3
SPACING_TOLERANCE_MM = 1e-3
_MOST_NAMED = 5


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
    unit
        What the rescaled values are: RescaleType ("HU", "US"), "unspecified", or "stored values" where nothing scales.
    padding
        Lowest and highest stored value that mark pixels outside what was scanned, or None.
    traits
        (tag, value) pairs that can tell volumes of one series apart: echo, phase, b-value.
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
    unit: str
    padding: tuple[int, int] | None = None
    traits: tuple[tuple[str, str], ...] = ()

    @property
    def normal(self) -> Array:
        return np.asarray(np.cross(self.directions[0], self.directions[1]))


def place(
    planes: Sequence[Plane], source: Path, *, allowed: frozenset[str] = frozenset()
) -> tuple[list[Plane], Affine]:
    """The planes sorted along their normal, and the RAS affine of the volume ``(X, Y, Z)`` they form.

    Raises
    ------
    GeometryError
        The first of `grid_findings` whose code is not `allowed`.
    """
    refuse(grid_findings(planes), source, allowed=allowed)
    ordered = in_order(planes)
    first, step = ordered[0], mean_step(ordered)
    step_mm = float(np.linalg.norm(step))
    direction = np.stack([first.directions[0], first.directions[1], step / step_mm], axis=1)
    spacing_mm, origin_mm = (*first.spacing_mm, step_mm), [float(v) for v in first.position_mm]
    return ordered, affine_from_lps(origin_mm=origin_mm, spacing_mm=spacing_mm, direction=direction)


def in_order(planes: Sequence[Plane]) -> list[Plane]:
    """The planes sorted by their position along the normal."""
    normal = planes[0].normal
    return sorted(planes, key=lambda plane: float(plane.position_mm @ normal))


def mean_step(ordered: Sequence[Plane]) -> Array:
    """From one plane to the next (3,) in mm, LPS; the thickness along the normal for a single one."""
    if len(ordered) == 1:
        return ordered[0].normal * ordered[0].thickness_mm
    return np.asarray((ordered[-1].position_mm - ordered[0].position_mm) / (len(ordered) - 1))


def grid_findings(planes: Sequence[Plane]) -> list[Finding]:
    """All that keeps planes from forming one regular grid: nothing for a good series.

    Positions are compared only where orientation, size and spacing are one, as they mean nothing otherwise.
    """
    found = [*_invalid(planes)] or _mixed(planes)
    if len(planes) == 1 or any(finding.code != "mixed-rescale" for finding in found):
        return found
    ordered = in_order(planes)
    doubled = _duplicates(ordered)
    off = doubled or [*_uneven(ordered), *_tilted(ordered)]
    return [*found, *(off if len(off) == 1 else [replace(finding, repair=None) for finding in off])]


def slice_tolerance_mm(ordered: Sequence[Plane]) -> float:
    """How far slices may lie from even places: `SLICE_TOLERANCE_MM`, but no more than a tenth of their spacing."""
    return min(SLICE_TOLERANCE_MM, SLICE_TOLERANCE_FRACTION * float(np.median(gaps_mm(ordered))))


def gaps_mm(ordered: Sequence[Plane]) -> Array:
    """Distances (N - 1,) of neighbours along the normal."""
    return np.diff([float(plane.position_mm @ ordered[0].normal) for plane in ordered])


def _invalid(planes: Sequence[Plane]) -> list[Finding]:
    bad = [p for p in planes if not _is_rectangle(p)]
    if not bad:
        return []
    return [
        Finding(
            code="invalid-orientation",
            severity="error",
            what=f"{_names(bad)} has no valid orientation or pixel spacing",
            got=f"{_numbers(bad[0].directions.ravel())}, {bad[0].spacing_mm} mm",
            expected="two perpendicular unit vectors and a spacing above 0",
            next_step="export the series again",
        )
    ]


def _is_rectangle(plane: Plane) -> bool:
    product = plane.directions @ plane.directions.T
    return bool(np.abs(product - np.eye(2)).max() <= DIRECTION_TOLERANCE and min(plane.spacing_mm) > 0)


def _mixed(planes: Sequence[Plane]) -> list[Finding]:
    """Slices that differ from the majority in what all slices of one volume share."""
    kinds: list[tuple[str, str, Callable[[Plane], Array], float, Callable[[Plane], str]]] = [
        ("mixed-size", "size", lambda p: np.array(p.size), 0, lambda p: f"{p.size}"),
        (
            "mixed-spacing",
            "pixel spacing",
            lambda p: np.array(p.spacing_mm),
            SPACING_TOLERANCE_MM,
            lambda p: f"{p.spacing_mm} mm",
        ),
        (
            "mixed-orientation",
            "orientation",
            lambda p: p.directions.ravel(),
            DIRECTION_TOLERANCE,
            lambda p: _numbers(p.directions.ravel()),
        ),
    ]
    found = [_odd_ones(planes, *kind) for kind in kinds]
    return [finding for finding in [*found, _mixed_units(planes)] if finding is not None]


def _odd_ones(
    planes: Sequence[Plane],
    code: str,
    what: str,
    value: Callable[[Plane], Array],
    tolerance: float,
    show: Callable[[Plane], str],
) -> Finding | None:
    values = np.stack([value(plane) for plane in planes])
    keys = [tuple(row) for row in np.rint(values / (2 * tolerance or 1)).astype(np.int64).tolist()]
    usual = keys.index(Counter(keys).most_common(1)[0][0])
    odd = np.flatnonzero(np.abs(values - values[usual]).max(axis=1) > tolerance)
    if not odd.size:
        return None
    return _mixed_finding(code, what, [planes[int(i)] for i in odd], planes[usual], show)


def _mixed_units(planes: Sequence[Plane]) -> Finding | None:
    """Slopes and intercepts may differ from slice to slice, as each is applied to its own; the unit may not."""
    usual = Counter(plane.unit for plane in planes).most_common(1)[0][0]
    odd = [plane for plane in planes if plane.unit != usual]
    if not odd:
        return None
    reference = next(plane for plane in planes if plane.unit == usual)
    return _mixed_finding("mixed-rescale", "rescale", odd, reference, lambda p: p.unit)


def _mixed_finding(code: str, what: str, odd: Sequence[Plane], usual: Plane, show: Callable[[Plane], str]) -> Finding:
    return Finding(
        code=code,
        severity="error",
        what=f"slices of different {what} in one series",
        got=f"{_names(odd)} with {show(odd[0])}",
        expected=f"{show(usual)} as {usual.name}",
        next_step="keep the slices of one stack in the folder (is a localiser among them?)",
    )


def _duplicates(ordered: Sequence[Plane]) -> list[Finding]:
    twice = np.flatnonzero(gaps_mm(ordered) < DUPLICATE_MM)
    if not twice.size:
        return []
    positions = len(ordered) - twice.size
    pairs = [f"{ordered[i].name} and {ordered[i + 1].name}" for i in twice[:_MOST_NAMED].tolist()]
    at = _numbers(ordered[int(twice[0])].position_mm)
    volumes = len(ordered) // positions
    several = f", {volumes} at each" if volumes * positions == len(ordered) else ""
    traits = _differing(ordered)
    return [
        Finding(
            code="duplicate-positions",
            severity="error",
            what="more than one slice at one position",
            got=f"{len(ordered)} slices at {positions} positions{several}: {_more(pairs, twice.size)}, first at {at} mm"
            + (f"; they differ in {', '.join(traits)}" if traits else ""),
            expected="one slice per position",
            next_step="several phases, echoes or copies are more than one volume (4-D): export each as its own series, "
            "or keep one of them in the folder",
        )
    ]


def _differing(planes: Sequence[Plane]) -> list[str]:
    """Names of the traits that are not the same in all planes."""
    values: dict[str, set[str]] = {}
    for plane in planes:
        for name, value in plane.traits:
            values.setdefault(name, set()).add(value)
    return [name for name, found in values.items() if len(found) > 1]


def _uneven(ordered: Sequence[Plane]) -> list[Finding]:
    positions, step = np.stack([plane.position_mm for plane in ordered]), mean_step(ordered)
    off = positions - positions[0] - np.arange(len(ordered))[:, None] * step
    gaps, tolerance = gaps_mm(ordered), slice_tolerance_mm(ordered)
    if np.linalg.norm(off, axis=1).max() <= tolerance:
        return []
    for whole in (float(np.median(gaps)), float(gaps.min())):
        counts = np.rint(gaps / whole)
        if counts.min() >= 1 and counts.max() >= 2 and np.abs(gaps - counts * whole).max() <= 2 * tolerance:
            return [_missing(ordered, gaps, counts, whole)]
    if _lateral_mm(ordered).max() > tolerance:
        return [_shifted(ordered, tolerance)]
    narrow, wide, usual = int(np.argmin(gaps)), int(np.argmax(gaps)), float(np.median(gaps))
    return [
        Finding(
            code="uneven-spacing",
            severity="error",
            what="slices are not evenly spaced",
            got=", ".join(_gap(ordered, gaps, i) for i in (narrow, wide)),
            expected=f"every slice within {tolerance:.3f} mm of an even {np.linalg.norm(step):.3f} mm",
            next_step="export the series again, evenly spaced",
            repair=f"--resample {usual:.6g}" if gaps[wide] < WIDEST_GAP * usual else None,
        )
    ]


def _lateral_mm(ordered: Sequence[Plane]) -> Array:
    """How far each slice (N,) lies beside the line from the first to the last one."""
    start = ordered[0].position_mm
    away = np.stack([plane.position_mm - start for plane in ordered])
    heights = away @ ordered[0].normal
    return np.linalg.norm(away - np.outer(heights / heights[-1], away[-1]), axis=1)


def _shifted(ordered: Sequence[Plane], tolerance: float) -> Finding:
    lateral = _lateral_mm(ordered)
    worst = int(np.argmax(lateral))
    return Finding(
        code="shifted-slices",
        severity="error",
        what="slices do not lie above each other",
        got=f"{ordered[worst].name} {lateral[worst]:.3f} mm beside the line through the first and last slice",
        expected=f"at most {tolerance:.3f} mm",
        next_step="are they slices of more than one stack? Export the series again",
    )


def _missing(ordered: Sequence[Plane], gaps: Array, counts: Array, typical: float) -> Finding:
    """Gaps that are each `counts` times the `typical` one."""
    count, holes = int((counts - 1).sum()), np.flatnonzero(counts >= 2)
    return Finding(
        code="missing-slices",
        severity="error",
        what=f"{count} {'slice is' if count == 1 else 'slices are'} missing",
        got=_more([_gap(ordered, gaps, i) for i in holes[:_MOST_NAMED]], holes.size),
        expected=f"{typical:.3f} mm as elsewhere",
        next_step="export the whole series again",
    )


def _tilted(ordered: Sequence[Plane]) -> list[Finding]:
    step, normal = mean_step(ordered), ordered[0].normal
    cosine = float(step @ normal) / float(np.linalg.norm(step) * np.linalg.norm(normal))
    tilt = float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))
    if tilt <= TILT_TOLERANCE_DEG:
        return []
    return [
        Finding(
            code="tilted-gantry",
            severity="error",
            what="the gantry was tilted, so the slices form a sheared grid",
            got=f"{tilt:.2f} degrees between the slices' normal and their stacking",
            expected=f"at most {TILT_TOLERANCE_DEG} degrees",
            next_step="resample it to a rectangular grid",
            repair="--tilt",
        )
    ]


def _gap(ordered: Sequence[Plane], gaps: Array, i: int) -> str:
    return f"{gaps[i]:.3f} mm between {ordered[i].name} and {ordered[i + 1].name}"


def _names(planes: Sequence[Plane]) -> str:
    return _more([plane.name for plane in planes[:_MOST_NAMED]], len(planes))


def _more(shown: Sequence[str], total: int) -> str:
    return ", ".join(shown) + (f" and {total - len(shown)} more" if total > len(shown) else "")


def _numbers(values: Array) -> str:
    return "(" + ", ".join(f"{float(v):.6g}" for v in values) + ")"
