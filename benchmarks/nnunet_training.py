"""nnU-Net v2's side of time_to_accuracy.py; it runs in nnU-Net's own environment, started by that script.

nnU-Net's fingerprint, planner, preprocessor, trainer and predictor as they are, but for what a wall-time limit asks:

- an epoch has few iterations, and the polynomial schedule (power 0.9) falls with the time that has gone instead of with
  the epochs, so that it ends with the limit;
- no checkpoints and no pictures are written while the clock runs but the weights at the given seconds.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SETTINGS: dict[str, Any] = json.loads(sys.argv[1])
FOLDER = Path(SETTINGS["folder"])
for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
    os.environ[variable] = str(FOLDER / variable)
if SETTINGS["action"] == "predict":
    os.environ.update(nnUNet_compile="f")
os.environ.setdefault("nnUNet_n_proc_DA", str(SETTINGS["cores"]))

import torch  # noqa: E402  (nnU-Net reads its variables when it is imported)
from nnunetv2.experiment_planning.plan_and_preprocess_api import (  # noqa: E402
    extract_fingerprint_dataset,
    plan_experiment_dataset,
    preprocess_dataset,
)
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor  # noqa: E402
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer  # noqa: E402
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager  # noqa: E402

DATASET, CONFIGURATION, STARTED = 1, "3d_fullres", time.perf_counter()


class TimedTrainer(nnUNetTrainer):
    """nnU-Net's trainer with a clock."""

    def begin(self, settings: dict[str, Any]) -> None:
        """Take up the limit."""
        self.limit_s, self.marks = float(settings["limit_s"]), [float(mark) for mark in settings["marks"]]
        self.num_iterations_per_epoch = int(settings["iterations"])
        self.num_val_iterations_per_epoch = 1
        self.saved: list[dict[str, Any]] = []

    def elapsed_s(self) -> float:
        """Since this process began, as the other side counts too."""
        return time.perf_counter() - STARTED

    def on_train_epoch_start(self) -> None:
        """The schedule by time."""
        super().on_train_epoch_start()
        left = max(1.0 - self.elapsed_s() / self.limit_s, 1e-3)
        for group in self.optimizer.param_groups:
            group["lr"] = self.initial_lr * left**0.9

    def on_epoch_end(self) -> None:
        """Keep the weights where a mark has passed; stop at the limit."""
        super().on_epoch_end()
        seconds = self.elapsed_s()
        if self.marks and seconds >= self.marks[0]:
            self.marks = [mark for mark in self.marks if mark > seconds]
            self.keep(seconds)

    def run_training(self) -> None:
        """nnU-Net's loop; ended by the clock."""
        self.on_train_start()
        while self.elapsed_s() < self.limit_s:
            self.on_epoch_start()
            self.on_train_epoch_start()
            self.on_train_epoch_end(list(self.steps()))
            with torch.no_grad():
                self.on_validation_epoch_start()
                self.on_validation_epoch_end([self.validation_step(next(self.dataloader_val))])
            self.on_epoch_end()
        if not self.saved or self.saved[-1]["epoch"] != self.current_epoch:
            self.keep(self.elapsed_s())

    def steps(self) -> Iterator[dict[str, Any]]:
        """Those of an epoch, or as many as there is time for."""
        for done in range(self.num_iterations_per_epoch):
            if done and self.elapsed_s() >= self.limit_s:
                return
            yield self.train_step(next(self.dataloader_train))

    def keep(self, seconds: float) -> None:
        """The weights as they are."""
        module = getattr(self.network, "_orig_mod", self.network)
        path = FOLDER / f"weights_{len(self.saved)}.pt"
        torch.save(module.state_dict(), path)
        self.saved.append({"seconds": seconds, "epoch": self.current_epoch, "weights": str(path)})

    def save_checkpoint(self, filename: str) -> None:
        """Not while the clock runs."""


def prepare() -> dict[str, Any]:
    """Fingerprint, plan and preprocess; the seconds that it took, which the curves leave out."""
    extract_fingerprint_dataset(DATASET, num_processes=SETTINGS["cores"])
    plan_experiment_dataset(DATASET)
    preprocess_dataset(DATASET, configurations=(CONFIGURATION,), num_processes=(SETTINGS["cores"],))
    plan = _plans()["configurations"][CONFIGURATION]
    (_preprocessed() / "splits_final.json").write_text(json.dumps([SETTINGS["split"]]), encoding="utf-8")
    seconds = time.perf_counter() - STARTED
    return {"seconds": seconds, "patch": list(plan["patch_size"]), "batch": plan["batch_size"]}


def train() -> dict[str, Any]:
    """Until the limit; the weights that were kept."""
    trainer = _trainer()
    trainer.begin(SETTINGS)
    trainer.initialize()
    trainer.logger.plot_progress_png = _no_picture
    trainer.run_training()
    return {"snapshots": trainer.saved, "epochs": trainer.current_epoch, "iterations": trainer.num_iterations_per_epoch}


def predict() -> dict[str, Any]:
    """Masks of the given images by each of the given weights."""
    trainer = _trainer()
    trainer.initialize()
    trainer.set_deep_supervision_enabled(False)
    device = torch.device(SETTINGS["device"])
    predictor = nnUNetPredictor(use_mirroring=True, device=device, perform_everything_on_device=device.type == "cuda")
    for weights, target in SETTINGS["jobs"]:
        state = torch.load(weights, map_location="cpu", weights_only=True)
        predictor.manual_initialization(
            trainer.network,
            PlansManager(_plans()),
            trainer.configuration_manager,
            [state],
            trainer.dataset_json,
            "TimedTrainer",
            trainer.inference_allowed_mirroring_axes,
        )
        names = [str(Path(target) / Path(image).name.removesuffix(".nii.gz")) for image in SETTINGS["images"]]
        Path(target).mkdir(parents=True, exist_ok=True)
        predictor.predict_from_files_sequential([[image] for image in SETTINGS["images"]], names)
    return {}


def _no_picture(*_: object) -> None:
    """Drawing takes a second an epoch, which would count."""


def _preprocessed() -> Path:
    return next((FOLDER / "nnUNet_preprocessed").glob(f"Dataset{DATASET:03d}_*"))


def _plans() -> dict[str, Any]:
    plans: dict[str, Any] = json.loads((_preprocessed() / "nnUNetPlans.json").read_text(encoding="utf-8"))
    return plans


def _trainer() -> TimedTrainer:
    torch.manual_seed(SETTINGS["seed"])
    dataset = json.loads((_preprocessed() / "dataset.json").read_text(encoding="utf-8"))
    plans = {**_plans(), "continue_training": False}
    return TimedTrainer(plans, CONFIGURATION, 0, dataset, device=torch.device(SETTINGS["device"]))


if __name__ == "__main__":
    torch.set_num_threads(SETTINGS["cores"])
    answer = {"prepare": prepare, "train": train, "predict": predict}[SETTINGS["action"]]()
    Path(SETTINGS["answer"]).write_text(json.dumps(answer), encoding="utf-8")
