"""DICOM SR (TID 1500): volumes, mean HU and what else a bundle measures, tied to the segments they belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medseg import __version__
from medseg.case import Array, Image, LabelArray
from medseg.dicom.codes import PRIVATE_SCHEME, Code, SegmentCode
from medseg.dicom.source import completed, quiet_pydicom, restore
from medseg.geometry import spacing_mm, voxel_volume_ml
from medseg.intake.dicom_source import SourceImages
from medseg.outputs.algorithm import SERIES_NUMBER, Algorithm, coded, dicom_extra, new_uid, tracking_id, tracking_uid

VOLUME = Code("118565006", "SCT", "Volume")
AREA = Code("42798000", "SCT", "Area")
ATTENUATION = Code("112031", "DCM", "Attenuation Coefficient")
MEAN = Code("373098007", "SCT", "Mean")
MILLILITRE = Code("ml", "UCUM", "milliliter")
SQUARE_CENTIMETRE = Code("cm2", "UCUM", "square centimeter")
HOUNSFIELD = Code("[hnsf'U]", "UCUM", "Hounsfield unit")
RATIO = Code("{ratio}", "UCUM", "ratio")
_MEASUREMENTS = {"cardiothoracic_ratio": Code("cardiothoracic-ratio", PRIVATE_SCHEME, "Cardiothoracic ratio")}
"""No dictionary of DICOM has a code for the ratio of widths (59074-5 and 59076-0 of LOINC are of other measures)."""
_PROCEDURES = {
    "CT": Code("25045-6", "LN", "CT unspecified body region"),
    "MR": Code("25056-3", "LN", "MRI unspecified body region"),
    "PT": Code("44136-0", "LN", "PET unspecified body region"),
    **dict.fromkeys(("CR", "DX"), Code("43468-8", "LN", "XR unspecified body region")),
}
_SIDES = ("7771000", "24028007")
"""SNOMED CT for left and right."""
_ANY_PROCEDURE = Code("363679005", "SCT", "Imaging procedure")


@dataclass(frozen=True)
class Size:
    """One measured number of a region.

    Attributes
    ----------
    name, unit
        Coded.
    value
        In that unit.
    derivation
        How the voxels became one number, where they did.
    """

    name: Code
    unit: Code
    value: float
    derivation: Code | None = None


def sizes(image: Image, labels: LabelArray, number: int) -> list[Size]:
    """What is measured of one label: volume in ml and, of a CT, mean HU; of a picture with known spacing its area.

    Parameters
    ----------
    image
        ``(C, X, Y[, Z])`` in the unit of its modality.
    labels
        ``(X, Y[, Z])``.
    """
    voxels, mean = _count_and_mean(image.array[0], labels, number)
    if labels.ndim == 2:
        x_mm, y_mm, _ = spacing_mm(image.affine)
        return [Size(AREA, SQUARE_CENTIMETRE, voxels * x_mm * y_mm / 100.0)] if image.spacing_known else []
    found = [Size(VOLUME, MILLILITRE, voxels * voxel_volume_ml(image.affine))]
    if image.modality == "CT" and voxels:
        found.append(Size(ATTENUATION, HOUNSFIELD, mean, MEAN))
    return found


def make_sr(
    labels: LabelArray,
    image: Image,
    source: SourceImages,
    seg: Any,
    *,
    segments: Mapping[int, SegmentCode],
    algorithm: Algorithm,
    measurements: Mapping[str, float | None],
) -> Any:
    """An Imaging Measurement Report (TID 1500) of a label map.

    Parameters
    ----------
    labels
        ``(X, Y[, Z])`` on the grid of the image.
    image
        What was measured.
    source
        The images behind it.
    seg
        The binary SEG that holds the regions, as `make_seg` gives it; a region's measurements refer to its segment.
    segments
        Code of each label value but 0.
    measurements
        What the bundle measures of the whole label map, by name, such as "cardiothoracic_ratio"; None is left out.

    Returns
    -------
    highdicom.sr.ComprehensiveSR
        Not yet written; `save_as` writes it.
    """
    with dicom_extra():
        from highdicom.sr import ComprehensiveSR
    with quiet_pydicom():
        groups = [
            group
            for number, segment in sorted(segments.items())
            for group in _groups(number, segment, sizes(image, labels, number), labels, source, seg, algorithm)
        ]
        whole = {name: value for name, value in measurements.items() if value is not None}
        if whole:
            groups.append(_whole(whole, source, algorithm))
        made = ComprehensiveSR(
            evidence=[*completed(source.datasets), seg],
            content=_report(groups, image.modality),
            series_instance_uid=new_uid(),
            series_number=SERIES_NUMBER + 3,
            sop_instance_uid=new_uid(),
            instance_number=1,
            manufacturer="medseg",
            is_complete=True,
            is_final=False,
            is_verified=False,
            series_description=f"{algorithm.name} measurements"[:64],
            manufacturer_model_name=algorithm.name[:64],
            software_versions=__version__,
        )
    restore(made, source.datasets[0])
    return made


def _count_and_mean(values: Array, labels: LabelArray, number: int) -> tuple[int, float]:
    """Slice by slice: a mask of the whole volume is not made."""
    count, total = 0, 0.0
    for k in range(labels.shape[-1]):
        inside = values[..., k][labels[..., k] == number]
        count, total = count + inside.size, total + float(inside.sum(dtype=np.float64))
    return count, total / count if count else 0.0


def _groups(
    number: int,
    segment: SegmentCode,
    found: Sequence[Size],
    labels: LabelArray,
    source: SourceImages,
    seg: Any,
    algorithm: Algorithm,
) -> list[Any]:
    """The measurement group of one label; none where nothing is measured of it."""
    from highdicom.sr import (
        MeasurementsAndQualitativeEvaluations,
        ReferencedSegment,
        TrackingIdentifier,
        VolumetricROIMeasurementsAndQualitativeEvaluations,
    )

    if not found:
        return []
    common = {
        "tracking_identifier": TrackingIdentifier(
            tracking_uid(source, algorithm, number), tracking_id(algorithm, segment)
        ),
        "measurements": [_measurement(size, algorithm) for size in found],
        "finding_type": coded(segment.type),
        "finding_category": coded(segment.category),
        "finding_sites": _sites(segment),
    }
    if labels.ndim == 3 and (labels == number).any():
        region = ReferencedSegment.from_segmentation(seg, segment_number=number)
        return [VolumetricROIMeasurementsAndQualitativeEvaluations(**common, referenced_segment=region)]
    # nothing in space to refer to: a picture, or a label that was not found
    return [MeasurementsAndQualitativeEvaluations(**common, source_images=_images(source)[:1])]


def _images(source: SourceImages) -> list[Any]:
    from highdicom.sr import SourceImageForMeasurementGroup

    return [SourceImageForMeasurementGroup(d.SOPClassUID, d.SOPInstanceUID) for d in source.datasets]


def _sites(segment: SegmentCode) -> list[Any] | None:
    """Where the finding is, and on which side; None where its type tells it wholly."""
    from highdicom.sr import FindingSite

    if segment.region is None and segment.modifier is None:
        return None
    modifier = None if segment.modifier is None else coded(segment.modifier)
    sided = segment.modifier is not None and segment.modifier.value in _SIDES
    return [
        FindingSite(
            anatomic_location=coded(segment.region or segment.type),
            laterality=modifier if sided else None,
            topographical_modifier=None if sided else modifier,
        )
    ]


def _whole(measurements: Mapping[str, float], source: SourceImages, algorithm: Algorithm) -> Any:
    """The group of what the bundle measures of the whole label map."""
    from highdicom.sr import MeasurementsAndQualitativeEvaluations, TrackingIdentifier

    measured = [
        _measurement(Size(_MEASUREMENTS.get(name, Code(name[:16], PRIVATE_SCHEME, name[:64])), RATIO, value), algorithm)
        for name, value in measurements.items()
    ]
    tracking = TrackingIdentifier(tracking_uid(source, algorithm, 0), f"{algorithm.name} measurements"[:64])
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=tracking, measurements=measured, source_images=_images(source)[:1]
    )


def _measurement(size: Size, algorithm: Algorithm) -> Any:
    from highdicom.sr import AlgorithmIdentification, Measurement

    return Measurement(
        name=coded(size.name),
        value=round(size.value, 6),
        unit=coded(size.unit),
        derivation=None if size.derivation is None else coded(size.derivation),
        algorithm_id=AlgorithmIdentification(name=algorithm.name, version=algorithm.version),
    )


def _report(groups: Sequence[Any], modality: str | None) -> Any:
    from highdicom.sr import DeviceObserverIdentifyingAttributes, MeasurementReport, ObservationContext, ObserverContext
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    device = DeviceObserverIdentifyingAttributes(
        uid=generate_uid(entropy_srcs=["medseg", "device observer"]),
        name="medseg",
        manufacturer_name="medseg",
        model_name=f"medseg {__version__}",
    )
    observer = ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device)
    return MeasurementReport(
        observation_context=ObservationContext(observer_device_context=observer),
        procedure_reported=coded(_PROCEDURES.get(modality or "", _ANY_PROCEDURE)),
        imaging_measurements=list(groups) or None,
        title=codes.DCM.ImagingMeasurementReport,
    )
