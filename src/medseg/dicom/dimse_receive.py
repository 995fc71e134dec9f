"""A storage SCP: what a PACS sends becomes one folder a series, whole or absent."""

from __future__ import annotations

import logging
import queue
import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from medseg.dicom.dimse import ANSWER_S, PDU_BYTES, check_title, without_delay
from medseg.dicom.extra import pacs_extra
from medseg.dicom.names import instance_name, is_uid, series_name
from medseg.errors import PacsError
from medseg.files import atomic_folder

with pacs_extra():
    from pydicom import dcmread
    from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt
    from pynetdicom.sop_class import Verification

logger = logging.getLogger(__name__)

SUCCESS, OUT_OF_RESOURCES, WRONG_DATA_SET, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xA900, 0xC000
"""Statuses of C-STORE (PS3.4, B.2.3)."""
_BUILDING = ".arriving-"


@dataclass(frozen=True)
class ReceivedSeries:
    """A series that has come: its folder, and how many instances it has there now."""

    folder: Path
    instances: int


@dataclass
class _Arrival:
    """What one association has brought so far: series name to its files, in a hidden folder."""

    folder: Path
    series: dict[str, str] = field(default_factory=dict)
    failed: bool = False


class Receiver:
    """Takes instances of running associations, and turns them to series folders when an association is released.

    An association that is aborted, or in which an instance was refused, leaves nothing. A series that comes in several
    associations grows; its folder is replaced as a whole each time.

    Parameters
    ----------
    folder
        Where the series' folders go.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self._arrivals: dict[Any, _Arrival] = {}
        self._done: queue.Queue[ReceivedSeries] = queue.Queue()
        self._lock = threading.Lock()

    def next_series(self, *, timeout_s: float | None = None) -> ReceivedSeries | None:
        """The next series that has come; None where none does in time."""
        try:
            return self._done.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def take(self, event: Any) -> int:
        """One instance, for C-STORE: the status."""
        arrival = self._arrival(event.assoc)
        status = self._write(arrival, event)
        if status != SUCCESS:
            arrival.failed = True
            logger.warning("an instance was refused with status %#06x: its association leaves nothing", status)
        return status

    def released(self, event: Any) -> None:
        """All of an association has come."""
        arrival = self._forget(event.assoc)
        if arrival is None:
            return
        try:
            if not arrival.failed:
                for name in sorted(arrival.series):
                    self._finish(arrival.folder / name, self.folder / name)
        except OSError as error:
            logger.error("cannot write to %s: %s", self.folder, error.strerror)
        finally:
            shutil.rmtree(arrival.folder, ignore_errors=True)

    def broken(self, event: Any) -> None:
        """An association ended otherwise."""
        arrival = self._forget(event.assoc)
        if arrival is not None:
            logger.warning("an association broke: what it had brought is removed")
            shutil.rmtree(arrival.folder, ignore_errors=True)

    def close(self) -> None:
        """Remove what has not come to an end."""
        with self._lock:
            for arrival in self._arrivals.values():
                shutil.rmtree(arrival.folder, ignore_errors=True)
            self._arrivals.clear()

    def _arrival(self, association: Any) -> _Arrival:
        with self._lock:
            if association not in self._arrivals:
                folder = Path(tempfile.mkdtemp(prefix=_BUILDING, dir=self.folder))
                self._arrivals[association] = _Arrival(folder)
            return self._arrivals[association]

    def _forget(self, association: Any) -> _Arrival | None:
        with self._lock:
            return self._arrivals.pop(association, None)

    def _write(self, arrival: _Arrival, event: Any) -> int:
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
            (arrival.folder / name).mkdir(exist_ok=True)
            (arrival.folder / name / instance_name(instance)).write_bytes(encoded)
        except OSError as error:
            logger.error("cannot write to %s: %s", self.folder, error.strerror)
            return OUT_OF_RESOURCES
        return SUCCESS

    def _finish(self, came: Path, folder: Path) -> None:
        """Put a series in its place; what was there of it already stays in it."""
        with self._lock:
            if folder.exists():
                _add_what_was_there(came, folder)
                came.rename(folder)
            else:
                with atomic_folder(folder) as building:
                    for file in came.iterdir():
                        file.rename(building / file.name)
        self._done.put(ReceivedSeries(folder, len(list(folder.iterdir()))))


def _add_what_was_there(came: Path, folder: Path) -> None:
    """Move a series aside and give its files to the folder that takes its place: no reader ever sees half of it."""
    aside = came.parent / "before"
    folder.rename(aside)
    for file in aside.iterdir():
        if not (came / file.name).exists():
            file.rename(came / file.name)
    mode = aside.stat().st_mode
    came.chmod(mode & 0o777)


def _uids(encoded: bytes) -> tuple[str, str]:
    tags = ["SeriesInstanceUID", "SOPInstanceUID"]
    ds = dcmread(BytesIO(encoded), stop_before_pixels=True, specific_tags=tags)
    return str(ds.SeriesInstanceUID), str(ds.SOPInstanceUID)


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
    taking = Receiver(folder)
    ae = _entity(check_title(title), [check_title(caller) for caller in allowed])
    handlers = [
        (evt.EVT_C_STORE, taking.take),
        (evt.EVT_RELEASED, taking.released),
        (evt.EVT_ABORTED, taking.broken),
        (evt.EVT_CONN_OPEN, without_delay),
    ]
    try:
        server = ae.start_server((host, port), block=False, evt_handlers=handlers)
    except OSError as error:
        raise PacsError(f"cannot listen at {host}:{port}", got=error.strerror, next_step="name another port") from error
    taking.port = server.server_address[1]
    try:
        yield taking
    finally:
        server.shutdown()
        taking.close()


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
