"""The attributes that every file of ours carries: DICOM PS3.3, modules Patient, Study, Series, Equipment, SOP Common.

Type 2 attributes are present and empty; nobody's data is written, only placeholders that say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from medseg.case import Array

CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
CR_STORAGE = "1.2.840.10008.5.1.4.1.1.1"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"

Seed = int | Sequence[int] | None


@dataclass(frozen=True)
class Uids:
    """The identifiers that the files of one series share."""

    study: str
    series: str
    frame: str
    seed: Seed

    @classmethod
    def make(cls, seed: Seed) -> Uids:
        """New identifiers; the same seed gives the same ones, None gives random ones."""
        return cls(uid(seed, "study"), uid(seed, "series"), uid(seed, "frame"), seed)

    def instance(self, number: int) -> str:
        """The identifier of one file."""
        return uid(self.seed, f"instance {number}")


def uid(seed: Seed, role: str) -> str:
    """A UID from the seed's text and a role; random without a seed."""
    from pydicom.uid import generate_uid

    if seed is None:
        return str(generate_uid())
    text = str(seed) if isinstance(seed, int) else ".".join(str(int(s)) for s in seed)
    return str(generate_uid(entropy_srcs=["medseg", text, role]))


def new_dataset(uids: Uids, number: int, *, storage: str, modality: str, description: str) -> Any:
    """A FileDataset with everything but the pixels and their geometry."""
    from pydicom.dataset import FileDataset, FileMetaDataset

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = storage
    meta.MediaStorageSOPInstanceUID = uids.instance(number)
    meta.TransferSyntaxUID = EXPLICIT_LITTLE_ENDIAN
    ds = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = storage
    ds.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    _add_patient_and_study(ds, uids)
    ds.Modality = modality
    ds.SeriesInstanceUID = uids.series
    ds.SeriesNumber = 1
    ds.SeriesDescription = description[:64]
    ds.Manufacturer = "medseg"
    ds.InstanceNumber = number
    ds.AcquisitionNumber = 1
    ds.ImageComments = "Written by medseg; not for diagnosis"
    return ds


def _add_patient_and_study(ds: Any, uids: Uids) -> None:
    ds.PatientName = "Anonymous^Patient"
    ds.PatientID = "ANONYMOUS"
    ds.PatientIdentityRemoved = "YES"
    ds.DeidentificationMethod = "No patient data were available to the writer"
    ds.StudyInstanceUID = uids.study
    ds.StudyID = "1"
    for keyword in (
        "PatientBirthDate",
        "PatientSex",
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "ReferringPhysicianName",
    ):
        setattr(ds, keyword, "")


def add_pixels(ds: Any, rows: Array) -> None:
    """Put a picture (rows, columns) of int16, uint16 or uint8 into the file."""
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = rows.shape
    ds.BitsAllocated = ds.BitsStored = 8 * rows.dtype.itemsize
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(rows.dtype.kind == "i")
    data = rows.astype(rows.dtype.newbyteorder("<")).tobytes()
    vr = "OB" if rows.dtype.itemsize == 1 else "OW"
    ds.add_new(0x7FE00010, vr, data + b"\0" * (len(data) % 2))


def decimals(values: Sequence[float] | Array) -> list[str]:
    """Decimal strings of at most 16 characters, as exact as they can be."""
    from pydicom.valuerep import format_number_as_ds

    return [format_number_as_ds(float(v) + 0.0) for v in values]
