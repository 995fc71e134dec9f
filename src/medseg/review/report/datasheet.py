"""The data behind a run: which cases are in which part, what the images look like, whether any stands twice."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from medseg.errors import DataError, MedsegError
from medseg.files import sha256_of
from medseg.review.report.folders import PARTS, Part, Results
from medseg.review.report.svg import counted, number
from medseg.review.report.table import Column, Table, text, whole

logger = logging.getLogger(__name__)

MOST_NAMED = 10
"""Pairs of the same image that are named."""
_THREADS = 2
_NO_SPLIT = "No split and no leakage check: the datalist tells of them; give it (--datalist FILE), or the run's folder."
_INTENSITIES = (("p1", "1st percentile"), ("median", "median"), ("p99", "99th percentile"), ("mean", "mean"))


@dataclass(frozen=True)
class DataSheet:
    """What is told of the images.

    Attributes
    ----------
    facts
        Name to value, in words.
    tables
        Parts of the data, and the fingerprint of the images.
    leakage
        Sentences on patients and images that stand in two parts, and whether each tells of a leak.
    missing
        What could not be told, and why.
    """

    title: str
    facts: Sequence[tuple[str, str]]
    tables: Sequence[Table] = ()
    leakage: Sequence[tuple[str, bool]] = ()
    missing: Sequence[str] = field(default_factory=list)


def of_datalist(path: Path, *, read_images: bool) -> DataSheet:
    """The data sheet of a datalist; every image is read once for it, if `read_images`.

    Raises
    ------
    DataError
        The file is no datalist.
    """
    content = _content(path)
    facts = [
        ("name", str(content.get("name", "not stated"))),
        ("description", str(content.get("description", "not stated"))),
        ("datalist SHA-256", sha256_of(path)),
        *(
            (key, str(content[key]))
            for key in ("licence", "license", "reference", "seed", "fractions")
            if key in content
        ),
    ]
    title = f"Data of the run: {content.get('name', path.name)}"
    parts, patients = _parts(content), _patients(content)
    if not read_images:
        missing = ["The images were not read (--no-images): no fingerprint, and no search for images that stand twice."]
        return DataSheet(title, facts, [parts], [patients], missing)
    try:
        described, leakage = _read(path)
    except MedsegError as error:
        logger.warning("no fingerprint of the images: %s", error)
        missing = ["The images could not all be read: no fingerprint, and no search for images that stand twice."]
        return DataSheet(title, facts, [parts], [patients], missing)
    tables = [parts, fingerprint({part: many for part, many in described.items() if many})]
    return DataSheet(title, facts, tables, [patients, *_duplicates(leakage)])


def of_results(results: Results, title: str, *, split: bool) -> DataSheet:
    """The data sheet of the images that were segmented, as their manifests tell it.

    Parameters
    ----------
    split
        Whether a datalist of the report tells of split and leakage; without one it is said that nothing does.
    """
    unknown = [] if split or results.kind == "predictions" else [_NO_SPLIT]
    images = [one["image"] for one in results.manifests.values() if "image" in one]
    if not images:
        why = (
            "the masks were scored without their images"
            if results.kind == "scores"
            else "the manifests are from a version of medseg that did not describe the images"
        )
        return DataSheet(title, [("cases", str(len(results.done)))], missing=[f"No fingerprint: {why}.", *unknown])
    kinds = sorted({str(image.get("modality") or "not stated") for image in images})
    facts = [("cases", str(len(results.done))), ("modality", ", ".join(kinds))]
    return DataSheet(title, facts, [fingerprint({"all": images})], missing=unknown)


def fingerprint(parts: Mapping[str, Sequence[Mapping[str, Any]]]) -> Table:
    """Sizes, spacings and intensities of the images of each part: the median, and the range.

    Parameters
    ----------
    parts
        Name to what `medseg.intake.description.describe_image` gave of each image.
    """
    columns = [Column("Images", numeric=False), *(Column(f"{part} (n {len(many)})") for part, many in parts.items())]
    rows: dict[str, list[str]] = {}
    for many in parts.values():
        for name, value in _fingerprint(many).items():
            rows.setdefault(name, []).append(value)
    cells = [[text(name), *map(text, values)] for name, values in rows.items()]
    return Table("Fingerprint of the images: median (smallest to largest)", columns, cells, sortable=False)


def _fingerprint(images: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    axes = max(len(image["size"]) for image in images)
    told: dict[str, str] = {}
    for i, axis in enumerate("XYZ"[:axes]):
        told[f"size {axis} (voxels)"] = _range([image["size"][i] for image in images if len(image["size"]) > i])
    for i, axis in enumerate("XYZ"[:axes]):
        told[f"spacing {axis} (mm)"] = _range(
            [image["spacing_mm"][i] for image in images if image["spacing_mm"] and len(image["spacing_mm"]) > i]
        )
    for name, words in _INTENSITIES:
        told[f"intensity, {words}"] = _range([image["intensity"][name] for image in images])
    told["intensity, all values"] = (
        f"{number(min(image['intensity']['min'] for image in images))} to "
        f"{number(max(image['intensity']['max'] for image in images))}"
    )
    told["orientation"] = _counts([image.get("orientation") or "a picture has none" for image in images])
    told["modality"] = _counts([image.get("modality") or "not stated in the file" for image in images])
    return told


def _range(values: Sequence[float]) -> str:
    if not values:
        return "unknown"
    low, high = min(values), max(values)
    return number(low) if low == high else f"{number(median(values))} ({number(low)} to {number(high)})"


def _counts(values: Sequence[str]) -> str:
    kinds = sorted(set(values))
    return kinds[0] if len(kinds) == 1 else ", ".join(f"{kind} ({values.count(kind)})" for kind in kinds)


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: no datalist", got=str(error), expected="JSON as medseg data prepare writes it"
        ) from error
    if not isinstance(content, dict) or not any(isinstance(content.get(part), list) for part in PARTS):
        raise DataError(f"{path}: no datalist", expected=f"an object with {', '.join(PARTS)}")
    return content


def _items(content: Mapping[str, Any], part: str) -> list[Mapping[str, Any]]:
    return [item for item in content.get(part) or [] if isinstance(item, dict)]


def _parts(content: Mapping[str, Any]) -> Table:
    rows = []
    for part in PARTS:
        items = _items(content, part)
        rows.append([text(part), whole(len(items)), whole(len({str(item.get("patient")) for item in items}))])
    columns = [Column("Part"), Column("Cases", numeric=True), Column("Patients", numeric=True)]
    return Table("Split", columns, rows, sortable=False)


def _patients(content: Mapping[str, Any]) -> tuple[str, bool]:
    parts: dict[str, set[str]] = {}
    for part in PARTS:
        for item in _items(content, part):
            parts.setdefault(str(item.get("patient")), set()).add(part)
    twice = sorted(patient for patient, found in parts.items() if len(found) > 1)
    if twice:
        return f"{counted(len(twice), 'patient')} in two parts: {', '.join(twice[:10])}.", True
    return f"No patient stands in two parts ({counted(len(parts), 'patient')}).", False


def _read(path: Path) -> tuple[dict[Part, list[dict[str, Any]]], dict[str, Any]]:
    """The description of each image by part, and the search for doubles, with one reading of each file."""
    from medseg.datasets import load_datalist, read_datalist
    from medseg.datasets.leakage import find_duplicates, leakage_report, thumbnail
    from medseg.intake import read_image
    from medseg.intake.description import describe_image

    content = read_datalist(path)
    items = {part: load_datalist(path, part) if content[part] else [] for part in PARTS}
    files = {item["id"]: Path(item["image"]) for many in items.values() for item in many}

    def look(case: str) -> tuple[dict[str, Any], Any]:
        image = read_image(files[case])
        return describe_image(image), thumbnail(image)

    logger.info("reading %d images for the data sheet (--no-images leaves it out)", len(files))
    with ThreadPoolExecutor(_THREADS) as pool:
        seen = dict(zip(files, pool.map(look, files), strict=True))
    doubles = find_duplicates({case: small for case, (_, small) in seen.items()}, lambda case: read_image(files[case]))
    described = {part: [seen[item["id"]][0] for item in many] for part, many in items.items()}
    return described, leakage_report(content, doubles)


def _duplicates(leakage: Mapping[str, Any]) -> list[tuple[str, bool]]:
    doubles, across = leakage["duplicates"], leakage["across_parts"]
    if not doubles:
        return [
            (f"No image stands twice, as it is or mirrored ({counted(leakage['cases'], 'image')} compared).", False)
        ]
    so = ", so scores are too good" if across else ""
    told = f"{counted(len(doubles), 'pair')} of the same image, as it is or mirrored; {across} across two parts{so}."
    named = [
        (f"{' and '.join(one['cases'])}: {one['kind']}, in {' and '.join(one['parts'])}.", one["across_parts"])
        for one in doubles[:MOST_NAMED]
    ]
    return [(told, bool(across)), *named]
