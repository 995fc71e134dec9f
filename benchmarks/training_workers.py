"""The processes of training_speed.py: each trains on its own, and stands still while it is not its turn."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from medseg.bundle import find_bundle, read_metadata

HERE = Path(__file__).resolve().parent
NNUNET_CASES = 40
"""nnU-Net's loader draws cases without end: more of them take longer to prepare and train as fast."""


class Worker:
    """A process group that answers lines of JSON: see pace.py."""

    def __init__(self, *, folder: Path, threads: int) -> None:
        self.folder, self.log, self.threads = folder, folder / "log.txt", threads
        self.process: subprocess.Popen[str] | None = None
        folder.mkdir(parents=True)

    def command(self) -> list[str]:
        """What is run."""
        raise NotImplementedError

    def begin(self) -> dict[str, Any]:
        """Start, wait for the first steps, and stand still; the side in words and numbers."""
        environment = {**os.environ, "OMP_NUM_THREADS": str(self.threads), "OMP_WAIT_POLICY": "PASSIVE"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
                start_new_session=True,
            )
        about = self._answer()
        self._signal(signal.SIGSTOP)
        return about

    @contextmanager
    def turn(self) -> Iterator[None]:
        """It runs inside, and at no other time."""
        self._signal(signal.SIGCONT)
        yield
        self._signal(signal.SIGSTOP)

    def ask(self, order: Mapping[str, object]) -> dict[str, Any]:
        """The answer to an order."""
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End it with all its processes."""
        if self.process is not None:
            self._signal(signal.SIGKILL)
            self.process.communicate()

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)

    def _answer(self) -> dict[str, Any]:
        assert self.process is not None
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("@"):
                answer: dict[str, Any] = json.loads(line[1:])
                return answer
        raise SystemExit(f"{self.command()[-2]} ended:\n" + self.log.read_text(errors="replace")[-3000:])


class OurWorker(Worker):
    """training_side.py with its settings."""

    def __init__(self, settings: Mapping[str, Any], *, folder: Path) -> None:
        super().__init__(folder=folder, threads=settings["threads"])
        self.settings = {**settings, "run_dir": str(folder / "run")}

    def command(self) -> list[str]:
        """In this environment."""
        return [sys.executable, "-W", "ignore", str(HERE / "training_side.py"), json.dumps(self.settings)]


class NnUNetWorker(Worker):
    """nnunet_steps.py on the cases as our transforms prepare them.

    Parameters
    ----------
    settings
        Shared by all sides.
    config
        The parser over the bundle's configuration.
    python
        Of the environment with nnunetv2.
    folder
        Of all that nnU-Net writes.
    """

    def __init__(self, settings: Mapping[str, Any], config: Any, *, python: Path, folder: Path) -> None:
        super().__init__(folder=folder, threads=settings["threads"])
        self.python, self.shared, self.config = python, settings, config
        self.settings: dict[str, Any] = {}

    def begin(self) -> dict[str, Any]:
        """Write its raw data set first."""
        window = list(self.config.get_parsed_content("inferer::roi_size"))
        plan = plan_changes(self.config["network_def"], window, base=self.config["batch_size"])
        shared = {name: self.shared[name] for name in ("device", "seed", "threads", "workers")}
        self.settings = {**shared, **plan, "folder": str(self.folder), "split": self._raw(len(window))}
        return super().begin()

    def command(self) -> list[str]:
        """In nnU-Net's environment."""
        return [str(self.python), "-W", "ignore", str(HERE / "nnunet_steps.py"), json.dumps(self.settings)]

    def _raw(self, spatial_dims: int) -> dict[str, list[str]]:
        """imagesTr, labelsTr and dataset.json of training cases; all train, the first one validates, too."""
        from monai.transforms import Compose

        from medseg.datasets import load_datalist

        raw = self.folder / "nnUNet_raw" / "Dataset001_Speed"
        prepared = Compose(self.config.get_parsed_content("train::preprocessing"))
        at_most = self.shared["cases_at_most"] or NNUNET_CASES
        cases = load_datalist(self.shared["datalist"], "training", at_most=at_most)
        ending = ".nii.gz" if spatial_dims == 3 else ".png"
        for case in cases:
            item = prepared(dict(case))
            write_array(np.asarray(item["image"])[0], raw / "imagesTr" / f"{case['id']}_0000{ending}", label=False)
            write_array(np.asarray(item["label"])[0], raw / "labelsTr" / f"{case['id']}{ending}", label=True)
        metadata = read_metadata(find_bundle(self.shared["bundle"]))
        content = {"channel_names": {"0": metadata.modality}, "numTraining": len(cases), "file_ending": ending}
        content["labels"] = {name: value for value, name in metadata.labels.items()}
        (raw / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
        ids = [case["id"] for case in cases]
        return {"train": ids, "val": ids[:1]}


def plan_changes(network: Mapping[str, Any], window: Sequence[int], *, base: int) -> dict[str, Any]:
    """What is set in nnU-Net's plan, so that patch, batch and network are as large as ours.

    Parameters
    ----------
    network
        `network_def` of the bundle: a DynUNet or our UNet2d.
    window
        Voxels of a patch, (X, Y[, Z]); nnU-Net's axes are in the other order.
    base
        The batch size.
    """
    axes = len(window)
    if network["_target_"] == "DynUNet":
        widths, strides, norm = network["filters"], network["strides"], {}
    else:
        depth = network.get("depth", 5)
        widths = [network["base_width"] * 2**stage for stage in range(depth)]
        strides, norm = [1] + [2] * (depth - 1), {"norm_op": "torch.nn.modules.batchnorm.BatchNorm2d"}
    stages = len(widths)
    architecture = {
        "n_stages": stages,
        "features_per_stage": list(widths),
        "kernel_sizes": [[3] * axes] * stages,
        "strides": [[stride] * axes for stride in strides],
        "n_conv_per_stage": [2] * stages,
        "n_conv_per_stage_decoder": [2] * (stages - 1),
        **norm,
    }
    configuration = "3d_fullres" if axes == 3 else "2d"
    return {"configuration": configuration, "patch": window[::-1], "batch": base, "architecture": architecture}


def write_array(array: np.ndarray[Any, Any], path: Path, *, label: bool) -> None:
    """An image or label ``(X, Y[, Z])`` as a file with 1 mm voxels, or as a picture whose values 0 to 1 are grey."""
    import nibabel as nib
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    if array.ndim == 2:
        grey = array if label else np.clip(array * 255, 0, 255)
        Image.fromarray(grey.T.astype(np.uint8)).save(path)
        return
    nib.Nifti1Image(array.astype(np.uint8 if label else np.float32), np.eye(4)).to_filename(path)
