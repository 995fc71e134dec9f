"""The pictures that people look at: a preview, a comparison with the truth, a panel for TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from medseg.case import Array, Image, LabelArray
from medseg.pictures.canvas import (
    below,
    beside,
    fit_grey,
    fit_labels,
    legend_entries,
    overlay,
    text_line,
    title_line,
    two_contours,
    write_letters,
)
from medseg.pictures.colours import Rgb
from medseg.pictures.grey import Window, choose_window, grey_levels
from medseg.pictures.planes import View, central, fullest, views_of

_PREVIEW_PX = {2: 768, 3: 448}
_COMPARISON_PX = {2: 448, 3: 320}
_LINES: dict[str, Rgb] = {
    "contour of truth": (240, 228, 66),
    "of prediction": (255, 64, 208),
    "of both": (255, 255, 255),
}
_TRAINING_PX = 256
_COLUMNS = ("image", "truth", "prediction", "contours")


def preview(
    image: Image,
    labels: Image,
    *,
    label_names: Mapping[int, str] | None = None,
    window_hu: tuple[float, float] | None = None,
) -> Picture.Image:
    """The image in grey with its labels in colour: a picture as it is, a volume in three planes.

    The planes go through the labels' centre of mass (the middle of the volume where nothing is labelled), in
    radiological display: the patient's right on the left of the picture, anterior up, head up; letters tell the sides.

    Parameters
    ----------
    image, labels
        ``(C, X, Y[, Z])``, of which the first channel is shown, and the label map ``(X, Y[, Z])`` on its grid.
    label_names
        Names for a legend of the labels that are shown; none, no legend.
    window_hu
        Lowest and highest value shown; by default a lung or soft tissue window for CT, by what is labelled, and the
        1st to 99th percentile for all else.
    """
    window = Window(*window_hu, "window") if window_hu else choose_window(image, labels.array)
    views = views_of(image, [labels.array], choose=central, long_side_px=_PREVIEW_PX[labels.array.ndim])
    tiles = [write_letters(_overlaid(view, 0, window), view.letters) for view in views]
    row = beside(tiles)
    entries = legend_entries(_shown_labels(views), label_names)
    return _with_text(row, [*entries, *_window_text(window)])


def comparison(
    image: Image,
    truth: Image,
    prediction: Image,
    *,
    label_names: Mapping[int, str] | None = None,
    window_hu: tuple[float, float] | None = None,
) -> Picture.Image:
    """Image | truth | prediction | contours of both on the image; of a volume one such row per plane.

    The planes of a volume are those with most truth (with most prediction where the truth is empty). Contours are
    yellow for the truth, magenta for the prediction, white where both run through one pixel. Parameters: `preview`.
    """
    window = Window(*window_hu, "window") if window_hu else choose_window(image, truth.array)
    maps = [truth.array, prediction.array]
    views = views_of(image, maps, choose=fullest, long_side_px=_COMPARISON_PX[truth.array.ndim])
    cell = max(view.size_px[0] for view in views)
    titles = title_line(_COLUMNS, cell)
    page = below([titles, *(_comparison_row(view, window, cell) for view in views)])
    legend = list[tuple[str, Rgb | None]](_LINES.items())
    return _with_text(page, [*legend, *legend_entries(_shown_labels(views), label_names), *_window_text(window)])


def training_panel(
    image: Array, truth: LabelArray, prediction: LabelArray, *, orientation: str = "RAS"
) -> NDArray[np.uint8]:
    """Input, truth, prediction and the contours of both side by side for TensorBoard; of a volume three planes as rows.

    The planes of a volume are those with most truth. Contours are coloured as in `comparison`.

    Parameters
    ----------
    image
        One channel ``(X, Y[, Z])`` as the network sees it.
    truth, prediction
        Label maps of the same shape.
    orientation
        Towards which sides of the patient the axes of a volume run.

    Returns
    -------
    numpy.ndarray
        ``(H, W, 3)`` uint8; one pixel per voxel, small inputs enlarged by a whole number, under a line of titles.
    """
    shown = Image(np.asarray(image)[None], _unit_affine(orientation), Path("training"), "OT")
    window = choose_window(shown, truth)
    views = views_of(shown, [truth, prediction], choose=fullest, long_side_px=max(image.shape))
    factor = max(1, _TRAINING_PX // max(image.shape))
    cell = factor * max(view.values.shape[1] for view in views)
    rows = [_training_row(view, window, factor, cell) for view in views]
    return below([title_line(_COLUMNS, cell), *rows])


def _shown_labels(views: Sequence[View]) -> list[int]:
    """Label values that stand in the planes shown, sorted; searching the whole volume would take a second."""
    return sorted({int(value) for view in views for labels in view.labels for value in np.unique(labels)})


def _overlaid(view: View, which: int, window: Window) -> NDArray[np.uint8]:
    grey = fit_grey(grey_levels(view.values, window), view.size_px)
    return overlay(grey, fit_labels(view.labels[which], view.size_px))


def _comparison_row(view: View, window: Window, cell_px: int) -> NDArray[np.uint8]:
    grey = fit_grey(grey_levels(view.values, window), view.size_px)
    truth, prediction = (fit_labels(labels, view.size_px) for labels in view.labels)
    lines = two_contours(grey, truth, prediction, list(_LINES.values()))
    tiles = (grey, overlay(grey, truth), overlay(grey, prediction), lines)
    return beside([write_letters(tile, view.letters) for tile in tiles], cell_px=cell_px)


def _training_row(view: View, window: Window, factor: int, cell_px: int) -> NDArray[np.uint8]:
    grey = np.repeat(_enlarged(grey_levels(view.values, window), factor)[..., None], 3, axis=2)
    truth, prediction = (_enlarged(labels, factor) for labels in view.labels)
    lines = two_contours(grey, truth, prediction, list(_LINES.values()))
    return beside([grey, overlay(grey, truth), overlay(grey, prediction), lines], cell_px=cell_px)


def _enlarged(plane: Array, factor: int) -> Array:
    return plane.repeat(factor, axis=0).repeat(factor, axis=1)


def _window_text(window: Window) -> list[tuple[str, Rgb | None]]:
    if not window.name:
        return []
    return [(f"{window.name}: {window.low:g} to {window.high:g} HU", None)]


def _with_text(page: NDArray[np.uint8], entries: list[tuple[str, Rgb | None]]) -> Picture.Image:
    return Picture.fromarray(below([page, np.asarray(text_line(entries, page.shape[1]))]) if entries else page)


def _unit_affine(orientation: str) -> NDArray[np.float64]:
    """Affine of 1 mm voxels whose axes run towards the sides that `orientation` names."""
    affine = np.zeros((4, 4))
    for axis, letter in enumerate(orientation):
        world = next(i for i, pair in enumerate(("LR", "PA", "IS")) if letter in pair)
        affine[world, axis] = 1.0 if letter in "RAS" else -1.0
    affine[3, 3] = 1.0
    return affine
