"""What a file holds by another reading than ours: nibabel, SimpleITK, Pillow, pydicom and the standard."""

from __future__ import annotations

import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK
from PIL import Image as Pillow
from pydicom import dcmread
from pydicom.dataset import Dataset

Reading = tuple[np.ndarray, np.ndarray]
"""Values ``(X, Y[, Z])`` and RAS affine; of pictures only the spacing of the affine has a meaning."""

_RAS_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def independent(path: Path) -> Reading:
    """Values and place of what is at `path`, a file or a series folder; whatever is wrong with it may raise."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if path.is_dir():
            return _slices([dcmread(file) for file in sorted(path.iterdir())])
        if path.suffix == ".dcm":
            return _dicom(dcmread(path))
        if path.name.endswith((".nii", ".nii.gz")):
            file = nib.load(path)
            values = np.asanyarray(file.dataobj)
            while values.ndim > 3:
                values = values[..., 0]
            return values.reshape(values.shape + (1,) * (3 - values.ndim)), file.affine
        if path.suffix in (".nrrd", ".mha", ".mhd"):
            return _itk(SimpleITK.ReadImage(str(path)))
        with Pillow.open(path) as picture:
            return np.asarray(picture if picture.mode == "1" else picture.convert("L")).T, np.eye(4)


def _itk(image: SimpleITK.Image) -> Reading:
    n, values, lps = image.GetDimension(), SimpleITK.GetArrayFromImage(image).T, np.eye(4)
    lps[:n, :n] = np.array(image.GetDirection()).reshape(n, n) * np.array(image.GetSpacing())
    lps[:n, 3] = image.GetOrigin()
    return values, _RAS_LPS @ lps


def _dicom(file: Dataset) -> Reading:
    if "PerFrameFunctionalGroupsSequence" in file:
        return _frames(file)
    if "ImagePositionPatient" in file:
        return _slices([file])
    spacing = file.get("PixelSpacing") or file.get("ImagerPixelSpacing") or file.get("NominalScannedPixelSpacing")
    y_mm, x_mm = spacing or (1, 1)
    values = _scaled(file.pixel_array, file)
    if file.PhotometricInterpretation == "MONOCHROME1":
        values = _scaled((1 << file.BitsStored) - 1 - file.pixel_array.astype(int), file)
    return values.T, np.diag([float(x_mm), float(y_mm), 1.0, 1.0])


def _slices(files: list[Dataset]) -> Reading:
    turn = np.array(files[0].ImageOrientationPatient, dtype=float)
    normal = np.cross(turn[:3], turn[3:])
    files.sort(key=lambda file: float(np.array(file.ImagePositionPatient, dtype=float) @ normal))
    places = [np.array(file.ImagePositionPatient, dtype=float) for file in files]
    values = np.stack([_scaled(file.pixel_array, file).T for file in files], axis=-1)
    thickness = abs(float(files[0].get("SpacingBetweenSlices") or files[0].get("SliceThickness") or 1)) or 1.0
    return values, _affine(turn, [float(v) for v in files[0].PixelSpacing], places, thickness)


def _frames(file: Dataset) -> Reading:
    shared = file.SharedFunctionalGroupsSequence[0]
    turn = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, dtype=float)
    measures, frames = shared.PixelMeasuresSequence[0], list(file.PerFrameFunctionalGroupsSequence)
    places = [np.array(frame.PlanePositionSequence[0].ImagePositionPatient, dtype=float) for frame in frames]
    scaling = [frame.get("PixelValueTransformationSequence", [Dataset()])[0] for frame in frames]
    order = np.argsort([place @ np.cross(turn[:3], turn[3:]) for place in places], kind="stable")
    pixels = file.pixel_array.reshape(len(frames), file.Rows, file.Columns)
    values = np.stack([_scaled(pixels[k], scaling[k]).T for k in order], axis=-1)
    thickness = abs(float(measures.get("SpacingBetweenSlices") or measures.get("SliceThickness") or 1)) or 1.0
    return values, _affine(turn, [float(v) for v in measures.PixelSpacing], [places[k] for k in order], thickness)


def _scaled(pixels: np.ndarray, tags: Dataset) -> np.ndarray:
    slope, intercept = tags.get("RescaleSlope"), tags.get("RescaleIntercept")
    return pixels * (1.0 if slope is None else float(slope)) + (0.0 if intercept is None else float(intercept))


def _affine(turn: np.ndarray, spacing: list[float], places: list[np.ndarray], thickness: float) -> np.ndarray:
    step = np.cross(turn[:3], turn[3:]) * thickness
    if len(places) > 1:
        step = (places[-1] - places[0]) / (len(places) - 1)
    lps = np.eye(4)
    lps[:3, 0], lps[:3, 1], lps[:3, 2], lps[:3, 3] = turn[:3] * spacing[1], turn[3:] * spacing[0], step, places[0]
    return _RAS_LPS @ lps
