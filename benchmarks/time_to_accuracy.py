"""Dice of a fold's test cases against wall time: a bundle's recipe and nnU-Net on the same machine, cases and fold.

python benchmarks/time_to_accuracy.py (--data MSD_FOLDER | --datalist FILE) -o DIR [--bundle mr_hippocampus]
    [--nnunet PYTHON] [--minutes 30] [--fold 0] [--folds 5] [--device cpu|cuda] [--cores 0,1] [--together]
    [key=value ...]

MSD_FOLDER is a data set as the Medical Segmentation Decathlon lays it out; FILE any data list of `medseg data
prepare` with volumes in .nii.gz. Folds are those of pipelines/cross_validate.py --with-test, patients together.
PYTHON is that of an environment with nnunetv2; without it only our side runs. Both sides train for the given minutes,
one after the other on all of --cores, or with --together at once, each on its half. Weights are kept as time goes by;
afterwards each of them segments the fold's test cases on their own grids, and all masks are scored by `medseg score`.
At the end the last masks of both are compared case by case, with paired intervals: for sarcomas in CT
--bundle ct_sarcoma --datalist FILE.

Ours: the bundle's train.yaml; the schedule is made as long as the limit by measuring three epochs, which are not
counted, unless epochs=N is given; early stopping is off. A tenth of the fold's training patients choose the weights
that count at the end. nnU-Net: its planner and trainer with the polynomial schedule by time and few iterations an
epoch (benchmarks/nnunet_training.py), trained on all patients beyond the fold; its last weights count, mirrored as it
does. Both clocks start with the process, so reading, caching and compiling count; nnU-Net's preprocessing does not.

DIR/time_to_accuracy.{json,md,svg} is what comes out; --publish writes it to benchmarks/results too. The curves before
the end are of weights in the middle of a schedule.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measure import RESULTS, Table, ends, machine
from race import Kept, NnUNet, Ours, Race, Side

from medseg.bundle import find_bundle, read_metadata
from medseg.cli.arguments import overrides
from medseg.datasets import deal_folds, prepare, read_datalist, write_folds
from medseg.review.report.svg import Drawing
from medseg.workflows.compare import compare
from medseg.workflows.score import score

STYLE = (
    "text{font:11px sans-serif;fill:#444}.axis{stroke:#444}.grid{stroke:#ddd}.label{font-weight:bold}"
    "polyline{fill:none;stroke-width:2}.a{stroke:#00796b;color:#00796b}.b{stroke:#c2410c}circle.a{fill:#00796b}"
    "circle.b{fill:#c2410c}text.a{fill:#00796b;stroke:none}text.b{fill:#c2410c;stroke:none}"
)


def main(options: argparse.Namespace) -> None:
    """Train, segment, score, compare, publish."""
    folder = options.output.resolve()
    race = Race(
        bundle=options.bundle,
        datalist=fold_datalist(options, folder),
        folder=folder,
        limit_s=options.minutes * 60,
        marks_s=marks(options.minutes * 60, options.points),
        device=options.device,
        seed=options.seed,
    )
    lay_out(race)
    sides = run_sides(race, sides_of(race, options), together=options.together)
    scored = {side.name: curve(race, side) for side in sides}
    publish(race, sides, scored, options)


def fold_datalist(options: argparse.Namespace, folder: Path) -> Path:
    """The data list of the fold; of a trial a few cases of each part."""
    listed: Path = options.datalist or folder / "all.json"
    if options.datalist is None:
        prepare("decathlon", options.data, listed, patient_regex=options.patient_regex)
    folds = write_folds(
        deal_folds(listed, folder / "folds", folds=options.folds, seed=options.fold_seed, with_test=True),
        folder / "folds",
    )
    content = read_datalist(folds[options.fold])
    for part in ("training", "validation", "test"):
        content[part] = content[part][: options.cases_at_most]
    path: Path = folds[options.fold].with_name("raced.json")
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return path


def marks(limit_s: float, points: int) -> tuple[float, ...]:
    """When weights are kept: closer together at the beginning, the last at the limit."""
    return tuple(limit_s * (point / points) ** 2 for point in range(1, points + 1))


def lay_out(race: Race) -> None:
    """images/ and truth/ of the test cases under their ids, and which patient each is of."""
    for name in ("images", "truth"):
        shutil.rmtree(race.folder / name, ignore_errors=True)
        (race.folder / name).mkdir(parents=True)
    with (race.folder / "patients.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["case", "patient"])
        for case in race.test_cases():
            for name, key in (("images", "image"), ("truth", "label")):
                shutil.copyfile(case[key], race.folder / name / f"{case['id']}.nii.gz")
            table.writerow([case["id"], case["patient"]])


def sides_of(race: Race, options: argparse.Namespace) -> list[Ours | NnUNet]:
    """Who runs, on which cores."""
    cores = [int(core) for core in options.cores.split(",")] if options.cores else sorted(os.sched_getaffinity(0))
    changes = {name: str(value) for name, value in (change.split("=", 1) for change in options.changes)}
    overrides(options.changes)  # refuses what is no key=value
    if options.nnunet is None:
        print("nnU-Net's side is left out: --nnunet names the python of an environment with nnunetv2")
        return [Ours(race, cores=cores, changes=changes)]
    if options.together and len(cores) < 2:
        raise SystemExit("--together needs two cores or more")
    half = len(cores) // 2
    ours, theirs = (cores[:half], cores[half:]) if options.together else (cores, cores)
    return [
        Ours(race, cores=ours, changes=changes),
        NnUNet(race, python=options.nnunet, cores=theirs, iterations=options.nnunet_iterations),
    ]


def run_sides(race: Race, sides: Sequence[Ours | NnUNet], *, together: bool) -> list[Side]:
    """Prepare all, train one after the other or at once, then segment; what each did."""
    for side in sides:
        print(f"{side.side.name}: preparing", flush=True)
        side.prepare()
    for group in [list(sides)] if together else [[side] for side in sides]:
        for side in group:
            print(f"{side.side.name}: training for {race.limit_s / 60:g} minutes", flush=True)
            side.start()
        while [side for side in group if side.look()]:
            time.sleep(0.2)
        for side in group:
            side.finish()
    for side in sides:
        print(f"{side.side.name}: segmenting {len(race.test_cases())} cases {len(side.side.kept)} times", flush=True)
        side.predict()
    return [side.side for side in sides]


def curve(race: Race, side: Side) -> list[dict[str, Any]]:
    """Seconds and Dice of each of the weights that were kept."""
    points = []
    for kept in side.kept:
        summary = scored(race, kept)
        dice = {name: region["dice"]["mean"] for name, region in summary["regions"].items()}
        mean = summary["mean_over_regions"]["dice"]
        points.append(
            {
                "seconds": round(kept.seconds, 1),
                "weights": kept.what,
                "dice": mean["mean"],
                "ci95": mean["mean_ci95"],
                "regions": dice,
            }
        )
    return points


def scored(race: Race, kept: Kept) -> dict[str, Any]:
    """The summary of the masks; a case without a mask ends the benchmark."""
    target = kept.predictions.with_name(f"{kept.predictions.name}_scores")
    shutil.rmtree(target, ignore_errors=True)
    masks = kept.predictions.with_name(f"{kept.predictions.name}_alone")
    shutil.rmtree(masks, ignore_errors=True)
    masks.mkdir(parents=True)
    for case in race.test_cases():
        name = f"{case['id']}.nii.gz"  # of both sides
        os.link(kept.predictions / name, masks / name)
    report = score(
        masks, race.folder / "truth", output_dir=target, patient_csv=f"{race.folder / 'patients.csv'}:patient"
    )
    if report.failed:
        raise SystemExit(f"{target}: {len(report.failed)} cases could not be scored, see report.json")
    summary: dict[str, Any] = json.loads((target / "summary.json").read_text(encoding="utf-8"))
    return summary


def publish(
    race: Race, sides: Sequence[Side], curves: dict[str, list[dict[str, Any]]], options: argparse.Namespace
) -> None:
    """Tables on the screen; JSON, Markdown and SVG into the folder."""
    names = read_metadata(find_bundle(race.bundle)).labels
    tables = [curve_table(race, curves, names)]
    paired = compared(race, sides)
    if paired is not None:
        tables.append(paired)
    about = {**machine(), "device": device_name(race.device), "bundle": race.bundle, "seed": race.seed}
    about |= {"fold": f"{options.fold} of {options.folds}, seed {options.fold_seed}", "at once": options.together}
    for side in sides:
        tables[0].notes.append(f"{side.name}: {'; '.join(f'{key} {value}' for key, value in side.about.items())}.")
    tables[0].notes.append("; ".join(f"{key} {value}" for key, value in about.items()))
    text = "\n".join(table.markdown() for table in tables)
    print(text)
    content = {"about": about, "sides": {side.name: side.about for side in sides}, "curves": curves}
    content["tables"] = [vars(table) for table in tables]
    targets = [race.folder / "time_to_accuracy"]
    if options.publish:
        targets.append(RESULTS / f"time_to_accuracy_{find_bundle(race.bundle).name}_{race.device}")
    for target in targets:
        target.with_suffix(".json").write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")
        target.with_suffix(".md").write_text(text + "\n", encoding="utf-8")
        target.with_suffix(".svg").write_text(drawn(curves, race), encoding="utf-8")
    print(f"written: {targets[-1]}.json, .md, .svg")


def device_name(device: str) -> str:
    """Of a GPU its name."""
    import torch

    return torch.cuda.get_device_name() if device.startswith("cuda") else device


def curve_table(race: Race, curves: dict[str, list[dict[str, Any]]], names: dict[int, str]) -> Table:
    """All points of all sides, in the order of time."""
    regions = sorted({region for points in curves.values() for point in points for region in point["regions"]})
    called = [names.get(int(region.rpartition(" ")[2]), region) for region in regions]
    title = f"Dice of {len(race.test_cases())} cases of the fold against wall time, {race.limit_s / 60:g} minutes each"
    table = Table(title, ["side", "seconds", "weights", "mean Dice", "95 % interval", *called])
    for name, points in curves.items():
        for point in points:
            each = [f"{point['regions'].get(region, float('nan')):.4f}" for region in regions]
            table.rows.append(
                [
                    name,
                    f"{point['seconds']:.0f}",
                    point["weights"],
                    f"{point['dice']:.4f}",
                    ends(point["ci95"]),
                    *each,
                ]
            )
    table.notes.append(
        "The last row of each side is its result (ours: the best by validation); the others are within a schedule."
    )
    return table


def compared(race: Race, sides: Sequence[Side]) -> Table | None:
    """The last masks of both, case by case; None where one side ran alone or kept nothing."""
    masks = [side.kept[-1].predictions for side in sides if side.kept]
    if len(masks) < 2:
        return None
    ours, theirs = (last.with_name(f"{last.name}_scores") for last in masks)
    target = race.folder / "comparison"
    shutil.rmtree(target, ignore_errors=True)
    found = compare(theirs, ours, output_dir=target, metrics=["dice"])
    title = "Ours against nnU-Net on the same cases at the end"
    table = Table(title, ["region", "nnU-Net", "ours", "difference", "95 % interval", "p (permutation)", "won : lost"])
    for one in found.differences:
        interval = ends(one.difference_ci95, "+.4f")
        row = [one.region, f"{one.mean_a:.4f}", f"{one.mean_b:.4f}", f"{one.mean_difference:+.4f}"]
        table.rows.append([*row, interval, f"{one.p_permutation:.3g}", f"{one.wins} : {one.losses}"])
    table.notes.append(f"{found.cases} cases of {found.patients} patients; each case in comparison/differences.csv.")
    return table


def drawn(curves: dict[str, list[dict[str, Any]]], race: Race) -> str:
    """The curves as SVG, time on a linear axis."""
    sketch = Drawing("Dice against wall time", ", ".join(curves))
    values = [point["dice"] for points in curves.values() for point in points] or [0.0]
    last = max([race.limit_s, *(point["seconds"] for points in curves.values() for point in points)])
    x = sketch.across(0.0, last / 60 * 1.05)
    y = sketch.upwards(max(0.0, min(values) - 0.02), min(1.0, max(values) + 0.02))
    sketch.x_axis(x, "minutes")
    sketch.y_axis(y, "Dice of the fold's cases")
    for number, (name, points) in enumerate(curves.items()):
        kind = "ab"[number]
        places = [(x(point["seconds"] / 60), y(point["dice"])) for point in points]
        sketch.path(places, kind)
        for (across, up), point in zip(places, points, strict=True):
            sketch.dot(across, up, kind, says=f"{name}: {point['seconds']:.0f} s, Dice {point['dice']:.4f}")
        sketch.text(sketch.width - 100, sketch.height - 70 + 16 * number, name, kind)
    return str(sketch).replace("<title>", f"<style>{STYLE}</style><title>", 1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path)
    source.add_argument("--datalist", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--bundle", default="mr_hippocampus")
    parser.add_argument("--nnunet", type=Path)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--points", type=int, default=8, help="how many weights are kept on the way")
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--fold-seed", type=int, default=42)
    parser.add_argument("--patient-regex", default=None, help="of --data: what in a case's id names its patient")
    parser.add_argument("--cases-at-most", type=int, help="of each part, for a trial")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--cores", help="such as 0,1; all that there are if not given")
    parser.add_argument("--together", action="store_true", help="both at once, each on half of the cores")
    parser.add_argument("--nnunet-iterations", type=int, default=25, help="an epoch; nnU-Net itself has 250")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--publish", action="store_true")
    parser.add_argument("changes", metavar="key=value", nargs="*", default=[])
    return parser.parse_args()


if __name__ == "__main__":
    main(_options())
