"""An image and its mask: one grid, known labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medseg.case import Image
from medseg.errors import GeometryError, LabelError
from medseg.intake import check_pair


def image(affine: np.ndarray | None = None, shape: tuple[int, ...] = (1, 2, 3, 4)) -> Image:
    return Image(np.zeros(shape), np.eye(4) if affine is None else affine, Path("i.nii"))


def label(affine: np.ndarray | None = None, values: np.ndarray | None = None) -> Image:
    array = np.zeros((2, 3, 4), np.uint8) if values is None else values
    return Image(array, np.eye(4) if affine is None else affine, Path("l.nii"))


def moved(**changes: float) -> np.ndarray:
    affine = np.eye(4)
    for place, value in changes.items():
        affine[int(place[1]), int(place[2])] = value
    return affine


def test_a_fitting_pair_passes_and_zero_is_always_a_label() -> None:
    check_pair(image(), label(), case_id="7", labels={1, 2})
    check_pair(image(), label(values=np.full((2, 3, 4), 9, np.uint8)), case_id="7", labels=None)


@pytest.mark.parametrize(
    ("affine", "message"),
    [
        (moved(m03=1), "origin"),
        (moved(m22=2), r"spacing \(1, 1, 1\) mm against \(1, 1, 2\) mm"),
        (moved(m00=-1), "direction"),
    ],
    ids=["origin", "spacing", "direction"],
)
def test_different_grids_are_named_with_both_values(affine: np.ndarray, message: str) -> None:
    told = rf"case 7: l\.nii: the mask lies on another grid than i\.nii; got .*{message}"
    with pytest.raises(GeometryError, match=told):
        check_pair(image(), label(affine), case_id="7", labels=None)


def test_different_size_and_dimensions() -> None:
    with pytest.raises(GeometryError, match=r"size \(2, 3, 5\) against \(2, 3, 4\)"):
        check_pair(image(shape=(1, 2, 3, 5)), label(), case_id="7", labels=None)
    with pytest.raises(GeometryError, match="2 dimensions against 3"):
        check_pair(image(shape=(1, 2, 3)), label(), case_id="7", labels=None)


def test_values_outside_the_label_set_are_listed() -> None:
    values = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    with pytest.raises(LabelError, match=r"case 7: l\.nii.*got 3, 4, 5, 6, 7, 8, 9, 10 and 13 more; expected only"):
        check_pair(image(), label(values=values), case_id="7", labels=[1, 2])
