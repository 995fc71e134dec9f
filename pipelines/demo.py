"""The main job from end to end on phantoms: `make demo`. Works in demo/, which it makes anew.

Phantom chest CTs -> datalist -> training with MONAI's own bundle runner -> scores on phantoms that training never saw
-> one more phantom, as a DICOM series, segmented.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DEMO = Path("demo")
CONFIGS = Path("bundles/ct_lung/configs")
WANTED_DICE = 0.95


def main() -> int:
    """Run the steps; 1 when the test phantoms are segmented worse than they should be."""
    shutil.rmtree(ROOT / DEMO, ignore_errors=True)
    phantoms, datalist, run = DEMO / "phantoms", DEMO / "phantoms" / "datalist.json", DEMO / "run"
    files = [str(CONFIGS / name) for name in ("common.yaml", "train.yaml", "demo.yaml")]

    medseg("data", "phantom", "-o", phantoms, "--cases", 20, "--seed", 1)
    medseg("data", "prepare", "pairs", phantoms, "-o", datalist, "--fractions", 0.7, 0.1, 0.2)
    python(
        *("-m", "monai.bundle", "run", "training", "--meta_file", CONFIGS / "metadata.json", "--config_file", files),
        *("--datalist", datalist, "--run_dir", run),
    )
    medseg("evaluate", run, "--datalist", datalist, "-o", DEMO / "scores")
    medseg("data", "phantom", "-o", DEMO / "new", "--cases", 1, "--seed", 1001, "--dicom")
    medseg("predict", run, "-i", DEMO / "new" / "dicom", "-o", DEMO / "masks")
    return tell(test_dice(), run)


def tell(dice: float, run: Path) -> int:
    """Say where everything is, and whether it is good."""
    print(
        f"\nmasks and previews   {DEMO / 'masks'}   (of the DICOM series in {DEMO / 'new' / 'dicom'})",
        f"scores               {DEMO / 'scores' / 'scores.csv'}, {DEMO / 'scores' / 'summary.json'}",
        f"pictures             {DEMO / 'scores'}/*_comparison.png   (image | truth | prediction | contours)",
        f"trained bundle       {run}   (weights: {run / 'models' / 'model.pt'})",
        f"TensorBoard logs     {run / 'tensorboard'}   (.venv/bin/tensorboard --logdir {run / 'tensorboard'})",
        f"test Dice            {dice:.4f}   (wanted: {WANTED_DICE} or more)",
        sep="\n",
    )
    return 0 if dice >= WANTED_DICE else 1


def test_dice() -> float:
    """Mean Dice over both lungs and all test phantoms."""
    summary = json.loads((ROOT / DEMO / "scores" / "summary.json").read_text(encoding="utf-8"))
    return float(summary["mean_over_regions"]["dice"]["mean"])


def medseg(*words: object) -> None:
    """Run one medseg command."""
    python("-m", "medseg.cli", *words)


def python(*words: object) -> None:
    """Show a command and run it in the project's folder; the demo ends where one fails."""
    command = [str(word) for word in words]
    print("\n$ python", *(f'"{word}"' if " " in word else word for word in command), flush=True)
    finished = subprocess.run([sys.executable, *command], cwd=ROOT, check=False)
    if finished.returncode != 0:
        sys.exit(finished.returncode)


if __name__ == "__main__":
    sys.exit(main())
