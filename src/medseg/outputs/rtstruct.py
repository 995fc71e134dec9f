"""RTSTRUCT: the label map as closed contours on the slices of its series, holes as keyholes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import numpy as np

from medseg import __version__
from medseg.case import Affine, Array, LabelArray
from medseg.dicom.codes import SegmentCode
from medseg.dicom.contours import Points, contours_of
from medseg.dicom.source import completed, quiet_pydicom, restore, take_over
from medseg.errors import OutputError
from medseg.intake.dicom_source import SourceImages
from medseg.outputs.algorithm import SERIES_NUMBER, Algorithm, new_uid

_RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
_IMPLICIT = "1.2.840.10008.1.2"
"""Implicit VR: an explicit DS holds at most 64 kB, fewer points than a long contour has."""
_STUDY = "1.2.840.10008.3.1.2.3.1"
_CONTOUR_DATA = 0x30060050
_DECIMALS = 4
_LPS_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def make_rtstruct(
    labels: LabelArray,
    affine: Affine,
    source: SourceImages,
    *,
    segments: Mapping[int, SegmentCode],
    algorithm: Algorithm,
) -> Any:
    """An RTSTRUCT of a label map.

    Contours run along the borders of the pixels, so that their area is that of the mask and any reader that fills
    them, by even-odd or by winding, gets the mask back.

    Parameters
    ----------
    labels
        ``(X, Y, Z)`` on the grid of the source.
    affine
        Of the label map.
    source
        The series; each contour refers to its slice.
    segments
        Code of each label value but 0; a label that was not found becomes an ROI without contours.
    algorithm
        Named in the file.

    Returns
    -------
    pydicom.Dataset
        With its file meta information, not yet written.
    """
    if labels.ndim != 3:
        raise OutputError("RTSTRUCT of a picture", got=f"{labels.ndim} axes", expected="a volume with a place")
    with quiet_pydicom():
        sources = completed(source.datasets)
        made = _new(sources[0], algorithm)
        frame = str(sources[0].FrameOfReferenceUID)
        made.ReferencedFrameOfReferenceSequence = [_frame_of_reference(frame, sources)]
        made.StructureSetROISequence = [_roi(number, s, frame, algorithm) for number, s in sorted(segments.items())]
        made.ROIContourSequence = [
            _contours(number, segment, list(_of_label(labels == number, affine)), sources, source)
            for number, segment in sorted(segments.items())
        ]
        made.RTROIObservationsSequence = [_observation(number, s) for number, s in sorted(segments.items())]
    restore(made, source.datasets[0])
    return made


def _new(source: Any, algorithm: Algorithm) -> Any:
    from pydicom.dataset import FileDataset, FileMetaDataset

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = _RTSTRUCT, new_uid()
    meta.TransferSyntaxUID = _IMPLICIT
    made = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    take_over(made, source)
    now = datetime.now()  # noqa: DTZ005 - DICOM times are local
    date, time = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    values = {
        "SOPClassUID": _RTSTRUCT,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "Modality": "RTSTRUCT",
        "SeriesInstanceUID": new_uid(),
        "SeriesNumber": SERIES_NUMBER + 2,
        "SeriesDescription": f"{algorithm.name} contours"[:64],
        "InstanceNumber": 1,
        "OperatorsName": "",
        "Manufacturer": "medseg",
        "ManufacturerModelName": algorithm.name[:64],
        "SoftwareVersions": __version__,
        "InstanceCreationDate": date,
        "InstanceCreationTime": time,
        "StructureSetLabel": "MEDSEG",
        "StructureSetDescription": f"{algorithm.name} {algorithm.version}, not verified by a person"[:1024],
        "StructureSetDate": date,
        "StructureSetTime": time,
        "ApprovalStatus": "UNAPPROVED",
    }
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def _frame_of_reference(uid: str, sources: list[Any]) -> Any:
    series = _item(
        SeriesInstanceUID=sources[0].SeriesInstanceUID,
        ContourImageSequence=[
            _item(ReferencedSOPClassUID=s.SOPClassUID, ReferencedSOPInstanceUID=s.SOPInstanceUID) for s in sources
        ],
    )
    study = _item(
        ReferencedSOPClassUID=_STUDY,
        ReferencedSOPInstanceUID=sources[0].StudyInstanceUID,
        RTReferencedSeriesSequence=[series],
    )
    return _item(FrameOfReferenceUID=uid, RTReferencedStudySequence=[study])


def _roi(number: int, segment: SegmentCode, frame: str, algorithm: Algorithm) -> Any:
    return _item(
        ROINumber=number,
        ReferencedFrameOfReferenceUID=frame,
        ROIName=segment.name[:64],
        ROIGenerationAlgorithm="AUTOMATIC",
        ROIGenerationDescription=f"{algorithm.name} {algorithm.version}"[:64],
    )


def _observation(number: int, segment: SegmentCode) -> Any:
    code = _item(
        CodeValue=segment.type.value, CodingSchemeDesignator=segment.type.scheme, CodeMeaning=segment.type.meaning
    )
    return _item(
        ObservationNumber=number,
        ReferencedROINumber=number,
        RTROIIdentificationCodeSequence=[code],
        RTROIInterpretedType=segment.rt_type,
        ROIInterpreter="",
    )


def _of_label(mask: Array, affine: Affine) -> Iterator[tuple[int, Array]]:
    """(slice, points ``(N, 3)`` in LPS millimetres) of every contour of a mask ``(X, Y, Z)``."""
    to_lps = _LPS_RAS @ affine
    for z in np.flatnonzero(mask.any(axis=(0, 1))):
        for points in contours_of(mask[:, :, z]):
            yield int(z), _placed(points, float(z), to_lps)


def _placed(points: Points, z: float, to_lps: Affine) -> Array:
    voxels = np.column_stack([points, np.full(len(points), z)])
    return np.asarray(voxels @ to_lps[:3, :3].T + to_lps[:3, 3])


def _contours(
    number: int, segment: SegmentCode, found: list[tuple[int, Array]], sources: list[Any], source: SourceImages
) -> Any:
    made = _item(ReferencedROINumber=number, ROIDisplayColor=list(segment.colour))
    if found:
        made.ContourSequence = [_contour(points, _image(z, sources, source)) for z, points in found]
    return made


def _contour(points: Array, image: Any) -> Any:
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag

    made = _item(ContourImageSequence=[image], ContourGeometricType="CLOSED_PLANAR", NumberOfContourPoints=len(points))
    text = "\\".join(f"{value:.{_DECIMALS}f}" for value in points.ravel()).encode()
    text += b" " * (len(text) % 2)
    # as bytes: turning each of a million coordinates into a validated number takes minutes
    made[_CONTOUR_DATA] = RawDataElement(Tag(_CONTOUR_DATA), "DS", len(text), text, 0, True, True)
    return made


def _image(z: int, sources: list[Any], source: SourceImages) -> Any:
    dataset = sources[0] if source.frames else sources[z]
    made = _item(ReferencedSOPClassUID=dataset.SOPClassUID, ReferencedSOPInstanceUID=dataset.SOPInstanceUID)
    if source.frames:
        made.ReferencedFrameNumber = source.frames[z]
    return made


def _item(**values: Any) -> Any:
    from pydicom.dataset import Dataset

    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made
