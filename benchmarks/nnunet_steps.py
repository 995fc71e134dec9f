"""nnU-Net v2's side of training_speed.py; it runs in nnU-Net's own environment, started by that script.

nnU-Net's fingerprint, planner, preprocessor and trainer as they are; in the plan the patch, the batch and the
network's stages are set to ours. Its `train_step` runs on its loader, which augments in as many worker processes as
there are threads.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, TextIO

SETTINGS: dict[str, Any] = json.loads(sys.argv[1])
FOLDER = Path(SETTINGS["folder"])
for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
    os.environ[variable] = str(FOLDER / variable)
os.environ.update(nnUNet_n_proc_DA=str(SETTINGS["workers"]))

import torch  # noqa: E402  (nnU-Net reads its variables when it is imported)
from nnunetv2.experiment_planning.plan_and_preprocess_api import (  # noqa: E402
    extract_fingerprint_dataset,
    plan_experiment_dataset,
    preprocess_dataset,
)
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer  # noqa: E402
from pace import Pace, only_answers, parameters_of  # noqa: E402

DATASET, CONFIGURATION = 1, SETTINGS["configuration"]


def prepare() -> dict[str, Any]:
    """Fingerprint, plan, preprocess; the plan with our sizes in it."""
    extract_fingerprint_dataset(DATASET, num_processes=SETTINGS["workers"])
    plan_experiment_dataset(DATASET)
    preprocess_dataset(DATASET, configurations=(CONFIGURATION,), num_processes=(SETTINGS["workers"],))
    folder = next((FOLDER / "nnUNet_preprocessed").glob(f"Dataset{DATASET:03d}_*"))
    (folder / "splits_final.json").write_text(json.dumps([SETTINGS["split"]]), encoding="utf-8")
    plans: dict[str, Any] = json.loads((folder / "nnUNetPlans.json").read_text(encoding="utf-8"))
    plans["configurations"][CONFIGURATION] |= {"patch_size": SETTINGS["patch"], "batch_size": SETTINGS["batch"]}
    plans["configurations"][CONFIGURATION]["architecture"]["arch_kwargs"] |= SETTINGS["architecture"]
    dataset = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    return {"plans": {**plans, "continue_training": False}, "dataset_json": dataset}


def main(answers: TextIO) -> None:
    """Train without end, the iterations told of."""
    torch.set_num_threads(SETTINGS["threads"])
    torch.manual_seed(SETTINGS["seed"])
    device = torch.device(SETTINGS["device"])
    trainer = nnUNetTrainer(configuration=CONFIGURATION, fold=0, device=device, **prepare())
    trainer.on_train_start()
    about = {
        "parameters": parameters_of(trainer.network),
        "precision": "float16" if device.type == "cuda" else "float32",
        "batch": trainer.batch_size,
        "batches by": f"{SETTINGS['workers']} processes",
    }
    pace = Pace(trainer.train_step, device=device, about=about, answers=answers)
    trainer.on_train_epoch_start()
    for batch in pace.paced(trainer.dataloader_train):
        trainer.train_step(batch)


if __name__ == "__main__":
    main(only_answers())
