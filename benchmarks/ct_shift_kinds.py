"""Simulated shifts of CT: what other machines, protocols and patients make of a scan. Used by ct_shifts.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from medseg.case import Affine, Array, FloatArray, LabelArray


@dataclass(frozen=True)
class Scan:
    """HU (X, Y, Z) in RAS, labels on the same grid, voxel to mm."""

    hu: FloatArray
    label: LabelArray
    affine: Affine

    @property
    def spacing_mm(self) -> FloatArray:
        """Along X, Y, Z."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))


Shift = Callable[[Scan, np.random.Generator], Scan]


def values(change: Callable[[FloatArray], Array]) -> Shift:
    """A change of HU that moves nothing, within what 12 bits hold."""
    return lambda scan, rng: replace(scan, hu=np.clip(change(scan.hu), -1024, 3071).astype(np.float32))


def smoothed(fwhm_mm: float) -> Shift:
    """A soft kernel."""

    def shift(scan: Scan, rng: np.random.Generator) -> Scan:
        return replace(scan, hu=ndimage.gaussian_filter(scan.hu, fwhm_mm / 2.355 / scan.spacing_mm))

    return shift


def sharpened(scan: Scan, rng: np.random.Generator) -> Scan:
    """A sharp kernel: edges overshoot, and what noise there is grows."""
    soft = ndimage.gaussian_filter(scan.hu, 3.0 / scan.spacing_mm)
    return replace(scan, hu=np.clip(scan.hu + 1.5 * (scan.hu - soft), -1024, 3071))


def noisy(sd_hu: float) -> Shift:
    """A low dose."""

    def shift(scan: Scan, rng: np.random.Generator) -> Scan:
        grain = rng.standard_normal(scan.hu.shape, dtype=np.float32)
        return replace(scan, hu=np.clip(scan.hu + np.float32(sd_hu) * grain, -1024, 3071))

    return shift


def streaked(scan: Scan, rng: np.random.Generator) -> Scan:
    """Metal in a shoulder and in the spine of a third of the slices: bright pieces and the streaks from them."""
    hu = scan.hu.copy()
    size = np.asarray(hu.shape)
    third = slice(int(size[2] * 0.55), int(size[2] * 0.85))
    for part in ((0.5, 0.2), (0.2, 0.6)):
        x, y = (np.arange(n) - p * n for n, p in zip(size[:2], part, strict=True))
        across, along = x[:, None] * scan.spacing_mm[0], y[None, :] * scan.spacing_mm[1]
        turn, far = np.arctan2(along, across), np.hypot(across, along)
        star = sum(rng.normal() * np.cos(k * turn + rng.uniform(0, 6)) for k in (3, 6, 9, 14))
        streak = 250 * star * np.exp(-far / 60)
        hu[:, :, third] += streak[:, :, None]
        hu[far < 5, third] = 3071
    return replace(scan, hu=np.clip(hu, -1024, 3071).astype(np.float32))


def sliced(mm: float) -> Shift:
    """Thick slices: the mean over that length, one value each."""

    def shift(scan: Scan, rng: np.random.Generator) -> Scan:
        count = max(1, round(mm / scan.spacing_mm[2]))
        used = scan.hu.shape[2] // count * count
        mean = scan.hu[:, :, :used].reshape(*scan.hu.shape[:2], -1, count).mean(axis=3)
        middle = count // 2
        move = np.diag([1.0, 1.0, float(count), 1.0])
        move[2, 3] = (count - 1) / 2
        return Scan(mean, np.ascontiguousarray(scan.label[:, :, middle:used:count]), scan.affine @ move)

    return shift


def part(low: tuple[float, float, float], high: tuple[float, float, float]) -> Shift:
    """A box of the scan, in parts of its size."""

    def shift(scan: Scan, rng: np.random.Generator) -> Scan:
        size = scan.hu.shape
        box = tuple(
            slice(round(a * n), max(round(b * n), round(a * n) + 1)) for a, b, n in zip(low, high, size, strict=True)
        )
        move = np.eye(4)
        move[:3, 3] = [s.start for s in box]
        return Scan(np.ascontiguousarray(scan.hu[box]), np.ascontiguousarray(scan.label[box]), scan.affine @ move)

    return shift


def round_field(padding_hu: float, radius: float) -> Shift:
    """A circular field of view with padding outside; a lung that is not seen is no lung."""

    def shift(scan: Scan, rng: np.random.Generator) -> Scan:
        x, y = (np.linspace(-1, 1, n) for n in scan.hu.shape[:2])
        outside = np.square(x)[:, None] + np.square(y)[None, :] > radius**2
        hu, label = scan.hu.copy(), scan.label.copy()
        hu[outside], label[outside] = padding_hu, 0
        return replace(scan, hu=hu, label=label)

    return shift


def turned(degrees: float, axes: tuple[int, int]) -> Shift:
    """The patient lies turned in the scanner."""

    def shift(scan: Scan, rng: np.random.Generator) -> Scan:
        if degrees == 180:
            return replace(
                scan,
                hu=np.ascontiguousarray(scan.hu[::-1, ::-1]),
                label=np.ascontiguousarray(scan.label[::-1, ::-1]),
            )
        turn = {"angle": degrees, "axes": axes, "reshape": False}
        return replace(
            scan,
            hu=ndimage.rotate(scan.hu, **turn, order=1, cval=-1000.0),
            label=ndimage.rotate(scan.label, **turn, order=0),
        )

    return shift


def sized(factor: float) -> Shift:
    """Another size of patient."""
    return lambda scan, rng: replace(scan, affine=np.diag([factor, factor, factor, 1.0]) @ scan.affine)


def stored_otherwise(scan: Scan, rng: np.random.Generator) -> Scan:
    """The same patient, stored with other axes: front to back first, head to foot last, to the left."""
    order = np.zeros((4, 4))
    order[1, 0], order[0, 1], order[2, 2], order[3, 3] = -1, -1, -1, 1
    order[:3, 3] = [scan.hu.shape[0] - 1, scan.hu.shape[1] - 1, scan.hu.shape[2] - 1]
    hu, label = (np.ascontiguousarray(each.transpose(1, 0, 2)[::-1, ::-1, ::-1]) for each in (scan.hu, scan.label))
    return Scan(hu, label, scan.affine @ order)


def enhanced(scan: Scan, rng: np.random.Generator) -> Scan:
    """Contrast agent: what is denser than fat and no bone gains up to 250 HU, differing smoothly over the body."""
    coarse = rng.uniform(0, 1, [max(2, n // 24) for n in scan.hu.shape])
    gain = ndimage.zoom(coarse, [n / m for n, m in zip(scan.hu.shape, coarse.shape, strict=True)], order=1)
    weight = np.clip((scan.hu - 0) / 30, 0, 1) * np.clip((200 - scan.hu) / 50, 0, 1)
    return replace(scan, hu=(scan.hu + 250 * gain * weight).astype(np.float32))


def breathed_out(scan: Scan, rng: np.random.Generator) -> Scan:
    """Denser lungs: what is below -500 HU inside the body's outline gains 200 HU."""
    body = ndimage.binary_fill_holes(scan.hu > -300, structure=np.ones((3, 3, 1)))
    return replace(scan, hu=np.where(body & (scan.hu < -500), scan.hu + 200, scan.hu).astype(np.float32))


def on_a_table(scan: Scan, rng: np.random.Generator) -> Scan:
    """A dense table top across the whole field, behind the body, and a blanket before it."""
    hu = scan.hu.copy()
    y = np.arange(hu.shape[1]) / hu.shape[1]
    for low, high, value in ((0.02, 0.035, 400.0), (0.035, 0.09, -940.0), (0.09, 0.1, 400.0), (0.95, 0.97, -500.0)):
        rows = (y >= low) & (y < high)
        hu[:, rows] = np.where(hu[:, rows] < -900, value, hu[:, rows])
    return replace(scan, hu=hu)


SHIFTS: dict[str, Shift] = {
    "as it is": values(lambda hu: hu),
    "low dose, noise of 60 HU": noisy(60),
    "very low dose, noise of 150 HU": noisy(150),
    "soft kernel, 5 mm": smoothed(5),
    "sharp kernel": sharpened,
    "contrast agent": enhanced,
    "thick slices, about 5 mm": sliced(5),
    "thick slices, about 7 mm": sliced(7),
    "metal": streaked,
    "upper half": part((0, 0, 0.5), (1, 1, 1)),
    "lower half": part((0, 0, 0), (1, 1, 0.5)),
    "a slab of a fifth": part((0, 0, 0.4), (1, 1, 0.6)),
    "field of view of 60 %": part((0.2, 0.2, 0), (0.8, 0.8, 1)),
    "right half of the field": part((0.45, 0, 0), (1, 1, 1)),
    "round field, padded by -2000": round_field(-2000, 1.0),
    "narrow round field, padded by -3024": round_field(-3024, 0.8),
    "rolled by 15 degrees": turned(15, (0, 1)),
    "tilted by 12 degrees": turned(12, (1, 2)),
    "turned by 180 degrees: prone under a supine header": turned(180, (0, 1)),
    "child, half the size": sized(0.5),
    "a fifth larger": sized(1.2),
    "stored in other axes": stored_otherwise,
    "50 HU too high": values(lambda hu: hu + 50),
    "50 HU too low": values(lambda hu: hu - 50),
    "intercept forgotten, 1024 HU too high": lambda scan, rng: replace(scan, hu=np.clip(scan.hu + 1024, 0, 4095)),
    "breathed out, lungs 200 HU denser": breathed_out,
    "table across the field, blanket": on_a_table,
}
