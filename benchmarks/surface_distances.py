"""HD95 and normalised surface Dice of one class: medseg, MONAI, surface-distance (DeepMind) and SimpleITK.

python benchmarks/surface_distances.py [--shape 512 512 200] [--runs 5] [--seed 0]

Two pairs of masks of a bumpy organ-sized body, voxels of 0.8x0.8x1.5 mm: a good prediction and a poor one. Each side
gets the whole volume, in the array type that it takes, and gives HD95 and NSD at 2 mm; what it needs for both it
computes once where its interface allows that. SimpleITK has neither score: what its users do is taken, a distance map
of each surface, read where the other surface lies. Each side runs with the threads that it takes by itself.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from measure import Table, interleaved, median, publish
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
SPACING_MM = (0.8, 0.8, 1.5)
TOLERANCE_MM = 2.0
Way = Callable[[], tuple[float, float]]


def main(*, shape: tuple[int, int, int], runs: int, seed: int) -> None:
    """Print and write the table."""
    tables = []
    for title, apart in (("a good prediction", 0.06), ("a poor prediction", 0.25)):
        truth, prediction = body(shape, apart=0.0, seed=seed), body(shape, apart=apart, seed=seed)
        ways = {
            "medseg": medseg_way(prediction, truth),
            "MONAI": monai_way(prediction, truth),
            "surface-distance": surface_distance_way(prediction, truth),
            "SimpleITK": simpleitk_way(prediction, truth),
        }
        processor: dict[str, list[float]] = {name: [] for name in ways}
        clocked = {name: with_processor_time(way, processor[name]) for name, way in ways.items()}
        seconds = {name: median(times) for name, times in interleaved(clocked, runs=runs).items()}
        dice = 2 * np.count_nonzero(truth & prediction) / (np.count_nonzero(truth) + np.count_nonzero(prediction))
        size = f"{'x'.join(map(str, shape))}, of these {np.count_nonzero(truth) / 1e6:.1f} million in the mask"
        table = Table(
            f"{title}: {size}, Dice {dice:.3f}",
            ["side", "seconds, median", "of medseg's", "CPU seconds", "HD95, mm", f"NSD at {TOLERANCE_MM:g} mm"],
        )
        for name, way in ways.items():
            spent = median(processor[name][1:])  # the first run is not counted, as in the wall clock's
            table.rows.append([name, seconds[name], seconds[name] / seconds["medseg"], spent, *way()])
        table.notes.append(
            "MONAI measures between the centres of edge voxels and counts them; SimpleITK's recipe too. medseg and "
            "surface-distance measure between the corners on the surface and weigh them by area."
        )
        tables.append(table)
    publish("surface_distances", tables, settings={"seed": seed, "runs": runs, "spacing mm": SPACING_MM})


def with_processor_time(way: Way, spent: list[float]) -> Callable[[], object]:
    """The same, adding to `spent` the CPU seconds of all threads, which other work on the machine lengthens less."""

    def clocked() -> object:
        started = time.process_time()
        result = way()
        spent.append(time.process_time() - started)
        return result

    return clocked


def body(shape: tuple[int, int, int], *, apart: float, seed: int) -> Mask:
    """An ellipsoid that fills a part of the volume, with bumps; `apart` moves its surface here and there."""
    from scipy.ndimage import zoom

    rng = np.random.default_rng(seed)
    bumps, errors = (rng.normal(size=[n // 25 + 2 for n in shape]).astype(np.float32) for _ in range(2))
    coarse = 0.15 * bumps + apart * errors
    bend = zoom(coarse, [n / m for n, m in zip(shape, coarse.shape, strict=True)], order=1)
    radii = (0.22 * shape[0], 0.18 * shape[1], 0.37 * shape[2])
    axes = np.ogrid[tuple(slice(-n / 2, n / 2) for n in shape)]
    squares = sum(((axis / radius) ** 2).astype(np.float32) for axis, radius in zip(axes, radii, strict=True))
    return np.asarray(squares + bend < 1)


def medseg_way(prediction: Mask, truth: Mask) -> Way:
    """As `medseg score` does it."""
    from medseg.evaluation import image_diagonal, surface_distances

    diagonal = image_diagonal(truth.shape, SPACING_MM)

    def way() -> tuple[float, float]:
        found = surface_distances(prediction, truth, spacing=SPACING_MM, diagonal=diagonal)
        return found.hausdorff(95.0), found.nsd(TOLERANCE_MM)

    return way


def monai_way(prediction: Mask, truth: Mask) -> Way:
    """Its two functions, on one class."""
    import torch
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice

    pair = [torch.from_numpy(mask)[None, None] for mask in (prediction, truth)]

    def way() -> tuple[float, float]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            hd95 = compute_hausdorff_distance(*pair, include_background=True, percentile=95, spacing=SPACING_MM)
            nsd = compute_surface_dice(*pair, [TOLERANCE_MM], include_background=True, spacing=SPACING_MM)
        return hd95.item(), nsd.item()

    return way


def surface_distance_way(prediction: Mask, truth: Mask) -> Way:
    """One call for the distances, from which both scores are taken."""
    import surface_distance

    def way() -> tuple[float, float]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = surface_distance.compute_surface_distances(truth, prediction, SPACING_MM)
        nsd = surface_distance.compute_surface_dice_at_tolerance(found, TOLERANCE_MM)
        return float(surface_distance.compute_robust_hausdorff(found, 95)), float(nsd)

    return way


def simpleitk_way(prediction: Mask, truth: Mask) -> Way:
    """Contours of both labels, and the distance map of one where the other's contour lies."""
    import SimpleITK as sitk  # noqa: N813 - its own convention

    images = [sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in (prediction, truth)]
    for image in images:
        image.SetSpacing(SPACING_MM[::-1])

    def way() -> tuple[float, float]:
        contours = [sitk.LabelContour(image) for image in images]
        maps = [sitk.SignedMaurerDistanceMap(c, squaredDistance=False, useImageSpacing=True) for c in contours]
        on = [sitk.GetArrayViewFromImage(contour) != 0 for contour in contours]
        distances = [np.abs(sitk.GetArrayViewFromImage(maps[k])[on[1 - k]]) for k in (0, 1)]
        near = sum(np.count_nonzero(d <= TOLERANCE_MM) for d in distances) / sum(len(d) for d in distances)
        return max(float(np.percentile(d, 95)) for d in distances), near

    return way


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=f"{Path(__file__).name}: {__doc__}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", type=int, nargs=3, default=(512, 512, 200))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    x, y, z = given.shape
    main(shape=(x, y, z), runs=given.runs, seed=given.seed)
