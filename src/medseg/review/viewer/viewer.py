"""All that one run of the viewer holds, and what its routes ask of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medseg import __version__
from medseg.errors import MedsegError, ReviewError
from medseg.review.viewer.access import Access
from medseg.review.viewer.cases import bundle_modality, details, summary
from medseg.review.viewer.catalogue import Choice, choices
from medseg.review.viewer.entries import AbsentError, Entries, Entry, key_of
from medseg.review.viewer.folder import inside, read_folder, read_manifest
from medseg.review.viewer.jobs import Job, Jobs
from medseg.review.viewer.session import Session
from medseg.review.viewer.settings import MEGABYTE, Settings
from medseg.review.viewer.shown import Shown
from medseg.review.viewer.uploads import Uploads


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
        self.uploads = Uploads(session=session, entries=self.entries, shown=self.shown, limits=settings.limits)
        self.jobs = Jobs(done=self._segmented, hide=session.hide)
        if settings.folder is not None:
            for entry in read_folder(settings.folder, truth=settings.truth, datalist=settings.datalist):
                self.entries.add(entry)

    def start(self) -> None:
        """Begin to work off jobs, with the chosen bundle loaded ahead."""
        if self.choices:
            self.jobs.start(bundle=self.choices[0].folder if self.settings.bundle is not None else None)

    def close(self) -> None:
        """End what still runs; the session's folder is its maker's."""
        self.jobs.close()

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
        grid, modality = self._grid(entry), self._modality(entry)
        more = details(entry, modality=modality, corrected=corrected, grid=grid, choices=self.choices)
        return {**self.summary(entry), **more}

    def segment(self, entry: Entry, bundle: str) -> Job:
        """Queue the segmentation of a case.

        A case of the reviewed folder keeps its mask: the new one becomes a case of its own.

        Raises
        ------
        AbsentError
            There is no such bundle.
        ReviewError
            Image and bundle do not go together, or too many jobs wait.
        """
        choice = next((one for one in self.choices if one.name == bundle), None)
        if choice is None:
            raise AbsentError("no such bundle")
        if entry.image is None:
            raise ReviewError(f"case {entry.name}: its image is not known, so it cannot be segmented")
        dims = 2 if entry.kind == "picture" else 3
        if choice.dims != dims:
            kinds = {2: "pictures, such as X-rays", 3: "volumes, such as CT and MR"}
            raise ReviewError(f"bundle {choice.name} is for {kinds[choice.dims]}", got=f"a {entry.kind}")
        if entry.source == "folder":
            entry = self._beside(entry, choice)
        return self.jobs.add(
            case=entry.key,
            name=entry.name,
            bundle=choice.name,
            bundle_folder=choice.folder,
            image=entry.image or Path(),
            results=entry.home,
        )

    def _beside(self, entry: Entry, choice: Choice) -> Entry:
        key = key_of("again", entry.key, choice.name)
        home = self.session.results / key
        home.mkdir(mode=0o700, exist_ok=True)
        again = Entry(
            key=key,
            name=entry.name,
            kind=entry.kind,
            source="upload",
            home=home,
            image=entry.image,
            truth=entry.truth,
            patient=entry.patient,
            modality=entry.modality or choice.modality,
        )
        self.entries.add(again)
        return again

    def _segmented(self, job: Job, files: Mapping[str, str]) -> None:
        """A job is done: its mask is the case's from now on."""
        manifest = read_manifest(job.output / files["manifest"])
        self.entries.change(
            job.case,
            prediction=inside(job.output, files["mask"]),
            preview=inside(job.output, files.get("preview")),
            manifest=manifest,
        )

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

    def _modality(self, entry: Entry) -> str | None:
        known = entry.modality or bundle_modality(entry.manifest, self.choices)
        if known is not None or entry.image is None:
            return known
        try:
            self.file(entry, "image")
        except MedsegError:
            return None  # as below
        return self.shown.modality(entry.image)

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
