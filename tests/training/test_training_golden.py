"""Golden loss curves: a refactor must match them, and another recipe must not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from golden_curves import GOLDEN, RELATIVE, SETTINGS, curve, differing, golden
from training_parts import write_cases

from medseg.bundle import find_bundle

BUNDLES = ("ct_lung", "ct_sarcoma", "cxr_heart_lung", "mr_hippocampus")

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture(scope="module")
def golden_data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("golden")
    return {bundle: write_cases(bundle, folder / bundle) for bundle in BUNDLES}


@pytest.mark.parametrize("bundle", BUNDLES)
def test_the_losses_of_a_bundle_are_its_golden_ones(bundle: str, golden_data: dict[str, Path], tmp_path: Path) -> None:
    wrong = differing(curve(bundle, golden_data[bundle], tmp_path), golden(bundle))
    assert wrong == [], "if this is meant: python tests/training/golden_curves.py " + bundle


def test_the_files_say_how_they_were_made() -> None:
    assert sorted(path.stem for path in GOLDEN.glob("*.json")) == list(BUNDLES)
    for bundle in BUNDLES:
        content = golden(bundle)
        assert content["relative_tolerance"] == RELATIVE
        assert content["settings"].items() >= {"overlay": "smoke", "precision": "fp32"}.items()
        assert len(content["loss"]) == SETTINGS["epochs"]


def _another_order() -> dict[str, Any]:
    """The last two augmentations of the hippocampus bundle the other way round."""
    text = (find_bundle("mr_hippocampus") / "configs" / "train.yaml").read_text(encoding="utf-8")
    *steps, one, other = yaml.safe_load(text)["train"]["augmentation"]
    return {"train::augmentation": [*steps, other, one]}


@pytest.mark.parametrize(
    "change",
    [_another_order(), {"train::loss::loss::lambda_ce": 1.01}, {"learning_rate": 1.01e-3}, {"seed": 43}],
    ids=["another order of augmentation", "cross-entropy counts 1 % more", "a learning rate 1 % higher", "a seed"],
)
def test_a_changed_recipe_is_noticed(change: dict[str, Any], golden_data: dict[str, Path], tmp_path: Path) -> None:
    assert differing(
        curve("mr_hippocampus", golden_data["mr_hippocampus"], tmp_path, **change), golden("mr_hippocampus")
    )
