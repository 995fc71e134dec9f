"""pipelines/submit_slurm.py: what Slurm is told, jobs that are stopped and killed, the same table by local jobs."""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import cloudpickle
import pytest
import submitit
import torch
from submitit.local.local import Controller

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "pipelines" / "submit_slurm.py"
PATIENCE_S = 500.0
SMALL = [
    *("--folds", "2", "--seed", "3", "--device", "cpu", "--overlay", "smoke", "epochs=8", "precision=fp32"),
    *("window=[16,16,16]", "network_def::filters=[4,8,8,8]", "cases_at_most=null"),
]
STOPPABLE = """
import pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
if (folder / "checkpoint").exists():
    (folder / "done").touch()
    sys.exit()
def stop(*_):
    with (folder / "heard").open("a") as file:
        file.write("SIGTERM ")
    time.sleep(float(sys.argv[2]))
    (folder / "checkpoint").touch()
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
(folder / "started").touch()
time.sleep(100)
"""


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()), **more}


def words(script: str, volumes: Path, folder: Path, *more: object) -> list[str]:
    command = [sys.executable, ROOT / "pipelines" / script, "mr_hippocampus", "--datalist", volumes, "-o", folder]
    return [str(word) for word in (*command, *SMALL, *more)]


def submit(volumes: Path, folder: Path, *more: object, **variables: str) -> subprocess.CompletedProcess[str]:
    given = words("submit_slurm.py", volumes, folder, *more)
    return subprocess.run(given, capture_output=True, text=True, check=False, env=environment(**variables))


def log_of(folder: Path) -> Path | None:
    return next(iter(folder.glob("*_log.out")), None)


def processes(folder: Path) -> list[tuple[int, int]]:
    """Of each start of a job: its process and that of its command."""
    log = log_of(folder)
    found = re.findall(r": job (\d+) runs (\d+): ", log.read_text(encoding="utf-8")) if log else []
    return [(int(job), int(child)) for job, child in found]


def module(name: str) -> ModuleType:
    """A script of pipelines/ in this process."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "pipelines" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[name] = found
    spec.loader.exec_module(found)
    return found


@pytest.fixture(scope="module")
def cluster_job() -> ModuleType:
    found = module("cluster_job")
    cloudpickle.register_pickle_by_value(found)
    return found


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a cluster that is none, its commands on the PATH."""
    folder = tmp_path / "slurm"
    (folder / "bin").mkdir(parents=True)
    for name in ("sbatch", "srun", "squeue", "scancel", "scontrol"):
        command = folder / "bin" / name
        source = (Path(__file__).parent / "fake_slurm.py").read_text(encoding="utf-8")
        command.write_text(f"#!{sys.executable}\n{source}", encoding="utf-8")
        command.chmod(0o755)
    monkeypatch.setenv("FAKE_SLURM", str(folder))
    monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return folder


def sbatch_file(slurm: Path, job: int) -> tuple[dict[str, str], str]:
    """The options of a submitted file, and its other lines."""
    text = (slurm / f"{job}.sh").read_text(encoding="utf-8")
    options = dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(.*))?$", text, re.MULTILINE))
    return options, re.sub(r"^#SBATCH.*\n", "", text, flags=re.MULTILINE)


def test_slurm_gets_a_job_for_each_fold_and_one_behind_them_all(volumes: Path, slurm: Path, tmp_path: Path) -> None:
    more = ("--partition", "gpu", "--cpus", "6", "--memory-gb", "24", "--minutes", "90", "--sbatch", "account=lab")
    done = submit(volumes, tmp_path / "all", *more, "--setup", "module load cuda")
    assert done.returncode == 0, done.stderr
    for job, name in ((1, "fold_0"), (2, "fold_1"), (3, "merge")):
        options, rest = sbatch_file(slurm, job)
        wanted = {"partition": "gpu", "cpus-per-task": "6", "mem": "24GB", "time": "90", "gpus-per-node": "1"}
        wanted |= {"account": "lab", "requeue": "", "signal": "USR2@120", "open-mode": "append"}
        assert wanted.items() <= options.items()
        assert options["job-name"] == f"all-{name}"
        assert options["output"] == str(tmp_path / "all" / "jobs" / name / "%j_0_log.out")
        assert options.get("dependency") == ("afterok:1:2" if name == "merge" else None)
        assert options.get("kill-on-invalid-dep") == ("yes" if name == "merge" else None)
        assert "module load cuda" in rest.splitlines()
        assert re.search(r"^srun .*--cpus-per-task=6 .* -m submitit.core._submit ", rest, re.MULTILINE)
    assert not any(job.exists() for job in (slurm / "4.sh", tmp_path / "all" / "fold_0"))


def test_the_same_command_again_submits_what_has_failed_and_leaves_the_rest(
    volumes: Path, slurm: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "all"
    submit(volumes, folder)
    again = submit(volumes, folder)
    assert again.returncode == 0, again.stderr
    assert again.stdout == "under way: fold_0, fold_1, merge\n"

    (slurm / "alive").write_text("1 3", encoding="utf-8")
    log = folder / "jobs" / "fold_1" / "2_0_log.out"
    log.write_text("much\ncross_validate: the loss is not finite at step 2\nRuntimeError: exit code 1\n\n", "utf-8")
    third = submit(volumes, folder)
    assert f"fold_1 is not done: cross_validate: the loss is not finite at step 2; log {log}" in third.stdout
    assert "fold_1: job 4" in third.stdout
    assert sbatch_file(slurm, 5)[0]["dependency"] == "afterok:1:4"
    assert "scancel 3" in (slurm / "said").read_text(encoding="utf-8").splitlines()
    assert sorted(path.name for path in slurm.glob("*.sh")) == [f"{i}.sh" for i in range(1, 6)]


@pytest.mark.parametrize(
    ("last", "told"),
    [
        (
            "Traceback (most recent call last):\nCUDA error: an illegal memory access",
            "CUDA error: an illegal memory access",
        ),
        ("cross_validate: no space\nRuntimeError: exit code 1", "cross_validate: no space"),
        ("", "nothing in its log"),
    ],
    ids=["a traceback", "its own message", "nothing"],
)
def test_a_job_that_was_queued_again_has_failed_for_what_its_last_start_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str, told: str
) -> None:
    monkeypatch.syspath_prepend(SCRIPT.parent)
    log = tmp_path / "7_0_log.out"
    before = "cross_validate: stopped; the same command goes on\nsubmitit INFO - Requeued job 7"
    start = "node1: job 20 runs 21: python cross_validate.py"
    log.write_text(f"node1: job 10 runs 11: python\n{before}\n{start}\n{last}\n", encoding="utf-8")
    assert module("submit_slurm").Submitted("slurm", "7", str(log)).reason() == told


def test_jobs_that_nothing_is_known_of_are_not_submitted_again(volumes: Path, slurm: Path, tmp_path: Path) -> None:
    folder = tmp_path / "all"
    refused = submit(volumes, folder, FAKE_SLURM_BROKEN="sbatch")
    assert "fold_0 could not be submitted; got" in refused.stderr
    assert "Unable to contact slurm controller" in refused.stderr
    submit(volumes, folder)
    silent = submit(volumes, folder, FAKE_SLURM_BROKEN="squeue")
    assert "squeue does not answer; got squeue: error: Unable to contact slurm controller" in silent.stderr
    here = submit(volumes, folder, "--executor", "local")
    assert "under way by --executor slurm; got fold_0, fold_1, merge" in here.stderr
    assert [done.returncode for done in (refused, silent, here)] == [1, 1, 1]
    assert len(list(slurm.glob("*.sh"))) == 3


def test_waiting_ends_with_the_jobs_and_names_those_that_failed(volumes: Path, slurm: Path, tmp_path: Path) -> None:
    done = submit(volumes, tmp_path / "all", "--wait", FAKE_SLURM_LOSES="1")
    assert done.returncode == 1
    assert "fold_1 is not done: nothing in its log; log" in done.stdout
    assert "jobs that were not done; got fold_0, fold_1; the same command goes on" in done.stderr


def test_a_dry_run_shows_the_jobs_and_writes_nothing(volumes: Path, tmp_path: Path) -> None:
    done = submit(volumes, tmp_path / "all", "--dry-run", "--partition", "gpu", PATH="/nowhere")
    assert done.returncode == 0, done.stderr
    commands = [line.strip() for line in done.stdout.splitlines() if line.startswith("  ")]
    assert [command.split()[-2:] for command in commands] == [["--fold", "0"], ["--fold", "1"], ["smoke", "--merge"]]
    assert "partition=gpu" in done.stdout
    assert not (tmp_path / "all").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "there is no Slurm here"),
        (["--dry-run", "--jobs", "2"], "no effect; got --jobs"),
        (["--executor", "local", "--partition", "gpu"], "no effect; got --partition"),
        (["--dry-run", "--minutes", "4"], "--minutes; got 4; expected more than 4"),
        (["--dry-run", "--sbatch", "account"], "got account; expected KEY=VALUE"),
        (["--executor", "local", "--restarts", "6"], "--restarts; got 6; expected at most 5 with --executor local"),
        (["--dry-run", "--device", "cuda:1"], "--device; got cuda:1; expected cpu or cuda: each job has one GPU"),
    ],
    ids=["no Slurm", "jobs", "partition", "minutes", "sbatch", "restarts", "another GPU"],
)
def test_what_cannot_be_is_refused(volumes: Path, tmp_path: Path, more: list[str], message: str) -> None:
    done = submit(volumes, tmp_path / "all", *more, PATH="/nowhere")
    assert done.returncode == 1
    assert message in done.stderr


def local_job(cluster_job: ModuleType, folder: Path, *, seconds: float = 0.3) -> submitit.Job[None]:
    """STOPPABLE as a job of this machine, begun; its checkpoint takes so long."""
    command = cluster_job.Command([sys.executable, "-c", STOPPABLE, str(folder), str(seconds)], threads=1)
    executor = submitit.LocalExecutor(folder / "jobs")
    executor.update_parameters(timeout_min=10, stderr_to_stdout=True)
    job = executor.submit(command)
    until((folder / "started").exists)
    return job


def test_a_job_without_time_is_queued_again_with_its_checkpoint(cluster_job: ModuleType, tmp_path: Path) -> None:
    job = local_job(cluster_job, tmp_path)
    os.kill(processes(tmp_path / "jobs")[0][0], signal.SIGUSR2)
    until(job.done)
    assert job.result() is None
    assert (tmp_path / "done").exists()
    assert (tmp_path / "heard").read_text() == "SIGTERM "


def test_a_job_that_is_ended_on_this_machine_leaves_a_checkpoint_and_is_not_queued(
    cluster_job: ModuleType, tmp_path: Path
) -> None:
    job = local_job(cluster_job, tmp_path)
    os.kill(processes(tmp_path / "jobs")[0][0], signal.SIGTERM)
    until(job.done)
    assert "stopped by SIGTERM; the same submit_slurm.py goes on" in str(job.exception())
    assert (tmp_path / "checkpoint").exists()
    assert len(processes(tmp_path / "jobs")) == 1


def test_a_local_job_is_told_as_many_restarts_as_submitit_has_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sixth start is the last: with more to go its log would end with a job that is queued and never starts."""
    monkeypatch.syspath_prepend(SCRIPT.parent)
    script, given = module("submit_slurm"), ["submit_slurm.py", "ct_lung", "--datalist", "d.json", "-o", "out"]
    found = []
    for more in ([], ["--executor", "local"], ["--executor", "local", "--restarts", "2"]):
        monkeypatch.setattr(sys, "argv", [*given, "--dry-run", *more])
        found.append(script._options().restarts)
    starts = inspect.signature(Controller.run).parameters["max_retry"].default
    assert found == [50, starts - 1, 2]


@pytest.mark.parametrize(
    ("visible", "count", "expected"),
    [
        (None, 2, ["0", "1"]),
        ("2,3", 2, ["2", "3"]),
        ("GPU-3b6d,GPU-77aa", 2, ["GPU-3b6d", "GPU-77aa"]),
        ("MIG-51f0", 1, ["MIG-51f0"]),
        ("1,-1,0", 1, ["1"]),
        ("", 0, []),
    ],
    ids=["all", "numbers", "UUIDs", "a part", "up to -1", "none"],
)
def test_gpus_of_this_machine_are_those_that_the_process_may_use(
    visible: str | None, count: int, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(SCRIPT.parent)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert module("submit_slurm").gpus_here() == expected


def test_a_local_job_sees_its_gpu_by_whatever_name_and_so_does_the_one_that_goes_on(
    cluster_job: ModuleType, tmp_path: Path
) -> None:
    says = [sys.executable, "-c", "import os; print('sees', os.environ['CUDA_VISIBLE_DEVICES'])"]
    command = cluster_job.Command(says, threads=1, gpu="GPU-3b6d")
    for each in (command, command.checkpoint().function):
        executor = submitit.LocalExecutor(tmp_path / "jobs")
        executor.update_parameters(timeout_min=10, stderr_to_stdout=True)
        job = executor.submit(each)
        until(job.done)
        assert "sees GPU-3b6d" in (job.stdout() or "")


@pytest.mark.skipif(sys.platform != "linux", reason="a process outlives its parent elsewhere")
def test_a_killed_job_leaves_no_training_behind_and_the_next_waits_for_its_checkpoint(
    cluster_job: ModuleType, tmp_path: Path
) -> None:
    job = local_job(cluster_job, tmp_path, seconds=3.0)
    os.kill(processes(tmp_path / "jobs")[0][0], signal.SIGKILL)
    until(job.done)
    following = local_job(cluster_job, tmp_path)
    until(following.done)
    assert following.result() is None
    assert (tmp_path / "done").exists()
    assert (tmp_path / "heard").read_text() == "SIGTERM "


@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGTERM, signal.SIGUSR2]], ids=["TERM", "TERM USR2"])
def test_a_pre_empted_job_is_queued_again_by_slurm_or_asks_for_it(
    cluster_job: ModuleType, slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signals: list[signal.Signals]
) -> None:
    monkeypatch.setenv("FAKE_SLURM_RUNS", "1")
    patience = 0.3 if len(signals) == 1 else 100.0
    words = [sys.executable, "-c", STOPPABLE, str(tmp_path), "0.3"]
    executor = submitit.SlurmExecutor(tmp_path / "jobs")
    executor.update_parameters(time=240, stderr_to_stdout=True)
    executor.submit(cluster_job.Command(words, threads=1, patience_seconds=patience))
    until((tmp_path / "started").exists)
    for number in signals:
        os.kill(processes(tmp_path / "jobs")[0][0], number)
        time.sleep(0.1)
    until((tmp_path / "done").exists)
    assert (tmp_path / "heard").read_text() == "SIGTERM "
    assert "scontrol requeue 1" in (slurm / "said").read_text(encoding="utf-8").splitlines()


@pytest.mark.timeout(900)  # a machine that is busy takes minutes to start six times what takes seconds
def test_stopped_and_killed_folds_end_in_the_table_of_one_uninterrupted_command(
    volumes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fold 0 runs out of time and is queued again; the process of fold 1 is killed, which the next command mends."""
    folder = tmp_path / "all"
    jobs = [folder / "jobs" / f"fold_{k}" for k in range(2)]
    given = words("submit_slurm.py", volumes, folder, "--executor", "local")
    with subprocess.Popen(given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()) as first:
        for fold, number in ((0, signal.SIGUSR2), (1, signal.SIGKILL)):
            until((folder / f"fold_{fold}" / "models" / "last.pt").exists)
            os.kill(processes(jobs[fold])[0][fold], number)
        said, error = first.communicate(timeout=PATIENCE_S)
    assert first.returncode == 1
    assert [len(processes(job)) for job in jobs] == [2, 1]
    assert "fold_0 is done" in said
    assert f"fold_1 is not done: RuntimeError: cross_validate.py ended with exit code -9; log {log_of(jobs[1])}" in said
    assert "jobs that were not done; got fold_1" in error

    second = submit(volumes, folder, "--executor", "local")
    assert second.returncode == 0, second.stderr
    assert "done: fold_0" in second.stdout
    assert "all folds: mean over regions: Dice" in second.stdout
    for fold in range(2):
        assert len(list((folder / f"fold_{fold}" / "tensorboard").iterdir())) == 2  # one for each leg of the run
    third = submit(volumes, folder, "--executor", "local")
    assert "job" not in third.stdout.split("table:")[0]

    monkeypatch.setattr(sys, "argv", words("cross_validate.py", volumes, tmp_path / "direct")[1:])
    assert module("cross_validate").main() == 0
    for name in ("scores.csv", "ensemble/evaluation/scores.csv"):
        assert (folder / name).read_text(encoding="utf-8") == (tmp_path / "direct" / name).read_text(encoding="utf-8")
    summaries = [
        json.loads((one / "summary.json").read_text(encoding="utf-8")) for one in (folder, tmp_path / "direct")
    ]
    assert summaries[0] == summaries[1]
