"""What one folder of a cross-validation takes: the same cases and settings for all folds, and one score a case."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medseg.bundle import find_bundle
from medseg.datasets import read_datalist
from medseg.datasets.datalist import write_json
from medseg.errors import DataError
from medseg.evaluation import CaseScore, write_scores
from medseg.workflows.folds import fold_scores, open_folds, training_settings

SETTINGS = {"_meta_::name": "one", "epochs": 2}


def opened(datalist: Path, folder: Path, **changes: Any) -> list[Path]:
    given: dict[str, Any] = {"folds": 2, "seed": 3, "with_test": False, "settings": SETTINGS, **changes}
    return open_folds(datalist, folder, **given)


def begin(folder: Path, *, fold: int = 0, name: str = "models/last.pt") -> None:
    (folder / f"fold_{fold}" / name).parent.mkdir(parents=True)
    (folder / f"fold_{fold}" / name).touch()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def listed(datalist: Path, *, without: str | None = None, label: Path | None = None) -> Path:
    """Another list beside the first: without a case, or with the label of another one in the first case's place."""
    content = read_datalist(datalist)
    items = [item for item in content["training"] if item["id"] != without]
    if label is not None:
        items[0] = {**items[0], "label": str(label)}
    return write_json({**content, "training": items}, datalist.parent / f"other_{without}_{label is not None}.json")


@pytest.fixture(scope="module")
def first(volumes: Path) -> dict[str, str]:
    """The first training case."""
    return read_datalist(volumes)["training"][0]


@pytest.mark.parametrize("name", ["models/last.pt", "evaluation/scores.csv"])
@pytest.mark.parametrize(
    ("changes", "got", "expected"),
    [
        ({"seed": 4}, "2 folds, seed 4", "2 folds, seed 3"),
        ({"folds": 3}, "3 folds, seed 3", "2 folds, seed 3"),
        ({"with_test": True}, r"6 cases \(new: case_\d\)", "5 cases"),
        ({"settings": {"_meta_::name": "two", "epochs": 2}}, 'bundle="two"', 'bundle="one"'),
        ({"settings": {**SETTINGS, "epochs": 9}}, "epochs=9", "epochs=2"),
        ({"settings": {**SETTINGS, "tta": True}}, "tta=true", "no tta"),
    ],
    ids=["seed", "folds", "with test", "bundle", "epochs", "one more"],
)
def test_a_fold_is_not_dealt_or_trained_otherwise_than_those_that_were_begun(
    volumes: Path, tmp_path: Path, name: str, changes: dict[str, Any], got: str, expected: str
) -> None:
    opened(volumes, tmp_path)
    begin(tmp_path, fold=1, name=name)
    before = contents(tmp_path)
    with pytest.raises(DataError, match=f"got {got}; expected {expected}; give what those were begun with"):
        opened(volumes, tmp_path, **changes)
    assert contents(tmp_path) == before


def test_another_list_is_one_with_other_cases_or_files_not_one_at_another_place(
    volumes: Path, tmp_path: Path, first: dict[str, str]
) -> None:
    lists = opened(volumes, tmp_path)
    begin(tmp_path)
    before = contents(tmp_path)
    fewer = listed(volumes, without=first["id"])
    with pytest.raises(DataError, match=rf"got 4 cases \(missing: {first['id']}\); expected 5 cases"):
        opened(fewer, tmp_path)
    relabelled = listed(volumes, label=volumes.parent / read_datalist(volumes)["test"][0]["label"])
    with pytest.raises(DataError, match=f"got another file, patient or part of {first['id']}; expected those"):
        opened(relabelled, tmp_path)
    content = read_datalist(volumes)
    content["training"][0]["sha256"] = {"image": "0", "label": "0"}  # prepared anew: a mask was corrected in its place
    corrected = write_json(content, volumes.parent / "corrected.json")
    with pytest.raises(DataError, match=f"got another file, patient or part of {first['id']}; expected those"):
        opened(corrected, tmp_path)
    linked = tmp_path.parent / f"{tmp_path.name}_linked"
    linked.symlink_to(volumes.parent)
    assert opened(linked / volumes.name, tmp_path) == lists
    assert contents(tmp_path).keys() == before.keys()


def test_a_folder_without_a_begun_fold_is_dealt_anew(volumes: Path, tmp_path: Path) -> None:
    opened(volumes, tmp_path)
    lists = opened(volumes, tmp_path, folds=3, settings={"epochs": 9})
    assert [path.name for path in lists] == ["fold_0.json", "fold_1.json", "fold_2.json"]
    assert {json.loads(path.read_text(encoding="utf-8"))["folds"] for path in lists} == {3}
    begin(tmp_path)
    assert opened(volumes, tmp_path, folds=3, settings={"epochs": 9}) == lists


def test_folds_of_unknown_settings_are_told_of(volumes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    opened(volumes, tmp_path)
    begin(tmp_path)
    (tmp_path / "cross_validation.json").unlink()
    opened(volumes, tmp_path)
    assert "cross_validation.json is missing: fold_0 may have been trained with other settings" in caplog.text
    with pytest.raises(DataError, match="begun with other settings: fold_0"):
        opened(volumes, tmp_path, settings={"epochs": 9})


def test_settings_are_the_merged_ones_without_where_and_how_fast() -> None:
    bundle = find_bundle("mr_hippocampus")

    def made(*overlays: str, **overrides: Any) -> dict[str, Any]:
        return training_settings(bundle, overlays=overlays, overrides=overrides)

    plain = made()
    assert made(device="cuda:1", workers=4, stop_after_minutes=9, cache_dir="somewhere") == plain
    assert made(epochs=plain["epochs"]) == plain
    for other in (made(epochs=2), made("smoke"), training_settings(find_bundle("ct_lung"), overlays=(), overrides={})):
        assert other != plain
    assert made("smoke") == made("smoke", epochs=1)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda cases: cases[1:], "missing: {first}"),
        (lambda cases: [*cases, cases[0]], "twice: {first}"),
        (lambda cases: [*cases, "stray"], "not of this fold: stray"),
    ],
    ids=["missing", "doubled", "stray"],
)
def test_the_scores_of_a_fold_are_of_its_test_cases_each_once(
    volumes: Path, tmp_path: Path, change: Any, told: str
) -> None:
    datalist = opened(volumes, tmp_path)[0]
    run = tmp_path / "fold_0"
    for name in ("configs", "evaluation"):
        (run / name).mkdir(parents=True)
    (run / "configs" / "common.yaml").write_text("cases_at_most: null\n", encoding="utf-8")
    cases = sorted(item["id"] for item in read_datalist(datalist)["test"])

    def write(ids: list[str]) -> None:
        rows = [CaseScore(case, region, {"dice": 0.5}, "none") for case in ids for region in ("a", "b")]
        write_scores(rows, run / "evaluation" / "scores.csv")

    write(cases)
    assert [row.case for row in fold_scores(run, datalist)] == [case for case in cases for _ in "ab"]
    write(change(cases))
    with pytest.raises(DataError, match=rf"^fold_0: .*scores.csv is not .*; got {told.format(first=cases[0])}; expec"):
        fold_scores(run, datalist)
