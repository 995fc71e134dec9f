"""Dice of an X-ray bundle on X-rays as other machines and archives give them: contrast, film, borders, markers, place.

python benchmarks/xray_shifts.py DATALIST.json [--section validation] [--bundle cxr_heart_lung] [key=value ...]

Each case of the part is segmented as it is and under each simulated shift, from a PNG to the mask on its own grid, and
scored against its truth, which is moved along where the shift moves the anatomy. Never the test part to choose by.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from measure import Table, ends, publish
from PIL import Image as Pillow
from PIL import ImageDraw
from scipy import ndimage

from medseg.bundle import find_bundle
from medseg.bundle.load import build, open_workflow
from medseg.case import Array, LabelArray
from medseg.cli.arguments import overrides
from medseg.datasets import load_datalist
from medseg.evaluation import spread
from medseg.evaluation.overlap import overlap_by_region
from medseg.inference import Segmenter
from medseg.intake import read_image, read_label

Pair = tuple[Array, LabelArray]
Shift = Callable[[Array, LabelArray, np.random.Generator], Pair]
REGIONS = {"lungs": [1, 2], "heart": [3]}
"""What is scored; the cases' labels are 1 the left lung, 2 the right lung, 3 the heart."""


def values(change: Callable[[Array], Array]) -> Shift:
    """A shift of values 0 to 1 that moves nothing."""
    return lambda image, label, rng: (np.clip(change(image), 0, 1), label)


def noisy(image: Array, label: LabelArray, rng: np.random.Generator) -> Pair:
    """A low dose: grain of 6 % of the range."""
    return np.clip(image + rng.normal(0, 0.06, image.shape), 0, 1), label


def framed(level: float) -> Shift:
    """An even border of 8 % on every side, as scanned films have it."""

    def shift(image: Array, label: LabelArray, rng: np.random.Generator) -> Pair:
        widths = [(size // 12, size // 12) for size in image.shape]
        return np.pad(image, widths, constant_values=level), np.pad(label, widths)

    return shift


def collimated(image: Array, label: LabelArray, rng: np.random.Generator) -> Pair:
    """The outer 4 % are black: the beam was narrowed."""
    edges = [size // 25 for size in image.shape]
    inside = np.zeros(image.shape, dtype=bool)
    inside[tuple(slice(edge, -edge) for edge in edges)] = True
    return np.where(inside, image, 0.0), label


def marked(image: Array, label: LabelArray, rng: np.random.Generator) -> Pair:
    """Burnt-in letters in two corners and a plate with a name's length of text."""
    picture = Pillow.fromarray((image.T * 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    wide, high = picture.size
    draw.text((wide * 0.87, high * 0.04), "L", fill=255, font_size=high // 12)
    draw.rectangle((wide * 0.02, high * 0.93, wide * 0.35, high * 0.99), fill=255)
    draw.text((wide * 0.03, high * 0.94), "PORTABLE AP 12:31", fill=0, font_size=high // 28)
    return np.asarray(picture).T / 255.0, label


def turned(degrees: float) -> Shift:
    """The patient leans."""

    def shift(image: Array, label: LabelArray, rng: np.random.Generator) -> Pair:
        return (
            np.clip(ndimage.rotate(image, degrees, reshape=False, order=1), 0, 1),
            ndimage.rotate(label, degrees, reshape=False, order=0),
        )

    return shift


def stretched(across: float, down: float) -> Shift:
    """Other proportions, as a picture has that was not squeezed to a square."""

    def shift(image: Array, label: LabelArray, rng: np.random.Generator) -> Pair:
        zoom = (across, down)
        return np.clip(ndimage.zoom(image, zoom, order=1), 0, 1), ndimage.zoom(label, zoom, order=0)

    return shift


def cut(image: Array, label: LabelArray, rng: np.random.Generator) -> Pair:
    """A tight cut: 6 % less on the left and right, 4 % above and below."""
    inside = tuple(
        slice(int(size * part), size - int(size * part)) for size, part in zip(image.shape, (0.06, 0.04), strict=True)
    )
    return image[inside], label[inside]


SHIFTS: dict[str, Shift] = {
    "as it is": values(lambda image: image),
    "inverted film": values(lambda image: 1 - image),
    "half the contrast": values(lambda image: 0.25 + image / 2),
    "dark, gamma 2": values(lambda image: image**2),
    "bright, gamma 0.5": values(lambda image: image**0.5),
    "lungs burnt out": values(lambda image: (image - 0.25) / 0.75),
    "soft": values(lambda image: ndimage.gaussian_filter(image, 2.5)),
    "sharpened": values(lambda image: image + 1.5 * (image - ndimage.gaussian_filter(image, 6))),
    "noise": noisy,
    "black border": framed(0.0),
    "white border": framed(1.0),
    "collimated": collimated,
    "markers and text": marked,
    "turned by 8 degrees": turned(8),
    "turned by -8 degrees": turned(-8),
    "wider than high, 5:4": stretched(1.25, 1.0),
    "higher than wide, 4:5": stretched(1.0, 1.25),
    "cut tightly": cut,
}


def main(datalist: Path, *, section: str, bundle: str, seed: int, changes: dict[str, object]) -> None:
    """Measure, print, write results."""
    cases = [
        (read_image(Path(c["image"])).array[0], read_label(Path(c["label"])).array) for c in _cases(datalist, section)
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = find_bundle(bundle)
        workflow = open_workflow(folder, "inference", overrides={"input": name, "output_dir": name, **changes})
        segmenter: Segmenter = build(workflow, folder, "segmenter")
        table = Table(f"{len(cases)} {section} cases under each shift", ["shift", *_columns()])
        for title, shift in SHIFTS.items():
            rng = np.random.default_rng(seed)
            scores = [_score(segmenter, Path(name), *shift(_unit(image), label, rng)) for image, label in cases]
            table.rows.append([title, *_row(scores)])
    publish(f"xray_shifts_{section}", [table], settings={"seed": seed, "bundle": bundle, "changes": changes})


def _cases(datalist: Path, section: str) -> list[dict[str, str]]:
    return load_datalist(datalist, section)


def _unit(image: Array) -> Array:
    return np.asarray((image - image.min()) / max(float(np.ptp(image)), 1.0), dtype=np.float64)


def _score(segmenter: Segmenter, folder: Path, image: Array, label: LabelArray) -> dict[str, float]:
    path = folder / "case.png"
    Pillow.fromarray((image.T * 4095).round().astype(np.uint16)).save(path)  # 12 bits in 16, as detectors give them
    found = segmenter({"id": "case", "image": str(path)}).labels.array
    return {region: overlap.dice for region, overlap in overlap_by_region(found, label, REGIONS).items()}


def _columns() -> Iterator[str]:
    for region in REGIONS:
        yield from (f"{region}: Dice", "95 % interval", "worst")


def _row(scores: list[dict[str, float]]) -> Iterator[object]:
    for region in REGIONS:
        dice = spread([score[region] for score in scores])
        yield from (f"{dice['mean']:.4f}", ends(dice["mean_ci95"], ".3f"), f"{dice['min']:.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datalist", type=Path)
    parser.add_argument("--section", default="validation", choices=("training", "validation", "test"))
    parser.add_argument("--bundle", default="cxr_heart_lung")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("changes", metavar="key=value", nargs="*", default=[])
    given = parser.parse_args()
    main(given.datalist, section=given.section, bundle=given.bundle, seed=given.seed, changes=overrides(given.changes))
