"""An image in numbers, by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from medseg.case import Image
from medseg.intake.description import describe_image


def test_a_volume_by_hand() -> None:
    array = np.arange(24, dtype=np.int16).reshape(1, 2, 3, 4)
    about = describe_image(Image(array, np.diag([-1.0, -2.0, 3.5, 1.0]), Path("a"), "CT"))
    assert about["size"] == [2, 3, 4]
    assert about["spacing_mm"] == [1.0, 2.0, 3.5]
    assert (about["orientation"], about["modality"], about["channels"]) == ("LPS", "CT", 1)
    # 0 .. 23: median 11.5, 1st percentile 0.23, sd sqrt((24^2 - 1) / 12)
    expected = {"min": 0, "p1": 0.23, "median": 11.5, "p99": 22.77, "max": 23, "mean": 11.5, "sd": 6.92219}
    assert about["intensity"] == expected
    assert json.loads(json.dumps(about)) == about


def test_a_picture_without_spacing() -> None:
    about = describe_image(Image(np.full((3, 4, 5), 7, np.uint8), np.eye(4), Path("a.png"), None, spacing_known=False))
    assert (about["size"], about["spacing_mm"], about["orientation"], about["channels"]) == ([4, 5], None, None, 3)
    assert about["intensity"]["sd"] == 0.0


def test_a_large_image_is_sampled_over_its_whole_extent() -> None:
    array = np.zeros((1, 2000, 1500), np.uint8)
    array[0, :, 750:] = 100
    intensity = describe_image(Image(array, np.eye(4), Path("a.png")))["intensity"]
    assert abs(intensity["mean"] - 50) < 0.2
