"""Put the weights of a finished run into its bundle, if they score better on validation than those that are there.

python pipelines/ship_weights.py BUNDLE RUN_DIR --command "medseg train ..." [--force]
python pipelines/ship_weights.py BUNDLE --scores-only

The run must have the bundle's network and settings of the masks. Its best weights are halved to float16 and, in that
form, compared with the bundle's on the run's validation cases: test cases choose nothing. What is shipped is then
scored on the run's test cases. The bundle's metadata (eval_metrics) and docs/README.md (between the markers) get the
scores, and models/scores.json those of that README, for `medseg bundle verify`; --scores-only writes nothing but that
last file.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from medseg.bundle import find_bundle
from medseg.bundle.resume import read_config
from medseg.bundle.settings import settings_behind
from medseg.bundle.verify import BEGIN, END, write_scores
from medseg.datasets.datalist import datalist_from, write_json
from medseg.evaluation.bootstrap import interval_text
from medseg.evaluation.flag_record import read_flag_record
from medseg.workflows import evaluate
from medseg.workflows.flags import flag_record_path, learn_limits, learn_predictor, save_flag_record

MOST_BYTES = 16_000_000


def main() -> int:
    """Halve, score, compare, install."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--command", help="how the run was made, for the bundle's README")
    parser.add_argument("--scores-only", action="store_true", help="write models/scores.json from the README as it is")
    parser.add_argument("--force", action="store_true", help="install even if the scores are not better")
    options = parser.parse_args()

    bundle = find_bundle(options.bundle)
    if options.scores_only:
        print(f"written: {write_scores(bundle)}")
        return 0
    if options.run is None or options.command is None:
        parser.error("RUN_DIR and --command are needed, or --scores-only")
    run = options.run.resolve()
    refuse_other_settings(run, bundle)
    trial = halved(run, run.parent / f"{run.name}-half")
    validation = validation_as_test(run / "datalist.json", trial)
    new = mean_dice(scored(trial, validation, trial / "validation"))
    shipped = (bundle / "models" / "model.pt").is_file()
    old = mean_dice(scored(bundle, validation, trial / "validation_before")) if shipped else None
    if old is not None and new <= old and not options.force:
        print(f"not installed: validation Dice {new:.4f}, the bundle's weights have {old:.4f}")
        return 1
    summary = scored(trial, run / "datalist.json", trial / "evaluation")
    install(trial, bundle, summary, options.command)
    teach_flags(bundle, run / "datalist.json")
    before = "" if old is None else f" (before: {old:.4f})"
    print(f"installed: validation Dice {new:.4f}{before}, test Dice {mean_dice(summary):.4f}")
    return 0


def refuse_other_settings(run: Path, bundle: Path) -> None:
    """Weights fit the network, grid and intensities that they were trained with, and no others."""
    first, second = (settings_of_masks(one) for one in (run, bundle))
    other = [name for name in {**first, **second} if first.get(name) != second.get(name)]
    if other:
        named = f"{run.name} and {bundle.name} differ in {', '.join(other)}"
        raise SystemExit(f"not installed: {named}; train with the bundle's, or change the bundle first")


def settings_of_masks(folder: Path) -> dict[str, Any]:
    """What decides the masks of a bundle or a run, as its common.yaml has it."""
    found = settings_behind("segmenter", read_config(folder / "configs" / "common.yaml"))
    network = {name: value for name, value in found["network_def"].items() if name != "freeze_batch_norm"}
    return {**found, "network_def": network}  # frozen statistics, for fine-tuning, are the same network


def validation_as_test(datalist: Path, folder: Path) -> Path:
    """A data list whose test cases are the validation cases of `datalist`."""
    content = datalist_from(datalist, folder)
    return write_json({**content, "validation": [], "test": content["validation"]}, folder / "validation.json")


def scored(bundle: Path, datalist: Path, folder: Path) -> dict[str, Any]:
    """The summary of a bundle's scores on the test cases of a data list."""
    report = evaluate(bundle, datalist=datalist, output_dir=folder)
    if report.failed:
        raise SystemExit(f"not installed: {len(report.failed)} cases failed, see {folder / 'report.json'}")
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return summary


def teach_flags(bundle: Path, datalist: Path) -> None:
    """Failure flags of the new weights; with a regression of the Dice where those of the old weights had one."""
    path = flag_record_path(bundle)
    before = read_flag_record(path)
    save_flag_record(learn_limits(bundle, datalist=datalist), path)
    if before is not None and before.predictor is not None:
        record, _ = learn_predictor(bundle, datalist=datalist, dice_below=before.predictor.dice_below)
        save_flag_record(record, path)


def halved(run: Path, trial: Path) -> Path:
    """A copy of the run whose best weights are float16."""
    shutil.rmtree(trial, ignore_errors=True)
    shutil.copytree(run, trial, ignore=shutil.ignore_patterns("last.pt", "tensorboard", "evaluation"))
    weights = torch.load(run / "models" / "model.pt", map_location="cpu", weights_only=True)
    half = {name: value.half() if value.is_floating_point() else value for name, value in weights.items()}
    torch.save(half, trial / "models" / "model.pt")
    size = (trial / "models" / "model.pt").stat().st_size
    if size > MOST_BYTES:
        raise SystemExit(f"the weights take {size} bytes, more than the {MOST_BYTES} that a bundle may ship")
    return trial


def mean_dice(summary: Mapping[str, Any]) -> float:
    """Mean Dice over the bundle's regions."""
    return float(summary["mean_over_regions"]["dice"]["mean"])


def install(trial: Path, bundle: Path, summary: Mapping[str, Any], command: str) -> None:
    """Weights, eval_metrics and the table of docs/README.md."""
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
    (bundle / "models").mkdir(exist_ok=True)
    shutil.copyfile(trial / "models" / "model.pt", bundle / "models" / "model.pt")
    metadata["eval_metrics"] = {
        "mean_dice": round(mean_dice(summary), 4),
        **{f"dice_{name}": round(region["dice"]["mean"], 4) for name, region in summary["regions"].items()},
    }
    text = json.dumps(metadata, indent=4, ensure_ascii=False) + "\n"
    (bundle / "configs" / "metadata.json").write_text(text, encoding="utf-8")
    readme = bundle / "docs" / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    readme.write_text(f"{before}{BEGIN}\n{scores(trial, summary, command)}\n{END}{after}", encoding="utf-8")
    write_scores(bundle)


def scores(trial: Path, summary: Mapping[str, Any], command: str) -> str:
    """Markdown: how the weights were made, and the test scores with their intervals."""
    run = json.loads((trial / "run.json").read_text(encoding="utf-8"))
    datalist = json.loads((trial / "datalist.json").read_text(encoding="utf-8"))
    parts = [len(datalist[part]) for part in ("training", "validation", "test")]
    machine = f"{run['environment']['machine']}, {run['environment']['threads']} thread(s)"
    lines = [
        "",
        f"Trained {run['written'][:10]} with `{command}`:",
        f"{parts[0]} cases for training, {parts[1]} for validation, {parts[2]} for test (split by patient, seed "
        f"{datalist['seed']}), training seed {run['settings']['seed']}, {run['epoch']} of {run['epochs']} epochs "
        f"(best: {run['best_epoch']}), {run['training_seconds'] / 60:.0f} minutes on {machine}, torch "
        f"{run['environment']['torch']}, monai {run['environment']['monai']}. The shipped weights are float16 and were "
        f"scored as such on the {parts[2]} test cases, on the native grid, {datetime.now(UTC):%Y-%m-%d}, "
        f"{platform.system()} {platform.machine()}.",
        "",
        "| region | Dice, mean [95 % interval] | median | worst | IoU, mean | precision | recall |",
        "|---|---|---|---|---|---|---|",
        *(row(name, region) for name, region in summary["regions"].items()),
        "",
    ]
    return "\n".join(lines)


def row(name: str, region: Mapping[str, Any]) -> str:
    """One region's line of the table."""
    dice, interval = region["dice"], interval_text(region["dice"]["mean_ci95"])
    cells = [name, f"{dice['mean']:.4f} {interval}", f"{dice['median']:.4f}", f"{dice['min']:.4f}"]
    cells += [f"{region[metric]['mean']:.4f}" for metric in ("iou", "precision", "recall")]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
