"""Bones and what surrounds the patient: ribs, spine, breast bone, shoulders, arms; table, blankets."""

from __future__ import annotations

import numpy as np

from medseg.case import FloatArray
from medseg.datasets.phantom.anatomy import Anatomy, Chest, Wall
from medseg.datasets.phantom.form import back_mm, curve
from medseg.datasets.phantom.paint import Canvas, breast_shapes, draw_tube
from medseg.datasets.phantom.scan import Scan
from medseg.datasets.phantom.shapes import Grid, capsule, ellipsoid, oval, smooth_min, smooth_noise


def body_surface(grid: Grid, anatomy: Anatomy) -> FloatArray:
    """Distance (X, Y, Z) to the skin: trunk, neck, shoulders, arms, breasts."""
    c, w = anatomy.chest, anatomy.wall
    trunk = 1 / (1 + np.exp(np.clip((grid.z - 22) / 14, -15, 15)))
    back = np.asarray(back_mm(np.clip(grid.z, -2 * c.height_mm, 20), c)) - np.float32(w.back_mm + 0.35 * w.fat_mm)
    fade = np.exp(np.minimum(grid.z, 10) / np.float32(0.27 * c.height_mm))
    front = np.float32(c.half_depth_mm) * (1 - np.float32(0.75 * c.front_slope) * fade)
    front = front + np.float32(8 + 0.5 * w.muscle_mm + 0.7 * w.fat_mm)
    shoulders = c.half_width_mm + 12 + w.muscle_mm + w.fat_mm
    width = np.float32(w.neck_mm) + np.float32(shoulders - w.neck_mm) * trunk
    body = oval(grid.x, grid.y - 0.5 * (front + back), width, 0.5 * (front - back), 0.35 + 0.4 * c.squareness)
    for start, end, radius in arm_courses(anatomy):
        ends = grid.to_scanner(np.array([start, end]))
        found = capsule(grid, ends[0], ends[1], radius, reach_mm=25)
        if found is not None:
            box, distance = found
            body[box] = smooth_min(body[box], distance, 18.0)
    for centre, radii in breast_shapes(anatomy):
        found = ellipsoid(grid, centre, radii, reach_mm=25)
        if found is not None:
            box, distance = found
            body[box] = smooth_min(body[box], distance, 15.0)
    return body


def arm_courses(anatomy: Anatomy) -> list[tuple[list[float], list[float], float]]:
    """Upper arms from the shoulder: beside the head, or along the trunk."""
    c, w = anatomy.chest, anatomy.wall
    thick = 36 + 0.3 * w.fat_mm
    shoulder = c.half_width_mm + 14 + 0.5 * w.muscle_mm
    arms = []
    for side in (-1, 1):
        up = w.arms == "up" or (w.arms == "one" and side == 1)
        y = -0.45 * c.half_depth_mm
        if up:
            arms.append(([side * shoulder * 0.85, y, -35], [side * (shoulder + 25), y + 10, 220], thick + 6))
        else:
            start = [side * (shoulder + 8), y, -20]
            arms.append((start, [side * (shoulder + 0.35 * w.fat_mm + 62), y, -330], thick))
    return arms


def ribs(canvas: Canvas) -> None:
    """Hoops in the chest wall, falling to the front; cartilage near the breast bone."""
    a, g, cage = canvas.anatomy, canvas.grid, canvas.form.cage
    w, t = a.wall, a.tissue
    turn = (g.z + np.float32(w.rib_slope) * g.y) / np.float32(w.rib_pitch_mm) + np.float32(w.rib_phase)
    across = (np.abs(turn - np.floor(turn) - 0.5)) * np.float32(w.rib_pitch_mm)
    depth = cage - np.float32(2.0 + 0.55 * w.rib_radius_mm)
    rib = np.hypot(across * np.float32(0.55), depth) - np.float32(0.6 * w.rib_radius_mm)
    top = g.z + np.float32(w.rib_slope) * (g.y + np.float32(0.6 * a.chest.half_depth_mm)) + 4
    rib = np.maximum(rib, top)
    rib = np.maximum(rib, -top - np.float32(1.4 * a.chest.height_mm))
    rib = np.maximum(rib, 13 - np.abs(g.x))
    front = np.clip((g.y - 0.55 * np.float32(a.chest.half_depth_mm)) / 8, 0, 1)
    shell = np.float32(t.cortex) + front * np.float32(t.cartilage - t.cortex)
    canvas.blend(g.cover(rib), shell)
    canvas.blend(g.cover(rib + 2.0), np.float32(t.marrow))


def spine(canvas: Canvas) -> None:
    """Vertebral bodies and discs, canal, arches and spinous processes."""
    a, g, f = canvas.anatomy, canvas.grid, canvas.form
    w, t = a.wall, a.tissue
    y = g.y - f.spine_y
    turn = g.z / np.float32(w.rib_pitch_mm) + np.float32(w.rib_phase + 0.3)
    disc = np.abs(turn - np.floor(turn) - 0.5) * np.float32(w.rib_pitch_mm) < 3.0
    r = np.float32(w.vertebra_mm)
    around = np.hypot(g.x, y * np.float32(1.15))
    arch = np.minimum(np.hypot(g.x, y + r + 9) - 16, np.maximum(np.abs(g.x) - 5, np.abs(y + r + 26) - 14))
    wings = np.maximum(np.maximum(np.abs(g.x) - 34, np.abs(y + r + 9 + 0.25 * np.abs(g.x)) - 6), ~disc * 8.0 - 4)
    solid = np.float32(0.7 * t.cortex + 0.3 * t.marrow)
    canvas.blend(g.cover(wings), solid)
    canvas.blend(g.cover(arch), np.where(disc, np.float32(t.muscle), solid))
    canvas.blend(g.cover(around - r), np.where(disc, np.float32(85), np.float32(t.cortex * 0.8)))
    marrow = np.float32(t.marrow) * (1 + 0.15 * canvas.texture(12.0, 20))
    canvas.blend(g.cover(around - r + 3) * ~disc, marrow)
    canvas.blend(g.cover(np.hypot(g.x, y + r + 8) - 8), 25.0)


def breast_bone(canvas: Canvas) -> None:
    """Sternum in the front midline, collar bones to the shoulders, shoulder blades, upper arms."""
    a, g = canvas.anatomy, canvas.grid
    t, c = a.tissue, a.chest
    plate = np.maximum(np.abs(g.x) - 17, np.abs(canvas.form.cage - 7) - 6)
    plate = np.maximum(plate, np.maximum(-g.y + 5, np.abs(g.z + np.float32(0.42 * c.height_mm)) - 0.36 * c.height_mm))
    canvas.blend(g.cover(plate), np.float32(t.cortex * 0.7))
    canvas.blend(g.cover(plate + 2.5), np.float32(t.marrow))
    edge = c.half_depth_mm * (1 - 0.75 * c.front_slope * 0.85) + 4
    for side in (-1, 1):
        ends = [
            (side * 22.0, edge, -10.0),
            (side * 70.0, edge + 4, 8.0),
            (side * (c.half_width_mm + 5), -0.35 * c.half_depth_mm, 14.0 if a.wall.arms != "up" else 32.0),
        ]
        course = curve(g, ends, 8)
        draw_tube(canvas, course, np.full(8, 6.5), t.cortex)
        draw_tube(canvas, course, np.full(8, 3.5), t.marrow)
    for start, end, _ in arm_courses(a):
        course = curve(g, [tuple_point(start), tuple_point(end)], 3)
        draw_tube(canvas, course, np.array([19.0, 12, 12]), t.cortex)
        draw_tube(canvas, course, np.array([15.0, 7, 7]), t.marrow)
    if a.wall.scapula:
        _shoulder_blades(canvas, a.wall, c)


def tuple_point(p: list[float]) -> tuple[float, float, float]:
    """Three floats."""
    return p[0], p[1], p[2]


def _shoulder_blades(canvas: Canvas, w: Wall, c: Chest) -> None:
    g, t = canvas.grid, canvas.anatomy.tissue
    depth = np.abs(canvas.form.cage - np.float32(16 + 0.5 * w.muscle_mm)) - 2.6
    x = np.abs(g.x)
    inner, outer = np.float32(0.5 * c.half_width_mm), np.float32(1.12 * c.half_width_mm)
    area = np.maximum(np.maximum(inner - x, x - outer), g.y + np.float32(0.12 * c.half_depth_mm))
    middle = np.float32(-0.24 * c.height_mm)
    area = np.maximum(area, np.abs(g.z - middle) - np.float32(0.3 * c.height_mm))
    blade = np.maximum(depth, area)
    canvas.blend(g.cover(blade) * (canvas.body < -3), np.float32(t.cortex))


def table(hu: FloatArray, grid: Grid, anatomy: Anatomy, scan: Scan, body: FloatArray) -> None:
    """The table under the patient and sheets over him, painted into the air."""
    side = 1.0 if scan.prone else -1.0
    y = grid.axes[1].astype(np.float32)[None, :, None] * side
    x = grid.axes[0].astype(np.float32)[:, None, None]
    floor = np.float32(_lowest(grid, body, side) + scan.table_gap_mm)
    rng = np.random.default_rng([scan.seed, 3])
    if scan.table != "none":
        arc = {"flat": 0.0, "curved": 1 / 900, "cradle": 1 / 500}[scan.table]
        height = y - floor + np.float32(arc) * np.square(x)
        width = np.abs(x) - np.float32(rng.uniform(170, 260))
        plate, thick = np.float32(scan.table_hu), np.float32(rng.uniform(1.0, 3.5))
        core = np.float32(rng.uniform(20, 70))
        hu += grid.cover(np.maximum(height - core, np.maximum(-height, width))) * (
            np.float32(rng.uniform(-990, -850)) - hu
        )
        for level in (0.0, core):
            hu += grid.cover(np.maximum(np.abs(height - level) - thick, width)) * (plate - hu)
        if scan.table_gap_mm > 8:
            pad = np.maximum(np.abs(height + 6) - 4, width + 20)
            hu += grid.cover(pad) * (np.float32(rng.uniform(-980, -880)) - hu)
    for _ in range(scan.sheets):
        _sheet(hu, grid, body, rng)


def _lowest(grid: Grid, body: FloatArray, side: float) -> float:
    """How far the back reaches towards the table, robust to arms."""
    middle = np.abs(grid.axes[0]) < 60
    inside = (body[middle] < 0).mean(axis=(0, 2)) > 0.02
    reach = grid.axes[1][inside] * side
    return float(reach.max()) if reach.size else 120.0


def _sheet(hu: FloatArray, grid: Grid, body: FloatArray, rng: np.random.Generator) -> None:
    """Clothes or a blanket: a thin crumpled layer off the skin, present in patches."""
    crumple = smooth_noise(rng, grid, 45.0)
    layer = np.abs(body - np.float32(rng.uniform(3, 25)) - np.float32(rng.uniform(2, 14)) * crumple)
    share = grid.cover(layer - np.float32(rng.uniform(0.3, 1.2))) * (body > 1.5) * np.clip(crumple + 1.0, 0, 1)
    hu += share * (np.float32(rng.uniform(-940, -550)) - hu)
