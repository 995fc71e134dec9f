"""What breaks under a run: no space, workers that die or hang. Told by name, and the run goes on."""

from __future__ import annotations

import errno
import multiprocessing
import os
import resource
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from training_parts import assert_same_run, checkpoint, tiny

from medseg.datasets import CaseDataset
from medseg.errors import DataError, TrainingError
from medseg.files import sha256_of
from medseg.training import Checkpoints
from medseg.workflows import train

pytestmark = pytest.mark.usefixtures("no_pictures")
BUNDLE = "mr_hippocampus"


def resumed(run: Path) -> Path:
    return train(run, datalist=run / "datalist.json", run_dir=run, resume=True)


def test_a_full_disk_while_a_checkpoint_is_written_leaves_the_one_before(
    datalists: dict[str, Path],
    whole_runs: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A limit on the size of files: the system refuses the bytes beyond it, to torch's own writer as on a full disk."""
    save, before = Checkpoints.save, resource.getrlimit(resource.RLIMIT_FSIZE)
    sums: list[str] = []

    def save_without_space(self: Checkpoints, engine: Any) -> None:
        if engine.state.epoch == 3:
            sums.append(sha256_of(self.folder / "last.pt"))
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
        try:
            save(self, engine)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    monkeypatch.setattr(Checkpoints, "save", save_without_space)
    with pytest.raises(TrainingError, match=r"models/last\.pt could not be written; got .*; free some space") as error:
        train(BUNDLE, datalist=datalists[BUNDLE], run_dir=tmp_path, overrides=tiny(BUNDLE))
    monkeypatch.undo()
    assert "\n" not in str(error.value)
    assert sha256_of(tmp_path / "models" / "last.pt") == sums[0]
    assert checkpoint(tmp_path)["epoch"] == 2
    assert not [path for path in (tmp_path / "models").iterdir() if ".tmp." in path.name]
    assert f"medseg train {tmp_path} -o {tmp_path}" in caplog.text
    assert_same_run(resumed(tmp_path), whole_runs[BUNDLE])


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device; free some space"),
        (OSError(errno.EROFS, "Read-only file system"), "Read-only file system; mend that"),
    ],
    ids=["full", "read-only"],
)
def test_a_full_or_lost_disk_under_another_file_is_told_as_such(
    datalists: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, told: str
) -> None:
    def no_space(*_: Any) -> None:
        raise error

    monkeypatch.setattr("medseg.training.history.History._write", no_space)
    with pytest.raises(TrainingError, match=rf"a file of the run could not be written; got \[Errno \d+\] {told}"):
        train(BUNDLE, datalist=datalists[BUNDLE], run_dir=tmp_path, overrides=tiny(BUNDLE))


def break_worker(monkeypatch: pytest.MonkeyPatch, breaks: Any) -> None:
    """In the worker processes, `breaks` is called for each case of the third epoch."""
    read = CaseDataset.__getitem__

    def broken(self: CaseDataset, index: int) -> Any:
        if torch.utils.data.get_worker_info() is not None and index // len(self) == 3:
            breaks()
        return read(self, index)

    monkeypatch.setattr(CaseDataset, "__getitem__", broken)


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hangs() -> None:
    time.sleep(600)


@pytest.mark.parametrize(
    ("breaks", "message"),
    [
        (killed, r"a data-loader worker has died; got DataLoader worker \(pid.* (killed by|exited).*workers=0"),
        (hangs, r"a data-loader worker does not answer; got DataLoader timed out after 2 seconds.*workers=0"),
    ],
    ids=["killed", "hangs"],
)
def test_a_worker_that_dies_or_hangs_ends_the_run_within_seconds_and_the_run_goes_on(
    breaks: Any,
    message: str,
    datalists: dict[str, Path],
    whole_runs: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    break_worker(monkeypatch, breaks)
    changes = {**tiny(BUNDLE), "workers": 1, "worker_timeout_s": 2}
    with pytest.raises(TrainingError, match=message):
        train(BUNDLE, datalist=datalists[BUNDLE], run_dir=tmp_path, overrides=changes)
    monkeypatch.undo()
    for child in multiprocessing.active_children():  # the one that hangs: as the end of the process would do it
        child.terminate()
    assert checkpoint(tmp_path)["epoch"] == 2
    assert_same_run(resumed(tmp_path), whole_runs[BUNDLE])


def test_a_case_that_a_worker_cannot_read_is_told_without_the_workers_traceback(
    datalists: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses() -> None:
        raise DataError("case 7: no such thing", got="nothing")

    break_worker(monkeypatch, refuses)
    with pytest.raises(DataError) as error:
        train(BUNDLE, datalist=datalists[BUNDLE], run_dir=tmp_path, overrides={**tiny(BUNDLE), "workers": 1})
    assert str(error.value) == "case 7: no such thing; got nothing"
