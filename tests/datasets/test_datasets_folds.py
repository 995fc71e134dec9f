"""Folds for cross-validation: every case once, patients together."""

from __future__ import annotations

import json

import pytest

from medseg.datasets import deal_folds, read_datalist, write_folds
from medseg.datasets.folds import fold_of_patients
from medseg.errors import DataError


@pytest.fixture
def datalist(tmp_path):
    """Twelve cases of six patients, two each: p0 to p3 for training, p4 for validation, p5 for test."""
    folder = tmp_path / "data"
    folder.mkdir()
    content = {"name": "made", "labels": {"0": "background", "1": "lung"}}
    for section, patients in {"training": range(4), "validation": [4], "test": [5]}.items():
        content[section] = [_case(folder, f"p{p}", n) for p in patients for n in range(2)]
    path = folder / "datalist.json"
    path.write_text(json.dumps(content))
    return path


def _case(folder, patient, number):
    for kind in ("image", "label"):
        (folder / f"{patient}_{number}_{kind}.png").touch()
    name = f"{patient}_{number}"
    return {"id": name, "patient": patient, "image": f"{name}_image.png", "label": f"{name}_label.png"}


def _folds(datalist, folder, **given):
    return write_folds(deal_folds(datalist, folder, **given), folder)


def _patients(items):
    return {item["patient"] for item in items}


def test_each_case_is_scored_once_and_no_patient_stands_on_two_sides(datalist, tmp_path):
    folds = [read_datalist(path) for path in _folds(datalist, tmp_path / "folds", folds=5, seed=1)]
    scored = [item["id"] for fold in folds for item in fold["test"]]
    assert sorted(scored) == [f"p{p}_{n}" for p in range(5) for n in range(2)]
    for fold in folds:
        sides = [_patients(fold[section]) for section in ("training", "validation", "test")]
        assert [len(side) for side in sides] == [3, 1, 1]
        assert not set.intersection(*sides[:2]) | set.intersection(*sides[1:])
        assert fold["numTraining"] == 6
        assert "p5" not in set.union(*sides)


def test_the_test_part_is_dealt_out_when_asked_for(datalist, tmp_path):
    paths = _folds(datalist, tmp_path / "folds", folds=2, seed=1, with_test=True)
    assert sum(len(read_datalist(path)["test"]) for path in paths) == 12


def test_the_same_seed_gives_the_same_folds(datalist, tmp_path):
    one, two, other = (
        [path.read_text() for path in _folds(datalist, tmp_path / name, folds=3, seed=seed)]
        for name, seed in (("one", 1), ("two", 1), ("other", 2))
    )
    assert one == two != other


def test_folds_differ_by_one_patient_at_most():
    folds = list(fold_of_patients([f"p{n}" for n in range(11)] * 2, folds=4, seed=0).values())
    assert sorted(folds.count(fold) for fold in range(4)) == [2, 3, 3, 3]


@pytest.mark.parametrize(("patients", "folds"), [(["a", "b"], 3), (["a", "b"], 1)])
def test_folds_that_cannot_be_filled_are_refused(patients, folds):
    with pytest.raises(DataError, match="cross-validation"):
        fold_of_patients(patients, folds=folds, seed=0)


def test_a_negative_seed_is_refused():
    with pytest.raises(DataError, match="a seed is negative; got -1"):
        fold_of_patients(["a", "b"], folds=2, seed=-1)
