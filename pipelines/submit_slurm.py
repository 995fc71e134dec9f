"""The folds of cross_validate.py as jobs of a cluster: one job a fold, and one that merges when all of them are done.

python pipelines/submit_slurm.py BUNDLE --datalist DATALIST.json -o DIR [--folds 5] [--partition P] [--gpus 1]
    [--cpus 8] [--memory-gb 32] [--minutes 240] [--sbatch KEY=VALUE ...] [--setup LINE ...] [--wait] [--dry-run]
    [--executor slurm|local] [--jobs N] [--seed 42] [--with-test] [--overlay NAME ...] [--device cpu|cuda] [--trust]
    [key=value ...]

Each fold is `cross_validate.py --fold K` in a job of its own; the last job is `cross_validate.py --merge`, which Slurm
starts when all folds have ended well. DIR must be on a disk that all machines share. A job whose time is over, or that
is pre-empted, asks its training to stop (SIGTERM: it writes a checkpoint), is queued again and goes on there. The same
command again tells which folds have failed and where their logs are (DIR/jobs/fold_K), leaves alone what is done or
still queued, and submits the rest. `--executor local` does the same with processes of this machine, `--jobs` at once,
and waits for them; so does `--wait` on a cluster. Needs submitit: pip install 'medseg[slurm]'.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cross_validate

from medseg.cli.arguments import overrides
from medseg.datasets.datalist import write_json
from medseg.errors import BundleError, DataError, MedsegError

try:
    import cloudpickle
    import cluster_job
    import submitit
except ModuleNotFoundError as missing:
    sys.exit(f"submit_slurm: needs {missing.name}: pip install 'medseg[slurm]'")

cloudpickle.register_pickle_by_value(cluster_job)  # the jobs' Python does not know where this script is

MERGE = "merge"
SIGNAL_SECONDS = 120
"""So long before its end a job hears that its time is over: for the step in hand and a checkpoint."""
LOCAL_RESTARTS = 5
"""So often submitit starts a job of this machine again, whatever it is told."""
SLURM_ONLY = ("partition", "memory_gb", "sbatch", "setup", "wait")


@dataclass(frozen=True)
class Submitted:
    """A job as DIR/jobs/jobs.json remembers it."""

    executor: str
    id: str
    log: str

    def alive(self) -> bool:
        """Whether it is queued or running.

        Raises
        ------
        BundleError
            Slurm does not say: to submit it again might have two trainings in one folder.
        """
        if self.executor == "local":
            return "submitit.local" in _command_of_process(self.id)
        words = ["squeue", "--noheader", "--format=%T", f"--jobs={self.id}"]
        try:
            done = subprocess.run(words, capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            raise BundleError(f"job {self.id} is one of Slurm's, and there is no squeue here") from error
        if done.returncode and "Invalid job id" not in done.stderr:  # which is what it says of jobs long gone
            raise BundleError("squeue does not answer", got=done.stderr.strip(), next_step="try again later")
        return bool(done.stdout.strip())

    def reason(self) -> str:
        """Why it has failed, as the log of its last start tells: the script's own message, or else the last line."""
        log = Path(self.log)
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.is_file() else []
        starts = [i for i, line in enumerate(lines) if cluster_job.STARTED.search(line)]
        last = lines[starts[-1] + 1 :] if starts else lines
        lines = [line.strip() for line in last if line.strip()] or ["nothing in its log"]
        told = [line for line in lines if line.startswith("cross_validate: ")]
        return (told or lines)[-1]


def _command_of_process(number: str) -> str:
    """Empty where there is no such process."""
    if Path("/proc/self/cmdline").is_file():  # not every machine has ps
        try:
            return Path("/proc", number, "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    return subprocess.run(["ps", "-o", "args=", "-p", number], capture_output=True, text=True, check=False).stdout


class Jobs:
    """The jobs of a folder: submitted here, remembered in jobs.json for the next time."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.folder = options, options.output.resolve() / "jobs"
        self.commands = commands(options)
        self.file = self.folder / "jobs.json"
        known = json.loads(self.file.read_text(encoding="utf-8")) if self.file.is_file() else {}
        self.known = {name: Submitted(**job) for name, job in known.items()}

    def alive(self, name: str) -> bool:
        """Whether the job of that name is queued or running."""
        return name in self.known and self.known[name].alive()

    def all_alive(self, names: Sequence[str]) -> list[str]:
        """Those that are queued or running.

        Raises
        ------
        BundleError
            One of them is so elsewhere: on a cluster, or as a process of this machine.
        """
        found = [name for name in names if self.alive(name)]
        elsewhere = [name for name in found if self.known[name].executor != self.options.executor]
        if elsewhere:
            other = self.known[elsewhere[0]].executor
            raise BundleError(f"under way by --executor {other}", got=", ".join(elsewhere), next_step="wait for them")
        return found

    def submit(self, name: str, *, after: Sequence[str] = (), gpu: str | None = None) -> submitit.Job[None]:
        """Submit the job of that name, to be started when the jobs `after` have ended well."""
        executor: submitit.SlurmExecutor | submitit.LocalExecutor
        target, most = self.folder / name, self.options.restarts
        try:
            if self.options.executor == "slurm":
                executor = submitit.SlurmExecutor(target, max_num_timeout=most)
                executor.update_parameters(**slurm_parameters(name, self.options, after=after))
            else:
                executor = submitit.LocalExecutor(target, max_num_timeout=most)
                executor.update_parameters(**local_parameters(self.options))
            at_once = min(self.options.jobs, self.options.folds)
            command = cluster_job.Command(self.commands[name], threads=self.options.cpus, at_once=at_once, gpu=gpu)
            job = executor.submit(command)
        except (RuntimeError, OSError) as error:
            raise BundleError(f"{name} could not be submitted", got=str(error).strip()) from error
        self.known[name] = Submitted(self.options.executor, job.job_id, str(job.paths.stdout))
        write_json({name: asdict(job) for name, job in self.known.items()}, self.file)
        print(f"{name}: job {job.job_id}, log {job.paths.stdout}", flush=True)
        return job

    def tell_failed(self, names: Sequence[str]) -> None:
        """What became of jobs that have ended and not done what they were for."""
        for name in names:
            if name in self.known:
                print(f"{name} is not done: {self.known[name].reason()}; log {self.known[name].log}", flush=True)


def main() -> int:
    """Submit what is neither done nor under way; wait for it where that is asked for."""
    options = _options()
    names = [f"fold_{fold}" for fold in range(options.folds)]
    if options.dry_run:
        return show_jobs(names, options)
    cross_validate.deal(options)
    jobs = Jobs(options)
    done = [name for name in names if is_done(name, options)]
    alive = jobs.all_alive([name for name in (*names, MERGE) if name not in done])
    under_way = [name for name in alive if name != MERGE]
    todo = [name for name in names if name not in (*done, *under_way)]
    for what, those in (("done", done), ("under way", alive)):
        if those:
            print(f"{what}: {', '.join(those)}", flush=True)
    if not todo + alive and is_done(MERGE, options):
        return show_table(options)
    jobs.tell_failed(todo if todo + alive else [MERGE])
    run = run_here if options.executor == "local" else run_on_cluster
    return run(todo, under_way, jobs)


def run_on_cluster(todo: Sequence[str], under_way: Sequence[str], jobs: Jobs) -> int:
    """Submit the folds, and the merging behind them."""
    for name in todo:
        jobs.submit(name)
    waiting = jobs.alive(MERGE)
    if todo or not waiting:
        if waiting:
            subprocess.run(["scancel", jobs.known[MERGE].id], check=False)  # it waits for a fold that has failed
        jobs.submit(MERGE, after=[jobs.known[name].id for name in (*under_way, *todo)])
    if not jobs.options.wait:
        return 0
    wait_while(lambda: any(jobs.alive(name) for name in (*under_way, *todo)), seconds=30)
    refuse_failed([*under_way, *todo], jobs)
    wait_while(lambda: jobs.alive(MERGE), seconds=30)
    refuse_failed([MERGE], jobs)
    return show_table(jobs.options)


def run_here(todo: Sequence[str], under_way: Sequence[str], jobs: Jobs) -> int:
    """The folds as processes of this machine, some at once, each on the GPU that has the fewest; then the merging."""
    waiting, gpus = list(todo), gpus_here() if jobs.options.gpus else []
    running: dict[str, tuple[submitit.Job[None], str | None]] = {}
    while waiting or running:
        while waiting and len(running) < jobs.options.jobs:
            taken = [gpu for _, gpu in running.values()]
            gpu = min(gpus, key=taken.count) if gpus else None
            name = waiting.pop(0)
            running[name] = jobs.submit(name, gpu=gpu), gpu
        time.sleep(0.5)
        for name in [name for name, (job, _) in running.items() if job.done()]:
            del running[name]
            print(f"{name} is done" if is_done(name, jobs.options) else f"{name} is not done", flush=True)
    wait_while(lambda: any(jobs.alive(name) for name in under_way), seconds=5)
    refuse_failed([*under_way, *todo], jobs)
    if not jobs.alive(MERGE):
        merging = jobs.submit(MERGE, gpu=gpus[0] if gpus else None)
        wait_while(lambda: not merging.done(), seconds=0.5)
    wait_while(lambda: jobs.alive(MERGE), seconds=5)
    refuse_failed([MERGE], jobs)
    return show_table(jobs.options)


def wait_while(busy: Callable[[], bool], *, seconds: float) -> None:
    """Look every so many seconds."""
    while busy():
        time.sleep(seconds)


def refuse_failed(names: Sequence[str], jobs: Jobs) -> None:
    """Tell those that have not done what they were for.

    Raises
    ------
    BundleError
        There are such.
    """
    failed = [name for name in names if not is_done(name, jobs.options)]
    jobs.tell_failed(failed)
    if failed:
        raise BundleError("jobs that were not done", got=", ".join(failed), next_step="the same command goes on")


def is_done(name: str, options: argparse.Namespace) -> bool:
    """Whether a fold has its scores, or the merging its table and its ensemble."""
    folder = options.output.resolve()
    if name != MERGE:
        return cross_validate.scores_of(folder / name).is_file()
    ensemble = folder / "ensemble"
    newest = max(cross_validate.scores_of(folder / f"fold_{k}").stat().st_mtime for k in range(options.folds))
    last = cross_validate.scores_of(ensemble) if cross_validate.has_own_test_part(options) else folder / "summary.json"
    whole = (ensemble / "models" / f"fold_{options.folds - 1}.pt").is_file()
    return whole and last.is_file() and last.stat().st_mtime >= newest


def show_table(options: argparse.Namespace) -> int:
    """The table that the last job has made."""
    folder = options.output.resolve()
    cross_validate.show("all folds", folder)
    print(f"table: {folder / 'scores.csv'}, {folder / 'summary.json'}; ensemble: {folder / 'ensemble'}")
    return 0


def show_jobs(names: Sequence[str], options: argparse.Namespace) -> int:
    """What would be submitted; nothing is written."""
    after = [f"the job of {name}" for name in names]
    for name, words in commands(options).items():
        own = after if name == MERGE else []
        slurm = slurm_parameters(name, options, after=own) if options.executor == "slurm" else None
        values = slurm or local_parameters(options)
        told = " ".join(f"{key}={value}" for key, value in values.items())
        print(f"{name}: {options.executor}: {told}\n  {shlex.join(words)}")
    return 0


def commands(options: argparse.Namespace) -> dict[str, list[str]]:
    """What each job runs: cross_validate.py for one fold, and for the merging."""
    folds = {f"fold_{k}": cross_validate.fold_command(k, options) for k in range(options.folds)}
    return {**folds, MERGE: [*cross_validate.command_of(options), "--merge"]}


def slurm_parameters(name: str, options: argparse.Namespace, *, after: Sequence[str]) -> dict[str, Any]:
    """What submitit writes into the job's sbatch file."""
    more = dict(word.split("=", 1) for word in options.sbatch or [])
    values: dict[str, Any] = {
        "job_name": f"{options.output.resolve().name}-{name}",
        "time": options.minutes,
        "cpus_per_task": options.cpus,
        "mem": f"{options.memory_gb or 32}GB",
        "signal_delay_s": SIGNAL_SECONDS,
        "stderr_to_stdout": True,
        "srun_args": [f"--cpus-per-task={options.cpus}"],  # Slurm 22.05 to 23.02 give a step one CPU without it
        "additional_parameters": {"requeue": True, **more},
    }
    if options.partition:
        values["partition"] = options.partition
    if options.gpus:
        values["gpus_per_node"] = options.gpus
    if options.setup:
        values["setup"] = options.setup
    if after:
        values["dependency"] = "afterok:" + ":".join(after)
        values["additional_parameters"] = {"kill-on-invalid-dep": "yes", **values["additional_parameters"]}
    return values


def local_parameters(options: argparse.Namespace) -> dict[str, Any]:
    """What submitit's local executor is told; GPUs it would know by number alone."""
    return {"timeout_min": options.minutes, "signal_delay_s": SIGNAL_SECONDS, "stderr_to_stdout": True}


def gpus_here() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them: numbers, or UUIDs of GPUs or parts."""
    import torch

    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    named = [word.strip() for word in visible.split(",")] if visible else [str(number) for number in range(count)]
    return named[:count]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cross_validate.add_subject(parser)
    parser.add_argument("--executor", choices=("slurm", "local"), default="slurm")
    parser.add_argument("--partition")
    parser.add_argument("--gpus", type=int, choices=(0, 1), default=1, help="of each job; a fold is trained by one")
    parser.add_argument("--cpus", type=int, help="of each job, and its threads (8; local: this machine's share)")
    parser.add_argument("--memory-gb", type=int, help="of each job (32)")
    parser.add_argument("--minutes", type=int, default=240, help="after which a job is queued again, and goes on")
    parser.add_argument("--restarts", type=int, help="times that a job may run out of its minutes (50; local: 5)")
    parser.add_argument("--sbatch", metavar="KEY=VALUE", action="append", help="more for sbatch: account=lab, qos=low")
    parser.add_argument(
        "--setup", metavar="LINE", action="append", help="shell line before the job: 'module load cuda'"
    )
    parser.add_argument("--wait", action="store_true", help="until the table is there, or a fold has failed")
    parser.add_argument("--jobs", type=int, help="folds at once with --executor local (1)")
    parser.add_argument("--dry-run", action="store_true", help="show the jobs, submit nothing")
    options = parser.parse_intermixed_args()
    _refuse_without_effect(options)
    if options.restarts is None:
        options.restarts = LOCAL_RESTARTS if options.executor == "local" else 50
    options.jobs = options.jobs or 1
    here = max(1, (os.cpu_count() or 1) // options.jobs)
    options.cpus = options.cpus or (here if options.executor == "local" else 8)
    overrides(options.changes)
    return options


def _refuse_without_effect(options: argparse.Namespace) -> None:
    """Settings of the other executor, and a time that is over before a job hears of it."""
    other = ("jobs",) if options.executor == "slurm" else SLURM_ONLY
    given = [f"--{name.replace('_', '-')}" for name in other if getattr(options, name)]
    if given:
        raise DataError("no effect", got=", ".join(given), next_step=f"leave out with --executor {options.executor}")
    if options.executor == "local" and (options.restarts or 0) > LOCAL_RESTARTS:
        raise DataError("--restarts", got=options.restarts, expected=f"at most {LOCAL_RESTARTS} with --executor local")
    wrong = [word for word in options.sbatch or [] if "=" not in word]
    if wrong:
        raise DataError("--sbatch", got=", ".join(wrong), expected="KEY=VALUE")
    if (options.device or "").partition(":")[2] not in ("", "0"):
        raise DataError(
            "--device", got=options.device, expected="cpu or cuda: each job has one GPU, which is its first"
        )
    if options.minutes * 60 <= 2 * SIGNAL_SECONDS:
        raise DataError("--minutes", got=options.minutes, expected=f"more than {2 * SIGNAL_SECONDS // 60}")
    if options.executor == "slurm" and not options.dry_run and shutil.which("sbatch") is None:
        raise BundleError("there is no Slurm here (sbatch)", next_step="--executor local, or --dry-run")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except MedsegError as error:
        sys.exit(f"submit_slurm: {error}")
    except KeyboardInterrupt:
        print("submit_slurm: stopped; the same command goes on", file=sys.stderr)
        sys.exit(130)
