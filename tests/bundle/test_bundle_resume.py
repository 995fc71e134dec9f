"""What a resumed run keeps of its beginning, and which cases are those that it was started with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medseg.bundle.resume import refuse_other_cases, with_beginning
from medseg.errors import BundleError, DataError


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Of one case, whose list has no hashes, started from weights."""
    (tmp_path / "run" / "configs").mkdir(parents=True)
    started = "epochs: 3\ninitial_weights: first.pt\ninitial_weights_without: [head*]\n"
    (tmp_path / "run" / "configs" / "train.yaml").write_text(started)
    datalist(tmp_path / "run" / "datalist.json", "../a.nii", "../b.nii")
    for name, text in {"a": "image", "b": "label", "c": "image", "d": "other"}.items():
        (tmp_path / f"{name}.nii").write_text(text)
    return tmp_path / "run"


def datalist(file: Path, image: str, label: str, **more: object) -> Path:
    case = {"id": "one", "image": image, "label": label, **more}
    file.write_text(json.dumps({"training": [case], "validation": [case]}))
    return file


@pytest.mark.parametrize(
    ("text", "got"),
    [("", "an empty file"), ("- 1", "a list"), ("a: [", "while parsing"), ("\0\0", "unacceptable character")],
    ids=["empty", "list", "cut", "zeros"],
)
def test_a_damaged_configuration_is_told_as_such(run: Path, text: str, got: str) -> None:
    path = run / "configs" / "train.yaml"
    path.write_text(text)
    with pytest.raises(BundleError, match=rf"train\.yaml: the run's configuration is damaged; got .*{got}.*; put it"):
        with_beginning(run, {"initial_weights": None})
    path.unlink()
    with pytest.raises(BundleError, match=r"is damaged; got .*No such file"):
        with_beginning(run, {"initial_weights": None})


@pytest.mark.parametrize(
    ("now", "told"),
    [
        ({"initial_weights": None, "initial_weights_without": []}, []),
        ({"initial_weights": "first.pt", "initial_weights_without": ["head*"]}, []),
        (
            {"initial_weights": "b.pt", "initial_weights_without": ["head*"]},
            ["initial_weights=b.pt has no effect: the run goes on from its checkpoint; it was started with first.pt"],
        ),
    ],
    ids=["left out", "the same", "others"],
)
def test_what_a_run_was_started_from_stays_in_its_record(
    run: Path, now: dict[str, object], told: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    kept = with_beginning(run, {"epochs": 5, **now})
    assert kept == {"epochs": 5, "initial_weights": "first.pt", "initial_weights_without": ["head*"]}
    assert caplog.messages == told


@pytest.mark.parametrize(
    ("image", "label", "same"),
    [
        ("a.nii", "b.nii", True),
        ("c.nii", "b.nii", True),
        ("elsewhere/a.nii", "b.nii", True),
        ("a.nii", "d.nii", False),
        ("elsewhere/d.nii", "b.nii", False),
    ],
    ids=["the same files", "a copy", "not there, by name", "another label", "not there, another name"],
)
@pytest.mark.parametrize("hashes", [{}, {"sha256": {"image": "1", "label": "2"}}], ids=["no hashes", "in one list"])
def test_cases_without_hashes_are_told_by_their_files(
    run: Path, image: str, label: str, same: bool, hashes: dict[str, object]
) -> None:
    now = datalist(run.parent / "now.json", image, label, **hashes)
    if same:
        refuse_other_cases(run, now)
        return
    with pytest.raises(DataError, match=r"other training cases than .* got 1 other files \(one\)"):
        refuse_other_cases(run, now)
