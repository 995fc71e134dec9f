"""The phantom X-ray: bone bright, the patient's left on the right of the picture, fields where they show."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.case import Case
from medseg.datasets.phantom import xray_phantom


@pytest.fixture(scope="module")
def xrays() -> list[Case]:
    return [xray_phantom((1, i), shape=(160, 150)) for i in (1, 2)]


def _parts(case: Case) -> tuple[np.ndarray, np.ndarray]:
    assert case.label is not None
    return case.image.array[0], case.label.array


def test_types_and_shape(xrays: list[Case]) -> None:
    for case in xrays:
        pixels, labels = _parts(case)
        assert case.image.array.shape == (1, 160, 150)
        assert pixels.dtype == labels.dtype == np.uint8
        assert set(np.unique(labels)) == {0, 1, 2, 3}


def test_left_lung_is_on_the_right_of_the_picture(xrays: list[Case]) -> None:
    for case in xrays:
        column = [np.nonzero(_parts(case)[1] == value)[0].mean() for value in (1, 2, 3)]
        assert column[1] < column[2] < column[0]


def test_heart_is_below_the_lungs_middle(xrays: list[Case]) -> None:
    for case in xrays:
        labels = _parts(case)[1]
        row = [np.nonzero(mask)[1].mean() for mask in (labels == 3, (labels == 1) | (labels == 2))]
        assert row[0] > row[1]


def test_air_is_dark_and_tissue_bright(xrays: list[Case]) -> None:
    for case in xrays:
        pixels, labels = _parts(case)
        lungs = (labels == 1) | (labels == 2)
        assert pixels[lungs].mean() + 20 < pixels[labels == 3].mean()


def test_sizes_are_plausible(xrays: list[Case]) -> None:
    for case in xrays:
        share = np.bincount(_parts(case)[1].ravel(), minlength=4) / (160 * 150)
        assert 0.04 < share[1] < 0.3
        assert 0.04 < share[2] < 0.3
        assert 0.02 < share[3] < 0.25


def test_same_seed_same_bytes(xrays: list[Case]) -> None:
    again = xray_phantom((1, 1), shape=(160, 150))
    assert again.image.array.tobytes() == xrays[0].image.array.tobytes()
    assert _parts(again)[1].tobytes() == _parts(xrays[0])[1].tobytes()
