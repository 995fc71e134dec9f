"""Images and masks as the page gets them: NIfTI on the image's own grid, PNG for pictures; made once, then files."""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from medseg.case import Array, Image
from medseg.files import atomic_write
from medseg.geometry import spacing_mm
from medseg.review.viewer.entries import key_of

KEPT_BYTES = 4_000_000_000
"""Uncompressed volumes are large and soon made again: the ones that were not used for longest go first."""

_LOW_PERCENT, _HIGH_PERCENT = 0.1, 99.9
"""Of a 16-bit picture what becomes black and white on a screen of 8 bits."""


class Shown:
    """Files for the page, kept in a folder of the session and made when first asked for.

    The same file is made once, however many browsers ask for it at a time.

    Parameters
    ----------
    folder
        Where they are kept.
    kept_bytes
        How much of them.
    """

    def __init__(self, folder: Path, *, kept_bytes: int = KEPT_BYTES) -> None:
        self.folder, self._kept_bytes = folder, kept_bytes
        self._modalities: dict[Path, str | None] = {}
        self._spacings_mm: dict[Path, tuple[float, float] | None] = {}
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def image(self, source: Path) -> Path:
        """An image as .nii, or as .png where it is a picture; errors are those of `medseg.intake.read_image`."""
        return self._made(source, "image")

    def modality(self, source: Path) -> str | None:
        """DICOM code of an image that was made, where its file says so; "CT" for volumes that look like HU."""
        return self._modalities.get(source)

    def spacing_mm(self, picture: Path) -> tuple[float, float] | None:
        """Pixel spacing along X and Y of a picture that was made, where its file says so, as DICOM X-rays do."""
        return self._spacings_mm.get(picture)

    def labels(self, source: Path, *, reference: Path | None = None) -> Path:
        """A label map as .nii of 8 bits (16 above label 255), or as .png whose grey values are the labels.

        RTSTRUCT and DICOM SEG come onto the grid of the image `reference`.
        """
        return self._made(source, "labels", reference=reference)

    def whole_picture(self, source: Path) -> Path:
        """A picture as PNG of 8 or 16 bits with all its grey levels, for another tool to read."""
        path = self.folder / f"{self._stem(source, 'whole')}.png"
        with self._lock(path.name):
            if not path.is_file():
                _write_whole_picture(source, path)
        return path

    def compressed(self, shown: Path) -> Path:
        """A .nii of this folder as .nii.gz, for slow networks."""
        packed = shown.with_name(f"{shown.name}.gz")
        with self._lock(packed.name):
            if not packed.is_file():
                _compress(shown, packed)
        return packed

    def forget(self, source: Path) -> None:
        """Remove what was made of a source that is removed."""
        for kind in ("image", "labels", "whole"):
            for path in self.folder.glob(f"{self._stem(source, kind)}.*"):
                path.unlink(missing_ok=True)

    def _made(self, source: Path, kind: str, *, reference: Path | None = None) -> Path:
        stem = self._stem(source, kind)
        with self._lock(stem):
            for path in (self.folder / f"{stem}.nii", self.folder / f"{stem}.png"):
                if path.is_file():
                    os.utime(path)
                    return path
            self._make_room()
            if kind == "labels":
                return _write_labels(source, self.folder / stem, reference)
            made, self._modalities[source], self._spacings_mm[source] = _write_image(source, self.folder / stem)
            return made

    def _make_room(self) -> None:
        """Remove what was not used for longest, beyond the bytes that are kept; made here or compressed alike."""
        files = sorted((path for path in self.folder.iterdir() if not path.name.startswith(".")), key=_last_used)
        total = sum(_size(path) for path in files)
        while files and total > self._kept_bytes:
            oldest = files.pop(0)
            total -= _size(oldest)
            oldest.unlink(missing_ok=True)

    def _lock(self, name: str) -> threading.Lock:
        return self._locks[name]

    def _stem(self, source: Path, kind: str) -> str:
        """With the time of its last change, so that a file that was written anew is read anew."""
        changed = str(source.stat().st_mtime_ns) if source.exists() else ""
        return f"{kind}_{key_of(str(source), changed)}"


def _last_used(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def grid_of(shown: Path) -> dict[str, Any]:
    """Size and spacing of a file of `Shown`; a PNG says no spacing."""
    if shown.suffix == ".png":
        from PIL import Image as Picture

        with Picture.open(shown) as picture:
            return {"shape": list(picture.size), "spacing_mm": None}
    import nibabel

    header: Any = nibabel.load(shown).header
    return {
        "shape": [int(n) for n in header.get_data_shape()],
        "spacing_mm": [round(float(np.float32(mm)), 6) for mm in header.get_zooms()[:3]],
    }


def _write_image(source: Path, stem: Path) -> tuple[Path, str | None, tuple[float, float] | None]:
    """The file, the modality, and of a picture its pixel spacing, where it is known."""
    from medseg.intake import read_image

    image = read_image(source)
    if image.array.ndim == 3:
        known = spacing_mm(image.affine)[:2] if image.spacing_known else None
        return _write_picture(_grey(image.array[0]), stem), image.modality, known
    values = image.array[0]
    modality = image.modality or ("CT" if _is_hounsfield(values) else None)
    return _write_volume(Image(_plain(values), image.affine, image.source), stem), modality, None


def _write_whole_picture(source: Path, path: Path) -> None:
    from medseg.intake import read_image

    values = read_image(source).array[0]
    if values.dtype not in (np.uint8, np.uint16):
        values = np.clip(values - min(0, values.min()), 0, np.iinfo(np.uint16).max).astype(np.uint16)
    _write_picture(values, path.with_suffix(""))


def _write_labels(source: Path, stem: Path, reference: Path | None) -> Path:
    from medseg.intake import read_label
    from medseg.intake.files import is_dicom

    labels = read_label(source, reference=reference if is_dicom(source) else None)
    kind = np.uint8 if labels.array.max(initial=0) <= 255 else np.uint16
    values = np.minimum(labels.array, np.iinfo(kind).max).astype(kind, copy=False)  # 65537 is not shown as 1
    if values.ndim == 2:
        return _write_picture(values, stem)
    return _write_volume(Image(values, labels.affine, labels.source), stem)


def _write_volume(image: Image, stem: Path) -> Path:
    from medseg.outputs.nifti import write_nifti

    path = stem.with_name(f"{stem.name}.nii")
    with atomic_write(path) as temporary:
        write_nifti(image.array, temporary, affine=image.affine, description="medseg review")
    return path


def _write_picture(values: Array, stem: Path) -> Path:
    from PIL import Image as Picture

    path = stem.with_name(f"{stem.name}.png")
    with atomic_write(path) as temporary:
        Picture.fromarray(np.ascontiguousarray(values.T)).save(temporary, format="PNG", compress_level=1)
    return path


def _compress(shown: Path, packed: Path) -> None:
    import shutil

    from isal import igzip

    with atomic_write(packed) as temporary, shown.open("rb") as file, igzip.open(temporary, "wb") as target:
        shutil.copyfileobj(file, target, 1 << 20)


def _plain(values: Array) -> Array:
    """A type that every viewer reads, and as small as the values allow: 64 bits bring nothing to a screen."""
    if values.dtype.kind == "b":
        return values.astype(np.uint8)
    if values.dtype.kind == "f":
        return values.astype(np.float32, copy=False)
    if values.dtype.itemsize <= 2:
        return values
    low, high = int(values.min()), int(values.max())
    for kind in (np.int16, np.uint16):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return values.astype(kind)
    return values.astype(np.float32)


def _is_hounsfield(values: Array) -> bool:
    """Whether a volume of unknown modality has air and tissue where HU has them, so that windows in HU fit."""
    sample = values[::4, ::4, ::4]
    return bool(-4096 <= sample.min() <= -500 and 100 <= sample.max() <= 32767)


def _grey(values: Array) -> Array:
    """Grey levels of 8 bits ``(X, Y)``: as they are where they fit, else between their outer percentiles."""
    if values.dtype == np.uint8:
        return values
    from medseg.pictures.grey import Window, grey_levels

    low, high = (float(v) for v in np.percentile(values, [_LOW_PERCENT, _HIGH_PERCENT]))
    return grey_levels(values, Window(low, high if high > low else low + 1.0))
