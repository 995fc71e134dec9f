"""What a result takes over from the images it was made from: patient, study, frame of reference.

This is the only place where a patient's data pass through medseg, and they go into DICOM files alone.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import numpy as np

from medseg.dicom.attributes import decimals
from medseg.errors import OutputError

_EMPTY_IF_MISSING = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"),
    *("AccessionNumber", "ReferringPhysicianName"),
)
_NAMES = ("PatientName", "ReferringPhysicianName")
_UTF8 = "ISO_IR 192"
"""Results are written in it whatever the source used: highdicom does not take every combination of sets."""
_CHECKED = ("PatientSex", "PatientBirthDate", "StudyDate", "StudyTime")
"""What highdicom refuses where it breaks the rules of DICOM, as real files do."""
_TAKEN_OVER = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "OtherPatientIDs"),
    *("PatientAge", "PatientSize", "PatientWeight", "PatientIdentityRemoved", "DeidentificationMethod"),
    *("DeidentificationMethodCodeSequence", "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID"),
    *("StudyDescription", "AccessionNumber", "ReferringPhysicianName", "FrameOfReferenceUID"),
    *("PositionReferenceIndicator", "SpecificCharacterSet", "LongitudinalTemporalInformationModified"),
)


_QUIET = threading.RLock()


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Values of the source that break a rule of DICOM (an identifier too long) go through as they are, unmentioned.

    The setting is the process's, so one thread at a time is in here.
    """
    from pydicom import config

    with _QUIET:
        before = config.settings.reading_validation_mode, config.settings.writing_validation_mode
        config.settings.reading_validation_mode = config.settings.writing_validation_mode = config.IGNORE
        try:
            yield
        finally:
            config.settings.reading_validation_mode, config.settings.writing_validation_mode = before


def completed(datasets: Sequence[Any]) -> list[Any]:
    """Copies of `datasets` that have every attribute a result needs of them; what is missing is empty.

    What highdicom would refuse or warn of is kept from it: names of one part end with a caret, which means the same,
    and sex, dates and times are empty. `restore` puts the original ones into a result. The distance between slices is
    that of their positions.
    """
    found = [_completed(dataset) for dataset in datasets]
    _complete_spacing(found)
    return found


def take_over(result: Any, source: Any) -> None:
    """Give `result` the patient, study and frame of reference of `source`."""
    for keyword in _TAKEN_OVER:
        if keyword in source:
            result[keyword] = source[keyword]


def restore(result: Any, source: Any) -> None:
    """Give `result` the names, sex, dates and times as they stand in `source`."""
    for keyword in (*_NAMES, *_CHECKED):
        if keyword in source and keyword in result:
            result[keyword] = source[keyword]


def _completed(dataset: Any) -> Any:
    found = deepcopy(dataset)  # a shallow copy of a pydicom data set shares its elements
    found.decode()
    found.SpecificCharacterSet = _UTF8
    for keyword in _EMPTY_IF_MISSING:
        if keyword not in found:
            setattr(found, keyword, "")
    for keyword in _NAMES:
        if str(found[keyword].value or "") and "^" not in str(found[keyword].value):
            setattr(found, keyword, f"{found[keyword].value}^")
    for keyword in _CHECKED:
        setattr(found, keyword, "")
    missing = [k for k in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID") if not found.get(k)]
    if missing:
        raise OutputError(
            "a source image has no identifiers to refer to",
            got=f"no {', '.join(missing)}",
            next_step="export the series again, or write the mask as NIfTI",
        )
    if found.get("ImagePositionPatient") or "PerFrameFunctionalGroupsSequence" in found:
        _complete_place(found)
    return found


def _complete_place(found: Any) -> None:
    """What old and de-identified files lack: one series is one frame of reference, frames share size and direction."""
    found.FrameOfReferenceUID = found.get("FrameOfReferenceUID") or _frame_of(found)
    found.PositionReferenceIndicator = found.get("PositionReferenceIndicator", "")
    if "PerFrameFunctionalGroupsSequence" not in found:
        thickness = float(found.get("SliceThickness") or found.get("SpacingBetweenSlices") or 1.0)
        found.SliceThickness = decimals([abs(thickness)])[0]
        return
    from pydicom.dataset import Dataset

    shared = found.SharedFunctionalGroupsSequence[0] if found.get("SharedFunctionalGroupsSequence") else Dataset()
    for name in ("PixelMeasuresSequence", "PlaneOrientationSequence"):
        if name not in shared:
            setattr(shared, name, found.PerFrameFunctionalGroupsSequence[0].get(name))
    found.SharedFunctionalGroupsSequence = [shared]


def _complete_spacing(found: Sequence[Any]) -> None:
    """Say how far apart slices lie as their positions have it: real files state a gap, 0 or a negative number.

    Readers that rebuild a volume from a SEG without its empty slices go by what is stated.
    """
    frames = found[0].get("PerFrameFunctionalGroupsSequence")
    positions = [place for place in map(_position_mm, frames or found) if place]
    if not positions:
        return
    measures = found[0].SharedFunctionalGroupsSequence[0].get("PixelMeasuresSequence") or [] if frames else found
    for one in measures:
        step = _step_mm(positions) or abs(float(one.get("SpacingBetweenSlices") or 0.0))
        if step:
            one.SpacingBetweenSlices = decimals([step])[0]
        elif "SpacingBetweenSlices" in one:
            del one.SpacingBetweenSlices


def _position_mm(image_or_frame: Any) -> Sequence[float] | None:
    place = (image_or_frame.get("PlanePositionSequence") or [image_or_frame])[0]
    found: Sequence[float] | None = place.get("ImagePositionPatient")
    return found


def _step_mm(positions: Sequence[Sequence[float]]) -> float:
    """Mean distance of neighbours on a line, given in any order; 0 for a single one."""
    points = np.asarray(positions, dtype=np.float64)
    end = points[np.linalg.norm(points - points[0], axis=1).argmax()]
    return float(np.linalg.norm(points - end, axis=1).max()) / max(1, len(points) - 1)


def _frame_of(dataset: Any) -> str:
    from pydicom.uid import generate_uid

    return str(generate_uid(entropy_srcs=["frame of reference", str(dataset.get("SeriesInstanceUID", ""))]))
