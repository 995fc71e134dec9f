"""Which part of a configuration decides what a mask looks like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medseg.bundle import find_bundle
from medseg.bundle.load import open_workflow
from medseg.bundle.settings import result_settings, settings_behind

CONFIG: dict[str, Any] = {
    "_meta_": {"labels": {"0": "background"}, "name": "x"},
    "segmenter": {"_target_": "S", "network": "@net", "steps": "@steps", "device": "@device"},
    "net": {"_target_": "N", "out": "$len(@labels)", "path": "@weights", "depth": "@deep::depth"},
    "labels": "@_meta_::labels",
    "steps": [{"spacing": "$@spacing[0]"}, "@steps_more"],
    "steps_more": "@segmenter",  # a circle
    "spacing": [1.0, 2.0],
    "deep": {"depth": 3, "width": 4},
    "device": "cuda:1",
    "weights": "/somewhere/model.pt",
    "jobs": 2,
}


def test_what_the_segmenter_refers_to_counts_over_any_number_of_steps() -> None:
    assert settings_behind("segmenter", CONFIG) == {
        "_meta_::labels": {"0": "background"},
        "deep::depth": 3,
        "labels": "@_meta_::labels",
        "net": CONFIG["net"],
        "segmenter": CONFIG["segmenter"],
        "spacing": [1.0, 2.0],
        "steps": CONFIG["steps"],
        "steps_more": "@segmenter",
    }


def settings(bundle: str, **overrides: Any) -> dict[str, Any]:
    workflow = open_workflow(find_bundle(bundle), "inference", overrides=overrides)
    return result_settings(workflow.parser.config)


@pytest.mark.parametrize("bundle", ["ct_lung", "cxr_heart_lung"])
def test_of_a_real_bundle_neither_paths_nor_numbers_of_jobs_count(bundle: str, tmp_path: Path) -> None:
    elsewhere = {"jobs": 7, "output_dir": str(tmp_path), "input": str(tmp_path), "weights": str(tmp_path / "w.pt")}
    there = {"device": "$torch.device('cpu')", "resume": True, "save_probabilities": True}
    assert settings(bundle, **elsewhere, **there) == settings(bundle)
    assert str(Path.cwd()) not in str(settings(bundle))


@pytest.mark.parametrize("changed", [{"overlap": 0.25}, {"spacing_mm": [2.0] * 3}, {"precision": "fp32"}], ids=str)
def test_of_a_real_bundle_all_counts_that_can_change_a_mask(changed: dict[str, Any]) -> None:
    assert settings("ct_lung", **changed) != settings("ct_lung")


def test_measurements_and_codes_count_they_stand_beside_the_mask() -> None:
    cases = {"segmenter": "@segmenter", "measurements": "@ratios", "segments": "@_meta_::codes", "jobs": "@jobs"}
    config = {**CONFIG, "_meta_": {**CONFIG["_meta_"], "codes": {"1": "lung"}}, "cases": cases, "ratios": ["r"]}
    more = {"cases::measurements": "@ratios", "ratios": ["r"], "cases::segments": "@_meta_::codes"}
    mask = settings_behind("segmenter", CONFIG)
    assert result_settings(config) == {**mask, **more, "_meta_::codes": {"1": "lung"}}
    assert result_settings(CONFIG) == mask
