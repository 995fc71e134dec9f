"""C-STORE over DICOM's own protocol: send files to a PACS, receive series from one.

A message is several small writes. By Nagle's algorithm the second waits for the acknowledgement of the first, which the
other side delays by 40 ms: twice a file, once on each way. TCP_NODELAY ends the waiting on ours; TCP_QUICKACK (Linux)
that of peers which wait themselves, as Orthanc does. docs/how-to/pacs.md has the times.
"""

from __future__ import annotations

import logging
import re
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Any

from medseg.dicom.extra import pacs_extra
from medseg.dicom.retries import Retries
from medseg.dicom.source import quiet_pydicom
from medseg.errors import ImageError, MedsegError, PacsError

with pacs_extra():
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
    from pynetdicom import AE, build_context, evt

logger = logging.getLogger(__name__)

CONNECT_S, ANSWER_S = 10.0, 60.0
"""Seconds until a connection stands, and until the answer to a message."""
PDU_BYTES = 1 << 17
"""The largest piece of a message we take: 8 times the usual 16 KB, as each costs the same work."""
_CONTEXTS = 128
"""An association has no more (PS3.8, 7.1.1.13: odd numbers from 1 to 255)."""
_PLAIN = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
_TITLE = re.compile(r"[\x21-\x5b\x5d-\x7e]([\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?")
_QUICKACK: int = getattr(socket, "TCP_QUICKACK", 0)
_TRANSIENT = 2
"""Result of a rejected association (PS3.8, 9.3.4): it may be accepted later."""


@dataclass(frozen=True)
class Peer:
    """A DICOM application that stores: HOST:PORT and the two titles.

    Attributes
    ----------
    host, port
        Where it listens.
    called_title, calling_title
        Its application entity title, and ours.
    """

    host: str
    port: int
    called_title: str
    calling_title: str

    def __str__(self) -> str:
        return f"{self.called_title} at {self.host}:{self.port}"


@dataclass(frozen=True)
class _File:
    path: Path
    sop_class: str
    syntax: str


def check_title(title: str) -> str:
    """`title`, refused where it is no application entity title (PS3.5, AE: 1 to 16 characters, no backslash)."""
    if not _TITLE.fullmatch(title):
        raise PacsError("wrong application entity title", got=repr(title), expected="1 to 16 ASCII characters")
    return title


class _PromptSocket(socket.socket):
    """Acknowledges what it reads at once; the kernel takes the option back by itself, so it is set at each reading."""

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        data = super().recv(bufsize, flags)
        with suppress(OSError):  # the other side has gone: the next reading tells
            self.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        return data


class _Checkpoint(threading.Event):
    """Where an association's thread halts while a request waits for its answer.

    pynetdicom 3.0.4 marks the thread as running only some time after it has gone on: a request that comes in between
    takes it for halted, and may lose its answer to it and wait until the time is up (pynetdicom issue 875). Here both
    are one step.
    """

    def __init__(self, association: Any) -> None:
        super().__init__()
        self._association, self._step = association, threading.Lock()
        self.set()

    def wait(self, timeout: float | None = None) -> bool:
        while super().wait(timeout):
            with self._step:
                if self.is_set():
                    self._association._is_paused = False
                    return True
        return False

    def clear(self) -> None:
        with self._step:
            super().clear()


def _prepare(event: Any) -> None:
    without_delay(event)
    event.assoc._reactor_checkpoint = _Checkpoint(event.assoc)


def without_delay(event: Any) -> None:
    """Keep a new connection from waiting: neither for acknowledgements, nor with them."""
    transport = event.assoc.dul.socket
    transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if _QUICKACK:
        timeout_s = transport.socket.gettimeout()
        transport.socket = _PromptSocket(fileno=transport.socket.detach())
        transport.socket.settimeout(timeout_s)


def send(files: Sequence[Path], *, peer: Peer, retries: Retries | None = None) -> int:
    """Send DICOM files by C-STORE, each as it is; how many.

    A connection that breaks is made again, and goes on with the first file that was not acknowledged.

    Raises
    ------
    PacsError
        The peer cannot be reached, refuses the association, the kind of a file or a file.
    ImageError
        A file that is no DICOM.
    """
    retries = retries if retries is not None else Retries()
    waiting = [_kind(path) for path in files]
    for attempt in range(1, retries.attempts + 1):
        waiting = _send_some(waiting, peer)
        if not waiting:
            logger.info("%s: %d instances sent", peer, len(files))
            return len(files)
        if attempt < retries.attempts:
            wait = retries.wait_s(attempt)
            logger.info("%s: no connection, or one that broke; again in %.1f s", peer, wait)
            sleep(wait)
    raise PacsError(
        f"{peer}: no connection, or one that broke, at each of {retries.attempts} attempts",
        got=f"{len(files) - len(waiting)} of {len(files)} instances sent",
        next_step="check host, port and titles, and whether the PACS knows ours",
    )


def _kind(path: Path) -> _File:
    with _sendable(path):
        ds = dcmread(path, stop_before_pixels=True)
        _ = ds.SOPInstanceUID
        return _File(path, str(ds.SOPClassUID), str(ds.file_meta.TransferSyntaxUID))


@contextmanager
def _sendable(path: Path) -> Iterator[None]:
    """What damaged files make pydicom and pynetdicom raise, as ImageError."""
    try:
        with quiet_pydicom():
            yield
    except (OSError, ValueError, LookupError, AttributeError, EOFError, struct.error, InvalidDicomError) as error:
        if isinstance(error, MedsegError):
            raise
        raise ImageError(f"{path}: not a DICOM file that can be sent", got=type(error).__name__) from error


def _send_some(files: Sequence[_File], peer: Peer) -> list[_File]:
    """Send until the connection breaks; the files that are still to be sent."""
    waiting = list(files)
    with _associated(files, peer) as association:
        while waiting and association is not None and association.is_established:
            if not _store(association, waiting[0], peer):
                break
            del waiting[0]
    return waiting


@contextmanager
def _associated(files: Sequence[_File], peer: Peer) -> Iterator[Any]:
    """An association for the kinds of `files`; None where no connection came about."""
    ae = AE(ae_title=peer.calling_title)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ANSWER_S
    ae.connection_timeout = CONNECT_S
    association = ae.associate(
        peer.host,
        peer.port,
        contexts=_contexts(files),
        ae_title=peer.called_title,
        max_pdu=PDU_BYTES,
        evt_handlers=[(evt.EVT_CONN_OPEN, _prepare)],
    )
    try:
        _refuse_refusal(association, peer)
        yield association if association.is_established else None
    finally:
        if association.is_established:
            association.release()


def _contexts(files: Sequence[_File]) -> list[Any]:
    """One a kind of object and way of encoding; uncompressed files may change between explicit and implicit."""
    kinds = {(file.sop_class, _PLAIN if file.syntax in _PLAIN else (file.syntax,)) for file in files}
    if len(kinds) > _CONTEXTS:
        raise PacsError("too many kinds of files at once", got=len(kinds), expected=f"{_CONTEXTS} at most")
    return [build_context(sop_class, list(syntaxes)) for sop_class, syntaxes in sorted(kinds)]


def _refuse_refusal(association: Any, peer: Peer) -> None:
    if association.rejected_contexts and not association.accepted_contexts:
        raise PacsError(
            f"{peer} takes none of these kinds of files",
            got=", ".join(sorted({context.abstract_syntax.name for context in association.rejected_contexts})),
            next_step="allow their kinds there",
        )
    if not association.is_rejected:
        return
    answer = association.acceptor.primitive
    if answer is None or answer.result == _TRANSIENT:
        return
    raise PacsError(
        f"{peer}: the association is refused",
        got=answer.reason_str,
        next_step="check both titles: --called is the PACS's, --calling must be known to it",
    )


def _store(association: Any, file: _File, peer: Peer) -> bool:
    """Whether the peer has acknowledged the file; False where the connection broke."""
    accepted = {(context.abstract_syntax, *context.transfer_syntax) for context in association.accepted_contexts}
    choices = _PLAIN if file.syntax in _PLAIN else (file.syntax,)
    if not any((file.sop_class, syntax) in accepted for syntax in choices):
        raise PacsError(
            f"{peer} does not take {file.path}",
            got=f"SOP class {file.sop_class} in transfer syntax {file.syntax}",
            next_step="send it uncompressed, or allow its kind there",
        )
    try:
        with _sendable(file.path):
            status = association.send_c_store(file.path).get("Status")
    except RuntimeError:  # the association ended before it could be used
        return False
    if status is None:
        return False
    if status and not 0xB000 <= status <= 0xBFFF:  # warnings: it is stored all the same
        raise PacsError(f"{peer} refuses {file.path}", got=f"status {status:#06x}")
    return True
