"""Small good files of every format that is read, made anew: what the corpus of bad input is made from."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK
from PIL import Image as Pillow
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

SECRET = "SECRETNAME"
VALUES = (np.arange(5 * 6 * 4).reshape(5, 6, 4) * 7 % 301 - 50).astype(np.int16)
AFFINE = np.array([[-0.7, 0, 0, 11.0], [0, -0.8, 0, 12.0], [0, 0, 2.5, -30.0], [0, 0, 0, 1]])

_CT, _DX, _ENHANCED = ("1.2.840.10008.5.1.4.1.1." + end for end in ("2", "1.1", "4.1"))


def write_seeds(folder: Path) -> dict[str, Path]:
    """One good file of each kind in a folder of its own, by name; for a series its middle slice."""
    made = {}
    for name, write in SEEDS.items():
        place = folder / name
        place.mkdir(parents=True)
        made[name] = write(place)
    return made


def readable(name: str, path: Path) -> Path:
    """What is read for a seed: the file, the folder of a series' slice, the header of a file of voxels."""
    if name == "series":
        return path.parent
    return path.with_suffix(".mhd") if name == "mhd voxels" else path


def dicom(kind: str = _CT, **tags: Any) -> Dataset:
    """A data set with a patient's name that no error may repeat, and no pixels."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = kind
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.3.4.5"
    data.PatientName, data.PatientID = f"{SECRET}^A", f"{SECRET}1"
    data.StudyInstanceUID, data.SeriesInstanceUID = "1.2.3.1", "1.2.3.4"
    data.SeriesNumber, data.InstanceNumber = 2, 1
    for name, value in tags.items():
        setattr(data, name, value)
    return data


def add_pixels(data: Dataset, pixels: np.ndarray) -> None:
    """Grey pixels ``(Y, X)`` or ``(frames, Y, X)``."""
    data.Rows, data.Columns = pixels.shape[-2:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = pixels.dtype.itemsize * 8
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, int(pixels.dtype.kind == "i")
    data.PixelData = pixels.tobytes()
    data["PixelData"].VR = "OW" if pixels.dtype.itemsize == 2 else "OB"


def ct_slice(k: int, syntax: str = ExplicitVRLittleEndian) -> Dataset:
    """Slice k of VALUES on AFFINE, as LPS."""
    data = dicom(Modality="CT", PixelSpacing=[0.8, 0.7], SliceThickness=2.5, RescaleSlope=1, RescaleIntercept=-1024)
    data.ImageOrientationPatient, data.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [-11, -12, -30 + 2.5 * k]
    data.InstanceNumber, data.SOPInstanceUID = k + 1, f"1.2.3.4.{k + 1}"
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    add_pixels(data, np.ascontiguousarray(VALUES[..., k].T + 1024))
    if syntax == RLELossless:
        data.compress(syntax, generate_instance_uid=False)
    data.file_meta.TransferSyntaxUID = syntax
    return data


def save(data: Dataset, path: Path) -> Path:
    data.save_as(path, enforce_file_format=True)
    return path


def _series(folder: Path) -> Path:
    for k in range(VALUES.shape[2]):
        save(ct_slice(k), folder / f"{k}.dcm")
    return folder / "1.dcm"


def _slice(syntax: str) -> Callable[[Path], Path]:
    return lambda folder: save(ct_slice(1, syntax), folder / "slice.dcm")


def _xray(folder: Path) -> Path:
    data = dicom(_DX, Modality="DX", ImagerPixelSpacing=[0.2, 0.1])
    add_pixels(data, np.ascontiguousarray((VALUES[..., 0].T + 50).astype(np.uint16)))
    return save(data, folder / "xray.dcm")


def _enhanced(folder: Path) -> Path:
    shared, turn, measures, frames = Dataset(), Dataset(), Dataset(), []
    turn.ImageOrientationPatient, measures.PixelSpacing = [1, 0, 0, 0, 1, 0], [0.8, 0.7]
    measures.SliceThickness = 2.5
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [turn], [measures]
    for k in range(VALUES.shape[2]):
        frame, place, value = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [-11, -12, -30 + 2.5 * k]
        value.RescaleSlope, value.RescaleIntercept, value.RescaleType = 1, 0, "US"
        frame.PlanePositionSequence, frame.PixelValueTransformationSequence = [place], [value]
        frames.append(frame)
    data = dicom(_ENHANCED, Modality="MR", NumberOfFrames=len(frames))
    data.SharedFunctionalGroupsSequence, data.PerFrameFunctionalGroupsSequence = [shared], frames
    add_pixels(data, np.ascontiguousarray(VALUES.T))
    return save(data, folder / "enhanced.dcm")


def _nifti(name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        nib.save(nib.Nifti1Image(VALUES, AFFINE), folder / name)
        return folder / name

    return write


def _itk(name: str, *, compressed: bool) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        image = SimpleITK.GetImageFromArray(np.ascontiguousarray(VALUES.T))
        image.SetSpacing([0.7, 0.8, 2.5])
        image.SetOrigin([-11.0, -12.0, -30.0])
        SimpleITK.WriteImage(image, str(folder / name), useCompression=compressed)
        return folder / name

    return write


def _mhd_voxels(folder: Path) -> Path:
    return _itk("a.mhd", compressed=False)(folder).with_suffix(".raw")


def _picture(name: str, **options: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        grey, stream = np.arange(16 * 12, dtype=np.uint8).reshape(12, 16), io.BytesIO()
        Pillow.fromarray(grey).save(stream, **options)
        (folder / name).write_bytes(stream.getvalue())
        return folder / name

    return write


SEEDS: dict[str, Callable[[Path], Path]] = {
    "series": _series,
    "slice": _slice(ExplicitVRLittleEndian),
    "implicit": _slice(ImplicitVRLittleEndian),
    "deflated": _slice(DeflatedExplicitVRLittleEndian),
    "rle": _slice(RLELossless),
    "x-ray": _xray,
    "enhanced": _enhanced,
    "nii": _nifti("a.nii"),
    "nii.gz": _nifti("a.nii.gz"),
    "nrrd": _itk("a.nrrd", compressed=False),
    "nrrd gzip": _itk("b.nrrd", compressed=True),
    "mha": _itk("a.mha", compressed=False),
    "mha zlib": _itk("b.mha", compressed=True),
    "mhd": _itk("a.mhd", compressed=False),
    "mhd voxels": _mhd_voxels,
    "png": _picture("a.png", format="PNG"),
    "jpeg": _picture("a.jpg", format="JPEG"),
    "tiff": _picture("a.tif", format="TIFF", compression="tiff_lzw"),
    "bmp": _picture("a.bmp", format="BMP"),
}
"""Name to what writes it into a folder."""
