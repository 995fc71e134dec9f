"""What a segmented case leaves behind: mask, preview, manifest."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medseg import __version__
from medseg.case import Image, LabelArray, Prediction
from medseg.errors import OutputError
from medseg.files import atomic_write, sha256_of
from medseg.geometry import spacing_mm, voxel_volume_ml
from medseg.intake.description import describe_image
from medseg.intake.own_outputs import is_as_recorded, manifest_path, read_manifest
from medseg.outputs.folders import check_file_name
from medseg.outputs.masks import write_mask
from medseg.pictures import preview

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_PNG_LEVEL = 2
"""zlib's: a picture in colours comes out a tenth larger than at 6."""

_MADE_OF = ("input_sha256", "weights_sha256", "settings_sha256")
"""What a manifest says of where a mask comes from: where one of them differs, it is another mask."""


def write_prediction(
    prediction: Prediction,
    image: Image,
    folder: Path,
    *,
    manifest: Callable[[], Mapping[str, object]],
    more: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Write `<id>.nii.gz` (picture: `<id>.png`), `<id>_preview.png` and `<id>_manifest.json`.

    Each file is whole or absent; the manifest comes last, so a case that has one is complete. Files that the manifest
    before it names go, where they were made of another image, weights or settings and are not made anew.

    Parameters
    ----------
    prediction
        Label map ``(X, Y[, Z])`` on the image's grid, with the labels' names.
    image
        The image ``(C, X, Y[, Z])`` as it was stored; its affine goes into the mask.
    folder
        Where to write; it must exist.
    manifest
        Gives what else is known of the run, as JSON values, once all other files are there. The manifest is this, and
        the version of medseg, the case's id, the image's size, spacing and intensities, the labels (value, name,
        voxels, and volume in ml or area in cm2 where the spacing is known) and the files' SHA-256.
    more
        Kind to name of files of the case that are in `folder` already; they are listed in the manifest.

    Returns
    -------
    dict
        "mask", "preview", those of `more`, "manifest": the names of the files in `folder`.

    Raises
    ------
    OutputError
        An id that is no file name, a label map on another grid, or a file that cannot be written.
    """
    check_file_name(prediction.id)
    if prediction.labels.array.shape != image.array.shape[1:]:
        raise OutputError(
            f"case {prediction.id}: label map", got=prediction.labels.array.shape, expected=image.array.shape[1:]
        )
    labels = Image(prediction.labels.array, image.affine, image.source, image.modality, image.spacing_known)
    try:
        written = Prediction(prediction.id, labels, prediction.label_names)
        names = {**_write(written, image, folder), **(more or {})}
        return _write_manifest(written, names, folder, {**manifest(), "image": describe_image(image)})
    except OSError as error:
        raise OutputError(
            f"case {prediction.id}: its results cannot be written to {folder}",
            got=error.strerror or str(error),
            next_step="make room or name another folder",
        ) from error


def save_picture(picture: Picture, path: Path) -> None:
    """Write a picture to review as PNG: 30 ms for one of 768 x 804 pixels where Pillow's own level takes 110."""
    picture.save(path, format="PNG", compress_level=_PNG_LEVEL)


def _write(prediction: Prediction, image: Image, folder: Path) -> dict[str, str]:
    suffix = ".png" if prediction.labels.array.ndim == 2 else ".nii.gz"
    names = {"mask": f"{prediction.id}{suffix}", "preview": f"{prediction.id}_preview.png"}
    write_mask(prediction.labels, folder / names["mask"])
    picture = preview(image, prediction.labels, label_names=prediction.label_names)
    with atomic_write(folder / names["preview"]) as temporary:
        save_picture(picture, temporary)
    return names


def _write_manifest(
    prediction: Prediction, names: Mapping[str, str], folder: Path, manifest: Mapping[str, object]
) -> dict[str, str]:
    content = {
        "medseg_version": __version__,
        **manifest,
        "case": prediction.id,
        "labels": _label_table(prediction),
        "outputs": {kind: {"file": name, "sha256": sha256_of(folder / name)} for kind, name in names.items()},
    }
    path = manifest_path(folder, prediction.id)
    if path.exists():
        _remove_stale(folder, read_manifest(path), content)
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return {**names, "manifest": path.name}


def _remove_stale(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Remove what an earlier run made of another image, weights or settings and this one did not make anew.

    It would stand beside the new mask as if it were of it. A file that was changed since then is somebody's, and stays.
    """
    if all(before.get(key) == now.get(key) for key in _MADE_OF):
        return
    current = {one["file"] for one in now["outputs"].values()}
    with suppress(KeyError, TypeError, AttributeError):  # a manifest that we did not write
        for one in before["outputs"].values():
            with suppress(OSError, ValueError):
                if one["file"] not in current and is_as_recorded(folder, one):
                    (folder / one["file"]).unlink()


def _label_table(prediction: Prediction) -> list[dict[str, object]]:
    """One entry per named label but the background, also for labels that were not found, and per unnamed one found."""
    voxels = _voxels_by_label(prediction.labels.array)
    return [
        {
            "value": value,
            "name": prediction.label_names.get(value, f"label {value}"),
            "voxels": voxels.get(value, 0),
            **_size(prediction.labels, voxels.get(value, 0)),
        }
        for value in sorted({*voxels, *prediction.label_names} - {0})
    ]


def _voxels_by_label(labels: LabelArray) -> dict[int, int]:
    """Slice by slice: several times as fast as sorting a whole volume, as `np.unique` does."""
    counts = np.zeros(int(labels.max()) + 1, dtype=np.int64)
    for k in range(labels.shape[-1]):
        counts += np.bincount(labels[..., k].ravel(order="K"), minlength=counts.size)
    return {value: int(count) for value, count in enumerate(counts) if count}


def _size(labels: Image, voxels: int) -> dict[str, float]:
    if labels.array.ndim == 3:
        return {"volume_ml": round(voxels * voxel_volume_ml(labels.affine), 4)}
    if not labels.spacing_known:
        return {}
    x_mm, y_mm, _ = spacing_mm(labels.affine)
    return {"area_cm2": round(voxels * x_mm * y_mm / 100.0, 4)}
