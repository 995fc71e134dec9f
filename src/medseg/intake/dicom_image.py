"""DICOM into images: a series of slices, a single slice or X-ray, an enhanced multi-frame file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from medseg.case import Affine, Array, Image
from medseg.errors import GeometryError, ImageError
from medseg.findings import Finding, doubts
from medseg.intake.checks import refuse_too_large
from medseg.intake.dicom_frames import frame_planes
from medseg.intake.dicom_grid import Plane, place
from medseg.intake.dicom_header import (
    Header,
    dicom_errors,
    padding,
    picture_directions,
    plane_of,
    read_header,
    rescale,
    uid_name,
)
from medseg.intake.dicom_pixels import INVERTED, fill_padding, refuse_colour, refuse_size, scaled, stored_pixels, turned
from medseg.intake.series import listing, series_among

_RADIOGRAPHS = ("CR", "DX")
_DIRECTION = re.compile("[LRAPHF]{1,3}")


@dataclass(frozen=True)
class Stack:
    """The planes of one volume in order, their values in their unit ``(X, Y, Z)``, and the grid they form.

    `affine` is that of an even stacking; where the planes lie otherwise (`allowed` findings) only they are true.
    """

    planes: list[Plane]
    array: Array
    affine: Affine
    modality: str | None
    findings: list[Finding]


def read_dicom(path: Path, *, series: str | None = None) -> Image:
    """A DICOM file, or a series in a folder: volume ``(X, Y, Z)`` or, for X-rays, picture ``(X, Y)``.

    Parameters
    ----------
    series
        SeriesInstanceUID where the folder holds several.
    """
    headers, source = headers_of(path, series=series), path if series is None else path / f"#{series}"
    if headers[0].kind == "picture":
        image, findings = read_picture(headers[0])
    else:
        stack = read_stack(headers, source)
        image, findings = Image(stack.array, stack.affine, source, stack.modality), stack.findings
    return replace(image, doubts=doubts(findings, source))


def headers_of(path: Path, *, series: str | None = None) -> list[Header]:
    """The files that make up one image: slices by file name, or a single file.

    Raises
    ------
    ImageError
        No image, several, or several series and none chosen.
    """
    if path.is_dir():
        return _chosen(series_headers(path), path, series)
    header = read_header(path)
    if header.kind == "other":
        raise ImageError(f"{path}: not a DICOM image", got=uid_name(header.sop), expected="an image")
    return [header]


def series_headers(folder: Path) -> list[Header]:
    """Headers of the DICOM images directly in `folder`, by file name; objects without an image are left out."""
    from medseg.intake.files import dicom_files

    headers = [read_header(file) for file in dicom_files(folder)]
    return [header for header in headers if header.kind != "other"]


def read_stack(headers: Sequence[Header], source: Path, *, allowed: frozenset[str] = frozenset()) -> Stack:
    """One volume of slices or frames; findings whose code is `allowed` do not refuse it."""
    for header in headers:
        refuse_colour(header)
        refuse_size(header)
    planes, affine = place(planes_of(headers), source, allowed=allowed)
    _refuse_whole_size(planes, source)
    slices = _frames(headers[0], planes) if headers[0].kind == "frames" else _slices(headers, planes)
    values = scaled(slices, [(plane.slope, plane.intercept) for plane in planes])
    findings = fill_padding(values, slices, [plane.padding for plane in planes])
    return Stack(planes, values.T, affine, headers[0].modality, findings)


def planes_of(headers: Sequence[Header]) -> list[Plane]:
    """Where the slices or frames lie, in the order of the files or frames."""
    if headers[0].kind == "frames":
        return frame_planes(headers[0])
    return [plane_of(header, i) for i, header in enumerate(headers)]


def read_picture(header: Header) -> tuple[Image, list[Finding]]:
    """An X-ray with its white as the highest value: MONOCHROME1 is turned here and nowhere else."""
    refuse_colour(header)
    with dicom_errors(header.path):
        scaling, ends = rescale(header.tags, header.path), padding(header.tags)
        spacing, doubts = _picture_spacing(header.tags), turned_findings(header.tags)
    stored = stored_pixels(header)
    bright = turned(stored, header.tags) if header.tags.get("PhotometricInterpretation") == INVERTED else stored
    values = scaled([bright], [scaling])
    findings = [*fill_padding(values, [stored], [ends]), *doubts]
    x_mm, y_mm = spacing or (1.0, 1.0)
    if not (np.isfinite([x_mm, y_mm]).all() and min(x_mm, y_mm) > 0):
        raise GeometryError(f"{header.path}: invalid pixel spacing", got=f"{(x_mm, y_mm)} mm", expected="above 0")
    affine = np.diag([x_mm, y_mm, 1.0, 1.0])
    return Image(values[0].T, affine, header.path, header.modality, spacing is not None), findings


def _chosen(headers: list[Header], folder: Path, uid: str | None) -> list[Header]:
    if uid is not None:
        headers = [header for header in headers if header.series == uid]
    if not headers:
        got = None if uid is None else f"no series {uid}"
        raise ImageError(f"{folder}: the folder holds no DICOM images", got=got, expected="the slices of one series")
    found = series_among(headers)
    if len(found) > 1:
        raise ImageError(
            f"{folder}: more than one series in the folder",
            got=listing(found),
            expected="one series",
            next_step=f"choose one: predict --series, elsewhere {folder}/#UID; or put each into a folder of its own",
        )
    kinds = {header.kind for header in headers}
    if len(headers) > 1 and kinds != {"slice"}:
        raise ImageError(
            f"{folder}: the folder holds several images, not the slices of one volume",
            got=f"{len(headers)} files of kind {', '.join(sorted(kinds))}",
            next_step="give one of the files",
        )
    return headers


def _slices(headers: Sequence[Header], planes: Sequence[Plane]) -> list[Array]:
    return [stored_pixels(headers[plane.index]) for plane in planes]


def _frames(header: Header, planes: Sequence[Plane]) -> list[Array]:
    frames = stored_pixels(header)
    if frames.ndim == 2:
        frames = frames[None]
    if len(frames) != len(planes):
        raise ImageError(f"{header.path}: frames are missing", got=len(frames), expected=len(planes))
    return [frames[plane.index] for plane in planes]


def _refuse_whole_size(planes: Sequence[Plane], source: Path) -> None:
    columns, rows = planes[0].size
    refuse_too_large(columns * rows * len(planes), 4, source)


def _picture_spacing(tags: Any) -> tuple[float, float] | None:
    """Pixel spacing along X and Y in mm: in the patient, else at the detector, else None."""
    for name in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        if tags.get(name):
            rows_mm, columns_mm = tags.get(name)
            return float(columns_mm), float(rows_mm)
    return None


def turned_findings(tags: Any) -> list[Finding]:
    """A warning where an X-ray says that it is mirrored, turned or no frontal one: left and right are then others.

    `tags` are those of the file, a pydicom data set.
    """
    stated = tags.get("PatientOrientation") or ()
    along = [str(end) for end in ((stated,) if isinstance(stated, str) else stated)]
    shown = [end if _DIRECTION.fullmatch(end) else "?" for end in along]  # a damaged file may hold anything there
    if tags.get("Modality") not in _RADIOGRAPHS or not any(along) or picture_directions(tags) == ("L", "F"):
        return []
    return [
        Finding(
            code="turned-picture",
            severity="warning",
            what="the patient does not face the viewer upright: left and right are not where they are taken to be",
            got=f"PatientOrientation {' and '.join(shown)} along rows and columns",
            expected="L and F",
            next_step="turn or mirror the picture, if it is a frontal one",
        )
    ]
