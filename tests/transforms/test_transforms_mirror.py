"""Mirroring with labels that change places, by hand."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from medseg.errors import BundleError
from medseg.transforms import RandMirrorLabelsd


def _case():
    image = MetaTensor(torch.tensor([[[10.0], [20.0], [30.0], [40.0]]]))  # (C, X, Y)
    return {"image": image, "label": MetaTensor(torch.tensor([[[1], [3], [0], [2]]], dtype=torch.uint8)), "id": "a"}


def test_image_and_mask_are_mirrored_and_sides_keep_their_names():
    mirrored = RandMirrorLabelsd(axis=0, swaps=[[1, 2]], prob=1.0)(_case())
    assert mirrored["image"].flatten().tolist() == [40, 30, 20, 10]
    assert mirrored["label"].flatten().tolist() == [1, 0, 3, 2]  # mirrored 2 0 3 1, with 1 and 2 swapped
    assert mirrored["id"] == "a"


def test_the_case_itself_stays_as_it_was():
    case = _case()
    RandMirrorLabelsd(axis=0, swaps=[[1, 2]], prob=1.0)(case)
    assert case["label"].flatten().tolist() == [1, 3, 0, 2]


def test_mirrored_twice_is_the_case_again():
    mirror = RandMirrorLabelsd(axis=0, swaps=[[1, 2]], prob=1.0)
    again = mirror(mirror(_case()))
    assert torch.equal(again["image"], _case()["image"])
    assert torch.equal(again["label"], _case()["label"])


def test_how_often_is_drawn_from_the_seed():
    mirror = RandMirrorLabelsd(axis=0, swaps=[], prob=0.5)
    first = [float(mirror.set_random_state(seed=s)(_case())["image"][0, 0, 0]) for s in range(200)]
    assert first == [float(mirror.set_random_state(seed=s)(_case())["image"][0, 0, 0]) for s in range(200)]
    assert 70 < first.count(40.0) < 130


@pytest.mark.parametrize("axis", [-1, 3])
def test_an_axis_that_is_none_is_refused(axis):
    """Of -1 the channels would be mirrored, which changes nothing, and the labels change places."""
    with pytest.raises(BundleError, match=f"axis; got {axis}; expected 0, 1 or 2"):
        RandMirrorLabelsd(axis=axis, swaps=[[1, 2]], prob=0.5)


@pytest.mark.parametrize("swaps", [[[1, 1]], [[0, 2]], [[1, 2], [2, 3]], [[1]]], ids=str)
def test_pairs_that_are_none_are_refused(swaps):
    with pytest.raises(BundleError, match="swaps"):
        RandMirrorLabelsd(axis=0, swaps=swaps, prob=0.5)
