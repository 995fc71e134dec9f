"""Stored values out of DICOM files, and what they mean: decoding, rescale, padding, polarity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medseg.case import Array
from medseg.errors import ImageError
from medseg.findings import Finding
from medseg.intake.checks import refuse_too_large
from medseg.intake.dicom_header import Header, dicom_errors, uid_name

INVERTED = "MONOCHROME1"
_GREY = (INVERTED, "MONOCHROME2")
_HTJ2K = "1.2.840.10008.1.2.4.20"
_DECODERS = {_HTJ2K: "pip install 'medseg[codecs]' (pylibjpeg-openjpeg)"}
_UNLIKELY_RATIO = 5000
"""No medical image is compressed to less than this part of itself."""
_ALWAYS_FINE_BYTES = 1 << 26


def stored_pixels(header: Header) -> Array:
    """Stored values ``(Y, X)`` or ``(frames, Y, X)``, decoded by GDCM where they are compressed.

    Window and VOI look-up table are for screens and not applied.
    """
    from pydicom import dcmread
    from pydicom.pixels.decoders import gdcm as plugin
    from pydicom.uid import UID, RLELossless

    path = header.path
    refuse_size(header)
    with dicom_errors(path):
        file = dcmread(path)
        syntax = UID(str(file.file_meta.TransferSyntaxUID))
    _refuse_undecodable(path, syntax)
    if not syntax.is_compressed or syntax == RLELossless:
        _refuse_shifted(header)
    with dicom_errors(path, f"DICOM pixels ({uid_name(str(syntax))})", show_message=True):
        file.pixel_array_options(decoding_plugin="gdcm" if plugin.is_available(syntax) else "")
        return np.asarray(file.pixel_array)


def refuse_colour(header: Header) -> None:
    """Refuse what does not hold one grey value per pixel, or turns it into its unit by a table."""
    photometric = str(header.tags.get("PhotometricInterpretation", ""))
    if int(header.tags.get("SamplesPerPixel") or 1) != 1 or photometric not in _GREY:
        raise ImageError(
            f"{header.path}: not a grey image",
            got=f"photometric interpretation {photometric or 'missing'}",
            expected=" or ".join(_GREY),
            next_step="is it a screenshot? Give the original images",
        )
    if header.tags.get("ModalityLUTSequence"):
        raise ImageError(f"{header.path}: its values go through a modality look-up table, which is not supported")


def turned(stored: Array, tags: Any) -> Array:
    """Stored values mirrored in the range of their bits, so that 0 and the highest change places."""
    bits = int(tags.BitsStored)
    total = -1 if int(tags.PixelRepresentation) else (1 << bits) - 1
    return np.asarray(total - stored.astype(np.int64)).astype(stored.dtype)


def scaled(slices: Sequence[Array], scalings: Sequence[tuple[float, float]]) -> Array:
    """Slope * stored + intercept ``(Z, Y, X)``: whole numbers stay integers, the smallest that hold all slices."""
    values = np.empty((len(slices), *slices[0].shape), _unit_dtype(slices, scalings))
    wide = np.int64 if values.dtype.kind in "iu" else np.float64
    for out, stored, (slope, intercept) in zip(values, slices, scalings, strict=True):
        out[:] = stored if (slope, intercept) == (1, 0) else stored.astype(wide) * wide(slope) + wide(intercept)
    return values


def fill_padding(values: Array, slices: Sequence[Array], paddings: Sequence[tuple[int, int] | None]) -> list[Finding]:
    """Give pixels ``(Z, Y, X)`` that were not scanned the lowest value of those that were, in place.

    Parameters
    ----------
    values
        What `scaled` made of `slices`.
    slices
        Stored values ``(Y, X)``.
    paddings
        The stored values that mark padding. They lie beyond all true values; where they do not, nothing is changed.
    """
    if not any(paddings):
        return []
    masks = [_between(stored, ends) for stored, ends in zip(slices, paddings, strict=True)]
    count = sum(int(mask.sum()) for mask in masks)
    real = (stored[~mask] for stored, mask in zip(slices, masks, strict=True))
    ranges = [(int(part.min()), int(part.max())) for part in real if part.size]
    if not count or not ranges:
        return []
    stated = ", ".join(
        sorted({str(ends[0]) if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}" for ends in paddings if ends})
    )
    lowest, highest = min(low for low, _ in ranges), max(high for _, high in ranges)
    if not all(ends is None or ends[1] < lowest or ends[0] > highest for ends in paddings):
        return [_doubtful_padding(stated, lowest, highest, count)]
    fill = min(part[~mask].min() for part, mask in zip(values, masks, strict=True) if not mask.all())
    for part, mask in zip(values, masks, strict=True):
        part[mask] = fill
    return [
        Finding(
            code="pixel-padding",
            severity="note",
            what=f"{count} of {values.size} pixels were not scanned (stored as {stated}) and read as {fill:.6g}",
        )
    ]


def _doubtful_padding(stated: str, lowest: int, highest: int, count: int) -> Finding:
    return Finding(
        code="doubtful-padding",
        severity="warning",
        what="the pixel padding value lies among the values of the image, so it was not applied",
        got=f"padding {stated} in {count} pixels, others from {lowest} to {highest}",
        expected="a value below or above all others",
    )


def _between(stored: Array, ends: tuple[int, int] | None) -> Array:
    if ends is None:
        return np.zeros(stored.shape, bool)
    return np.asarray((stored >= ends[0]) & (stored <= ends[1]))


def _unit_dtype(slices: Sequence[Array], scalings: Sequence[tuple[float, float]]) -> np.dtype[Any]:
    stored = np.result_type(*{s.dtype for s in slices})
    if set(scalings) == {(1.0, 0.0)}:
        return stored
    if stored.kind == "f" or any(slope % 1 or intercept % 1 for slope, intercept in scalings):
        return np.dtype(np.float32)
    ends = [
        int(end) * int(slope) + int(intercept)
        for s, (slope, intercept) in zip(slices, scalings, strict=True)
        for end in (s.min(), s.max())
    ]
    fits = (t for t in (np.int16, np.uint16, np.int32) if np.iinfo(t).min <= min(ends) and max(ends) <= np.iinfo(t).max)
    return np.dtype(next(fits, np.float32))


def refuse_size(header: Header) -> None:
    """Refuse a declared size that its file cannot hold, before memory is taken for it."""
    tags = header.tags
    shape = [int(tags.get(name) or 1) for name in ("NumberOfFrames", "Rows", "Columns", "SamplesPerPixel")]
    itemsize = -(-int(tags.get("BitsAllocated") or 16) // 8)
    declared, held = math.prod(shape) * itemsize, header.path.stat().st_size
    if min(shape) < 1 or declared > max(_ALWAYS_FINE_BYTES, held * _UNLIKELY_RATIO):
        raise ImageError(
            f"{header.path}: the header declares more pixels than the file can hold",
            got=f"{shape[0]} frames of {shape[1]} rows and {shape[2]} columns in {held} bytes",
            next_step="the file is damaged or truncated: copy or export it again",
        )
    refuse_too_large(math.prod(shape), itemsize, header.path)


def _refuse_shifted(header: Header) -> None:
    """Refuse values that do not begin at the lowest bit, as old files may have it: pydicom would cut off others."""
    stored, high = (header.tags.get(name) for name in ("BitsStored", "HighBit"))
    if stored and high not in (None, "") and int(high) != int(stored) - 1:
        raise ImageError(
            f"{header.path}: its values do not begin at the lowest bit of their pixels",
            got=f"HighBit {high} of BitsStored {stored}",
            expected=f"HighBit {int(stored) - 1}",
            next_step="export it again",
        )


def _refuse_undecodable(path: Path, syntax: Any) -> None:
    from pydicom.pixels import get_decoder

    name = uid_name(str(syntax))
    try:
        if not syntax.is_compressed or syntax.is_deflated:
            return
        decoder = get_decoder(syntax)
    except (NotImplementedError, ValueError) as error:
        raise ImageError(
            f"{path}: no decoder exists for its transfer syntax",
            got=f"{name} ({syntax})",
            next_step="export it uncompressed or in JPEG 2000",
        ) from error
    if not decoder.is_available:
        missing = "; ".join(decoder.missing_dependencies)
        package = next((text for start, text in _DECODERS.items() if str(syntax).startswith(start)), missing)
        raise ImageError(f"{path}: the decoder of its transfer syntax is not installed", got=name, next_step=package)
