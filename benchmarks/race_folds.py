"""A bundle's recipe and nnU-Net side by side over all folds: every case once, by networks that never saw its patient.

python benchmarks/race_folds.py --datalist FILE -o DIR --nnunet PYTHON [--bundle ct_sarcoma] [--minutes 10] [--folds 5]
    [--device cpu|cuda] [--publish] [--only-pool] [key=value ...]

Each fold is raced by time_to_accuracy.py, both sides at once, each on half of the cores; a fold that is done is not
raced again. Then the masks at the end of all folds are compared case by case, with intervals by patient.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measure import RESULTS, Table, machine

from medseg.bundle import find_bundle, read_metadata
from medseg.evaluation import summarise, write_scores, write_summary
from medseg.evaluation.table import read_scores
from medseg.workflows.compare import Comparison, compare

HERE = Path(__file__).parent
OURS, THEIRS = "medseg", "nnU-Net"


def main(options: argparse.Namespace) -> None:
    """Race the folds that are not done, pool, publish."""
    folder = options.output.resolve()
    done = []
    for fold in range(options.folds):
        if not options.only_pool and not result_of(folder, fold).is_file():
            race(folder, fold, options)
        done.append(json.loads(result_of(folder, fold).read_text(encoding="utf-8")))
    refuse_other_limits(done, options.minutes * 60)
    publish(folder, done, pooled(folder, done), options)


def result_of(folder: Path, fold: int) -> Path:
    """What tells that a fold is done."""
    return folder / f"fold_{fold}" / "time_to_accuracy.json"


def race(folder: Path, fold: int, options: argparse.Namespace) -> None:
    """One fold."""
    command = [sys.executable, HERE / "time_to_accuracy.py", "--datalist", options.datalist, "--together"]
    command += ["-o", folder / f"fold_{fold}", "--bundle", options.bundle, "--nnunet", options.nnunet]
    command += ["--minutes", options.minutes, "--points", 1, "--fold", fold, "--folds", options.folds]
    command += ["--device", options.device, *options.changes]
    subprocess.run([str(part) for part in command], check=True)


def refuse_other_limits(done: Sequence[dict[str, Any]], limit_s: float) -> None:
    """Folds that had other minutes are no one experiment."""
    others = {fold: one["limit_s"] for fold, one in enumerate(done) if one["limit_s"] != limit_s}
    if others:
        raise SystemExit(f"folds that were raced for other seconds than {limit_s:g}: {others}; take another folder")


def pooled(folder: Path, done: Sequence[dict[str, Any]]) -> Comparison:
    """DIR/medseg and DIR/nnU-Net with the scores of all cases, and what compares them in DIR/comparison."""
    patients = patients_of(folder, len(done))
    table = folder / "patients.csv"
    table.write_text("case,patient\n" + "".join(f"{case},{of}\n" for case, of in patients.items()), encoding="utf-8")
    for side in (OURS, THEIRS):
        places = [result_of(folder, fold).parent / one["scores at the end"][side] for fold, one in enumerate(done)]
        rows = [row for place in places for row in read_scores(place)]
        (folder / side).mkdir(exist_ok=True)
        write_scores(rows, folder / side / "scores.csv")
        write_summary(summarise(rows, patients=patients), folder / side / "summary.json")
    target = folder / "comparison"
    return compare(folder / THEIRS, folder / OURS, output_dir=target, metrics=["dice"], patient_csv=f"{table}:patient")


def patients_of(folder: Path, folds: int) -> dict[str, str]:
    """Whose each case is."""
    tables = [folder / f"fold_{fold}" / "patients.csv" for fold in range(folds)]
    rows = [row for table in tables for row in csv.DictReader(table.read_text(encoding="utf-8").splitlines())]
    return {row["case"]: row["patient"] for row in rows}


def publish(folder: Path, done: Sequence[dict[str, Any]], found: Comparison, options: argparse.Namespace) -> None:
    """Tables on the screen; JSON and Markdown into the folder and, with --publish, into benchmarks/results."""
    tables = [fold_table(done), pooled_table(folder, found, options.bundle)]
    about = {**machine(), "device": done[0]["about"]["device"], "bundle": options.bundle, "changes": options.changes}
    about |= {"minutes a side": options.minutes, "folds": options.folds, "fold seed": 42, "training seed": 42}
    about |= {"threads a side": done[0]["sides"][OURS]["threads"], "loads before": loads(done)}
    text = "\n".join(table.markdown() for table in tables)
    text += "\n" + "; ".join(f"{name} {value}" for name, value in about.items())
    print(text)
    content = {"about": about, "folds": done, "tables": [vars(table) for table in tables]}
    targets = [folder / "race_folds"]
    if options.publish:
        targets.append(RESULTS / f"race_folds_{find_bundle(options.bundle).name}_{options.device}")
    for target in targets:
        target.with_suffix(".json").write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")
        target.with_suffix(".md").write_text(text + "\n", encoding="utf-8")
    print(f"written: {targets[-1]}.json, .md")


def loads(done: Sequence[dict[str, Any]]) -> str:
    """How busy the machine was before each fold."""
    return ", ".join(str(one["about"]["load before"]) for one in done)


def fold_table(done: Sequence[dict[str, Any]]) -> Table:
    """What each side reached in each fold, and in how many steps of its own."""
    table = Table("Dice at the end of each fold", ["fold", "cases", "nnU-Net", "iterations", "medseg", "epochs"])
    for fold, one in enumerate(done):
        ends = {side: one["curves"][side][-1] for side in (OURS, THEIRS)}
        theirs, ours = one["sides"][THEIRS], one["sides"][OURS]
        cases = one["tables"][0]["title"].split()[2]
        steps = f"at most {theirs['epochs done'] * theirs['iterations an epoch']}"
        row = [fold, cases, f"{ends[THEIRS]['dice']:.4f}", steps, f"{ends[OURS]['dice']:.4f}", ours["epochs done"]]
        table.rows.append(row)
    table.notes.append(
        "nnU-Net's last epoch ends with the time and may be short; of ours the best weights by validation count."
    )
    return table


def pooled_table(folder: Path, found: Comparison, bundle: str) -> Table:
    """Both over all cases, and their difference."""
    names = read_metadata(find_bundle(bundle)).labels
    columns = ["region", "nnU-Net", "medseg", "difference", "95 % interval", "p (permutation)", "won : lost"]
    table = Table(f"Dice of {found.cases} cases of {found.patients} patients, all folds", columns)
    means = {side: summary_of(folder / side) for side in (OURS, THEIRS)}
    for one in found.differences:
        low, high = one.difference_ci95
        region = names.get(int(one.region.rpartition(" ")[2]), one.region)
        sides = [spread(means[side]["regions"][one.region]["dice"]) for side in (THEIRS, OURS)]
        won = f"{one.wins} : {one.losses}"
        row = [region, *sides, f"{one.mean_difference:+.4f}", f"{low:+.4f} to {high:+.4f}", f"{one.p_permutation:.3g}"]
        table.rows.append([*row, won])
    return table


def summary_of(folder: Path) -> dict[str, Any]:
    """Its summary.json."""
    content: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return content


def spread(dice: dict[str, Any]) -> str:
    """Mean, its interval, and the median."""
    low, high = dice["mean_ci95"]
    return f"{dice['mean']:.4f} [{low:.4f}, {high:.4f}], median {dice['median']:.4f}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datalist", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--bundle", default="ct_sarcoma")
    parser.add_argument("--nnunet", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--publish", action="store_true")
    parser.add_argument("--only-pool", action="store_true", help="race nothing: pool the folds that are done")
    parser.add_argument("changes", metavar="key=value", nargs="*", default=[])
    return parser.parse_args()


if __name__ == "__main__":
    main(_options())
