"""Tiles with translucent labels, contours and letters, put side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

from medseg.case import Array, LabelArray
from medseg.pictures.colours import Rgb, label_colour, paint

GAP_PX = 8
LINE_PX = 2
FONT_PX = 16
_OPACITY = 0.3
_WHITE: Rgb = (255, 255, 255)
_BLACK: Rgb = (0, 0, 0)


def fit_grey(grey: NDArray[np.uint8], size_px: tuple[int, int]) -> NDArray[np.uint8]:
    """Grey picture ``(H, W)`` resized smoothly to (width, height), as colours ``(height, width, 3)``."""
    resized = Picture.fromarray(np.ascontiguousarray(grey)).resize(size_px, Picture.Resampling.BICUBIC)
    return np.repeat(np.asarray(resized)[..., None], 3, axis=2)


def fit_labels(labels: LabelArray, size_px: tuple[int, int]) -> LabelArray:
    """Label map ``(H, W)`` resized to (width, height) by the nearest value: no label is ever mixed."""
    rows, columns = ((np.arange(n) + 0.5) * m / n for n, m in zip(size_px[::-1], labels.shape, strict=True))
    return np.asarray(labels[np.ix_(rows.astype(np.intp), columns.astype(np.intp))])


def contour(labels: LabelArray, width_px: int = LINE_PX) -> NDArray[np.bool_]:
    """Rim of each label ``(H, W)``, drawn inside it, also where two labels touch."""
    rim = np.zeros(labels.shape, dtype=bool)
    for axis in (0, 1):
        for step in range(1, width_px + 1):
            if labels.shape[axis] > step:
                ahead, behind = np.arange(step, labels.shape[axis]), np.arange(labels.shape[axis] - step)
                differs = labels.take(ahead, axis) != labels.take(behind, axis)
                for where in (ahead, behind):
                    rim[(slice(None),) * axis + (where,)] |= differs
    return rim & (labels > 0)


def overlay(picture: NDArray[np.uint8], labels: LabelArray, *, line_px: int = LINE_PX) -> NDArray[np.uint8]:
    """Colours ``(H, W, 3)`` with the labels ``(H, W)`` laid over: translucent inside, solid along their rim."""
    colours = paint(labels)
    mixed = ((1 - _OPACITY) * picture + _OPACITY * colours).astype(np.uint8)
    result = np.where((labels > 0)[..., None], mixed, picture)
    return np.where(contour(labels, line_px)[..., None], colours, result)


def two_contours(
    picture: NDArray[np.uint8], first: LabelArray, second: LabelArray, colours: Sequence[Rgb]
) -> NDArray[np.uint8]:
    """Colours ``(H, W, 3)`` with the rims of two label maps; the colours are for the first, the second, and both."""
    rim_a, rim_b = contour(first), contour(second)
    result = picture.copy()
    for rim, colour in zip((rim_a, rim_b, rim_a & rim_b), colours, strict=True):
        result[rim] = colour
    return result


def write_letters(picture: NDArray[np.uint8], letters: str) -> NDArray[np.uint8]:
    """Colours ``(H, W, 3)`` with a letter at the middle of the left, right, top and bottom border."""
    if not letters:
        return picture
    tile = Picture.fromarray(picture)
    draw, font = ImageDraw.Draw(tile), ImageFont.load_default(FONT_PX)
    width, height = tile.size
    places = ((4, height / 2, "lm"), (width - 4, height / 2, "rm"), (width / 2, 3, "mt"), (width / 2, height - 4, "mb"))
    for letter, (x, y, anchor) in zip(letters, places, strict=True):
        draw.text((x, y), letter, _WHITE, font, anchor, stroke_width=2, stroke_fill=_BLACK)
    return np.asarray(tile)


def text_line(entries: Sequence[tuple[str, Rgb | None]], width_px: int) -> Picture.Image:
    """Texts one after the other on black, wrapped to the width, each behind a square of its colour, if it has one."""
    font, x, y, step = ImageFont.load_default(FONT_PX), GAP_PX, 4, FONT_PX + 8
    places: list[tuple[int, int]] = []
    for text, colour in entries:
        needed = round(font.getlength(text)) + (FONT_PX + 4 if colour else 0) + 3 * GAP_PX
        if x > GAP_PX and x + needed - 2 * GAP_PX > width_px:
            x, y = GAP_PX, y + step
        places.append((x, y))
        x += needed
    line = Picture.new("RGB", (width_px, y + step))
    draw = ImageDraw.Draw(line)
    for (text, colour), (left, top) in zip(entries, places, strict=True):
        if colour:
            draw.rectangle((left, top + 2, left + FONT_PX - 2, top + FONT_PX), fill=colour)
        draw.text((left + (FONT_PX + 4 if colour else 0), top), text, _WHITE, font)
    return line


def title_line(titles: Sequence[str], cell_px: int) -> NDArray[np.uint8]:
    """A title over the middle of each of the cells that `beside` makes."""
    line = Picture.new("RGB", (len(titles) * (cell_px + GAP_PX) - GAP_PX, FONT_PX + GAP_PX))
    draw, font = ImageDraw.Draw(line), ImageFont.load_default(FONT_PX)
    for place, title in enumerate(titles):
        draw.text((place * (cell_px + GAP_PX) + cell_px / 2, 4), title, _WHITE, font, "mt")
    return np.asarray(line)


def beside(tiles: Sequence[Array], *, cell_px: int = 0) -> NDArray[np.uint8]:
    """Tiles ``(H, W, 3)`` in a row on black, each in the middle of a cell at least `cell_px` wide."""
    height, widths = max(tile.shape[0] for tile in tiles), [max(cell_px, tile.shape[1]) for tile in tiles]
    row = np.zeros((height, sum(widths) + GAP_PX * (len(tiles) - 1), 3), dtype=np.uint8)
    left = 0
    for tile, width in zip(tiles, widths, strict=True):
        top, start = (height - tile.shape[0]) // 2, left + (width - tile.shape[1]) // 2
        row[top : top + tile.shape[0], start : start + tile.shape[1]] = tile
        left += width + GAP_PX
    return row


def below(rows: Sequence[Array]) -> NDArray[np.uint8]:
    """Rows ``(H, W, 3)`` one under the other on black, from the left border."""
    width = max(row.shape[1] for row in rows)
    page = np.zeros((sum(r.shape[0] for r in rows) + GAP_PX * (len(rows) - 1), width, 3), dtype=np.uint8)
    top = 0
    for row in rows:
        page[top : top + row.shape[0], : row.shape[1]] = row
        top += row.shape[0] + GAP_PX
    return page


def legend_entries(present: Sequence[int], names: Mapping[int, str] | None) -> list[tuple[str, Rgb | None]]:
    """A square and a name for each label that is there; nothing where no names are given."""
    return [(names.get(i, f"label {i}"), label_colour(i)) for i in present if i] if names else []
