"""Cross-validate a bundle: train and score each fold, one table over all cases, and the ensemble as a bundle.

python pipelines/cross_validate.py BUNDLE --datalist DATALIST.json -o DIR [--folds 5] [--fold K ...] [--seed 42]
    [--with-test] [--overlay NAME ...] [key=value ...]

Folds keep patients together. Each fold is trained in DIR/fold_K, which is itself a bundle, and scored on its own cases;
a fold that was begun goes on (`--resume`), one that is done is not done again. `--fold` takes some of them, so that
folds can run side by side on other machines; when all are there, DIR/scores.csv and DIR/summary.json hold the scores of
every case by the network that never saw its patient, and DIR/ensemble is a bundle of all folds' networks. The test part
of the data list stays apart and the ensemble is scored on it, unless `--with-test` deals it out with the rest.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from medseg.cli.arguments import overrides
from medseg.datasets import read_datalist, write_folds
from medseg.errors import MedsegError
from medseg.evaluation import summarise, write_scores, write_summary
from medseg.evaluation.table import read_scores
from medseg.workflows import evaluate, train


def main() -> int:
    """Train and score the folds that are asked for; when all are done, what they say together."""
    options = _options()
    folder = options.output.resolve()
    lists = write_folds(
        options.datalist, folder / "datalists", folds=options.folds, seed=options.seed, with_test=options.with_test
    )
    changes = overrides(options.changes)
    for fold in options.fold or range(options.folds):
        run_fold(options.bundle, lists[fold], folder / f"fold_{fold}", overlays=options.overlay, changes=changes)
    runs = [folder / f"fold_{fold}" for fold in range(options.folds)]
    missing = [run.name for run in runs if not scores_of(run).is_file()]
    if missing:
        print(f"not done yet: {', '.join(missing)}")
        return 0
    merge(runs, lists, folder)
    make_ensemble(runs, folder / "ensemble")
    if not options.with_test and read_datalist(options.datalist)["test"]:
        evaluate(folder / "ensemble", datalist=options.datalist, output_dir=folder / "ensemble" / "evaluation")
        show("test part, by the ensemble", folder / "ensemble" / "evaluation")
    return 0


def run_fold(bundle: str, datalist: Path, run: Path, *, overlays: Sequence[str], changes: dict[str, Any]) -> None:
    """Train and score one fold, or what is left of it."""
    if not scores_of(run).is_file():
        begun = (run / "models" / "last.pt").is_file()
        if not begun or status_of(run) != "done":
            train(bundle, datalist=datalist, run_dir=run, overlays=overlays, resume=begun, overrides=changes)
        evaluate(run, datalist=datalist, output_dir=run / "evaluation")
    show(run.name, run / "evaluation")


def scores_of(run: Path) -> Path:
    """The table that tells that a fold is done."""
    return run / "evaluation" / "scores.csv"


def status_of(run: Path) -> str:
    """What run.json says: "running" where it was stopped midway."""
    return str(json.loads((run / "run.json").read_text(encoding="utf-8"))["status"])


def merge(runs: Sequence[Path], lists: Sequence[Path], folder: Path) -> None:
    """One table over the cases of all folds, with intervals by patient."""
    rows = [row for run in runs for row in read_scores(run / "evaluation")]
    patients = {item["id"]: item["patient"] for path in lists for item in read_datalist(path)["test"]}
    write_scores(rows, folder / "scores.csv")
    write_summary(summarise(rows, patients=patients), folder / "summary.json")
    show("all folds", folder)


def make_ensemble(runs: Sequence[Path], ensemble: Path) -> None:
    """A bundle like the first fold's whose weights are those of all folds: the mean of their logits."""
    shutil.rmtree(ensemble, ignore_errors=True)
    left_out = shutil.ignore_patterns(
        "evaluation", "tensorboard", "*.pt", "run.json", "*.csv", "training.*", "precision.json"
    )
    shutil.copytree(runs[0], ensemble, ignore=left_out)
    (ensemble / "models").mkdir(exist_ok=True)
    for run in runs:
        shutil.copyfile(run / "models" / "model.pt", ensemble / "models" / f"{run.name}.pt")
    common = ensemble / "configs" / "common.yaml"
    content = yaml.safe_load(common.read_text(encoding="utf-8"))
    content["weights"] = [f"$@bundle_root + '/models/{run.name}.pt'" for run in runs]
    common.write_text(yaml.safe_dump(content, sort_keys=False, width=120), encoding="utf-8")


def show(title: str, folder: Path) -> None:
    """A line for each region: mean Dice with its interval."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    for name, region in {**summary["regions"], "mean over regions": summary["mean_over_regions"]}.items():
        dice = region["dice"]
        low, high = dice["mean_ci95"]
        print(f"{title}: {name}: Dice {dice['mean']:.4f} [{low:.4f}, {high:.4f}], {dice['n']} cases")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--datalist", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--fold", type=int, nargs="+", help="only these, from 0 on")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--with-test", action="store_true", help="deal out the test part, too")
    parser.add_argument("--overlay", action="append", default=[])
    parser.add_argument("changes", metavar="key=value", nargs="*", default=[])
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except MedsegError as error:
        sys.exit(f"cross_validate: {error}")
