"""`medseg compare` and strata on folders of scores: what is read, refused, written and said."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medseg.cli import main
from medseg.errors import DataError
from medseg.workflows import score
from medseg.workflows.compare import compare

CASES = ("p1_a", "p1_b", "p2_a", "p3_a")


def write(folder: Path, masks: dict[str, np.ndarray]) -> Path:
    folder.mkdir(parents=True)
    for name, mask in masks.items():
        nibabel.save(nibabel.Nifti1Image(mask.astype(np.uint8), np.eye(4)), folder / f"{name}.nii.gz")
    return folder


def masks(shift: int) -> dict[str, np.ndarray]:
    """A cube of 4 voxels in each case, moved by `shift` in all but the last."""
    found = {}
    for i, case in enumerate(CASES):
        mask = np.zeros((10, 10, 10))
        at = 2 + (shift if i < 3 else 0)
        mask[at : at + 4 - i % 2, 2:6, 2:6] = 1
        found[case] = mask
    return found


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """a/ is off by two voxels in three cases, b/ by one; both scored against one truth, by patient."""
    folder = tmp_path_factory.mktemp("compare")
    truth = write(folder / "truth", masks(0))
    for name, shift in (("a", 2), ("b", 1)):
        predictions = write(folder / f"masks_{name}", masks(shift))
        score(predictions, truth, output_dir=folder / name, patient_regex="^[^_]+")
    return folder


def test_the_better_model_is_found_with_its_patients(folders: Path, tmp_path: Path) -> None:
    found = compare(folders / "a", folders / "b", output_dir=tmp_path / "out", metrics=["dice"])
    (dice,) = found.differences
    assert (found.cases, found.patients, found.patients_from) == (4, 3, "cases.csv")
    # Of 4 layers 2 overlap in a, 3 in b; of 3 layers (the second case) 1 and 2.
    assert dice.mean_a == pytest.approx((2 / 4 + 1 / 3 + 2 / 4 + 1) / 4, abs=1e-5)
    assert dice.mean_b == pytest.approx((3 / 4 + 2 / 3 + 3 / 4 + 1) / 4, abs=1e-5)
    assert (dice.wins, dice.losses, dice.ties, dice.better) == (3, 0, 1, "B")
    assert [one["case"] for one in dice.most_different] == ["p1_b", "p1_a", "p2_a"]
    written = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert written["differences"][0]["mean_difference"] == pytest.approx(dice.mean_difference)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "comparison.csv",
        "comparison.json",
        "differences.csv",
    }


def test_patients_of_a_table_win(folders: Path, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("case,who\n" + "".join(f"{case},same\n" for case in CASES))
    found = compare(folders / "a", folders / "b", metrics=["dice"], patient_csv=f"{tmp_path / 'p.csv'}:who")
    assert (found.patients, found.patients_from) == (1, "table")
    assert found.differences[0].p_permutation == 1.0


def test_another_truth_is_refused_by_name(folders: Path, tmp_path: Path) -> None:
    truth = masks(0)
    truth["p2_a"] = np.roll(truth["p2_a"], 1, axis=2)  # as large, elsewhere
    score(folders / "masks_b", write(tmp_path / "truth", truth), output_dir=tmp_path / "b")
    with pytest.raises(DataError, match="not scored against the same truth; got another truth in p2_a"):
        compare(folders / "a", tmp_path / "b", patient_csv=None)


def test_without_cases_csv_the_size_of_the_truth_tells(folders: Path, tmp_path: Path) -> None:
    truth = masks(0)
    truth["p2_a"][2, 2, 2] = 0
    score(folders / "masks_b", write(tmp_path / "truth", truth), output_dir=tmp_path / "b")
    (tmp_path / "b" / "cases.csv").unlink()
    with pytest.raises(DataError, match="another truth in p2_a"):
        compare(folders / "a", tmp_path / "b")


def test_other_cases_are_refused_by_name(folders: Path, tmp_path: Path) -> None:
    fewer = {case: mask for case, mask in masks(1).items() if case != "p1_b"}
    score(write(tmp_path / "masks", fewer), folders / "truth", output_dir=tmp_path / "b")
    with pytest.raises(DataError, match="only A has p1_b"):
        compare(folders / "a", tmp_path / "b")


def test_other_patients_for_the_same_cases_are_refused(folders: Path, tmp_path: Path) -> None:
    score(folders / "masks_b", folders / "truth", output_dir=tmp_path / "b")  # each case its own patient
    with pytest.raises(DataError, match="other patients for the same cases; got p1_a, p1_b, p2_a, p3_a"):
        compare(folders / "a", tmp_path / "b")


def test_strata_are_compared_on_their_own(folders: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("patient,scanner\np1,old\np2,new\np3,new\n")
    found = compare(folders / "a", folders / "b", metrics=["dice"], strata=[f"{tmp_path / 't.csv'}:scanner"])
    assert list(found.strata["scanner"]) == ["new", "old"]
    (old,) = found.strata["scanner"]["old"]
    assert (old.cases, old.patients) == (2, 1)


def test_a_stratum_without_the_scores_that_are_asked_for_leaves_the_others_theirs(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As pictures of unknown spacing among others have none in millimetres."""
    for name in "ab":
        with (folders / name / "scores.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        (tmp_path / name).mkdir()
        with (tmp_path / name / "scores.csv").open("w", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows({**row, **({"hd95_mm": ""} if row["case"] == "p3_a" else {})} for row in rows)
    (tmp_path / "t.csv").write_text(
        "case,scanner\n" + "".join(f"{c},{'new' if c == 'p3_a' else 'old'}\n" for c in CASES)
    )
    asked = ["--metric", "hd95_mm", "--strata", f"{tmp_path / 't.csv'}:scanner"]
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), *asked]) == 0
    said = capsys.readouterr().out
    assert "scanner = new: none of its cases has these scores\nscanner = old:\nlabel 1, hd95_mm: " in said


def test_score_writes_strata_and_patients(folders: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("case,scanner\n" + "".join(f"{c},{c[:2]}\n" for c in CASES))
    wanted = [f"{tmp_path / 't.csv'}:scanner", "size"]
    score(folders / "masks_a", folders / "truth", output_dir=tmp_path / "s", patient_regex="^[^_]+", strata=wanted)
    summary = json.loads((tmp_path / "s" / "summary.json").read_text())
    assert (summary["bootstrap"]["by"], summary["bootstrap"]["patients"]) == ("patient", 3)
    assert list(summary["strata"]["scanner"]) == ["p1", "p2", "p3"]
    assert summary["strata"]["scanner"]["p3"]["regions"]["label 1"]["dice"]["mean"] == 1.0
    assert summary["strata"]["size"]["1 of 4 by size"]["cases"] == 2
    with (tmp_path / "s" / "cases.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [(row["patient"], row["stratum:scanner"]) for row in table] == [
        ("p1", "p1"),
        ("p1", "p1"),
        ("p2", "p2"),
        ("p3", "p3"),
    ]


def test_a_wrong_table_is_told_before_anything_is_scored(folders: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        score(folders / "masks_a", folders / "truth", output_dir=tmp_path / "s", strata=["none.csv:x"])
    assert not (tmp_path / "s").exists()


def test_the_command_tells_the_difference(folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(folders / "a"), str(folders / "b"), "--metric", "dice"]) == 0
    said = capsys.readouterr().out
    assert "B (b) against A (a): 4 cases of 3 patients" in said
    assert "label 1, dice: 0.5833 -> 0.7917" in said
    assert "3 wins, 0 losses, 1 ties" in said
    assert "most different: p1_b +0.333" in said
    assert "a patient of its own" not in said
    score(folders / "masks_a", folders / "truth", output_dir=tmp_path / "alone")
    assert main(["compare", str(tmp_path / "alone"), str(tmp_path / "alone"), "--metric", "dice"]) == 0
    assert "each case counts as a patient of its own" in capsys.readouterr().out
    assert main(["compare", str(folders / "a"), str(folders / "b"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cases"] == 4
    assert main(["compare", str(folders / "a"), str(folders / "truth")]) == 2
    assert "scores.csv: the table cannot be read" in capsys.readouterr().err
