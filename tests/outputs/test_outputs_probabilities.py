"""Probabilities streamed to disk block by block: values, grid, order of blocks, room on disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from medseg.case import Image
from medseg.errors import OutputError
from medseg.outputs import ProbabilityFiles

LABELS = {0: "background", 1: "left", 2: "right"}
AFFINE = np.array([[-0.5, 0, 0, 12], [0, 0.75, 0, -4], [0, 0, 2, 7], [0, 0, 0, 1.0]])
SHAPE = (4, 3, 5)


def files(folder: Path, *, shape: tuple[int, ...] = SHAPE, labels: dict[int, str] = LABELS) -> ProbabilityFiles:
    image = Image(np.zeros((1, *shape)), AFFINE, folder / "in.nii.gz")
    return ProbabilityFiles("case1", folder=folder, labels=labels, image=image)


def logits(shape: tuple[int, ...], classes: int = 3) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(3).normal(0, 3, (classes, *shape))).float()


def expected(values: torch.Tensor) -> np.ndarray:
    """round(255 p) by the definition of the softmax, in double precision."""
    e = np.exp(values.double().numpy())
    return np.rint(255 * e / e.sum(axis=0))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("backwards", [False, True], ids=["forwards", "backwards"])
def test_blocks_along_any_axis_and_in_any_order_give_the_same_files(tmp_path: Path, axis: int, backwards: bool) -> None:
    values, sink = logits(SHAPE), files(tmp_path)
    sink.start(3, SHAPE)
    blocks = [slice(i, min(i + 2, SHAPE[axis])) for i in range(0, SHAPE[axis], 2)]
    for block in reversed(blocks) if backwards else blocks:
        where = tuple(block if a == axis else slice(None) for a in range(3))
        sink.put(where, values[(slice(None), *where)])
    sink.finish()
    names = sink.save()
    assert names == {f"probability_{k}": f"case1_probability_{k}.nii.gz" for k in range(3)}
    assert {path.name for path in tmp_path.iterdir()} == set(names.values())
    for k, wanted in enumerate(expected(values)):
        read = nibabel.load(tmp_path / f"case1_probability_{k}.nii.gz")
        assert read.get_data_dtype() == np.uint8
        np.testing.assert_allclose(read.affine, AFFINE)
        # float32 may fall on the other side of a half
        np.testing.assert_allclose(np.asarray(read.dataobj), wanted, atol=1)
        assert (np.asarray(read.dataobj) == wanted).mean() > 0.95


def test_a_picture_gives_pngs_with_x_along_the_columns(tmp_path: Path) -> None:
    values, sink = logits((6, 4), classes=2), files(tmp_path, shape=(6, 4), labels={0: "background", 1: "heart"})
    sink.start(2, (6, 4))
    sink.put((slice(0, 6), slice(0, 4)), values)
    sink.finish()
    assert sink.save() == {f"probability_{k}": f"case1_probability_{k}.png" for k in range(2)}
    with Pillow.open(tmp_path / "case1_probability_1.png") as picture:
        assert (picture.size, picture.mode) == ((6, 4), "L")
        np.testing.assert_allclose(np.asarray(picture).T, expected(values)[1], atol=1)


def test_starting_again_forgets_what_came_before(tmp_path: Path) -> None:
    """As after a try for which memory did not suffice."""
    sink = files(tmp_path)
    for values in (torch.full((3, *SHAPE), 5.0), logits(SHAPE)):
        sink.start(3, SHAPE)
        sink.put((slice(None),) * 3, values)
    sink.finish()
    sink.save()
    read = np.asarray(nibabel.load(tmp_path / "case1_probability_2.nii.gz").dataobj)
    np.testing.assert_allclose(read, expected(logits(SHAPE))[2], atol=1)


def test_what_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    sink = files(tmp_path)
    sink.start(3, SHAPE)
    sink.put((slice(None),) * 3, logits(SHAPE))
    assert [path.stat().st_size for path in tmp_path.iterdir()] == [3 * 4 * 3 * 5]
    sink.discard()
    assert list(tmp_path.iterdir()) == []


def test_no_room_on_disk_is_an_error_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        files(tmp_path).start(3, SHAPE)


def test_a_file_system_that_cannot_reserve_room_still_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot(handle: int, offset: int, size: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", cannot)
    sink = files(tmp_path)
    sink.start(3, SHAPE)
    sink.put((slice(None),) * 3, logits(SHAPE))
    assert len(sink.save()) == 3


def test_another_number_of_classes_than_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="got 4 classes; expected 3"):
        files(tmp_path).start(4, SHAPE)


@pytest.mark.parametrize("case_id", ["../left", "a/b", ".hidden"])
def test_a_case_that_is_no_file_name_writes_nothing(case_id: str, tmp_path: Path) -> None:
    (tmp_path / "out" / "a").mkdir(parents=True)
    image = Image(np.zeros((1, 2, 2, 2), np.float32), np.eye(4), "a.nii.gz")
    with pytest.raises(OutputError):
        ProbabilityFiles(case_id, folder=tmp_path / "out", labels={0: "background", 1: "x"}, image=image)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "out"]
