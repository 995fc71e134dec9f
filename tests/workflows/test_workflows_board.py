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
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.util.tensor_util import make_ndarray

from medseg.bundle import find_bundle
from medseg.datasets import load_datalist
from medseg.workflows import train


@pytest.fixture(scope="module")
def events(run: Path) -> Any:
    return EventAccumulator(str(run / "tensorboard")).Reload()


def test_every_curve_that_is_promised_is_there(events: Any) -> None:
    scalars = [tag for tag in events.Tags()["scalars"] if not tag.startswith("final/")]
    assert set(scalars) == {
        "train/loss",
        "train/learning_rate",
        "train/epoch_seconds",
        "train/data_wait",
        "validation/val_mean_dice",
        "validation/val_mean_nsd",
        *(
            f"val_{score}/{label}"
            for score in ("dice", "iou", "hd95_mm", "nsd_1mm")
            for label in ("anterior", "posterior")
        ),
    }
    for tag in scalars:
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
    assert panel.shape[1] >= 4 * 20  # image, truth, prediction and contours side by side
    coloured = np.ptp(panel.astype(int), axis=2) > 30
    columns = np.array_split(coloured, 4, axis=1)
    assert not columns[0].any()
    assert columns[1].any()
    assert columns[3].any()


def test_final_scores_and_settings_are_there_to_compare_runs(events: Any, run: Path) -> None:
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    metadata = events.SummaryMetadata("_hparams_/session_start_info")
    start = HParamsPluginData.FromString(metadata.plugin_data.content).session_start_info
    assert {"seed", "epochs", "batch_size", "learning_rate", "bundle"} <= set(start.hparams)
    assert start.hparams["batch_size"].number_value == record["settings"]["batch_size"]
    for name, value in record["validation"].items():
        assert events.Scalars(f"final/{name}")[-1].value == pytest.approx(value, rel=1e-5)
    assert events.Scalars("final/best")[-1].value == pytest.approx(record["best_validation_dice"], rel=1e-5)


def test_precision_and_recall_curves_are_those_of_the_labels(events: Any) -> None:
    for label in ("anterior", "posterior"):
        steps = events.Tensors(f"pr/{label}")
        assert [one.step for one in steps] == [1, 2, 3, 4]
        tp, fp, tn, fn, precision, recall = make_ndarray(steps[-1].tensor_proto)
        assert np.ptp(tp + fp + tn + fn) == 0  # all voxels at each threshold
        assert recall[0] == 1  # all reach the threshold 0
        assert precision[0] == pytest.approx(tp[0] / (tp[0] + fp[0]))


def test_the_graph_names_the_layers_of_the_network(events: Any) -> None:
    names = [node.name for node in events.Graph().node]
    assert len(names) > 20
    assert any("conv" in name.lower() for name in names)


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
