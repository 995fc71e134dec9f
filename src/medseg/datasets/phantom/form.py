"""From an anatomy to surfaces on the grid: chest wall, diaphragm, mediastinum, lungs, as signed distances in mm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medseg.case import FloatArray
from medseg.datasets.phantom.anatomy import Anatomy, Chest, Point
from medseg.datasets.phantom.shapes import Grid, capsule, ellipsoid, oval, smooth_max, smooth_min, tube


@dataclass
class Form:
    """Signed distances (X, Y, Z) in mm, negative inside.

    Attributes
    ----------
    cage
        The inner chest and abdominal wall.
    diaphragm
        Height above the diaphragm, negative below.
    mediastinum
        Everything between the lungs; tubes are added to it as they are laid.
    spine_y
        The depth of the vertebral bodies' centres.
    heart
        The heart with its great vessels' roots.
    lungs
        Both lungs, once `close_lungs` has run.
    effusion
        Negative where air, positive where fluid fills the chest; None without fluid.
    free_air
        The air between a collapsed lung and the wall; None without any.
    """

    cage: FloatArray
    diaphragm: FloatArray
    mediastinum: FloatArray
    spine_y: FloatArray
    heart: FloatArray
    lungs: FloatArray
    effusion: FloatArray | None = None
    free_air: FloatArray | None = None


def build_form(grid: Grid, anatomy: Anatomy) -> Form:
    """Lay out the chest without its vessels."""
    chest = anatomy.chest
    back, front, width = _profiles(grid.z, chest)
    half, centre = (front - back) * np.float32(0.5), (front + back) * np.float32(0.5)
    midline = np.exp(-np.square(grid.x / 32)) * np.clip((centre - grid.y) / half, 0, 1)
    depth = grid.y - centre - np.float32(chest.gutter_mm) * midline
    cage = oval(grid.x, depth, width, half, chest.squareness)
    heart = _heart(grid, anatomy)
    form = Form(
        cage,
        _diaphragm(grid, chest),
        _slab(grid, anatomy),
        back + np.float32(anatomy.wall.vertebra_depth_mm),
        heart,
        cage,
    )
    form.mediastinum = smooth_min(form.mediastinum, heart, 10.0)
    for centre_mm, radii in _fat_pads(anatomy):
        _add(form, ellipsoid(grid, centre_mm, radii), 6.0)
    return form


def back_mm(z: FloatArray | float, chest: Chest) -> FloatArray | float:
    """Depth y of the posterior chest wall at height z."""
    bend = np.square((z / chest.height_mm + np.float32(0.55)) * 2)
    return np.minimum(bend, 1.6) * chest.kyphosis_mm - chest.half_depth_mm


def _profiles(z: FloatArray, chest: Chest) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Back, front and half width of the chest at each height: narrow at the apex, full from mid-chest down."""
    fade = np.exp(np.minimum(z, 25) / np.float32(0.27 * chest.height_mm))
    back = np.asarray(back_mm(z, chest), np.float32)
    front = np.float32(chest.half_depth_mm) * (1 - np.float32(chest.front_slope) * fade)
    width = np.float32(chest.half_width_mm) * (1 - np.float32(1 - chest.apex_width) * fade)
    front = np.maximum(front, back + 50)
    return back, front, np.maximum(width, 30)


def _diaphragm(grid: Grid, chest: Chest) -> FloatArray:
    a, b = chest.half_width_mm, chest.half_depth_mm
    peak = chest.dome_y * b
    left = 1 / (1 + np.exp(np.clip(grid.x / 12, -20, 20)))
    behind = np.clip((peak - grid.y) / np.float32(peak + b), 0, 1.2)
    before = np.clip((grid.y - peak) / np.float32(b - peak), 0, 1.2)
    lateral = np.clip((np.abs(grid.x) - np.float32(0.4 * a)) / np.float32(0.6 * a), 0, 1.2)
    height = -chest.height_mm - np.float32(chest.left_dome_lower_mm) * left
    height = height - np.float32(chest.drop_posterior_mm) * behind * np.sqrt(behind)
    height = height - np.float32(chest.drop_anterior_mm) * before * before
    height = height - np.float32(chest.drop_lateral_mm) * lateral * lateral
    return (grid.z - height) * np.float32(0.8)


def _slab(grid: Grid, anatomy: Anatomy) -> FloatArray:
    """The septum between the lungs: thick in the middle and at the top, thin behind the breast bone."""
    m, chest = anatomy.mediastinum, anatomy.chest
    b = chest.half_depth_mm
    bulge = np.exp(-np.square((grid.y + np.float32(0.25 * b)) / np.float32(0.36 * b)))
    upper = np.exp(np.minimum(grid.z, 20) / np.float32(0.2 * chest.height_mm))
    half = m.front_mm + np.float32(m.middle_mm - m.front_mm) * bulge + np.float32(10) * upper
    half = half + np.float32(m.wedge_mm) * np.square(np.clip(grid.y / np.float32(b) - 0.45, 0, 1))
    aside = grid.x - parting_mm(grid, anatomy)
    if m.right_recess:
        recess = _right_recess(grid, chest)
        over = np.float32(m.recess_over_mm) * recess
        right = (half + over) * (1 - np.float32(m.right_recess) * recess * np.clip(aside / 8, 0, 1))
        half = np.where(aside > 0, right, np.maximum(half - over, np.float32(3)))
    return np.abs(aside) - half


def _right_recess(grid: Grid, chest: Chest) -> FloatArray:
    """Where the right lung reaches in to the trachea, and behind it in front of the spine to the oesophagus: 0 to 1."""
    across = (grid.y + np.float32(0.37 * chest.half_depth_mm)) / np.float32(0.34 * chest.half_depth_mm)
    along = grid.z / np.float32(0.45 * chest.height_mm) + 1
    return np.exp(-np.square(np.square(across)) - np.square(np.square(along)))


def parting_mm(grid: Grid, anatomy: Anatomy) -> FloatArray:
    """The x that parts left from right lung at each voxel (X, Y, Z): the midline, or left of it behind the trachea."""
    over = np.float32(anatomy.mediastinum.recess_over_mm) * _right_recess(grid, anatomy.chest)
    return np.float32(midline_mm(anatomy)) - over


def midline_mm(anatomy: Anatomy) -> float:
    """The x that parts left from right in front of the spine."""
    return anatomy.chest.volume_asymmetry * anatomy.chest.half_width_mm * 0.5 - 3.0


def heart_centre(anatomy: Anatomy) -> Point:
    """The middle of the heart in anatomical mm."""
    m, chest = anatomy.mediastinum, anatomy.chest
    width = m.heart_ratio * chest.half_width_mm
    lift = 0.72 * width * m.heart_height
    return (
        midline_mm(anatomy) - 0.3 * width,
        0.22 * chest.half_depth_mm,
        -chest.height_mm + lift - 0.5 * chest.left_dome_lower_mm,
    )


def _heart(grid: Grid, anatomy: Anatomy) -> FloatArray:
    m = anatomy.mediastinum
    width = m.heart_ratio * anatomy.chest.half_width_mm
    x, y, z = heart_centre(anatomy)
    turn = _turn(m.heart_yaw_deg, m.heart_tilt_deg)
    heart = np.full(grid.shape, 60, np.float32)
    radii = (1.04 * width, m.heart_depth * width, m.heart_height * width * 0.95)
    parts = (
        ((x, y, z), radii, turn),
        ((x + 0.62 * width, y - 2, z + 4), (0.56 * width, 0.62 * width, 0.72 * width), np.eye(3)),
        ((x + 0.3 * width, y - 0.5 * width, z + 0.25 * width), (0.5 * width, 0.34 * width, 0.4 * width), np.eye(3)),
    )
    for centre, size, matrix in parts:
        found = ellipsoid(grid, centre, size, turn=matrix, reach_mm=25)
        if found is not None:
            box, distance = found
            heart[box] = smooth_min(heart[box], distance, 12.0)
    return heart


def _turn(yaw_deg: float, tilt_deg: float) -> FloatArray:
    """(3, 3) anatomical offsets to the heart's axes: the first axis to the apex (left, front, down)."""
    yaw, tilt = np.radians(yaw_deg), np.radians(tilt_deg)
    axis = np.array([-np.cos(yaw) * np.cos(tilt), np.sin(yaw) * np.cos(tilt), -np.sin(tilt)])
    side = np.cross([0.0, 0.0, 1.0], axis)
    side /= np.linalg.norm(side)
    return np.stack([axis, side, np.cross(axis, side)])


def _fat_pads(anatomy: Anatomy) -> list[tuple[Point, Point]]:
    size = anatomy.mediastinum.fat_pad_mm
    if size < 6:
        return []
    x, _, z = heart_centre(anatomy)
    width, b = anatomy.mediastinum.heart_ratio * anatomy.chest.half_width_mm, anatomy.chest.half_depth_mm
    radii = (size, 0.8 * size, 0.8 * size)
    low = z - 0.5 * width
    return [((x - 0.85 * width, 0.6 * b, low), radii), ((x + 1.05 * width, 0.6 * b, low), radii)]


def _add(form: Form, found: tuple[tuple[slice, slice, slice], FloatArray] | None, round_mm: float) -> None:
    if found is not None:
        box, distance = found
        form.mediastinum[box] = smooth_min(form.mediastinum[box], distance, round_mm)


def add_tube(form: Form, grid: Grid, points: FloatArray, radii_mm: FloatArray, *, wall_mm: float) -> None:
    """Make a tube (scanner points (N, 3), radii (N,)) part of the mediastinum."""
    for start, end, radius in zip(points[:-1], points[1:], radii_mm, strict=False):
        found = capsule(grid, start, end, float(radius) + wall_mm, reach_mm=8)
        if found is not None:
            box, distance = found
            form.mediastinum[box] = np.minimum(form.mediastinum[box], distance)


def close_lungs(form: Form, grid: Grid, anatomy: Anatomy) -> None:
    """Lungs = inside the chest, under the apex, above the diaphragm, outside mediastinum and spine."""
    chest = anatomy.chest
    a, b = chest.half_width_mm, chest.half_depth_mm
    wide, deep = np.float32(0.34 * a), np.float32(0.6 * b)
    apex_y = np.float32(0.5 * (back_mm(0.0, chest) + 0.1 * b))
    across = (np.abs(grid.x) - np.float32(chest.apex_x * a)) / wide
    away = np.square(across) + np.square((grid.y - apex_y) / deep)
    cap = grid.z + np.float32(chest.apex_slope) * wide * (np.sqrt(1 + away) - 1)
    cap = cap * np.float32(1 / np.hypot(1.0, chest.apex_slope))
    hole = np.float32(anatomy.mediastinum.margin_mm) - form.mediastinum
    fat_mm = 4 * (1 - anatomy.mediastinum.right_recess)
    spine = np.float32(anatomy.wall.vertebra_mm + fat_mm) - np.hypot(grid.x, np.maximum(grid.y - form.spine_y, 0))
    lungs = smooth_max(form.cage, cap, 14.0)
    lungs = smooth_max(lungs, -form.diaphragm, 6.0)
    lungs = smooth_max(lungs, spine, 8.0)
    form.lungs = smooth_max(lungs, hole, 4.0)


def curve(grid: Grid, points: list[Point], steps: int) -> FloatArray:
    """A smooth curve through anatomical points, in scanner mm (steps + 1, 3)."""
    return grid.to_scanner(tube(points, steps))
