"""A command as a job of submitit: stopped with a checkpoint, queued again, left nowhere behind; for submit_slurm.py."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

import submitit
from submitit.helpers import DelayedSubmission

from medseg.processes import SIDE_BY_SIDE
from medseg.signals import TERMINATED

STARTED = re.compile(r"^\S+: job \d+ runs \d+: ")
"""What a job says when it starts, each time that it does."""


class Command:
    """A command as a job that survives being stopped; submitit keeps it in a file and calls it on the other machine.

    The command runs in a process of its own, which hears SIGTERM, once, whatever the job hears: it writes its
    checkpoint and ends. Where the job's time is over, and on some clusters before a pre-emption, Slurm sends submitit's
    signal (SIGUSR2): submitit calls `checkpoint` and queues the job again. SIGTERM alone comes before a pre-emption and
    after `scancel`; Slurm knows which, so the job waits for what Slurm does next.

    Parameters
    ----------
    words
        The command.
    threads
        Its OMP_NUM_THREADS, where the environment has none.
    at_once
        How many such jobs share the memory of their machine; on a cluster each has its own.
    gpu
        The one that it sees, as CUDA_VISIBLE_DEVICES names it; None: what the job sees.
    patience_seconds
        How long a job that was stopped by SIGTERM waits for Slurm before it is queued again.
    """

    def __init__(
        self,
        words: Sequence[str],
        *,
        threads: int,
        at_once: int = 1,
        gpu: str | None = None,
        patience_seconds: float = 600.0,
    ) -> None:
        self.words, self.threads, self.patience_seconds = list(words), threads, patience_seconds
        self.at_once, self.gpu = at_once, gpu
        self.child: subprocess.Popen[bytes] | None = None
        self.stopped = False

    def __call__(self) -> None:
        """Run the command to its end.

        Raises
        ------
        RuntimeError
            It has failed, or was stopped where nobody queues it again; submitit keeps that as the job's result.
        """
        user = getattr(signal, f"SIG{submitit.JobEnvironment.USR_SIG}")
        signal.signal(signal.SIGTERM, self._stop)
        environment = {"OMP_NUM_THREADS": str(self.threads), SIDE_BY_SIDE: str(self.at_once), **os.environ}
        environment |= {} if self.gpu is None else {"CUDA_VISIBLE_DEVICES": self.gpu}
        prepare = _child_of_a_job(user)
        with _locked(submitit.JobEnvironment().paths.folder / "lock") as lock:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, user})
            self.child = subprocess.Popen(
                self.words, env=environment, start_new_session=True, preexec_fn=prepare, pass_fds=[lock.fileno()]
            )
        print(f"{socket.gethostname()}: job {os.getpid()} runs {self.child.pid}: {shlex.join(self.words)}", flush=True)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, user})
        code = self.child.wait()
        if self.stopped and code in (TERMINATED, -signal.SIGTERM):
            self._wait_for_slurm(user)
            raise RuntimeError("stopped by SIGTERM; the same submit_slurm.py goes on")
        if code:
            raise RuntimeError(f"{Path(self.words[1]).name} ended with exit code {code}")

    def checkpoint(self) -> DelayedSubmission:
        """Have the command write its checkpoint and end; what goes on is the same command."""
        self._stop()
        if self.child is not None:
            with contextlib.suppress(ChildProcessError):  # it has ended already
                os.waitid(os.P_PID, self.child.pid, os.WEXITED | os.WNOWAIT)
        return DelayedSubmission(
            type(self)(
                self.words,
                threads=self.threads,
                at_once=self.at_once,
                gpu=self.gpu,
                patience_seconds=self.patience_seconds,
            )
        )

    def _stop(self, *_: object) -> None:
        """Handler of SIGTERM: pass it on, once, since a second one would not wait for the checkpoint."""
        if self.child is not None and self.child.returncode is None and not self.stopped:
            self.stopped = True
            os.kill(self.child.pid, signal.SIGTERM)

    def _wait_for_slurm(self, user: signal.Signals) -> None:
        """Slurm kills a cancelled job, and kills and requeues a pre-empted one; one that lives on is queued again."""
        if os.environ.get("SUBMITIT_EXECUTOR") != "slurm":
            return
        print("stopped by SIGTERM; waiting for Slurm to end or to requeue this job", flush=True)
        time.sleep(self.patience_seconds)
        signal.raise_signal(user)


def _locked(path: Path) -> IO[str]:
    """A file that its processes have alone: of a killed job the training may still be writing its checkpoint.

    The lock is that of whoever has the file open, so of the command, until it ends, however it ends.
    """
    file = path.open("w")
    with contextlib.suppress(OSError):  # a file system without locks
        fcntl.flock(file, fcntl.LOCK_EX)
    return file


def _child_of_a_job(user: signal.Signals) -> Callable[[], None]:
    """What the command's process does before it becomes the command."""
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def prepare() -> None:
        signal.signal(user, signal.SIG_IGN)  # is for the job, and would end the command
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, user})
        if prctl is not None:
            prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: a killed job leaves no training behind

    return prepare
