"""Pictures show what they say: sides of the patient, proportions, colours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medseg.case import Image
from medseg.geometry import reorient
from medseg.pictures import colour_labels, comparison, label_colour, preview, training_panel
from medseg.pictures.canvas import contour, fit_labels
from medseg.pictures.grey import LUNG, SOFT_TISSUE, Window, choose_window, grey_levels
from medseg.pictures.planes import central, fullest, views_of

SHAPE = (8, 6, 4)


def volume(array, affine=None, modality=None) -> Image:
    affine = np.diag([1.0, 1.0, 2.0, 1.0]) if affine is None else affine
    return Image(np.asarray(array)[None], affine, Path("a"), modality)


def marked(x, y, z) -> np.ndarray:
    array = np.zeros(SHAPE, dtype=np.uint8)
    array[x, y, z] = 1
    return array


def centre_of(picture: np.ndarray) -> tuple[float, float]:
    """Row and column of the coloured pixels, as fractions of the height and width."""
    coloured = picture.max(axis=2).astype(int) - picture.min(axis=2) > 40
    rows, columns = np.nonzero(coloured)
    return rows.mean() / picture.shape[0], columns.mean() / picture.shape[1]


@pytest.mark.parametrize("code", ["RAS", "LPS", "LPI", "SRA", "PIR"])
def test_three_planes_are_in_radiological_display_however_the_voxels_are_stored(code) -> None:
    # in RAS the block lies at the patient's right end of X, anterior end of Y, and head end of Z
    block = marked(slice(6, 8), slice(4, 6), slice(3, 4))
    stored = reorient(Image(block, np.diag([1.0, 1.0, 2.0, 1.0]), Path("a")), code)
    views = views_of(replace(stored, array=stored.array[None]), [stored.array], choose=central, long_side_px=64)
    axial, coronal, sagittal = (view.labels[0] for view in views)
    # right on the left of the picture, anterior on top; head on top; anterior on the left
    assert np.argwhere(axial).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert np.argwhere(coronal).tolist() == [[0, 0], [0, 1]]
    assert np.argwhere(sagittal).tolist() == [[0, 0], [0, 1]]
    assert [view.letters for view in views] == ["RLAP", "RLHF", "APHF"]


def test_letters_and_blocks_stand_on_the_sides_that_the_affine_names() -> None:
    image = volume(np.zeros(SHAPE, dtype=np.float32))
    page = np.asarray(preview(image, Image(marked(slice(6, 8), slice(4, 6), slice(0, 4)), image.affine, Path("a"))))
    axial = page[:, : page.shape[1] // 3]
    _, column = centre_of(axial)
    assert column < 0.3  # the patient's right is on the left


def test_planes_are_drawn_with_the_voxels_proportions() -> None:
    image = volume(np.zeros(SHAPE, dtype=np.float32), np.diag([1.0, 2.0, 4.0, 1.0]))
    views = views_of(image, [marked(0, 0, 0)], choose=fullest, long_side_px=160)
    # 8 x 12 x 16 mm: (width, height) of axial, coronal, sagittal
    ratios = [width / height for width, height in (view.size_px for view in views)]
    assert ratios == pytest.approx([8 / 12, 8 / 16, 12 / 16], rel=0.02)


@pytest.mark.parametrize(
    ("choose", "expected"),
    [pytest.param(central, 3, id="centre-of-mass"), pytest.param(fullest, 5, id="fullest")],
)
def test_plane_chosen_along_an_axis(choose, expected) -> None:
    labels = np.zeros((8, 2, 2), dtype=np.uint8)
    labels[0:5, 0, :], labels[5] = 1, 1  # 2 voxels in planes 0 to 4, 4 in plane 5: the mean is 40 / 14 = 2.9
    assert choose(labels, 0) == expected


def test_two_lungs_are_not_cut_between_them() -> None:
    labels = np.zeros((9, 2, 2), dtype=np.uint8)
    labels[0:3], labels[6:9] = 1, 2
    assert central(labels, 0) in (0, 1, 2, 6, 7, 8)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (5, 7, 1)])
def test_empty_labels_still_give_pictures_of_the_middle(shape) -> None:
    image = Image(np.random.default_rng(0).normal(size=(1, *shape)), np.eye(4), Path("a"))
    empty = Image(np.zeros(shape, dtype=np.uint8), np.eye(4), Path("a"))
    for picture in (preview(image, empty, label_names={1: "lung"}), comparison(image, empty, empty)):
        assert picture.mode == "RGB"
        assert picture.width > 100


def test_a_picture_is_drawn_with_x_to_the_right_and_y_downwards() -> None:
    labels = np.zeros((10, 10), dtype=np.uint8)
    labels[7:9, 1:3] = 1
    image = Image(np.zeros((1, 10, 10)), np.eye(4), Path("a.png"), spacing_known=False)
    row, column = centre_of(np.asarray(preview(image, replace(image, array=labels))))
    assert (row, column) == (pytest.approx(0.2, abs=0.02), pytest.approx(0.8, abs=0.02))


def test_comparison_shows_truth_and_prediction_in_their_own_columns() -> None:
    image = Image(np.zeros((1, 20, 20)), np.eye(4), Path("a.png"), spacing_known=False)
    truth, prediction = np.zeros((20, 20), dtype=np.uint8), np.zeros((20, 20), dtype=np.uint8)
    truth[2:6, 2:6], prediction[12:18, 12:18] = 1, 1
    page = np.asarray(comparison(image, replace(image, array=truth), replace(image, array=prediction)))
    columns = np.array_split(page[:-40], 4, axis=1)
    assert (columns[0].max(axis=2) == columns[0].min(axis=2)).all()
    assert max(centre_of(columns[1])) < 0.4
    assert min(centre_of(columns[2])) > 0.6
    colours = {tuple(c) for c in columns[3].reshape(-1, 3).tolist()}
    assert {(240, 228, 66), (255, 64, 208)} <= colours


def test_training_panel_is_image_truth_prediction_contours_in_a_row() -> None:
    image = np.linspace(0, 1, 300 * 300, dtype=np.float32).reshape(300, 300)
    truth, prediction = np.zeros((300, 300), dtype=np.int64), np.zeros((300, 300), dtype=np.int64)
    truth[100:200, 100:200], prediction[220:280, 220:280] = 1, 1
    panel = training_panel(image, truth, prediction)
    height = panel.shape[0]
    assert (panel.dtype, panel.shape[1]) == (np.uint8, 4 * 300 + 3 * 8)
    panel = panel[height - 300 :]  # without the titles
    columns = [panel[:, start : start + 300] for start in (0, 308, 616, 924)]
    coloured = [column.max(axis=2).astype(int) - column.min(axis=2) > 10 for column in columns]
    assert not coloured[0].any()
    assert coloured[1].sum() == pytest.approx(100 * 100, rel=0.01)
    assert coloured[2].sum() == pytest.approx(60 * 60, rel=0.01)
    colours = {tuple(colour) for colour in columns[3][coloured[3]].tolist()}
    assert colours == {(240, 228, 66), (255, 64, 208)}  # yellow is the truth, magenta the prediction


def test_training_panel_of_a_volume_has_three_planes_large_enough_to_see() -> None:
    image = np.random.default_rng(0).normal(size=(16, 12, 10)).astype(np.float32)
    labels = np.zeros(image.shape, dtype=np.int64)
    height, width, channels = training_panel(image, labels, labels).shape
    assert (width, channels) == (16 * 4 * 16 + 3 * 8, 3)
    titles = height - 16 * (12 + 10 + 10) - 3 * 8
    assert 0 < titles < 60


def test_training_panel_shows_the_planes_with_most_truth() -> None:
    labels = np.zeros((16, 12, 10), dtype=np.int64)
    labels[1:4, 1:4, 1] = 1  # far from the middle of each axis
    panel = training_panel(np.zeros(labels.shape, dtype=np.float32), labels, np.zeros_like(labels))
    rows = [panel[-16 * 10 :], panel[-16 * 20 - 8 : -16 * 10 - 8], panel[: -16 * 20 - 16]]
    for row in rows:
        assert (row.max(axis=2).astype(int) - row.min(axis=2) > 60).any()


def test_first_labels_have_colours_far_apart_and_later_ones_some_of_their_own() -> None:
    colours = [label_colour(i) for i in range(41)]
    assert colours[0] == (0, 0, 0)
    assert len(set(colours)) == 41
    first = np.array(colours[:8], dtype=int)
    distances = np.abs(first[:, None] - first[None]).sum(axis=2)[~np.eye(8, dtype=bool)]
    assert distances.min() > 80


def test_colour_preview_of_a_label_map() -> None:
    picture = colour_labels(np.array([[0, 1], [2, 2], [0, 0]], dtype=np.uint8))
    assert picture.size == (3, 2)
    assert [picture.getpixel((0, 1)), picture.getpixel((1, 0))] == [label_colour(1), label_colour(2)]


@pytest.mark.parametrize(
    ("inside", "modality", "expected"),
    [
        pytest.param(-800, None, LUNG, id="lung"),
        pytest.param(40, None, SOFT_TISSUE, id="soft-tissue"),
        pytest.param(40, "MR", None, id="not-ct"),
    ],
)
def test_window_follows_what_is_labelled(inside, modality, expected) -> None:
    values = np.full(SHAPE, -1000.0)
    values[4:], values[:2] = 300.0, inside
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[:2] = 1
    window = choose_window(volume(values, modality=modality), labels)
    assert window == (expected or Window(-1000.0, 300.0))


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_a_constant_image_has_grey_levels_too(value) -> None:
    image = volume(np.full(SHAPE, value))
    levels = grey_levels(image.array, choose_window(image, np.zeros(SHAPE, dtype=np.uint8)))
    assert levels.dtype == np.uint8


def test_grey_levels_by_hand() -> None:
    assert grey_levels(np.array([-160, 40, 240, 3000]), SOFT_TISSUE).tolist() == [0, 128, 255, 255]


def test_contour_lies_inside_each_label() -> None:
    labels = np.zeros((5, 6), dtype=np.uint8)
    labels[1:4, 1:4], labels[1:4, 4] = 1, 2
    rim = contour(labels, 1)
    assert rim.astype(int).tolist() == [
        [0, 0, 0, 0, 0, 0],
        [0, 1, 1, 1, 1, 0],
        [0, 1, 0, 1, 1, 0],
        [0, 1, 1, 1, 1, 0],
        [0, 0, 0, 0, 0, 0],
    ]


def test_labels_are_resized_without_mixing() -> None:
    assert fit_labels(np.array([[1, 3]]), (4, 2)).tolist() == [[1, 1, 3, 3], [1, 1, 3, 3]]


@pytest.mark.real_data
def test_left_lung_is_on_the_right_of_an_x_ray_preview(real_data: Path) -> None:
    from PIL import Image as Picture

    folder = real_data / "cxr_wingspan"
    with Picture.open(folder / "CXR_png" / "WSCXR_0001.png") as picture:
        pixels = np.asarray(picture.convert("L")).T
    with Picture.open(folder / "ManualMask" / "leftMask" / "WSCXR_0001.png") as mask:
        left = (np.asarray(mask).T > 127).astype(np.uint8)
    image = Image(pixels[None], np.eye(4), Path("a.png"), "CR", spacing_known=False)
    _, column = centre_of(np.asarray(preview(image, replace(image, array=left))))
    assert column > 0.5
