"""All that one run of the viewer holds, and what its routes ask of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medseg import __version__
from medseg.case import Image
from medseg.errors import MedsegError, ReviewError
from medseg.files import sha256_of
from medseg.intake.own_outputs import inside, read_manifest
from medseg.review.viewer.access import Access
from medseg.review.viewer.background import Background
from medseg.review.viewer.cases import bundle_modality, details, label_names, summary
from medseg.review.viewer.catalogue import Choice, choices
from medseg.review.viewer.child import WORKER, Child
from medseg.review.viewer.corrections import Corrections, check_values, means_other, unpack_voxels
from medseg.review.viewer.entries import AbsentError, Entries, Entry, key_of
from medseg.review.viewer.export import Accepted
from medseg.review.viewer.folder import read_folder
from medseg.review.viewer.jobs import Job, Jobs
from medseg.review.viewer.reviews import Reviews, Status
from medseg.review.viewer.session import Session
from medseg.review.viewer.settings import MEGABYTE, Settings
from medseg.review.viewer.shown import Shown, grid_of
from medseg.review.viewer.uploads import Uploads


class Viewer:
    """Cases, images, reviews, jobs.

    Parameters
    ----------
    settings
        What the user asked for.
    session
        The folder of this run; whoever made it closes it.
    child
        The process that runs the networks; for tests.

    Raises
    ------
    ReviewError, BundleError, DataError
        The folder, bundle or datalist that `settings` names cannot be used.
    """

    def __init__(self, settings: Settings, session: Session, *, child: Child | None = None) -> None:
        self.settings, self.session = settings, session
        self.access, self.entries, self.shown = Access(settings), Entries(), Shown(session.shown)
        self.choices: tuple[Choice, ...] = choices(settings.bundle, trust=settings.trust)
        self.uploads = Uploads(session=session, entries=self.entries, shown=self.shown, limits=settings.limits)
        self.corrections, self._background = Corrections(), Background(self.entries, self.shown)
        self._hashes: dict[tuple[str, int], str] = {}
        self._uploads_reviews = Reviews(session.results)
        self._folder_reviews = self._uploads_reviews if settings.folder is None else Reviews(settings.folder)
        child = Child((*WORKER, str(session.folder))) if child is None else child
        self.jobs = Jobs(done=self._segmented, hide=session.hide, child=child)
        if settings.folder is not None:
            for entry in read_folder(settings.folder, truth=settings.truth, datalist=settings.datalist):
                self.entries.add(entry)

    def start(self) -> None:
        """Begin to work off jobs, with the chosen bundle loaded ahead, and what goes on in the background."""
        self._background.start()
        if self.choices:
            self.jobs.start(bundle=self.choices[0].folder if self.settings.bundle is not None else None)
            if self.settings.folder is None:  # an empty page waits for a file
                self.jobs.warm_up()

    def close(self) -> None:
        """End what still runs; the session's folder is its maker's."""
        self.jobs.close()
        self._background.close()

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
        return summary(entry, review=self._review(entry), corrected=self.correction(entry) is not None)

    def details(self, entry: Entry) -> dict[str, Any]:
        """All that the page shows of a case."""
        newest = self.corrections.newest(entry)
        more = details(
            entry,
            names=self.label_names(entry),
            modality=self._modality(entry),
            correction=None if newest is None else newest[1],
            grid=self._grid(entry),
        )
        return {**self.summary(entry), **more, "notes": [*self._warnings(entry), *more["notes"]]}

    def label_names(self, entry: Entry) -> dict[int, str]:
        """Label value to name: of the manifest, else of the chosen bundle, else as many as the mask has."""
        named = label_names(entry.manifest) or dict(entry.labels)
        if named:
            return named
        if entry.prediction is not None:
            named = _values_in(entry.prediction)
            self.entries.change(entry.key, labels=named)
        elif self.settings.bundle is not None and self.choices[0].dims == _dims(entry):
            named = {value: name for value, name in self.choices[0].labels.items() if value != 0}
        return named

    def review(
        self, entry: Entry, *, status: Status | None, comment: str, by: str, version: int | None = None
    ) -> dict[str, Any]:
        """Write down what someone says of a case.

        Parameters
        ----------
        entry
            The case.
        status, comment, by
            As for `Reviews.put`.
        version
            Of the correction that was looked at, 0 for the mask as it was segmented; None: the newest there is.
        """
        reviews, name = self._reviews_of(entry)
        before, mask = self._review(entry), self.corrections.mask(entry, version)
        seen = None if mask is None else sha256_of(mask)
        if status is not None and status == before.get("status"):
            seen = before.get("mask_sha256")  # a comment alone: the verdict is still of the mask that it was given for
        return reviews.put(name, status=status, comment=comment, by=by, mask=seen)

    def correct(self, entry: Entry, body: bytes, *, shape: str, by: str, based_on: int | None) -> dict[str, Any]:
        """Save a correction; errors are those of `medseg.review.viewer.corrections`."""
        grid = self._native_grid(entry)
        voxels = unpack_voxels(body, shape=shape, expected=grid.array.shape)
        names = self.label_names(entry)
        check_values(voxels, case=entry.name, allowed=names)
        return self.corrections.save(entry, replace(grid, array=voxels), names=names, by=by, based_on=based_on)

    def accepted(self) -> tuple[list[Accepted], list[str]]:
        """The accepted cases that have a mask, as they are exported; and ids of those whose mask changed since.

        A mask that was made anew after someone accepted it is not the one that was accepted, and a correction with the
        labels of another bundle is none of it.
        """
        found, changed = [], []
        for entry in self.entries.all():
            review, correction = self._review(entry), self.correction(entry)
            label = correction or entry.prediction
            if review.get("status") != "accepted" or label is None:
                continue
            if self._means_other(entry) or (correction is None and _changed_since(review, label)):
                changed.append(entry.name)
            else:
                found.append(Accepted(entry, label, correction is not None, review))
        return found, changed

    def export_labels(self, cases: Sequence[Accepted]) -> dict[int, str]:
        """The labels of all cases together.

        Raises
        ------
        ReviewError
            A value means one thing in one case and another in the next: no network can learn that.
        """
        found: dict[int, tuple[str, str]] = {}
        for one in cases:
            for value, name in self.label_names(one.entry).items():
                known, case = found.setdefault(value, (name, one.id))
                if known != name:
                    raise ReviewError(
                        f"label {value} is not the same in all accepted cases",
                        got=f"{known!r} in {case}, {name!r} in {one.id}",
                        expected="one meaning, as they become one data set",
                        next_step="take back the verdict on those of another bundle, and export them on their own",
                    )
        return {value: name for value, (name, _) in found.items()}

    def portable_image(self, entry: Entry) -> Path:
        """A case's image as one file that any tool reads, on its own grid; DICOM without its header."""
        from medseg.intake.files import is_dicom

        if entry.image is None:
            raise AbsentError(f"case {entry.name} has no image")
        if entry.image.is_file() and not is_dicom(entry.image):
            return entry.image
        if entry.kind == "picture":
            return self.shown.whole_picture(entry.image)
        return self.shown.image(entry.image)

    def segment(self, entry: Entry, bundle: str) -> Job:
        """Queue the segmentation of a case.

        A case of the reviewed folder keeps its mask: the new one becomes a case of its own.

        Raises
        ------
        AbsentError
            There is no such bundle.
        ReviewError
            Image and bundle do not go together, a correction has other labels, or too many jobs wait.
        """
        choice = self._choice(bundle)
        if entry.image is None:
            raise ReviewError(f"case {entry.name}: its image is not known, so it cannot be segmented")
        if choice.dims != _dims(entry):
            kinds = {2: "pictures, such as X-rays", 3: "volumes, such as CT and MR"}
            raise ReviewError(f"bundle {choice.name} is for {kinds[choice.dims]}", got=f"a {entry.kind}")
        if entry.source == "folder":
            entry = self._beside(entry, choice)
        elif self._means_other(entry, choice.labels):
            raise ReviewError(
                f"case {entry.name}: its correction has the labels of another bundle",
                got=f"bundle {choice.name}",
                next_step="download the corrected mask, then drop the image again: it becomes a case of its own",
            )
        return self.jobs.add(
            case=entry.key,
            name=entry.name,
            bundle=choice.name,
            bundle_folder=choice.folder,
            image=entry.image or Path(),
            results=entry.home,
        )

    def fitting(self, cases: Sequence[Entry], bundle: str) -> list[Entry]:
        """Those that a bundle takes, volumes or pictures; all where it takes none, so that `segment` says why."""
        dims = self._choice(bundle).dims
        return [entry for entry in cases if _dims(entry) == dims] or list(cases)

    def _choice(self, bundle: str) -> Choice:
        choice = next((one for one in self.choices if one.name == bundle), None)
        if choice is None:
            raise AbsentError("no such bundle")
        return choice

    def _beside(self, entry: Entry, choice: Choice) -> Entry:
        key = key_of("again", entry.key, choice.name)
        made = next((one for one in self.entries.all() if one.key == key), None)
        if made is not None:  # its mask stays until the new one is there
            return made
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
        entry = self.entries.change(
            job.case,
            prediction=inside(job.output, files["mask"]),
            preview=inside(job.output, files.get("preview")),
            manifest=manifest,
            scores={},
        )
        self._background.look_at(entry)

    def correction(self, entry: Entry) -> Path | None:
        """The newest correction of a case."""
        newest = self.corrections.newest(entry)
        return None if newest is None else newest[0]

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

    def _warnings(self, entry: Entry) -> list[str]:
        """What has changed since it was segmented or reviewed, told by hashes."""
        told = []
        if self._has_another_image(entry):
            told.append("the image is not the one that was segmented: its file has changed since")
        mask = self.correction(entry) or entry.prediction
        if mask is not None and _changed_since(self._review(entry), mask):
            told.append("the mask is not the one that was reviewed: it has changed since")
        if self._means_other(entry):
            told.append("the correction has the labels of another bundle than the mask: their names and colours differ")
        return told

    def _means_other(self, entry: Entry, names: Mapping[int, str] | None = None) -> bool:
        """Whether the newest correction has other labels than `names`, or than the case has now."""
        newest = self.corrections.newest(entry)
        return newest is not None and means_other(newest[1], self.label_names(entry) if names is None else names)

    def _has_another_image(self, entry: Entry) -> bool:
        """Of single files alone, which is quick; .mhd and .nhdr are hashed together with their voxels."""
        recorded, image = entry.manifest.get("input_sha256"), entry.image
        if entry.source != "folder" or recorded is None or image is None or not image.is_file():
            return False
        if image.suffix.lower() in (".mhd", ".nhdr"):
            return False
        mark = (str(image), image.stat().st_mtime_ns)
        if mark not in self._hashes:
            self._hashes[mark] = sha256_of(image)
        return self._hashes[mark] != recorded

    def _review(self, entry: Entry) -> dict[str, Any]:
        """What is said of a case; empty where nothing is."""
        reviews, name = self._reviews_of(entry)
        return reviews.get(name) or {}

    def _reviews_of(self, entry: Entry) -> tuple[Reviews, str]:
        """Where a case's review stands, and under which name: uploads may have one name."""
        if entry.source == "folder":
            return self._folder_reviews, entry.name
        return self._uploads_reviews, entry.key

    def _native_grid(self, entry: Entry) -> Image:
        """Something on the image's own grid, without channels: the mask where there is one, as it is read faster."""
        from medseg.intake import read_image, read_label

        if entry.prediction is not None:
            mask, known = read_label(entry.prediction), self._picture_spacing_mm(entry)
            return mask if known is None else replace(mask, affine=np.diag([*known, 1.0, 1.0]), spacing_known=True)
        if entry.image is None:
            raise AbsentError(f"case {entry.name} has neither image nor mask")
        image = read_image(entry.image)
        return replace(image, array=image.array[0])

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
            grid = grid_of(self.file(entry, what))
        except MedsegError:
            return nothing  # the page asks for the file itself, and is told why not
        known = self._picture_spacing_mm(entry)
        return grid if known is None else {**grid, "spacing_mm": [round(mm, 6) for mm in known]}

    def _picture_spacing_mm(self, entry: Entry) -> tuple[float, float] | None:
        """Of a picture whose image says so, which a mask as PNG does not."""
        if entry.kind != "picture" or entry.image is None:
            return None
        try:
            self.file(entry, "image")
        except MedsegError:
            return None  # as above
        return self.shown.spacing_mm(entry.image)


def _dims(entry: Entry) -> int:
    return 2 if entry.kind == "picture" else 3


def _changed_since(review: Mapping[str, Any], mask: Path) -> bool:
    recorded = review.get("mask_sha256")
    return recorded is not None and sha256_of(mask) != recorded


def _values_in(mask: Path) -> dict[int, str]:
    from medseg.evaluation.overlap import label_values
    from medseg.intake import read_label

    return {value: f"label {value}" for value in label_values(read_label(mask).array) if value}
