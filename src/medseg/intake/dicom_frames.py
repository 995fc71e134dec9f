"""Enhanced multi-frame DICOM: the place and scaling of each frame from its functional groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medseg.errors import GeometryError
from medseg.intake.dicom_grid import DIRECTION_TOLERANCE, DUPLICATE_MM, Plane
from medseg.intake.dicom_header import Header, dicom_errors, make_plane


def frame_planes(header: Header) -> list[Plane]:
    """One plane per frame, in the order of the file.

    Raises
    ------
    GeometryError
        Frames without a position, in several stacks, or several times at one position (phases, echoes, b-values).
    """
    from pydicom import dcmread

    with dicom_errors(header.path):
        file = dcmread(header.path, stop_before_pixels=True)
        shared = _first(file, "SharedFunctionalGroupsSequence")
        frames = list(file.get("PerFrameFunctionalGroupsSequence") or [])
        count = int(file.get("NumberOfFrames") or 1)
    if len(frames) != count:
        raise GeometryError(
            f"{header.path}: its frames do not say where they lie",
            got=f"positions of {len(frames)} frames",
            expected=f"{count} frames with positions",
            next_step="export it as an enhanced multi-frame object or as single slices",
        )
    with dicom_errors(header.path):
        planes = [_plane(header, file, frame, shared, i) for i, frame in enumerate(frames)]
        _refuse_more_dimensions(planes, file, header)
    return planes


def _plane(header: Header, file: Any, frame: Any, shared: Any, index: int) -> Plane:
    def group(name: str) -> Any:
        return _first(frame, name) or _first(shared, name)

    place, turn, measures = (
        group(name) for name in ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
    )
    with dicom_errors(header.path):
        if not (place and turn and measures):
            raise GeometryError(f"{header.path}: frame {index + 1} does not say where it lies")
        values = group("PixelValueTransformationSequence") or file
        position, orientation = place.ImagePositionPatient, turn.ImageOrientationPatient
        return make_plane(header, f"frame {index + 1}", index, position, orientation, measures=measures, values=values)


def _refuse_more_dimensions(planes: Sequence[Plane], file: Any, header: Header) -> None:
    turned = sum(np.abs(p.directions - planes[0].directions).max() > DIRECTION_TOLERANCE for p in planes)
    positions = {tuple(np.rint(p.position_mm / DUPLICATE_MM).astype(int)) for p in planes}
    if not turned and len(positions) == len(planes):
        return
    dimensions = _dimension_names(file)
    raise GeometryError(
        f"{header.path}: more than one volume in one multi-frame file",
        got=f"{len(planes)} frames at {len(positions)} positions, {int(turned)} of them turned"
        + (f", along {', '.join(dimensions)}" if dimensions else ""),
        expected="one stack of frames with one frame per position",
        next_step="export each stack, phase or echo as a series of its own",
    )


def _dimension_names(file: Any) -> list[str]:
    from pydicom.datadict import keyword_for_tag

    items = file.get("DimensionIndexSequence") or []
    return [keyword_for_tag(item.DimensionIndexPointer) for item in items if "DimensionIndexPointer" in item]


def _first(tags: Any, name: str) -> Any:
    """The first item of a sequence, or None."""
    items = tags.get(name) if tags is not None else None
    return items[0] if items else None
