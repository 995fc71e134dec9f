"""Pictures without a place in the patient: PNG, JPEG, TIFF and BMP through Pillow."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from medseg.case import Array, Image
from medseg.errors import ImageError, LabelError
from medseg.intake.checks import unreadable

_EXIF_ORIENTATION = 274
_TIFF_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0


def read_raster(path: Path, *, as_label: bool = False) -> Image:
    """A grey picture ``(X, Y)``: 1, 8 and 16 bits keep their values, spacing unknown.

    Colours are refused (`LabelError` for a mask); a picture stored in colour whose channels are equal is grey. A mask
    with a palette of colours holds their numbers, as in Pascal VOC, where number 0 is black.
    """
    from PIL import Image as Pillow

    errors = (
        *(OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, MemoryError),
        *(struct.error, zlib.error, Pillow.DecompressionBombError),
    )
    with warnings.catch_warnings(), unreadable(path, "a picture", *errors):
        warnings.simplefilter("ignore")  # Pillow warns of odd tags; pixels that cannot be read are an error anyway
        with Pillow.open(path) as picture:
            picture.load()
            _refuse_ambiguous(picture, path)
            if as_label and _is_colour_coded(picture):
                array = np.asarray(picture)
            else:
                array = _grey(picture, path, LabelError if as_label else ImageError)
    return Image(array.T, np.eye(4), path, spacing_known=False)


def _refuse_ambiguous(picture: Any, path: Path) -> None:
    if (pages := getattr(picture, "n_frames", 1)) > 1:
        raise ImageError(f"{path}: several pictures in one file", got=f"{pages} pages", next_step="split its pages")
    if (turn := picture.getexif().get(_EXIF_ORIENTATION, 1)) not in (0, 1):
        raise ImageError(
            f"{path}: asks to be shown turned or mirrored (EXIF orientation)",
            got=turn,
            expected=1,
            next_step="save it the way it is shown, so that left and right are certain",
        )


def _is_colour_coded(picture: Any) -> bool:
    """Whether the numbers of a palette are what counts: it has colours, and its first is the black background."""
    if picture.mode != "P" or "transparency" in picture.info:
        return False
    palette = np.reshape(picture.getpalette("RGB"), (-1, 3))
    return bool((palette[0] == 0).all() and (palette != palette[:, :1]).any())


def _grey(picture: Any, path: Path, error: type[ImageError | LabelError]) -> Array:
    """Rows and columns ``(Y, X)`` of a picture that shows no colour."""
    if picture.mode == "P":
        picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    array = np.asarray(picture)
    if picture.mode in ("1", "L", "F", "I") or picture.mode.startswith("I;16"):
        return _black_is_zero(_narrow(array), picture)
    if picture.mode in ("LA", "RGBA"):
        if (array[..., -1] != 255).any():
            raise error(f"{path}: partly transparent", next_step="save it as a grey picture without an alpha channel")
        array = array[..., :-1]
    if picture.mode not in ("LA", "RGB", "RGBA") or (array != array[..., :1]).any():
        raise error(
            f"{path}: shows colours",
            got=f"mode {picture.mode}",
            expected="grey values",
            next_step="save the values themselves as an 8- or 16-bit grey picture",
        )
    return np.ascontiguousarray(array[..., 0])


def _narrow(array: Array) -> Array:
    """Pillow widens some 16-bit pictures to 32 bits: back to what the file holds."""
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    fits = array.dtype == np.int32 and array.size and array.min() >= 0 and array.max() <= np.iinfo(np.uint16).max
    return array.astype(np.uint16) if fits else array


def _black_is_zero(array: Array, picture: Any) -> Array:
    """Pillow turns 8-bit TIFFs whose zero is white, but leaves 16-bit ones as they are."""
    tags = getattr(picture, "tag_v2", {})
    turned = array.dtype == np.uint16 and tags.get(_TIFF_PHOTOMETRIC) == _WHITE_IS_ZERO
    return np.iinfo(np.uint16).max - array if turned else array
