"""A storage SCP: what a PACS sends becomes one folder a series, whole or absent."""

from __future__ import annotations

import logging
import queue
import secrets
import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from medseg.dicom.dimse import ANSWER_S, PDU_BYTES, check_title, without_delay
from medseg.dicom.extra import pacs_extra
from medseg.dicom.names import instance_name, is_uid, series_name
from medseg.errors import PacsError
from medseg.files import SharedFolder, link_or_copy

with pacs_extra():
    from pydicom import dcmread
    from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt
    from pynetdicom.sop_class import Verification

logger = logging.getLogger(__name__)

SUCCESS, OUT_OF_RESOURCES, WRONG_DATA_SET, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xA900, 0xC000
"""Statuses of C-STORE (PS3.4, B.2.3)."""

_HIDDEN, _BEFORE = ".arriving-", ".before"


@dataclass(frozen=True)
class ReceivedSeries:
    """A series that has come: its folder, and how many instances it has there now."""

    folder: Path
    instances: int


@dataclass
class _Arrival:
    """What one association has brought so far: names and UIDs of series, in a folder of its own.

    `refused` is the status of its first instance that was refused: all that comes later gets it too, as nothing of the
    association will be kept, and what is acknowledged is not sent again.
    """

    folder: Path
    series: dict[str, str] = field(default_factory=dict)
    refused: int = SUCCESS


class Receiver:
    """Takes instances of running associations, and turns them to series folders when an association is released.

    An association that is aborted, or in which an instance was refused, leaves nothing. A series that comes in several
    associations grows; its folder is replaced as a whole each time. Associations run in threads of their own, so each
    step here is done by one of them at a time.

    Parameters
    ----------
    folder
        Where the series' folders go.
    hidden
        Where what is not yet whole lies; in the same file system.
    """

    def __init__(self, folder: Path, *, hidden: Path) -> None:
        self.folder = folder
        self.port = 0
        self._hidden = hidden
        self._arrivals: dict[Any, _Arrival] = {}
        self._done: queue.Queue[ReceivedSeries] = queue.Queue()
        self._lock = threading.Lock()
        self._closed = False

    def next_series(self, *, timeout_s: float | None = None) -> ReceivedSeries | None:
        """The next series that has come; None where none does in time."""
        try:
            return self._done.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def take(self, event: Any) -> int:
        """One instance, for C-STORE: the status."""
        with self._lock:
            arrival = self._arrival(event.assoc)
            if arrival.refused:
                return arrival.refused
            status = arrival.refused = OUT_OF_RESOURCES if self._closed else _write(arrival, event)
        if status != SUCCESS:
            logger.warning("an instance was refused with status %#06x: its association leaves nothing", status)
        return status

    def released(self, event: Any) -> None:
        """All of an association has come."""
        with self._lock:
            arrival = self._arrivals.pop(event.assoc, None)
            if arrival is None or self._closed:
                return
            for name in [] if arrival.refused else sorted(arrival.series):
                try:
                    self._done.put(_put_in_place(arrival.folder / name, self.folder / name))
                except OSError as error:
                    text = "%s cannot be written (%s): what came of the series is lost, have it sent again"
                    logger.error(text, self.folder / name, error.strerror)
            shutil.rmtree(arrival.folder, ignore_errors=True)

    def broken(self, event: Any) -> None:
        """An association ended otherwise."""
        with self._lock:
            arrival = self._arrivals.pop(event.assoc, None)
            if arrival is not None:
                logger.warning("an association broke: what it had brought is removed")
                shutil.rmtree(arrival.folder, ignore_errors=True)

    def close(self) -> None:
        """Take nothing more, whatever threads are still running."""
        with self._lock:
            self._closed = True

    def _arrival(self, association: Any) -> _Arrival:
        if association not in self._arrivals:
            self._arrivals[association] = _Arrival(self._hidden / secrets.token_hex(8))
        return self._arrivals[association]


def _write(arrival: _Arrival, event: Any) -> int:
    try:
        encoded = event.encoded_dataset()
        series, instance = _uids(encoded)
    except Exception as error:  # noqa: BLE001 (whatever a stranger sends must not end the server)
        logger.debug("an instance cannot be read: %s", type(error).__name__)
        return CANNOT_UNDERSTAND
    if instance != str(event.request.AffectedSOPInstanceUID) or not (is_uid(series) and is_uid(instance)):
        return WRONG_DATA_SET
    name = series_name(series)
    if arrival.series.setdefault(name, series) != series:
        return CANNOT_UNDERSTAND  # two UIDs with one hash: refused rather than mixed
    try:
        (arrival.folder / name).mkdir(parents=True, exist_ok=True)
        (arrival.folder / name / instance_name(instance)).write_bytes(encoded)
    except OSError as error:
        logger.error("an instance cannot be written: %s", error.strerror)
        return OUT_OF_RESOURCES
    return SUCCESS


def _put_in_place(came: Path, folder: Path) -> ReceivedSeries:
    """Give a series its name; what was there of it already stays in it, and no reader ever sees half of it.

    Raises
    ------
    OSError
        It cannot be: what was there is as it was.
    """
    if not folder.exists():
        came.rename(folder)
        return ReceivedSeries(folder, sum(1 for _ in folder.iterdir()))
    for file in folder.iterdir():
        if not (came / file.name).exists():
            link_or_copy(file, came / file.name)
    instances, aside = sum(1 for _ in came.iterdir()), came.with_name(came.name + _BEFORE)
    folder.rename(aside)
    try:
        came.rename(folder)
    except OSError:
        aside.rename(folder)
        raise
    return ReceivedSeries(folder, instances)


def _end_killed(folder: Path) -> None:
    """Do away with what killed receivers left; a series that one was just giving its name gets it."""
    for hidden in folder.glob(f"{_HIDDEN}*"):
        for before in hidden.glob(f"*/*{_BEFORE}"):
            came = before.with_suffix("")
            if came.exists() and not (folder / came.name).exists():
                came.rename(folder / came.name)  # all that `before` holds is in it
        logger.info("%s: what associations had brought when a receiver was killed is removed", hidden)
        shutil.rmtree(hidden, ignore_errors=True)


def _uids(encoded: bytes) -> tuple[str, str]:
    tags = ["SeriesInstanceUID", "SOPInstanceUID"]
    ds = dcmread(BytesIO(encoded), stop_before_pixels=True, specific_tags=tags)
    series, instance = (ds.get_item(tag).value for tag in tags)  # as sent: pydicom would log what is wrong with them
    return series.decode("ascii").rstrip("\0 "), instance.decode("ascii").rstrip("\0 ")


@contextmanager
def receiver(
    folder: Path, *, port: int, host: str = "127.0.0.1", title: str = "MEDSEG", allowed: Sequence[str] = ()
) -> Iterator[Receiver]:
    """Listen for C-STORE (and C-ECHO) while the `with` lasts.

    Parameters
    ----------
    folder
        An existing folder for the series' folders.
    port
        0 for a free one: `Receiver.port` tells it.
    host
        The address to listen at; "0.0.0.0" for all of the machine's.
    title
        Our application entity title: callers that ask for another are refused.
    allowed
        Titles of those who may call; all where empty.

    Raises
    ------
    PacsError
        A title that is none, or a port that cannot be had.
    """
    ae = _entity(check_title(title), [check_title(caller) for caller in allowed])
    with (
        closing(SharedFolder(folder, when_alone=_end_killed)),
        tempfile.TemporaryDirectory(prefix=_HIDDEN, dir=folder, ignore_cleanup_errors=True) as hidden,
    ):
        taking = Receiver(folder, hidden=Path(hidden))
        server = _listen(ae, taking, host, port)
        taking.port = server.server_address[1]
        try:
            yield taking
        finally:
            server.shutdown()
            taking.close()


def _listen(ae: Any, taking: Receiver, host: str, port: int) -> Any:
    handlers = [
        (evt.EVT_C_STORE, taking.take),
        (evt.EVT_RELEASED, taking.released),
        (evt.EVT_ABORTED, taking.broken),
        (evt.EVT_CONN_OPEN, without_delay),
    ]
    try:
        return ae.start_server((host, port), block=False, evt_handlers=handlers)
    except OSError as error:
        raise PacsError(f"cannot listen at {host}:{port}", got=error.strerror, next_step="name another port") from error


def _entity(title: str, allowed: Sequence[str]) -> Any:
    ae = AE(ae_title=title)
    ae.require_called_aet = True
    ae.require_calling_aet = list(allowed)
    ae.maximum_pdu_size = PDU_BYTES
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ANSWER_S
    for context in AllStoragePresentationContexts:
        ae.add_supported_context(context.abstract_syntax, ALL_TRANSFER_SYNTAXES)
    ae.add_supported_context(Verification)
    return ae
