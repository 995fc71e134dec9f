"""What each command hands on, and the exit code that its outcome gives."""

from __future__ import annotations

import importlib
import inspect
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medseg.cli import main
from medseg.errors import BundleError, DataError, RunError, TrainingError
from medseg.evaluation import ScorePlan
from medseg.outputs import CaseReport, Report
from medseg.workflows import CaseOptions

Stand = Callable[[Any, str, Any], list[inspect.BoundArguments]]

TRAIN = ["train", "ct_lung", "--datalist", "d.json", "-o", "run"]
EVALUATE = ["evaluate", "ct_lung", "--datalist", "d.json", "-o", "out"]
PREDICT = ["predict", "ct_lung", "-i", "new", "-o", "out"]
SCORE = ["score", "masks", "truth", "-o", "out"]


@pytest.fixture
def workflows(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module whose functions are replaced; as nothing is scored then, no scores are read back."""
    monkeypatch.setattr("medseg.cli.console._regions", lambda folder: {})
    return importlib.import_module("medseg.workflows")


def report(**reasons: str | None) -> Report:
    """A report of cases by id, with why each failed or None."""
    return Report(tuple(CaseReport(case, "failed" if why else "done", reason=why) for case, why in reasons.items()))


def given(calls: list[inspect.BoundArguments]) -> dict[str, Any]:
    (call,) = calls
    return dict(call.arguments)


def test_train_hands_on_its_arguments(workflows: Any, stand_in: Stand, capsys: pytest.CaptureFixture[str]):
    calls = stand_in(workflows, "train", Path("run"))
    assert main([*TRAIN, "--resume", "--overlay", "smoke", "--overlay", "b", "epochs=3", "train::lr=1e-4"]) == 0
    assert given(calls) == {
        "bundle": "ct_lung",
        "datalist": Path("d.json"),
        "run_dir": Path("run"),
        "resume": True,
        "device": None,
        "overlays": ("smoke", "b"),
        "overrides": {"epochs": 3, "train::lr": 1e-4},
        "trust": False,
    }
    assert capsys.readouterr().out == "trained: run\n"


@pytest.mark.parametrize(("word", "resume"), [("resume=true", True), ("resume=false", False), ("epochs=3", False)])
def test_a_training_is_resumed_by_the_setting_too(word: str, resume: bool, workflows: Any, stand_in: Stand):
    calls = stand_in(workflows, "train", Path("run"))
    assert main([*TRAIN, word]) == 0
    assert given(calls)["resume"] is resume


def test_evaluate_hands_on_its_arguments(workflows: Any, stand_in: Stand):
    calls = stand_in(workflows, "evaluate", report(a=None))
    strata = ["--strata", "t.csv:scanner", "--strata", "size"]
    assert main([*EVALUATE, "--overlay", "smoke", "overlap=0.25", *strata]) == 0
    assert given(calls) == {
        "bundle": "ct_lung",
        "datalist": Path("d.json"),
        "output_dir": Path("out"),
        "overlays": ("smoke",),
        "overrides": {"overlap": 0.25},
        "options": CaseOptions(),
        "strata": ["t.csv:scanner", "size"],
        "trust": False,
    }


def test_predict_hands_on_its_arguments(workflows: Any, stand_in: Stand):
    calls = stand_in(workflows, "predict", report(a=None))
    assert main([*PREDICT, "overlap=0.25"]) == 0
    assert given(calls) == {
        "bundle": "ct_lung",
        "inputs": Path("new"),
        "output_dir": Path("out"),
        "overlays": (),
        "overrides": {"overlap": 0.25},
        "options": CaseOptions(),
        "store": False,
        "trust": False,
    }


@pytest.mark.parametrize(("command", "name"), [(EVALUATE, "evaluate"), (PREDICT, "predict")])
def test_each_flag_for_many_cases_is_handed_on(command: list[str], name: str, workflows: Any, stand_in: Stand):
    calls = stand_in(workflows, name, report(a=None))
    words = "--resume --jobs 3 --device cuda:1 --tta --precision bf16 --backend openvino --save-probabilities"
    assert main([*command, *words.split()]) == 0
    assert given(calls)["options"] == CaseOptions(
        resume=True,
        jobs=3,
        device="cuda:1",
        tta=True,
        precision="bf16",
        backend="openvino",
        save_probabilities=True,
    )


def test_a_run_that_stops_midway_gives_1(workflows: Any, stand_in: Stand, capsys: pytest.CaptureFixture[str]):
    stand_in(workflows, "predict", RunError("nothing more can be written to out", next_step="make room"))
    assert main(PREDICT) == 1
    assert capsys.readouterr() == ("", "medseg: error: nothing more can be written to out; make room\n")


def test_score_hands_on_its_arguments(workflows: Any, stand_in: Stand):
    calls = stand_in(workflows, "score", report(a=None))
    assert main(SCORE) == 0
    arguments = given(calls)
    assert (arguments.pop("predictions"), arguments.pop("truth")) == (Path("masks"), Path("truth"))
    assert (arguments.pop("output_dir"), arguments.pop("plan")) == (Path("out"), ScorePlan())
    assert not any(arguments.values())  # no patients, no strata


def test_prepare_hands_on_its_arguments(stand_in: Stand):
    calls = stand_in(importlib.import_module("medseg.datasets"), "prepare", Path("d.json"))
    words = ["data", "prepare", "pairs", "src", "-o", "d.json", "--seed", "7", "--fractions", "0.5", "0.25", "0.25"]
    assert main([*words, "--patient-csv", "cases.csv:patient"]) == 0
    assert given(calls) == {
        "layout": "pairs",
        "source": Path("src"),
        "output": Path("d.json"),
        "seed": 7,
        "fractions": (0.5, 0.25, 0.25),
        "patient_regex": None,
        "patient_csv": "cases.csv:patient",
    }


def test_prepare_has_the_defaults_of_the_issue(stand_in: Stand):
    calls = stand_in(importlib.import_module("medseg.datasets"), "prepare", Path("d.json"))
    assert main(["data", "prepare", "montgomery", "src", "-o", "d.json"]) == 0
    assert (given(calls)["seed"], given(calls)["fractions"]) == (42, (0.8, 0.1, 0.1))


@pytest.mark.parametrize(("command", "name"), [(EVALUATE, "evaluate"), (PREDICT, "predict"), (SCORE, "score")])
def test_each_failed_case_is_named_and_the_exit_code_is_1(
    command: list[str], name: str, workflows: Any, stand_in: Stand, capsys: pytest.CaptureFixture[str]
):
    stand_in(workflows, name, report(a=None, b="truncated file", c="empty image"))
    assert main(command) == 1
    out, err = capsys.readouterr()
    assert err == "medseg: case b failed: truncated file\nmedseg: case c failed: empty image\n"
    assert out == "1 of 3 cases done; results in out\n"


def test_a_single_case_that_fails_gives_1(workflows: Any, stand_in: Stand):
    stand_in(workflows, "predict", report(a="truncated file"))
    assert main(PREDICT) == 1


def test_quiet_says_nothing_of_success_but_names_what_failed(
    workflows: Any, stand_in: Stand, capsys: pytest.CaptureFixture[str]
):
    stand_in(workflows, "predict", report(a=None, b="truncated file"))
    assert main([*PREDICT, "--quiet"]) == 1
    assert capsys.readouterr() == ("", "medseg: case b failed: truncated file\n")


def wrapped() -> RuntimeError:
    """A refusal as libraries hand it on: as the cause of an error of their own."""
    error = RuntimeError("applying transform LoadImaged")
    error.__cause__ = DataError("case 7: image and label differ")
    return error


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (BundleError("no such bundle", got="'x'"), "no such bundle; got 'x'"),
        (wrapped(), "case 7: image and label differ"),
    ],
    ids=["plain", "wrapped"],
)
def test_a_refusal_gives_2_and_no_traceback(
    failure: Exception, told: str, workflows: Any, stand_in: Stand, capsys: pytest.CaptureFixture[str]
):
    stand_in(workflows, "train", failure)
    assert main(TRAIN) == 2
    assert capsys.readouterr() == ("", f"medseg: error: {told}\n")


def test_debug_shows_the_traceback_of_a_refusal(workflows: Any, stand_in: Stand, capsys: pytest.CaptureFixture[str]):
    stand_in(workflows, "train", wrapped())
    assert main([*TRAIN, "--debug"]) == 2
    err = capsys.readouterr().err
    assert "RuntimeError: applying transform LoadImaged" in err
    assert err.endswith("\nmedseg: error: case 7: image and label differ\n")


def test_a_training_that_stops_midway_gives_1(workflows: Any, stand_in: Stand, capsys: pytest.CaptureFixture[str]):
    stand_in(workflows, "train", TrainingError("loss is NaN at step 12", next_step="the last good weights are kept"))
    assert main(TRAIN) == 1
    assert capsys.readouterr().err == "medseg: error: loss is NaN at step 12; the last good weights are kept\n"


def test_a_damaged_model_is_wrong_input_elsewhere(workflows: Any, stand_in: Stand):
    stand_in(workflows, "predict", TrainingError("models/model.pt is damaged"))
    assert main(PREDICT) == 2


def test_a_bug_shows_its_traceback_and_gives_70(workflows: Any, stand_in: Stand, capsys: pytest.CaptureFixture[str]):
    stand_in(workflows, "predict", ZeroDivisionError("ours"))
    assert main(PREDICT) == 70
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "ZeroDivisionError: ours" in err
    assert "bug in medseg" in err


def test_an_interruption_gives_130(workflows: Any, stand_in: Stand, capsys: pytest.CaptureFixture[str]):
    stand_in(workflows, "train", KeyboardInterrupt())
    assert main(TRAIN) == 130
    assert capsys.readouterr().err == "medseg: interrupted\n"


def test_a_reader_that_leaves_is_no_error_of_ours():
    code = "from medseg.cli import main; import sys; sys.exit(main(['bundle', 'list']))"
    command = f"'{sys.executable}' -c \"{code}\" | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.strip() in ("0", "141")


@pytest.mark.parametrize(
    ("flag", "expected"),
    [([], {"INFO"}), (["--quiet"], set()), (["--debug"], {"INFO", "DEBUG"})],
    ids=["plain", "quiet", "debug"],
)
def test_the_log_goes_to_standard_error_as_much_as_is_asked_for(
    flag: list[str],
    expected: set[str],
    workflows: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    def predict(*_: Any, **__: Any) -> Report:
        for level in ("DEBUG", "INFO", "WARNING"):
            logging.getLogger("medseg.somewhere").log(getattr(logging, level), "told at %s", level)
        logging.getLogger("a_library").info("chatter")
        return report(a=None)

    monkeypatch.setattr(workflows, "predict", predict)
    assert main([*PREDICT, *flag]) == 0
    err = capsys.readouterr().err
    assert {level for level in ("DEBUG", "INFO", "WARNING") if f"told at {level}" in err} == expected | {"WARNING"}
    assert ("chatter" in err) is (flag == ["--debug"])
