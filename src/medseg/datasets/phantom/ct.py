"""A chest CT with its truth: draw the patient and the scan, build surfaces, paint, expose, store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medseg.case import Case, FloatArray, Image, LabelArray
from medseg.datasets.phantom import bones, paint
from medseg.datasets.phantom.anatomy import Anatomy, Draw, draw_anatomy
from medseg.datasets.phantom.elsewhere import paint_elsewhere
from medseg.datasets.phantom.form import Form, build_form, close_lungs, parting_mm
from medseg.datasets.phantom.paint import Canvas, Laid
from medseg.datasets.phantom.scan import AIR_HU, Scan, draw_scan, expose, in_field, lay_grid
from medseg.datasets.phantom.shapes import Grid
from medseg.datasets.phantom.vessels import airways, great_vessels, grow_tree, hernia, hilum, oesophagus
from medseg.datasets.phantom.wide import AS_USUAL, NO_LUNGS, look_elsewhere, widen
from medseg.errors import DataError

LEFT, RIGHT = 1, 2
SOURCE = Path("phantom")


@dataclass(frozen=True)
class Painted:
    """HU before the scanner spoils it, (X, Y, Z) RAS, the lung labels and the surfaces they came from."""

    hu: FloatArray
    labels: LabelArray
    form: Form
    body: FloatArray


def ct_phantom(
    seed: int | Sequence[int],
    *,
    spacing_mm: tuple[float, float, float] | None = None,
    shape: tuple[int, int, int] | None = None,
    case_id: str | None = None,
    wide: bool = False,
) -> Case:
    """A chest CT of a patient who does not exist.

    Parameters
    ----------
    seed
        Everything is drawn from it: the same seed and size give the same bytes.
    spacing_mm, shape
        Of the grid along right-left, back-front, bottom-top, two voxels at least. Neither: drawn, about 3 mm. One of
        them: the other follows from the drawn field of view. Both: the grid lies about the middle of that field.
    case_id
        Default `phantom_ct_<seed>`.
    wide
        Also rare illness, children and the obese, other kernels and doses, cut fields of view, thick slices, metal;
        some of them show no lung. Without it: an adult's whole chest, mostly.

    Returns
    -------
    Case
        Image (1, X, Y, Z) int16 HU; labels (X, Y, Z) uint8: 1 left lung, 2 right lung (the patient's). Vessels, nodules
        and opacities are lung; effusions, air outside the lung, trachea, main bronchi and hilar vessels are not.

    Raises
    ------
    DataError
        No such grid.
    """
    _check(spacing_mm, shape)
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    anatomy = draw_anatomy(rng)
    scan = draw_scan(rng, anatomy)
    chest = True
    draw = Draw(np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1,))))
    if wide and not draw.chance(AS_USUAL):
        anatomy, scan = widen(anatomy, scan, draw)
        chest = not draw.chance(NO_LUNGS)
        scan = scan if chest else look_elsewhere(scan, draw)
    grid = lay_grid(scan, anatomy, spacing_mm=spacing_mm, shape=shape)
    if chest:
        painted = paint_thorax(grid, anatomy, scan)
        hu, labels = painted.hu, painted.labels
    else:
        hu = paint_elsewhere(grid, anatomy, scan)
        labels = np.zeros(grid.shape, np.uint8)
    hu = expose(hu, grid, scan)
    if scan.padding_hu is not None:
        labels[~in_field(grid)] = 0
    name = case_id or f"phantom_ct_{seed if isinstance(seed, int) else seed[-1]:04d}"
    return _store(np.rint(hu).astype(np.int16), labels, grid, scan, name)


def _check(spacing_mm: tuple[float, float, float] | None, shape: tuple[int, int, int] | None) -> None:
    if shape is not None and min(shape) < 2:
        raise DataError("no phantom of this shape", got=shape, expected="2 voxels or more along each axis")
    if spacing_mm is not None and not all(mm > 0 for mm in spacing_mm):
        raise DataError("no phantom of this spacing", got=f"{spacing_mm} mm", expected="more than 0 mm along each axis")


def paint_thorax(grid: Grid, anatomy: Anatomy, scan: Scan) -> Painted:
    """True HU and labels of a patient on a grid."""
    gravity = 1.0 if scan.prone else -1.0
    body = bones.body_surface(grid, anatomy)
    hu = np.full(grid.shape, AIR_HU, np.float32)
    bones.table(hu, grid, anatomy, scan, body)
    canvas = Canvas(hu, grid, anatomy, build_form(grid, anatomy), body, hu)
    vessels = [paint.lay_tube(canvas, t) for t in great_vessels(anatomy)]
    gullet = paint.lay_tube(canvas, oesophagus(anatomy))
    sac = paint.lay_tube(canvas, hernia(anatomy)) if anatomy.mediastinum.hernia_mm else None
    pipes = [paint.lay_tube(canvas, t) for t in airways(anatomy)]
    close_lungs(canvas.form, grid, anatomy)
    surface = _collapsed(canvas, _without_effusions(canvas, gravity), gravity)
    canvas.lung = grid.cover(surface)
    _paint_wall(canvas, gravity)
    _paint_chest(canvas, vessels, gravity)
    if sac is not None:
        paint.draw_tube(canvas, sac.course, sac.radii_mm, 30.0)
        paint.draw_tube(canvas, sac.course, sac.radii_mm - 5, -980.0)
    _paint_pipes(canvas, gullet, pipes)
    paint.metal(canvas)
    return Painted(hu, _label(surface, canvas), canvas.form, body)


def _paint_wall(canvas: Canvas, gravity: float) -> None:
    paint.soft_tissue(canvas)
    paint.breasts(canvas)
    paint.abdomen(canvas, gravity)
    bones.ribs(canvas)
    bones.spine(canvas)
    bones.breast_bone(canvas)


def _paint_chest(canvas: Canvas, vessels: list[Laid], gravity: float) -> None:
    a, g, form = canvas.anatomy, canvas.grid, canvas.form
    if form.effusion is not None:
        canvas.blend(g.cover(np.maximum(form.lungs, -form.effusion)), np.float32(a.lungs.effusion_hu))
    if form.free_air is not None:
        canvas.blend(g.cover(form.free_air), -995.0)
    paint.lungs(canvas, gravity)
    heart = np.maximum(form.heart + 3, np.minimum(form.diaphragm, 0) * -4)
    canvas.blend(g.cover(heart), np.float32(a.tissue.heart) + 6 * canvas.texture(25.0, 10))
    for vessel in vessels:
        paint.draw_tube(canvas, vessel.course, vessel.radii_mm, a.tissue.blood)
    _paint_trees(canvas)
    paint.nodules(canvas)


def _paint_pipes(canvas: Canvas, gullet: Laid, pipes: list[Laid]) -> None:
    """Oesophagus, then all airway walls, then all their lumens, so that the carina stays open."""
    t, air_mm = canvas.anatomy.tissue, canvas.anatomy.mediastinum.oesophagus_air_mm
    paint.draw_tube(canvas, gullet.course, gullet.radii_mm, t.muscle)
    if air_mm:
        paint.draw_tube(canvas, gullet.course[:5], np.full(4, air_mm), -950.0)
    for pipe in pipes:
        paint.draw_tube(canvas, pipe.course, pipe.radii_mm + pipe.wall_mm, 20.0)
    for pipe in pipes:
        paint.draw_tube(canvas, pipe.course, pipe.radii_mm, t.airway)


def _paint_trees(canvas: Canvas) -> None:
    a, soft = canvas.anatomy, canvas.grid.softness_mm
    rng = np.random.default_rng([a.texture_seed, 100])
    thin = max(0.35, 0.13 * soft)
    for side in (-1.0, 1.0):
        root = hilum(a, side)
        mains = round(10 * a.lungs.vessel_density)
        tree = grow_tree(rng, root, side, trunk_mm=4.6 * a.lungs.vessel_mm, thinnest_mm=thin, mains=mains)
        paint.draw_branches(canvas, tree, a.tissue.blood)
        bronchi = grow_tree(rng, root, side, trunk_mm=4.0, thinnest_mm=max(1.3, thin), mains=5)
        paint.draw_branches(canvas, bronchi, 0.0, lumen_hu=a.tissue.airway)


def _without_effusions(canvas: Canvas, gravity: float) -> FloatArray:
    """The lungs' surface with the fluid cut off, which pools towards the table and the base."""
    lungs = canvas.form.lungs
    fluid = _fluid_level(canvas, gravity)
    canvas.form.effusion = fluid
    return lungs if fluid is None else np.maximum(lungs, fluid)


def _fluid_level(canvas: Canvas, gravity: float) -> FloatArray | None:
    a, g = canvas.anatomy, canvas.grid
    left, right = a.lungs.effusion_left_mm, a.lungs.effusion_right_mm
    if left <= 0 and right <= 0 and not a.lungs.airless:
        return None
    c = a.chest
    depth = np.where(g.x < parting_mm(g, a), np.float32(left or -500), np.float32(right or -500))
    tilt = np.clip(-g.z / np.float32(c.height_mm), 0.02, 1.3)
    wall = np.float32(-c.half_depth_mm if gravity < 0 else 0.9 * c.half_depth_mm)
    height = (g.y - wall) * np.float32(-gravity)
    level = depth * tilt * np.float32(1.4) - height + 3 * canvas.texture(40.0, 11)
    if a.lungs.airless:
        level[np.sign(g.x - parting_mm(g, a)) == a.lungs.airless] = 500
    return level


def _collapsed(canvas: Canvas, surface: FloatArray, gravity: float) -> FloatArray:
    """The lungs' surface drawn in from the wall where air fills the chest, most where that is up."""
    a, g, form = canvas.anatomy, canvas.grid, canvas.form
    gaps = a.lungs.pneumothorax_left_mm, a.lungs.pneumothorax_right_mm
    if not any(gaps):
        return surface
    gap = np.where(g.x < parting_mm(g, a), np.float32(gaps[0]), np.float32(gaps[1]))
    up = np.clip(0.55 - gravity * 0.45 * g.y / np.float32(a.chest.half_depth_mm), 0.05, 1)
    rough = 1 + 0.2 * canvas.texture(60.0, 15)
    drawn_in = np.where(gap > 0, form.lungs + gap * up * rough, surface)
    collapsed = np.maximum(surface, drawn_in)
    form.free_air = np.where(gap > 0, np.maximum(surface, -collapsed), np.float32(100))
    return collapsed


def _label(surface: FloatArray, canvas: Canvas) -> LabelArray:
    side = np.where(canvas.grid.x < parting_mm(canvas.grid, canvas.anatomy), np.uint8(LEFT), np.uint8(RIGHT))
    labels = np.where(surface < 0, side, np.uint8(0))
    return _largest_parts(labels)


def _largest_parts(labels: LabelArray) -> LabelArray:
    """Keep the pieces of each lung that hold at least a fifth of it: no crumbs in the recesses."""
    from scipy import ndimage

    kept = np.zeros_like(labels)
    for value in (LEFT, RIGHT):
        parts, count = ndimage.label(labels == value)
        if count:
            sizes = np.bincount(parts.ravel())
            sizes[0] = 0
            keep = sizes >= 0.2 * sizes.max()
            keep[0] = False
            kept[keep[parts]] = value
    return kept


def _store(hu: LabelArray, labels: LabelArray, grid: Grid, scan: Scan, name: str) -> Case:
    from medseg.geometry import reorient

    affine = np.diag([*(float(a[1] - a[0]) * scan.size for a in grid.axes), 1.0])
    affine[:3, 3] = [a[0] * scan.size + o for a, o in zip(grid.axes, scan.origin_mm, strict=True)]
    image = reorient(Image(hu[None], affine, SOURCE / name, "CT"), scan.orientation)
    truth = reorient(Image(labels, affine, SOURCE / name, "CT"), scan.orientation)
    return Case(name, _solid(image), _solid(truth))


def _solid(image: Image) -> Image:
    return Image(np.ascontiguousarray(image.array), image.affine, image.source, image.modality)
