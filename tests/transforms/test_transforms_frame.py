"""Frames round pictures."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from medseg.errors import BundleError
from medseg.transforms import RandFramed


def _case():
    return {"image": MetaTensor(torch.full((1, 20, 10), 0.5)), "label": MetaTensor(torch.ones(1, 20, 10))}


def test_a_frame_is_one_level_and_background_and_leaves_the_middle():
    framed = RandFramed(widest=0.25, levels=(0.8, 0.8), prob=1.0).set_random_state(seed=3)(_case())
    image, label = framed["image"][0], framed["label"][0]
    assert (image[5:15, 3:7] == 0.5).all()
    assert image.unique().tolist() == pytest.approx([0.5, 0.8])
    assert torch.equal(label == 0, image != 0.5)
    rows = [n for n in range(20) if (label[n] == 1).any()]
    assert rows == list(range(rows[0], rows[-1] + 1))
    assert rows[0] <= 5
    assert rows[-1] >= 14


def test_the_case_itself_and_a_case_that_is_not_drawn_stay_as_they_were():
    case = _case()
    RandFramed(widest=0.4, levels=(0.0, 1.0), prob=1.0)(case)
    kept = RandFramed(widest=0.4, levels=(0.0, 1.0), prob=0.0)(case)
    assert (case["image"] == 0.5).all()
    assert (kept["image"] == 0.5).all()
    assert (kept["label"] == 1).all()


@pytest.mark.parametrize("widest", [0.0, 0.5])
def test_a_frame_that_leaves_nothing_is_refused(widest):
    with pytest.raises(BundleError, match="widest"):
        RandFramed(widest=widest, levels=(0.0, 1.0), prob=0.5)
