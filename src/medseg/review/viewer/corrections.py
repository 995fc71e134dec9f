"""Masks that someone corrected: each a new file on the image's own grid, with who and when; nothing is overwritten."""

from __future__ import annotations

import json
import math
import re
import threading
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medseg import __version__
from medseg.case import Image, LabelArray
from medseg.errors import LabelError, OutputError, ReviewError
from medseg.files import sha256_of
from medseg.geometry import spacing_mm, voxel_volume_ml
from medseg.review.viewer.entries import Entry
from medseg.review.viewer.reviews import locked, now, write_json

FOLDER = "corrections"
"""Below the masks, so that a folder of masks stays one mask a case."""

_LOCK = ".corrections.lock"
_GZIP_BYTES = 65536
_SHAPE = re.compile(r"[0-9]{1,5}(,[0-9]{1,5}){1,2}")


class Corrections:
    """The corrections of all cases; several threads may use them, and several viewers on one folder."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def newest(self, entry: Entry) -> tuple[Path, dict[str, Any]] | None:
        """File and record of the newest correction of a case."""
        versions = self._versions(entry)
        if not versions:
            return None
        return entry.home / FOLDER / str(versions[-1]["file"]), versions[-1]

    def mask(self, entry: Entry, version: int | None) -> Path | None:
        """The file of a version, 0 for the mask as it was segmented, None for the newest; None where there is none."""
        return _file_of(entry, self._versions(entry), version)

    def before(self, entry: Entry, version: int) -> int:
        """The version that was the newest when this one was saved; 0 where it was the first."""
        return max((int(one["version"]) for one in self._versions(entry) if one["version"] < version), default=0)

    def save(
        self, entry: Entry, labels: Image, *, names: Mapping[int, str], by: str, based_on: int | None
    ) -> dict[str, Any]:
        """Write a corrected label map as the next version, and its record.

        Parameters
        ----------
        entry
            The case.
        labels
            ``(X, Y[, Z])`` on the image's grid.
        names
            Label value to name, for the record.
        by
            Who corrected it.
        based_on
            The version that was painted on: 0 for the prediction; None takes the newest.

        Returns
        -------
        dict
            The record: version, file, by, when, what it was made from, changed voxels, size of each label.

        Raises
        ------
        OutputError
            It cannot be written.
        """
        from medseg.outputs import write_mask

        folder = entry.home / FOLDER
        suffix = ".png" if labels.array.ndim == 2 else ".nii.gz"
        try:
            folder.mkdir(exist_ok=True)
            with self._lock, locked(entry.home / _LOCK):
                versions = self._versions(entry)
                before = _file_of(entry, versions, based_on)
                number, path = _next_version(entry, versions, suffix)
                write_mask(labels, path)
                record = {
                    "version": number,
                    "file": path.name,
                    "sha256": sha256_of(path),
                    "by": by,
                    "when": now(),
                    "from": None if before is None else {"file": before.name, "sha256": sha256_of(before)},
                    "changed_voxels": _changed(labels.array, before),
                    "labels": sizes(labels, names),
                    "measurements": measurements(labels, names),
                }
                content = {"medseg_version": __version__, "case": entry.name, "versions": [*versions, record]}
                write_json(content, folder / f"{entry.name}.json")
        except OSError as error:
            raise OutputError(f"case {entry.name}: its correction cannot be written", got=error.strerror) from error
        return record

    def _versions(self, entry: Entry) -> list[dict[str, Any]]:
        path = entry.home / FOLDER / f"{entry.name}.json"
        try:
            versions = json.loads(path.read_text(encoding="utf-8"))["versions"]
            return [one for one in versions if (path.parent / Path(str(one["file"])).name).is_file()]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ReviewError(f"{path} is no record of corrections", next_step="move it away") from error


def _file_of(entry: Entry, versions: Sequence[Mapping[str, Any]], version: int | None) -> Path | None:
    wanted = [one for one in versions if version is None or one["version"] == version]
    return entry.home / FOLDER / str(wanted[-1]["file"]) if wanted else entry.prediction


def _next_version(entry: Entry, versions: Sequence[Mapping[str, Any]], suffix: str) -> tuple[int, Path]:
    """Number and file of the next version; a file that a killed viewer left without a record keeps its number."""
    number = int(versions[-1]["version"]) + 1 if versions else 1
    while (path := entry.home / FOLDER / f"{entry.name}_v{number}{suffix}").exists():
        number += 1
    return number, path


def most_bytes(shape: str) -> int:
    """How long a request's body can be at most for its shape: gzip makes nothing longer by more than a thousandth."""
    voxels = math.prod(int(n) for n in shape.split(",")) if _SHAPE.fullmatch(shape) else 0
    return voxels + voxels // 1000 + _GZIP_BYTES


def unpack_voxels(body: bytes, *, shape: str, expected: tuple[int, ...]) -> LabelArray:
    """The label map ``(X, Y[, Z])`` of a request.

    Parameters
    ----------
    body
        Its voxels as gzip'd bytes, X running fastest.
    shape
        What the request says of its size: "nx,ny,nz", for a picture "nx,ny" or "nx,ny,1".
    expected
        The size of the image.

    Raises
    ------
    ReviewError
        Another size, no gzip stream, or another number of voxels.
    """
    given = tuple(int(n) for n in shape.split(",")) if _SHAPE.fullmatch(shape) else ()
    if given not in (expected, (*expected, 1)):
        raise ReviewError("the correction has another size than the image", got=repr(shape[:50]), expected=expected)
    count, stream = math.prod(expected), zlib.decompressobj(wbits=31)
    try:
        voxels = stream.decompress(body, count + 1)  # no more than that, whatever the body would become
    except zlib.error as error:
        raise ReviewError("the voxels are no gzip stream", got=str(error)) from error
    if len(voxels) != count or not stream.eof:
        raise ReviewError("the voxels do not fill the image", got=f"{len(voxels)}, or more", expected=count)
    return np.frombuffer(voxels, dtype=np.uint8).reshape(expected, order="F")


def check_values(voxels: LabelArray, *, case: str, allowed: Mapping[int, str]) -> None:
    """Refuse values that are no labels of the case, where its labels are known.

    Raises
    ------
    LabelError
        There are some.
    """
    found = np.flatnonzero(np.bincount(voxels.ravel(order="K"), minlength=256)).tolist()
    strange = sorted(set(found) - {0, *allowed})
    if allowed and strange:
        raise LabelError(f"case {case}: values that are no labels", got=strange[:10], expected=sorted(allowed))


def sizes(labels: Image, names: Mapping[int, str]) -> list[dict[str, Any]]:
    """Voxels of each named label, with volume in ml, or area in cm2 where the spacing is known."""
    counts = np.bincount(labels.array.ravel(order="K"), minlength=256)
    found = []
    for value, name in sorted(names.items()):
        voxels = int(counts[value]) if value < counts.size else 0  # a correction holds labels up to 255
        row: dict[str, Any] = {"value": value, "name": name, "voxels": voxels}
        if labels.array.ndim == 3:
            row["volume_ml"] = round(row["voxels"] * voxel_volume_ml(labels.affine), 4)
        elif labels.spacing_known:
            x_mm, y_mm, _ = spacing_mm(labels.affine)
            row["area_cm2"] = round(row["voxels"] * x_mm * y_mm / 100.0, 4)
        found.append(row)
    return found


def means_other(record: Mapping[str, Any], names: Mapping[int, str]) -> bool:
    """Whether a label of a correction, by its record, has another name in `names`: that of another bundle."""
    return any(names.get(row["value"], row["name"]) != row["name"] for row in record.get("labels", ()))


def measurements(labels: Image, names: Mapping[int, str]) -> dict[str, float | None]:
    """The cardiothoracic ratio of a picture whose labels are the heart and both lungs; nothing of all else."""
    values = {name: value for value, name in names.items()}
    if labels.array.ndim != 2 or not {"heart", "left lung", "right lung"} <= values.keys():
        return {}
    from medseg.evaluation.cardiothoracic import cardiothoracic_ratio

    lungs = (values["left lung"], values["right lung"])
    return {"cardiothoracic_ratio": cardiothoracic_ratio(labels.array, heart=values["heart"], lungs=lungs)}


def _changed(labels: LabelArray, before: Path | None) -> int | None:
    """How many voxels differ from the mask that was painted on; None where it cannot be compared."""
    if before is None:
        return int(np.count_nonzero(labels))
    from medseg.intake import read_label

    old = read_label(before).array
    return int(np.count_nonzero(old != labels)) if old.shape == labels.shape else None
