"""A new bundle made from one that is there: its configuration and scripts; no weights, no scores, no DICOM codes."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from medseg.bundle.metadata import METADATA_FILE, check_metadata
from medseg.bundle.pack import own_files, without_run
from medseg.errors import BundleError, writing
from medseg.files import atomic_folder

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_FIRST = "0.1.0"
_NO_CODES: dict[str, Any] = {"segments": {}}
"""DICOM codes: those of the source's labels would be written into the SEG and RTSTRUCT of whatever 1 and 2 are now."""

_NO_WEIGHTS = {"weights_license": "not chosen yet", "weights_license_reason": "there are no weights yet"}


def new_bundle(name: str, *, source: Path, parent: Path) -> Path:
    """Make the folder `parent`/`name`, a bundle with the configuration and scripts of `source`, and return it.

    Parameters
    ----------
    name
        Of the bundle and its folder: letters, digits, _ and -.
    source
        A bundle, or a run's folder.
    parent
        Where the new folder goes.

    Raises
    ------
    BundleError
        Not a name, the folder is there already, or `source` breaks the specification.
    OutputError
        The folder cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise BundleError("a bundle's name", got=repr(name), expected="letters, digits, _ and -, such as ct_liver")
    folder = parent / name
    if folder.exists():
        raise BundleError(f"{folder} is there already", next_step="choose another name, or another folder with -o")
    metadata = _metadata(name, check_metadata(source / METADATA_FILE), source)
    with writing(folder), atomic_folder(folder) as building:
        _fill(building, source, metadata, _readme(name, metadata, source))
    return folder


def _fill(folder: Path, source: Path, metadata: dict[str, Any], readme: str) -> None:
    (folder / "docs").mkdir()
    (folder / "configs").mkdir()
    for path in own_files(source):
        name_within = path.relative_to(source)
        if (name_within.parts[0] == "configs" or path.suffix == ".py") and name_within != METADATA_FILE:
            (folder / name_within).parent.mkdir(parents=True, exist_ok=True)
            (folder / name_within).write_text(without_run(path.read_text(encoding="utf-8")), encoding="utf-8")
    text = json.dumps(metadata, indent=4, ensure_ascii=False) + "\n"
    (folder / METADATA_FILE).write_text(text, encoding="utf-8")
    (folder / "docs" / "README.md").write_text(readme, encoding="utf-8")
    if (source / "LICENSE").is_file():
        shutil.copyfile(source / "LICENSE", folder / "LICENSE")


def _metadata(name: str, metadata: dict[str, Any], source: Path) -> dict[str, Any]:
    own = {**metadata.get("medseg", {}), **_NO_WEIGHTS, **_NO_CODES} if "medseg" in metadata else {}
    origin = f"first version, made from {metadata.get('name', source.name)} {metadata['version']}"
    changes = {"name": name, "version": _FIRST, "changelog": {_FIRST: origin}, "eval_metrics": {}}
    return {**metadata, **changes, **({"medseg": own} if own else {})}


def _readme(name: str, metadata: dict[str, Any], source: Path) -> str:
    return (
        f"# {name}\n\n"
        f"Made from the bundle {source.name}; it has no weights yet. Say in configs/metadata.json what it segments\n"
        "and from which data, and in configs/common.yaml how.\n\n"
        f"    medseg bundle check {name}\n"
        f"    medseg train {name} --datalist DATALIST.json -o RUN_DIR\n\n"
        f"Task as of {source.name}: {metadata['task']}.\n"
    )
