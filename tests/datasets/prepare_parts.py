"""Small data sets in each layout, for the tests of medseg data prepare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from PIL import Image as Picture

ALL = {"fractions": (1.0, 0.0, 0.0)}


def picture(path: Path, rows: Any) -> Path:
    """A PNG whose rows are given from top to bottom."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Picture.fromarray(np.asarray(rows, dtype=np.uint8)).save(path)
    return path


def noise(path: Path, seed: int, size: int = 8) -> Path:
    return picture(path, np.random.default_rng(seed).integers(0, 256, (size, size)))


def volume(path: Path, array: Any, spacing: float = 1.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.asarray(array), np.diag([spacing] * 3 + [1.0])), path)
    return path


def values(path: Path) -> list[list[int]]:
    return np.asarray(Picture.open(path)).tolist()


def montgomery(root: Path, *, heart: bool = True) -> Path:
    noise(root / "CXR_png" / "x1.png", 0, 4)
    masks = {
        "rightMask": [[255, 255, 0, 0]] * 4,
        "leftMask": [[0, 255, 255, 0]] * 2 + [[0, 0, 255, 255]] * 2,
        "heartMask": [[0] * 4] * 3 + [[255, 255, 255, 0]],
    }
    for organ, rows in masks.items():
        if heart or organ != "heartMask":
            picture(root / "ManualMask" / organ / "x1.png", rows)
    return root


def decathlon(root: Path, n: int = 3, **fields: Any) -> Path:
    rng = np.random.default_rng(0)
    for i in range(n):
        volume(root / "imagesTr" / f"h_{i}.nii.gz", rng.normal(size=(5, 6, 7)).astype(np.float32))
        volume(root / "labelsTr" / f"h_{i}.nii.gz", rng.integers(0, 3, (5, 6, 7)).astype(np.uint8))
    names = [f"h_{i}.nii.gz" for i in range(n)]
    content = {
        "name": "Toy",
        "labels": {"0": "background", "1": "Anterior", "2": "Posterior"},
        "modality": {"0": "MRI"},
        "training": [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names],
        **fields,
    }
    (root / "dataset.json").write_text(json.dumps(content))
    return root


def pairs(root: Path, masks: dict[str, Any], *, folder: str = "masks", suffix: str = ".jpg") -> Path:
    for i, (name, rows) in enumerate(masks.items()):
        noise(root / "images" / f"{name}{suffix}", i)
        picture(root / folder / f"{name}.png", rows)
    return root


def square(value: int) -> np.ndarray:
    rows = np.zeros((8, 8), np.uint8)
    rows[2:4, 1:6] = value
    return rows
