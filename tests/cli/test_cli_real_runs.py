"""Commands that really run, on phantoms."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from medseg.cli import main


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("xray") / "phantoms"
    assert main(["data", "phantom", "-o", str(folder), "--cases", "3", "--seed", "4", "--kind", "xray"]) == 0
    return folder


def test_phantoms_become_a_datalist_with_every_case_once(phantoms: Path, tmp_path: Path):
    target = tmp_path / "datalist.json"
    words = ["data", "prepare", "pairs", str(phantoms), "-o", str(target), "--fractions", "0.34", "0.33", "0.33"]
    assert main(words) == 0
    content = json.loads(target.read_text(encoding="utf-8"))
    ids = [item["id"] for part in ("training", "validation", "test") for item in content[part]]
    assert sorted(ids) == sorted(path.stem for path in (phantoms / "images").iterdir())
    assert [len(content[part]) for part in ("training", "validation", "test")] == [1, 1, 1]


def test_a_folder_that_is_not_there_gives_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["data", "prepare", "pairs", str(tmp_path / "none"), "-o", str(tmp_path / "d.json")]) == 2
    assert "none does not exist" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_masks_scored_against_themselves_are_perfect(phantoms: Path, tmp_path: Path):
    assert main(["score", str(phantoms / "labels"), str(phantoms / "labels"), "-o", str(tmp_path / "scores")]) == 0
    summary = json.loads((tmp_path / "scores" / "summary.json").read_text(encoding="utf-8"))
    assert summary["cases"] == 3
    assert summary["mean_over_regions"]["dice"]["min"] == 1.0
    assert (tmp_path / "scores" / "scores.csv").read_text(encoding="utf-8").count("\n") > 3


def test_a_prediction_that_is_missing_is_named_and_gives_1(
    phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    masks = tmp_path / "masks"
    shutil.copytree(phantoms / "labels", masks)
    lost = sorted(masks.iterdir())[0]
    lost.unlink()
    assert main(["score", str(masks), str(phantoms / "labels"), "-o", str(tmp_path / "scores")]) == 1
    out, err = capsys.readouterr()
    assert f"medseg: case {lost.stem} failed: no prediction\n" in err
    assert out.startswith("2 of 3 cases done")
    assert "label 1: Dice 1.0000 [1.0000, 1.0000], IoU 1.0000, n 2\n" in out


def test_the_four_bundles_are_listed(capsys: pytest.CaptureFixture[str]):
    assert main(["bundle", "list"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == ["ct_lung", "ct_sarcoma", "cxr_heart_lung", "mr_hippocampus"]
