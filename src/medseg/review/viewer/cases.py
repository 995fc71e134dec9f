"""Cases as the page gets them: JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from medseg.errors import MedsegError
from medseg.pictures import label_colour
from medseg.pictures.grey import LUNG, SOFT_TISSUE, Window
from medseg.review.viewer.catalogue import Choice
from medseg.review.viewer.entries import Entry

BONE = Window(-500.0, 1300.0, "bone window")
_SHOWN = ("image", "prediction", "truth", "correction")


def summary(entry: Entry, *, review: Mapping[str, Any] | None, corrected: bool) -> dict[str, Any]:
    """A case in the list."""
    said = {"status": None, "comment": "", "by": "", "when": None, **(review or {})}
    return {
        "id": entry.key,
        "name": entry.name,
        "kind": entry.kind,
        "source": entry.source,
        "scores": entry.scores,
        "mean_dice": mean_dice(entry.scores),
        "flags": flags(entry.manifest),
        "review": {key: said[key] for key in ("status", "comment", "by", "when")},
        "has_image": entry.image is not None,
        "has_truth": entry.truth is not None,
        "has_prediction": entry.prediction is not None,
        "has_correction": corrected,
    }


def details(
    entry: Entry,
    *,
    names: Mapping[int, str],
    modality: str | None,
    correction: Mapping[str, Any] | None,
    grid: Mapping[str, Any],
) -> dict[str, Any]:
    """What the page shows of one case besides its summary.

    Parameters
    ----------
    entry
        The case.
    names
        Label value to name.
    modality
        DICOM code, where it is known.
    correction
        The record of its newest correction.
    grid
        Its size and spacing.
    """
    sizes = [row for row in entry.manifest.get("labels", ()) if isinstance(row, Mapping)]
    return {
        "labels": label_table(names),
        "volumes_ml": {row["name"]: row["volume_ml"] for row in sizes if "volume_ml" in row},
        "areas_cm2": {row["name"]: row["area_cm2"] for row in sizes if "area_cm2" in row},
        "voxels": {row["name"]: row["voxels"] for row in sizes if "voxels" in row},
        "measurements": dict(entry.manifest.get("measurements") or {}),
        "predicted_dice": entry.manifest.get("predicted_dice"),
        "bundle": entry.manifest.get("bundle"),
        "modality": modality,
        "sides": picture_sides(entry),
        "window_presets": window_presets(modality) if entry.kind == "volume" else [],
        "correction": correction,
        "correction_by": None if correction is None else {key: correction[key] for key in ("by", "when")},
        "urls": urls(entry, corrected=correction is not None),
        "notes": [*entry.notes, *entry.manifest.get("notes", ())],
        **grid,
    }


def picture_sides(entry: Entry) -> list[str] | None:
    """The patient's sides at the left and right border of a DICOM X-ray; None where its header does not tell."""
    from medseg.intake.dicom_header import OPPOSITE, picture_directions, read_header
    from medseg.intake.files import is_dicom

    image = entry.image
    if entry.kind != "picture" or image is None or not image.is_file() or not is_dicom(image):
        return None
    try:
        directions = picture_directions(read_header(image).tags)
    except MedsegError:
        return None  # the page asks for the file itself, and is told why not
    return None if directions is None else [OPPOSITE[directions[0]], directions[0]]


def mean_dice(scores: Mapping[str, Mapping[str, float]]) -> float | None:
    """Mean over the regions that have one."""
    values = [metrics["dice"] for metrics in scores.values() if "dice" in metrics]
    return fmean(values) if values else None


def flags(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The failure flags of a manifest."""
    found = manifest.get("flags")
    return [dict(one) for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def label_names(manifest: Mapping[str, Any]) -> dict[int, str]:
    """Label value to name without the background, as a manifest says."""
    rows = [row for row in manifest.get("labels", ()) if isinstance(row, Mapping)]
    return {int(row["value"]): str(row["name"]) for row in rows if "value" in row and "name" in row}


def label_table(names: Mapping[int, str]) -> dict[str, dict[str, str]]:
    """Label value to name and colour, the colours of the previews."""
    return {
        str(value): {"name": name, "colour": "#{:02x}{:02x}{:02x}".format(*label_colour(value))}
        for value, name in sorted(names.items())
    }


def window_presets(modality: str | None) -> list[dict[str, Any]]:
    """Windows in HU for CT; none for what has no unit."""
    windows = (LUNG, SOFT_TISSUE, BONE) if modality == "CT" else ()
    return [
        {
            "name": one.name.removesuffix(" window"),
            "level": (one.low + one.high) / 2,
            "width": one.high - one.low,
            "low": one.low,
            "high": one.high,
        }
        for one in windows
    ]


def urls(entry: Entry, *, corrected: bool) -> dict[str, str | None]:
    """Where the page gets the files of a case."""
    base, suffix = f"/api/cases/{entry.key}", "png" if entry.kind == "picture" else "nii"
    there = dict(zip(_SHOWN, (entry.image, entry.prediction, entry.truth, corrected or None), strict=True))
    found: dict[str, str | None] = {name: f"{base}/{name}.{suffix}" if there[name] else None for name in _SHOWN}
    found["preview"] = f"{base}/preview.png" if entry.preview else None
    found["mask_download"] = f"{base}/mask" if entry.prediction or corrected else None
    return found


def mask_name(entry: Entry, mask: Path, *, corrected: bool) -> str:
    """The name that a downloaded mask gets."""
    from medseg.intake.files import suffix

    return f"{entry.name}_{'corrected' if corrected else 'mask'}{suffix(mask)}"


def bundle_modality(manifest: Mapping[str, Any], choices: Sequence[Choice]) -> str | None:
    """Modality of the bundle that made a mask, where it is one of those that are known."""
    bundle = manifest.get("bundle")
    name = bundle.get("name") if isinstance(bundle, Mapping) else None
    return next((one.modality for one in choices if one.name == name), None)
