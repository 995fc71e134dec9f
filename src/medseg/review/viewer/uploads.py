"""From uploaded files to cases: archives unpacked, images found and read once."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import MedsegError, ReviewError
from medseg.review.viewer.archives import is_archive, unpack
from medseg.review.viewer.entries import Entries, Entry, key_of
from medseg.review.viewer.names import Places
from medseg.review.viewer.session import Session
from medseg.review.viewer.settings import Limits
from medseg.review.viewer.shown import Shown

_MOST_TOLD = 5


@dataclass(frozen=True)
class Upload:
    """What an upload brought: its cases, and sentences on what could not be used."""

    id: str
    cases: tuple[Entry, ...]
    refused: tuple[str, ...]


class Uploads:
    """The uploads of one run, each in a folder of its own that goes with it.

    Parameters
    ----------
    session, entries, shown
        Of the viewer: where files go, where cases go, who makes them ready for the page.
    limits
        What an upload may bring.
    """

    def __init__(self, *, session: Session, entries: Entries, shown: Shown, limits: Limits) -> None:
        self._session, self._entries, self._shown, self._limits = session, entries, shown, limits
        self._cases: dict[str, tuple[Entry, ...]] = {}

    def new_folder(self) -> Path:
        """An empty folder for the files of a new upload."""
        folder = self._session.uploads / secrets.token_hex(8)
        folder.mkdir(mode=0o700)
        return folder

    def take(self, folder: Path, files: Sequence[Path]) -> Upload:
        """Make cases of the files in a folder of `new_folder`; without any the folder is removed.

        Raises
        ------
        ReviewError
            Nothing in it can be used; the message says why.
        """
        try:
            upload = self._read(folder, files)
        except BaseException:
            self.drop(folder)
            raise
        self._cases[upload.id] = upload.cases
        for entry in upload.cases:
            self._entries.add(entry)
        return upload

    def cases(self, upload: str) -> tuple[Entry, ...]:
        """The cases of an upload, as they are now; none where it is not there."""
        there = {entry.key: entry for entry in self._entries.all()}
        return tuple(there[entry.key] for entry in self._cases.get(upload, ()) if entry.key in there)

    def remove_case(self, entry: Entry) -> None:
        """Forget an uploaded case, and its files once no other case of the upload is left."""
        self._entries.remove(entry.key)
        if entry.image is not None:
            self._shown.forget(entry.image)
        shutil.rmtree(entry.home, ignore_errors=True)
        for upload in [name for name in self._cases if not self.cases(name)]:
            del self._cases[upload]
            self.drop(self._session.uploads / upload)

    def drop(self, folder: Path) -> None:
        """Remove an upload's folder."""
        shutil.rmtree(folder, ignore_errors=True)

    def _read(self, folder: Path, files: Sequence[Path]) -> Upload:
        refused: list[str] = []
        for file in files:
            if is_archive(file):
                unpack(file, Places(_beside(file)), limits=self._limits)
                file.unlink()
        cases = tuple(self._entries_in(folder, refused))
        told = tuple(self._session.hide(text) for text in refused[:_MOST_TOLD])
        if not cases:
            raise ReviewError(
                "nothing that can be shown was uploaded",
                got="; ".join(told) or "no image",
                expected="NIfTI, DICOM files or a folder of them, a ZIP of these, PNG, JPEG or TIFF",
            )
        return Upload(folder.name, cases, told)

    def _entries_in(self, folder: Path, refused: list[str]) -> Iterator[Entry]:
        for found in images_in(folder):
            name = found.name
            try:
                shown = self._shown.image(found.path)
            except MedsegError as error:
                refused.append(f"{name}: {error}")
                continue
            key = key_of("upload", folder.name, str(found.path))
            home = self._session.results / key
            home.mkdir(mode=0o700, exist_ok=True)
            yield Entry(
                key=key,
                name=name,
                kind="picture" if shown.suffix == ".png" else "volume",
                source="upload",
                home=home,
                image=found.path,
                modality=self._shown.modality(found.path),
            )


@dataclass(frozen=True)
class Found:
    """An image of an upload: its name for the user, and what `read_image` reads."""

    name: str
    path: Path


def images_in(folder: Path) -> list[Found]:
    """Every image in a folder and below: plain files, X-rays and multi-frame files one each, DICOM slices by series."""
    from medseg.intake.inputs import folders_below

    return [found for below in folders_below(folder) for found in _directly_in(below)]


def _directly_in(folder: Path) -> Iterator[Found]:
    from medseg.intake.dicom_header import short_hash
    from medseg.intake.files import is_plain_image, stem, visible
    from medseg.intake.inputs import dicom_headers
    from medseg.intake.series import series_among

    headers = dicom_headers(folder)
    for path in visible(folder):
        unreadable = headers.get(path, True) is None
        if unreadable or (path.is_file() and path not in headers and is_plain_image(path)):
            yield Found(stem(path), path)  # what is wrong with a DICOM file is told when it is read
    known = [header for header in headers.values() if header is not None]
    yield from (Found(header.id, header.path) for header in known if header.kind in ("picture", "frames"))
    for series in series_among([header for header in known if header.kind == "slice"]):
        yield Found(short_hash(series.uid), folder / f"#{series.uid}")


def _beside(archive: Path) -> Path:
    folder = archive.with_name(f"{archive.name}.files")
    folder.mkdir(mode=0o700)
    return folder
