"""Probabilities of each class on the native grid, streamed to disk while logits come in block by block."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medseg.case import Image
from medseg.errors import OutputError
from medseg.files import atomic_write, remove_temporary, temporary_beside
from medseg.outputs.folders import check_file_name
from medseg.outputs.nifti import write_nifti

if TYPE_CHECKING:
    import torch

_CANNOT_RESERVE = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})
"""Of file systems that have no way to reserve room."""


class ProbabilityFiles:
    """A sink of logits: `<id>_probability_<label>.nii.gz` (pictures: `.png`) with round(255 p) as 8-bit values.

    p is the softmax of the logits. One byte a voxel and class goes to a hidden file on disk as it comes; in memory is
    never more than the block at hand. `save` compresses the files one after the other.

    Parameters
    ----------
    case_id
        Begins the names of the files.
    folder
        Where they go; it must exist.
    labels
        Value to name of each class, as the network gives them, background among them; the value is in the file's name.
    image
        The image ``(C, X, Y[, Z])`` as it was stored: gives the grid.
    """

    def __init__(self, case_id: str, *, folder: Path, labels: Mapping[int, str], image: Image) -> None:
        self.case_id, self.folder, self.labels, self.image = case_id, folder, dict(labels), image
        check_file_name(case_id)  # before anything is written: the id may be a stranger's
        self._raw = temporary_beside(folder / f"{case_id}_probabilities")
        self._shape: tuple[int, ...] = ()

    def start(self, classes: int, shape: tuple[int, ...]) -> None:
        """Make room on disk for `classes` maps of `shape` (X, Y[, Z]); what came before is forgotten.

        Raises
        ------
        OutputError
            Another number of classes than labels.
        """
        if classes != len(self.labels):
            raise OutputError(
                f"case {self.case_id}: probabilities", got=f"{classes} classes", expected=len(self.labels)
            )
        self._shape = shape
        _reserve(self._raw, classes * math.prod(shape))

    def put(self, where: tuple[slice, ...], logits: torch.Tensor) -> None:
        """Take the logits ``(C, x, y[, z])`` of the native voxels `where`."""
        values = logits.float().softmax(0).mul_(255.0).round_().byte().cpu().numpy()
        for k, value in enumerate(values):
            self._class_map(k)[where] = value

    def finish(self) -> None:
        """All blocks have come."""

    def save(self) -> dict[str, str]:
        """Write the files, each whole or not at all: "probability_<label>" to name."""
        names = {}
        suffix = ".png" if len(self._shape) == 2 else ".nii.gz"
        for k, label in enumerate(sorted(self.labels)):
            name = f"{self.case_id}_probability_{label}{suffix}"
            with atomic_write(self.folder / name) as temporary:
                self._write(self._class_map(k), temporary)
            names[f"probability_{label}"] = name
        self.discard()
        return names

    def discard(self) -> None:
        """Give back the room on disk."""
        remove_temporary(self._raw)

    def _class_map(self, k: int) -> NDArray[np.uint8]:
        """The map of one class, mapped for this access alone: pages that stay mapped would count as our memory."""
        # x is the fastest axis, as NIfTI has it, so that compressing reads the file from front to end.
        offset = k * math.prod(self._shape)
        return np.memmap(self._raw, np.uint8, "r+", offset=offset, shape=self._shape, order="F")

    def _write(self, values: NDArray[np.uint8], path: Path) -> None:
        if values.ndim == 2:
            from PIL import Image as Picture

            Picture.fromarray(np.ascontiguousarray(values.T)).save(path, format="PNG")
            return
        write_nifti(values, path, affine=self.image.affine, description="medseg probability, round(255 p)")


def _reserve(path: Path, size: int) -> None:
    """A file of `size` bytes whose room is really there: a full disk must be an error here, and no signal later."""
    with path.open("wb") as file:
        file.truncate(size)
        if size and hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                if error.errno not in _CANNOT_RESERVE:
                    raise
