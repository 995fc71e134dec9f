"""`score` on masks as they come: several formats of one case, full-scale greys, the folder of somebody's masks."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medseg.errors import OutputError
from medseg.evaluation import LesionRule, ScorePlan
from medseg.workflows import score


def write(folder: Path, masks: dict[str, list[int]]) -> Path:
    """Volumes of a row of voxels."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in masks.items():
        array = np.array(values, dtype=np.uint16).reshape(-1, 1, 1)
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), folder / f"{name}.nii.gz")
    return folder


def dice(folder: Path) -> dict[tuple[str, str], float]:
    with (folder / "scores.csv").open(encoding="utf-8", newline="") as file:
        return {(row["case"], row["region"]): float(row["dice"]) for row in csv.DictReader(file)}


@pytest.mark.parametrize("white", [255, 65535])
def test_one_label_stored_as_white_is_the_one_stored_as_1(
    white: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ours = write(tmp_path / "ours", {"a": [0, 1, 1, 0], "b": [0, 0, 1, 1]})
    truth = write(tmp_path / "truth", {"a": [0, white, white, 0], "b": [0, white, white, 0]})
    score(ours, truth, output_dir=tmp_path / "scores")
    assert dice(tmp_path / "scores") == {("a", "label 1"): 1.0, ("b", "label 1"): 0.5}
    assert f"predictions hold 1, truth {white}: both are taken for label 1" in caplog.text


def test_images_in_place_of_truth_are_told_and_not_scored(tmp_path: Path) -> None:
    ours = write(tmp_path / "ours", {"a": [0, 1, 1, 0], "atlas": [0, 1, 1, 0]})
    image = np.random.default_rng(0).integers(0, 256, 400)
    truth = write(tmp_path / "truth", {"a": image.tolist(), "atlas": np.repeat(np.arange(100), 4).tolist()})
    a, atlas = score(ours, truth, output_dir=tmp_path / "scores").cases
    assert "a.nii.gz: looks like an image, not like a mask; got" in str(a.reason)
    assert "size" in str(atlas.reason)  # a hundred labels are no image: only its grid is another


def test_labels_that_only_one_side_has_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ours = write(tmp_path / "ours", {"a": [0, 1, 1, 0]})
    truth = write(tmp_path / "truth", {"a": [0, 2, 3, 0]})
    score(ours, truth, output_dir=tmp_path / "scores")
    assert set(dice(tmp_path / "scores").values()) == {0.0}
    assert "predictions hold 1, truth 2, 3, no value stands in both" in caplog.text


def test_255_among_other_labels_stays_a_label_and_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ours = write(tmp_path / "ours", {"a": [0, 1, 255, 0]})
    truth = write(tmp_path / "truth", {"a": [0, 1, 1, 2]})
    score(ours, truth, output_dir=tmp_path / "scores")
    assert set(dice(tmp_path / "scores")) == {("a", "label 1"), ("a", "label 2"), ("a", "label 255")}
    assert caplog.messages == ["label values that stand in the predictions alone: 255"]


def test_masks_that_are_all_empty_are_told_and_split_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ours = write(tmp_path / "ours", {"a": [0, 0]})
    assert not score(ours, ours, output_dir=tmp_path / "scores", strata=["size"]).failed
    assert dice(tmp_path / "scores") == {}
    assert "all masks are empty on both sides" in caplog.text


def test_a_label_that_is_asked_for_and_stands_nowhere_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its rows are those of empty masks: a Dice of 1 for a value that somebody mistyped."""
    ours = write(tmp_path / "ours", {"a": [0, 1, 2]})
    rule = LesionRule(iou_above=0.1)
    plan = ScorePlan(lesions={"label 2": rule, "label 8": rule, "label 9": rule})
    score(ours, ours, output_dir=tmp_path / "scores", plan=plan)
    assert dice(tmp_path / "scores")["a", "label 9"] == 1
    assert caplog.messages == ["no mask on either side holds 8, 9: the scores are those of empty masks"]


def test_tolerances_in_the_other_unit_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ours = write(tmp_path / "ours", {"a": [0, 1]})
    score(ours, ours, output_dir=tmp_path / "scores", plan=ScorePlan(tolerances_px=[2.0]))
    assert caplog.messages == ["no NSD: tolerances are in px, the spacing of these masks is in mm"]


def test_of_several_formats_of_one_mask_the_manifest_names_the_one(tmp_path: Path) -> None:
    ours, truth = write(tmp_path / "ours", {"a": [0, 1]}), write(tmp_path / "truth", {"a": [0, 1], "b": [0, 1]})
    (ours / "a.mha").write_bytes(b"the same in another format")
    (ours / "a_manifest.json").write_text(json.dumps({"outputs": {"mask": {"file": "a.nii.gz"}}}), encoding="utf-8")
    (ours / "b_manifest.json").write_text("{", encoding="utf-8")
    report = score(ours, truth, output_dir=tmp_path / "scores")
    assert [(case.id, case.reason) for case in report.cases] == [("a", None), ("b", "no prediction")]


@pytest.mark.parametrize("side", ["ours", "truth"])
def test_scores_do_not_take_the_place_of_what_lies_beside_the_masks(tmp_path: Path, side: str) -> None:
    for name in ("ours", "truth"):
        write(tmp_path / name, {"a": [0, 1]})
    (tmp_path / side / "report.json").write_text("of predict", encoding="utf-8")
    with pytest.raises(OutputError, match="got a folder of masks"):
        score(tmp_path / "ours", tmp_path / "truth", output_dir=tmp_path / side)
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "b_manifest.json").touch()
    with pytest.raises(OutputError, match="got a folder of masks"):
        score(tmp_path / "ours", tmp_path / "truth", output_dir=tmp_path / "others")
    assert (tmp_path / side / "report.json").read_text(encoding="utf-8") == "of predict"
