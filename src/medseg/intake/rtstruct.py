"""RTSTRUCT into a label map: closed contours filled by the even-odd rule on the slices of the image."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from medseg.case import Array, Image
from medseg.dicom.contours import fill
from medseg.errors import GeometryError, LabelError
from medseg.intake.dicom_header import dicom_errors
from medseg.intake.dicom_reference import References, check_references
from medseg.intake.label_names import Names, Painter, values_of

logger = logging.getLogger(__name__)

ON_SLICE = 0.1
"""A contour belongs to a slice when it lies within this part of the slice spacing of it."""
FLAT = 0.25
"""A contour is flat when its points differ by less than this part of the slice spacing."""
_SAME_GAP = 1.5
"""Neighbouring contours are joined up to this many times the typical distance; a wider gap parts two regions."""
_SAME_DECIMALS = 2
"""Of millimetres, to which two contours are the same."""
_OURS = "medseg"
"""Manufacturer of the files that medseg writes."""
_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
_POINT = "POINT"


@dataclass(frozen=True)
class _Contour:
    """Points ``(N, 3)`` in voxels of the image, and the index of the slice it refers to, if it does."""

    points: Array
    slice: int | None


@dataclass(frozen=True)
class _Plane:
    """Where along the slices a plane of contours lies, in slices, and the pixels within them."""

    position: float
    mask: Array


def read_rtstruct(path: Path, *, reference: Image, names: Names | None) -> Image:
    """The ROIs of an RTSTRUCT as a label map on the grid of `reference`.

    Contours of one ROI on one plane are combined by the even-odd rule, so an inner contour and a keyhole are both
    holes; a contour that stands there twice counts once. Where contours lie between the image's slices, or at least
    three of them on every second or third slice and one above the other, the slices between are interpolated by the
    distance to the border (Raya and Udupa, IEEE TMI 1990;9:32); beyond the last contour such an ROI reaches less than
    half their distance. Files of medseg have a contour on each slice of an ROI: on their series nothing is added.

    Parameters
    ----------
    reference
        The image ``(C, X, Y, Z)`` it was drawn on; where that comes from DICOM, the references are checked.
    names
        ROI name to label value; None: each ROI its number.

    Raises
    ------
    GeometryError
        Drawn on another series, outside the image, or not along one of its axes.
    LabelError
        No such ROI, no closed contours, or overlapping ROIs without `names`.
    """
    from pydicom import dcmread

    if reference.array.ndim != 4:
        raise LabelError(f"{path}: contours need a volume", got=f"a picture, {reference.source}")
    with dicom_errors(path):
        file = dcmread(path)
        present = [(int(roi.ROINumber), str(roi.get("ROIName", ""))) for roi in file.StructureSetROISequence]
        _refuse_strays(file, [number for number, _ in present], path)
        values = values_of(present, names, what="ROIs", path=path)
        references = _references(file, values)
    source = check_references(path, references, reference)
    with dicom_errors(path):
        _refuse_other_frames(file, values, source.frame_of_reference if source else "", path)
        found = {n: list(_contours(file, n, reference, source.instances if source else {}, path)) for n in values}
    if not any(found.values()):
        raise LabelError(f"{path}: its ROIs have no closed contours", got=f"{len(values)} ROIs")
    axis = _axis([c for contours in found.values() for c in contours], path)
    shape = reference.array.shape[1:]
    complete = source is not None and file.get("Manufacturer") == _OURS  # only on its own series
    painter = Painter(shape, highest=max(values.values()), may_overlap=names is not None, path=path)
    for number, value in ((number, value) for number, value in values.items() if found[number]):
        for k, region in _regions(found[number], shape, axis, path, complete=complete):
            painter.paint(region, value, where=(slice(None),) * axis + (k,))
    return Image(painter.labels, reference.affine, path, None)


def _references(file: Any, numbers: Collection[int]) -> References:
    """What the ROIs of these `numbers` refer to."""
    frames, series = {str(file.get("FrameOfReferenceUID") or "")}, set()
    for frame in file.get("ReferencedFrameOfReferenceSequence") or []:
        frames.add(str(frame.get("FrameOfReferenceUID") or ""))
        for study in frame.get("RTReferencedStudySequence") or []:
            series |= {str(s.SeriesInstanceUID) for s in study.get("RTReferencedSeriesSequence") or []}
    instances = {
        str(image.ReferencedSOPInstanceUID)
        for roi in file.get("ROIContourSequence") or []
        if int(roi.ReferencedROINumber) in numbers
        for contour in roi.get("ContourSequence") or []
        for image in contour.get("ContourImageSequence") or []
    }
    return References(frames - {""}, series, instances)


def _contours(file: Any, number: int, reference: Image, instances: Mapping[str, int], path: Path) -> Iterator[_Contour]:
    """The closed contours of an ROI, each once."""
    to_voxel = np.linalg.inv(reference.affine) @ np.diag([-1.0, -1.0, 1.0, 1.0])
    seen = set()
    for roi in file.get("ROIContourSequence") or []:
        if int(roi.ReferencedROINumber) != number:
            continue
        for contour in roi.get("ContourSequence") or []:
            data = _closed(contour, path)
            corners = np.unique(data.round(_SAME_DECIMALS) + 0.0, axis=0).tobytes()  # wherever it begins, either way
            if len(data) < 3 or corners in seen:
                continue
            seen.add(corners)
            points = (to_voxel[:3, :3] @ data.T + to_voxel[:3, 3:]).T
            images = contour.get("ContourImageSequence") or []
            at = instances.get(str(images[0].ReferencedSOPInstanceUID)) if len(images) == 1 else None
            yield _Contour(points, at if len(instances) > 1 else None)


def _closed(contour: Any, path: Path) -> Array:
    """Points ``(N, 3)`` in LPS millimetres of a closed contour; none of a point, which marks no region."""
    kind = str(contour.get("ContourGeometricType") or "")
    if kind == _POINT:
        return np.zeros((0, 3))
    data = _coordinates(contour)
    stated = int(contour.get("NumberOfContourPoints") or len(data))
    if kind not in _CLOSED or stated != len(data):
        raise LabelError(
            f"{path}: a contour that bounds no region",
            got=f"kind {kind or 'missing'}, {len(data)} points of {stated}",
            expected=f"{' or '.join(_CLOSED)} with all of its points",
            next_step="leave its ROI out by a file of names, or export it again",
        )
    return data


def _coordinates(contour: Any) -> Array:
    """ContourData ``(N, 3)``, straight from its bytes: pydicom takes ten times as long for a list of its decimals."""
    if "ContourData" not in contour:
        return np.zeros((0, 3))
    stored = contour.get_item("ContourData").value
    values = stored.decode("ascii").split("\\") if isinstance(stored, bytes) else stored
    return np.array(values or [], dtype=np.float64).reshape(-1, 3)


def _refuse_strays(file: Any, numbers: Collection[int], path: Path) -> None:
    """Contours of an ROI that the file does not name would be lost in silence."""
    strays = {int(roi.ReferencedROINumber) for roi in file.get("ROIContourSequence") or []} - set(numbers)
    if strays:
        raise LabelError(
            f"{path}: contours that belong to no ROI",
            got=f"ROI numbers {', '.join(map(str, sorted(strays)))}",
            expected=f"some of {', '.join(map(str, sorted(numbers)))}",
            next_step="export it again",
        )


def _refuse_other_frames(file: Any, numbers: Collection[int], frame: str, path: Path) -> None:
    """One file may hold ROIs of several images: what was drawn in another frame of reference lies elsewhere.

    `frame` is that of the image, "" where it is not known.
    """
    stated = {
        int(roi.ROINumber): uid
        for roi in file.StructureSetROISequence
        if int(roi.ROINumber) in numbers and (uid := str(roi.get("ReferencedFrameOfReferenceUID") or ""))
    }
    expected = frame or next(iter(stated.values()), "")
    others = [number for number, uid in stated.items() if uid != expected]
    if others:
        raise GeometryError(
            f"{path}: ROIs in another frame of reference than the image",
            got=f"ROI numbers {', '.join(map(str, others))} in {stated[others[0]]}",
            expected=expected,
            next_step="leave them out by a file of names, or give the series that they were drawn on",
        )


def _axis(contours: Sequence[_Contour], path: Path) -> int:
    """The voxel axis across which all contours are flat."""
    spread = np.max([np.ptp(contour.points, axis=0) for contour in contours], axis=0)
    axis = int(np.argmin(spread))
    if not np.isfinite(spread).all() or spread[axis] > FLAT:
        raise GeometryError(
            f"{path}: its contours are not drawn on the slices of the image",
            got=f"contours that reach over {spread[axis]:.2f} slices",
            expected=f"flat ones, at most {FLAT} slices",
            next_step="give the series that it was drawn on",
        )
    return axis


def _regions(
    contours: Sequence[_Contour], shape: tuple[int, ...], axis: int, path: Path, *, complete: bool
) -> Iterator[tuple[int, Array]]:
    """(index along `axis`, pixels of that slice) of an ROI; a `complete` one is nowhere but where it was drawn."""
    depth, across = shape[axis], [a for a in range(3) if a != axis]
    planes = []
    for position, group in _by_plane(contours, axis, path):
        if not -0.5 <= position <= depth - 0.5:
            raise _outside(path, f"a contour at slice {position:.2f}", f"slices 0 to {depth - 1}")
        mask = fill([c.points[:, across] for c in group], (shape[across[0]], shape[across[1]]))
        for contour in group:
            _refuse_beside(contour.points[:, across], mask.shape, path)
        planes.append(_Plane(position, mask))
    typical = 1.0 if complete else _typical_gap(planes)
    if typical > _SAME_GAP:
        logger.warning("%s: contours on about every %.1f slices only; what lies between is interpolated", path, typical)
    return _onto_slices(planes, depth, typical)


def _by_plane(contours: Sequence[_Contour], axis: int, path: Path) -> list[tuple[float, list[_Contour]]]:
    groups: list[tuple[float, list[_Contour]]] = []
    for contour in sorted(contours, key=lambda c: float(c.points[:, axis].mean())):
        position = float(contour.points[:, axis].mean())
        if axis == 2 and contour.slice is not None and abs(position - contour.slice) > 0.5:
            raise GeometryError(
                f"{path}: a contour lies elsewhere than the slice it refers to",
                got=f"slice {position:.2f}",
                expected=f"slice {contour.slice}",
                next_step="export it again together with its series",
            )
        if groups and position - groups[-1][0] < ON_SLICE:
            groups[-1][1].append(contour)
        else:
            groups.append((position, [contour]))
    return groups


def _refuse_beside(points: Array, size: tuple[int, ...], path: Path) -> None:
    low, high = points.min(axis=0), points.max(axis=0)
    if (high < -0.5).any() or (low > np.array(size) - 0.5).any():
        raise _outside(path, f"a contour from {low.round(1).tolist()} to {high.round(1).tolist()} pixels", f"{size}")


def _outside(path: Path, got: str, expected: str) -> GeometryError:
    return GeometryError(
        f"{path}: contours outside the image",
        got=got,
        expected=expected,
        next_step="give the series that it was drawn on",
    )


def _onto_slices(planes: Sequence[_Plane], depth: int, typical: float) -> Iterator[tuple[int, Array]]:
    """What planes of contours, `typical` slices apart, give on each slice: their own, or what lies between two."""
    positions = np.array([plane.position for plane in planes])
    for k in range(depth):
        nearest = int(np.argmin(np.abs(positions - k)))
        distance, after = abs(float(positions[nearest]) - k), int(np.searchsorted(positions, k))
        if distance <= ON_SLICE:
            yield k, planes[nearest].mask
        elif 0 < after < len(planes) and positions[after] - positions[after - 1] <= _SAME_GAP * typical:
            yield k, _between(planes[after - 1], planes[after], k)
        elif distance < typical / 2:
            yield k, planes[nearest].mask


def _typical_gap(planes: Sequence[_Plane]) -> float:
    """The distance of neighbouring planes, in slices; two planes do not tell it, and then it is a slice.

    Neighbours that share no pixel tell nothing: they are regions of their own, such as small lesions apart.
    """
    pairs = [(below, above) for below, above in pairwise(planes) if (below.mask & above.mask).any()]
    gaps = sorted(above.position - below.position for below, above in pairs)
    return gaps[(len(gaps) - 1) // 2] if len(gaps) > 1 else 1.0


def _between(below: _Plane, above: _Plane, k: int) -> Array:
    """Shape-based interpolation at slice `k` between two planes."""
    from scipy.ndimage import distance_transform_edt

    part = (k - below.position) / (above.position - below.position)
    if not (below.mask.any() and above.mask.any()):
        return below.mask if part < 0.5 else above.mask
    inside = [distance_transform_edt(p.mask) - distance_transform_edt(~p.mask) for p in (below, above)]
    return np.asarray((1 - part) * inside[0] + part * inside[1] > 0)
