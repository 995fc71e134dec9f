"""C-STORE between our sender and our receiver, and strangers that send half, wrong or unasked things."""

from __future__ import annotations

import gc
import logging
import os
import re
import shutil
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pydicom
import pynetdicom
import pytest
from pacs_series import QUICK, make_series
from pynetdicom import evt
from pynetdicom.sop_class import CTImageStorage, MRImageStorage, Verification

from medseg.dicom.dimse import _Checkpoint
from medseg.dicom.dimse_receive import ReceivedSeries, Receiver, receiver
from medseg.dicom.names import instance_name, series_name
from medseg.dicom.transfer import receive, send
from medseg.errors import ImageError, OutputError, PacsError

WAIT_S = 20.0

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module", autouse=True)
def no_sockets_for_others() -> Iterator[None]:
    """pynetdicom leaves sockets of broken connections to the garbage collector: now, and not in another test."""
    yield
    gc.collect()


def _pixels(files: list[Path]) -> dict[str, bytes]:
    return {str(ds.SOPInstanceUID): ds.PixelData for ds in map(pydicom.dcmread, files)}


def _uid(files: list[Path]) -> str:
    return str(pydicom.dcmread(files[0]).SeriesInstanceUID)


@pytest.fixture(autouse=True)
def servers_stop_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """socketserver looks twice a second whether it should stop; pynetdicom has no way to set that."""
    monkeypatch.setattr(socketserver.BaseServer.serve_forever, "__defaults__", (0.01,))


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


@pytest.fixture
def taking(inbox: Path) -> Iterator[Receiver]:
    with receiver(inbox, port=0) as server:
        yield server


@contextmanager
def stranger(taking: Receiver, *contexts: str) -> Iterator[pynetdicom.association.Association]:
    """An association of pynetdicom's own."""
    ae = pynetdicom.AE(ae_title="STRANGER")
    for context in contexts or (CTImageStorage,):
        ae.add_requested_context(context, "1.2.840.10008.1.2.1")
    association = ae.associate("127.0.0.1", taking.port, ae_title="MEDSEG")
    yield association
    if association.is_established:
        association.release()


def test_a_series_comes_whole_and_under_a_name_that_tells_nothing(taking: Receiver, series: list[Path], inbox: Path):
    assert send(series[0].parent, peer=f"127.0.0.1:{taking.port}", called="MEDSEG", retries=QUICK) == 5
    came = taking.next_series(timeout_s=WAIT_S)
    assert came is not None
    assert (came.folder, came.instances) == (inbox / series_name(_uid(series)), 5)
    assert _pixels(sorted(came.folder.iterdir())) == _pixels(series)
    assert _visible(inbox) == [came.folder.name]


def test_a_compressed_file_stays_compressed(taking: Receiver, series: list[Path], tmp_path: Path):
    ds = pydicom.dcmread(series[0])
    ds.compress(pydicom.uid.RLELossless)
    ds.save_as(tmp_path / "rle.dcm")
    send(tmp_path / "rle.dcm", peer=f"127.0.0.1:{taking.port}", called="MEDSEG", retries=QUICK)
    came = taking.next_series(timeout_s=WAIT_S)
    assert came is not None
    (file,) = came.folder.iterdir()
    received = pydicom.dcmread(file)
    assert received.file_meta.TransferSyntaxUID == pydicom.uid.RLELossless
    assert received.PixelData == ds.PixelData


def test_two_series_in_one_association_are_two_folders(taking: Receiver, series: list[Path], tmp_path: Path):
    make_series(series[0].parent / "second", seed=2, slices=3)
    send(series[0].parent, peer=f"127.0.0.1:{taking.port}", called="MEDSEG", retries=QUICK)
    came = [taking.next_series(timeout_s=WAIT_S), taking.next_series(timeout_s=WAIT_S)]
    assert sorted(found.instances for found in came if found is not None) == [3, 5]


def test_a_series_in_two_associations_grows(taking: Receiver, series: list[Path], inbox: Path):
    for file, instances in ((series[0], 1), (series[1], 2), (series[1], 2)):
        send(file, peer=f"127.0.0.1:{taking.port}", called="MEDSEG", retries=QUICK)
        came = taking.next_series(timeout_s=WAIT_S)
        assert came is not None
        assert came.instances == instances
    assert _pixels(list(came.folder.iterdir())) == _pixels(series[:2])
    assert _visible(inbox) == [came.folder.name]


def test_an_aborted_association_leaves_nothing(taking: Receiver, series: list[Path], inbox: Path):
    with stranger(taking) as association:
        for file in series[:3]:
            assert association.send_c_store(file).Status == 0
        assert len(_files(inbox)) == 3, "in a hidden folder"
        assert _visible(inbox) == []
        association.abort()
    _wait(lambda: not _files(inbox))
    assert taking.next_series(timeout_s=0.05) is None


def test_a_cut_connection_leaves_nothing(taking: Receiver, series: list[Path], inbox: Path):
    with stranger(taking) as association:
        assert association.send_c_store(series[0]).Status == 0
        association.dul.socket.socket.shutdown(socket.SHUT_RDWR)
        _wait(lambda: not _files(inbox))
    assert taking.next_series(timeout_s=0.05) is None


def test_stopping_removes_what_is_half_there(series: list[Path], inbox: Path):
    with receiver(inbox, port=0) as taking, stranger(taking) as association:
        assert association.send_c_store(series[0]).Status == 0
        assert len(_files(inbox)) == 1
        association.abort()
    assert list(inbox.iterdir()) == []


def _no_series(ds: pydicom.Dataset) -> None:
    del ds.SeriesInstanceUID


def _path_as_series(ds: pydicom.Dataset) -> None:
    ds.SeriesInstanceUID = "../../escaped"


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize(("spoil", "expected"), [(_no_series, 0xC000), (_path_as_series, 0xA900)], ids=["none", "path"])
def test_an_instance_without_a_proper_series_is_refused(
    taking: Receiver, series: list[Path], inbox: Path, spoil: Callable[[pydicom.Dataset], None], expected: int
):
    ds = pydicom.dcmread(series[0])
    spoil(ds)
    with stranger(taking) as association:
        assert association.send_c_store(series[1]).Status == 0
        assert association.send_c_store(ds).Status == expected
        assert association.send_c_store(series[2]).Status == expected, "what is thrown away is not acknowledged"
    _wait(lambda: not _files(inbox))
    assert taking.next_series(timeout_s=0.05) is None, "an association with a refused instance may be partial"


def test_what_stands_in_the_way_of_a_series_stays(
    taking: Receiver, series: list[Path], inbox: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    place, peer = inbox / series_name(_uid(series)), f"127.0.0.1:{taking.port}"
    place.write_text("somebody's")
    assert send(series[0], peer=peer, called="MEDSEG", retries=QUICK) == 1
    _wait(lambda: f"{place} cannot be written (Not a directory)" in caplog.text)
    assert place.read_text() == "somebody's"
    place.unlink()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "before.dcm").write_text("came earlier")
    place.symlink_to(tmp_path / "elsewhere")
    send(series[0], peer=peer, called="MEDSEG", retries=QUICK)
    assert taking.next_series(timeout_s=WAIT_S) == ReceivedSeries(place, 2), "a link is replaced by a whole series"
    assert (tmp_path / "elsewhere" / "before.dcm").is_file()


def test_a_full_disk_is_told_to_the_sender(taking: Receiver, series: list[Path], monkeypatch: pytest.MonkeyPatch):
    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(PacsError, match=r"refuses .*0001\.dcm; got status 0xa700"):
        send(series[0], peer=f"127.0.0.1:{taking.port}", called="MEDSEG", retries=QUICK)


def test_a_damaged_file_is_not_sent_by_c_store(taking: Receiver, tmp_path: Path, series: list[Path]):
    ds = pydicom.dcmread(series[0])
    del ds.SOPInstanceUID
    ds.save_as(series[0])
    with pytest.raises(ImageError, match=r"0001\.dcm: not a DICOM file that can be sent"):
        send(series[0].parent, peer=f"127.0.0.1:{taking.port}", called="MEDSEG", retries=QUICK)


def test_titles_are_checked(inbox: Path, series: list[Path]):
    with receiver(inbox, port=0, title="OURS", allowed=["FRIEND"]) as taking:
        peer = f"127.0.0.1:{taking.port}"
        with pytest.raises(PacsError, match="the association is refused; got Called AE title not recognised"):
            send(series[0], peer=peer, called="OTHER", calling="FRIEND", retries=QUICK)
        with pytest.raises(PacsError, match="Calling AE title not recognised"):
            send(series[0], peer=peer, called="OURS", calling="STRANGER", retries=QUICK)
        assert send(series[0], peer=peer, called="OURS", calling="FRIEND", retries=QUICK) == 1


@pytest.mark.parametrize(
    "title", ["", " ", "A" * 17, "A\\B", "Ä"], ids=["empty", "blank", "long", "backslash", "umlaut"]
)
def test_titles_that_are_none_are_refused(inbox: Path, title: str):
    with pytest.raises(PacsError, match="wrong application entity title"), receiver(inbox, port=0, title=title):
        pass


def test_echo_is_answered(taking: Receiver):
    with stranger(taking, Verification) as association:
        assert association.send_c_echo().Status == 0


@pytest.mark.parametrize("peer", ["", "host", "host:", ":104", "host:0", "host:99999", "host:x"])
def test_a_peer_is_host_and_port(tmp_path: Path, peer: str):
    with pytest.raises(PacsError, match="wrong peer"):
        send(tmp_path, peer=peer)


def test_nobody_there_is_told_after_five_attempts(series: list[Path], monkeypatch: pytest.MonkeyPatch):
    waits: list[float] = []
    monkeypatch.setattr("medseg.dicom.dimse.sleep", waits.append)
    with pytest.raises(PacsError, match="at each of 5 attempts; got 0 of 1 instances sent"):
        send(series[0], peer="127.0.0.1:1")
    assert waits == [0.5, 1.0, 2.0, 4.0]


@contextmanager
def storing(handler: Callable[[Any], int], *contexts: str) -> Iterator[str]:
    """A storage SCP of pynetdicom's own; its HOST:PORT."""
    ae = pynetdicom.AE(ae_title="PACS")
    for context in contexts or (CTImageStorage,):
        ae.add_supported_context(context)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, handler)])
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()


def test_after_a_break_it_goes_on_with_what_was_not_acknowledged(series: list[Path]):
    kept: list[str] = []
    breaks = ["once"]

    def breaking(event: Any) -> int:
        if len(kept) == 2 and breaks:
            breaks.pop()
            event.assoc.abort()
        else:
            kept.append(str(event.request.AffectedSOPInstanceUID))
        return 0

    with storing(breaking) as peer:
        assert send(series[0].parent, peer=peer, retries=QUICK) == 5
    assert list(dict.fromkeys(kept)) == [str(pydicom.dcmread(path).SOPInstanceUID) for path in series]


def test_a_kind_that_the_pacs_does_not_take_is_told(series: list[Path]):
    with (
        storing(lambda _: 0, MRImageStorage) as peer,
        pytest.raises(PacsError, match="takes none of these kinds of files; got CT Image Storage"),
    ):
        send(series[0], peer=peer, retries=QUICK)


def test_an_encoding_that_the_pacs_does_not_take_is_told(series: list[Path], tmp_path: Path):
    ds = pydicom.dcmread(series[0])
    ds.compress(pydicom.uid.RLELossless)
    ds.save_as(series[0].parent / "0000.dcm")
    with storing(lambda _: 0) as peer, pytest.raises(PacsError, match=r"does not take .*0000\.dcm"):
        send(series[0].parent, peer=peer, retries=QUICK)


def test_a_request_never_takes_a_running_thread_for_a_halted_one(monkeypatch: pytest.MonkeyPatch):
    """The unlucky order of two threads' steps: the checkpoint closes when its thread has just been let through."""
    association = SimpleNamespace(_is_paused=True)
    checkpoint = _Checkpoint(association)
    let_through = threading.Event.wait

    def unlucky(event: threading.Event, timeout: float | None = None) -> bool:
        passed = let_through(event, timeout)
        checkpoint.clear()
        return passed

    monkeypatch.setattr(threading.Event, "wait", unlucky)
    assert not checkpoint.wait(0.01)
    assert association._is_paused, "it has not gone on, and is not marked as running"
    monkeypatch.undo()
    checkpoint.set()
    assert checkpoint.wait(0.01)
    assert not association._is_paused


def test_a_warning_counts_as_stored(series: list[Path]):
    with storing(lambda _: 0xB000) as peer:
        assert send(series[0], peer=peer, retries=QUICK) == 1


def test_both_sides_send_without_delay(series: list[Path], inbox: Path, monkeypatch: pytest.MonkeyPatch):
    options: list[int] = []

    def look(event: Any) -> int:
        options.append(event.assoc.dul.socket.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        return original(taking, event)

    original = Receiver.take
    taking: Receiver
    with receiver(inbox, port=0) as taking:
        monkeypatch.setattr(pynetdicom.association.Association, "send_c_store", _looking(options))
        send(series[0], peer=f"127.0.0.1:{taking.port}", called="MEDSEG", retries=QUICK)
    assert len(options) == 1
    assert options[0] != 0


def _looking(options: list[int]) -> Callable[..., Any]:
    original = pynetdicom.association.Association.send_c_store

    def send_c_store(self: Any, dataset: Any) -> Any:
        options.append(self.dul.socket.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        return original(self, dataset)

    return send_c_store


def test_receive_stops_after_so_many(series: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    arriving = receive(tmp_path / "inbox", port=0, stop_after=1)
    with ThreadPoolExecutor() as pool:
        came = pool.submit(list, arriving)
        _wait(lambda: "listening at" in caplog.text)
        port = re.search(r"listening at 127\.0\.0\.1:(\d+) as MEDSEG", caplog.text)[1]
        send(series[0].parent, peer=f"127.0.0.1:{port}", called="MEDSEG", retries=QUICK)
        assert [found.instances for found in came.result()] == [5]
    assert [path.name for path in (tmp_path / "inbox").iterdir()] == [series_name(_uid(series))]


def test_a_folder_that_takes_no_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def read_only(**_: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", read_only)
    with pytest.raises(OutputError, match="inbox cannot be made or written to; got Read-only file system"):
        next(receive(tmp_path / "inbox", port=0))


def test_what_a_killed_receiver_left_is_ended_by_the_next(series: list[Path], inbox: Path):
    """Killed behind an association of slice 0, in one that brought the others, and as a grown series got its name."""
    uid = series_name(_uid(series))
    half, grown = inbox / ".arriving-1" / "half" / uid, inbox / ".arriving-1" / "grown"
    for folder, files in ((half, series[1:3]), (grown / uid, series), (grown / f"{uid}.before", series[:1])):
        folder.mkdir(parents=True)
        for file in files:
            shutil.copy(file, folder / instance_name(str(pydicom.dcmread(file).SOPInstanceUID)))
    with receiver(inbox, port=0) as first:
        assert [path.name for path in inbox.iterdir() if path.name == uid or path.name.endswith("-1")] == [uid]
        assert _pixels(sorted((inbox / uid).iterdir())) == _pixels(series)
        with stranger(first) as association:
            assert association.send_c_store(pydicom.dcmread(series[0])).Status == 0
            with receiver(inbox, port=0):
                pass  # beside one that runs: what arrives there is no leftover
        came = first.next_series(timeout_s=WAIT_S)
        assert came is not None
        assert came.instances == len(series)
    assert [path.name for path in inbox.iterdir()] == [uid]


def test_a_port_in_use_is_told(taking: Receiver, inbox: Path):
    with pytest.raises(PacsError, match="cannot listen"), receiver(inbox, port=taking.port):
        pass


def _visible(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if not path.name.startswith(".")]


def _files(folder: Path) -> list[Path]:
    """All in it and below, also while folders go away."""
    return [Path(place, name) for place, _, names in os.walk(folder) for name in names]


def _wait(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + WAIT_S
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)
    assert condition()
