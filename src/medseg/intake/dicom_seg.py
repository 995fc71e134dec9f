"""DICOM SEG into a label map: binary, fractional and label map segmentations on the grid of their image."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medseg.case import Affine, Array, Image
from medseg.errors import GeometryError, LabelError
from medseg.geometry import affine_from_lps
from medseg.intake.dicom_header import dicom_errors, read_header
from medseg.intake.dicom_pixels import stored_pixels
from medseg.intake.dicom_reference import References, check_references
from medseg.intake.label_names import Names, Painter, values_of

ON_GRID = 0.1
"""How far, in voxels, a pixel of a frame may lie from a voxel of the image."""
_KINDS = ("BINARY", "FRACTIONAL", "LABELMAP")
HALF = 0.5
"""A fractional segment holds the voxels with at least this part of its highest value."""


@dataclass(frozen=True)
class _Placed:
    """Where a frame lies in the image: the voxel axes of its columns and rows, their starts and signs, its slice."""

    axes: tuple[int, int]
    starts: tuple[int, int]
    signs: tuple[int, int]
    at: int

    def put(self, pixels: Array) -> tuple[Array, tuple[int | slice, ...]]:
        """`pixels` ``(columns, rows)`` turned as the image is, and where they go."""
        where: list[int | slice] = [self.at] * 3
        for axis, start, sign, length in zip(self.axes, self.starts, self.signs, pixels.shape, strict=True):
            where[axis] = slice(start, start + length) if sign > 0 else slice(start - length + 1, start + 1)
        turned = pixels[:: self.signs[0], :: self.signs[1]]
        return (turned if self.axes[0] < self.axes[1] else turned.T), tuple(where)


def read_dicom_seg(path: Path, *, reference: Image, names: Names | None) -> Image:
    """The segments of a DICOM SEG as a label map on the grid of `reference`.

    Parameters
    ----------
    reference
        The image ``(C, X, Y[, Z])`` it was drawn on; where that comes from DICOM, the references are checked.
    names
        Segment label to label value; None: each segment its number.

    Raises
    ------
    GeometryError
        Drawn on another series, on another grid, or reaching outside the image.
    LabelError
        No such segment, or overlapping segments without `names`.
    """
    from pydicom import dcmread

    with dicom_errors(path):
        file = dcmread(path)
        kind = str(file.get("SegmentationType", ""))
        segments = [(int(s.SegmentNumber), str(s.get("SegmentLabel", ""))) for s in file.SegmentSequence]
        references = _references(file)
    if kind not in _KINDS:
        raise LabelError(
            f"{path}: unknown kind of segmentation", got=repr(kind), expected=f"one of {', '.join(_KINDS)}"
        )
    shown = [s for s in segments if s[0] > 0 or kind != "LABELMAP"]  # 0 may be the background of a label map
    values = values_of(shown, names, what="segments", path=path)
    check_references(path, references, reference)
    frames = _frames(path, len(segments), reference)
    shape = reference.array.shape[1:]
    painter = Painter(shape, highest=max(values.values()), may_overlap=names is not None, path=path)
    with dicom_errors(path):
        places = _places(file, kind, len(frames), path, placed=reference.array.ndim == 4)
        least = HALF * _whole(file, path) if kind == "FRACTIONAL" else 1.0
    _refuse_strays(frames, [segment for segment, _ in places], {number for number, _ in segments} | {0}, path)
    for number, value in values.items():
        for stored, (segment, affine) in zip(frames, places, strict=True):
            if segment in (number, None):
                inside = stored == number if segment is None else stored >= least
                region, where = _place(inside.T, affine, reference, path)
                painter.paint(region, value, where=where)
    return Image(painter.labels, reference.affine, path, None, reference.spacing_known)


def _whole(file: Any, path: Path) -> float:
    """What a fractional segment stores where a voxel is wholly inside; without it half of that is a guess."""
    value = file.get("MaximumFractionalValue")
    if not value:
        raise LabelError(
            f"{path}: a fractional segmentation that does not say which value is the whole",
            got=f"MaximumFractionalValue {'missing' if value is None else value}",
            expected="1 to 255",
            next_step="export it again, or as a binary one",
        )
    return float(value)


def _references(file: Any) -> References:
    series, instances = set(), set()
    for item in file.get("ReferencedSeriesSequence") or []:
        series.add(str(item.SeriesInstanceUID))
        instances |= {str(i.ReferencedSOPInstanceUID) for i in item.get("ReferencedInstanceSequence") or []}
    frame = str(file.get("FrameOfReferenceUID") or "")
    return References({frame} - {""}, series, instances)


def _frames(path: Path, segments: int, reference: Image) -> Array:
    """Stored values ``(frames, rows, columns)``; refused where there are more than the image has room for."""
    header = read_header(path)
    with dicom_errors(path):
        count, rows, columns = (int(header.tags.get(name) or 1) for name in ("NumberOfFrames", "Rows", "Columns"))
    room = (segments + 1) * int(np.prod(reference.array.shape[1:]))
    if count * rows * columns > room:
        raise GeometryError(
            f"{path}: does not fit into {reference.source}",
            got=f"{count} frames of {columns} x {rows} pixels",
            expected=f"at most {room} pixels for {segments} segments",
            next_step="give the series that it was drawn on",
        )
    pixels = stored_pixels(header)
    return pixels[None] if pixels.ndim == 2 else pixels


def _places(file: Any, kind: str, count: int, path: Path, *, placed: bool) -> list[tuple[int | None, Affine | None]]:
    """Of each frame the number of its segment (None in a label map) and, where it is `placed`, its affine."""
    groups = list(file.get("PerFrameFunctionalGroupsSequence") or [])
    if len(groups) != count:
        raise GeometryError(f"{path}: frames without a place", got=len(groups), expected=count)
    return [
        (
            None if kind == "LABELMAP" else _segment_number(frame, file, path),
            _affine(frame, file, path) if placed else None,
        )
        for frame in groups
    ]


def _refuse_strays(frames: Array, shown: Sequence[int | None], described: AbstractSet[int], path: Path) -> None:
    """What shows a segment that the file does not describe would be lost in silence."""
    found = {int(v) for v in np.unique(frames)} if None in shown else {int(n) for n in shown if n is not None}
    if found - described:
        raise LabelError(
            f"{path}: shows segments that it does not describe",
            got=", ".join(map(str, sorted(found - described)[:8])),
            expected=f"some of {', '.join(map(str, sorted(described - {0})))}",
            next_step="export it again",
        )


def _segment_number(frame: Any, file: Any, path: Path) -> int:
    item = _group(frame, file, "SegmentIdentificationSequence")
    if item is None:
        raise LabelError(f"{path}: a frame does not say which segment it shows")
    return int(item.ReferencedSegmentNumber)


def _group(frame: Any, file: Any, name: str) -> Any:
    """A functional group of a frame, or the one that all frames share; None where there is none."""
    shared = file.get("SharedFunctionalGroupsSequence")
    for groups in (frame, shared[0] if shared else None):
        items = groups.get(name) if groups is not None else None
        if items:
            return items[0]
    return None


def _place(pixels: Array, affine: Affine | None, reference: Image, path: Path) -> tuple[Array, tuple[int | slice, ...]]:
    """The pixels ``(columns, rows)`` as they go into the label map, and where."""
    if affine is None:
        if pixels.shape != reference.array.shape[1:]:
            raise _off_grid(path, reference, f"{pixels.shape} pixels", f"{reference.array.shape[1:]}")
        return pixels, ()
    return _fitted(np.linalg.inv(reference.affine) @ affine, pixels.shape, reference, path).put(pixels)


def _affine(frame: Any, file: Any, path: Path) -> Affine:
    place, turn, measures = (
        _group(frame, file, name)
        for name in ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
    )
    if not (place and turn and measures):
        raise GeometryError(f"{path}: a frame does not say where it lies")
    rows, columns = np.array(turn.ImageOrientationPatient, dtype=np.float64).reshape(2, 3)
    row_mm, column_mm = (float(v) for v in measures.PixelSpacing)
    return affine_from_lps(
        origin_mm=[float(v) for v in place.ImagePositionPatient],
        spacing_mm=(column_mm, row_mm, 1.0),
        direction=np.stack([rows, columns, np.cross(rows, columns)], axis=1),
    )


def _fitted(to_voxel: Affine, size: tuple[int, ...], reference: Image, path: Path) -> _Placed:
    """The place of a frame whose pixels are voxels of the image; refused where they are not."""
    shape, turns = reference.array.shape[1:], np.rint(to_voxel[:3, :2])
    corners = np.array([[c, r, 0, 1] for c in (0, size[0] - 1) for r in (0, size[1] - 1)]).T
    voxels = (to_voxel @ corners)[:3]
    first = np.rint(voxels[:, 0])
    exact = first[:, None] + turns @ corners[:2]
    one_axis_each = (np.abs(turns).sum(axis=0) == 1).all() and np.abs(turns).max(axis=1).sum() == 2
    if not one_axis_each or np.abs(voxels - exact).max() > ON_GRID:
        apart = float(np.abs(voxels - exact).max())
        if apart <= ON_GRID:  # every so manieth voxel is met
            across, down = np.linalg.norm(to_voxel[:3, :2], axis=0)
            raise _off_grid(path, reference, f"pixels of {across:.3g} x {down:.3g} voxels", "1 x 1")
        raise _off_grid(path, reference, f"pixels up to {apart:.2f} voxels from those of the image", f"{ON_GRID}")
    if (exact < 0).any() or (exact >= np.array(shape)[:, None]).any():
        got = f"voxels {exact.min(axis=1).astype(int).tolist()} to {exact.max(axis=1).astype(int).tolist()}"
        raise GeometryError(f"{path}: reaches outside {reference.source}", got=got, expected=f"within {shape}")
    axes = [int(np.flatnonzero(turns[:, i])[0]) for i in (0, 1)]
    return _Placed(
        axes=(axes[0], axes[1]),
        starts=(int(first[axes[0]]), int(first[axes[1]])),
        signs=(int(turns[axes[0], 0]), int(turns[axes[1], 1])),
        at=int(first[3 - sum(axes)]),
    )


def _off_grid(path: Path, reference: Image, got: str, expected: str) -> GeometryError:
    return GeometryError(
        f"{path}: lies on another grid than {reference.source}",
        got=got,
        expected=expected,
        next_step="give the series that it was drawn on",
    )
