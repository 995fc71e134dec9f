"""Dice of a lung bundle on CT as other machines, protocols and patients give it; and lungs found where there are none.

python benchmarks/ct_shifts.py [--bundle ct_lung] [--phantoms 12] [--wide 40] [--name ct_shifts] [key=value ...]

Each simulated shift is applied to phantoms that no training has seen (their truth is moved along where the shift moves
the anatomy) and to the real chest CT of the reference images (MEDSEG_DATA), from a file to the mask on its own grid.
The real CT has no truth: the mask is compared with that of the unshifted CT, moved alike, lung by lung, and with air
found by threshold and components in the unshifted CT, both lungs together. Then the millilitres of lung found in real
CT of legs, pelvis and trunk walls (sarcoma_ct_mr/CT); those with a lung in view, by looking, are named.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel
import numpy as np
from ct_shift_kinds import SHIFTS, Scan
from measure import Table, publish, reference_images

from medseg.bundle import find_bundle
from medseg.bundle.load import build, open_workflow
from medseg.case import Array, Case, LabelArray
from medseg.cli.arguments import overrides
from medseg.datasets.phantom import ct_phantom
from medseg.evaluation import spread
from medseg.evaluation.overlap import overlap_by_region
from medseg.geometry import reorient, voxel_volume_ml
from medseg.inference import Segmenter
from medseg.intake import read_image

LUNGS = {"left": [1], "right": [2]}
BOTH = {"both": [1, 2]}
AIR_HU = -400
Predict = Callable[[Scan], LabelArray]


@dataclass(frozen=True)
class Given:
    """What the command line asks for."""

    bundle: str
    phantoms: int
    wide: int
    seed: int
    lungs_in_view: tuple[str, ...]
    name: str
    changes: dict[str, object]


def main(given: Given) -> None:
    """Measure, print, write results."""
    with tempfile.TemporaryDirectory() as name:
        folder = find_bundle(given.bundle)
        workflow = open_workflow(folder, "inference", overrides={"input": name, "output_dir": name, **given.changes})
        segmenter: Segmenter = build(workflow, folder, "segmenter")

        def predict(scan: Scan) -> LabelArray:
            return segment(segmenter, Path(name), scan)

        tables = [on_phantoms(predict, given)]
        images = reference_images()
        if (images / "chest_ct_nlst").is_dir():
            tables.append(on_a_person(predict, images / "chest_ct_nlst" / "ct.nii.gz", given.seed))
        if (images / "sarcoma_ct_mr").is_dir():
            tables.append(elsewhere(predict, images / "sarcoma_ct_mr" / "CT" / "images", given.lungs_in_view))
    settings = {"seed": given.seed, "bundle": given.bundle, "changes": given.changes}
    publish(given.name, tables, settings=settings)


def segment(segmenter: Segmenter, folder: Path, scan: Scan) -> LabelArray:
    """Labels (X, Y, Z) of a scan, through a file."""
    path = folder / "case.nii"
    image = nibabel.Nifti1Image(scan.hu.astype(np.int16), scan.affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    return segmenter({"id": "case", "image": str(path)}).labels.array


def on_phantoms(predict: Predict, given: Given) -> Table:
    """Each shift on the same phantoms; then phantoms of all kinds."""
    table = Table(
        f"{given.phantoms} unseen phantoms under each shift",
        ["shift", "left lung: Dice", "worst", "right lung: Dice", "worst"],
    )
    scans = [_scan(ct_phantom((given.seed, i))) for i in range(given.phantoms)]
    for title, shift in SHIFTS.items():
        rng = np.random.default_rng(given.seed)
        table.rows.append([title, *_row([_dice(predict, shift(scan, rng)) for scan in scans])])
    wide = [_dice(predict, _scan(ct_phantom((given.seed, i), wide=True))) for i in range(given.wide)]
    table.rows.append([f"{given.wide} phantoms of all kinds (--wide)", *_row(wide)])
    return table


def on_a_person(predict: Predict, path: Path, seed: int) -> Table:
    """Each shift on the real chest CT, every second voxel along X and Y."""
    table = Table(
        "A real chest CT under each shift: Dice",
        ["shift", "left lung, with the unshifted", "right lung, with the unshifted", "both, with air by threshold"],
    )
    image = reorient(read_image(path), "RAS")
    affine = image.affine @ np.diag([2.0, 2.0, 1.0, 1.0])
    plain = Scan(np.asarray(image.array[0, ::2, ::2], np.float32), np.zeros(0, np.uint8), affine)
    found = replace(plain, label=predict(plain))
    air = replace(plain, label=air_inside_the_body(plain.hu))
    for title, shift in SHIFTS.items():
        moved, moved_air = (shift(scan, np.random.default_rng(seed)) for scan in (found, air))
        labels = predict(moved)
        each = {k: v.dice for k, v in overlap_by_region(labels, moved.label, LUNGS).items()}
        both = overlap_by_region(labels, moved_air.label, BOTH)["both"].dice
        table.rows.append([title, *(f"{value:.4f}" for value in (each["left"], each["right"], both))])
    return table


def elsewhere(predict: Predict, folder: Path, lungs_in_view: Sequence[str]) -> Table:
    """Millilitres found in CT of other parts of the body."""
    table = Table("Lung found in real CT without lungs", ["images", "lung found in", "ml, mean", "ml, most", "worst"])
    ml = {}
    for path in sorted(folder.glob("*.nii.gz")):
        image = reorient(read_image(path), "RAS")
        scan = Scan(np.asarray(image.array[0], np.float32), np.zeros(0, np.uint8), image.affine)
        ml[path.name.split(".")[0]] = float((predict(scan) > 0).sum() * voxel_volume_ml(image.affine))
    none = {name: value for name, value in ml.items() if name not in lungs_in_view}
    worst = max(none, key=lambda name: none[name])
    some = sum(value > 1 for value in none.values())
    mean = float(np.mean(list(none.values())))
    table.rows.append([len(none), f"{some} (more than 1 ml)", f"{mean:.1f}", f"{none[worst]:.1f}", worst])
    for name in lungs_in_view:
        table.notes.append(f"{name}, with a part of a lung in view: {ml.get(name, float('nan')):.1f} ml")
    return table


def air_inside_the_body(hu: Array) -> LabelArray:
    """1 where dark voxels are not joined to the air round the body, the two largest pieces, closed; no network."""
    from scipy import ndimage

    dark = hu < AIR_HU
    pieces, count = ndimage.label(dark)
    sides = (pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1])
    sizes = ndimage.sum_labels(dark, pieces, np.arange(count + 1))
    sizes[np.unique(np.concatenate([side.ravel() for side in sides]))] = 0
    largest = [piece for piece in np.argsort(sizes)[-2:] if sizes[piece] > 0.1 * sizes.max()]
    return np.asarray(ndimage.binary_closing(np.isin(pieces, largest), iterations=3), np.uint8)


def _scan(case: Case) -> Scan:
    assert case.label is not None, "phantoms carry their truth"
    image, label = reorient(case.image, "RAS"), reorient(case.label, "RAS")
    return Scan(np.asarray(image.array[0], np.float32), label.array, image.affine)


def _dice(predict: Predict, scan: Scan) -> dict[str, float]:
    return {name: found.dice for name, found in overlap_by_region(predict(scan), scan.label, LUNGS).items()}


def _row(scores: Sequence[dict[str, float]]) -> list[str]:
    cells = []
    for lung in LUNGS:
        dice = spread([score[lung] for score in scores])
        cells += [f"{dice['mean']:.4f}", f"{dice['min']:.3f}"]
    return cells


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="ct_lung")
    parser.add_argument("--phantoms", type=int, default=12)
    parser.add_argument("--wide", type=int, default=40)
    parser.add_argument("--seed", type=int, default=7077)
    parser.add_argument("--lungs-in-view", nargs="*", default=["STS_037"])
    parser.add_argument("--name", default="ct_shifts", help="of the files in benchmarks/results")
    parser.add_argument("changes", metavar="key=value", nargs="*", default=[])
    options = vars(parser.parse_args())
    if any("=" in name for name in options["lungs_in_view"]):  # argparse gives it all that no option follows
        parser.error("key=value stands before --lungs-in-view")
    options["changes"] = overrides(options["changes"])
    options["lungs_in_view"] = tuple(options["lungs_in_view"])
    main(Given(**options))
