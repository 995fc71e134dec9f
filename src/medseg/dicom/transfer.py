"""Series from a PACS into folders, and DICOM files to it: by DICOMweb and by C-STORE.

The packages that talk to a PACS are imported late: everything else works without the extra `pacs`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.dicom.names import files_to_send, instance_name, series_name
from medseg.dicom.retries import Retries
from medseg.dicom.web_address import FORM, WebAddress
from medseg.errors import OutputError, PacsError
from medseg.files import atomic_folder, try_to_write
from medseg.signals import unwound_by_sigterm

if TYPE_CHECKING:
    from medseg.dicom.dimse_receive import ReceivedSeries
    from medseg.dicom.web import RemoteSeries, WebPacs

logger = logging.getLogger(__name__)

_WAKE_S = 1.0
"""Waiting for ever in a queue would not let an interrupt through on every system."""


def pull(address: str, *, output_dir: str | os.PathLike[str], retries: Retries | None = None) -> tuple[Path, ...]:
    """Retrieve a series, or every series of a study, by DICOMweb.

    Parameters
    ----------
    address
        dicomweb://HOST[:PORT][/prefix]/studies/UID[/series/UID]; dicomwebs:// for TLS.
    output_dir
        One folder a series goes here, named after a hash of its UID; each is whole or absent. Those that are there
        with all their instances are not retrieved again.
    retries
        How often the server is asked before giving up.

    Returns
    -------
    tuple of Path
        The folders.

    Raises
    ------
    PacsError
        The server fails, has no such series, or gives only a part of one.
    OutputError
        A folder that is there already with other files, or cannot be written.
    """
    place, folder = study_address(address), Path(output_dir)
    pacs = connect(place, retries)
    found = wanted_series(pacs.find_series(place.study or ""), place)
    _make_folder(folder)
    targets = {folder / series_name(series.uid): series for series in found}
    there = {target for target, series in targets.items() if _is_there(target, series, pacs)}
    with unwound_by_sigterm():
        for target in targets.keys() - there:
            with atomic_folder(target) as building:
                pacs.retrieve(targets[target], building)
    return tuple(targets)


def _is_there(target: Path, series: RemoteSeries, pacs: WebPacs) -> bool:
    """Whether an earlier run has retrieved the series; refused where the folder holds anything else."""
    if not target.exists():
        return False
    expected = {instance_name(uid) for uid in pacs.find_instances(series.study, series.uid)}
    if {path.name for path in target.iterdir()} != expected:
        step = "remove it, or give another folder"
        raise OutputError(f"{target} is there already, with other files than the series", next_step=step)
    logger.info("%s is there already, with all %d instances", target, len(expected))
    return True


def push(path: str | os.PathLike[str], *, address: str, retries: Retries | None = None) -> int:
    """Store a DICOM file, or every DICOM file in a folder, by DICOMweb, and find each again.

    Parameters
    ----------
    path
        A file or a folder.
    address
        dicomweb://HOST[:PORT][/prefix]; dicomwebs:// for TLS.
    retries
        How often the server is asked before giving up.

    Returns
    -------
    int
        How many files.

    Raises
    ------
    PacsError, ImageError
        Nothing to send, a file that is refused, or one that is not found afterwards.
    """
    place = WebAddress.parse(address)
    if place.study is not None:
        raise PacsError("an address to store to ends with the service", got=address, expected=place.service)
    pacs = connect(place, retries)
    files = files_to_send(Path(path))
    pacs.store(files)
    return len(files)


def send(
    path: str | os.PathLike[str],
    *,
    peer: str,
    called: str = "ANY-SCP",
    calling: str = "MEDSEG",
    retries: Retries | None = None,
) -> int:
    """Send a DICOM file, or every DICOM file in a folder, by C-STORE.

    Parameters
    ----------
    path
        A file or a folder.
    peer
        HOST:PORT.
    called, calling
        Application entity titles: the peer's and ours.
    retries
        How often a connection is made before giving up.

    Returns
    -------
    int
        How many files.

    Raises
    ------
    PacsError, ImageError
        Nothing to send, no connection, or a file that is refused.
    """
    host, port = _host_and_port(peer)
    from medseg.dicom.dimse import Peer, check_title
    from medseg.dicom.dimse import send as store

    target = Peer(host, port, check_title(called), check_title(calling))
    return store(files_to_send(Path(path)), peer=target, retries=retries)


def receive(
    output_dir: str | os.PathLike[str],
    *,
    port: int,
    host: str = "127.0.0.1",
    title: str = "MEDSEG",
    allowed: Sequence[str] = (),
    stop_after: int | None = None,
) -> Iterator[ReceivedSeries]:
    """Listen for C-STORE and give each series that has come whole, without end or `stop_after` of them.

    Parameters
    ----------
    output_dir
        One folder a series goes here, named after a hash of its UID.
    port, host
        Where to listen.
    title
        Our application entity title; callers that ask for another are refused.
    allowed
        Titles of those who may call; all where empty.
    stop_after
        How many series to wait for; None: until the caller stops.

    Raises
    ------
    PacsError
        A title that is none, or a port that cannot be had.
    OutputError
        A folder that cannot be written.
    """
    folder = Path(output_dir)
    _make_folder(folder)
    from medseg.dicom.dimse_receive import receiver

    with receiver(folder, port=port, host=host, title=title, allowed=allowed) as taking:
        logger.info("listening at %s:%d as %s", host, taking.port, title)
        count = 0
        while stop_after is None or count < stop_after:
            series = taking.next_series(timeout_s=_WAKE_S)
            if series is not None:
                count += 1
                yield series


def _host_and_port(text: str) -> tuple[str, int]:
    host, sign, port = text.rpartition(":")
    if not sign or not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise PacsError("wrong peer", got=repr(text), expected="HOST:PORT")
    return host.strip("[]"), int(port)


def connect(place: WebAddress, retries: Retries | None) -> WebPacs:
    """The DICOMweb service at an address; PacsError where the extra `pacs` is missing or credentials are wrong."""
    from medseg.dicom.web import WebPacs

    return WebPacs(place, retries=retries)


def study_address(text: str) -> WebAddress:
    """An address that names a study, or a series; PacsError where it does not."""
    place = WebAddress.parse(text)
    if place.study is None:
        raise PacsError("the address names no study", got=text, expected=FORM)
    return place


def wanted_series(found: Sequence[RemoteSeries], place: WebAddress) -> Sequence[RemoteSeries]:
    """All series, or the one that the address names."""
    if place.series is None:
        return found
    named = [series for series in found if series.uid == place.series]
    if not named:
        raise PacsError(f"{place.service}: no such series in the study", next_step=f"it has: {list_series(found)}")
    return named


def list_series(found: Sequence[RemoteSeries]) -> str:
    return "; ".join(map(str, found))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try_to_write(folder)
    except OSError as error:
        raise OutputError(
            f"output folder {folder} cannot be made or written to", got=error.strerror, next_step="name another folder"
        ) from error
