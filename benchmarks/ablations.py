"""What each part of a bundle's recipe brings: the recipe, and the recipe without each part, on the same cases.

python benchmarks/ablations.py BUNDLE --datalist FILE -o DIR (--epochs N | --minutes M) [--seeds 1 2 3] [--folds 5]
    [--fold 0] [--only PART ...] [--device cpu|cuda] [--publish] [key=value ...]
python benchmarks/ablations.py --page

Each variant is trained with each seed, one run after the other, in DIR/VARIANT/seed_N, and scored on the fold's cases
on their own grids. A run that is done is not done again, one that was begun is resumed: the command can be stopped at
any time. DIR takes runs of one recipe, length and fold. --minutes measures the recipe first and takes as
many epochs as fit: all variants have the same number. What a part brings is the Dice of the recipe minus that without
the part, of each case the mean over the seeds; the 95 % interval draws patients. --publish writes
benchmarks/results/ablations_BUNDLE.json, from which --page writes docs/concepts/ablations.md.
"""

from __future__ import annotations

import argparse
import copy
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import yaml
from measure import RESULTS, Table, ends, machine

from medseg.bundle import find_bundle
from medseg.cli.arguments import overrides
from medseg.datasets import deal_folds, load_datalist, write_folds
from medseg.datasets.datalist import SECTIONS
from medseg.evaluation import spread
from medseg.evaluation.table import read_scores
from medseg.workflows import evaluate, train
from medseg.workflows.predict import CaseOptions

PAGE = Path(__file__).resolve().parents[1] / "docs" / "concepts" / "ablations.md"
RECIPE = "the recipe"
GROUPS: dict[str, tuple[str, ...]] = {
    "rotation, scaling": ("RandAffined",),
    "elastic deformation": ("Rand2DElasticd", "Rand3DElasticd"),
    "mirroring": ("RandFlipd", "medseg.transforms.RandMirrorLabelsd"),
    "noise": ("RandGaussianNoised",),
    "blur, low resolution": ("RandGaussianSmoothd", "RandSimulateLowResolutiond"),
    "brightness, contrast, gamma": (
        *("RandScaleIntensityd", "RandScaleIntensityFixedMeand", "RandShiftIntensityd", "RandAdjustContrastd"),
        "RandHistogramShiftd",
    ),
}
"""Groups of augmentations that are left out together."""

ELASTIC_3D = {
    "_target_": "Rand3DElasticd",
    "keys": ["image", "label"],
    "prob": 0.2,
    "sigma_range": [5.0, 8.0],
    "magnitude_range": [20.0, 80.0],
    "mode": ["bilinear", "nearest"],
    "padding_mode": "zeros",
}
AVERAGE = {
    "_target_": "ignite.handlers.EMAHandler",
    "model": "@network",
    "momentum": {"_target_": "medseg.training.average_momentum", "steps": "$@epochs * len(@train::dataloader)"},
    "handle_buffers": "update",  # statistics of batch normalisation are averaged as the weights are that they belong to
}
Change = dict[str, Any]


def variants(config: Mapping[str, Any]) -> dict[str, Change | str]:
    """What each variant changes; or why the recipe has no such part.

    Parameters
    ----------
    config
        common.yaml and train.yaml of the bundle as one dict.
    """
    found: dict[str, Change | str] = {RECIPE: {}}
    found["without deep supervision"] = _deep_supervision(config)
    loss = "train::loss::loss" if "loss" in config["train"]["loss"] else "train::loss"
    found["without cross-entropy"] = {f"{loss}::lambda_ce": 0.0}
    found["without batch Dice"] = {f"{loss}::batch": False}
    found["without the moving average"] = _average(config)
    found |= {f"without {name}": _without(config, targets) for name, targets in GROUPS.items()}
    found["without any of these augmentations"] = _without(config, sum(GROUPS.values(), ()))
    found["with the moving average"] = _with_average(config)
    found["with elastic deformation"] = _elastic(config)
    found["without oversampled foreground"] = _oversampling(config)
    step = {"_target_": "torch.optim.lr_scheduler.ConstantLR", "optimizer": "@train::optimizer", "factor": 1.0}
    poly = {"_target_": "torch.optim.lr_scheduler.PolynomialLR", "optimizer": "@train::optimizer", "power": 0.9}
    found["constant rate, no schedule"] = {"train::scheduler": step}
    found["polynomial schedule"] = {"train::scheduler": {**poly, "total_iters": "@epochs"}}
    return found


def _deep_supervision(config: Mapping[str, Any]) -> Change | str:
    if config["network_def"].get("deep_supervision"):
        return {"network_def::deep_supervision": False}
    return "the network has a single head"


def _average(config: Mapping[str, Any]) -> Change | str:
    if "average" not in config["train"]:
        return "the recipe has no moving average"
    return {"validate::evaluator::network": "@network", "train::checkpoints::evaluated": "@network"}


def _with_average(config: Mapping[str, Any]) -> Change | str:
    if "average" in config["train"]:
        return "the recipe has it"
    before = config["train"]["handlers"]
    averaged = f"$@train::handlers::{len(before)}.ema_model"
    change = {"validate::evaluator::network": averaged, "train::checkpoints::evaluated": averaged}
    return {"train::handlers": [*before, AVERAGE], **change}


def _without(config: Mapping[str, Any], targets: Sequence[str]) -> Change | str:
    before = config["train"]["augmentation"]
    after = [copy.deepcopy(one) for one in before if one["_target_"] not in targets]
    return {"train::augmentation": after} if len(after) < len(before) else "the recipe has none"


def _elastic(config: Mapping[str, Any]) -> Change | str:
    before = config["train"]["augmentation"]
    if any("Elastic" in one["_target_"] for one in before):
        return "the recipe has it"
    if config["network_def"].get("spatial_dims") != 3:
        return "made for volumes"
    place = 1 + max((i for i, one in enumerate(before) if one["_target_"] == "RandAffined"), default=-1)
    return {"train::augmentation": [*before[:place], ELASTIC_3D, *before[place:]]}


def _oversampling(config: Mapping[str, Any]) -> Change | str:
    plain = {"_target_": "RandSpatialCropd", "keys": ["image", "label"], "roi_size": "@window", "random_size": False}
    before = config["train"]["augmentation"]
    after = [plain if "RandCropBy" in one["_target_"] else one for one in before]
    return {"train::augmentation": after} if after != before else "the recipe does not oversample"


def variants_of(bundle: str) -> dict[str, Change | str]:
    """Those of its recipe; where it offers deep supervision as an overlay, with that."""
    overlay = find_bundle(bundle) / "configs" / "deep_supervision.yaml"
    found = variants(recipe_of(bundle))
    if overlay.is_file():
        found["with deep supervision"] = yaml.safe_load(overlay.read_text(encoding="utf-8"))
    return found


def recipe_of(bundle: str) -> dict[str, Any]:
    """common.yaml and train.yaml as one dict, references as they are written."""
    folder = find_bundle(bundle) / "configs"
    parts = [yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8")) for name in ("common", "train")]
    return {**parts[0], **parts[1]}


def run_all(options: argparse.Namespace, datalist: Path) -> dict[str, list[Path]]:
    """Train and score what is missing; the folders with scores of each variant, one a seed."""
    found = variants_of(options.bundle)
    unknown = sorted(set(options.only or []) - set(found))
    if unknown:
        raise SystemExit(f"no such variant: {', '.join(unknown)}; there are: {', '.join(found)}")
    refuse_other_runs(options, datalist)
    epochs = options.epochs or fitting_epochs(options, datalist)
    scored: dict[str, list[Path]] = {}
    for name, change in found.items():
        if isinstance(change, str) or (options.only and name not in (RECIPE, *options.only)):
            continue
        for seed in options.seeds:
            run = options.output.resolve() / name.replace(" ", "_").replace(",", "") / f"seed_{seed}"
            settings = {**overrides(options.changes), "epochs": epochs, "early_stop_patience": epochs, "seed": seed}
            run_one(run, datalist, options, {**settings, **change})
            scored.setdefault(name, []).append(run / "evaluation")
    return scored


def refuse_other_runs(options: argparse.Namespace, datalist: Path) -> None:
    """Runs that are kept in the folder count as those that are asked for: they must be of one kind."""
    kept = options.output.resolve() / "settings.json"
    shown = {"epochs": options.epochs, "minutes": options.minutes, "overlay": options.overlay}
    shown |= {"bundle": find_bundle(options.bundle).name, "changes": sorted(options.changes)}
    cases = {part: [case["id"] for case in load_datalist(datalist, part)] for part in SECTIONS}
    asked = json.loads(json.dumps({**shown, "cases": cases, "recipe": recipe_of(options.bundle)}))  # as it is read back
    if kept.is_file():
        before = json.loads(kept.read_text(encoding="utf-8"))
        other = [name for name in asked if asked[name] != before.get(name)]
        if other:
            told = "; ".join(f"{name} {before.get(name)}, now {asked[name]}" for name in other if name in shown)
            raise SystemExit(
                f"{kept.parent}: begun with other {', '.join(other)}{f' ({told})' if told else ''}; give another -o"
            )
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(asked, indent=1), encoding="utf-8")


def run_one(run: Path, datalist: Path, options: argparse.Namespace, settings: Change) -> None:
    """Train and score, or what is left of it."""
    if (run / "evaluation" / "scores.csv").is_file():
        return
    record = run / "run.json"
    begun = (run / "models" / "last.pt").is_file() and record.is_file()
    if not begun or json.loads(record.read_text(encoding="utf-8"))["status"] != "done":
        print(f"{run.parent.name}, {run.name}: training", flush=True)
        shared: dict[str, Any] = {"datalist": datalist, "run_dir": run, "device": options.device}
        train(options.bundle, **shared, overlays=options.overlay, resume=begun, overrides=settings)
    report = evaluate(run, datalist=datalist, output_dir=run / "evaluation", options=CaseOptions(device=options.device))
    if report.failed:
        (run / "evaluation" / "scores.csv").unlink(missing_ok=True)
        raise SystemExit(f"{run}: {len(report.failed)} cases have no scores, see evaluation/report.json")


def fitting_epochs(options: argparse.Namespace, datalist: Path) -> int:
    """How many epochs of the recipe fit into --minutes, by two that are not counted; kept for the next time."""
    kept = options.output.resolve() / "epochs.json"
    if kept.is_file():
        return int(json.loads(kept.read_text(encoding="utf-8"))["epochs"])
    trial = kept.with_name("trial")
    shutil.rmtree(trial, ignore_errors=True)
    settings = {**overrides(options.changes), "epochs": 2, "validate_every": 2}
    shared: dict[str, Any] = {"datalist": datalist, "run_dir": trial, "device": options.device}
    train(options.bundle, **shared, overlays=options.overlay, overrides=settings)
    seconds = json.loads((trial / "run.json").read_text(encoding="utf-8"))["training_seconds"] / 2
    epochs = max(1, int(options.minutes * 60 / seconds))
    kept.write_text(json.dumps({"epochs": epochs, "seconds_an_epoch": seconds}), encoding="utf-8")
    return epochs


def dice_of_cases(folders: Sequence[Path]) -> dict[str, float]:
    """Of each case the mean Dice over its regions and over the seeds."""
    values: dict[str, list[float]] = {}
    for folder in folders:
        for row in read_scores(folder):
            values.setdefault(row.case, []).append(float(row.scores["dice"]))
    return {case: fmean(found) for case, found in values.items()}


def table_of(scored: Mapping[str, Sequence[Path]], patients: Mapping[str, str], *, title: str) -> Table:
    """A row for each variant: Dice, its spread over seeds, and what the part brings."""
    table = Table(title, ["variant", "seeds", "Dice", "sd over seeds", "recipe minus variant", "95 % interval"])
    recipe = dice_of_cases(scored[RECIPE])
    for name, folders in scored.items():
        dice = dice_of_cases(folders)
        seeds = [fmean(dice_of_cases([folder]).values()) for folder in folders]
        wide = f"{stdev(seeds):.4f}" if len(seeds) > 1 else "one seed"
        row: list[object] = [name, len(seeds), f"{fmean(dice.values()):.4f}", wide]
        if name == RECIPE:
            table.rows.append([*row, "", ""])
            continue
        gains = [recipe[case] - dice[case] for case in recipe]
        found = spread(gains, patients=[patients[case] for case in recipe])
        table.rows.append([*row, f"{found['mean']:+.4f}", ends(found["mean_ci95"], "+.4f")])
    return table


def publish(options: argparse.Namespace, table: Table) -> None:
    """Print; write JSON into the folder, and into benchmarks/results for the page."""
    skipped = {name: why for name, why in variants_of(options.bundle).items() if isinstance(why, str)}
    about = {**machine(), "device": options.device, "seeds": " ".join(map(str, options.seeds))}
    length = f"{options.epochs} epochs" if options.epochs else f"{options.minutes:g} minutes"
    about |= {"bundle": find_bundle(options.bundle).name, "fold": f"{options.fold} of {options.folds}"}
    about |= {"length": length, "overlays": " ".join(options.overlay), "changes": " ".join(options.changes)}
    print(table.markdown())
    content = {"about": about, "table": vars(table), "skipped": skipped}
    targets = [options.output / "ablations.json"]
    if options.publish:
        targets.append(RESULTS / f"ablations_{about['bundle']}.json")
    for target in targets:
        target.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def page(results: Sequence[Path]) -> str:
    """docs/concepts/ablations.md from all results that there are."""
    lines = [INTRODUCTION]
    for path in results:
        content = json.loads(path.read_text(encoding="utf-8"))
        lines.append(Table(**content["table"]).markdown().replace("### ", "## ", 1))
        skipped = "; ".join(f"{name} ({why})" for name, why in content["skipped"].items())
        lines += [f"Not in this recipe: {skipped}.\n" if skipped else ""]
        lines += ["; ".join(f"{key} {value}" for key, value in content["about"].items() if value) + ".\n"]
    if not results:
        lines.append("No results have been published yet.\n")
    return "\n".join(lines).rstrip() + "\n"


INTRODUCTION = """# What each part of a recipe brings

<!-- written by benchmarks/ablations.py --page from benchmarks/results/ablations_*.json: change nothing here -->

Each bundle's recipe is trained as it is, and once without each of its parts, with several seeds, on the same cases for
as many epochs. What a part brings is the Dice of the recipe minus that of the variant: above 0 the part helps. Of each
case the mean over its regions and the seeds counts; the 95 % interval draws patients, so it says how far the cases
carry. The spread over seeds, beside it, says how far one run does: a gain that is smaller than that needs more seeds.
How long the runs were stands below each table, and counts: what is best for minutes need not be for hours. The cases
are of the source that was trained on: what a part brings on images of other machines is not seen here
([robustness](robustness.md)). Those of ct_lung are phantoms of all kinds
(`medseg data phantom -o wide --cases 150 --seed 2041 --wide`), at 6 mm in place of 3, so that a run takes minutes.

The parts: deep supervision (losses at coarser outputs), cross-entropy beside Dice, Dice over the whole batch, the
moving average of the weights, each group of augmentations, windows that are drawn on the foreground more often, and the
schedule of the learning rate (cosine in the recipes).

<!-- ci: parse: days of training -->
```bash
python benchmarks/ablations.py mr_hippocampus --datalist datalist.json -o ablations --minutes 30 --seeds 1 2 3 --publish
python benchmarks/ablations.py --page
```
"""


def main(options: argparse.Namespace) -> None:
    """The page, or runs and their table."""
    if options.page:
        PAGE.write_text(page(sorted(RESULTS.glob("ablations_*.json"))), encoding="utf-8")
        return
    folder = options.output.resolve()
    dealt = deal_folds(options.datalist, folder / "folds", folds=options.folds, seed=42, with_test=True)
    folds = write_folds(dealt, folder / "folds")
    scored = run_all(options, folds[options.fold])
    patients = {case["id"]: case["patient"] for case in load_datalist(folds[options.fold], "test")}
    cases = f"{len(patients)} cases, {len(options.seeds)} seeds"
    publish(options, table_of(scored, patients, title=f"{find_bundle(options.bundle).name}, {cases}"))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", nargs="?")
    parser.add_argument("--page", action="store_true", help="write docs/concepts/ablations.md and nothing else")
    parser.add_argument("--datalist", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=int)
    length.add_argument("--minutes", type=float)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--only", action="append", metavar="VARIANT", help="the recipe and these; can be given again")
    parser.add_argument("--overlay", action="append", default=[])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--publish", action="store_true")
    parser.add_argument("changes", metavar="key=value", nargs="*", default=[])
    options = parser.parse_intermixed_args()
    if not options.page and not (options.bundle and options.datalist and options.output):
        parser.error("BUNDLE, --datalist and -o are needed, or --page")
    if not options.page and not (options.epochs or options.minutes):
        parser.error("--epochs or --minutes is needed")
    return options


if __name__ == "__main__":
    main(_options())
