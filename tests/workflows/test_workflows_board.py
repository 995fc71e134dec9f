"""TensorBoard's files, read back as TensorBoard reads them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image as Pillow
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from medseg.bundle import find_bundle
from medseg.datasets import load_datalist
from medseg.workflows import train


@pytest.fixture(scope="module")
def events(run: Path) -> Any:
    return EventAccumulator(str(run / "tensorboard")).Reload()


def test_every_curve_that_is_promised_is_there(events: Any) -> None:
    assert set(events.Tags()["scalars"]) == {
        "train/loss",
        "train/learning_rate",
        "train/epoch_seconds",
        "validation/val_mean_dice",
        *(f"val_{score}/{label}" for score in ("dice", "iou") for label in ("anterior", "posterior")),
    }
    for tag in events.Tags()["scalars"]:
        assert [event.step for event in events.Scalars(tag)] == [1, 2, 3, 4], tag


def test_the_curves_agree_with_each_other(events: Any) -> None:
    value = {tag: np.array([event.value for event in events.Scalars(tag)]) for tag in events.Tags()["scalars"]}
    labels = ("anterior", "posterior")
    mean = np.mean([value[f"val_dice/{label}"] for label in labels], axis=0)
    np.testing.assert_allclose(value["validation/val_mean_dice"], mean, rtol=1e-5)
    for label in labels:  # of one case, IoU = Dice / (2 - Dice)
        dice = value[f"val_dice/{label}"]
        np.testing.assert_allclose(value[f"val_iou/{label}"], dice / (2 - dice), rtol=1e-5)


def test_the_validation_case_is_drawn_each_time(events: Any, volumes: Path) -> None:
    (case,) = load_datalist(volumes, "validation")
    assert events.Tags()["images"] == [f"validation/{case['id']}"]
    pictures = events.Images(f"validation/{case['id']}")
    assert [picture.step for picture in pictures] == [1, 2, 3, 4]
    panel = np.asarray(Pillow.open(io.BytesIO(pictures[-1].encoded_image_string)))
    assert panel.ndim == 3
    assert panel.shape[1] >= 3 * 20  # image, truth and prediction side by side
    coloured = np.ptp(panel.astype(int), axis=2) > 30
    thirds = np.array_split(coloured, 3, axis=1)
    assert not thirds[0].any()
    assert thirds[1].any()


def test_as_many_validation_cases_are_drawn_as_wanted(pictures: Path, tmp_path: Path) -> None:
    content = json.loads(pictures.read_text(encoding="utf-8"))
    content["validation"] += content.pop("test")
    datalist = pictures.with_name("two_validated.json")
    datalist.write_text(json.dumps({**content, "test": []}), encoding="utf-8")
    cases = [case["id"] for case in load_datalist(datalist, "validation")]
    board = config_index("cxr_heart_lung", "medseg.training.Board")
    for wanted in (0, 1, 2):
        changes = {f"train::handlers::{board}::pictures": wanted}
        folder = tmp_path / str(wanted)
        train("cxr_heart_lung", datalist=datalist, run_dir=folder, overlays=["smoke"], overrides=changes)
        drawn = EventAccumulator(str(folder / "tensorboard")).Reload().Tags()["images"]
        assert drawn == [f"validation/{case}" for case in cases[:wanted]]


def config_index(bundle: str, target: str) -> int:
    """Where in the list of handlers a bundle declares `target`."""
    text = (find_bundle(bundle) / "configs" / "train.yaml").read_text(encoding="utf-8")
    handlers = yaml.safe_load(text)["train"]["handlers"]
    return next(i for i, one in enumerate(handlers) if isinstance(one, dict) and one["_target_"] == target)
