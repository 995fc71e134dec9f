"""The cardiothoracic ratio by hand, and against the ratio that the data set's authors state."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from medseg.case import Image
from medseg.evaluation import CardiothoracicRatio, cardiothoracic_ratio

ROWS = """
.2222...111.
.22222.1111.
222233331111
2.2.33331111
"""


def label_map(rows: str) -> np.ndarray:
    return np.array([[0 if c == "." else int(c) for c in line] for line in rows.split()], dtype=np.uint8).T


def test_widths_are_extents_over_all_rows() -> None:
    # the heart reaches from column 4 to 7, the lungs from 0 to 11
    assert cardiothoracic_ratio(label_map(ROWS), heart=3, lungs=(1, 2)) == pytest.approx(4 / 12)


def test_borders_of_the_heart_may_lie_at_different_heights() -> None:
    oblique = label_map("2..33..1 2.33...1 233....1")
    assert cardiothoracic_ratio(oblique, heart=3, lungs=(1, 2)) == pytest.approx(4 / 8)


def test_lung_drawn_over_the_heart_does_not_narrow_it() -> None:
    covered = label_map("22311131 22311131")
    assert cardiothoracic_ratio(covered, heart=3, lungs=(1, 2)) == pytest.approx(5 / 8)


@pytest.mark.parametrize("missing", [1, 2, 3])
def test_nothing_is_measured_where_a_structure_is_missing(missing) -> None:
    labels = label_map(ROWS)
    labels[labels == missing] = 0
    assert cardiothoracic_ratio(labels, heart=3, lungs=(1, 2)) is None


def test_measurement_as_a_bundle_names_it() -> None:
    labels = Image(label_map(ROWS), np.eye(4), Path("a.png"), spacing_known=False)
    assert CardiothoracicRatio(heart=3, lungs=[1, 2])(labels) == {"cardiothoracic_ratio": pytest.approx(4 / 12)}


def ratio_of_true_masks(folder: Path, file: str, *, order: tuple[int, ...]) -> float | None:
    """Of the label map drawn in the given order, the last label on top."""
    names = {1: "leftMask", 2: "rightMask", 3: "heartMask"}
    labels = np.zeros((512, 512), dtype=np.uint8)
    for value in order:
        with Picture.open(folder / "ManualMask" / names[value] / file) as mask:
            labels[np.asarray(mask).T > 127] = value
    return cardiothoracic_ratio(labels, heart=3, lungs=(1, 2))


@pytest.mark.real_data
def test_true_masks_give_the_ratio_of_the_authors(real_data: Path) -> None:
    folder = real_data / "cxr_wingspan"
    with (folder / "cases.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["ctr_ground_truth"]]
    differences = []
    for row in rows:
        # with the whole heart visible it is the very ratio that was measured from the masks
        whole = ratio_of_true_masks(folder, row["file"], order=(1, 2, 3))
        assert whole == pytest.approx(float(row["ctr_from_masks"]), abs=1e-4)
        lung_wins = ratio_of_true_masks(folder, row["file"], order=(3, 1, 2))
        assert lung_wins is not None
        differences.append(abs(lung_wins - float(row["ctr_ground_truth"])))
    assert np.mean(differences) <= 0.005
