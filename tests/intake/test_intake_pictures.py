"""PNG, JPEG, TIFF, BMP: grey values as stored, X along the columns, and no colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from medseg.errors import ImageError, LabelError
from medseg.intake import read_image, read_label

GREY = np.array([[0, 10, 20], [30, 40, 255]], np.uint8)  # (Y 2, X 3)


def save(path: Path, array: np.ndarray, **options: object) -> Path:
    Pillow.fromarray(array).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".bmp", ".PNG"])
def test_x_runs_along_the_columns(tmp_path: Path, suffix: str) -> None:
    image = read_image(save(tmp_path / f"a{suffix}", GREY))
    assert image.array.shape == (1, 3, 2)
    assert image.array.dtype == np.uint8
    assert image.array[0, 2, 1] == 255
    assert image.array[0, 1, 0] == 10
    np.testing.assert_array_equal(image.affine, np.eye(4))
    assert not image.spacing_known


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_stay_sixteen(tmp_path: Path, suffix: str) -> None:
    values = np.array([[0, 256, 65535], [1, 2, 40000]], np.uint16)
    image = read_image(save(tmp_path / f"a{suffix}", values))
    assert image.array.dtype == np.uint16
    np.testing.assert_array_equal(image.array[0], values.T)


def test_sixteen_bit_tiff_whose_zero_is_white_is_turned(tmp_path: Path) -> None:
    values = np.array([[0, 65535]], np.uint16)
    path = save(tmp_path / "a.tif", values)
    data = path.read_bytes()
    entry = np.array([262, 3], "<u2").tobytes() + np.array([1, 1], "<u4").tobytes()  # photometric: black is zero
    assert data.count(entry) == 1
    path.write_bytes(data.replace(entry, entry[:8] + np.array([0], "<u4").tobytes()))
    np.testing.assert_array_equal(read_image(path).array[0].ravel(), [65535, 0])


def test_grey_jpeg_and_grey_in_colour_are_grey(tmp_path: Path) -> None:
    ramp = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (16, 1))
    grey = read_image(save(tmp_path / "grey.jpg", ramp, quality=95)).array
    colour = read_image(save(tmp_path / "colour.jpeg", np.stack([ramp] * 3, -1), quality=95)).array
    assert grey.shape == colour.shape == (1, 64, 16)
    assert np.abs(grey.astype(int) - ramp.T).max() <= 4


@pytest.mark.parametrize("channels", [2, 3, 4], ids=["LA", "RGB", "RGBA"])
def test_equal_channels_with_opaque_alpha_are_grey(tmp_path: Path, channels: int) -> None:
    opaque = np.full_like(GREY, 255)
    layers = [GREY] * (3 if channels > 2 else 1) + ([opaque] if channels != 3 else [])
    image = read_image(save(tmp_path / "a.png", np.stack(layers, -1)))
    np.testing.assert_array_equal(image.array[0], GREY.T)


def colour_pictures() -> dict[str, Pillow.Image]:
    red = np.stack([GREY, GREY * 0, GREY], -1)
    palette = Pillow.fromarray(GREY % 4, "L").convert("P")
    palette.putpalette([9, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    clear = np.stack([GREY, GREY, GREY, np.full_like(GREY, 128)], -1)
    return {
        "rgb": Pillow.fromarray(red),
        "palette": palette,
        "transparent": Pillow.fromarray(clear),
        "cmyk": Pillow.fromarray(red).convert("CMYK"),
    }


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", ["rgb", "palette", "transparent", "cmyk"])
def test_colours_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / ("a.tif" if name == "cmyk" else "a.png")
    colour_pictures()[name].save(path)
    with pytest.raises(ImageError, match=r"a\.(png|tif).*(colours|transparent)"):
        read_image(path)
    with pytest.raises(LabelError, match=r"a\.(png|tif).*(colours|transparent)"):
        read_label(path)


def test_one_bit_masks_are_zero_and_one(tmp_path: Path) -> None:
    Pillow.fromarray(GREY > 25).save(tmp_path / "a.png")
    label = read_label(tmp_path / "a.png")
    assert label.array.dtype == np.uint8
    np.testing.assert_array_equal(label.array, [[0, 1], [0, 1], [0, 1]])


def test_eight_bit_masks_keep_their_values_and_may_be_empty(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_label(save(tmp_path / "a.png", GREY)).array, GREY.T)
    assert not read_label(save(tmp_path / "empty.png", GREY * 0)).array.any()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp"])
@pytest.mark.parametrize("keep", [0.0, 0.02, 0.6])
def test_truncated_pictures_are_refused(tmp_path: Path, suffix: str, keep: float) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)
    path = save(tmp_path / f"a{suffix}", noise)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(ImageError, match=rf"a\{suffix}"):
        read_image(path)


def test_constant_pages_and_turned_photographs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="same value"):
        read_image(save(tmp_path / "flat.png", GREY * 0))
    pages = [Pillow.fromarray(GREY), Pillow.fromarray(GREY)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(ImageError, match="2 pages"):
        read_image(tmp_path / "pages.tif")
    exif = Pillow.Exif()
    exif[274] = 6
    with pytest.raises(ImageError, match=r"EXIF orientation.*got 6"):
        read_image(save(tmp_path / "turned.jpg", GREY, exif=exif))


def test_a_mask_with_a_palette_of_colours_holds_its_numbers(tmp_path: Path) -> None:
    """As in Pascal VOC; where number 0 is another colour than black it may not be the background."""
    numbers = np.array([[0, 1], [2, 0]], dtype=np.uint8)
    for name, first in (("voc", (0, 0, 0)), ("green", (0, 255, 0))):
        picture = Pillow.fromarray(numbers).convert("P")
        picture.putpalette([*first, 128, 0, 0, 0, 128, 0, *[9, 9, 9] * 253])
        picture.putdata(numbers.ravel())
        picture.save(tmp_path / f"{name}.png")
    assert np.array_equal(read_label(tmp_path / "voc.png").array, numbers.T)
    with pytest.raises(ImageError, match="shows colours"):
        read_image(tmp_path / "voc.png")
    with pytest.raises(LabelError, match="shows colours"):
        read_label(tmp_path / "green.png")
