"""Hand-made DICOM: every file carries a patient's name that no error may repeat."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from medseg.case import Array, Image
from medseg.dicom import write_series

CT, MR, DX, CR, SC, ENHANCED_MR = ("1.2.840.10008.5.1.4.1.1." + end for end in ("2", "4", "1.1", "1", "7", "4.1"))
SOP = {"CT": CT, "MR": MR, "DX": DX, "CR": CR, "SC": SC, "EMR": ENHANCED_MR}
SECRET = "SECRETNAME"

MakeDicom = Callable[..., Path]


def _base(kind: str, pixels: Array, series: str) -> Dataset:
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = SOP[kind], generate_uid()
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.PatientName, data.PatientID = f"{SECRET}^A", f"{SECRET}1"
    data.Modality = {"SC": "OT", "EMR": "MR"}.get(kind, kind)
    data.SeriesInstanceUID, data.StudyInstanceUID = series, "1.2.3.1"
    data.Rows, data.Columns = pixels.shape[-2:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = pixels.dtype.itemsize * 8
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    data.PixelData = pixels.tobytes()
    return data


@pytest.fixture
def series(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A CT series of 1 mm voxels whose values count up, of the test module's SHAPE (X, Y, Z)."""
    shape = request.module.SHAPE
    hu = np.arange(np.prod(shape)).reshape(1, *shape).astype(np.int16)
    image = Image(hu, np.diag([-1.0, -1.0, 1.0, 1.0]), Path("made"), "CT")
    write_series(image, tmp_path / "ct", seed=1)
    return tmp_path / "ct"


@pytest.fixture
def make_dicom() -> MakeDicom:
    """Write one DICOM file from stored pixels (Y, X); further tags by keyword."""

    def make(path: Path, pixels: Array, *, kind: str = "CT", series: str = "1.2.3.4", **tags: Any) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        data = _base(kind, pixels, series)
        if kind in ("CT", "MR"):
            data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
            data.PixelSpacing, data.SliceThickness = [1, 1], 2
        for name, value in tags.items():
            if value is None:
                delattr(data, name)
            else:
                setattr(data, name, value)
        data.save_as(path, enforce_file_format=True)
        return path

    return make


@pytest.fixture
def make_series(make_dicom: MakeDicom) -> Callable[..., Path]:
    """A CT series of 2 x 3 pixels (X 3, Y 2) at the given z positions; slice k holds 10 k + 0..5."""

    def make(folder: Path, z_mm: Sequence[float], **tags: Any) -> Path:
        for k, z in enumerate(z_mm):
            pixels = (np.arange(6) + 10 * k).reshape(2, 3).astype(np.int16)
            position = {"ImagePositionPatient": [0, 0, z], "InstanceNumber": k + 1}
            make_dicom(folder / f"{k:03d}.dcm", pixels, **(position | tags))
        return folder

    return make


@pytest.fixture
def make_enhanced(make_dicom: MakeDicom) -> Callable[..., Path]:
    """An enhanced MR file of 2 x 2 frames at `z_mm`, with one rescale slope per frame; frame k holds 10 k + 0..3."""

    def make(path: Path, z_mm: Sequence[float], slopes: Sequence[float] | None = None) -> Path:
        pixels = (np.arange(4)[None] + 10 * np.arange(len(z_mm))[:, None]).reshape(-1, 2, 2).astype(np.uint16)
        shared = Dataset()
        orientation, measures = Dataset(), Dataset()
        orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        measures.PixelSpacing, measures.SliceThickness = [2, 3], 4
        shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
        frames = [_frame(z, slope) for z, slope in zip(z_mm, slopes or [1] * len(z_mm), strict=True)]
        return make_dicom(
            path,
            pixels,
            kind="EMR",
            NumberOfFrames=len(z_mm),
            SharedFunctionalGroupsSequence=[shared],
            PerFrameFunctionalGroupsSequence=frames,
        )

    return make


def _frame(z_mm: float, slope: float) -> Dataset:
    frame, position, value = Dataset(), Dataset(), Dataset()
    position.ImagePositionPatient = [5, 6, z_mm]
    value.RescaleSlope, value.RescaleIntercept, value.RescaleType = slope, 0, "US"
    frame.PlanePositionSequence, frame.PixelValueTransformationSequence = [position], [value]
    return frame
