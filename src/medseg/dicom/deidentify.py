"""`medseg data deidentify`: a folder of DICOM files without what tells the patient."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.dicom.confidentiality import Confidentiality
from medseg.dicom.source import quiet_pydicom
from medseg.errors import DataError, MedsegError, OutputError
from medseg.files import atomic_folder

logger = logging.getLogger(__name__)

_MAGIC, _MAGIC_AT = b"DICM", 128
_SUFFIXES = (".dcm", ".dicom", ".ima")
_DICOMDIR = "1.2.840.10008.1.3.10"


@dataclass(frozen=True)
class Deidentified:
    """What became of the files of a folder.

    Attributes
    ----------
    files
        The new ones.
    series
        How many series they form.
    failed
        Files that were left out, with the reason.
    passed_over
        Files that are not DICOM, and directories of media (DICOMDIR).
    """

    files: tuple[Path, ...]
    series: int
    failed: tuple[tuple[Path, str], ...]
    passed_over: int


def deidentify(source: Path, output: Path) -> Deidentified:
    """Write every DICOM file under `source` de-identified to a new folder, one folder for each series.

    Names of files and folders are made anew, for the old ones often hold a patient's name. Pixels stay as they are,
    compressed or not. UIDs are replaced alike in all files of the run, so references between them still lead.

    Parameters
    ----------
    source
        A file, or a folder with all that is below it; links to folders are not followed.
    output
        Made here; refused when it holds anything. It appears whole or not at all.

    Raises
    ------
    DataError
        No DICOM file.
    OutputError
        The output folder is not empty or cannot be written, or a package is missing.
    """
    if not source.exists():
        raise DataError(f"{source}: no such file or folder")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise OutputError(f"{output} is there already and not an empty folder", next_step="give a new folder")
    found = list(_files(source))
    files = [path for path in found if _is_dicom(path)]
    if not files:
        raise DataError(f"{source}: holds no DICOM files", got=f"{len(found)} files of other kinds")
    try:
        return _write_all(files, output, others=len(found) - len(files))
    except OSError as error:
        raise OutputError(f"{output} cannot be written", got=error.strerror, next_step="make room there") from error


def _write_all(files: Sequence[Path], output: Path, *, others: int) -> Deidentified:
    run, failed, written = Confidentiality(), [], []
    folders: dict[str, int] = {}
    with atomic_folder(output) as building:
        for path in files:
            try:
                name = _write(path, building, run, folders)
            except MedsegError as error:
                failed.append((path, str(error)))
                logger.error("%s: left out: %s", path, error)
            else:
                written += [] if name is None else [output / name]
    passed_over = others + len(files) - len(written) - len(failed)
    return Deidentified(tuple(written), len(folders), tuple(failed), passed_over)


def _files(source: Path) -> Iterator[Path]:
    if source.is_file():
        yield source
        return
    for folder, folders, names in os.walk(source, followlinks=False):
        folders.sort()
        yield from (Path(folder, name) for name in sorted(names))


def _is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, or should be: by its suffix, or as it cannot be opened. What is none is named later."""
    if path.suffix.lower() in _SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            return file.read(_MAGIC_AT + len(_MAGIC))[_MAGIC_AT:] == _MAGIC
    except OSError:
        return True


def _write(path: Path, folder: Path, run: Confidentiality, folders: dict[str, int]) -> Path | None:
    """De-identify one file; its name in the new folder, None for a directory of media."""
    with quiet_pydicom():
        dataset = _read(path)
        if str(dataset.file_meta.get("MediaStorageSOPClassUID", "")) == _DICOMDIR:
            return None
        run.apply(dataset)
        series = str(dataset.get("SeriesInstanceUID", ""))
        folders[series] = folders.get(series, 0) + 1
        name = Path(f"series_{list(folders).index(series) + 1:04d}", f"{folders[series]:05d}.dcm")
        (folder / name).parent.mkdir(exist_ok=True)
        dataset.save_as(folder / name, enforce_file_format=True)
    return name


def _read(path: Path) -> Any:
    """The whole file, every value decoded: what cannot be read cannot be cleaned."""
    from pydicom import dcmread

    try:
        dataset = dcmread(path)
        for element in dataset.iterall():
            _ = element.value
    except Exception as error:  # noqa: BLE001 (pydicom throws what it likes at damaged files)
        raise DataError("cannot be read as DICOM", got=type(error).__name__) from None  # its text may quote a patient
    missing = [k for k in ("SOPClassUID", "SOPInstanceUID") if not dataset.get(k)]
    missing += [] if dataset.file_meta.get("TransferSyntaxUID") else ["TransferSyntaxUID"]
    if missing and str(dataset.file_meta.get("MediaStorageSOPClassUID", "")) != _DICOMDIR:
        raise DataError("not a DICOM object", got=f"no {', '.join(missing)}")
    return dataset
