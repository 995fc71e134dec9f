"""benchmarks/time_to_accuracy.py: which masks are scored."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_each_case_is_scored_by_its_own_mask_where_an_id_is_the_beginning_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    for name in ("measure", "race", "time_to_accuracy"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    module = importlib.import_module("time_to_accuracy")
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
