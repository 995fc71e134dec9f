"""The files of a run's checkpoints: the last two, whole or not there, and known by their checksums."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from medseg.errors import BundleError, first_line
from medseg.files import atomic_write, link_or_copy, sha256_of
from medseg.training.failures import no_space

logger = logging.getLogger(__name__)

LAST, BEFORE = "last.pt", "before_last.pt"
SUMS = "checkpoints.sha256"
"""In the format of `sha256sum`. What has a sum that stands in it is whole, whichever of the two names it has."""


def save_checkpoint(state: Mapping[str, Any], folder: Path) -> None:
    """Write `state` as last.pt of `folder`; what was last.pt becomes before_last.pt.

    Killed at any point, it leaves a last.pt that is whole: the new one or the one before.

    Raises
    ------
    TrainingError
        It could not be written, mostly for want of space; what was there is there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _save_checkpoint(state, folder)
    except (OSError, RuntimeError) as error:  # torch's own writer raises a RuntimeError when the disk is full
        raise no_space(str(folder / LAST), error) from error


def save_weights(state: Mapping[str, Any], path: Path) -> None:
    """Write a state dict as `path`, whole or not at all.

    Raises
    ------
    TrainingError
        It could not be written, mostly for want of space; what was there is there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with atomic_write(path) as temporary:
            torch.save(state, temporary)
            _to_disk(temporary)
    except (OSError, RuntimeError) as error:
        raise no_space(str(path), error) from error


def _save_checkpoint(state: Mapping[str, Any], folder: Path) -> None:
    last, before = folder / LAST, folder / BEFORE
    with atomic_write(last) as temporary:
        torch.save(state, temporary)
        _to_disk(temporary)
        sums = {LAST: sha256_of(temporary)}
        if last.is_file() and _is_whole(last):
            sums[BEFORE] = sha256_of(last)
            with atomic_write(before) as kept:
                link_or_copy(last, kept)
        elif before.is_file():  # a resumed run whose last.pt was lost or damaged went on from it
            sums[BEFORE] = sha256_of(before)
        with atomic_write(folder / SUMS) as listed:
            listed.write_text("".join(f"{value}  {name}\n" for name, value in sums.items()), encoding="ascii")


def has_checkpoint(folder: Path) -> bool:
    """Whether `folder` holds a file to resume from, whole or not."""
    return any((folder / name).is_file() for name in (LAST, BEFORE))


def load_checkpoint(folder: Path, *, needed: Sequence[str], quiet: bool = False) -> dict[str, Any]:
    """The newest checkpoint of `folder` that is whole; one that is passed over is told as a warning unless `quiet`.

    Parameters
    ----------
    needed
        What a checkpoint must hold.

    Raises
    ------
    BundleError
        There is none, or none that is whole: what is wrong with the last one.
    """
    if not has_checkpoint(folder):
        raise BundleError(f"{folder / LAST}: no checkpoint to resume from", next_step="start the run without --resume")
    try:
        return _load(folder / LAST, needed)
    except BundleError as error:
        if not (folder / BEFORE).is_file():
            raise
        state = _load(folder / BEFORE, needed)
        if not quiet:
            logger.warning("%s; going on from %s, epoch %d", error, BEFORE, state["epoch"])
        return state


def _load(path: Path, needed: Sequence[str]) -> dict[str, Any]:
    if not path.is_file():
        raise BundleError(f"{path}: the checkpoint is gone")
    sums = _sums(path.parent)
    if sums and sha256_of(path) not in sums:
        raise BundleError(f"{path}: the checkpoint is damaged", got="another checksum than it was written with")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        missing = [name for name in needed if name not in state]
    except Exception as error:
        raise BundleError(f"{path}: the checkpoint cannot be read", got=first_line(error)) from error
    if missing:
        raise BundleError(f"{path}: no checkpoint of a run", got=f"a file without {', '.join(missing)}")
    return state


def _is_whole(path: Path) -> bool:
    """By its sum; a folder without sums is not doubted."""
    sums = _sums(path.parent)
    return not sums or sha256_of(path) in sums


def _sums(folder: Path) -> set[str]:
    file = folder / SUMS
    return {line.split()[0] for line in file.read_text(encoding="ascii").splitlines()} if file.is_file() else set()


def _to_disk(path: Path) -> None:
    """Not only written but kept, also when the power fails: before a name is given to it."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
