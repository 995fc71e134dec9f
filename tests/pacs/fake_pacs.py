"""A DICOMweb server of the tests' own that fails as it is told: each fault is used once, in the order given."""

from __future__ import annotations

import json
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pydicom

BOUNDARY = "part-of-the-fake"
_SERIES = re.compile(r"/dicom-web/studies/([0-9.]+)/series")
_WADO = re.compile(r"/dicom-web/studies/([0-9.]+)/series/([0-9.]+)")
_INSTANCES = re.compile(r"/dicom-web/studies/([0-9.]+)/series/([0-9.]+)/instances")

Fault = Callable[["_Handler"], None]


@dataclass
class FakePacs:
    """What it holds, how it fails next, and what it was asked.

    Attributes
    ----------
    files, incoming
        The DICOM files it holds, and those of the last request to store.
    faults
        By "series", "instances", "wado", "stow": what happens at the next requests of that kind.
    asked
        Kind and headers of each request so far.
    counts
        NumberOfSeriesRelatedInstances that it claims, one after the other; empty: the truth. None: it does not tell.
    page
        How many results a query gives at most.
    keeps
        Whether it keeps what is stored.
    """

    files: list[bytes] = field(default_factory=list)
    incoming: list[bytes] = field(default_factory=list)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    counts: list[int | None] = field(default_factory=list)
    page: int | None = None
    obeys_offset: bool = True
    keeps: bool = True
    port: int = 0
    scheme: str = "dicomweb"

    @property
    def address(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/dicom-web"

    def times(self, kind: str) -> int:
        return sum(asked == kind for asked, _ in self.asked)

    def series(self, study: str) -> list[dict[str, object]]:
        found: dict[str, list[pydicom.Dataset]] = {}
        for ds in map(header, self.files):
            if ds.StudyInstanceUID == study:
                found.setdefault(str(ds.SeriesInstanceUID), []).append(ds)
        return [self._entry(uid, members) for uid, members in found.items()]

    def _entry(self, uid: str, members: list[pydicom.Dataset]) -> dict[str, object]:
        claimed = self.counts.pop(0) if self.counts else len(members)
        entry = {
            "00080060": {"vr": "CS", "Value": [members[0].Modality]},
            "0020000E": {"vr": "UI", "Value": [uid]},
            "00200011": {"vr": "IS", "Value": [int(members[0].SeriesNumber)]},
            "00100010": {"vr": "PN", "Value": [{"Alphabetic": "SECRET^PATIENT"}]},
        }
        return entry if claimed is None else {**entry, "00201209": {"vr": "IS", "Value": [claimed]}}

    def instances(self, series: str) -> list[bytes]:
        return [file for file in self.files if header(file).SeriesInstanceUID == series]


def header(file: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(BytesIO(file), stop_before_pixels=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    pacs: FakePacs

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        for kind, pattern in (("instances", _INSTANCES), ("wado", _WADO), ("series", _SERIES)):
            match = pattern.fullmatch(path)
            if match and not self._failed(kind):
                getattr(self, f"_{kind}")(*match.groups(), int(query.get("offset", ["0"])[0]))
            if match:
                return
        self.answer(404, b"unknown path of SECRET^PATIENT", "text/plain")

    def do_POST(self) -> None:
        body = self._body()
        parts = [
            part.partition(b"\r\n\r\n")[2][:-2] for part in body.split(b"--0f3cf5c0-70e0-41ef-baef-c6f9f65ec3e1")[1:-1]
        ]
        self.pacs.incoming = parts
        if self._failed("stow"):
            return
        if self.pacs.keeps:
            self.pacs.files += parts
        self.answer(200, json.dumps({"00081198": {"vr": "SQ"}}).encode(), "application/dicom+json")

    def _failed(self, kind: str) -> bool:
        self.pacs.asked.append((kind, dict(self.headers.items())))
        waiting = self.pacs.faults.get(kind, [])
        if waiting:
            waiting.pop(0)(self)
        return self.wfile.closed or self._answered

    def handle_one_request(self) -> None:
        self._answered = False
        super().handle_one_request()

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _series(self, study: str, offset: int) -> None:
        self._page(self.pacs.series(study), offset)

    def _instances(self, _: str, series: str, offset: int) -> None:
        uids = [str(header(file).SOPInstanceUID) for file in self.pacs.instances(series)]
        self._page([{"00080018": {"vr": "UI", "Value": [uid]}} for uid in uids], offset)

    def _page(self, results: list[dict[str, object]], offset: int) -> None:
        start = offset if self.pacs.obeys_offset else 0
        end = None if self.pacs.page is None else start + self.pacs.page
        self.answer(200, json.dumps(results[start:end]).encode(), "application/dicom+json")

    def _wado(self, _: str, series: str, offset: int) -> None:
        self.parts(self.pacs.instances(series))

    def parts(self, files: list[bytes]) -> None:
        self.answer(200, multipart(files), f'multipart/related; type="application/dicom"; boundary={BOUNDARY}')

    def answer(self, status: int, body: bytes, kind: str, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)
        self._answered = True


def multipart(files: list[bytes]) -> bytes:
    parts = b"".join(f"\r\n--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode() + file for file in files)
    return parts + f"\r\n--{BOUNDARY}--\r\n".encode()


# --- faults


def status(code: int, **headers: str) -> Fault:
    """An error, with a body that must not be repeated to the user."""
    return lambda handler: handler.answer(code, b"SECRET^PATIENT", "text/plain", **headers)


def login_page(handler: _Handler) -> None:
    """What a proxy gives: 200 and HTML."""
    handler.answer(200, b"<html>log in</html>", "text/html")


def nothing(handler: _Handler) -> None:
    """The connection ends without an answer."""
    handler.close_connection = True
    handler.connection.close()
    handler._answered = True


def half(handler: _Handler) -> None:
    """The connection ends in the middle of the answer's announced length."""
    body = multipart(handler.pacs.files)
    handler.send_response(200)
    handler.send_header("Content-Type", f"multipart/related; boundary={BOUNDARY}")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body[: len(body) // 2])
    nothing(handler)


def unannounced_half(handler: _Handler) -> None:
    """As `half`, of unknown length: nothing in HTTP tells that anything is missing."""
    body = multipart(handler.pacs.files)
    handler.send_response(200)
    handler.send_header("Content-Type", f"multipart/related; boundary={BOUNDARY}")
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.wfile.write(body[: -len(body) // 8])
    handler.wfile.flush()
    handler.close_connection = True
    handler._answered = True


def only(count: int) -> Fault:
    """A well-formed answer with the first few instances."""
    return lambda handler: handler.parts(handler.pacs.files[:count])


def these(files: list[bytes]) -> Fault:
    """A well-formed answer with other files."""
    return lambda handler: handler.parts(files)


def refusing(handler: _Handler) -> None:
    """STOW: stored nothing, in an answer of 202."""
    uid = str(header(handler.pacs.incoming[0]).SOPInstanceUID)
    failed = {"00081155": {"vr": "UI", "Value": [uid]}, "00081197": {"vr": "US", "Value": [0xA700]}}
    body = json.dumps({"00081198": {"vr": "SQ", "Value": [failed]}}).encode()
    handler.answer(202, body, "application/dicom+json")


def refusing_in_silence(handler: _Handler) -> None:
    """STOW: as `refusing`, without what it is that failed."""
    body = json.dumps({"00081198": {"vr": "SQ", "Value": [{}]}}).encode()
    handler.answer(202, body, "application/dicom+json")


@contextmanager
def serving(*, certificate: Path | None = None, key: Path | None = None) -> Iterator[FakePacs]:
    """A server on a free port of loopback, with TLS where a certificate is given."""
    pacs = FakePacs()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"pacs": pacs}))
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        pacs.scheme = "dicomwebs"
    pacs.port = server.server_address[1]
    server.handle_error = lambda *_: None  # a client that refuses our certificate is no error of the test
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield pacs
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
