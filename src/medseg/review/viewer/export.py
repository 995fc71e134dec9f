"""The accepted cases as a datalist to train on: the correction where there is one, else the accepted mask, is truth."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg import __version__
from medseg.datasets.datalist import SECTIONS
from medseg.datasets.splits import split_by_patient
from medseg.errors import ReviewError
from medseg.files import atomic_write, sha256_of
from medseg.review.viewer.entries import Entry

SEED = 42
_VALIDATION = 0.2


@dataclass(frozen=True)
class Accepted:
    """A case to export: its entry, the label map that is taken for truth, whether that is a correction, the review."""

    entry: Entry
    label: Path
    corrected: bool
    review: Mapping[str, Any]

    @property
    def id(self) -> str:
        """The id in the datalist: two uploads may have one name, so theirs tells them apart."""
        return self.entry.name if self.entry.source == "folder" else f"{self.entry.name}_{self.entry.key[:6]}"

    @property
    def patient(self) -> str:
        """As the datalist that the viewer was given says, or the case for itself."""
        return self.entry.patient or self.entry.name


def datalist_of(
    cases: Sequence[Accepted], *, labels: Mapping[int, str], left_out: Sequence[str] = ()
) -> dict[str, Any]:
    """The datalist of accepted cases whose files lie still, with absolute paths, as it may be saved anywhere.

    Uploads are left out, as they go when the viewer ends, and so are single series of a folder that holds several:
    they are in the archive of `write_archive`.

    Parameters
    ----------
    cases
        The accepted ones.
    labels
        Label value to name.
    left_out
        Ids that the datalist is to tell as left out, besides those above.

    Raises
    ------
    ReviewError
        No case can stand in it.
    """
    lasting = [one for one in cases if one.entry.source == "folder" and one.entry.image and one.entry.image.exists()]
    if not lasting:
        raise ReviewError(
            "no accepted case of the reviewed folder has its image where the datalist could name it",
            got=f"{len(cases)} accepted cases",
            next_step="export the archive, which holds the images" if cases else "accept some cases first",
        )
    items = [_item(one, image=str(one.entry.image), label=str(one.label.resolve())) for one in lasting]
    return _datalist(items, labels, {*left_out, *({one.id for one in cases} - {one.id for one in lasting})})


def write_archive(
    cases: Sequence[Accepted],
    path: Path,
    *,
    images: Mapping[str, Path],
    labels: Mapping[int, str],
    left_out: Sequence[str] = (),
) -> None:
    """Write a ZIP that holds datalist.json, images/ and labels/: unpacked anywhere, it can be trained on.

    Parameters
    ----------
    images
        Key of each case to its image as one file: NIfTI on the image's own grid, or the picture.
    cases, labels, left_out
        As for `datalist_of`.

    Raises
    ------
    ReviewError
        There is no accepted case.
    """
    if not cases:
        raise ReviewError("no case is accepted yet", next_step="accept some cases first")
    names = {
        one.id: (f"images/{one.id}{_suffix(images[one.entry.key])}", f"labels/{one.id}{_suffix(one.label)}")
        for one in cases
    }
    items = [_item(one, image=names[one.id][0], label=names[one.id][1]) for one in cases]
    content = _datalist(items, labels, set(left_out))
    with atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for one in cases:
            for source, name in zip((images[one.entry.key], one.label), names[one.id], strict=True):
                packed = zipfile.ZIP_DEFLATED if name.endswith(".nii") else zipfile.ZIP_STORED
                archive.write(source, name, compress_type=packed, compresslevel=1)
        archive.writestr("datalist.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _item(one: Accepted, *, image: str, label: str) -> dict[str, Any]:
    return {
        "id": one.id,
        "patient": one.patient,
        "image": image,
        "label": label,
        "truth": "correction" if one.corrected else "prediction",
        "review": {key: one.review.get(key) for key in ("by", "when", "comment")},
        "sha256": {"label": sha256_of(one.label)},
    }


def _datalist(items: Sequence[dict[str, Any]], labels: Mapping[int, str], left_out: Set[str]) -> dict[str, Any]:
    patients = sorted({item["patient"] for item in items})
    # One patient cannot be split: with him alone there is nothing to validate on, and training says so.
    share = max(1, round(_VALIDATION * len(patients))) / len(patients) if len(patients) > 1 else 0.0
    fractions = (1.0 - share, share, 0.0)
    parts = split_by_patient(patients, fractions=fractions, seed=SEED)
    sections: dict[str, list[dict[str, Any]]] = {section: [] for section in SECTIONS}
    for item in items:
        sections[parts[item["patient"]]].append(item)
    return {
        "name": "accepted cases",
        "description": f"accepted in medseg review {__version__}; truth: the correction, or the accepted mask",
        "labels": {"0": "background", **{str(value): name for value, name in sorted(labels.items())}},
        "seed": SEED,
        "fractions": list(fractions),
        **({"left_out": sorted(left_out)} if left_out else {}),
        **sections,
    }


def _suffix(path: Path) -> str:
    from medseg.intake.files import suffix

    return suffix(path)
