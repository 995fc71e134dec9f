"""Cross-validate a bundle: train and score each fold, one table over all cases, and the ensemble as a bundle.

python pipelines/cross_validate.py BUNDLE --datalist DATALIST.json -o DIR [--folds 5] [--fold K ...] [--jobs N]
    [--merge] [--seed 42] [--with-test] [--overlay NAME ...] [--device cpu|cuda|cuda:1] [--trust] [key=value ...]

Folds keep patients together. Each fold is trained in DIR/fold_K, which is itself a bundle, and scored on its own cases;
a fold that was begun goes on (`--resume`), one that is done is not done again. A folder takes folds of one data list,
bundle and configuration only; device, workers and `stop_after_minutes` may differ. `--jobs` runs as many folds at once,
each with its share of the cores and the memory; `--fold` takes some of them, so that folds can run side by side on
other machines. When all are there, DIR/scores.csv and DIR/summary.json hold the scores of every case by the network
that never saw its patient, and DIR/ensemble is a bundle of all folds' networks. The test part of the data list stays
apart and the ensemble is scored on it, unless `--with-test` deals it out with the rest. `--merge` makes the table and
the ensemble of folds that are all done, and trains nothing. submit_slurm.py makes jobs of the folds, for a cluster.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from medseg.bundle import find_bundle
from medseg.cli.arguments import overrides
from medseg.datasets import read_datalist
from medseg.datasets.datalist import by_section, datalist_from, write_json
from medseg.datasets.folds import ALL_CASES
from medseg.errors import BundleError, DataError, MedsegError
from medseg.evaluation import summarise, write_scores, write_summary
from medseg.evaluation.bootstrap import interval_text
from medseg.signals import TERMINATED, StopRequests
from medseg.workflows import evaluate, train
from medseg.workflows.folds import fold_scores, open_folds, training_settings
from medseg.workflows.predict import CaseOptions
from medseg.workflows.side_by_side import run_side_by_side

INTERRUPTED = 130
OF_THE_RUN_ALONE = ("evaluation", "tensorboard", "models", "run.json", "history.csv", "training.*", "log.txt")
"""What lies beside configs/ in a run's folder and is no part of the bundle."""
ABOUT_ENSEMBLE = """# The networks of a cross-validation together

This folder is a complete MONAI bundle. `models/` has the best weights of each fold; the bundle gives the mean of their
logits. `datalist.json` has as training cases all that any fold has seen: none of them can measure the ensemble.
"""


def main() -> int:
    """Train and score the folds that are asked for; when all are done, what they say together."""
    options = _options()
    folder = options.output.resolve()
    chosen = [] if options.merge else options.fold or list(range(options.folds))
    _refuse_unknown(chosen, options.folds)
    lists = deal(options)
    if options.jobs > 1 and len(chosen) > 1:
        run_together(chosen, options)
    else:
        for fold in chosen:
            run_fold(lists[fold], folder / f"fold_{fold}", options)
    runs = [folder / f"fold_{fold}" for fold in range(options.folds)]
    missing = [run.name for run in runs if not scores_of(run).is_file()]
    if missing and options.merge:
        raise DataError("folds that have no scores yet", got=", ".join(missing), next_step="leave --merge out")
    if missing:
        print(f"not done yet: {', '.join(missing)}")
    elif not options.only_folds:
        conclude(runs, lists, folder, options)
    return 0


def deal(options: argparse.Namespace) -> list[Path]:
    """The data list of each fold, written into the folder, which holds no folds dealt or trained otherwise."""
    settings = training_settings(
        find_bundle(options.bundle), overlays=options.overlay, overrides=overrides(options.changes)
    )
    return open_folds(
        options.datalist,
        options.output.resolve(),
        folds=options.folds,
        seed=options.seed,
        with_test=options.with_test,
        settings=settings,
    )


def run_together(folds: Sequence[int], options: argparse.Namespace) -> None:
    """This command for each fold alone, `--jobs` of them at once, each with its share of the cores and the memory."""
    threads = str(max(1, (os.cpu_count() or 1) // options.jobs))
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads)}

    commands = {f"fold_{fold}": fold_command(fold, options) for fold in folds}
    codes = run_side_by_side(commands, at_once=options.jobs, environment=environment)
    failed = [f"{name} (exit {code})" for name, code in codes.items() if code]
    if failed:
        raise BundleError(
            "folds that were not done", got=", ".join(failed), next_step="see above; the same command goes on"
        )


def fold_command(fold: int, options: argparse.Namespace) -> list[str]:
    """This command for one fold alone, whatever folds `options` names."""
    return [*command_of(options), "--only-folds", "--fold", str(fold)]


def command_of(options: argparse.Namespace) -> list[str]:
    """This command with what `options` says of its subject, wherever it is run."""
    script = [sys.executable, str(Path(__file__).resolve()), str(find_bundle(options.bundle).resolve())]
    given = ["--datalist", options.datalist.resolve(), "-o", options.output.resolve()]
    given += ["--folds", options.folds, "--seed", options.seed, *(["--with-test"] if options.with_test else [])]
    given += [] if options.device is None else ["--device", options.device]
    given += ["--trust"] if options.trust else []
    given += [word for name in options.overlay for word in ("--overlay", name)]
    return [*script, *options.changes, *map(str, given)]


def run_fold(datalist: Path, run: Path, options: argparse.Namespace) -> None:
    """Train and score one fold, or what is left of it; a fold that is stopped midway has no scores."""
    if not scores_of(run).is_file():
        train_fold(datalist, run, options)
        StopRequests.heed_late()  # a training that is through ends as one that was not asked to stop
        record = record_of(run)
        if record.get("status", "done") != "done":
            far = f"epoch {record['epoch']} of {record['epochs']}"
            print(f"{run.name}: not done yet, {far}; the same command goes on", flush=True)
            return
        score_bundle(run, datalist, options)
    show(run.name, run / "evaluation")


def train_fold(datalist: Path, run: Path, options: argparse.Namespace) -> None:
    """Train one fold from its beginning or from its last checkpoint; nothing where it is trained to its end."""
    begun = (run / "models" / "last.pt").is_file()
    if not begun or record_of(run).get("status") != "done":
        train(
            options.bundle,
            datalist=datalist,
            run_dir=run,
            overlays=options.overlay,
            resume=begun,
            device=options.device,
            overrides=overrides(options.changes),
            trust=options.trust,
        )


def score_bundle(bundle: Path, datalist: Path, options: argparse.Namespace) -> None:
    """Score the test cases of the data list in evaluation/; where any has no score there is no table to go on with.

    What a scoring that was stopped has done with the same weights is not done again.

    Raises
    ------
    DataError
        Cases failed.
    """
    target = bundle / "evaluation"
    how = CaseOptions(device=options.device, resume=target.is_dir() or None)
    report = evaluate(bundle, datalist=datalist, output_dir=target, options=how, trust=options.trust)
    if report.failed:
        (target / "scores.csv").unlink(missing_ok=True)
        raise DataError(
            f"{bundle.name}: {len(report.failed)} of {len(report.cases)} cases have no scores",
            next_step=f"see {target / 'report.json'}",
        )


def conclude(runs: Sequence[Path], lists: Sequence[Path], folder: Path, options: argparse.Namespace) -> None:
    """The table over all cases, the ensemble, and its scores on the test part that stayed apart."""
    merge(runs, lists, folder)
    ensemble = folder / "ensemble"
    make_ensemble(runs, ensemble)
    tell_cases(folder, options)
    if has_own_test_part(options):
        score_bundle(ensemble, options.datalist, options)
        show("test part, by the ensemble", ensemble / "evaluation")


def has_own_test_part(options: argparse.Namespace) -> bool:
    """Whether there are cases that no fold has, to score the ensemble on."""
    return not options.with_test and bool(read_datalist(options.datalist)["test"])


def scores_of(run: Path) -> Path:
    """The table that tells that a fold is done."""
    return run / "evaluation" / "scores.csv"


def record_of(run: Path) -> dict[str, Any]:
    """What run.json says, "done" where the training has come to its end; nothing of a bundle that writes none."""
    from medseg.training.handlers import read_record  # late: it brings torch

    return read_record(run)


def merge(runs: Sequence[Path], lists: Sequence[Path], folder: Path) -> None:
    """One table over the cases of all folds, with intervals by patient."""
    rows = [row for run, datalist in zip(runs, lists, strict=True) for row in fold_scores(run, datalist)]
    patients = {item["id"]: item["patient"] for path in lists for item in read_datalist(path)["test"]}
    write_scores(rows, folder / "scores.csv")
    write_summary(summarise(rows, patients=patients), folder / "summary.json")
    show("all folds", folder)


def make_ensemble(runs: Sequence[Path], ensemble: Path) -> None:
    """A bundle like the first fold's whose weights are those of all folds: the mean of their logits.

    Of one that is there the scored cases stay: those of the same weights need not be done again.
    """
    for part in ensemble.iterdir() if ensemble.is_dir() else ():
        if part.is_file():
            part.unlink()
        elif part.name != "evaluation":
            shutil.rmtree(part)
    scores_of(ensemble).unlink(missing_ok=True)
    ignore = shutil.ignore_patterns(*OF_THE_RUN_ALONE)

    def left_out(folder: str, names: list[str]) -> set[str]:
        return ignore(folder, names) if Path(folder) == runs[0] else set()

    shutil.copytree(runs[0], ensemble, ignore=left_out, dirs_exist_ok=True)
    (ensemble / "models").mkdir(exist_ok=True)
    for run in runs:
        shutil.copyfile(run / "models" / "model.pt", ensemble / "models" / f"{run.name}.pt")
    common = ensemble / "configs" / "common.yaml"
    content = yaml.safe_load(common.read_text(encoding="utf-8"))
    content["weights"] = [f"$@bundle_root + '/models/{run.name}.pt'" for run in runs]
    common.write_text(yaml.safe_dump(content, sort_keys=False, width=120), encoding="utf-8")
    (ensemble / "docs" / "README.md").write_text(ABOUT_ENSEMBLE, encoding="utf-8")


def tell_cases(folder: Path, options: argparse.Namespace) -> None:
    """The ensemble's own data list: all that any fold has, its networks have learnt from; the rest is for tests."""
    dealt, ensemble = folder / "datalists" / ALL_CASES, folder / "ensemble"
    content = datalist_from(dealt, ensemble)
    parts = ("training", "validation", *(["test"] if options.with_test else []))
    learnt = [("training", item) for part in parts for item in content[part]]
    kept = [("test", item) for item in content["test"] if "test" not in parts]
    write_json({**content, **by_section([*learnt, *kept])}, ensemble / "datalist.json")


def show(title: str, folder: Path) -> None:
    """A line for each region: mean Dice with its interval."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    for name, region in {**summary["regions"], "mean over regions": summary["mean_over_regions"]}.items():
        dice = region["dice"]
        print(f"{title}: {name}: Dice {dice['mean']:.4f} {interval_text(dice['mean_ci95'])}, {dice['n']} cases")


def _refuse_unknown(chosen: Sequence[int], folds: int) -> None:
    unknown = [fold for fold in chosen if not 0 <= fold < folds]
    if unknown:
        raise DataError("no such fold", got=", ".join(map(str, unknown)), expected=f"0 to {folds - 1}")


def add_subject(parser: argparse.ArgumentParser) -> None:
    """What is cross-validated, and where to: the arguments that submit_slurm.py has, too."""
    parser.add_argument("bundle")
    parser.add_argument("--datalist", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--with-test", action="store_true", help="deal out the test part, too")
    parser.add_argument("--device")
    parser.add_argument(
        "--trust", action="store_true", help="let the bundle, its folds and their ensemble do all it wants"
    )
    parser.add_argument("--overlay", action="append", default=[])
    parser.add_argument("changes", metavar="key=value", nargs="*", default=[])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_subject(parser)
    parser.add_argument("--fold", type=_fold_or_change, nargs="+", default=[], help="only these, from 0 on")
    parser.add_argument("--jobs", type=int, default=1, help="folds at once on this machine")
    parser.add_argument("--only-folds", action="store_true", help="no table and no ensemble, even if all are done")
    parser.add_argument("--merge", action="store_true", help="only the table and the ensemble of folds that are done")
    options = parser.parse_intermixed_args()
    given, options.fold = options.fold, [word for word in options.fold if isinstance(word, int)]
    options.changes += [word for word in given if isinstance(word, str)]
    if given and not options.fold:
        parser.error("argument --fold: expected at least one number")
    if options.merge and (options.fold or options.only_folds):
        parser.error("--merge is of all folds: without --fold and --only-folds")
    return options


def _fold_or_change(word: str) -> int | str:
    """A number, or a key=value that stands behind the numbers: argparse gives --fold all that no option follows."""
    if "=" in word:
        return word
    try:
        return int(word)
    except ValueError:
        raise argparse.ArgumentTypeError(f"invalid int value: {word!r}") from None


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    logging.getLogger("medseg").setLevel(logging.INFO)
    try:
        sys.exit(main())
    except MedsegError as error:
        sys.exit(f"cross_validate: {error}")
    except (KeyboardInterrupt, SystemExit) as stop:
        code = INTERRUPTED if isinstance(stop, KeyboardInterrupt) else stop.code
        if code in (INTERRUPTED, TERMINATED):
            print("cross_validate: stopped; the same command goes on", file=sys.stderr)
        sys.exit(code)
