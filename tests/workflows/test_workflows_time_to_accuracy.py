"""benchmarks/time_to_accuracy.py: which masks are scored; race_folds.py: several folds as one table."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from medseg.evaluation.scores import CaseScore, write_scores
from medseg.evaluation.table import CaseRecord, write_cases

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def script(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    for one in ("measure", "race", name):
        monkeypatch.delitem(sys.modules, one, raising=False)
    return importlib.import_module(name)


def test_each_case_is_scored_by_its_own_mask_where_an_id_is_the_beginning_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = script("time_to_accuracy", monkeypatch)
    ids = ("case_1", "case_10", "probe_2")
    masks = tmp_path / "masks"
    masks.mkdir()
    for case in ids:
        (masks / f"{case}.nii.gz").write_text(case, encoding="utf-8")
    (masks / "case_1_uncertainty.nii.gz").write_text("no mask", encoding="utf-8")

    def score(found: Path, truth: Path, *, output_dir: Path, patient_csv: str) -> SimpleNamespace:
        output_dir.mkdir()
        told = {path.name: path.read_text(encoding="utf-8") for path in found.iterdir()}
        (output_dir / "summary.json").write_text(json.dumps(told), encoding="utf-8")
        return SimpleNamespace(failed=[])

    monkeypatch.setattr(module, "score", score)
    race = SimpleNamespace(folder=tmp_path, test_cases=lambda: [{"id": case} for case in ids])
    kept = SimpleNamespace(predictions=masks)
    assert module.scored(race, kept) == {f"{case}.nii.gz": case for case in ids}


def _raced(folder: Path, *, fold: int, dice: dict[str, tuple[float, float]]) -> Path:
    """What a race leaves: of our side the second weights count, of nnU-Net's the eleventh."""
    rows = {"nnunet/masks/2_scores": 0, "nnunet/masks/10_scores": 0, "ours/kept/0/masks_scores": 1}
    for place, side in {**rows, "ours/kept/1/masks_scores": 1}.items():
        scores = folder / place
        scores.mkdir(parents=True)
        counts = place.startswith(("nnunet/masks/10", "ours/kept/1"))
        records = [CaseRecord(case=case, patient=f"of {case}") for case in dice]
        write_cases(records, scores / "cases.csv", strata={})
        found = [CaseScore(case, "label 1", {"dice": both[side] * counts}, "none") for case, both in dice.items()]
        write_scores(found, scores / "scores.csv")
    about = {"about": {"fold": f"{fold} of 2", "date": "2026-01-01"}}
    (folder / "time_to_accuracy.json").write_text(json.dumps(about), encoding="utf-8")
    return folder


def test_the_last_masks_of_both_sides_are_compared_case_by_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = script("time_to_accuracy", monkeypatch)
    folder = _raced(tmp_path / "a", fold=0, dice={"x": (0.5, 0.7), "y": (0.6, 0.5)})
    places = (folder / "ours" / "kept" / "1" / "masks", folder / "nnunet" / "masks" / "10")
    sides = [SimpleNamespace(kept=[SimpleNamespace(predictions=place)]) for place in places]
    table = module.compared(SimpleNamespace(folder=folder), sides)
    (row,) = table.rows
    assert row[:5] == ["label 1", "0.5500", "0.6000", "+0.0500", "-0.1000 to +0.2000"]
    assert row[-1] == "1 : 1"
    assert module.compared(SimpleNamespace(folder=folder), sides[:1]) is None


def test_races_of_several_folds_are_put_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = script("race_folds", monkeypatch)
    first = _raced(tmp_path / "a", fold=0, dice={"x": (0.5, 0.7), "y": (0.6, 0.5)})
    second = _raced(tmp_path / "b", fold=1, dice={"z": (0.1, 0.9)})
    module.main([first, second], None)
    told = capsys.readouterr().out
    assert "| 0 of 2 | 2 | label 1 | 0.5500 | 0.6000 | +0.0500 | -0.1000 to +0.2000 | 1 : 1 |" in told
    assert "| 1 of 2 | 1 | label 1 | 0.1000 | 0.9000 | +0.8000 | one patient | 1 : 0 |" in told
    assert "Dice of the 3 cases of 2 folds" in told
    assert "| label 1 | 0.4000 (" in told
    assert ") | 0.7000 (" in told
    assert ") | +0.3000 | -0.1000 to +0.8000 |" in told
    with pytest.raises(SystemExit, match=r"patient of z is tested in fold 1 of 2 and in fold 2 of 2"):
        module.main([first, second, _raced(tmp_path / "c", fold=2, dice={"z": (0.1, 0.9)})], None)
    (tmp_path / "c" / "nnunet").rename(tmp_path / "c" / "alone")
    with pytest.raises(SystemExit, match=r"expected the output of time_to_accuracy\.py with both sides"):
        module.main([tmp_path / "c"], None)
