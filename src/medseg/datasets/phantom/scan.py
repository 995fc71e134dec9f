"""The scanner: field of view, spacing, pose, table, blur, noise, bias, padding; drawn first, applied later."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from medseg.case import Array, FloatArray
from medseg.datasets.phantom.anatomy import Anatomy, Draw
from medseg.datasets.phantom.shapes import Grid, Wobble, make_grid, smooth_noise

AIR_HU = -1000.0


@dataclass(frozen=True)
class Scan:
    """One examination of one patient.

    Attributes
    ----------
    field_mm
        Width of the square field of view.
    bottom_mm, top_mm
        The scanned range in anatomical z.
    off_centre_mm
        Of the field of view against the patient.
    turn_deg
        Roll, tilt and yaw of the patient.
    padding_hu
        Value outside a circular field of view; None where the field is square.
    size
        Of the patient beside the one drawn: 0.5 is a small child.
    softness
        Width of the edges beside the voxels': below 1 where voxels were thin before they were brought to this grid.
    sharpen
        How much a sharp kernel exaggerates edges and noise.
    shift_hu
        Added to all values: a bad calibration, or a forgotten intercept.
    """

    field_mm: float
    bottom_mm: float
    top_mm: float
    off_centre_mm: tuple[float, float]
    spacing_mm: tuple[float, float, float]
    turn_deg: tuple[float, float, float]
    wobble_mm: float
    prone: bool
    table: str
    table_gap_mm: float
    table_hu: float
    sheets: int
    noise_hu: float
    noise_grain_mm: float
    streak_hu: float
    blur_mm: float
    bias_hu: float
    padding_hu: float | None
    floor_hu: float
    orientation: str
    origin_mm: tuple[float, float, float]
    seed: int
    size: float = 1.0
    softness: float = 1.0
    sharpen: float = 0.0
    shift_hu: float = 0.0


def draw_scan(rng: np.random.Generator, anatomy: Anatomy) -> Scan:
    """Draw how this patient is scanned."""
    d = Draw(rng)
    chest = anatomy.chest
    bottom, top = _draw_range(d, chest.height_mm + max(chest.left_dome_lower_mm, 0) + 0.6 * chest.drop_posterior_mm)
    body = 2 * (chest.half_width_mm + anatomy.wall.muscle_mm + anatomy.wall.fat_mm + 12)
    circle = d.chance(0.4)
    return Scan(
        field_mm=max(body * d.between(0.8, 1.25), 2.12 * chest.half_width_mm),
        bottom_mm=bottom,
        top_mm=top,
        off_centre_mm=(d.near(0, 8, -25, 25), d.near(0, 8, -25, 25)),
        spacing_mm=_draw_spacing(d),
        turn_deg=(d.near(0, 4, -15, 15), d.near(0, 4, -12, 12), d.near(0, 3, -10, 10)),
        wobble_mm=d.between(1, 6.5),
        prone=d.chance(0.07),
        table=d.choice(("flat", "curved", "cradle", "none"), (0.35, 0.3, 0.25, 0.1)),
        table_gap_mm=d.between(2, 22),
        table_hu=d.between(-700, 300),
        sheets=d.count(1.2),
        noise_hu=d.log_between(5, 75),
        noise_grain_mm=d.between(0, 1.2),
        streak_hu=d.log_between(2, 60),
        blur_mm=d.between(0.0, 2.2),
        bias_hu=d.log_between(1, 18),
        padding_hu=float(d.rng.choice([-1000, -1024, -1024, -2000, -2048, -3024])) if circle else None,
        floor_hu=-1024.0 if d.chance(0.7) else -2000.0,
        orientation=d.choice(("LPS", "RAS", "LAS", "RPS", "LPI"), (0.5, 0.2, 0.15, 0.1, 0.05)),
        origin_mm=(d.between(-30, 30), d.between(-200, 60), d.between(-900, 900)),
        seed=d.seed(),
    )


def _draw_range(d: Draw, lungs_mm: float) -> tuple[float, float]:
    """Mostly the whole chest; at times the abdomen or the neck with it, at times a part of the chest only."""
    if d.chance(0.16):
        middle, half = -d.between(0.25, 0.75) * lungs_mm, d.between(0.22, 0.45) * lungs_mm
        return middle - half, middle + half
    bottom = -lungs_mm - (d.between(60, 160) if d.chance(0.2) else d.between(-10, 55))
    return bottom, d.between(50, 130) if d.chance(0.15) else d.between(8, 50)


def _draw_spacing(d: Draw) -> tuple[float, float, float]:
    plane = d.between(2.6, 3.4)
    return plane, plane, d.between(2.6, 3.6)


def lay_grid(
    scan: Scan, anatomy: Anatomy, *, spacing_mm: tuple[float, float, float] | None, shape: tuple[int, int, int] | None
) -> Grid:
    """The grid of the scan; a given shape with no spacing keeps the field of view, both given centre it."""
    extent = (scan.field_mm, scan.field_mm, scan.top_mm - scan.bottom_mm)
    if spacing_mm is not None:
        spacing_mm = tuple_of(s / scan.size for s in spacing_mm)
    if spacing_mm is None:
        spacing_mm = scan.spacing_mm if shape is None else tuple_of(e / n for e, n in zip(extent, shape, strict=True))
    if shape is None:
        sizes = [max(16, round(e / s)) for e, s in zip(extent, spacing_mm, strict=True)]
        shape = (sizes[0], sizes[1], sizes[2])
    middle = (*scan.off_centre_mm, 0.5 * (scan.top_mm + scan.bottom_mm))
    axes = [m + (np.arange(n) - 0.5 * (n - 1)) * s for m, n, s in zip(middle, shape, spacing_mm, strict=True)]
    softness = float(np.mean(spacing_mm)) * scan.softness + 0.5 * scan.blur_mm
    return make_grid((axes[0], axes[1], axes[2]), rotation(scan.turn_deg), wobble(scan), softness)


def tuple_of(values: Iterable[float]) -> tuple[float, float, float]:
    """Three floats."""
    x, y, z = values
    return float(x), float(y), float(z)


def rotation(turn_deg: tuple[float, float, float]) -> FloatArray:
    """(3, 3) anatomical to scanner, from roll, tilt and yaw."""
    roll, tilt, yaw = np.radians(turn_deg)
    about_z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    return np.asarray(about_z @ about_x @ about_y)


def wobble(scan: Scan, modes: int = 6) -> Wobble:
    """How this patient differs smoothly from the analytic shapes."""
    rng = np.random.default_rng([scan.seed, 1])
    wavelength = rng.uniform(110, 420, (modes, 3))
    amplitude = rng.normal(size=(modes, 3)) * scan.wobble_mm / np.sqrt(modes) * 1.6
    amplitude *= (wavelength.min(axis=1) / 250)[:, None]
    return Wobble(amplitude, 2 * np.pi / wavelength, rng.uniform(0, 2 * np.pi, (modes, 3)))


def expose(hu: FloatArray, grid: Grid, scan: Scan) -> FloatArray:
    """Blur, bias, noise, streaks, clipping, padding: what the scanner makes of the true HU (X, Y, Z)."""
    from scipy.ndimage import gaussian_filter, gaussian_filter1d

    rng = np.random.default_rng([scan.seed, 2])
    spacing = [float(a[1] - a[0]) for a in grid.axes]
    sigmas = [0.5 * scan.blur_mm / s for s in spacing]
    if max(sigmas) > 0.2:
        hu = gaussian_filter(hu, sigmas, truncate=2.5)
    hu = hu + np.float32(scan.bias_hu) * smooth_noise(rng, grid, 160.0) * (hu > -600)
    noise = rng.standard_normal(grid.shape, dtype=np.float32)
    grain = scan.noise_grain_mm / spacing[0]
    if grain > 0.2:
        for axis in (0, 1):
            noise = gaussian_filter1d(noise, grain, axis=axis, truncate=2.5)
        noise /= np.float32(noise.std())
    bulk = np.clip((hu + 900).mean(axis=(0, 1)) / 600, 0.5, 2.0)
    hu = hu + noise * np.float32(scan.noise_hu) * bulk
    hu = hu + _streaks(rng, grid, bulk) * np.float32(scan.streak_hu)
    if scan.sharpen:
        hu = hu + np.float32(scan.sharpen) * (hu - gaussian_filter(hu, 1.2, truncate=2.5))
    hu = hu + np.float32(scan.shift_hu)
    return _frame(np.clip(hu, scan.floor_hu + max(scan.shift_hu, 0), 3071), grid, scan)


def _streaks(rng: np.random.Generator, grid: Grid, bulk: FloatArray) -> FloatArray:
    """Horizontal streaks of photon starvation, in thick slices (shoulders) only."""
    lines = rng.standard_normal((1, *grid.shape[1:]), dtype=np.float32)
    weight = np.clip(bulk - bulk.mean() * 1.15, 0, 1).astype(np.float32) * 2
    return np.asarray(lines * weight)


def _frame(hu: FloatArray, grid: Grid, scan: Scan) -> FloatArray:
    if scan.padding_hu is None:
        return hu
    hu[~in_field(grid)] = scan.padding_hu
    return hu


def in_field(grid: Grid) -> Array:
    """(X, Y) True inside the circle that fits the field of view."""
    x, y = (a - a.mean() for a in grid.axes[:2])
    radius = max(x[-1], y[-1]) + 0.5 * (x[1] - x[0])
    return np.asarray(x[:, None] ** 2 + y[None, :] ** 2 <= radius**2)
