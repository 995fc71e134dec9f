"""Tiny data sets of each kind of image, and the few runs that many tests look at."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image as Pillow

from medseg.datasets import prepare
from medseg.training import Checkpoints
from medseg.workflows import train

TINY: Mapping[str, Any] = {
    "window": [16, 16, 16],
    "network_def::filters": [4, 8, 8, 8],
    "network_def::dropout": 0.1,
    "precision": "fp32",
    "epochs": 4,
    "validate_every": 1,
    "device": "$torch.device('cpu')",
}


def ball(seed: int, size: int, dims: int) -> tuple[np.ndarray, np.ndarray]:
    """An image and its labels: a ball whose halves are 1 and 2, brighter than the noise round it."""
    rng = np.random.default_rng(seed)
    grid, centre = np.indices((size,) * dims), rng.uniform(size / 3, 2 * size / 3, dims)
    inside = sum((axis - at) ** 2 for axis, at in zip(grid, centre, strict=True)) < (size / 4) ** 2
    labels = np.where(inside, np.where(grid[0] < centre[0], 1, 2), 0).astype(np.uint8)
    return rng.normal(100, 10, labels.shape) + 40 * labels, labels


def write_volumes(folder: Path, *, cases: int, spacing_mm: float, labels: int) -> Path:
    """images/ and labels/ of 20^3 voxels as int16 NIfTI."""
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for i in range(cases):
        image, label = ball(i, 20, 3)
        files = {"images": image.astype(np.int16), "labels": label.clip(max=labels)}
        for name, array in files.items():
            nibabel.save(nibabel.Nifti1Image(array, affine), folder / name / f"case_{i}.nii.gz")
    return folder


def write_pictures(folder: Path, *, cases: int) -> Path:
    """images/ and masks/ of 64x64 as 8-bit PNG, labels 1 and 2 the halves of a disc, 3 a spot below it."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for i in range(cases):
        image, label = ball(i, 64, 2)
        label[50:60, 50:60] = 3
        for name, array in (("images", image + 60 * (label == 3)), ("masks", label)):
            Pillow.fromarray(array.clip(0, 255).astype(np.uint8)).save(folder / name / f"xray_{i}.png")
    return folder


def datalist_of(folder: Path) -> Path:
    """The datalist of 6 cases: 4 to train on, 1 to validate, 1 to test."""
    return prepare("pairs", folder, folder / "datalist.json", fractions=(4 / 6, 1 / 6, 1 / 6))


@pytest.fixture(scope="session")
def tiny() -> dict[str, Any]:
    """Overrides that make a run of the hippocampus bundle as small as one can be: 4 epochs of 2 steps."""
    return dict(TINY)


@pytest.fixture(scope="session")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Datalist of volumes with two labels."""
    return datalist_of(write_volumes(tmp_path_factory.mktemp("data") / "volumes", cases=6, spacing_mm=1.0, labels=2))


@pytest.fixture(scope="session")
def coarse_volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Datalist of volumes with one label and voxels as wide as those of the CT bundles' smoke runs."""
    return datalist_of(write_volumes(tmp_path_factory.mktemp("data") / "coarse", cases=6, spacing_mm=8.0, labels=1))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Datalist of pictures with three labels."""
    return datalist_of(write_pictures(tmp_path_factory.mktemp("data") / "pictures", cases=6))


@pytest.fixture(scope="session")
def run(volumes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run of four epochs."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return train("mr_hippocampus", datalist=volumes, run_dir=folder, overrides=TINY)


class Interrupted(BaseException):
    """Stands for what ends a process: no handler may swallow it."""


@pytest.fixture(scope="session")
def resumed_run(volumes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, interrupted in the third epoch before its checkpoint was written, then resumed from itself."""
    folder = tmp_path_factory.mktemp("runs") / "resumed"
    save = Checkpoints.save

    def interrupt(self: Checkpoints, engine: Any) -> None:
        if engine.state.epoch == 3:
            raise Interrupted
        save(self, engine)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "save", interrupt)
        with pytest.raises(Interrupted):
            train("mr_hippocampus", datalist=volumes, run_dir=folder, overrides=TINY)
    return train(folder, datalist=folder / "datalist.json", run_dir=folder, resume=True)
