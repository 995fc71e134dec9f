"""All that one run of the viewer holds, and what its routes ask of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from medseg import __version__
from medseg.errors import MedsegError
from medseg.review.viewer.access import Access
from medseg.review.viewer.cases import details, summary
from medseg.review.viewer.catalogue import Choice, choices
from medseg.review.viewer.entries import AbsentError, Entries, Entry
from medseg.review.viewer.folder import read_folder
from medseg.review.viewer.session import Session
from medseg.review.viewer.settings import MEGABYTE, Settings
from medseg.review.viewer.shown import Shown


class Viewer:
    """Cases, images, reviews, jobs.

    Parameters
    ----------
    settings
        What the user asked for.
    session
        The folder of this run; whoever made it closes it.

    Raises
    ------
    ReviewError, BundleError, DataError
        The folder, bundle or datalist that `settings` names cannot be used.
    """

    def __init__(self, settings: Settings, session: Session) -> None:
        self.settings, self.session = settings, session
        self.access, self.entries, self.shown = Access(settings), Entries(), Shown(session.shown)
        self.choices: tuple[Choice, ...] = choices(settings.bundle)
        if settings.folder is not None:
            for entry in read_folder(settings.folder, truth=settings.truth, datalist=settings.datalist):
                self.entries.add(entry)

    def state(self) -> dict[str, Any]:
        """What the page needs to know before anything else."""
        limits = self.settings.limits
        return {
            "version": __version__,
            "bundles": [choice.as_json() for choice in self.choices],
            "bundle": self.choices[0].name if self.settings.bundle is not None else None,
            "folder": self.settings.folder.name if self.settings.folder is not None else None,
            "may_segment": bool(self.choices),
            "login": self.settings.password is not None,
            "limits": {"upload_mb": limits.upload_bytes // MEGABYTE, "files": limits.files},
        }

    def summary(self, entry: Entry) -> dict[str, Any]:
        """A case in the list."""
        return summary(entry, review=None, corrected=self.correction(entry) is not None)

    def details(self, entry: Entry) -> dict[str, Any]:
        """All that the page shows of a case."""
        corrected = self.correction(entry) is not None
        more = details(entry, choices=self.choices, corrected=corrected, grid=self._grid(entry))
        return {**self.summary(entry), **more}

    def correction(self, entry: Entry) -> Path | None:
        """The newest correction of a case."""
        return None

    def file(self, entry: Entry, what: str) -> Path:
        """The file for the page of a case's image, prediction, truth or correction.

        Raises
        ------
        AbsentError
            The case has none.
        MedsegError
            It cannot be read.
        """
        source = self.correction(entry) if what == "correction" else getattr(entry, what)
        if source is None:
            raise AbsentError(f"case {entry.name} has no {what}")
        return self.shown.image(source) if what == "image" else self.shown.labels(source, reference=entry.image)

    def _grid(self, entry: Entry) -> dict[str, Any]:
        """Size and spacing, of the mask where there is one, as it is read faster."""
        nothing: dict[str, Any] = {"shape": None, "spacing_mm": None}
        what = "prediction" if entry.prediction is not None else "image"
        if getattr(entry, what) is None:
            return nothing
        try:
            return _grid_of(self.file(entry, what))
        except MedsegError:
            return nothing  # the page asks for the file itself, and is told why not


def _grid_of(path: Path) -> dict[str, Any]:
    if path.suffix == ".png":
        from PIL import Image as Picture

        with Picture.open(path) as picture:
            return {"shape": list(picture.size), "spacing_mm": None}
    import nibabel

    header: Any = nibabel.load(path).header
    return {
        "shape": [int(n) for n in header.get_data_shape()],
        "spacing_mm": [round(float(np.float32(mm)), 6) for mm in header.get_zooms()[:3]],
    }
