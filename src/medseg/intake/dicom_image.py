"""DICOM into images: a series of slices, a single slice or X-ray, an enhanced multi-frame file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medseg.case import Array, Image
from medseg.errors import GeometryError, ImageError
from medseg.intake.dicom_frames import frame_planes
from medseg.intake.dicom_grid import Plane, place
from medseg.intake.dicom_header import Header, dicom_errors, plane_of, read_header, rescale, uid_name

_INVERTED = "MONOCHROME1"
_GREY = (_INVERTED, "MONOCHROME2")


def read_dicom(path: Path) -> Image:
    """A DICOM file, or the folder of one series: volume ``(X, Y, Z)`` or, for X-rays, picture ``(X, Y)``."""
    if path.is_dir():
        return _read_folder(path)
    header = read_header(path)
    if header.kind == "other":
        raise _no_image(path, header)
    _refuse_colour(header)
    if header.kind == "picture":
        return _read_picture(header)
    return _read_frames(header) if header.kind == "frames" else _read_slices([header], path)


def series_headers(folder: Path) -> list[Header]:
    """Headers of the DICOM images directly in `folder`, by file name; objects without an image are left out."""
    from medseg.intake.files import is_dicom

    files = sorted(f for f in folder.iterdir() if not f.name.startswith(".") and is_dicom(f))
    headers = [read_header(file) for file in files]
    return [header for header in headers if header.kind != "other"]


def _read_folder(folder: Path) -> Image:
    headers = series_headers(folder)
    if not headers:
        raise ImageError(f"{folder}: the folder holds no DICOM images", expected="the slices of one series")
    uids = sorted({header.series for header in headers})
    if len(uids) > 1:
        raise ImageError(
            f"{folder}: more than one series in the folder",
            got=f"{len(uids)} SeriesInstanceUIDs: {', '.join(uids)}",
            expected="one series",
            next_step="put each series into a folder of its own",
        )
    kinds = {header.kind for header in headers}
    if len(headers) == 1 and kinds != {"slice"}:
        return read_dicom(headers[0].path)
    if kinds != {"slice"}:
        raise ImageError(
            f"{folder}: the folder holds several images, not the slices of one volume",
            got=f"{len(headers)} files of kind {', '.join(sorted(kinds))}",
            next_step="give one of the files",
        )
    return _read_slices(headers, folder)


def _read_slices(headers: Sequence[Header], source: Path) -> Image:
    for header in headers:
        _refuse_colour(header)
    planes, affine = place([plane_of(header, i) for i, header in enumerate(headers)], source)
    array = _stack(planes, lambda plane: _pixels(headers[plane.index].path))
    return Image(array, affine, source, headers[0].modality)


def _read_frames(header: Header) -> Image:
    planes, affine = place(frame_planes(header), header.path)
    frames = _pixels(header.path)
    if frames.ndim == 2:
        frames = frames[None]
    if len(frames) != len(planes):
        raise ImageError(f"{header.path}: frames are missing", got=len(frames), expected=len(planes))
    return Image(_stack(planes, lambda plane: frames[plane.index]), affine, header.path, header.modality)


def _read_picture(header: Header) -> Image:
    """An X-ray with its white as the highest value: MONOCHROME1 is turned here and nowhere else."""
    with dicom_errors(header.path):
        slope, intercept = rescale(header.tags)
        spacing = _picture_spacing(header.tags)
    stored = _pixels(header.path)
    if header.tags.get("PhotometricInterpretation") == _INVERTED:
        stored = _turned(stored, header.tags)
    array = _scaled([stored], [(slope, intercept)])[0].T
    x_mm, y_mm = spacing or (1.0, 1.0)
    if not (np.isfinite([x_mm, y_mm]).all() and min(x_mm, y_mm) > 0):
        raise GeometryError(f"{header.path}: invalid pixel spacing", got=f"{(x_mm, y_mm)} mm", expected="above 0")
    return Image(array, np.diag([x_mm, y_mm, 1.0, 1.0]), header.path, header.modality, spacing is not None)


def _turned(stored: Array, tags: Any) -> Array:
    """Stored values mirrored in the range of their bits, so that 0 and the highest change places."""
    bits = int(tags.BitsStored)
    total = -1 if int(tags.PixelRepresentation) else (1 << bits) - 1
    return np.asarray(total - stored.astype(np.int64)).astype(stored.dtype)


def _picture_spacing(tags: Any) -> tuple[float, float] | None:
    """Pixel spacing along X and Y in mm: in the patient, else at the detector, else None."""
    for name in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        if tags.get(name):
            rows_mm, columns_mm = tags.get(name)
            return float(columns_mm), float(rows_mm)
    return None


def _pixels(path: Path) -> Array:
    """Stored values ``(Y, X)`` or ``(frames, Y, X)``, decoded by GDCM where they are compressed."""
    from pydicom import dcmread
    from pydicom.pixels.decoders import gdcm as plugin

    with dicom_errors(path):
        file = dcmread(path)
        syntax = file.file_meta.TransferSyntaxUID
    with dicom_errors(path, f"DICOM pixels ({uid_name(str(syntax))})", show_message=True):
        file.pixel_array_options(decoding_plugin="gdcm" if plugin.is_available(syntax) else "")
        return np.asarray(file.pixel_array)


def _stack(planes: Sequence[Plane], pixels: Callable[[Plane], Array]) -> Array:
    """Volume ``(X, Y, Z)`` in its unit from the stored values of each plane."""
    slices = [pixels(plane) for plane in planes]
    return _scaled(slices, [(plane.slope, plane.intercept) for plane in planes]).T


def _scaled(slices: Sequence[Array], scalings: Sequence[tuple[float, float]]) -> Array:
    """Slope * stored + intercept ``(Z, Y, X)``: whole numbers stay integers, the smallest that hold all slices."""
    scaled = np.empty((len(slices), *slices[0].shape), _unit_dtype(slices, scalings))
    wide = np.int64 if scaled.dtype.kind in "iu" else np.float64
    for out, stored, (slope, intercept) in zip(scaled, slices, scalings, strict=True):
        out[:] = stored if (slope, intercept) == (1, 0) else stored.astype(wide) * wide(slope) + wide(intercept)
    return scaled


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


def _refuse_colour(header: Header) -> None:
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


def _no_image(path: Path, header: Header) -> ImageError:
    return ImageError(f"{path}: not a DICOM image", got=uid_name(header.sop), expected="an image")
