"""Scores by group: tables by case or by patient, numbers by quartiles, sizes by region, and the tables read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medseg.case import Image
from medseg.errors import DataError
from medseg.evaluation import CaseScore, write_scores
from medseg.evaluation.strata import read_all_strata, read_strata, split_rows, summarise_strata
from medseg.evaluation.table import CaseRecord, read_cases, read_scores, truth_sha256, write_cases

PATIENTS = {"a1": "a", "a2": "a", "b1": "b", "c1": "c"}


def table(folder: Path, text: str) -> str:
    (folder / "t.csv").write_text(text, encoding="utf-8")
    return f"{folder / 't.csv'}:scanner"


def row(case: str, dice: float, *, region: str = "lung", ml: float = 1.0) -> CaseScore:
    return CaseScore(case, region, {"dice": dice, "truth_ml": ml}, "none")


def test_a_table_by_case(tmp_path: Path) -> None:
    wanted = table(tmp_path, "case,scanner\na1,one\na2,two\nb1,one\nnot scored,two\n")
    strata = read_strata(wanted, PATIENTS)
    assert strata.name == "scanner"
    assert strata.of_case == {"a1": "one", "a2": "two", "b1": "one", "c1": "not given"}


def test_a_table_by_patient(tmp_path: Path) -> None:
    strata = read_strata(table(tmp_path, "who,scanner\na,one\nb,two\nc,\n"), PATIENTS)
    assert strata.of_case == {"a1": "one", "a2": "one", "b1": "two", "c1": "not given"}


def test_a_table_by_file_name(tmp_path: Path) -> None:
    strata = read_strata(table(tmp_path, "file,scanner\na1.nii.gz,one\nb1.PNG,two\nc1.tif,three\n"), PATIENTS)
    assert [strata.of_case[case] for case in ("a1", "b1", "c1")] == ["one", "two", "three"]


def test_many_numbers_are_cut_at_their_quartiles(tmp_path: Path) -> None:
    cases = {f"c{i}": f"c{i}" for i in range(8)}
    text = "case,scanner\n" + "".join(f"c{i},{10 * i}\n" for i in range(8))
    strata = read_strata(table(tmp_path, text), cases)
    assert list(strata.of_case.values()) == [x for x in ("0 to 10", "20 to 30", "40 to 50", "60 to 70") for _ in (0, 1)]
    names = list(split_rows([row(case, 0.5) for case in reversed(cases)], strata))
    assert names == ["0 to 10", "20 to 30", "40 to 50", "60 to 70"]


def test_decimal_commas_of_a_spreadsheet_are_cut_alike(tmp_path: Path) -> None:
    """Taken for words they made a stratum of each case."""
    cases = {f"c{i}": f"c{i}" for i in range(8)}
    text = "case;scanner\n" + "".join(f"c{i};{10 * i},5\n" for i in range(8))
    strata = read_strata(table(tmp_path, text), cases)
    found = list(dict.fromkeys(strata.of_case.values()))
    assert found == ["0.5 to 10.5", "20.5 to 30.5", "40.5 to 50.5", "60.5 to 70.5"]


def test_few_numbers_are_groups_of_their_own(tmp_path: Path) -> None:
    cases = {f"c{i}": f"c{i}" for i in range(8)}
    text = "case,scanner\n" + "".join(f"c{i},{1.5 if i % 2 else 3}\n" for i in range(8))
    assert set(read_strata(table(tmp_path, text), cases).of_case.values()) == {"1.5", "3"}


def test_a_column_called_size_is_that_column(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("case,size\na1,XL\na2,S\nb1,XL\nc1,S\n", encoding="utf-8")
    strata = read_strata(f"{tmp_path / 't.csv'}:size", PATIENTS)
    assert list(split_rows([row(case, 0.5) for case in PATIENTS], strata)) == ["S", "XL"]
    with pytest.raises(DataError, match=r"one name; got size twice in .*t\.csv:size, size"):
        read_all_strata([f"{tmp_path / 't.csv'}:size", "size"], PATIENTS)


def test_dates_stay_apart(tmp_path: Path) -> None:
    cases = {f"c{i}": f"c{i}" for i in range(8)}
    text = "case,scanner\n" + "".join(f"c{i},2023010{i + 1}\n" for i in range(8))
    found = list(dict.fromkeys(read_strata(table(tmp_path, text), cases).of_case.values()))
    assert found == [f"2023010{k} to 2023010{k + 1}" for k in (1, 3, 5, 7)]


def test_scores_of_each_stratum_by_patient(tmp_path: Path) -> None:
    rows = [row("a1", 0.0), row("a2", 1.0), row("b1", 0.5), row("c1", 0.9)]
    strata = read_strata(table(tmp_path, "case,scanner\na1,one\na2,one\nb1,one\nc1,two\n"), PATIENTS)
    found = summarise_strata(rows, strata, patients=PATIENTS)
    assert list(found) == ["one", "two"]
    assert (found["one"]["cases"], found["one"]["bootstrap"]["patients"]) == (3, 2)
    assert found["one"]["regions"]["lung"]["dice"]["mean_ci95"] == [0.5, 0.5]  # patients a and b both have 0.5
    assert found["two"]["regions"]["lung"]["dice"]["mean"] == 0.9


def test_sizes_are_quarters_of_each_region_of_its_own() -> None:
    big = [row(f"c{i}", 0.1 * i, region="liver", ml=1000.0 + i) for i in range(8)]
    small = [row(f"c{i}", 0.1 * i, region="lesion", ml=8.0 - i) for i in range(8)]
    parts = split_rows([*big, *small], read_strata("size", {f"c{i}": f"c{i}" for i in range(8)}))
    assert list(parts) == [f"{k} of 4 by size" for k in (1, 2, 3, 4)]
    assert [(r.region, r.case) for r in parts["1 of 4 by size"]] == [
        ("liver", "c0"),
        ("liver", "c1"),
        ("lesion", "c6"),
        ("lesion", "c7"),
    ]


@pytest.mark.parametrize(
    ("text", "wanted", "told"),
    [
        ("case,scanner\nx,one\n", "t.csv:scanner", "none of the cases"),
        ("case,scanner\na1,one\n", "t.csv:sex", "no column 'sex'; got case, scanner"),
        ("case,scanner\na1,one\na1,two\n", "t.csv:scanner", "a1 has two values of scanner"),
        ("case,scanner\na1,one\n", "t.csv", "expected FILE:COLUMN"),
        ("case,scanner\na1,one\n", "other.csv:scanner", "cannot be read"),
    ],
    ids=["no-case", "no-column", "two-values", "no-colon", "no-file"],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path: Path, text: str, wanted: str, told: str) -> None:
    table(tmp_path, text)
    with pytest.raises(DataError, match=told):
        read_strata(str(tmp_path / wanted), PATIENTS)


def test_scores_and_cases_are_read_as_they_were_written(tmp_path: Path) -> None:
    rows = [row("a,1", 0.25), CaseScore("b", "lung", {"dice": 1.0}, "both")]
    write_scores(rows, tmp_path / "scores.csv")
    assert read_scores(tmp_path) == rows
    records = [CaseRecord("a,1", "p", "f00", 0.9, 0.125, 0.75, ("volume", "border")), CaseRecord("b", "b")]
    write_cases(records, tmp_path / "cases.csv", strata={"scanner": {"a,1": "one"}})
    assert read_cases(tmp_path) == records
    header, first, second = (tmp_path / "cases.csv").read_text().splitlines()
    assert header.endswith(",flags,stratum:scanner")
    assert first.endswith(",volume border,one")
    assert second.endswith(",")


def test_a_table_whose_last_empty_cells_a_spreadsheet_left_out_is_read(tmp_path: Path) -> None:
    """Excel does so; a row that is too long, as of a table with commas for decimals, is refused by its header."""
    records = [CaseRecord("a", "p", "f00", 0.9, 0.125), CaseRecord("b", "q")]
    write_cases(records, tmp_path / "cases.csv", strata={})
    text = (tmp_path / "cases.csv").read_text()
    (tmp_path / "cases.csv").write_text("\n".join(line.rstrip(",") for line in text.splitlines()))
    assert read_cases(tmp_path) == records
    (tmp_path / "scores.csv").write_text("a,b\n1,2,3\n")
    with pytest.raises(DataError, match="no table of scores; got a, b"):
        read_scores(tmp_path)


def test_a_folder_without_cases_has_none_and_one_without_scores_is_refused(tmp_path: Path) -> None:
    assert read_cases(tmp_path) == []
    with pytest.raises(DataError, match=r"scores.csv: the table cannot be read.*medseg score"):
        read_scores(tmp_path)
    (tmp_path / "scores.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="no table of scores; got a, b"):
        read_scores(tmp_path)


def test_the_hash_of_a_truth_is_of_its_labels_not_of_its_file() -> None:
    def image(array: np.ndarray) -> Image:
        return Image(array, np.eye(4), Path("x.nii.gz"))

    labels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    same = [labels.astype(np.int32), np.asfortranarray(labels), labels.astype(np.uint16)]
    assert {truth_sha256(image(one)) for one in same} == {truth_sha256(image(labels))}
    assert truth_sha256(image(labels.reshape(3, 2, 4))) != truth_sha256(image(labels))
    other = labels.copy()
    other[0, 0, 0] = 1
    assert truth_sha256(image(other)) != truth_sha256(image(labels))
