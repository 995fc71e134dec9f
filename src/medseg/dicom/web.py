"""DICOMweb: the series of a study (QIDO-RS), all of one of them (WADO-RS), files to the PACS (STOW-RS).

What a server says of a patient is neither kept nor repeated: a series is its UIDs, its modality and its number.
"""

from __future__ import annotations

import logging
import os
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import sleep
from typing import Any, TypeAlias, TypeVar

from medseg.dicom.extra import pacs_extra
from medseg.dicom.names import instance_name, is_uid
from medseg.dicom.retries import Retries
from medseg.dicom.source import quiet_pydicom
from medseg.dicom.web_address import WebAddress
from medseg.dicom.web_session import CONNECT_S, READ_S, open_session, with_retries
from medseg.errors import ImageError, MedsegError, OutputError, PacsError

with pacs_extra():
    import requests
    from dicomweb_client.web import DICOMwebClient
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

logger = logging.getLogger(__name__)

Json: TypeAlias = dict[str, Any]
Result = TypeVar("Result")

_MODALITY, _SERIES, _INSTANCE = "00080060", "0020000E", "00080018"
_NUMBER, _INSTANCES = "00200011", "00201209"
_BATCH_BYTES = 32 << 20
"""A request to store holds so much at most, or one file: the client makes the whole message in memory."""
_PAGES = 1000
_NOT_DICOM = (
    *(ValueError, LookupError, TypeError, AttributeError, EOFError, NotImplementedError, ArithmeticError),
    *(struct.error, zlib.error, InvalidDicomError),
)


@dataclass(frozen=True)
class RemoteSeries:
    """A series in a PACS.

    Attributes
    ----------
    study, uid
        UIDs of the study and the series.
    modality
        Such as "CT"; empty where the server does not tell.
    number
        SeriesNumber, where it has one.
    instances
        NumberOfSeriesRelatedInstances.
    """

    study: str
    uid: str
    modality: str
    number: int | None
    instances: int

    def __str__(self) -> str:
        number = "without number" if self.number is None else f"number {self.number}"
        return f"{self.modality or 'unknown modality'} {number}, {self.instances} instances, {self.uid}"


class WebPacs:
    """A DICOMweb service.

    Parameters
    ----------
    address
        The service; study and series in it are not looked at.
    retries
        How often a request is made before giving up.
    environment
        Where MEDSEG_DICOMWEB_TOKEN, or _USER and _PASSWORD, are looked up.
    """

    def __init__(
        self, address: WebAddress, *, retries: Retries | None = None, environment: Mapping[str, str] = os.environ
    ) -> None:
        self.service = address.service
        self._retries = retries if retries is not None else Retries()
        session = open_session(address, environment)
        self._client = DICOMwebClient(
            address.url,
            session=session,
            timeout=(CONNECT_S, READ_S),
            permissive_uid=True,  # leading zeros are wrong, and met: the address has been checked for all that matters
        )
        self._client.set_http_retry_params(retry=False)  # ours also cover broken connections and half answers

    def find_series(self, study: str) -> tuple[RemoteSeries, ...]:
        """The series of a study, by number and UID.

        Raises
        ------
        PacsError
            The service fails, knows no such study, or answers with something else.
        """

        def page(offset: int) -> list[Json]:
            return self._client.search_for_series(study, fields=["NumberOfSeriesRelatedInstances"], offset=offset)

        found = self._search(page, key=_SERIES, doing="query the series of the study")
        if not found:
            raise PacsError(f"{self.service}: no such study", got="no series", next_step="check the study's UID")
        series = [self._series(study, entry) for entry in found.values()]
        return tuple(sorted(series, key=lambda s: (s.number is None, s.number or 0, s.uid)))

    def find_instances(self, study: str, series: str) -> frozenset[str]:
        """The SOP Instance UIDs of a series; empty where it is not there."""

        def page(offset: int) -> list[Json]:
            return self._client.search_for_instances(study, series, offset=offset)

        return frozenset(self._search(page, key=_INSTANCE, doing="query the instances of the series"))

    def retrieve(self, series: RemoteSeries, folder: Path) -> tuple[Path, ...]:
        """Write every instance of a series into an empty folder, as the PACS has it, or leave the folder empty.

        Parameters
        ----------
        series
            As `find_series` gave it.
        folder
            Holds files named after hashes of the instances' UIDs afterwards.

        Raises
        ------
        PacsError
            Fewer or more instances than NumberOfSeriesRelatedInstances, before or after; another series' instances.
        """
        try:
            files = self._ask(lambda: self._download(series, folder), doing="retrieve the series")
            self._refuse_partial(series, len(files))
        except BaseException:
            _empty(folder)
            raise
        logger.info("%s: %d instances retrieved", self.service, len(files))
        return tuple(files)

    def store(self, files: Sequence[Path]) -> None:
        """Send DICOM files, then find each of them in the PACS.

        Raises
        ------
        PacsError
            The service refuses one, or does not have one in the end.
        ImageError
            A file that is no DICOM.
        """
        wanted: dict[tuple[str, str], set[str]] = {}
        for batch in _batches(files):
            datasets = [_read(path) for path in batch]
            for ds in datasets:
                key = (str(ds.StudyInstanceUID), str(ds.SeriesInstanceUID))
                wanted.setdefault(key, set()).add(str(ds.SOPInstanceUID))
            self._send(datasets, batch)
        for (study, series), instances in wanted.items():
            self._find_again(study, series, instances)
        logger.info("%s: %d instances stored and found again", self.service, len(files))

    def _series(self, study: str, entry: Json) -> RemoteSeries:
        uid, number, count = str(_first(entry, _SERIES)), _first(entry, _NUMBER), _first(entry, _INSTANCES)
        if not is_uid(uid):
            raise PacsError(f"{self.service}: a series with a wrong UID", expected="digits and dots")
        instances = len(self.find_instances(study, uid)) if count is None else _integer(count)
        modality = str(_first(entry, _MODALITY) or "")
        return RemoteSeries(study, uid, modality, None if number is None else _integer(number), instances)

    def _search(self, page: Callable[[int], list[Json]], *, key: str, doing: str) -> dict[str, Json]:
        """All results by the UID at `key`, page after page: servers may give a few at a time, or all whatever asked."""
        found: dict[str, Json] = {}
        for _ in range(_PAGES):
            offset = len(found)
            entries = self._ask(partial(_entries, page, offset, key), doing=doing)
            found.update(entries)
            if len(found) == offset:
                return found
        raise PacsError(f"{self.service}: cannot {doing}", got=f"more than {_PAGES} pages", expected="an end")

    def _download(self, series: RemoteSeries, folder: Path) -> list[Path]:
        _empty(folder)
        try:
            return self._write_parts(series, folder, (("application/dicom", "*"),))  # as it lies there, not decoded
        except requests.HTTPError as error:
            if error.response is None or error.response.status_code != requests.codes.not_acceptable:
                raise
        _empty(folder)
        return self._write_parts(series, folder, None)

    def _write_parts(
        self, series: RemoteSeries, folder: Path, media_types: tuple[tuple[str, str], ...] | None
    ) -> list[Path]:
        written: dict[str, Path] = {}
        for ds in self._client.iter_series(series.study, series.uid, media_types=media_types):
            if (str(ds.StudyInstanceUID), str(ds.SeriesInstanceUID)) != (series.study, series.uid):
                raise PacsError(f"{self.service}: the answer holds another series than was asked for")
            name = instance_name(str(ds.SOPInstanceUID))
            if name in written:
                raise PacsError(f"{self.service}: the answer holds an instance twice")
            written[name] = folder / name
            _save(ds, folder / name)
        return list(written.values())

    def _refuse_partial(self, series: RemoteSeries, got: int) -> None:
        now = next((s.instances for s in self.find_series(series.study) if s.uid == series.uid), 0)
        if got == series.instances == now:
            return
        changed = "" if now == series.instances else f" ({now} when asked again: it is still changing)"
        raise PacsError(
            f"{self.service}: partial series, not used",
            got=f"{got} instances",
            expected=f"{series.instances}{changed}",
            next_step="try again when the PACS has all of it",
        )

    def _send(self, datasets: Sequence[Any], files: Sequence[Path]) -> None:
        failed = self._ask(lambda: _failures(self._client.store_instances(datasets)), doing="store")
        for ds, path in zip(datasets, files, strict=True):
            if str(ds.SOPInstanceUID) in failed:
                reason = failed[str(ds.SOPInstanceUID)]
                raise PacsError(f"{self.service} refuses {path}", got=f"failure reason {reason:#06x}")

    def _find_again(self, study: str, series: str, instances: set[str]) -> None:
        """Ask until all are there: some archives answer before they have indexed what they were given."""
        missing = len(instances)
        for attempt in range(1, self._retries.attempts + 1):
            missing = len(instances - self.find_instances(study, series))
            if not missing:
                return
            if attempt < self._retries.attempts:
                sleep(self._retries.wait_s(attempt))
        raise PacsError(
            f"{self.service}: stored, but not found again",
            got=f"{missing} of {len(instances)} instances missing",
            next_step="look into the server's log",
        )

    def _ask(self, action: Callable[[], Result], *, doing: str) -> Result:
        def checked() -> Result:
            with self._expecting_dicom(doing):
                return action()

        return with_retries(checked, doing=doing, service=self.service, retries=self._retries)

    @contextmanager
    def _expecting_dicom(self, doing: str) -> Iterator[None]:
        """What the client throws at answers of another kind (a login page) as PacsError."""
        try:
            with quiet_pydicom(), warnings.catch_warnings():  # what they warn of may be the patient's
                warnings.simplefilter("ignore")
                yield
        except _NOT_DICOM as error:
            no_json = isinstance(error, requests.exceptions.JSONDecodeError)
            if isinstance(error, MedsegError | requests.RequestException) and not no_json:
                raise
            raise PacsError(
                f"{self.service}: cannot {doing}",
                got="an answer that is no DICOM",
                next_step="check host, port and prefix of the address",
            ) from error


def _read(path: Path) -> Any:
    try:
        with quiet_pydicom():
            ds = dcmread(path)
            _ = ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID
    except (*_NOT_DICOM, OSError) as error:
        raise ImageError(f"{path}: not a DICOM file that can be sent", got=type(error).__name__) from error
    return ds


def _save(ds: Any, path: Path) -> None:
    try:
        ds.save_as(path, enforce_file_format=True)
    except OSError as error:
        raise OutputError(f"{path.parent} cannot be written to", got=error.strerror or type(error).__name__) from error


def _batches(files: Sequence[Path]) -> Iterator[list[Path]]:
    batch: list[Path] = []
    size = 0
    for path in files:
        if batch and size + path.stat().st_size > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(path)
        size += path.stat().st_size
    if batch:
        yield batch


def _failures(answer: Any) -> dict[str, int]:
    """Reasons by the UIDs of what was not stored."""
    failed = answer.get("FailedSOPSequence") or ()
    return {str(item.ReferencedSOPInstanceUID): int(item.FailureReason) for item in failed}


def _entries(page: Callable[[int], list[Json]], offset: int, key: str) -> dict[str, Json]:
    return {str(entry[key]["Value"][0]): entry for entry in page(offset)}


def _first(entry: Json, tag: str) -> Any:
    """The first value of an attribute in DICOM JSON; None where it has none."""
    values = entry.get(tag, {}).get("Value") or [None]
    return values[0]


def _integer(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise PacsError("the PACS counts in something else than numbers") from None


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
