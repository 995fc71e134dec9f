"""`medseg report` as a user gives it: what it writes, says, and answers with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from report_parts import FolderMaker, make_run

from medseg.cli import main


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    maker = FolderMaker(tmp_path / "scores")
    maker.case("a")
    return maker.close()


def test_it_writes_one_file_and_tells_where(scores: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "new" / "report.html"
    assert main(["report", str(scores), "-o", str(target)]) == 0
    assert capsys.readouterr().out == f"report: {target}\n"
    assert [file.name for file in target.parent.iterdir()] == ["report.html"]
    assert target.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_table_that_a_spreadsheet_saved_is_read_or_told(
    scores: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Excel's "CSV UTF-8" begins with a mark; in other countries it parts columns by semicolons."""
    table, words = scores / "scores.csv", ["report", str(scores), "-o", str(tmp_path / "r.html")]
    assert main(words) == 0
    page, text = (tmp_path / "r.html").read_text(encoding="utf-8"), table.read_text(encoding="utf-8")
    table.write_text("\ufeff" + text, encoding="utf-8")
    assert main(words) == 0
    assert (tmp_path / "r.html").read_text(encoding="utf-8") == page
    table.write_text(text.replace(",", ";"), encoding="utf-8")
    assert main(words) == 2
    assert "scores.csv: no table; got case;region;" in capsys.readouterr().err
    table.write_text(text.replace("left lung,1,", "left lung,n/a,"), encoding="utf-8")
    assert main(words) == 2
    assert "scores.csv: no number; got 'n/a'" in capsys.readouterr().err


def test_plots_and_machines_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, target = make_run(tmp_path / "run"), tmp_path / "report.html"
    assert main(["report", str(run), "-o", str(target), "--save-plots", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {"report": str(target), "plots": [str(run / name) for name in ("training.png", "training.svg")]}
    assert all(Path(plot).is_file() for plot in said["plots"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere", "-o", "r.html"], "nowhere does not exist"),
        ([".", "-o", "r.html"], "nothing to report on"),
        (["."], "-o/--output"),
        ([".", "-o", "r.html", "--cases", "0"], "a whole number from 1 on"),
    ],
    ids=["absent", "empty", "no output", "no cases"],
)
def test_wrong_input_is_told_and_nothing_is_written(
    words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["report", *words]) == 2
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_plots_of_a_folder_without_a_training_are_refused(
    scores: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(scores), "-o", str(tmp_path / "r.html"), "--save-plots"]) == 2
    assert "no plots to save" in capsys.readouterr().err


def test_a_target_that_cannot_be_written(scores: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["report", str(scores), "-o", str(tmp_path / "file" / "r.html")]) == 2
    assert "cannot be written" in capsys.readouterr().err
