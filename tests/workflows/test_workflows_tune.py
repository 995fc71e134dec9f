"""`medseg postprocess tune`: what helps is found and written, what is luck is not, test cases are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
import yaml
from monai.transforms import CastToTyped

from medseg.bundle import find_bundle
from medseg.errors import BundleError, DataError
from medseg.inference import Segmenter, SlidingWindow
from medseg.intake import LoadCased
from medseg.postprocess import FillHoles, KeepInside, KeepLargestComponents
from medseg.postprocess.options import Option, all_options, apply_steps
from medseg.workflows import tune
from medseg.workflows.rewrite import rewritten
from medseg.workflows.tune import tune_postprocessing, write_tuning

NAMES = {1: "grey", 2: "white"}
KEEP_2 = {"_target_": "medseg.postprocess.KeepLargestComponents", "labels": [2], "connectivity": 26}


def three_values() -> torch.nn.Module:
    """Logits of one channel with values 0, 1, 2: the class is the value."""
    net = torch.nn.Conv3d(1, 3, 1)
    with torch.no_grad():
        net.weight[:, 0, 0, 0, 0] = torch.tensor([0.0, 1.0, 2.0])
        net.bias[:] = torch.tensor([0.0, -0.5, -2.0])
    return net


def plan(steps: list[dict[str, Any]], made: list[Any]) -> Any:
    segmenter = Segmenter(
        network=three_values(),
        loading=[LoadCased()],
        preprocessing=[CastToTyped(keys="image", dtype=torch.float32)],
        inferer=SlidingWindow(roi_size=[12, 12, 12], precision="fp32"),
        postprocessing=made,
    )
    return tune._Plan(segmenter, NAMES, tuple(steps), 3, "f00")


def volume(i: int, *, stray: bool, hollow: bool) -> tuple[np.ndarray, np.ndarray]:
    """Truth: a cube of 1 and a cube of 2. The network also sees `stray` pieces of 1, and finds a hole in 2."""
    truth = np.zeros((12, 12, 12), np.int16)
    truth[1:5, 1:5, 1 + i % 3 : 5 + i % 3] = 1
    truth[6:11, 6:11, 6:11] = 2
    seen = truth.copy()
    if stray:
        seen[0:2, 9:11, 0 : 2 + i % 2] = 1
    if hollow:
        seen[8, 8, 7:9] = 0
    return seen, truth


def data(folder: Path, *, stray: Any, hollow: Any, cases: int = 8) -> Path:
    parts: dict[str, list[dict[str, str]]] = {"training": [], "validation": [], "test": []}
    for i in range(cases + 1):
        seen, truth = volume(i, stray=stray(i), hollow=hollow(i))
        for name, array in (("image", seen), ("label", truth)):
            nibabel.save(nibabel.Nifti1Image(array, np.diag([10.0, 10.0, 10.0, 1.0])), folder / f"{name}_{i}.nii.gz")
        item = {"id": f"c{i}", "patient": f"p{i}", "image": f"image_{i}.nii.gz", "label": f"label_{i}.nii.gz"}
        parts["validation" if i < cases else "test"].append(item)
    (folder / "datalist.json").write_text(json.dumps({"name": "cubes", **parts}))
    return folder / "datalist.json"


def always(i: int) -> bool:
    return True


def never(i: int) -> bool:
    return False


@pytest.fixture
def tuned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def go(*, stray: Any = never, hollow: Any = never, steps: Any = (), made: Any = (), **others: Any) -> tune.Tuning:
        monkeypatch.setattr(tune, "_plan", lambda bundle, **_: plan(list(steps), list(made)))
        cases = {"cases": others.pop("cases")} if "cases" in others else {}
        datalist = data(tmp_path, stray=stray, hollow=hollow, **cases)
        return tune_postprocessing("mr_hippocampus", datalist=datalist, **others)

    return go


def test_what_helps_is_chosen_for_its_label_alone(tuned: Any) -> None:
    found = tuned(stray=always)
    grey, white = found.labels
    assert (grey.name, str(grey.chosen), grey.helps) == ("grey", "largest component", True)
    # A cube of 64 voxels with 8 or 12 stray ones: 2 * 64 / (64 + 72) and 2 * 64 / (64 + 76).
    assert grey.present == pytest.approx((128 / 136 + 128 / 140) / 2)
    assert grey.tried["largest component"] == 1.0
    assert grey.gain == pytest.approx(1 - grey.present)
    assert grey.gain_ci95[0] > 0
    assert (white.chosen, white.helps, white.gain) == (None, False, 0.0)
    assert found.after == ({"_target_": "medseg.postprocess.KeepLargestComponents", "labels": [1], "connectivity": 26},)
    assert (found.record["cases"], found.record["folds"], found.record["part"]) == (8, 5, "validation")


def test_holes_are_found_too(tuned: Any) -> None:
    found = tuned(hollow=always)
    assert [str(one.chosen) for one in found.labels if one.helps] == ["holes filled"]
    assert found.after == ({"_target_": "medseg.postprocess.FillHoles", "labels": [2], "connectivity": 6},)


def test_both_at_once_become_one_option_each(tuned: Any) -> None:
    found = tuned(stray=always, hollow=always)
    assert [(one.name, str(one.chosen)) for one in found.labels] == [
        ("grey", "largest component"),
        ("white", "holes filled"),
    ]


def test_perfect_masks_are_left_alone(tuned: Any) -> None:
    found = tuned()
    assert not found.changes
    assert [one.chosen for one in found.labels] == [None, None]
    assert found.after == found.before


def test_a_gain_in_one_case_of_many_does_not_count_where_other_patients_did_not_have_it(tuned: Any) -> None:
    """Chosen on the other patients, who show no gain, the option is not used on the one that would gain."""
    found = tuned(stray=lambda i: i == 0)
    grey = found.labels[0]
    assert str(grey.chosen) == "largest component"  # the best on all cases
    assert (grey.gain, grey.helps) == (0.0, False)  # but not for patients that were not chosen on


def test_a_gain_that_nobody_would_see_is_none(tuned: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = tuned(hollow=always)
    assert found.labels[1].helps
    monkeypatch.setattr(tune, "LEAST_GAIN", found.labels[1].gain + 1e-6)
    assert not tuned(hollow=always).changes


def test_a_step_that_the_bundle_has_already_is_the_measure(tuned: Any) -> None:
    made = [KeepLargestComponents(labels=[1], connectivity=26)]
    steps = [{**KEEP_2, "labels": [1]}]
    found = tuned(stray=always, hollow=always, steps=steps, made=made)
    grey, white = found.labels
    assert (grey.present, grey.helps, grey.chosen) == (1.0, False, None)
    assert white.helps
    assert found.after == ({**KEEP_2, "labels": [1]}, Option(fill=True).steps([2], spatial_dims=3)[0])


def test_steps_of_other_kinds_stay_behind(tuned: Any) -> None:
    inside = {"_target_": "medseg.postprocess.KeepInside", "labels": [1], "within": [2], "connectivity": 26}
    made = [KeepInside(labels=[1], within=[2], connectivity=26)]
    found = tuned(hollow=always, steps=[inside], made=made)
    assert found.labels[0].present == 0.0  # the cubes do not touch
    assert found.after == (*Option(fill=True).steps([2], spatial_dims=3), inside)


@pytest.mark.parametrize("part", ["test", "training"])
def test_other_parts_are_refused(tuned: Any, part: str) -> None:
    with pytest.raises(DataError, match=f"cannot be tuned on the part '{part}'"):
        tuned(part=part)


def test_too_few_patients_are_refused(tuned: Any) -> None:
    with pytest.raises(DataError, match="3 patients; expected at least 4"):
        tuned(cases=3)


@pytest.mark.parametrize("part", ["test", "training"])
def test_cases_that_the_run_itself_learnt_from_or_is_tested_on_are_refused(tmp_path: Path, part: str) -> None:
    own = data(tmp_path, stray=never, hollow=never)
    content = json.loads(own.read_text())
    validation = content["validation"]
    content["validation"], content[part] = [*content[part], *validation[:4]], validation[4:]
    (tmp_path / "other.json").write_text(json.dumps(content))
    known = {**content, "validation": [], part: validation[:4]}
    for item in known[part]:
        item |= {"image": "moved away"}
    shutil.copytree(find_bundle("mr_hippocampus") / "configs", tmp_path / "run" / "configs")
    (tmp_path / "run" / "datalist.json").write_text(json.dumps(known))
    with pytest.raises(DataError, match=f"holds {part} cases of the run .*; got 4 patients of its {part} part"):
        tune._items(tmp_path / "run", tmp_path / "other.json", "validation")


def test_pictures_have_no_volumes() -> None:
    assert [str(one) for one in all_options(2)] == [
        "nothing",
        "largest component",
        "holes filled",
        "largest component, holes filled",
    ]
    assert "pieces from 0.1 ml, holes filled" in [str(one) for one in all_options(3)]


def test_an_option_does_what_its_steps_do() -> None:
    seen, _ = volume(0, stray=True, hollow=True)
    affine = np.diag([10.0, 10.0, 10.0, 1.0])
    both = Option(minimum_ml=10.0, fill=True)
    by_hand = FillHoles(labels=[1, 2], connectivity=6)(
        KeepLargestComponents(labels=[1, 2], connectivity=26, count=None, minimum_ml=10.0)(seen, affine), affine
    )
    np.testing.assert_array_equal(apply_steps(seen, both.steps([1, 2], spatial_dims=3), affine), by_hand)


TEXT = """# about the grid
spacing_mm: [1.0, 1.0]
# Cleans up.
postprocessing:
  - _target_: medseg.postprocess.KeepInside  # stays
    labels: [1]

# The model.
segmenter: {postprocessing: "@postprocessing"}
"""
STEPS = [Option(largest=True, fill=True).steps([1, 2], spatial_dims=3)[0], KEEP_2]


OLD = "postprocessing:\n  - _target_: medseg.postprocess.KeepInside  # stays\n    labels: [1]\n"


@pytest.mark.parametrize(
    "old", [OLD, "postprocessing:\n- a: 1\n  b: 2\n", "postprocessing: []\n"], ids=["indented", "flush", "empty"]
)
def test_only_the_list_is_replaced(tmp_path: Path, old: str) -> None:
    text = TEXT.replace(OLD, old)
    (tmp_path / "common.yaml").write_text(text)
    new = rewritten(tmp_path / "common.yaml", "postprocessing", STEPS)
    assert yaml.safe_load(new) == {**yaml.safe_load(text), "postprocessing": STEPS}
    assert "# about the grid\nspacing_mm: [1.0, 1.0]\n# Cleans up.\npostprocessing:\n" in new
    assert '\n# The model.\nsegmenter: {postprocessing: "@postprocessing"}\n' in new
    assert yaml.safe_load(rewritten(tmp_path / "common.yaml", "postprocessing", []))["postprocessing"] == []


@pytest.mark.parametrize("text", ["a: 1\n", "postprocessing: [\n1]\nb: 2\n"], ids=["no-list", "over-several-lines"])
def test_a_list_that_cannot_be_replaced_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "common.yaml").write_text(text)
    with pytest.raises(BundleError, match="postprocessing"):
        rewritten(tmp_path / "common.yaml", "postprocessing", STEPS)


@pytest.mark.parametrize("name", ["ct_lung", "ct_sarcoma", "cxr_heart_lung", "mr_hippocampus"])
def test_the_lists_of_the_shipped_bundles_can_be_replaced(name: str) -> None:
    common = find_bundle(name) / "configs" / "common.yaml"
    assert yaml.safe_load(rewritten(common, "postprocessing", STEPS))["postprocessing"] == STEPS


def test_what_helped_is_written_with_its_record(tuned: Any, tmp_path: Path) -> None:
    found = tuned(stray=always)
    bundle = tmp_path / "bundle"
    for folder in ("configs", "models"):
        (bundle / folder).mkdir(parents=True)
    (bundle / "configs" / "common.yaml").write_text("postprocessing: []\nafter: 1\n")
    (bundle / "configs" / "metadata.json").write_text("{}")
    files = write_tuning(found, bundle)
    assert [path.name for path in files] == ["common.yaml", "postprocessing.json"]
    written = yaml.safe_load((bundle / "configs" / "common.yaml").read_text())
    assert written == {"postprocessing": [dict(step) for step in found.after], "after": 1}
    record = json.loads((bundle / "models" / "postprocessing.json").read_text())
    assert record["written"] is True
    assert record["labels"]["grey"]["gain"] == pytest.approx(found.labels[0].gain)
    assert record["labels"]["grey"]["gain_ci95"] == pytest.approx(list(found.labels[0].gain_ci95))
