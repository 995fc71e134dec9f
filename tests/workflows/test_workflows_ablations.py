"""benchmarks/ablations.py: what each variant changes, runs that are not done twice, the table and the page."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from medseg.bundle import find_bundle
from medseg.bundle.load import open_workflow
from medseg.evaluation import CaseScore, write_scores

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def ablations() -> Iterator[ModuleType]:
    """The script as a module; it finds measure.py beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        spec = importlib.util.spec_from_file_location("ablations", BENCHMARKS / "ablations.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
        sys.modules.pop("measure", None)


def targets(change: dict[str, Any]) -> list[str]:
    return [one["_target_"] for one in change["train::augmentation"]]


def test_each_variant_leaves_out_its_part_and_nothing_else(ablations: ModuleType) -> None:
    found = ablations.variants_of("mr_hippocampus")
    whole = [one["_target_"] for one in ablations.recipe_of("mr_hippocampus")["train"]["augmentation"]]
    assert found["the recipe"] == {}
    assert targets(found["without mirroring"]) == [name for name in whole if name != "RandFlipd"]
    assert targets(found["without any of these augmentations"]) == ["RandSpatialCropd"]
    assert targets(found["with elastic deformation"]).index("Rand3DElasticd") == whole.index("RandAffined") + 1
    assert found["without oversampled foreground"] == "the recipe does not oversample"
    assert found["without deep supervision"] == {"network_def::deep_supervision": False}
    assert targets(ablations.variants_of("ct_sarcoma")["without oversampled foreground"])[2] == "RandSpatialCropd"
    assert found["with the moving average"] == "the recipe has it"
    assert "with deep supervision" in ablations.variants_of("ct_sarcoma")


@pytest.mark.parametrize(
    ("bundle", "cases", "loss"),
    [("mr_hippocampus", "volumes", "train::loss::loss"), ("cxr_heart_lung", "pictures", "train::loss")],
)
def test_every_variant_of_a_recipe_passes_the_check_of_its_configuration(
    ablations: ModuleType, request: pytest.FixtureRequest, tmp_path: Path, bundle: str, cases: str, loss: str
) -> None:
    """All changes that do not exclude each other at once, as each check takes a second."""
    together: dict[str, Any] = {"datalist": str(request.getfixturevalue(cases)), "run_dir": str(tmp_path)}
    for name, change in ablations.variants_of(bundle).items():
        if not isinstance(change, str) and name not in ("without any of these augmentations", "with deep supervision"):
            together |= change
    workflow = open_workflow(find_bundle(bundle), "train", overrides=together)
    assert workflow.parser[f"{loss}::lambda_ce"] == 0.0
    assert workflow.parser["train::scheduler"]["_target_"].endswith("PolynomialLR")


def scored(folder: Path, dice: dict[str, float]) -> Path:
    folder.mkdir(parents=True)
    write_scores(
        [CaseScore(case, "ball", {"dice": value}, "none") for case, value in dice.items()], folder / "scores.csv"
    )
    return folder


def test_the_table_says_what_a_part_brings(ablations: ModuleType, tmp_path: Path) -> None:
    """Recipe: case means (.8 + .6) / 2 = .7 and (.9 + .9) / 2 = .9; without: .5 and .9; so +.2 and 0, mean +.1."""
    recipe = [scored(tmp_path / "r1", {"a": 0.8, "b": 0.9}), scored(tmp_path / "r2", {"a": 0.6, "b": 0.9})]
    without = [scored(tmp_path / "w1", {"a": 0.5, "b": 0.9}), scored(tmp_path / "w2", {"a": 0.5, "b": 0.9})]
    table = ablations.table_of({"the recipe": recipe, "without x": without}, {"a": "p", "b": "q"}, title="t")
    # Seeds of the recipe: .85 and .75, a sample deviation of .1 / sqrt(2).
    assert table.rows[0] == ["the recipe", 2, "0.8000", "0.0707", "", ""]
    assert table.rows[1] == ["without x", 2, "0.7000", "0.0000", "+0.1000", "+0.0000 to +0.2000"]


def test_runs_are_made_once_and_the_rest_when_asked_again(
    ablations: ModuleType,
    volumes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = ablations.recipe_of("mr_hippocampus")
    options = argparse.Namespace(
        bundle="mr_hippocampus",
        output=tmp_path,
        epochs=1,
        minutes=None,
        seeds=[1],
        only=["without cross-entropy"],
        overlay=["smoke"],
        device="cpu",
        changes=["precision=fp32", "window=[16,16,16]"],
    )
    first = ablations.run_all(options, volumes)
    assert list(first) == ["the recipe", "without cross-entropy"]
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("model.pt")}
    assert len(made) == 2
    assert "the_recipe, seed_1: training" in capsys.readouterr().out
    (first["without cross-entropy"][0] / "scores.csv").unlink()
    assert ablations.run_all(options, volumes) == first
    assert "training" not in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert (first["without cross-entropy"][0] / "scores.csv").is_file()
    options.epochs = 2
    with pytest.raises(SystemExit, match=r"begun with other epochs \(epochs 1, now 2\); give another -o"):
        ablations.run_all(options, volumes)
    options.epochs = 1
    learning_rate = recipe["learning_rate"] / 2
    monkeypatch.setattr(ablations, "recipe_of", lambda bundle: {**recipe, "learning_rate": learning_rate})
    with pytest.raises(SystemExit, match="begun with other recipe; give another -o"):
        ablations.run_all(options, volumes)


def test_the_page_is_what_the_results_say(ablations: ModuleType, tmp_path: Path) -> None:
    table = {"title": "a bundle", "columns": ["variant", "Dice"], "rows": [["the recipe", "0.8"]], "notes": []}
    content = {"about": {"cpu": "x", "changes": ""}, "table": table, "skipped": {"with y": "the recipe has it"}}
    (tmp_path / "ablations_a.json").write_text(json.dumps(content), encoding="utf-8")
    page = ablations.page([tmp_path / "ablations_a.json"])
    assert "## a bundle\n" in page
    assert "| the recipe | 0.8 |" in page
    assert "Not in this recipe: with y (the recipe has it)." in page
    assert page.endswith("cpu x.\n")
    committed = ablations.page(sorted(ablations.RESULTS.glob("ablations_*.json")))
    assert ablations.PAGE.read_text(encoding="utf-8") == committed
