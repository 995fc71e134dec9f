"""The cases of a folder that `medseg predict`, `evaluate` or another tool filled."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.errors import DataError, MedsegError, ReviewError
from medseg.evaluation.table import SCORES_FILE, read_cases, read_scores, some
from medseg.intake.own_outputs import manifests_in, output_of
from medseg.review.viewer.entries import Entry, Kind, key_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Known:
    """What a datalist or a folder of true masks says of a case."""

    image: Path | None = None
    truth: Path | None = None
    patient: str | None = None


def read_folder(folder: Path, *, truth: Path | None, datalist: Path | None) -> list[Entry]:
    """The cases of a folder: one a manifest, or one a mask where there are none.

    Scores come from scores.csv, patients from cases.csv, if they are there.

    Parameters
    ----------
    folder
        Of masks with what lies beside them: manifests, previews, scores.csv.
    truth
        A folder of true masks with the same names.
    datalist
        Says where image and truth of a case are; it wins over what the manifests say.

    Raises
    ------
    ReviewError
        There is no mask in the folder, or none has the name of a true mask or of a case of the datalist.
    DataError
        The datalist, or cases.csv, cannot be used.
    """
    known, patients = _known(truth, datalist), {record.case: record.patient for record in read_cases(folder)}
    scores = _scores(folder)
    manifests = manifests_in(folder)
    masks = {name: mask for name, manifest in manifests.items() if (mask := output_of(folder, manifest, "mask"))}
    if not manifests:
        masks = _masks(folder)
    if not masks:
        raise ReviewError(
            f"{folder} holds no masks to review",
            expected="a folder that medseg predict or evaluate filled, or a bundle",
            next_step="segment first: medseg predict BUNDLE -i IMAGES -o DIR",
        )
    if truth is not None or datalist is not None:
        _refuse_unmatched(masks, known, folder)
    return [
        _entry(
            name,
            folder.resolve(),
            mask,
            manifests.get(name, {}),
            known.get(name, Known()),
            patients.get(name),
            scores.get(name, {}),
        )
        for name, mask in sorted(masks.items())
    ]


def _refuse_unmatched(masks: Mapping[str, Path], known: Mapping[str, Known], folder: Path) -> None:
    """Refuse a truth of which nothing would be shown, as `medseg score` does."""
    if not masks.keys() & known.keys():
        raise ReviewError(
            f"{folder}: no case has a name of --truth or --datalist",
            got=f"{some(sorted(masks))}; there {some(sorted(known)) or 'none'}",
            expected="the same names, without suffixes",
            next_step="rename the true masks; medseg evaluate names the masks as its datalist does",
        )


def _scores(folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    """scores.csv as case to region to metric to value; empty where there is none, or one that is not as we write it."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    try:
        rows = read_scores(folder) if (folder / SCORES_FILE).is_file() else []
    except DataError as error:
        logger.warning("the scores of the folder are not shown: %s", error)
        rows = []
    for row in rows:
        known = {name: value for name, value in row.scores.items() if math.isfinite(value)}
        found.setdefault(row.case, {})[row.region] = known
    return found


def kind_of_mask(mask: Path) -> Kind:
    """Pictures have PNG masks."""
    from medseg.intake.files import RASTER, suffix

    return "picture" if suffix(mask) in RASTER else "volume"


def _masks(folder: Path) -> dict[str, Path]:
    """Those in the folder itself: what lies below may be anything."""
    from medseg.intake import find_inputs

    try:
        inputs = find_inputs(folder)
    except MedsegError:
        return {}
    return {found.id: found.path.resolve() for found in inputs if found.path.is_file() and found.path.parent == folder}


def _entry(
    name: str,
    folder: Path,
    mask: Path,
    manifest: Mapping[str, Any],
    known: Known,
    patient: str | None,
    scores: Mapping[str, Mapping[str, float]],
) -> Entry:
    return Entry(
        key=key_of("folder", name),
        name=name,
        kind=kind_of_mask(mask),
        source="folder",
        home=folder,
        image=known.image or _named(folder, manifest.get("input")),
        prediction=mask,
        truth=known.truth or _named(folder, manifest.get("truth")),
        preview=output_of(folder, manifest, "preview"),
        manifest=manifest,
        scores=scores,
        patient=known.patient or patient,
    )


def _named(folder: Path, text: object) -> Path | None:
    """A path as manifests have it: relative to their folder."""
    if not isinstance(text, str) or not text:
        return None
    path = folder / text
    there = path.exists() or (path.name.startswith("#") and path.parent.is_dir())
    return path.resolve() if there else None


def _known(truth: Path | None, datalist: Path | None) -> dict[str, Known]:
    found: dict[str, Known] = {}
    if datalist is not None:
        found.update(_of_datalist(datalist))
    if truth is not None:
        from medseg.intake import find_inputs

        for one in find_inputs(truth):
            before = found.get(one.id, Known())
            found[one.id] = Known(before.image, one.path.resolve(), before.patient)
    return found


def _of_datalist(path: Path) -> Iterator[tuple[str, Known]]:
    from medseg.datasets import read_datalist
    from medseg.datasets.datalist import SECTIONS

    content, base = read_datalist(path), path.resolve().parent
    for section in SECTIONS:
        for item in content[section]:
            image, label = ((base / item[key]).resolve() for key in ("image", "label"))
            yield item["id"], Known(image, label, item["patient"])
