"""Images that stand twice in a data set, as they are or mirrored: in two parts they make test scores too good.

Each image is shrunk to a thumbnail; thumbnails that agree are confirmed pixel by pixel at full size. Both steps
allow what JPEG does to a mirrored copy (a few grey levels) and that the same picture is stored in 8, 12 or 16 bits, as
a DICOM and its PNG are, and no more: near-duplicates are not looked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from medseg.case import Array, Image
from medseg.datasets.datalist import SECTIONS, load_datalist, read_datalist
from medseg.geometry import reorient

_THUMBNAIL = {2: 32, 3: 16}
"""Edge of a thumbnail by number of spatial axes."""
_THUMBNAIL_RMS = 2.0
"""Largest distance of two thumbnails of 0..255. Measured: mirrored JPEG copies 0.1, different chest X-rays from 5."""
_MEAN_DIFFERENCE = 3.0
"""Largest mean difference at full size, in 1/255 of the image's range."""
_ROWS = 512
"""Thumbnails compared with all others at a time: bounds the memory."""


@dataclass(frozen=True)
class Thumbnail:
    """What is kept of an image to find its doubles.

    Attributes
    ----------
    shape
        Spatial size of the image, (X, Y) or (X, Y, Z) in RAS order.
    values
        The image averaged over channels and shrunk, 0..255.
    """

    shape: tuple[int, ...]
    values: Array


@dataclass(frozen=True)
class Duplicate:
    """Two cases with one image.

    Attributes
    ----------
    cases
        Their ids, sorted.
    flipped_axes
        The axes along which one is mirrored ("X", "Y", "Z"); empty when both are the same way round.
    mean_difference
        Mean difference of the pixels in 1/255 of the range, their values as they are or each from its lowest to its
        highest, whichever is nearer; 0 where the pixels are equal.
    """

    cases: tuple[str, str]
    flipped_axes: tuple[str, ...]
    mean_difference: float


def thumbnail(image: Image) -> Thumbnail:
    """Shrink an image by averaging over areas, in a way that commutes with mirroring."""
    pixels = _canonical(image)
    small = pixels
    for axis, size in enumerate(pixels.shape):
        weights = _area_weights(size, min(size, _THUMBNAIL[pixels.ndim]))
        small = np.moveaxis(np.tensordot(weights, small, axes=(1, axis)), 0, axis)
    low, high = float(small.min()), float(small.max())
    scaled = (small - low) * (255.0 / (high - low)) if high > low else np.zeros_like(small)
    return Thumbnail(pixels.shape, scaled.astype(np.float32))


def find_duplicates(thumbnails: Mapping[str, Thumbnail], load: Callable[[str], Image]) -> list[Duplicate]:
    """All pairs of cases that hold the same image, as it is or mirrored.

    Pictures and volumes are compared as they are and mirrored along each axis and all combinations of axes.

    Parameters
    ----------
    thumbnails
        Case id -> thumbnail.
    load
        Case id -> image; called for the few pairs whose thumbnails agree.
    """
    groups: dict[tuple[int, ...], list[str]] = {}
    for case in sorted(thumbnails):
        groups.setdefault(thumbnails[case].shape, []).append(case)
    found: dict[tuple[str, str], Duplicate] = {}
    for shape, cases in groups.items():
        for flip in _flips(len(shape)):
            for pair in _candidates([thumbnails[case].values for case in cases], flip):
                names = (cases[pair[0]], cases[pair[1]])
                if names not in found and (double := _confirmed(names, flip, load)) is not None:
                    found[names] = double
    return [found[names] for names in sorted(found)]


def leakage_report(content: Mapping[str, Any], duplicates: Sequence[Duplicate]) -> dict[str, Any]:
    """What leakage.json holds: each duplicate of a datalist's cases, and how many stand in two parts."""
    place = {item["id"]: (section, item["patient"]) for section in SECTIONS for item in content[section]}
    entries = [
        {
            "cases": list(double.cases),
            "patients": [place[case][1] for case in double.cases],
            "parts": [place[case][0] for case in double.cases],
            "kind": "mirrored" if double.flipped_axes else "identical",
            "flipped_axes": list(double.flipped_axes),
            "mean_difference": round(double.mean_difference, 4),
            "across_parts": len({place[case][0] for case in double.cases}) > 1,
            "across_patients": len({place[case][1] for case in double.cases}) > 1,
        }
        for double in duplicates
    ]
    return {
        "cases": len(place),
        "patients": len({patient for _, patient in place.values()}),
        "across_parts": sum(bool(entry["across_parts"]) for entry in entries),
        "across_patients": sum(bool(entry["across_patients"]) for entry in entries),
        "duplicates": entries,
    }


def find_leakage(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read every image of a datalist and report the duplicates, as `prepare` does when it makes one."""
    from medseg.intake import read_image

    content = read_datalist(path)
    items = [item for section in SECTIONS if content[section] for item in load_datalist(path, section)]
    files = {item["id"]: Path(item["image"]) for item in items}
    thumbnails = {case: thumbnail(read_image(file)) for case, file in files.items()}
    return leakage_report(content, find_duplicates(thumbnails, lambda case: read_image(files[case])))


def _canonical(image: Image) -> Array:
    """Mean over the channels, float32; volumes in RAS order, so that the same anatomy lies the same way round."""
    turned = reorient(image, "RAS") if image.array.ndim == 4 else image
    return np.asarray(turned.array.astype(np.float32).mean(axis=0))


def _area_weights(size: int, bins: int) -> Array:
    """(bins, size): the share of each pixel in each of `bins` equal areas, rows summing to 1; symmetric."""
    edges = np.arange(bins + 1) * (size / bins)
    pixel = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    return np.asarray(np.clip(overlap, 0, None) * (bins / size), dtype=np.float32)


def _flips(spatial_dims: int) -> Iterator[tuple[int, ...]]:
    for n in range(spatial_dims + 1):
        yield from combinations(range(spatial_dims), n)


def _candidates(thumbnails: Sequence[Array], flip: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Pairs i < j whose thumbnails agree when j is mirrored along `flip`."""
    plain = np.stack([t.ravel() for t in thumbnails])
    mirrored = np.stack([np.flip(t, flip).ravel() for t in thumbnails])
    limit = _THUMBNAIL_RMS**2 * plain.shape[1]
    for start in range(0, len(plain), _ROWS):
        rows = plain[start : start + _ROWS]
        distance = (rows**2).sum(1)[:, None] + (mirrored**2).sum(1)[None, :] - 2 * rows @ mirrored.T
        for i, j in np.argwhere(distance <= limit):
            if start + i < j:
                yield int(start + i), int(j)


def _confirmed(names: tuple[str, str], flip: tuple[int, ...], load: Callable[[str], Image]) -> Duplicate | None:
    a, b = _canonical(load(names[0])), np.flip(_canonical(load(names[1])), flip)
    difference = min(_mean_difference(a, b), _mean_difference(_from_0_to_1(a), _from_0_to_1(b)))
    if difference > _MEAN_DIFFERENCE:
        return None
    return Duplicate(names, tuple("XYZ"[axis] for axis in flip), difference)


def _mean_difference(a: Array, b: Array) -> float:
    """In 1/255 of the larger of the two ranges."""
    span = max(float(np.ptp(a)), float(np.ptp(b)))
    difference = np.abs(a - b)
    return float(difference.mean()) * 255.0 / span if span else float(difference.max())


def _from_0_to_1(pixels: Array) -> Array:
    """Scaled by its own range; as it is where it has none."""
    low, span = pixels.min(), np.ptp(pixels)
    return np.asarray((pixels - low) / span) if span else pixels
