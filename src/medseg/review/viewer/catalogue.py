"""The bundles that new images can be segmented with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.bundle import find_bundle, list_bundles, read_metadata
from medseg.bundle.locate import WEIGHTS_FILE
from medseg.bundle.trust import merged_for, require_trust
from medseg.errors import ReviewError


@dataclass(frozen=True)
class Choice:
    """A bundle that the page offers; `folder` is where it lies, the rest as `medseg.bundle.Metadata` has it."""

    name: str
    title: str
    modality: str
    dims: int
    labels: dict[int, str]
    folder: Path

    def as_json(self) -> dict[str, Any]:
        """For the page, without the folder."""
        labels = {str(value): name for value, name in self.labels.items() if value != 0}
        about = {"name": self.name, "title": self.title, "modality": self.modality, "dims": self.dims}
        return {**about, "labels": labels}


def choices(bundle: str | None, *, trust: bool = False) -> tuple[Choice, ...]:
    """The shipped bundles with weights, after the one that the user named.

    Parameters
    ----------
    bundle
        Name or folder.
    trust
        Let it do all it wants, as `--trust` of the other commands.

    Raises
    ------
    BundleError
        The named one is not there, its metadata cannot be used, or it wants more than is allowed and is not trusted.
    ReviewError
        It has no weights.
    """
    shipped = [_choice(info.path, info.name) for info in list_bundles() if info.weights]
    if bundle is None:
        return tuple(shipped)
    folder = find_bundle(bundle)
    if not (folder / WEIGHTS_FILE).is_file():
        raise ReviewError(
            f"bundle {folder} has no weights", expected=str(WEIGHTS_FILE), next_step="train it first: medseg train"
        )
    require_trust(folder, merged_for(folder, "inference"), trust=trust)
    others = [one for one in shipped if one.folder != folder.resolve()]
    taken = {one.name for one in others}
    name = folder.name if folder.name not in taken else f"{folder.name} (yours)"
    return (_choice(folder, name), *others)


def _choice(folder: Path, name: str) -> Choice:
    about = read_metadata(folder)
    return Choice(name, about.task, about.modality, about.spatial_dims, dict(about.labels), folder.resolve())
