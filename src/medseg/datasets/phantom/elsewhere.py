"""Scans that show no lung: legs, an arm, the pelvis, the head. All their air is outside, in bowel or in the sinuses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medseg.case import FloatArray
from medseg.datasets.phantom import bones
from medseg.datasets.phantom.anatomy import Anatomy, Draw
from medseg.datasets.phantom.scan import AIR_HU, Scan
from medseg.datasets.phantom.shapes import Grid, ellipsoid, oval, smooth_min, smooth_noise


@dataclass(frozen=True)
class Limb:
    """A tapering limb along z: where its middle is, its half widths at both ends of the scan, and its bones, in mm."""

    x_mm: float
    y_mm: float
    slope: tuple[float, float]
    low_mm: float
    high_mm: float
    bones_mm: tuple[tuple[float, float, float], ...]


def paint_elsewhere(grid: Grid, anatomy: Anatomy, scan: Scan) -> FloatArray:
    """True HU (X, Y, Z) of another part of the body."""
    rng = np.random.default_rng([anatomy.texture_seed, 300])
    d = Draw(rng)
    part = d.choice(("legs", "limb", "pelvis", "head"), (0.45, 0.25, 0.18, 0.12))
    hu = np.full(grid.shape, AIR_HU, np.float32)
    limbs = _draw_limbs(d, part, grid)
    body = _surface(grid, limbs)
    bones.table(hu, grid, anatomy, scan, body)
    _foam(hu, grid, body, d)
    _flesh(hu, grid, anatomy, body, rng)
    for limb in limbs:
        _bones(hu, grid, anatomy, limb)
    for _ in range(d.count(1.2)):
        _lump(hu, grid, body, d, d.between(5, 110), d.log_between(12, 75))
    if part == "pelvis":
        _wings(hu, grid, anatomy)
        for _ in range(2 + d.count(6)):
            _lump(hu, grid, body + 25, d, d.between(-1005, -900), d.log_between(6, 38))
    if part == "head":
        _skull(hu, grid, anatomy, body, d)
    return hu


def _draw_limbs(d: Draw, part: str, grid: Grid) -> list[Limb]:
    if part in ("pelvis", "head"):
        width = d.between(120, 200) if part == "pelvis" else d.between(65, 85)
        return [Limb(0.0, 0.0, (0.0, 0.0), width, width, ())]
    thick = d.between(32, 110)
    taper = d.between(0.55, 1.05)
    apart = thick + d.between(-6, 25)
    sides = (-1, 1) if part == "legs" else (0,)
    lower_leg = d.chance(0.4)
    return [
        Limb(
            side * apart,
            d.between(-12, 12),
            (side * d.between(-0.08, 0.12), d.between(-0.1, 0.1)),
            thick * taper,
            thick,
            ((0.0, 0.0, d.between(9, 17)), (0.35, -0.3, d.between(5, 9)))
            if lower_leg
            else ((0.1, 0.05, d.between(11, 18)),),
        )
        for side in sides
    ]


def _surface(grid: Grid, limbs: list[Limb]) -> FloatArray:
    """Distance (X, Y, Z) to the skin."""
    body = np.full(grid.shape, 1e3, np.float32)
    for limb in limbs:
        x, y, radius = _course(grid, limb)
        body = smooth_min(body, oval(x, y, radius, radius * np.float32(0.85), 0.4), 6.0)
    return body


def _course(grid: Grid, limb: Limb) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Offsets from the limb's middle and its half width, (X, Y, Z) each."""
    low, high = float(grid.z.min()), float(grid.z.max())
    middle = 0.5 * (low + high)
    along = (grid.z - np.float32(low)) / np.float32(high - low)
    radius = np.float32(limb.low_mm) + np.float32(limb.high_mm - limb.low_mm) * along
    x = grid.x - np.float32(limb.x_mm) - np.float32(limb.slope[0]) * (grid.z - np.float32(middle))
    y = grid.y - np.float32(limb.y_mm) - np.float32(limb.slope[1]) * (grid.z - np.float32(middle))
    return x, y, radius


def _flesh(hu: FloatArray, grid: Grid, anatomy: Anatomy, body: FloatArray, rng: np.random.Generator) -> None:
    """Fat under the skin, muscles with fat between them."""
    t = anatomy.tissue
    mottle, planes = smooth_noise(rng, grid, 24.0), smooth_noise(rng, grid, 34.0)
    fat_mm = np.float32(max(2.0, 0.5 * anatomy.wall.fat_mm)) * (1 + 0.3 * smooth_noise(rng, grid, 80.0))
    hu += grid.cover(body) * (np.float32(t.fat) + 8 * mottle - hu)
    between = np.clip(1.5 - np.abs(planes) * 5, 0, 1) * np.float32(rng.uniform(0, 1))
    muscle = np.float32(t.muscle) + np.float32(t.variation_hu) * mottle
    muscle = muscle + between * (np.float32(t.fat) - muscle)
    hu += grid.cover(body + fat_mm) * (muscle - hu)


def _bones(hu: FloatArray, grid: Grid, anatomy: Anatomy, limb: Limb) -> None:
    x, y, radius = _course(grid, limb)
    for across, deep, bone_mm in limb.bones_mm:
        shaft = np.hypot(x - np.float32(across) * radius, y - np.float32(deep) * radius) - np.float32(bone_mm)
        hu += grid.cover(shaft) * (np.float32(1.2 * anatomy.tissue.cortex) - hu)
        hu += grid.cover(shaft + 5) * (np.float32(anatomy.tissue.marrow - 150) - hu)


def _lump(hu: FloatArray, grid: Grid, body: FloatArray, d: Draw, value: float, size: float) -> None:
    """A tumour, a full bladder, a loop of bowel: an ellipsoid within the body."""
    index = tuple(int(d.rng.integers(n)) for n in grid.shape)
    centre = (float(grid.x[index]), float(grid.y[index]), float(grid.z[index]))
    found = ellipsoid(grid, centre, [size * d.between(0.6, 1.3) for _ in range(3)])
    if found is not None:
        box, distance = found
        hu[box] += grid.cover(np.maximum(distance, body[box] + 5)) * (np.float32(value) - hu[box])


def _foam(hu: FloatArray, grid: Grid, body: FloatArray, d: Draw) -> None:
    """Cushions and pads: as light as lung, beside the body."""
    for _ in range(d.count(0.8)):
        size = d.log_between(25, 130)
        _lump_of_foam = np.abs(smooth_noise(d.rng, grid, size)) - np.float32(d.between(0.3, 1.0))
        share = np.clip(-_lump_of_foam * 4, 0, 1) * (body > d.between(1, 12))
        hu += share * (np.float32(d.between(-985, -780)) - hu)


def _wings(hu: FloatArray, grid: Grid, anatomy: Anatomy) -> None:
    """The iliac wings and the sacrum."""
    middle = np.float32(0.5 * (float(grid.z.min()) + float(grid.z.max())))
    x = np.abs(grid.x) - np.float32(75) - np.float32(0.25) * (grid.z - middle)
    wing = np.maximum(np.abs(x + np.float32(0.4) * grid.y) - 6, np.hypot(grid.y + 10, grid.z - middle) - 85)
    sacrum = np.maximum(np.hypot(grid.x, grid.y + 70) - 26, middle - 40 - grid.z)
    for shape in (wing, sacrum):
        hu += grid.cover(shape) * (np.float32(anatomy.tissue.cortex) - hu)
        hu += grid.cover(shape + 3) * (np.float32(anatomy.tissue.marrow) - hu)


def _skull(hu: FloatArray, grid: Grid, anatomy: Anatomy, body: FloatArray, d: Draw) -> None:
    """Vault and brain, with air in the sinuses and the throat."""
    hu += grid.cover(body + 7) * (np.float32(1.3 * anatomy.tissue.cortex) - hu)
    hu += grid.cover(body + 14) * (np.float32(35) + 4 * smooth_noise(d.rng, grid, 20.0) - hu)
    cells = smooth_noise(d.rng, grid, d.between(14, 30))
    face = np.clip((grid.y - 20) / 20, 0, 1) * np.clip(-body / 20 - 0.5, 0, 1)
    hu += np.clip(3 * (cells - 0.6), 0, 1) * face * (AIR_HU - hu)
    throat = np.hypot(grid.x, grid.y - 12) - np.float32(d.between(6, 14))
    hu += grid.cover(throat) * (AIR_HU - hu)
