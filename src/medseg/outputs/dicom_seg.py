"""DICOM SEG: the label map as segments that refer to the images they were found in."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Literal

import numpy as np

from medseg import __version__
from medseg.case import Array, LabelArray
from medseg.dicom.codes import Rgb, SegmentCode
from medseg.dicom.source import completed, quiet_pydicom, restore
from medseg.intake.dicom_source import SourceImages
from medseg.outputs.algorithm import SERIES_NUMBER, Algorithm, coded, dicom_extra, new_uid, tracking_id, tracking_uid

Kind = Literal["BINARY", "LABELMAP"]

# not RLE: pydicom encodes it by GDCM, which ends the whole process at some widths (gdcmRLECodec.cxx:547)
JPEG_LS, EXPLICIT, DEFLATED = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"
_SMALLEST_COMPRESSED = 1024
"""Pixels of a frame: pyjpegls gives its encoder too little room for smaller ones."""


def make_seg(
    labels: LabelArray,
    source: SourceImages,
    *,
    segments: Mapping[int, SegmentCode],
    algorithm: Algorithm,
    kind: Kind = "BINARY",
    deflated: bool = False,
) -> Any:
    """A DICOM SEG of a label map.

    Parameters
    ----------
    labels
        ``(X, Y, Z)``, or ``(X, Y)`` of a picture, on the grid of the source.
    source
        The images it was found in; each frame refers to its own.
    segments
        Code of each label value but 0, from 1 on without gaps; those that were not found are described all the same.
    algorithm
        Goes into the algorithm identification of each segment.
    kind
        "BINARY": one bit a pixel, a frame for each slice that a segment reaches. "LABELMAP": the values themselves, a
        frame for each slice that holds any, JPEG-LS lossless.
    deflated
        Compress the whole data set, to about a tenth for a binary one (frames of one bit have no compression of
        their own that every reader knows); a reader has to know Deflated Explicit VR Little Endian.

    Returns
    -------
    highdicom.seg.Segmentation
        Not yet written; `save_as` writes it.
    """
    with dicom_extra():
        from highdicom.seg import Segmentation
    with quiet_pydicom():
        made = Segmentation(
            source_images=completed(source.datasets),
            pixel_array=_frames(labels, source),
            segmentation_type=kind,
            segment_descriptions=[_description(n, s, source, algorithm) for n, s in sorted(segments.items())],
            transfer_syntax_uid=_transfer_syntax(labels, kind),
            omit_empty_frames=bool(labels.any()),
            **_series(algorithm, kind),
        )
    restore(made, source.datasets[0])
    _add_modifiers(made, segments)
    _identify_each_frame(made)
    if "FrameOfReferenceUID" not in made:
        made.PatientOrientation = source.datasets[0].get("PatientOrientation", "")
    if deflated:
        made.file_meta.TransferSyntaxUID = DEFLATED
    return made


def _series(algorithm: Algorithm, kind: Kind) -> dict[str, Any]:
    """What the new series and the equipment that made it are called; DICOM's long strings end after 64 characters."""
    binary = kind == "BINARY"
    return {
        "series_instance_uid": new_uid(),
        "series_number": SERIES_NUMBER if binary else SERIES_NUMBER + 1,
        "series_description": f"{algorithm.name} {'segmentation' if binary else 'label map'}"[:64],
        "sop_instance_uid": new_uid(),
        "instance_number": 1,
        "manufacturer": "medseg",
        "manufacturer_model_name": algorithm.name[:64],
        "software_versions": __version__,
        "device_serial_number": "0",
        "content_label": "SEGMENTATION",
        "content_description": f"Segmentation by {algorithm.name} {algorithm.version}"[:64],
    }


def _transfer_syntax(labels: LabelArray, kind: Kind) -> str:
    large_enough = labels.shape[0] * labels.shape[1] >= _SMALLEST_COMPRESSED
    return JPEG_LS if kind == "LABELMAP" and large_enough else EXPLICIT


def _identification(algorithm: Algorithm) -> Any:
    from highdicom import AlgorithmIdentificationSequence
    from pydicom.sr.codedict import codes

    return AlgorithmIdentificationSequence(
        name=algorithm.name, family=codes.DCM.ArtificialIntelligence, version=algorithm.version, source="medseg"
    )


def _description(number: int, segment: SegmentCode, source: SourceImages, algorithm: Algorithm) -> Any:
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription

    return SegmentDescription(
        segment_number=number,
        segment_label=segment.name[:64],
        segmented_property_category=coded(segment.category),
        segmented_property_type=coded(segment.type),
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=_identification(algorithm),
        tracking_uid=tracking_uid(source, algorithm, number),
        tracking_id=tracking_id(algorithm, segment),
        anatomic_regions=None if segment.region is None else [coded(segment.region)],
        display_color=_lab(segment.colour),
    )


def _lab(colour: Rgb) -> Any:
    from highdicom.color import CIELabColor

    return CIELabColor.from_rgb(*colour)


def _add_modifiers(made: Any, segments: Mapping[int, SegmentCode]) -> None:
    """Modifiers of the property type (laterality), which highdicom has no argument for."""
    from highdicom.sr import CodedConcept

    for item in made.SegmentSequence:
        segment = segments.get(int(item.SegmentNumber))
        if segment is not None and segment.modifier is not None:
            modifier = CodedConcept.from_code(coded(segment.modifier))
            item.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [modifier]


def _identify_each_frame(made: Any) -> None:
    """A single segment is told in each frame, as several are: readers look there, highdicom's own for SR among them."""
    shared = made.SharedFunctionalGroupsSequence[0]
    if "SegmentIdentificationSequence" not in shared:
        return
    for frame in made.PerFrameFunctionalGroupsSequence:
        frame.SegmentIdentificationSequence = deepcopy(shared.SegmentIdentificationSequence)
    del shared.SegmentIdentificationSequence


def _frames(labels: LabelArray, source: SourceImages) -> Array:
    """Label map ``(frames, rows, columns)`` in the order of the source's files or frames."""
    rows = np.ascontiguousarray(labels.T if labels.ndim == 3 else labels.T[None])
    rows = rows.astype(np.uint8 if int(rows.max()) <= 255 else np.uint16)
    if source.frames:
        rows = rows[np.argsort(source.frames)]
    return rows
