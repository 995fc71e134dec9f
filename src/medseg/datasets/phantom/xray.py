"""The same thorax as a frontal chest X-ray: HU to attenuation, Beer-Lambert through the patient, detector, display."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from medseg.case import Array, Case, FloatArray, Image, LabelArray
from medseg.datasets.phantom.anatomy import Anatomy, Draw, draw_anatomy
from medseg.datasets.phantom.ct import LEFT, RIGHT, SOURCE, Painted, paint_thorax
from medseg.datasets.phantom.scan import Scan, draw_scan, rotation, wobble
from medseg.datasets.phantom.shapes import Grid, make_grid

HEART = 3
WATER_PER_MM = 0.019
"""Linear attenuation of water at the mean energy of a chest X-ray (about 70 keV), NIST XCOM."""
_RAYS = 208
_STEP_MM = 5.0


@dataclass(frozen=True)
class Exposure:
    """How the picture is taken and shown.

    Attributes
    ----------
    width_mm, height_mm, top_mm
        The field on the detector and its upper edge above the lungs' apex.
    quanta
        X-ray quanta a pixel without patient, by which it is noisy.
    scatter
        Share of scattered radiation.
    dark, bright, gamma
        Display: attenuation quantiles shown black and white, and the curve between.
    letter_at
        Place of the side marker "R" as shares of width and height; None without.
    border
        Share of the picture that is collimated (black) on each side.
    """

    width_mm: float
    height_mm: float
    top_mm: float
    quanta: float
    scatter: float
    dark: float
    bright: float
    gamma: float
    letter_at: tuple[float, float] | None
    border: float
    seed: int


def xray_phantom(seed: int | Sequence[int], *, shape: tuple[int, int] = (512, 512), case_id: str | None = None) -> Case:
    """A frontal chest X-ray of a patient who does not exist.

    Parameters
    ----------
    seed
        Everything is drawn from it: the same seed and shape give the same bytes.
    shape
        Columns and rows of the picture.
    case_id
        Default `phantom_xray_<seed>`.

    Returns
    -------
    Case
        Image (1, X, Y) uint8, air dark and bone bright, the patient's left on the right of the picture; labels
        (X, Y) uint8: 1 left lung, 2 right lung, 3 heart; a lung is the field that shows beside heart and mediastinum,
        above the diaphragm.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    anatomy = draw_anatomy(rng)
    scan = draw_scan(rng, anatomy)
    exposure = draw_exposure(rng, anatomy)
    anatomy, scan = _standing(anatomy), replace(scan, table="none", sheets=0, prone=False)
    grid = _rays(anatomy, scan, exposure)
    painted = paint_thorax(grid, anatomy, scan)
    pixels = _develop(_attenuation(painted.hu, grid), exposure, shape)
    labels = _on_picture(_fields(painted, anatomy, grid), shape)
    name = case_id or f"phantom_xray_{seed if isinstance(seed, int) else seed[-1]:04d}"
    affine = np.diag([exposure.width_mm / shape[0], exposure.height_mm / shape[1], 1.0, 1.0])
    image = Image(pixels[None], affine, SOURCE / name, "CR")
    return Case(name, image, Image(labels, affine, SOURCE / name, "CR"))


def draw_exposure(rng: np.random.Generator, anatomy: Anatomy) -> Exposure:
    """Draw how the X-ray is taken."""
    d = Draw(rng)
    chest = anatomy.chest
    return Exposure(
        width_mm=2 * chest.half_width_mm + d.between(40, 130),
        height_mm=chest.height_mm + chest.drop_lateral_mm + d.between(60, 160),
        top_mm=d.between(20, 75),
        quanta=d.log_between(3e3, 1e5),
        scatter=d.between(0.02, 0.2),
        dark=d.between(0.0, 0.06),
        bright=d.between(0.93, 1.0),
        gamma=d.log_between(0.6, 1.7),
        letter_at=(d.between(0.03, 0.2), d.between(0.03, 0.2)) if d.chance(0.6) else None,
        border=d.between(0.01, 0.05) if d.chance(0.2) else 0.0,
        seed=d.seed(),
    )


def _standing(anatomy: Anatomy) -> Anatomy:
    """Arms down, as one stands at the detector; fluid would sink to the base, so none is shown layered behind."""
    lungs = replace(anatomy.lungs, effusion_left_mm=0.0, effusion_right_mm=0.0)
    return replace(anatomy, wall=replace(anatomy.wall, arms="down"), lungs=lungs)


def _rays(anatomy: Anatomy, scan: Scan, exposure: Exposure) -> Grid:
    """A grid with one column of voxels along y for each ray (parallel rays: the tube is 1.8 m away)."""
    deep = anatomy.chest.half_depth_mm + anatomy.wall.fat_mm + anatomy.wall.back_mm + anatomy.wall.breast_mm + 15
    wide, high = exposure.width_mm / _RAYS, exposure.height_mm / _RAYS
    x = (np.arange(_RAYS) - 0.5 * (_RAYS - 1)) * wide + 0.4 * scan.off_centre_mm[0]
    z = exposure.top_mm - (_RAYS - 1 - np.arange(_RAYS)) * high
    y = np.arange(-deep, deep, _STEP_MM)
    return make_grid((x, y, z), rotation(scan.turn_deg), wobble(scan), 0.5 * (wide + high) + 0.6)


def _attenuation(hu: FloatArray, grid: Grid) -> FloatArray:
    """Line integrals of attenuation (X, Z), no unit."""
    per_mm = (hu + 1000) * np.float32(WATER_PER_MM / 1000)
    return np.maximum(per_mm, 0).sum(axis=1) * np.float32(_STEP_MM)


def _develop(attenuation: FloatArray, exposure: Exposure, shape: tuple[int, int]) -> LabelArray:
    """From line integrals (X, Z) to the picture (columns, rows) of 8 bits."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng([exposure.seed, 1])
    fine = _zoom(attenuation, shape)
    direct = np.exp(-fine)
    arriving = direct + exposure.scatter * gaussian_filter(direct, 0.06 * shape[0], truncate=2.5)
    counted = rng.poisson(arriving * exposure.quanta).astype(np.float32)
    counted = gaussian_filter(np.maximum(counted, 1.0), 0.6)
    seen = -np.log(counted / np.float32(exposure.quanta))
    dark, bright = np.quantile(seen, [exposure.dark, exposure.bright])
    grey = np.clip((seen - dark) / (bright - dark), 0, 1) ** exposure.gamma
    pixels = np.rint(grey * 250).astype(np.uint8)
    return _mark(pixels, exposure)


def _mark(pixels: LabelArray, exposure: Exposure) -> LabelArray:
    """The side marker and the collimator's edges."""
    from PIL import Image as Picture
    from PIL import ImageDraw

    columns, rows = pixels.shape
    edge = round(exposure.border * min(pixels.shape))
    if edge:
        inner = pixels[edge:-edge, edge:-edge].copy()
        pixels[:] = 2
        pixels[edge:-edge, edge:-edge] = inner
    if exposure.letter_at is None:
        return pixels
    picture = Picture.fromarray(np.ascontiguousarray(pixels.T))
    place = (exposure.letter_at[0] * columns, exposure.letter_at[1] * rows)
    ImageDraw.Draw(picture).text(place, "R", fill=255, font_size=max(8, round(0.045 * rows)))
    return np.ascontiguousarray(np.asarray(picture).T)


def _fields(painted: Painted, anatomy: Anatomy, grid: Grid) -> list[FloatArray]:
    """Left lung, right lung and heart as they show: 1 where a structure is the visible one, (X, Z) each."""
    form = painted.form
    heart = np.maximum(form.heart, -form.diaphragm - 12)
    hidden = _thickness(heart < 0) > 6
    behind = (_thickness(form.mediastinum < 0) > 0.75 * anatomy.chest.half_depth_mm) | hidden
    behind |= _thickness((form.diaphragm < 0) & (form.cage < 0)) > 0.3 * anatomy.chest.half_depth_mm
    lungs = [(_thickness(painted.labels == value) > 14) & ~behind for value in (LEFT, RIGHT)]
    return [*(_main_part(lung) for lung in lungs), _main_part(hidden & ~lungs[0] & ~lungs[1])]


def _thickness(inside: Array) -> FloatArray:
    """Millimetres of a structure along each ray (X, Z)."""
    return np.asarray(inside.sum(axis=1) * _STEP_MM)


def _main_part(mask: Array) -> FloatArray:
    from scipy import ndimage

    parts, count = ndimage.label(ndimage.binary_opening(mask, iterations=1))
    if not count:
        return np.zeros(mask.shape, np.float32)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return np.asarray(ndimage.binary_fill_holes(parts == sizes.argmax()), np.float32)


def _on_picture(fields: list[FloatArray], shape: tuple[int, int]) -> LabelArray:
    """Label map (columns, rows) from fields (X, Z); a lung wins over the heart."""
    from scipy.ndimage import gaussian_filter

    labels = np.zeros(shape, np.uint8)
    for value, field in ((HEART, fields[2]), (LEFT, fields[0]), (RIGHT, fields[1])):
        labels[_zoom(gaussian_filter(field, 0.8), shape) > 0.5] = value
    return labels


def _zoom(field: FloatArray, shape: tuple[int, int]) -> FloatArray:
    """(X, Z) to (columns, rows): the patient's right to the left of the picture, feet down, interpolated."""
    from scipy.ndimage import map_coordinates

    turned = field[::-1, ::-1]
    at = [np.clip((np.arange(n) + 0.5) * m / n - 0.5, 0, m - 1) for n, m in zip(shape, turned.shape, strict=True)]
    return np.asarray(map_coordinates(turned, np.meshgrid(*at, indexing="ij"), order=1), np.float32)
