"""Datalists: what is accepted, what is refused and how it is said."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from monai.data import load_decathlon_datalist

from medseg.datasets import (
    check_label_meaning,
    copy_datalist,
    list_inputs,
    load_datalist,
    read_datalist,
    split_by_patient,
)
from medseg.datasets.datalist import relative_path
from medseg.errors import DataError


def item(case: str, patient: str | None = None) -> dict[str, Any]:
    return {
        "id": case,
        "patient": patient or case,
        "image": f"images/{case}.png",
        "label": f"labels/{case}.png",
        "sha256": {"image": "0" * 64, "label": "1" * 64},
        "fold": 0,
    }


@pytest.fixture
def datalist(tmp_path: Path) -> Path:
    for case in "abcd":
        for folder in ("images", "labels"):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / f"{case}.png").touch()
    content = {"training": [item("a"), item("b")], "validation": [item("c")], "test": [item("d")]}
    path = tmp_path / "list.json"
    path.write_text(json.dumps(content))
    return path


def test_cases_can_be_left_out_by_id(datalist: Path) -> None:
    assert [case["id"] for case in load_datalist(datalist, "training", without=["a"])] == ["b"]
    for wrong, got in ((["a", "e"], "e"), (["a", "b"], "all of them")):
        with pytest.raises(DataError, match=f"cases to leave out; got {got}; expected"):
            load_datalist(datalist, "training", without=wrong)


def test_those_to_leave_out_of_training_stay_in_other_parts(datalist: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One list does for all folds: a case is left out where it would be trained on, and scored where it is tested."""
    with caplog.at_level(logging.INFO):
        assert [case["id"] for case in load_datalist(datalist, "training", without=["a", "d"])] == ["b"]
    assert "training: 1 cases are left out; 1 more stay in other parts" in caplog.text
    assert [case["id"] for case in load_datalist(datalist, "test")] == ["d"]


def changed(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


def test_cases_come_with_absolute_paths(datalist: Path) -> None:
    assert load_datalist(datalist, "validation") == [
        {
            "id": "c",
            "patient": "c",
            "image": str(datalist.parent / "images" / "c.png"),
            "label": str(datalist.parent / "labels" / "c.png"),
        }
    ]
    assert [case["id"] for case in load_datalist(str(datalist), "training")] == ["a", "b"]


def test_paths_do_not_depend_on_the_working_directory(datalist: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(datalist.parent)
    assert load_datalist("list.json", "test")[0]["image"] == str(datalist.parent / "images" / "d.png")


@pytest.mark.parametrize("section", ["training", "validation", "test"])
def test_monai_reads_the_same_file(datalist: Path, section: str) -> None:
    theirs = load_decathlon_datalist(str(datalist), is_segmentation=True, data_list_key=section)
    keys = ("id", "patient", "image", "label")
    assert [{key: one[key] for key in keys} for one in theirs] == load_datalist(datalist, section)
    assert theirs[0]["sha256"] == {"image": "0" * 64, "label": "1" * 64}


REFUSED = {
    "twice": (lambda c: c["test"].append(item("a", "d")), r"case a: the id stands twice, training\[0\] and test\[1\]"),
    "patient": (lambda c: c["test"][0].update(patient="a"), r"patient a: stands in training \(case a\) and in test"),
    "file": (lambda c: c["test"][0].update(label="labels/x.png"), r"case d: label file .*x\.png does not exist"),
    "path of Windows": (
        lambda c: c["test"][0].update(label=r"labels\d.png"),
        r"case d: label file .* does not exist: its path is written with \\, write /",
    ),
    "image as label": (
        lambda c: c["test"][0].update(label="labels/../images/d.png"),
        r"case d: image and label are one file, .*d\.png",
    ),
    "field": (lambda c: c["test"][0].pop("patient"), r"test\[0\]: got no text for patient"),
    "not a case": (lambda c: c["test"].append("images/a.png"), r"test\[1\]: got no text for id, patient, image, label"),
    "number": (lambda c: c["test"][0].update(id=7), r"test\[0\]: got no text for id"),
    "slash": (lambda c: c["test"][0].update(id="x/d"), r"case x/d: .*slash"),
    "part": (lambda c: c.pop("test"), r"part 'test' is missing"),
    "no list": (lambda c: c.update(test={}), r"part 'test': got dict, expected a list"),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_datalist_is_refused(datalist: Path, change: Callable[[dict[str, Any]], object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_datalist(changed(datalist, change))


def test_all_problems_are_named_at_once_up_to_twenty(datalist: Path) -> None:
    changed(datalist, lambda c: c.update(training=[item(f"m{i}") for i in range(15)]))
    with pytest.raises(DataError) as info:
        read_datalist(datalist)
    lines = str(info.value).splitlines()
    assert "30 problems" in lines[0]
    assert len(lines) == 22
    assert "and 10 more" in lines[-1]


@pytest.mark.parametrize(("text", "message"), [("{", "no JSON"), ("[]", "expected a JSON object")])
def test_what_is_no_datalist_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DataError, match=message):
        read_datalist(tmp_path / "x.json")
    with pytest.raises(DataError, match="cannot be read"):
        read_datalist(tmp_path / "absent.json")


def test_an_empty_or_unknown_part_is_refused(datalist: Path) -> None:
    changed(datalist, lambda c: c.update(validation=[]))
    with pytest.raises(DataError, match="the part 'validation' is empty"):
        load_datalist(datalist, "validation")
    with pytest.raises(DataError, match="unknown part; got 'train'"):
        load_datalist(datalist, "train")


def test_a_copy_elsewhere_leads_to_the_same_files(datalist: Path, tmp_path: Path) -> None:
    copy = copy_datalist(datalist, tmp_path / "runs" / "one" / "datalist.json")
    assert load_datalist(copy, "training") == load_datalist(datalist, "training")
    assert json.loads(copy.read_text())["training"][0]["image"] == "../../images/a.png"


def test_links_to_a_datalist_or_its_folder_lead_to_the_same_files(datalist: Path, tmp_path: Path) -> None:
    truly = tmp_path / "disk" / "of" / "lists"
    truly.mkdir(parents=True)
    (tmp_path / "lists").symlink_to(truly)
    copy = copy_datalist(datalist, tmp_path / "lists" / "copy.json")
    (tmp_path / "disk" / "link.json").symlink_to(datalist)
    for path in (copy, truly / "copy.json", tmp_path / "disk" / "link.json"):
        assert load_datalist(path, "test") == load_datalist(datalist, "test")
    monai = load_decathlon_datalist(str(truly / "copy.json"), is_segmentation=True, data_list_key="test")
    assert Path(monai[0]["image"]).is_file()


def test_what_lies_together_behind_a_link_can_be_moved_together(tmp_path: Path) -> None:
    (tmp_path / "disk" / "images").mkdir(parents=True)
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    named = tmp_path / "data" / "images" / "a.png"
    named.symlink_to(tmp_path / "store" / "0f3c")  # as git-annex and DVC keep files
    assert relative_path(named, tmp_path / "data") == "images/a.png"


LUNGS = {0: "background", 1: "left lung", 2: "right lung"}


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ({"0": "background", "1": "Left_Lung", "2": "right  lung"}, ""),
        ({"0": "background", "1": "label 1", "2": "lung (right)"}, ""),
        ({"background": 0, "left lung": 1, "right lung": 2}, ""),
        ({"1": "label 1", "2": "tumour"}, "2 tumour; the bundle ct_lung has 2 right lung: is it the same?"),
        ({"1": "label 1", "2": "label 2", "7": "label 7"}, "names 7 label 7: ct_lung has no such label, refuses"),
        ({"0": "background", "1": "foreground"}, "d.json: no mask holds 2 right lung, which ct_lung segments"),
        (None, ""),
    ],
)
def test_labels_that_a_bundle_may_know(names: Any, told: str, caplog: pytest.LogCaptureFixture) -> None:
    check_label_meaning({"labels": names}, LUNGS, path="d.json", bundle="ct_lung")
    assert told in caplog.text
    assert bool(told) == bool(caplog.text)


@pytest.mark.parametrize(
    "names", [{"0": "background", "1": "Right lung", "2": "left lung"}, {"Right lung": 1, "left lung": 2}]
)
def test_labels_with_the_values_of_others_are_refused(names: Any) -> None:
    with pytest.raises(DataError, match="got 1 Right lung, 2 left lung; expected 1 left lung, 2 Right lung; write"):
        check_label_meaning({"labels": names}, LUNGS, path="d.json", bundle="ct_lung")


def test_a_folder_in_place_of_a_datalist_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"got a folder; expected a file \.json; give the file"):
        read_datalist(tmp_path)


@pytest.mark.parametrize("mark", ["run.json", "configs/metadata.json"])
def test_the_list_of_a_run_that_was_moved_is_not_to_be_prepared_again(
    datalist: Path, tmp_path: Path, mark: str
) -> None:
    run = tmp_path / "run"
    (run / mark).parent.mkdir(parents=True)
    (run / mark).touch()
    copy_datalist(datalist, run / "datalist.json")
    (tmp_path / "other").mkdir()
    moved = run.rename(tmp_path / "other" / "run") / "datalist.json"
    advice = "moved, give the datalist that the run was started with: --datalist"
    with pytest.raises(DataError, match=rf"(?s)a\.png does not exist.*{advice}"):
        read_datalist(moved)
    copy_datalist(datalist, moved)  # as a resumed run does with it
    assert load_datalist(moved, "training") == load_datalist(datalist, "training")
    moved.unlink()
    with pytest.raises(DataError, match=f"cannot be read.*{advice}"):
        read_datalist(moved)


def test_the_list_of_no_run_is_to_be_prepared_again(datalist: Path) -> None:
    (datalist.parent / "images" / "a.png").unlink()
    with pytest.raises(DataError, match=r"(?s)a\.png does not exist.*make it again: medseg data prepare"):
        read_datalist(datalist)


def test_inputs_are_listed_for_plain_monai_runs(datalist: Path) -> None:
    folder = datalist.parent / "images"
    assert [case["id"] for case in list_inputs(folder)] == ["a", "b", "c", "d"]
    assert list_inputs(folder / "b.png") == [{"id": "b", "image": str(folder / "b.png")}]


SIZES = {
    "hundred": (100, (0.8, 0.1, 0.1), (80, 10, 10)),
    "hippocampus": (200, (0.8, 0.1, 0.1), (160, 20, 20)),
    "thirty": (30, (0.8, 0.1, 0.1), (24, 3, 3)),
    "remainder": (33, (0.8, 0.1, 0.1), (27, 3, 3)),  # 26.4, 3.3, 3.3: the one left goes to the largest remainder
    "tie": (6, (0.5, 0.25, 0.25), (3, 2, 1)),  # 3, 1.5, 1.5: the earlier part
    "no test": (5, (0.8, 0.2, 0.0), (4, 1, 0)),
    "only test": (2, (0, 0, 1), (0, 0, 2)),
}


@pytest.mark.parametrize(("n", "fractions", "sizes"), SIZES.values(), ids=SIZES)
def test_split_sizes(n: int, fractions: tuple[float, ...], sizes: tuple[int, ...]) -> None:
    split = split_by_patient([f"p{i}" for i in range(n)], fractions=fractions, seed=42)
    assert tuple(list(split.values()).count(part) for part in ("training", "validation", "test")) == sizes


def test_split_depends_on_the_seed_and_on_nothing_else() -> None:
    patients = [f"p{i}" for i in range(50)]
    split = split_by_patient(patients, fractions=(0.8, 0.1, 0.1), seed=1)
    assert split == split_by_patient(reversed(patients * 2), fractions=(0.8, 0.1, 0.1), seed=1)
    assert split != split_by_patient(patients, fractions=(0.8, 0.1, 0.1), seed=2)


@pytest.mark.parametrize(
    ("n", "fractions", "message"),
    [
        (5, (0.8, 0.1, 0.1), "the part test would be empty; got 5 patients"),
        (0, (0.8, 0.1, 0.1), "would be empty; got 0 patients"),
        (10, (0.8, 0.1), "three values"),
        (10, (0.8, 0.3, -0.1), "none negative"),
        (10, (0.8, 0.1, 0.2), "whose sum is 1"),
        (10, (0.8, float("nan"), 0.2), "no split"),
    ],
)
def test_a_split_that_cannot_be_is_refused(n: int, fractions: tuple[float, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        split_by_patient([f"p{i}" for i in range(n)], fractions=fractions, seed=0)
