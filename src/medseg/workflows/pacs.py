"""What `predict` does with a DICOMweb address: one series of images in, the label map as DICOM SEG back."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.dicom.names import series_name
from medseg.dicom.retries import Retries
from medseg.dicom.transfer import connect, list_series, study_address, wanted_series
from medseg.dicom.web_address import FORM, WebAddress, is_web_address
from medseg.errors import PacsError, RunError
from medseg.outputs import Report
from medseg.signals import unwound_by_sigterm

if TYPE_CHECKING:
    from medseg.dicom.web import RemoteSeries

NO_IMAGES = frozenset({"SEG", "RTSTRUCT", "RTDOSE", "RTPLAN", "RTRECORD", "SR", "PR", "KO", "REG", "FID", "DOC", "AU"})
"""Modalities of series that hold no image to segment."""

_NUMBER_OR_UID = re.compile(r"-?[0-9][0-9.]*")


@contextmanager
def local_input(
    inputs: str | os.PathLike[str], *, series: str | int | None = None, retries: Retries | None = None
) -> Iterator[Path]:
    """The path that `predict` works on: `inputs` itself, or a temporary folder with the series of an address.

    An address of a study stands for its only series of images; several are refused with the list. Where headers decide
    which one is meant ("auto", a description), all of them are there: the reader chooses. The folder can be entered by
    nobody else, and is gone with the `with`.

    Parameters
    ----------
    inputs
        A path, or dicomweb://HOST[:PORT][/prefix]/studies/UID[/series/UID].
    series
        Of an address that names a study only: number, UID or description of the series that is meant, or "auto".
    retries
        How often the server is asked before giving up.

    Raises
    ------
    PacsError
        The server fails, the series is partial, or it is not clear which one is meant.
    """
    if not is_web_address(inputs):
        yield Path(inputs)
        return
    place = study_address(str(inputs))
    pacs = connect(place, retries)
    wanted = None if series is None else str(series)
    chosen = _meant(wanted_series(pacs.find_series(place.study or ""), place), place, wanted)
    with unwound_by_sigterm(), tempfile.TemporaryDirectory(prefix="medseg-") as temporary:
        folders = [Path(temporary, series_name(one.uid)) for one in chosen]
        for one, folder in zip(chosen, folders, strict=True):
            folder.mkdir()
            pacs.retrieve(one, folder)
        yield folders[0] if len(folders) == 1 else Path(temporary)


def check_storing(inputs: str | os.PathLike[str], formats: Sequence[str]) -> tuple[str, ...]:
    """The formats of a run whose DICOM outputs go back to where its images come from: a DICOM SEG is among them.

    Raises
    ------
    PacsError
        The images come from no PACS.
    """
    if not is_web_address(inputs):
        raise PacsError("results are stored where the images came from", got="a path", expected=f"-i {FORM}")
    seg = any(name.startswith("dicom-seg") for name in formats)
    return tuple(formats) if seg else (*formats, "dicom-seg")


def store_results(address: str, report: Report, folder: Path, *, retries: Retries | None = None) -> tuple[Path, ...]:
    """Store the DICOM outputs of a run in the PACS that the images came from, and find them again.

    Parameters
    ----------
    address
        As for `local_input`.
    report
        What became of each case: outputs that end in .dcm are stored; a case that failed has none.
    folder
        Where the outputs are.
    retries
        How often the server is asked before giving up.

    Returns
    -------
    tuple of Path
        The files that were stored.

    Raises
    ------
    RunError
        The server refuses one, or it is not found again; the outputs stay.
    """
    names = [name for case in report.cases if case.status == "done" for name in case.outputs.values()]
    files = tuple(folder / name for name in names if name.endswith(".dcm"))
    try:
        if files:
            connect(WebAddress.parse(address), retries).store(files)
    except PacsError as error:
        step = f"they are in {folder}: medseg pacs push stores them"
        raise RunError(f"segmented, but the results are not stored: {error}", next_step=step) from error
    return files


def _meant(found: Sequence[RemoteSeries], place: WebAddress, wanted: str | None) -> list[RemoteSeries]:
    """The series to retrieve: the one that is called so, or all with images where only their headers tell which."""
    images = [series for series in found if series.modality not in NO_IMAGES]
    if wanted is not None and not _NUMBER_OR_UID.fullmatch(wanted) and images:
        return images
    if wanted is not None:
        images = [series for series in images if wanted in (series.uid, str(series.number))]
    if len(images) != 1:
        raise PacsError(
            f"{place.service}: which series of the study is meant",
            got=f"{len(images)} with images" + ("" if wanted is None else f" that are called {wanted!r}"),
            expected="one",
            next_step="give its number or UID to --series, or add /series/UID to the address; it has: "
            + list_series(found),
        )
    return images
