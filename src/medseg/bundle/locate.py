"""Where bundles are: a folder of the user's, or one that ships with medseg, called by its name."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from medseg.bundle.metadata import METADATA_FILE, read_metadata
from medseg.errors import BundleError

WEIGHTS_FILE = Path("models") / "model.pt"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class BundleInfo:
    """A shipped bundle in one line: `labels` without the background, `weights` where trained ones are there."""

    name: str
    version: str
    task: str
    modality: str
    labels: tuple[str, ...]
    weights: bool
    path: Path


def find_bundle(name_or_path: str | os.PathLike[str]) -> Path:
    """The folder of the bundle that a user names: a bundle's folder, or the name of one that ships.

    Raises
    ------
    BundleError
        Where it is neither; the message names the bundles there are.
    """
    folder = Path(name_or_path)
    if (folder / METADATA_FILE).is_file():
        return folder.resolve()
    shipped = _shipped()
    if str(name_or_path) in shipped:
        return shipped[str(name_or_path)]
    raise _not_found(str(name_or_path), folder, list(shipped))


def list_bundles() -> list[BundleInfo]:
    """The bundles that ship with medseg, by name."""
    return [_info(name, path) for name, path in _shipped().items()]


def _info(name: str, path: Path) -> BundleInfo:
    metadata = read_metadata(path)
    return BundleInfo(
        name=name,
        version=metadata.version,
        task=metadata.task,
        modality=metadata.modality,
        labels=tuple(label for value, label in metadata.labels.items() if value > 0),
        weights=(path / WEIGHTS_FILE).is_file(),
        path=path,
    )


def _shipped() -> dict[str, Path]:
    """Name to folder; a name is a plain word, so that no name leads out of the bundles' folder."""
    root = shipped_root()
    if root is None:
        return {}
    folders = (path for path in sorted(root.iterdir()) if _NAME.fullmatch(path.name))
    return {path.name: path for path in folders if (path / METADATA_FILE).is_file()}


def shipped_root() -> Path | None:
    """The folder of the shipped bundles: within the package in a wheel, at the top of a checkout (editable install)."""
    package = Path(__file__).resolve().parents[1]
    roots = [package / "bundles"]
    if package.parent.name == "src":
        roots.append(package.parents[1] / "bundles")
    return next((root for root in roots if root.is_dir()), None)


def _not_found(wanted: str, folder: Path, names: list[str]) -> BundleError:
    close = difflib.get_close_matches(wanted, names, n=1)
    hint = f"did you mean {close[0]}?" if close else "medseg bundle list shows those that ship"
    expected = f"a bundle's folder, or one of: {', '.join(names)}"
    if folder.is_dir():
        return BundleError(f"{folder} is no bundle: it has no {METADATA_FILE}", expected=expected, next_step=hint)
    if folder.suffix == ".zip" and folder.is_file():
        hint = f"medseg bundle unpack {folder} -o {folder.with_suffix('')}"
    if folder.is_file():
        return BundleError(f"{folder} is a file and no bundle", expected=expected, next_step=hint)
    return BundleError("no such bundle", got=repr(wanted), expected=expected, next_step=hint)
