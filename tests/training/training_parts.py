"""Tiny data that any machine makes, runs on them as small as they can be, and how to compare two runs."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from medseg.datasets import prepare
from medseg.training import Board

BUNDLES = ("mr_hippocampus", "cxr_heart_lung")
"""The 3-D and the 2-D bundle whose runs are repeated, resumed, killed."""

EPOCHS = 4

TINY: Mapping[str, Mapping[str, Any]] = {
    "mr_hippocampus": {
        "window": [16, 16, 16],
        "network_def::filters": [4, 8, 8, 8],
        "network_def::dropout": 0.1,  # draws from torch's own random numbers
        "early_stop_patience": 30,
    },
    "cxr_heart_lung": {"image_size": [32, 32], "network_def::base_width": 4, "batch_size": 2},
}


def tiny(bundle: str) -> dict[str, Any]:
    """Overrides of a run of `EPOCHS` epochs of two steps."""
    common = {"precision": "fp32", "epochs": EPOCHS, "validate_every": 1, "device": "$torch.device('cpu')"}
    return {**common, **TINY[bundle]}


def ball(seed: int, size: int, dims: int) -> tuple[np.ndarray, np.ndarray]:
    """An image and its labels: a ball whose halves are 1 and 2, brighter than the noise round it."""
    rng = np.random.default_rng(seed)
    grid, centre = np.indices((size,) * dims), rng.uniform(size / 3, 2 * size / 3, dims)
    inside = sum((axis - at) ** 2 for axis, at in zip(grid, centre, strict=True)) < (size / 4) ** 2
    labels = np.where(inside, np.where(grid[0] < centre[0], 1, 2), 0).astype(np.uint8)
    return rng.normal(100, 10, labels.shape) + 40 * labels, labels


def write_cases(bundle: str, folder: Path) -> Path:
    """The datalist of 6 cases for `bundle`, written to `folder`: 4 to train on, 1 to validate, 1 to test."""
    masks = "masks" if bundle == "cxr_heart_lung" else "labels"
    for name in ("images", masks):
        (folder / name).mkdir(parents=True)
    for i in range(6):
        if bundle == "cxr_heart_lung":
            _write_picture(folder, i)
        else:
            _write_volume(folder, i, spacing_mm=1.0 if bundle == "mr_hippocampus" else 8.0)
    return prepare("pairs", folder, folder / "datalist.json", fractions=(4 / 6, 1 / 6, 1 / 6))


def _write_volume(folder: Path, i: int, *, spacing_mm: float) -> None:
    """20^3 voxels; the CT bundles know one label."""
    image, label = ball(i, 20, 3)
    if spacing_mm > 1.0:  # Hounsfield units: soft tissue in air
        image, label = image - 100 + np.array([-900, 0, 20])[label], label.clip(max=1)
    files = {"images": image.astype(np.int16), "labels": label}
    for name, array in files.items():
        affine = np.diag([spacing_mm] * 3 + [1.0])
        nibabel.save(nibabel.Nifti1Image(array, affine), folder / name / f"case_{i}.nii.gz")


def _write_picture(folder: Path, i: int) -> None:
    """64 x 64 pixels; labels 1 and 2 the halves of a disc, 3 a spot below it."""
    image, label = ball(i, 64, 2)
    label[50:60, 50:60] = 3
    for name, array in (("images", image + 60 * (label == 3)), ("masks", label)):
        Pillow.fromarray(array.clip(0, 255).astype(np.uint8)).save(folder / name / f"xray_{i}.png")


def checkpoint(run: Path, name: str = "last") -> dict[str, Any]:
    """models/last.pt or models/model.pt of a run."""
    return torch.load(run / "models" / f"{name}.pt", weights_only=True)


def difference(one: Any, other: Any, at: str = "") -> list[str]:
    """Where two nested states are not equal bit for bit."""
    if isinstance(one, dict):
        keys = one.keys() | other.keys()
        return [place for key in keys for place in difference(one.get(key), other.get(key), f"{at}/{key}")]
    if isinstance(one, list) and len(one) == len(other):
        return [
            place for i, pair in enumerate(zip(one, other, strict=True)) for place in difference(*pair, f"{at}/{i}")
        ]
    same = torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
    return [] if same else [at]


def assert_same_run(one: Path, other: Path) -> None:
    """Both checkpoints, the weights to ship and the curve: all but the seconds."""
    for name in ("last", "model"):
        assert difference(checkpoint(one, name), checkpoint(other, name)) == []
    assert history(one) == history(other)


def history(run: Path) -> list[dict[str, str]]:
    """The rows of history.csv without what depends on the machine's mood."""
    with (run / "history.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [{name: text for name, text in row.items() if "seconds" not in name and "wait" not in name} for row in rows]


@contextmanager
def without_pictures() -> Iterator[None]:
    """No plots and no graph of the network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("medseg.training.history.save_training_plots", lambda *_: None)
        patch.setattr(Board, "_graph", lambda *_: None)
        yield
