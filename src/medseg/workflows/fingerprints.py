"""What makes a result the same result: hashes of the input, and a manifest that still holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from medseg import __version__
from medseg.datasets.datalist import write_json
from medseg.errors import ImageError
from medseg.files import sha256_of
from medseg.intake import source_files
from medseg.intake.own_outputs import is_as_recorded


def input_sha256(path: Path) -> str:
    """SHA-256 of a file; of a series folder, or a header with its voxels in another file, of their sorted hashes.

    Raises
    ------
    ImageError
        It cannot be read.
    """
    try:
        return _of_files(path)
    except OSError as error:
        raise ImageError(f"{path}: cannot be read", got=error.strerror, expected="a file or a series folder") from error


def settings_sha256(settings: Mapping[str, Any]) -> str:
    """SHA-256 of settings, whatever the order of their keys."""
    return _of_text(json.dumps(settings, sort_keys=True, default=str))


def valid_manifest(path: Path, *, expected: Mapping[str, object], kinds: Collection[str]) -> Mapping[str, Any] | None:
    """The manifest at `path` if its case need not be done again.

    Parameters
    ----------
    path
        `<id>_manifest.json`; the files that it names lie beside it, or in a folder there.
    expected
        Keys and values that it must hold: the hashes of input, weights and settings; None for what it must not have.
        The version of medseg must be this one.
    kinds
        What must be among its outputs ("mask", "preview"), each file there and with the hash that was recorded.
    """
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        outputs = manifest["outputs"]
        wanted = {**expected, "medseg_version": __version__}
        same = all(manifest.get(key) == value for key, value in wanted.items())
        same = same and set(kinds) <= outputs.keys()
        whole = same and all(is_as_recorded(path.parent, one) for one in outputs.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # absent, or not what we wrote: the case is done again
    return manifest if whole else None


def renew_sources(path: Path, manifest: Mapping[str, Any], sources: Mapping[str, object]) -> None:
    """Write the manifest at `path` anew if the case's files lie elsewhere by now: viewer and report look there.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    if not sources.items() <= manifest.items():
        write_json({**manifest, **sources}, path)


def _of_files(path: Path) -> str:
    files = [file for file in path.iterdir() if file.is_file()] if path.is_dir() else source_files(path)
    hashes = sorted(sha256_of(file) for file in files)
    return hashes[0] if path.is_file() and len(hashes) == 1 else _of_text("\n".join(hashes))


def _of_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
