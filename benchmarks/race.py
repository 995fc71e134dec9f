"""The two sides of time_to_accuracy.py: each trains in a process of its own and keeps its weights as time goes by."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from medseg.bundle import find_bundle, read_metadata
from medseg.datasets import load_datalist
from medseg.networks.weight_files import read_checkpoint

HERE = Path(__file__).parent
GRACE_S = 120.0


@dataclass(frozen=True)
class Race:
    """What both sides share.

    Attributes
    ----------
    bundle
        Name or folder.
    datalist
        Of the fold: its test part is scored, all others are trained on.
    folder
        Of all that is written.
    limit_s
        Wall time of each training, its start included.
    marks_s
        When weights are kept.
    device
        "cpu" or "cuda".
    seed
        Of both trainings.
    """

    bundle: str
    datalist: Path
    folder: Path
    limit_s: float
    marks_s: tuple[float, ...]
    device: str
    seed: int

    def test_cases(self) -> list[dict[str, Any]]:
        """Of the fold."""
        return load_datalist(self.datalist, "test")


@dataclass
class Kept:
    """Weights at a time: `predictions` is where their masks of the test cases go; `what` they are, in words."""

    seconds: float
    weights: Path
    predictions: Path
    what: str = "last"


@dataclass
class Side:
    """What a side did.

    Attributes
    ----------
    name
        As the tables call it.
    kept
        Its weights as time went by, the last ones last.
    about
        Its schedule and settings, in words.
    """

    name: str
    kept: list[Kept] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)


def launch(command: Sequence[object], *, cores: Sequence[int], log: Path) -> subprocess.Popen[bytes]:
    """A process of its own group on the given cores, its output in `log`."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(len(cores)), "OMP_WAIT_POLICY": "PASSIVE"}
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        return subprocess.Popen(
            ["taskset", "-c", ",".join(map(str, cores)), *map(str, command)],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )


def finished(process: subprocess.Popen[bytes], *, log: Path) -> None:
    """Wait for it; its last lines where it failed."""
    if process.wait() != 0:
        raise SystemExit(f"{log}: exit {process.returncode}\n" + log.read_text(errors="replace")[-3000:])


class Ours:
    """The bundle's recipe by `medseg train`, its schedule as long as the limit."""

    def __init__(self, race: Race, *, cores: Sequence[int], changes: Mapping[str, str]) -> None:
        self.race, self.cores, self.changes = race, tuple(cores), dict(changes)
        self.folder = race.folder / "ours"
        self.run, self.log = self.folder / "run", self.folder / "log.txt"
        self.side = Side("medseg")

    def prepare(self) -> None:
        """How many epochs fit into the limit, from three epochs that are not counted; or as the user says."""
        for old in (self.folder / "trial", self.run, self.folder / "kept"):
            shutil.rmtree(old, ignore_errors=True)
        if "epochs" not in self.changes:
            self.changes["epochs"] = str(self._epochs_that_fit())
        self.side.about |= {"settings": dict(self.changes), "threads": len(self.cores)}

    def _epochs_that_fit(self) -> int:
        trial = self.folder / "trial"
        started = time.perf_counter()
        finished(self._train(trial, {"epochs": "3", "validate_every": "3"}), log=self.log)
        wall = time.perf_counter() - started
        rows = (trial / "history.csv").read_text(encoding="utf-8").splitlines()
        column = rows[0].split(",").index("seconds")
        first, plain, checked = (float(row.split(",")[column]) for row in rows[1:4])
        every = int(self.changes.get("validate_every", self._recipe("validate_every")))
        outside = wall - first - plain - checked + max(first - plain, 0.0)
        each = plain + max(checked - plain, 0.0) / every
        self.side.about |= {"seconds an epoch": round(plain, 2), "start": round(outside, 1)}
        return max(1, int((self.race.limit_s - outside) / each))

    def _recipe(self, name: str) -> Any:
        text = (find_bundle(self.race.bundle) / "configs" / "train.yaml").read_text(encoding="utf-8")
        return yaml.safe_load(text)[name]

    def _train(self, run: Path, changes: Mapping[str, str]) -> subprocess.Popen[bytes]:
        settings = {"early_stop_patience": "1000000", "seed": str(self.race.seed), **self.changes, **changes}
        command = [sys.executable, "-m", "medseg.cli", "train", self.race.bundle, "--datalist", self.race.datalist]
        command += ["-o", run, "--device", self.race.device, *(f"{name}={value}" for name, value in settings.items())]
        return launch(command, cores=self.cores, log=self.log)

    def start(self) -> None:
        """Begin to train."""
        self.began = time.time()
        self.process = self._train(self.run, {})
        self.marks = list(self.race.marks_s)
        self.newest = 0

    def look(self) -> bool:
        """Keep the newest checkpoint where a mark has passed; whether it still trains."""
        running = self.process.poll() is None
        last = self.run / "models" / "last.pt"
        if last.is_file() and (not running or (self.marks and self._seconds(last) >= self.marks[0])):
            self._keep(last)
        if running and time.time() - self.began > self.race.limit_s:
            self._stop()
            return False
        return running

    def _seconds(self, path: Path) -> float:
        return path.stat().st_mtime - self.began

    def _keep(self, last: Path) -> None:
        written, seconds = last.stat().st_mtime_ns, self._seconds(last)
        if written == self.newest:
            return
        self.newest, self.marks = written, [mark for mark in self.marks if mark > seconds]
        self._bundle(last, seconds)

    def _bundle(self, weights: Path, seconds: float, what: str = "last") -> None:
        """A copy of the run's bundle with these weights."""
        place = self.folder / "kept" / str(len(self.side.kept))
        shutil.copytree(self.run, place, ignore=shutil.ignore_patterns("*.pt", "tensorboard", "models"))
        (place / "models").mkdir(exist_ok=True)
        shutil.copyfile(weights, place / "models" / "checkpoint.pt")
        self.side.kept.append(Kept(seconds, place, place / "masks", what))

    def _stop(self) -> None:
        """SIGTERM, which leaves a checkpoint; SIGKILL where that is not enough."""
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def finish(self) -> None:
        """The weights at the end: the best by the validation cases, as the run ships them."""
        if not (self.run / "models" / "last.pt").is_file():
            raise SystemExit(f"{self.log}: no epoch was done in time\n" + self.log.read_text(errors="replace")[-3000:])
        record = json.loads((self.run / "run.json").read_text(encoding="utf-8"))
        self.side.about |= {"epochs done": record["epoch"], "best epoch": record["best_epoch"]}
        shipped = self.run / "models" / "model.pt"
        if shipped.is_file():
            self._bundle(shipped, min(self._seconds(self.run / "models" / "last.pt"), self.race.limit_s), "best")

    def predict(self) -> None:
        """Masks of the test cases on their own grids, by each of the weights that were kept."""
        import torch

        for kept in self.side.kept:
            models = kept.weights / "models"
            torch.save(read_checkpoint(models / "checkpoint.pt").tensors, models / "model.pt")
            command = [sys.executable, "-m", "medseg.cli", "predict", kept.weights, "-i", self.race.folder / "images"]
            command += ["-o", kept.predictions, "--device", self.race.device]
            finished(launch(command, cores=self.cores, log=self.log), log=self.log)


class NnUNet:
    """nnU-Net's own planner, preprocessor, trainer and predictor, in the environment that has it."""

    def __init__(self, race: Race, *, python: Path, cores: Sequence[int], iterations: int) -> None:
        self.race, self.python, self.cores, self.iterations = race, python, tuple(cores), iterations
        self.folder = race.folder / "nnunet"
        self.log, self.side = self.folder / "log.txt", Side("nnU-Net")

    def prepare(self) -> None:
        """Its raw data set, fingerprint, plan and preprocessed cases: not on the clock, as one does it once."""
        for old in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
            shutil.rmtree(self.folder / old, ignore_errors=True)
        split = self._raw()
        done = self._call("prepare", split=split)
        patch = " x ".join(str(size) for size in done["patch"])
        self.side.about |= {"prepared in": f"{done['seconds']:.0f} s, not counted", "patch": patch}
        self.side.about |= {"batch": done["batch"], "threads": len(self.cores)}

    def _raw(self) -> dict[str, list[str]]:
        """imagesTr, labelsTr and dataset.json of all cases; which of them train."""
        raw = self.folder / "nnUNet_raw" / "Dataset001_Race"
        split: dict[str, list[str]] = {"train": [], "val": []}
        for part in ("training", "validation", "test"):
            for case in load_datalist(self.race.datalist, part):
                _copy(case["image"], raw / "imagesTr" / f"{case['id']}_0000.nii.gz")
                _copy(case["label"], raw / "labelsTr" / f"{case['id']}.nii.gz")
                split["val" if part == "test" else "train"].append(case["id"])
        metadata = read_metadata(find_bundle(self.race.bundle))
        content = {
            "channel_names": {"0": metadata.modality},
            "labels": {name: value for value, name in metadata.labels.items()},
            "numTraining": len(split["train"]) + len(split["val"]),
            "file_ending": ".nii.gz",
        }
        (raw / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
        return split

    def start(self) -> None:
        """Begin to train."""
        settings = {"limit_s": self.race.limit_s, "marks": self.race.marks_s, "iterations": self.iterations}
        self.process = self._launch("train", **settings)

    def look(self) -> bool:
        """Whether it still trains."""
        return self.process.poll() is None

    def finish(self) -> None:
        """What it kept."""
        finished(self.process, log=self.log)
        answer = json.loads((self.folder / "train.json").read_text(encoding="utf-8"))
        self.side.about |= {"epochs done": answer["epochs"], "iterations an epoch": answer["iterations"]}
        for number, one in enumerate(answer["snapshots"]):
            self.side.kept.append(Kept(one["seconds"], Path(one["weights"]), self.folder / "masks" / str(number)))

    def predict(self) -> None:
        """Masks of the test cases on their own grids, mirrored as nnU-Net does."""
        images = sorted(str(path) for path in (self.race.folder / "images").glob("*.nii.gz"))
        self._call("predict", images=images, jobs=[(str(one.weights), str(one.predictions)) for one in self.side.kept])

    def _call(self, action: str, **settings: Any) -> Any:
        finished(self._launch(action, **settings), log=self.log)
        return json.loads((self.folder / f"{action}.json").read_text(encoding="utf-8"))

    def _launch(self, action: str, **settings: Any) -> subprocess.Popen[bytes]:
        shared = {"folder": str(self.folder), "cores": len(self.cores), "seed": self.race.seed}
        shared |= {"device": self.race.device, "answer": str(self.folder / f"{action}.json")}
        given = json.dumps({**shared, **settings, "action": action})
        return launch([self.python, HERE / "nnunet_training.py", given], cores=self.cores, log=self.log)


def _copy(source: str, target: Path) -> None:
    if not source.endswith(".nii.gz"):
        raise SystemExit(f"{source}: nnU-Net's side takes .nii.gz volumes")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
