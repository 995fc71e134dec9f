"""An Orthanc of one's own on loopback: its own storage folder, its own network namespace, gone with its `with`.

As a program, for .ci/run: `python tests/pacs/local_orthanc.py --http 8042 --dicom 4242 -- COMMAND ...` runs the
command while the server is there, and gives its exit code.

Orthanc listens on all interfaces whatever it is told. So it runs in a network namespace without any but loopback, where
that is permitted; a relay carries connections from two loopback sockets of ours to it. Those are bound before anything
starts, so no port is guessed. Where no namespace is permitted the same is done without one.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

HINT = "Orthanc with DICOMweb is not installed: apt-get install orthanc orthanc-dicomweb"
AET = "ORTHANC"
_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
_START_S = 30.0


@dataclass(frozen=True)
class Orthanc:
    """A running server.

    Attributes
    ----------
    http_port, dicom_port
        On 127.0.0.1: REST and DICOMweb (below /dicom-web), and DIMSE.
    """

    http_port: int
    dicom_port: int
    back: Path

    @contextmanager
    def reaches(self, port: int) -> Iterator[None]:
        """While the `with` lasts, what Orthanc sends to its modality "medseg" comes to 127.0.0.1:`port` here."""
        with socket.socket(socket.AF_UNIX) as listener:  # a UNIX socket goes from one network namespace to another
            listener.bind(str(self.back))
            listener.listen()
            relay = threading.Thread(target=_accept, args=(listener, ("127.0.0.1", port)), daemon=True)
            relay.start()
            try:
                yield
            finally:
                listener.shutdown(socket.SHUT_RDWR)
                relay.join()
                self.back.unlink()

    @property
    def address(self) -> str:
        """Its DICOMweb service."""
        return f"dicomweb://127.0.0.1:{self.http_port}/dicom-web"

    def rest(self, path: str) -> list[str] | dict[str, object]:
        """Orthanc's own interface, to look at it other than by DICOMweb."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=10) as answer:
            return json.load(answer)

    def send_series(self, series_uid: str) -> None:
        """Make it send a series to its modality "medseg", by C-STORE."""
        (found,) = [
            s
            for s in self.rest("/series")
            if self.rest(f"/series/{s}")["MainDicomTags"]["SeriesInstanceUID"] == series_uid
        ]
        url = f"http://127.0.0.1:{self.http_port}/modalities/medseg/store"
        urllib.request.urlopen(urllib.request.Request(url, data=found.encode(), method="POST"), timeout=30).close()

    def clear(self) -> None:
        """Remove everything it holds."""
        for patient in self.rest("/patients"):
            url = f"http://127.0.0.1:{self.http_port}/patients/{patient}"
            urllib.request.urlopen(urllib.request.Request(url, method="DELETE"), timeout=10).close()


def installed() -> bool:
    """Whether the server and its DICOMweb plugin are there."""
    return shutil.which("Orthanc") is not None and _PLUGIN.exists()


@contextmanager
def running(*, http_port: int = 0, dicom_port: int = 0) -> Iterator[Orthanc]:
    """A server that answers; port 0: a free one."""
    with (
        tempfile.TemporaryDirectory(prefix="orthanc-") as folder,
        _listen(http_port) as http,
        _listen(dicom_port) as dicom,
        Path(folder, "log").open("wb") as log,
    ):
        command = [sys.executable, __file__, "--relay", folder, str(http.fileno()), str(dicom.fileno())]
        process = subprocess.Popen(
            [*namespace(), *command],
            pass_fds=(http.fileno(), dicom.fileno()),
            stdin=subprocess.PIPE,  # closed when we go, however we go: the relay ends Orthanc then
            stdout=log,
            stderr=log,
        )
        server = Orthanc(http.getsockname()[1], dicom.getsockname()[1], Path(folder, "back"))
        try:
            _wait(server, process, Path(folder, "log"))
            yield server
        finally:
            process.stdin.close()
            process.wait(timeout=30)


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(64)
    return listener


def namespace() -> list[str]:
    """The words before a command that give it a network of its own; none where that is not permitted."""
    for words in (["unshare", "--net"], ["unshare", "--map-root-user", "--net"]):
        if (
            shutil.which(words[0])
            and subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0
        ):
            return words
    return []


def _wait(server: Orthanc, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until and process.poll() is None:
        try:
            server.rest("/system")
        except (OSError, urllib.error.URLError):
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"Orthanc did not start: {log.read_text(errors='replace')[-2000:]}")


# --- the other process: relay and Orthanc's parent


def _relay(folder: Path, listeners: Sequence[socket.socket]) -> int:
    """Start Orthanc, carry connections to it, end it when standard input closes."""
    loopback_up()
    back = _listen(0)
    with _listen(0) as first, _listen(0) as second:
        ports = (first.getsockname()[1], second.getsockname()[1])
    orthanc = start(folder, *ports, back.getsockname()[1])
    routes = [*zip(listeners, (("127.0.0.1", port) for port in ports), strict=True), (back, str(folder / "back"))]
    for route in routes:
        threading.Thread(target=_accept, args=route, daemon=True).start()
    sys.stdin.buffer.read()
    orthanc.kill()  # its storage goes with it: there is nothing to end well
    orthanc.wait()
    return 0


def start(folder: Path, http_port: int, dicom_port: int, back_port: int = 104) -> subprocess.Popen[bytes]:
    """Orthanc itself, in the network that this process is in; `back_port` is where its modality "medseg" is."""
    settings = {
        "Name": "test",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": [str(_PLUGIN)],
        "HttpPort": http_port,
        "DicomPort": dicom_port,
        "DicomAet": AET,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomModalities": {"medseg": ["MEDSEG", "127.0.0.1", back_port]},
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "Host": "127.0.0.1"},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings), encoding="utf-8")
    return subprocess.Popen(["Orthanc", str(folder / "orthanc.json")], stdin=subprocess.DEVNULL)


def loopback_up() -> None:
    """Set IFF_UP on the loopback of a new namespace (netdevice(7)); without a namespace it is up already."""
    get_flags, set_flags, up = 0x8913, 0x8914, 1
    with socket.socket() as any_socket:
        answer = fcntl.ioctl(any_socket, get_flags, struct.pack("16sh14x", b"lo", 0))
        flags = struct.unpack("16sh14x", answer)[1]
        if not flags & up:
            fcntl.ioctl(any_socket, set_flags, struct.pack("16sh14x", b"lo", flags | up))


def _accept(listener: socket.socket, target: tuple[str, int] | str) -> None:
    """Carry each connection to a port of this namespace, or to a UNIX socket; until the listener is shut down."""
    threads = []
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            break
        threads.append(threading.Thread(target=_connect, args=(client, target), daemon=True))
        threads[-1].start()
    for thread in threads:
        thread.join()


def _connect(client: socket.socket, target: tuple[str, int] | str) -> None:
    server = socket.socket(socket.AF_UNIX if isinstance(target, str) else socket.AF_INET)
    with client, server:
        for each in (client, server):
            if each.family == socket.AF_INET:
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            server.connect(target)
        except OSError:
            return
        answers = threading.Thread(target=_carry, args=(server, client), daemon=True)
        answers.start()
        _carry(client, server)
        answers.join()


def _carry(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):  # one side has gone: so does the other
        while data := source.recv(1 << 16):
            _acknowledge(source)
            target.sendall(data)
    for each, how in ((target, socket.SHUT_WR), (source, socket.SHUT_RD)):
        with suppress(OSError):
            each.shutdown(how)


def _acknowledge(each: socket.socket) -> None:
    """At once, as the far end of the relay would have: Orthanc waits for it, 40 ms an answer."""
    if each.family == socket.AF_INET:
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _run(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--http", type=int, default=8042)
    parser.add_argument("--dicom", type=int, default=4242)
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args(words)
    if not installed():
        sys.stderr.write(HINT + "\n")
        return 69
    with running(http_port=arguments.http, dicom_port=arguments.dicom):
        return subprocess.run(arguments.command, check=False).returncode


if __name__ == "__main__":
    if sys.argv[1] == "--relay":
        sockets = [socket.socket(fileno=int(number)) for number in sys.argv[3:]]
        sys.exit(_relay(Path(sys.argv[2]), sockets))
    sys.exit(_run(sys.argv[1:]))
