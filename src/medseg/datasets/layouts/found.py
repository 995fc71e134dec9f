"""What a layout finds in a folder, and the shape that every layout has."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from medseg.case import Image
from medseg.errors import DataError

_PREVIEW = "_preview"
"""At the end of the names of pictures that medseg writes beside its masks."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RawCase:
    """The files of one case as they lie in the source.

    Attributes
    ----------
    id
        Names the case and its outputs.
    image
        The image file, or the folder of a DICOM series.
    masks
        The file or files that make up the truth, in the order the layout's `read` expects.
    """

    id: str
    image: Path
    masks: tuple[Path, ...]


@dataclass(frozen=True)
class Found:
    """Everything a layout found in a source.

    Attributes
    ----------
    cases
        The complete cases, sorted by id.
    problems
        One sentence for each incomplete one.
    labels
        Label value -> name, where the source says it; None: whatever values the masks hold.
    about
        Further fields of the datalist (name, description, modality, ...).
    file
        The source's own list of its cases, where it has one.
    """

    cases: tuple[RawCase, ...]
    problems: tuple[str, ...] = ()
    labels: dict[int, str] | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    file: Path | None = None


Rewrite: TypeAlias = Callable[[Image], Image]
"""What is written in place of a mask: the label map on the same grid."""


@dataclass(frozen=True)
class Layout:
    """One way in which data sets lie on disk.

    Attributes
    ----------
    name
        The word for it on the command line.
    find
        Source folder -> what is there.
    read
        The label map of a case, (X, Y[, Z]) integers, as its masks give it.
    rewrite
        The label values met in each case, by its id -> how each label map is changed before it is written beside
        the datalist, or None when the masks are used as they are.
    """

    name: str
    find: Callable[[Path], Found]
    read: Callable[[RawCase], Image]
    rewrite: Callable[[Mapping[str, frozenset[int]]], Rewrite | None]


def files_by_id(folder: Path) -> dict[str, list[Path]]:
    """The images of a folder by case id, the file name without suffix.

    Hidden files, previews and files of other kinds are no images; a folder in it is taken for a DICOM series. What is
    named like a preview is one where its case lies beside it. A warning tells of what may be a case all the same.
    """
    from medseg.intake.files import refuse_other_encodings, visible
    from medseg.intake.inputs import why_unread

    found: dict[str, list[Path]] = {}
    entries = visible(folder)
    _refuse_folders_of_images(entries, folder)
    refuse_other_encodings(filter(is_image, entries))
    for path in filter(is_image, entries):
        found.setdefault(stem(path), []).append(path)
    previews = {name for name, paths in found.items() if _is_preview(name, paths, found)}
    unread = Counter(reason for path in entries if path.is_file() and (reason := why_unread(path)))
    if unsure := [name for name in previews if not _has_manifest(folder, name)]:
        unread["named like previews: rename them if they are cases"] = len(unsure)
    for reason, count in unread.items():
        _log.warning("%s: passed over: %d %s", folder, count, reason)
    return {name: paths for name, paths in found.items() if name not in previews}


def _refuse_folders_of_images(entries: Sequence[Path], folder: Path) -> None:
    """A folder stands for a DICOM series; one of other images, of one site or patient, is no case."""
    from medseg.intake import files

    inside = {path: _within(path) for path in entries if path.is_dir() and is_image(path)}
    found = {path: [one for one in within if files.is_plain_image(one)] for path, within in inside.items()}
    if wrong := [path for path, images in found.items() if images and not any(map(files.is_dicom, inside[path]))]:
        raise DataError(
            f"{folder}: folders of images in a folder of images",
            got=f"{len(wrong)} such as {wrong[0].name}/ with {found[wrong[0]][0].name}",
            expected="the images themselves, and folders of DICOM series alone",
            next_step="move them up, with the sub-folder in the name where two are called alike (patient_image.nii.gz)",
        )


def _within(folder: Path) -> list[Path]:
    """What a folder holds; nothing where it may not be read, which its case tells when it is."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _is_preview(name: str, paths: Sequence[Path], found: Collection[str]) -> bool:
    return name.endswith(_PREVIEW) and name.removesuffix(_PREVIEW) in found and paths[0].suffix.lower() == ".png"


def _has_manifest(folder: Path, preview: str) -> bool:
    from medseg.intake.own_outputs import manifest_path

    return manifest_path(folder, preview.removesuffix(_PREVIEW)).exists()


def is_image(path: Path) -> bool:
    """Whether a file (by its name) or a folder can be the image or the mask of a case."""
    from medseg.intake import files

    if path.name.startswith("."):
        return False
    return path.is_dir() or files.is_plain_image(path) or files.suffix(path) in files.DICOM


def stem(path: Path) -> str:
    """The case that a file or a DICOM folder stands for: its name without suffix.

    The readers' `case_id` gives a DICOM series the hash of its UID; here names tell which mask belongs to an image.
    """
    from medseg.intake import files

    return path.name if path.is_dir() else files.stem(path)


def subfolder(source: Path, *names: str) -> Path:
    """The first folder of `names` in `source`; a DataError says what was looked for."""
    for name in names:
        if (source / name).is_dir():
            return source / name
    there = sorted(p.name for p in source.iterdir()) if source.is_dir() else []
    raise DataError(
        f"{source} does not have the layout asked for",
        got=", ".join(there[:8]) or "nothing there",
        expected=f"a folder {' or '.join(names)}",
        next_step="check the path and the layout (montgomery, decathlon, pairs)",
    )
