"""Write an image as a DICOM series that other software reads back with the same values in the same place."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medseg.case import Array, Image
from medseg.dicom.attributes import (
    CR_STORAGE,
    CT_STORAGE,
    Seed,
    Uids,
    add_pixels,
    decimals,
    new_dataset,
)
from medseg.errors import GeometryError, ImageError, OutputError
from medseg.files import atomic_folder, atomic_write
from medseg.geometry import lps_from_affine, reorient

INTERCEPT_HU = -1024
_SKEW = 1e-4


def write_series(
    image: Image, folder: Path, *, series_description: str = "", seed: Seed = None, patient_position: str = "HFS"
) -> list[Path]:
    """Write a CT volume as one CT Image Storage file per slice, uncompressed.

    Parameters
    ----------
    image
        Integer HU (X, Y, Z) or (1, X, Y, Z) within int16, any orientation: slices are cut across the voxel axis nearest
        to the patient's long axis, columns run to the left and rows to the back. No value is interpolated.
    folder
        Made here; refused when it holds anything. It appears whole or not at all.
    seed
        Gives the UIDs; None for random ones.

    Returns
    -------
    list of Path
        The files, feet first.
    """
    folder = Path(folder)
    volume = _checked_volume(image, folder)
    origin, spacing, direction = lps_from_affine(volume.affine)
    stored = (volume.array.astype(np.int32) - INTERCEPT_HU).astype(np.int16)
    uids = Uids.make(seed)
    with atomic_folder(folder) as building:
        for index in range(stored.shape[2]):
            ds = new_dataset(uids, index + 1, storage=CT_STORAGE, modality="CT", description=series_description)
            ds.PatientPosition = patient_position
            _add_ct(ds, uids)
            _add_plane(ds, origin + index * spacing[2] * direction[:, 2], spacing, direction)
            add_pixels(ds, stored[:, :, index].T)
            ds.save_as(building / f"{index + 1:04d}.dcm", enforce_file_format=True)
    return [folder / f"{index + 1:04d}.dcm" for index in range(stored.shape[2])]


def write_xray(image: Image, path: Path, *, series_description: str = "", seed: Seed = None) -> Path:
    """Write a frontal chest X-ray as one Computed Radiography Image Storage file, uncompressed, MONOCHROME2.

    Parameters
    ----------
    image
        uint8 or uint16 (X, Y) or (1, X, Y), bone bright, the patient's left on the right of the picture.
    path
        The file; replaced when it is there.
    seed
        Gives the UIDs; None for random ones.
    """
    path = Path(path)
    array = image.array[0] if image.array.ndim == 3 else image.array
    if array.ndim != 2 or array.dtype not in (np.uint8, np.uint16):
        got = f"{image.array.shape} of {image.array.dtype}"
        raise ImageError(f"{image.source}: not an X-ray", got=got, expected="(1, X, Y) of uint8 or uint16")
    ds = new_dataset(Uids.make(seed), 1, storage=CR_STORAGE, modality="CR", description=series_description)
    ds.ImageType = ["DERIVED", "SECONDARY"]
    ds.BodyPartExamined = "CHEST"
    ds.ViewPosition = "PA"
    ds.PatientOrientation = ["L", "F"]
    spacing = decimals([image.affine[1, 1], image.affine[0, 0]])
    if image.spacing_known:
        ds.ImagerPixelSpacing = spacing
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "0", "1", "US"
    ds.BurnedInAnnotation = "NO"
    add_pixels(ds, np.ascontiguousarray(array.T))
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        ds.save_as(temporary, enforce_file_format=True)
    return path


def _checked_volume(image: Image, folder: Path) -> Image:
    """The volume (X, Y, Z) turned to LPS, refused where CT files could not hold it."""
    array = image.array[0] if image.array.ndim == 4 and image.array.shape[0] == 1 else image.array
    if image.modality not in (None, "CT"):
        raise ImageError(f"{image.source}: cannot write this modality", got=image.modality, expected="CT")
    if array.ndim != 3 or array.dtype.kind not in "iu":
        got = f"{image.array.shape} of {image.array.dtype}"
        raise ImageError(f"{image.source}: not a CT volume", got=got, expected="(1, X, Y, Z) of whole HU")
    low, high = int(array.min()), int(array.max())
    limits = np.iinfo(np.int16)
    if low < limits.min or high + 1 > limits.max + 1 + INTERCEPT_HU:
        expected = f"{limits.min} to {limits.max + INTERCEPT_HU} HU"
        raise ImageError(f"{image.source}: values outside a CT", got=f"{low} to {high}", expected=expected)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder} is there already and not an empty folder", next_step="give a new folder")
    volume = reorient(Image(array, image.affine, image.source, image.modality, image.spacing_known), "LPS")
    direction = lps_from_affine(volume.affine)[2]
    if np.abs(direction.T @ direction - np.eye(3)).max() > _SKEW or np.linalg.det(direction) < 0:
        raise GeometryError(
            f"{image.source}: voxel axes are not at right angles",
            got=np.round(direction, 5).tolist(),
            expected="three perpendicular axes",
            next_step="resample the volume to a rectangular grid first",
        )
    return volume


def _add_ct(ds: object, uids: Uids) -> None:
    values = {
        "ImageType": ["DERIVED", "SECONDARY", "AXIAL"],
        "BodyPartExamined": "CHEST",
        "FrameOfReferenceUID": uids.frame,
        "PositionReferenceIndicator": "",
        "KVP": None,
        "RescaleIntercept": str(INTERCEPT_HU),
        "RescaleSlope": "1",
        "RescaleType": "HU",
        "WindowCenter": "-500",
        "WindowWidth": "1500",
    }
    for keyword, value in values.items():
        setattr(ds, keyword, value)


def _add_plane(ds: object, position_mm: Array, spacing_mm: Array, direction: Array) -> None:
    """Image Plane module. PixelSpacing is (between rows, between columns), so Y before X."""
    values = {
        "ImagePositionPatient": decimals(position_mm),
        "ImageOrientationPatient": decimals([*direction[:, 0], *direction[:, 1]]),
        "PixelSpacing": decimals([spacing_mm[1], spacing_mm[0]]),
        "SliceThickness": decimals([spacing_mm[2]])[0],
        "SpacingBetweenSlices": decimals([spacing_mm[2]])[0],
        "SliceLocation": decimals([float(position_mm @ direction[:, 2])])[0],
    }
    for keyword, value in values.items():
        setattr(ds, keyword, value)
