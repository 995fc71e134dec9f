"""The DICOM instances behind an image: what masks and results refer to, slice by slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from medseg.case import Image
from medseg.errors import GeometryError, MedsegError
from medseg.geometry import GRID_TOLERANCE_MM
from medseg.intake.dicom_frames import frame_planes
from medseg.intake.dicom_grid import Plane, place
from medseg.intake.dicom_header import Header, dicom_errors, plane_of, read_header
from medseg.intake.files import dicom_files, is_dicom, split_series


@dataclass(frozen=True)
class SourceImages:
    """The instances of one series that an image was read from.

    Attributes
    ----------
    files
        One file for each slice in the order of Z; one alone for a picture and for a multi-frame image.
    frames
        Multi-frame: number of the frame (from 1) of each slice in the order of Z; empty otherwise.
    series, frame_of_reference
        Their UIDs; the second is "" where the file has none.
    instances
        SOPInstanceUID to index along Z; a multi-frame image or a picture stands at 0.
    """

    files: tuple[Path, ...]
    frames: tuple[int, ...]
    series: str
    frame_of_reference: str
    instances: Mapping[str, int]

    @cached_property
    def datasets(self) -> tuple[Any, ...]:
        """Every file's whole data set without its pixels."""
        from pydicom import dcmread

        found = []
        for file in self.files:
            with dicom_errors(file):
                found.append(dcmread(file, stop_before_pixels=True))
        return tuple(found)


def source_images(image: Image) -> SourceImages | None:
    """The DICOM instances that `image` was read from; None where it does not come from DICOM.

    Its source is a file, a folder, or FOLDER/#UID for one of several series.

    Raises
    ------
    GeometryError
        Its source holds no series, or more than one, on the grid of the image.
    """
    source, series = split_series(image.source)
    if source.is_file():
        return _of_file(read_header(source)) if is_dicom(source) else None
    if not source.is_dir():
        return None
    headers = [read_header(file) for file in dicom_files(source)]
    headers = [header for header in headers if header.kind != "other"]
    headers = [header for header in headers if series in (None, header.series)]
    fitting = [found for found in map(_of_series, _by_series(headers)) if found and _fits(found[1], image)]
    if len(fitting) != 1:
        raise GeometryError(
            f"{source}: cannot tell which DICOM series the image was read from",
            got=f"{len(fitting)} series on the image's grid",
            expected="one",
            next_step="give a folder that holds this series alone",
        )
    return fitting[0][0]


def _of_file(header: Header) -> SourceImages:
    frames: tuple[int, ...] = ()
    if header.kind == "frames":
        ordered, _ = place(frame_planes(header), header.path)
        frames = tuple(plane.index + 1 for plane in ordered)
    return _make([header], frames)


def _by_series(headers: Sequence[Header]) -> list[list[Header]]:
    groups: dict[str, list[Header]] = {}
    for header in headers:
        groups.setdefault(header.series, []).append(header)
    return list(groups.values())


def _of_series(headers: Sequence[Header]) -> tuple[SourceImages, tuple[list[Plane], Any]] | None:
    """The series and its grid; None where its files form none."""
    try:
        if len(headers) == 1 and headers[0].kind != "slice":
            header = headers[0]
            return _of_file(header), place(frame_planes(header), header.path)
        planes, affine = place([plane_of(header, i) for i, header in enumerate(headers)], headers[0].path)
    except MedsegError:
        return None
    return _make([headers[plane.index] for plane in planes], ()), (planes, affine)


def _fits(grid: tuple[list[Plane], Any], image: Image) -> bool:
    planes, affine = grid
    size = (*planes[0].size, len(planes))
    if image.array.shape[-3:] != size:
        return False
    far = np.array([*(np.array(size) - 1), 1.0])
    return bool(np.abs((affine - image.affine) @ np.stack([[0, 0, 0, 1.0], far], axis=1)).max() <= GRID_TOLERANCE_MM)


def _make(headers: Sequence[Header], frames: tuple[int, ...]) -> SourceImages:
    from pydicom import dcmread

    first = headers[0]
    with dicom_errors(first.path):
        tags = dcmread(first.path, stop_before_pixels=True, specific_tags=["FrameOfReferenceUID"])
        frame_of_reference = str(tags.get("FrameOfReferenceUID") or "")
    return SourceImages(
        files=tuple(header.path for header in headers),
        frames=frames,
        series=first.series,
        frame_of_reference=frame_of_reference,
        instances={str(header.tags.get("SOPInstanceUID", "")): z for z, header in enumerate(headers)},
    )
