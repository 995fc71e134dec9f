"""A cluster of one machine: sbatch, srun, scontrol, squeue and scancel as far as submitit and submit_slurm.py use them.

Called by links of those names, in the folder FAKE_SLURM: N.sh are the submitted files, `alive` names the jobs that
squeue knows, `said` are the commands that were given. With FAKE_SLURM_RUNS a submitted file is run at once; what
FAKE_SLURM_BROKEN names, fails; with FAKE_SLURM_LOSES jobs end at once.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(os.environ["FAKE_SLURM"])


def alive() -> list[str]:
    file = FOLDER / "alive"
    return file.read_text(encoding="utf-8").split() if file.is_file() else []


def start(job: str) -> None:
    environment = {**os.environ, "SLURM_JOB_ID": job, "SLURM_JOB_NODELIST": "node1"}
    # Slurm starts a job that was queued again when the one before is gone
    words = ["bash", "-c", f"sleep 0.3; exec bash {FOLDER / (job + '.sh')}"]
    quiet = subprocess.DEVNULL  # submitit reads what sbatch says to the end of its streams
    subprocess.Popen(words, env=environment, start_new_session=True, stdout=quiet, stderr=quiet)


def sbatch(file: str) -> None:
    job = str(1 + len(list(FOLDER.glob("*.sh"))))
    shutil.copyfile(file, FOLDER / f"{job}.sh")
    if "FAKE_SLURM_LOSES" not in os.environ:
        (FOLDER / "alive").write_text(" ".join([*alive(), job]), encoding="utf-8")
    if "FAKE_SLURM_RUNS" in os.environ:
        start(job)
    sys.stdout.write(f"Submitted batch job {job}\n")


def srun(*words: str) -> None:
    given = list(words)
    log = given[given.index("--output") + 1].replace("%j", os.environ["SLURM_JOB_ID"]).replace("%t", "0")
    command = given[given.index("-u") - 1 :]
    with Path(log).open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        os.execv(command[0], command)


def squeue(*words: str) -> None:
    job = next(re.fullmatch(r"--jobs=(\d+)", word)[1] for word in words if word.startswith("--jobs="))
    sys.stdout.write("PENDING\n" if job in alive() else "")


def scancel(job: str) -> None:
    (FOLDER / "alive").write_text(" ".join(one for one in alive() if one != job), encoding="utf-8")


def scontrol(_: str, job: str) -> None:
    start(job)


if __name__ == "__main__":
    name = Path(sys.argv[0]).name
    with (FOLDER / "said").open("a", encoding="utf-8") as said:
        said.write(" ".join([name, *sys.argv[1:]]) + "\n")
    if name == os.environ.get("FAKE_SLURM_BROKEN"):
        sys.exit(f"{name}: error: Unable to contact slurm controller (connect failure)")
    {"sbatch": sbatch, "srun": srun, "squeue": squeue, "scancel": scancel, "scontrol": scontrol}[name](*sys.argv[1:])
