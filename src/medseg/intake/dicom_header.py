"""The part of a DICOM file that tells what it is and where it lies, read without its pixels."""

from __future__ import annotations

import hashlib
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medseg.errors import GeometryError, ImageError
from medseg.intake.checks import unreadable
from medseg.intake.dicom_grid import Plane

Kind = Literal["slice", "picture", "frames", "other"]

_UID = "1.2.840.10008.5.1.4.1.1."
_SLICES = {_UID + end for end in ("2", "4", "128")}  # CT, MR, PET
_FRAMES = {
    _UID + end for end in ("2.1", "2.2", "4.1", "4.4", "130", "128.1")
}  # enhanced and legacy converted CT, MR, PET
_PICTURES = {  # computed and digital radiography, mammography, intra-oral, X-ray angiography, fluoroscopy
    *(_UID + end for end in ("1", "1.1", "1.1.1", "1.2", "1.2.1", "1.3", "1.3.1", "12.1", "12.2")),
    *(_UID + end for end in ("7", "481.1")),  # secondary capture, radiotherapy image
}
_NOT_IMAGES = {_UID + end for end in ("66.4", "66.7", "481.2", "481.3", "30")}  # SEG, dose, structures, parametric map

_TAGS = [
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality", "InstanceNumber", "NumberOfFrames"),
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PixelRepresentation", "BitsStored"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "ImagerPixelSpacing"),
    *("NominalScannedPixelSpacing", "SpacingBetweenSlices", "SliceThickness", "RescaleSlope", "RescaleIntercept"),
    *("ModalityLUTSequence", "RescaleType", "BitsAllocated", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("StudyInstanceUID", "SeriesNumber", "ImageType", "HighBit", "PatientOrientation"),
]
_TRAITS = (
    *("TemporalPositionIdentifier", "EchoTime", "EchoNumbers", "DiffusionBValue", "TriggerTime", "InversionTime"),
    *("FlipAngle", "AcquisitionNumber", "ConvolutionKernel", "ImageType"),
)
"""What tells the volumes apart that one series may hold at the same positions."""
_DESCRIPTION_TAGS = (
    *("SeriesDescription", "PatientName", "PatientID", "PatientBirthDate", "OtherPatientIDs", "AccessionNumber"),
    *("ReferringPhysicianName", "PatientAddress", "PatientTelephoneNumbers"),
)
"""The description of a series, and whose values it must not repeat."""
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_META_BYTES, _META_LENGTH_AT = 1024, 140
"""The file meta information stands in the first kilobyte; its length after preamble, magic, tag, VR and length."""
_DEFLATE_LIMIT = 1032
"""The most that deflate can shrink anything (zlib's technical notes)."""
_ALWAYS_FINE_BYTES = 1 << 27
MOST_INFLATED_BYTES = 1 << 32
"""The longest pixel data that DICOM can hold uncompressed."""
_COUNTS = (
    *("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "PixelRepresentation", "NumberOfFrames"),
    *("HighBit",),
)
_ID_DIGITS = 12
WITHHELD = "(withheld)"
"""In place of a description that repeats what is known of the patient."""


@dataclass(frozen=True)
class Header:
    """One DICOM file: its path and its data set `tags` without pixels."""

    path: Path
    tags: Any

    @property
    def sop(self) -> str:
        """SOP class: what kind of object it is; a DICOMDIR tells it in its file meta information only."""
        return str(self.tags.get("SOPClassUID") or self.tags.file_meta.get("MediaStorageSOPClassUID", ""))

    @property
    def series(self) -> str:
        return str(self.tags.get("SeriesInstanceUID", ""))

    @property
    def study(self) -> str:
        return str(self.tags.get("StudyInstanceUID", ""))

    @property
    def number(self) -> str:
        """SeriesNumber as it is written; "" where there is none."""
        number = self.tags.get("SeriesNumber")
        return "" if number is None else str(number)

    @property
    def image_type(self) -> tuple[str, ...]:
        """ImageType: ORIGINAL or DERIVED, PRIMARY or SECONDARY, then what the vendor adds, such as LOCALIZER."""
        value = self.tags.get("ImageType") or ()
        return (value,) if isinstance(value, str) else tuple(str(v) for v in value)

    @property
    def syntax(self) -> str:
        """UID of the transfer syntax: how the file is encoded."""
        return str(self.tags.file_meta.get("TransferSyntaxUID", ""))

    @property
    def modality(self) -> str | None:
        return str(self.tags.get("Modality") or "") or None

    @property
    def kind(self) -> Kind:
        """ "slice" of a volume, "picture" (X-ray, screenshot), "frames" (several slices in one file), or no image."""
        sop = self.sop
        if sop in _NOT_IMAGES or not self.tags.get("Rows"):
            return "other"
        if sop in _FRAMES or int(self.tags.get("NumberOfFrames") or 1) > 1:
            return "frames"
        if sop in _PICTURES and not (sop == _UID + "7" and self._placed):
            return "picture"
        half_placed = self.tags.get("ImagePositionPatient") or self.tags.get("ImageOrientationPatient")
        return "slice" if sop in _SLICES or half_placed else "picture"  # half a place is refused, not passed over

    @property
    def name(self) -> str:
        number = self.tags.get("InstanceNumber")
        return self.path.name if number is None else f"slice {number} ({self.path.name})"

    @property
    def id(self) -> str:
        """Short hash: of the image for an X-ray, as one series holds several; else of the series."""
        return short_hash(str(self.tags.get("SOPInstanceUID", "")) if self.kind == "picture" else self.series)

    @property
    def _placed(self) -> bool:
        return bool(self.tags.get("ImagePositionPatient") and self.tags.get("ImageOrientationPatient"))


def uid_name(uid: str) -> str:
    """What the standard calls a UID; "unknown" where it is none of its own."""
    from pydicom.uid import UID_dictionary

    return str(UID_dictionary.get(uid, ("unknown",))[0])


def short_hash(uid: str) -> str:
    """The id of a case from DICOM: tells nothing about the patient, and the same input has always the same."""
    return hashlib.sha256(uid.encode()).hexdigest()[:_ID_DIGITS]


@contextmanager
def dicom_errors(path: Path, kind: str = "DICOM", *, show_message: bool = False) -> Iterator[None]:
    """What pydicom throws at damaged files as one ImageError; its warnings about odd headers are not for users."""
    errors: tuple[type[BaseException], ...] = (
        *(OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError),
        *(NotImplementedError, RuntimeError, MemoryError, struct.error, zlib.error),
    )
    from pydicom.errors import BytesLengthException, InvalidDicomError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with unreadable(path, kind, *errors, InvalidDicomError, BytesLengthException, show_message=show_message):
            yield


def read_header(path: Path) -> Header:
    """The header of one DICOM file; ImageError where it is none or is damaged."""
    from pydicom import dcmread

    with dicom_errors(path):
        _refuse_bomb(path)
        header = Header(path, dcmread(path, stop_before_pixels=True, specific_tags=[*_TAGS, *_TRAITS]))
        _decode(header)
    if not header.sop or (header.sop in _SLICES | _FRAMES | _PICTURES and not header.tags.get("Rows")):
        raise ImageError(
            f"{path}: the DICOM header ends early",
            got="no image size" if header.sop else "no SOP class",
            next_step="the file is damaged or truncated: copy or export it again",
        )
    return header


def _refuse_bomb(path: Path) -> None:
    """Refuse a deflated file that would fill the memory, before pydicom inflates it whole."""
    with path.open("rb") as file:
        start = file.read(_META_BYTES)
        if _DEFLATED not in start or path.stat().st_size * _DEFLATE_LIMIT <= _ALWAYS_FINE_BYTES:
            return
        length = int.from_bytes(start[_META_LENGTH_AT : _META_LENGTH_AT + 4], "little")
        file.seek(_META_LENGTH_AT + 4 + length)
        inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while not inflater.eof and (chunk := inflater.unconsumed_tail or file.read(1 << 16)):
            size += len(inflater.decompress(chunk, 1 << 22))
            if size > MOST_INFLATED_BYTES:
                raise ImageError(
                    f"{path}: inflates without an end in sight",
                    got=f"more than {size / 1e9:.1f} GB from {path.stat().st_size} bytes",
                    expected=f"at most {MOST_INFLATED_BYTES / 1e9:.1f} GB",
                    next_step="the file is damaged or was made to do harm",
                )


def _decode(header: Header) -> None:
    """Touch every value now: pydicom decodes lazily, and a damaged one has to show while errors are caught.

    Values of a wrong type come from damaged value representations.
    """
    _ = [element.value for tags in (header.tags.file_meta, header.tags) for element in tags]
    _ = [int(header.tags.get(name) or 0) for name in _COUNTS]
    _ = header.name, header.id, header.image_type, padding(header.tags)
    if not re.fullmatch(r"[0-9.]+", header.syntax):
        raise ValueError("no transfer syntax")


def plane_of(header: Header, index: int) -> Plane:
    """Where a single-frame slice lies; GeometryError where its header does not say."""
    tags = header.tags
    missing = [
        name for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing") if not tags.get(name)
    ]
    if missing:
        raise GeometryError(
            f"{header.path}: the slice does not say where it lies",
            got=f"no {', '.join(missing)}",
            next_step="export it again with its geometry",
        )
    with dicom_errors(header.path):
        position, orientation = tags.ImagePositionPatient, tags.ImageOrientationPatient
        plane = make_plane(header, header.name, index, position, orientation, measures=tags, values=tags)
        return replace(plane, traits=tuple((name, str(tags.get(name))) for name in _TRAITS if name in tags))


def make_plane(
    header: Header, name: str, index: int, position: Any, orientation: Any, *, measures: Any, values: Any
) -> Plane:
    """A `Plane` from the values of DICOM.

    `measures` holds PixelSpacing (between rows, between columns), `values` the rescale, `header` the rest.
    """
    tags = header.tags
    slope, intercept = rescale(values, header.path)
    rows_mm, columns_mm = (float(v) for v in measures.PixelSpacing)
    thickness = abs(float(measures.get("SpacingBetweenSlices") or measures.get("SliceThickness") or 0.0)) or 1.0
    numbers = [*map(float, position), *map(float, orientation)]
    if len(numbers) != 9 or not np.isfinite([*numbers, rows_mm, columns_mm, thickness, slope, intercept]).all():
        raise GeometryError(f"{header.path}: {name}: its position, orientation or spacing are not finite numbers")
    return Plane(
        name=name,
        index=index,
        position_mm=np.array(numbers[:3]),
        directions=np.array(numbers[3:]).reshape(2, 3),
        spacing_mm=(columns_mm, rows_mm),
        size=(int(tags.Columns), int(tags.Rows)),
        thickness_mm=thickness,
        slope=slope,
        intercept=intercept,
        unit=_unit(values),
        padding=padding(tags),
    )


def rescale(tags: Any, path: Path) -> tuple[float, float]:
    """Rescale slope and intercept; (1, 0) where none are given. A slope of 0 would erase the image: refused."""
    slope, intercept = tags.get("RescaleSlope"), tags.get("RescaleIntercept")
    pair = (1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept))
    if pair[0] == 0 or not np.isfinite(pair).all():
        raise ImageError(f"{path}: rescale slope and intercept erase the image", got=pair)
    return pair


def _unit(tags: Any) -> str:
    if tags.get("RescaleSlope") is None and tags.get("RescaleIntercept") is None:
        return "stored values"
    return str(tags.get("RescaleType") or "unspecified")


def padding(tags: Any) -> tuple[int, int] | None:
    """Lowest and highest stored value that stand for "not scanned": PS3.3 C.7.5.1.1.2; None where none are given.

    The two tags are often written with the other sign than the pixels: their bits are read as the pixels' are.
    """
    ends = [tags.get(name) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    if ends[0] is None:
        return None
    low, high = (_as_pixel(end if end is not None else ends[0], tags) for end in ends)
    return min(low, high), max(low, high)


def _as_pixel(value: Any, tags: Any) -> int:
    """A value of VR "US or SS" as one of the file's pixels."""
    if isinstance(value, bytes):
        value = int.from_bytes(value[:2], "little")
    bits, signed = int(tags.get("BitsAllocated") or 16), int(tags.get("PixelRepresentation") or 0)
    number = int(value) % (1 << bits)
    return number - (1 << bits) if signed and number >= 1 << (bits - 1) else number


def description(path: Path) -> str:
    """SeriesDescription of a file; withheld where it repeats a value of the patient."""
    from pydicom import dcmread

    with dicom_errors(path):
        tags = dcmread(path, stop_before_pixels=True, specific_tags=list(_DESCRIPTION_TAGS))
        text = str(tags.get("SeriesDescription") or "").strip()
        known = " ".join(str(tags.get(name) or "") for name in _DESCRIPTION_TAGS[1:])
    words = {word.lower() for word in re.split(r"[\W_]+", known) if len(word) > 2}
    return WITHHELD if any(word in text.lower() for word in words) else text


OPPOSITE = {"L": "R", "R": "L", "A": "P", "P": "A", "H": "F", "F": "H"}
"""Sides of a patient who walks upright, as PatientOrientation names them."""


def picture_directions(tags: Any) -> tuple[str, str] | None:
    """Towards which sides of the patient a picture's rows and columns run; None where PatientOrientation is silent.

    Frontal X-rays are hung as ("L", "F"): rows run to the patient's left, columns to the feet.
    """
    given = tags.get("PatientOrientation") or ()
    first = [str(one)[:1].upper() for one in ((given,) if isinstance(given, str) else given)]
    return (first[0], first[1]) if len(first) == 2 and set(first) <= OPPOSITE.keys() else None
