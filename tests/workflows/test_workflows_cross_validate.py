"""pipelines/cross_validate.py from the command line: folds in parts and together, one table, the ensemble."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from medseg.datasets import load_datalist, read_datalist
from medseg.evaluation.table import read_scores
from medseg.files import OnlyProcess
from medseg.signals import StopRequests

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    *("--folds", "2", "--seed", "3", "--device", "cpu", "--overlay", "smoke", "epochs=2", "precision=fp32"),
    *("window=[16,16,16]", "cases_at_most=null"),
]


ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(*words: object) -> list[str]:
    return [str(word) for word in (sys.executable, ROOT / "pipelines" / "cross_validate.py", *words)]


def cross_validate(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), capture_output=True, text=True, check=False, env=ENVIRONMENT)


def script() -> ModuleType:
    """cross_validate.py as a module."""
    spec = importlib.util.spec_from_file_location("cross_validate", ROOT / "pipelines" / "cross_validate.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.fixture(scope="module")
def folds(volumes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The folder, and what was printed when the leg of a fold was over, when it was done, and when all were."""
    folder = tmp_path_factory.mktemp("folds") / "all"
    said = []
    for part in (["--fold", "1", "stop_after_minutes=0"], ["--fold", "1"], []):
        done = cross_validate("mr_hippocampus", "--datalist", volumes, "-o", folder, *SMALL, *part)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
        assert (folder / "fold_1" / "evaluation").exists() == (len(said) > 1)
    return folder, said


def test_a_fold_whose_leg_is_over_is_not_scored_and_the_same_command_goes_on(folds: tuple[Path, list[str]]) -> None:
    folder, (first, second, _) = folds
    assert "fold_1: not done yet, epoch 1 of 2; the same command goes on" in first
    assert "not done yet: fold_0, fold_1" in first
    assert "not done yet: fold_0\n" in second
    assert json.loads((folder / "fold_1" / "run.json").read_text(encoding="utf-8"))["epoch"] == 2
    assert {row.case for row in read_scores(folder / "fold_1" / "evaluation")}


def test_one_fold_alone_leaves_the_others_for_later(folds: tuple[Path, list[str]]) -> None:
    _, (_, first, second) = folds
    assert "not done yet: fold_0" in first
    assert "all folds: mean over regions: Dice" in second
    assert "test part, by the ensemble: mean over regions: Dice" in second


def test_every_case_is_scored_once_by_the_network_that_never_saw_it(
    folds: tuple[Path, list[str]], volumes: Path
) -> None:
    folder, _ = folds
    whole = [case["id"] for part in ("training", "validation") for case in load_datalist(volumes, part)]
    assert sorted({row.case for row in read_scores(folder)}) == sorted(whole)
    for fold in range(2):
        seen = {
            c["id"] for p in ("training", "validation") for c in load_datalist(folder / f"fold_{fold}/datalist.json", p)
        }
        scored = {row.case for row in read_scores(folder / f"fold_{fold}" / "evaluation")}
        assert not seen & scored
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    dice = summary["mean_over_regions"]["dice"]
    assert dice["n"] == len(whole)
    assert dice["mean_ci95"][0] <= dice["mean"] <= dice["mean_ci95"][1]


def test_the_ensemble_is_a_bundle_of_all_folds_networks(folds: tuple[Path, list[str]], volumes: Path) -> None:
    folder, _ = folds
    assert sorted(path.name for path in (folder / "ensemble" / "models").glob("*.pt")) == ["fold_0.pt", "fold_1.pt"]
    scored = {row.case for row in read_scores(folder / "ensemble" / "evaluation")}
    assert scored == {case["id"] for case in load_datalist(volumes, "test")}
    of_a_run = {"evaluate.yaml", "inference.yaml", "train.yaml", "common.yaml", "metadata.json", "logging.conf"}
    assert {path.name for path in (folder / "ensemble" / "configs").iterdir()} == of_a_run
    beside = {"LICENSE", "configs", "datalist.json", "docs", "evaluation", "models"}
    assert {path.name for path in (folder / "ensemble").iterdir()} == beside


def test_the_ensemble_has_the_bundles_own_scripts_whatever_they_are_called(tmp_path: Path) -> None:
    run, scripts = tmp_path / "fold_0", ("scripts/training.py", "scripts/log_loss.py", "scripts/models/deep.py")
    for name in (*scripts, "configs/common.yaml", "docs/README.md", "models/model.pt", "training.png", "log.txt"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("{}", encoding="utf-8")
    script().make_ensemble([run], tmp_path / "ensemble")
    assert all((tmp_path / "ensemble" / name).is_file() for name in scripts)
    assert not any((tmp_path / "ensemble" / name).exists() for name in ("training.png", "log.txt"))


def test_a_scoring_that_was_stopped_goes_on_of_a_fold_and_of_the_ensemble(
    folds: tuple[Path, list[str]], volumes: Path, tmp_path: Path
) -> None:
    """Of each a case is lost and its table not written yet; the other cases are not segmented again."""
    folder = tmp_path / "all"
    shutil.copytree(folds[0], folder)
    scored = [folder / name / "evaluation" for name in ("fold_1", "ensemble")]
    lost = [next(one.glob("case_*.nii.gz")) for one in scored]
    for evaluation, mask in zip(scored, lost, strict=True):
        (evaluation / "scores.csv").unlink()
        mask.unlink()
    done = cross_validate("mr_hippocampus", "--datalist", volumes, "-o", folder, *SMALL)
    assert done.returncode == 0, done.stderr
    for evaluation, mask in zip(scored, lost, strict=True):
        cases = json.loads((evaluation / "report.json").read_text(encoding="utf-8"))["cases"]
        again = [case["id"] for case in cases if not case.get("resumed")]
        assert again == [mask.name.removesuffix(".nii.gz")]
    for name in ("scores.csv", "ensemble/evaluation/scores.csv"):
        assert (folder / name).read_text(encoding="utf-8") == (folds[0] / name).read_text(encoding="utf-8")


def test_an_ensemble_made_anew_has_nothing_of_the_one_before_but_its_scored_cases(tmp_path: Path) -> None:
    run, ensemble = tmp_path / "fold_0", tmp_path / "ensemble"
    for name in ("configs/common.yaml", "docs/README.md", "models/model.pt"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("{}", encoding="utf-8")
    kept = ensemble / "evaluation" / "case_0.json"
    for old in (kept, ensemble / "evaluation" / "scores.csv", ensemble / "models" / "fold_1.pt", ensemble / "old.txt"):
        old.parent.mkdir(parents=True, exist_ok=True)
        old.touch()
    script().make_ensemble([run], ensemble)
    files = {str(path.relative_to(ensemble)) for path in ensemble.rglob("*") if path.is_file()}
    assert files == {"configs/common.yaml", "docs/README.md", "models/fold_0.pt", "evaluation/case_0.json"}


def test_the_data_list_of_the_ensemble_calls_all_that_any_fold_has_seen_training(
    folds: tuple[Path, list[str]], volumes: Path
) -> None:
    own, given = read_datalist(folds[0] / "ensemble" / "datalist.json"), read_datalist(volumes)
    seen = {item["id"] for part in ("training", "validation") for item in given[part]}
    assert ({item["id"] for item in own["training"]}, own["validation"]) == (seen, [])
    assert [item["id"] for item in own["test"]] == [item["id"] for item in given["test"]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--fold", "2"], "no such fold; got 2; expected 0 to 1"),
        (["--seed", "4"], "with other folds; got 2 folds, seed 4"),
        (["--with-test"], "with other folds; got 6 cases (new: case_"),
        (["learning_rate=0.5"], "begun with other settings: fold_0, fold_1; got learning_rate=0.5; expected"),
    ],
    ids=["fold", "seed", "with test", "change"],
)
def test_folds_that_do_not_belong_together_are_refused(
    folds: tuple[Path, list[str]], volumes: Path, words: list[str], message: str
) -> None:
    done = cross_validate("mr_hippocampus", "--datalist", volumes, "-o", folds[0], *SMALL, *words)
    assert done.returncode == 1
    assert message in done.stderr


@pytest.mark.parametrize(
    "words", [["--fold", "0", "1", "epochs=2"], ["epochs=2", "--fold", "0", "1"]], ids=["behind", "before"]
)
def test_changes_may_stand_behind_the_numbers_of_folds(
    folds: tuple[Path, list[str]], volumes: Path, words: list[str]
) -> None:
    given = ["mr_hippocampus", "--datalist", volumes, "-o", folds[0], *(w for w in SMALL if w != "epochs=2")]
    done = cross_validate(*given, "--only-folds", *words)
    assert done.returncode == 0, done.stderr
    assert "fold_0: mean over regions" in done.stdout
    assert "fold_1: mean over regions" in done.stdout


def test_folds_that_are_run_together_are_trained_as_the_command_says_wherever_its_changes_stand(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """argparse keeps the last --fold alone, and with the first one lost the changes behind its numbers."""
    given = ["ct_lung", "--datalist", "a list.json", "-o", "out", "--with-test", "--overlay", "smoke", "--jobs", "2"]
    given.append("--trust")
    monkeypatch.chdir(tmp_path)
    module = script()
    monkeypatch.setattr(sys, "argv", ["cross_validate.py", *given, "seed=7", "--fold", "0", "1", "epochs=3"])
    options = module._options()
    assert (options.fold, options.changes) == ([0, 1], ["seed=7", "epochs=3"])
    monkeypatch.setattr(sys, "argv", module.fold_command(1, options)[1:])
    own = module._options()
    assert (own.fold, own.only_folds, own.jobs) == ([1], True, 1)
    assert (own.datalist, own.output) == (tmp_path / "a list.json", tmp_path / "out")
    for name in ("changes", "overlay", "folds", "seed", "with_test", "device", "trust"):
        assert getattr(own, name) == getattr(options, name), name


def test_trust_is_for_the_folds_and_their_ensemble_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A run's folder is a bundle of its own, which nobody has trusted; whoever trusts the first says it once."""
    module, trusted = script(), []

    def takes(bundle: object, *, trust: bool, **_: object) -> SimpleNamespace:
        trusted.append((Path(str(bundle)).name, trust))
        return SimpleNamespace(failed=[])

    monkeypatch.setattr(module, "train", takes)
    monkeypatch.setattr(module, "evaluate", takes)
    monkeypatch.setattr(sys, "argv", ["cross_validate.py", "mine", "--datalist", "d.json", "-o", "out", "--trust"])
    options = module._options()
    module.train_fold(tmp_path / "fold_0.json", tmp_path / "fold_0", options)
    for bundle in ("fold_0", "ensemble"):
        module.score_bundle(tmp_path / bundle, tmp_path / "fold_0.json", options)
    assert trusted == [("mine", True), ("fold_0", True), ("ensemble", True)]


def test_a_fold_that_is_told_to_stop_in_its_last_step_is_not_scored_before_it_ends(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its training comes to its end; a job whose time is over would be killed in the scoring, and not queued again."""
    module, scored = script(), []

    def through(*_: object, **__: object) -> None:
        requests = StopRequests()
        requests.signal = signal.SIGTERM
        requests.end()

    monkeypatch.setattr(module, "train", through)
    monkeypatch.setattr(module, "evaluate", lambda *_, **__: scored.append(1))
    monkeypatch.setattr(sys, "argv", ["cross_validate.py", "mine", "--datalist", "d.json", "-o", "out"])
    with pytest.raises(SystemExit, match="143"):
        module.run_fold(tmp_path / "fold_0.json", tmp_path / "fold_0", module._options())
    assert not scored


@pytest.mark.parametrize(
    ("word", "message"),
    [("one", "invalid int value: 'one'"), ("epochs=2", "expected at least one number")],
    ids=["text", "no number"],
)
def test_what_is_no_number_of_a_fold_is_refused(volumes: Path, tmp_path: Path, word: str, message: str) -> None:
    done = cross_validate("mr_hippocampus", "--datalist", volumes, "-o", tmp_path / "all", "--fold", word)
    assert done.returncode == 2
    assert f"argument --fold: {message}" in done.stderr


def test_where_and_how_fast_may_differ_and_a_table_that_lost_a_case_is_not_merged(
    folds: tuple[Path, list[str]], volumes: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "all"
    shutil.copytree(folds[0], folder)
    words = ["mr_hippocampus", "--datalist", volumes, "-o", folder, *SMALL, "--merge", "workers=1"]
    done = cross_validate(*words)
    assert done.returncode == 0, done.stderr
    table = folder / "fold_1" / "evaluation" / "scores.csv"
    lines = table.read_text(encoding="utf-8").splitlines(keepends=True)
    lost = lines[1].split(",")[0]
    table.write_text("".join(line for line in lines if not line.startswith(f"{lost},")), encoding="utf-8")
    refused = cross_validate(*words)
    assert refused.returncode == 1
    assert f"got missing: {lost}; expected each of its" in refused.stderr
    assert "fold_1" in refused.stderr


def test_folds_run_together_and_stopped_end_in_the_same_table(
    folds: tuple[Path, list[str]], volumes: Path, tmp_path: Path
) -> None:
    """CPU runs repeat bit for bit, so two processes at once, begun twice, give what one after the other gave."""
    folder = tmp_path / "all"
    words = command("mr_hippocampus", "--datalist", volumes, "-o", folder, *SMALL, "--jobs", "2")
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT) as first:
        while not all((folder / f"fold_{fold}" / "run.json").is_file() for fold in range(2)):
            assert first.poll() is None
            time.sleep(0.05)
        first.send_signal(signal.SIGTERM)
        _, error = first.communicate(timeout=300)
    assert first.returncode == 143
    assert error.splitlines()[-1] == "cross_validate: stopped; the same command goes on"
    for fold in range(2):  # who trains in a folder locks this file: nobody does
        assert OnlyProcess.enter(folder / f"fold_{fold}" / "models")
        OnlyProcess.leave(folder / f"fold_{fold}" / "models")
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    assert (folder / "scores.csv").read_text() == (folds[0] / "scores.csv").read_text()
