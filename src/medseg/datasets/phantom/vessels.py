"""Tubes: great vessels and airways along fixed courses, and random trees that branch from each hilum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medseg.case import FloatArray
from medseg.datasets.phantom.anatomy import Anatomy, Point
from medseg.datasets.phantom.form import back_mm, heart_centre, midline_mm


@dataclass(frozen=True)
class Tube:
    """A tube through anatomical points: what it holds, its radius at both ends, and its wall, in mm."""

    name: str
    points: list[Point]
    start_mm: float
    end_mm: float
    wall_mm: float = 0.0
    steps: int = 10


def hilum(anatomy: Anatomy, side: float) -> Point:
    """Where vessels and bronchus enter the lung; side -1 left, 1 right."""
    a, b = anatomy.chest.half_width_mm, anatomy.chest.half_depth_mm
    z = carina_mm(anatomy)[2] - (24 if side > 0 else 16)
    return midline_mm(anatomy) + side * (0.13 * a + 24), -0.14 * b, z


def carina_mm(anatomy: Anatomy) -> Point:
    """Where the trachea parts."""
    m, chest = anatomy.mediastinum, anatomy.chest
    return midline_mm(anatomy) + m.trachea_shift_mm, -m.trachea_depth * chest.half_depth_mm, -m.carina * chest.height_mm


def great_vessels(anatomy: Anatomy) -> list[Tube]:
    """Aorta, caval veins, pulmonary arteries and veins, the arch's branches."""
    b, mid, zc = anatomy.chest.half_depth_mm, midline_mm(anatomy), carina_mm(anatomy)[2]
    branches = [
        Tube("blood", [(mid + x * 0.6, y * b, zc + 25), (mid + x * 2, y * b - 4, 30)], 5, 4.5, 1, 6)
        for x, y in ((-16, -0.05), (-6, 0.15), (14, 0.05))
    ]
    return [_aorta(anatomy), *_caval_veins(anatomy), *_pulmonary_vessels(anatomy), *branches]


def _aorta(anatomy: Anatomy) -> Tube:
    chest, size = anatomy.chest, anatomy.mediastinum.aorta_mm
    b, mid, zc = chest.half_depth_mm, midline_mm(anatomy), carina_mm(anatomy)[2]
    _, hy, hz = heart_centre(anatomy)
    beside = float(back_mm(zc, chest)) + anatomy.wall.vertebra_depth_mm + 8
    rising = [(mid + 6, hy, hz + 25), (mid + 12, 0.25 * b, zc - 12), (mid + 2, 0.1 * b, zc + 26)]
    falling = [(mid - 21, beside, zc), (mid - 18, beside - 4, hz), (mid - 8, beside, -chest.height_mm - 60)]
    return Tube("blood", [*rising, (mid - 14, -0.25 * b, zc + 28), *falling], size * 1.1, size * 0.75, 1, 26)


def _caval_veins(anatomy: Anatomy) -> list[Tube]:
    b, mid, zc = anatomy.chest.half_depth_mm, midline_mm(anatomy), carina_mm(anatomy)[2]
    _, hy, hz = heart_centre(anatomy)
    upper = [(mid + 24, 0.1 * b, zc + 45), (mid + 25, 0.08 * b, zc), (mid + 26, hy - 5, hz)]
    lower = [(mid + 24, hy - 12, hz), (mid + 24, hy - 16, -anatomy.chest.height_mm - 60)]
    return [Tube("blood", upper, 8, 10, 1, 6), Tube("blood", lower, 11, 11, 1, 6)]


def _pulmonary_vessels(anatomy: Anatomy) -> list[Tube]:
    m, chest = anatomy.mediastinum, anatomy.chest
    b, mid, zc = chest.half_depth_mm, midline_mm(anatomy), carina_mm(anatomy)[2]
    hx, hy, hz = heart_centre(anatomy)
    right, left = hilum(anatomy, 1), hilum(anatomy, -1)
    trunk = (mid - 14, 0.16 * b, zc - 24)
    to_left = [(mid - 10, 0.3 * b, hz + 20), trunk, (left[0] + 8, -0.05 * b, zc - 10), left]
    to_right = [trunk, (mid + 12, -0.04 * b, zc - 20), right]
    atrium = (hx + 0.2 * m.heart_ratio * chest.half_width_mm, hy - 0.4 * b, hz + 12)
    veins = [Tube("blood", [atrium, (x, y + 6, z - 22)], 8, 5.5, 1, 4) for x, y, z in (right, left)]
    arteries = [
        Tube("blood", to_left, m.artery_mm * 1.2, m.artery_mm * 0.8, 1, 9),
        Tube("blood", to_right, m.artery_mm, m.artery_mm * 0.8, 1, 8),
    ]
    return [*arteries, *veins]


def airways(anatomy: Anatomy) -> list[Tube]:
    """Trachea and main bronchi down to the hila: air, and no part of the lung label."""
    m, b = anatomy.mediastinum, anatomy.chest.half_depth_mm
    x, y, z = carina_mm(anatomy)
    upper = [(x * 0.3, y + 0.08 * b, 140.0), (x * 0.5, y + 0.1 * b, 20.0), (x * 0.9, y + 0.06 * b, 0.4 * z)]
    tubes = [Tube("air", [*upper, (x, y, z)], m.trachea_mm, m.trachea_mm, 1.8, 12)]
    for side, size in ((1, 1.1), (-1, 1.0)):
        end = hilum(anatomy, side)
        course = [(x, y, z + 3), (0.5 * (x + end[0]), y, 0.4 * z + 0.6 * end[2]), (end[0], end[1] - 5, end[2] - 4)]
        tubes.append(Tube("air", course, m.bronchus_mm * size * 1.15, m.bronchus_mm * size * 0.85, 1.5, 6))
    return tubes


def oesophagus(anatomy: Anatomy) -> Tube:
    """Behind the trachea, left of the middle."""
    chest, m = anatomy.chest, anatomy.mediastinum
    x = midline_mm(anatomy) - m.gullet_left_mm - m.recess_over_mm
    points = []
    for share in (0.5, 0.0, -0.4, -0.7, -1.1):
        z = share * chest.height_mm
        front = float(back_mm(z, chest)) + anatomy.wall.vertebra_depth_mm + anatomy.wall.vertebra_mm
        points.append((x, front + (m.gullet_mm + 2), z))
    return Tube("oesophagus", points, m.gullet_mm, m.gullet_mm, 1, 12)


def hernia(anatomy: Anatomy) -> Tube:
    """A part of the stomach above the diaphragm, behind the heart, with gas in it."""
    chest, mid, size = anatomy.chest, midline_mm(anatomy), anatomy.mediastinum.hernia_mm
    front = float(back_mm(-0.8 * chest.height_mm, chest)) + anatomy.wall.vertebra_depth_mm + anatomy.wall.vertebra_mm
    low, high = -chest.height_mm - 5, -chest.height_mm + 1.6 * size
    points = [(mid - 8.0, front + 0.7 * size, low), (mid - 3.0, front + 0.8 * size, high)]
    return Tube("stomach", points, size, 0.8 * size, 1, 4)


@dataclass(frozen=True)
class Branches:
    """Straight pieces of a tree: anatomical mm (N, 3), radii (N,)."""

    start: FloatArray
    end: FloatArray
    radius_mm: FloatArray


def grow_tree(
    rng: np.random.Generator, root: Point, side: float, *, trunk_mm: float, thinnest_mm: float, mains: int
) -> Branches:
    """Grow a tree from a hilum into the lung: each piece parts into two thinner ones, turned at random."""
    starts, ends, radii = [], [], []
    angles = rng.uniform(0, 2 * np.pi) + np.arange(mains) * 2.4
    todo = []
    for k in range(mains):
        lift = -0.35 + 1.1 * k / max(mains - 1, 1)
        ring = np.sqrt(max(1 - lift**2, 0.0))
        direction = np.array([side * lift, 0.7 * ring * np.cos(angles[k]), ring * np.sin(angles[k])])
        todo.append((np.asarray(root, float), direction / np.linalg.norm(direction), trunk_mm * rng.uniform(0.7, 1)))
    while todo:
        at, direction, radius = todo.pop()
        end = at + direction * (5 + radius * rng.uniform(3.5, 6))
        starts.append(at)
        ends.append(end)
        radii.append(radius)
        for factor in (rng.uniform(0.72, 0.9), rng.uniform(0.45, 0.75)):
            if radius * factor > thinnest_mm:
                turned = direction + rng.normal(scale=0.38, size=3) / (0.4 + factor)
                todo.append((end, turned / np.linalg.norm(turned), radius * factor))
    return Branches(np.array(starts), np.array(ends), np.array(radii))
