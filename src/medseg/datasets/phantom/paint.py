"""Painting HU: body wall, abdomen, bones, mediastinum, lungs, in the order in which later covers earlier."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medseg.case import FloatArray
from medseg.datasets.phantom.anatomy import Anatomy, Blob
from medseg.datasets.phantom.form import Form, add_tube, curve
from medseg.datasets.phantom.shapes import Box, Grid, Scalar, capsule, ellipsoid, smooth_noise
from medseg.datasets.phantom.vessels import Branches, Tube


@dataclass
class Canvas:
    """HU (X, Y, Z) being painted, with the grid, the patient and his surfaces.

    `inside` is the share of each voxel inside the chest and above the diaphragm, `lung` inside the lungs.
    """

    hu: FloatArray
    grid: Grid
    anatomy: Anatomy
    form: Form
    body: FloatArray
    lung: FloatArray

    def blend(self, share: FloatArray, hu: FloatArray | Scalar, box: Box | None = None) -> None:
        """Replace this share of every voxel by tissue of this HU."""
        part = self.hu[box] if box is not None else self.hu
        part += share * (hu - part)

    def texture(self, cell_mm: float, key: int) -> FloatArray:
        """Smooth noise that belongs to this patient."""
        return smooth_noise(np.random.default_rng([self.anatomy.texture_seed, key]), self.grid, cell_mm)


def soft_tissue(canvas: Canvas) -> None:
    """Skin and fat, muscle under it with fat between, fat inside the chest."""
    a, g = canvas.anatomy, canvas.grid
    t, w = a.tissue, a.wall
    mottle = canvas.texture(22.0, 1)
    canvas.blend(g.cover(canvas.body), np.float32(t.fat) + 8 * mottle)
    fat_mm = np.float32(w.fat_mm) * (1 + 0.25 * canvas.texture(90.0, 2))
    muscle = canvas.body + np.maximum(fat_mm, 2)
    mixed = np.float32(t.muscle) + np.float32(t.variation_hu) * mottle
    mixed = mixed - np.float32(110) * np.clip(canvas.texture(26.0, 3) - 0.9, 0, 1)
    canvas.blend(g.cover(muscle), mixed)
    canvas.blend(g.cover(np.abs(canvas.body + 1) - 1.2), 0.0)
    wall = canvas.form.cage - 3
    above = np.clip((g.z + 30) / 25, 0, 1)
    inner = np.float32(t.fat + 12) + np.float32(t.muscle - t.fat - 12) * above + 10 * mottle
    canvas.blend(g.cover(wall), inner)


def breasts(canvas: Canvas) -> None:
    """Glandular tissue in the breasts; their fat is part of the body."""
    a = canvas.anatomy
    for centre, radii in breast_shapes(a):
        found = ellipsoid(canvas.grid, centre, [0.55 * r for r in radii])
        if found is not None:
            box, distance = found
            share = canvas.grid.cover(distance) * np.float32(a.wall.breast_gland)
            canvas.blend(share * (canvas.form.cage[box] > 12), 20.0, box)


def breast_shapes(anatomy: Anatomy) -> list[tuple[list[float], list[float]]]:
    """Centre and radii of both breasts, none when the patient has none."""
    c, size = anatomy.chest, anatomy.wall.breast_mm
    if size <= 0:
        return []
    centre = [0.58 * c.half_width_mm, 0.86 * c.half_depth_mm, -0.75 * c.height_mm]
    radii = [0.5 * c.half_width_mm, 0.2 * c.half_depth_mm + size, 0.3 * c.height_mm]
    return [([side * centre[0], centre[1], centre[2]], radii) for side in (-1, 1)]


def abdomen(canvas: Canvas, gravity: float) -> None:
    """Diaphragm, liver, stomach, spleen, bowel and their gas, under the diaphragm and inside the wall."""
    a, g, f = canvas.anatomy, canvas.grid, canvas.form
    t = a.tissue
    below = np.maximum(f.diaphragm, f.cage - 1)
    canvas.blend(g.cover(below), np.float32(t.muscle))
    room = np.maximum(f.diaphragm + 3, f.cage + 3)
    lumps = canvas.texture(31.0, 4) + 0.8 * canvas.texture(19.0, 13)
    filling = np.where(lumps > 2.4 * a.abdomen.fat - 1.2, np.float32(38), np.float32(t.fat))
    canvas.blend(g.cover(room), filling)
    for blob in a.abdomen.bowel:
        _inside(canvas, blob, room, blob.hu)
    liver = np.maximum(np.float32(a.abdomen.liver_left_mm) - g.x - 0.25 * f.diaphragm, room)
    liver = np.maximum(liver, -g.z - np.float32(a.chest.height_mm + a.abdomen.liver_depth_mm) - 0.3 * g.x)
    canvas.blend(g.cover(liver), np.float32(t.liver) + 5 * canvas.texture(18.0, 5))
    _inside(canvas, a.abdomen.spleen, room, t.liver * 0.95)
    _inside(canvas, a.abdomen.stomach, room, a.abdomen.stomach.hu)
    _stomach_gas(canvas, room, gravity)
    for blob in a.abdomen.gas:
        wall = Blob(blob.centre, (blob.radii_mm[0] + 3, blob.radii_mm[1] + 3, blob.radii_mm[2] + 3), 30)
        _inside(canvas, wall, room, 30.0)
        _inside(canvas, blob, room + 2.5, blob.hu)


def _inside(canvas: Canvas, blob: Blob, room: FloatArray, hu: Scalar) -> None:
    found = ellipsoid(canvas.grid, blob.centre, blob.radii_mm)
    if found is not None:
        box, distance = found
        canvas.blend(canvas.grid.cover(np.maximum(distance, room[box])), hu, box)


def _stomach_gas(canvas: Canvas, room: FloatArray, gravity: float) -> None:
    """Gas rises: above a level surface, on the side away from the table."""
    stomach, share = canvas.anatomy.abdomen.stomach, canvas.anatomy.abdomen.stomach_gas
    found = ellipsoid(canvas.grid, stomach.centre, [r - 4 for r in stomach.radii_mm])
    if share <= 0 or found is None:
        return
    box, distance = found
    _, up, _ = canvas.grid.offsets(box, canvas.grid.to_scanner(np.array([stomach.centre]))[0])
    level = np.float32((1 - 2 * share) * stomach.radii_mm[1])
    gas = np.maximum(np.maximum(distance, level + gravity * up), room[box] + 3)
    canvas.blend(canvas.grid.cover(gas), -985.0, box)


def lungs(canvas: Canvas, gravity: float) -> None:
    """Parenchyma: denser towards the table, mottled, emphysematous or with opacities where drawn."""
    a, g = canvas.anatomy, canvas.grid
    ill = a.lungs
    hang = np.clip(gravity * g.y / np.float32(a.chest.half_depth_mm), -1, 1)
    hu = np.float32(ill.hu) + np.float32(0.5 * ill.gradient_hu) * hang
    hu = hu + np.float32(ill.texture_hu) * (0.6 * canvas.texture(9.0, 6) + 0.5 * canvas.texture(45.0, 7))
    deep = np.clip(-canvas.form.lungs / 10 - 0.3, 0, 1)
    hu = hu + np.float32(ill.speckle_hu) * deep * np.clip(canvas.texture(5.5, 14) - 1.1, 0, 1.5)
    hu = hu + np.float32(60) * np.clip(1 + canvas.form.lungs / 4, 0, 1) * np.float32(ill.gradient_hu / 110)
    if ill.emphysema > 0:
        holes = np.clip(canvas.texture(20.0, 8) + np.float32(2 * ill.emphysema - 1.6), 0, 1)
        hu = hu + holes * (np.float32(-985) - hu)
    if ill.fibrosis_hu > 0:
        rim = np.clip(1 + canvas.form.lungs / 18, 0, 1) * np.clip(0.4 - g.z / np.float32(a.chest.height_mm), 0, 1)
        hu = hu + np.float32(ill.fibrosis_hu) * rim * (0.4 + canvas.texture(5.0, 12))
    for blob in ill.opacities:
        _opacity(canvas, hu, blob)
    canvas.blend(canvas.lung, np.clip(hu, -1000, 80))


def _opacity(canvas: Canvas, hu: FloatArray, blob: Blob) -> None:
    found = ellipsoid(canvas.grid, blob.centre, blob.radii_mm, reach_mm=15)
    if found is None:
        return
    box, distance = found
    edge = np.float32(0.3 * min(blob.radii_mm) + 3)
    rough = canvas.texture(13.0, 9)[box]
    share = np.clip(0.5 - (distance + 0.5 * edge * rough) / edge, 0, 1) * np.float32(blob.strength)
    hu[box] += share * (np.float32(blob.hu) - hu[box])


def nodules(canvas: Canvas) -> None:
    """Round lesions inside the lungs."""
    for blob in canvas.anatomy.lungs.nodules:
        found = ellipsoid(canvas.grid, blob.centre, blob.radii_mm)
        if found is not None:
            box, distance = found
            canvas.blend(canvas.grid.cover(distance) * canvas.lung[box], blob.hu, box)


def metal(canvas: Canvas) -> None:
    """Implants, and in the slices that hold them streaks away from them."""
    g = canvas.grid
    for number, blob in enumerate(canvas.anatomy.wall.metal):
        found = ellipsoid(g, blob.centre, blob.radii_mm)
        if found is None:
            continue
        box, distance = found
        canvas.blend(g.cover(distance), blob.hu, box)
        x, y, _ = g.offsets(g.whole, g.to_scanner(np.array([blob.centre]))[0])
        rng = np.random.default_rng([canvas.anatomy.texture_seed, 200, number])
        waves = rng.normal(size=(8, 2))
        turn = np.arctan2(y, x)[..., 0]
        star = sum(waves[k, 0] * np.cos((2 + 2 * k) * turn + waves[k, 1] * 3) for k in range(8))
        fade = np.exp(-np.hypot(x, y)[..., 0] / np.float32(45))
        streak = np.asarray(90 * blob.strength * star * fade, np.float32)
        canvas.hu[:, :, box[2]] += streak[:, :, None]


@dataclass(frozen=True)
class Laid:
    """A tube in its place: scanner mm (N + 1, 3), radius of each piece (N,)."""

    name: str
    course: FloatArray
    radii_mm: FloatArray
    wall_mm: float


def lay_tube(canvas: Canvas, tube: Tube) -> Laid:
    """Find the course of a tube and make it part of the mediastinum: no lung there."""
    course = curve(canvas.grid, tube.points, tube.steps)
    radii = np.linspace(tube.start_mm, tube.end_mm, len(course) - 1)
    add_tube(canvas.form, canvas.grid, course, radii, wall_mm=tube.wall_mm)
    return Laid(tube.name, course, radii, tube.wall_mm)


def draw_tube(canvas: Canvas, course: FloatArray, radii_mm: FloatArray, hu: float) -> None:
    """Fill a tube; its pieces overlap, which partial volume forgives."""
    for start, end, radius in zip(course[:-1], course[1:], radii_mm, strict=True):
        found = capsule(canvas.grid, start, end, float(radius), reach_mm=canvas.grid.softness_mm)
        if found is not None:
            box, distance = found
            canvas.blend(canvas.grid.cover(distance), hu, box)


def draw_branches(canvas: Canvas, tree: Branches, hu: float, *, lumen_hu: float | None = None) -> None:
    """Vessels (or bronchi: wall and lumen) inside the lungs; pieces thinner than a voxel count by their area."""
    grid, soft = canvas.grid, canvas.grid.softness_mm
    start, end = grid.to_scanner(tree.start), grid.to_scanner(tree.end)
    for a, b, radius in zip(start, end, tree.radius_mm, strict=True):
        found = capsule(grid, a, b, float(radius), reach_mm=0.5 * soft)
        if found is None:
            continue
        box, distance = found
        lung = canvas.lung[box]
        weight = np.float32(min(1.0, (2 * radius / soft) ** 1.2)) * lung
        canvas.blend(grid.cover(distance) * weight, hu, box)
        if lumen_hu is not None:
            canvas.blend(grid.cover(distance + max(1.0, 0.3 * radius)) * weight, lumen_hu, box)
