"""What medseg wrote for a case, known again by its name or by the manifest beside it."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medseg.files import sha256_of
from medseg.intake.files import stem

logger = logging.getLogger(__name__)

_MANIFEST = "_manifest.json"
_PICTURE = re.compile(r"(.+)_(?:preview\.png|comparison\.png|probability_[0-9]+\.(?:png|nii\.gz))")


def manifest_path(folder: Path, case: str) -> Path:
    """Where the manifest of a case lies."""
    return folder / f"{case}{_MANIFEST}"


def manifests_in(folder: Path) -> dict[str, dict[str, Any]]:
    """The manifests of a folder by case; damaged ones, which are logged, and empty ones are passed over."""
    found = {path.name.removesuffix(_MANIFEST): read_manifest(path) for path in sorted(folder.glob(f"*{_MANIFEST}"))}
    return {case: content for case, content in found.items() if content}


def read_manifest(path: Path) -> dict[str, Any]:
    """A manifest; empty where it is damaged, which is logged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        logger.warning("%s is passed over: %s", path.name, error)
        return {}
    return content if isinstance(content, dict) else {}


def output_of(folder: Path, manifest: Mapping[str, Any], kind: str) -> Path | None:
    """The file of an output ("mask", "preview") that a manifest of the folder names; None where it is not there."""
    outputs = manifest.get("outputs")
    entry = outputs.get(kind) if isinstance(outputs, Mapping) else None
    return inside(folder, entry.get("file")) if isinstance(entry, Mapping) else None


def inside(folder: Path, name: object) -> Path | None:
    """A file that a manifest names, if it is there and truly in the folder, links followed."""
    if not isinstance(name, str):
        return None
    path = (folder / Path(name).name).resolve()
    return path if path.is_file() and path.parent == folder.resolve() else None


def is_as_recorded(folder: Path, output: Mapping[str, str]) -> bool:
    """Whether a file that a manifest of the folder records is in it with the SHA-256 that was recorded.

    Raises
    ------
    OSError
        It is not there, or cannot be read.
    """
    path = (folder / output["file"]).resolve()  # pictures of slices lie in a folder of their own
    return path.is_relative_to(folder.resolve()) and sha256_of(path) == output["sha256"]


def pictured_case(path: Path) -> str | None:
    """The case that a file is, by its name, a preview or the like of."""
    match = _PICTURE.fullmatch(path.name)
    return match[1] if match else None


def is_drawn(path: Path) -> bool:
    """Whether medseg drew a file: a preview or the like of a case whose manifest lies beside it."""
    case = pictured_case(path)
    return case is not None and manifest_path(path.parent, case).exists()


def is_picture_of_mask(path: Path) -> bool:
    """Whether a file is by its name a preview or the like."""
    return pictured_case(path) is not None


def is_ours(path: Path) -> bool:
    """Whether medseg wrote a file: a preview or the like by its name, a mask by the manifest beside it."""
    return is_picture_of_mask(path) or manifest_path(path.parent, stem(path)).exists()
