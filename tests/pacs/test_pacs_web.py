"""DICOMweb with servers that fail: what is tried again, what is refused, and that nothing half is ever left."""

from __future__ import annotations

import base64
import logging
import os
import shutil
import signal
import subprocess
import tempfile
import traceback
from pathlib import Path

import fake_pacs
import pydicom
import pytest
from fake_pacs import (
    FakePacs,
    half,
    login_page,
    nothing,
    only,
    refusing,
    refusing_in_silence,
    status,
    these,
    unannounced_half,
)
from pacs_series import QUICK, make_series

from medseg.dicom.names import series_name
from medseg.dicom.retries import Retries
from medseg.dicom.transfer import pull, push
from medseg.dicom.web import WebPacs
from medseg.dicom.web_address import WebAddress
from medseg.errors import ImageError, OutputError, PacsError
from medseg.workflows.pacs import local_input


def _study(files: list[Path]) -> str:
    return str(pydicom.dcmread(files[0]).StudyInstanceUID)


def _series(files: list[Path]) -> str:
    return str(pydicom.dcmread(files[0]).SeriesInstanceUID)


def _address(fake: FakePacs, files: list[Path]) -> str:
    return f"{fake.address}/studies/{_study(files)}"


def _pixels(files: list[Path]) -> dict[str, bytes]:
    return {str(ds.SOPInstanceUID): ds.PixelData for ds in map(pydicom.dcmread, files)}


def _pull(fake: FakePacs, series: list[Path], folder: Path) -> list[Path]:
    (pulled,) = pull(_address(fake, series), output_dir=folder, retries=QUICK)
    return sorted(pulled.iterdir())


def test_a_series_comes_as_it_is(fake: FakePacs, series: list[Path], tmp_path: Path):
    files = _pull(fake, series, tmp_path / "out")
    assert _pixels(files) == _pixels(series)
    assert files[0].parent.name == series_name(_series(series))


FAULTS = {
    "503": status(503),
    "500": status(500),
    "429": status(429),
    "no_answer": nothing,
    "half_an_answer": half,
    "half_an_answer_of_unknown_length": unannounced_half,
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_may_pass_is_tried_again(fake: FakePacs, series: list[Path], tmp_path: Path, name: str):
    fake.faults["wado"] = [FAULTS[name]] * 4
    assert _pixels(_pull(fake, series, tmp_path / "out")) == _pixels(series)
    assert fake.times("wado") == 5


@pytest.mark.parametrize("kind", ["series", "wado"])
@pytest.mark.parametrize("name", ["503", "no_answer"])
def test_after_five_attempts_it_is_told(fake: FakePacs, series: list[Path], tmp_path: Path, kind: str, name: str):
    fake.faults[kind] = [FAULTS[name]] * 9
    with pytest.raises(PacsError, match="after 5 attempts"):
        _pull(fake, series, tmp_path / "out")
    assert fake.times(kind) == 5
    assert list((tmp_path / "out").rglob("*")) == []


@pytest.mark.parametrize("code", [400, 401, 403, 404, 409, 501])
def test_a_final_answer_is_not_asked_for_again(fake: FakePacs, series: list[Path], tmp_path: Path, code: int):
    fake.faults["wado"] = [status(code)] * 9
    with pytest.raises(PacsError, match=f"HTTP {code}"):
        _pull(fake, series, tmp_path / "out")
    assert fake.times("wado") == 1


def test_what_the_server_writes_is_not_repeated(
    fake: FakePacs, series: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    fake.faults["wado"] = [status(503), status(404)]
    with pytest.raises(PacsError) as caught:
        _pull(fake, series, tmp_path / "out")
    assert "SECRET" not in caplog.text + "".join(traceback.format_exception(caught.value))


def test_the_waits_double_and_obey_the_server(
    fake: FakePacs, series: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    waits: list[float] = []
    monkeypatch.setattr("medseg.dicom.web_session.sleep", waits.append)
    fake.faults["wado"] = [status(503), status(503), status(503, Retry_After="7"), status(503, Retry_After="3600")]
    pull(_address(fake, series), output_dir=tmp_path / "out", retries=Retries())
    assert waits == [0.5, 1.0, 7.0, 30.0]


def test_a_partial_series_is_refused(fake: FakePacs, series: list[Path], tmp_path: Path):
    fake.faults["wado"] = [only(4)]
    with pytest.raises(PacsError, match="partial series, not used; got 4 instances; expected 5"):
        _pull(fake, series, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_series_that_is_still_arriving_is_refused(fake: FakePacs, series: list[Path], tmp_path: Path):
    fake.counts = [5, 5, 7]  # each query asks for two pages; the second is empty
    with pytest.raises(PacsError, match=r"expected 5 .7 when asked again: it is still changing"):
        _pull(fake, series, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_more_than_the_series_has_is_refused(fake: FakePacs, series: list[Path], tmp_path: Path):
    fake.counts = [4] * 9
    with pytest.raises(PacsError, match="got 5 instances; expected 4"):
        _pull(fake, series, tmp_path / "out")


def test_a_server_that_does_not_count_is_asked_for_the_instances(fake: FakePacs, series: list[Path], tmp_path: Path):
    fake.counts, fake.page = [None] * 9, 2
    assert len(_pull(fake, series, tmp_path / "out")) == 5
    fake.faults["wado"] = [only(3)]
    fake.counts = [None] * 9
    with pytest.raises(PacsError, match="got 3 instances; expected 5"):
        _pull(fake, series, tmp_path / "again")


def test_another_series_in_the_answer_is_refused(fake: FakePacs, series: list[Path], tmp_path: Path):
    others = [path.read_bytes() for path in make_series(tmp_path / "other", seed=2)]
    fake.faults["wado"] = [these(others)]
    with pytest.raises(PacsError, match="another series"):
        _pull(fake, series, tmp_path / "out")


def test_an_instance_twice_is_refused(fake: FakePacs, series: list[Path], tmp_path: Path):
    fake.faults["wado"] = [these([fake.files[0]] * 5)]
    with pytest.raises(PacsError, match="twice"):
        _pull(fake, series, tmp_path / "out")


@pytest.mark.parametrize("kind", ["series", "wado"])
def test_a_login_page_is_refused(fake: FakePacs, series: list[Path], tmp_path: Path, kind: str):
    fake.faults[kind] = [login_page]
    with pytest.raises(PacsError, match="an answer that is no DICOM"):
        _pull(fake, series, tmp_path / "out")
    assert fake.times(kind) == 1


@pytest.mark.parametrize("part", [b"", b"no DICOM", b"\0" * 128 + b"DICM"], ids=["empty", "text", "preamble_only"])
def test_parts_that_are_no_dicom_are_refused(fake: FakePacs, series: list[Path], tmp_path: Path, part: bytes):
    fake.faults["wado"] = [these([part])]
    with pytest.raises(PacsError, match="an answer that is no DICOM"):
        _pull(fake, series, tmp_path / "out")


def test_a_redirect_is_not_followed(fake: FakePacs, series: list[Path], tmp_path: Path):
    fake.faults["wado"] = [status(302, Location="http://127.0.0.1:1/elsewhere")]
    with pytest.raises(PacsError, match="sends us to another address"):
        _pull(fake, series, tmp_path / "out")


def test_a_server_that_decodes_only_is_asked_for_that(fake: FakePacs, series: list[Path], tmp_path: Path):
    fake.faults["wado"] = [status(406)]
    assert len(_pull(fake, series, tmp_path / "out")) == 5
    assert "*" not in fake.asked[-2][1]["Accept"]


def test_a_server_that_ignores_the_offset_ends_too(fake: FakePacs, series: list[Path], tmp_path: Path):
    fake.obeys_offset = False
    assert len(_pull(fake, series, tmp_path / "out")) == 5


def test_an_unknown_study_and_series_are_told(fake: FakePacs, series: list[Path], tmp_path: Path):
    with pytest.raises(PacsError, match="no such study"):
        pull(f"{fake.address}/studies/1.2.3", output_dir=tmp_path / "out", retries=QUICK)
    with pytest.raises(PacsError, match=f"no such series in the study.*{_series(series)}"):
        pull(f"{_address(fake, series)}/series/1.2.3", output_dir=tmp_path / "out", retries=QUICK)


def test_a_series_that_is_there_is_not_retrieved_again(fake: FakePacs, series: list[Path], tmp_path: Path):
    first = _pull(fake, series, tmp_path / "out")
    asked = fake.times("wado")
    assert _pull(fake, series, tmp_path / "out") == first
    assert fake.times("wado") == asked
    first[0].unlink()
    with pytest.raises(OutputError, match="is there already, with other files than the series"):
        _pull(fake, series, tmp_path / "out")


def test_sigterm_leaves_no_patient_behind(
    fake: FakePacs, series: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    (tmp_path / "temporary").mkdir()
    seen: list[bool] = []

    def terminate(handler: object) -> None:
        seen.append(any((tmp_path / "temporary").iterdir()))
        os.kill(os.getpid(), signal.SIGTERM)
        nothing(handler)

    fake.faults["wado"] = [terminate]
    with pytest.raises(SystemExit) as left, local_input(_address(fake, series), retries=QUICK):
        pytest.fail("went on after SIGTERM")
    assert left.value.code == 128 + signal.SIGTERM
    assert seen == [True]
    assert list((tmp_path / "temporary").iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_nobody_there_is_told(tmp_path: Path):
    with pytest.raises(PacsError, match="no connection"):
        pull("dicomweb://127.0.0.1:1/studies/1.2", output_dir=tmp_path, retries=QUICK)


# --- what predict works on


def test_a_study_stands_for_its_only_series_of_images(fake: FakePacs, series: list[Path], tmp_path: Path):
    seg = pydicom.dcmread(series[0])
    seg.SeriesInstanceUID, seg.SOPInstanceUID, seg.Modality = "1.2.3.4", "1.2.3.5", "SEG"
    seg.save_as(tmp_path / "seg.dcm")
    fake.files.append((tmp_path / "seg.dcm").read_bytes())
    with local_input(_address(fake, series), retries=QUICK) as folder:
        assert _pixels(sorted(folder.iterdir())) == _pixels(series)
        assert folder.parent.stat().st_mode & 0o077 == 0, "patient data: for us alone"
    assert not folder.exists()
    assert not folder.parent.exists()


def test_several_series_are_refused_with_the_list(fake: FakePacs, series: list[Path], tmp_path: Path):
    second = []
    for path in series:
        ds = pydicom.dcmread(path)
        ds.SeriesInstanceUID, ds.SOPInstanceUID, ds.SeriesNumber = "1.2.3.4", f"{ds.SOPInstanceUID[:50]}.7", 9
        ds.save_as(tmp_path / "second.dcm")
        second.append((tmp_path / "second.dcm").read_bytes())
    fake.files += second
    with (
        pytest.raises(
            PacsError, match=r"which series.*got 2.*CT number 1, 5 instances.*CT number 9, 5 instances, 1.2.3.4"
        ),
        local_input(_address(fake, series), retries=QUICK),
    ):
        pass
    with local_input(f"{_address(fake, series)}/series/1.2.3.4", retries=QUICK) as folder:
        assert folder.name == series_name("1.2.3.4")


def test_a_partial_series_is_never_given_out(fake: FakePacs, series: list[Path]):
    fake.faults["wado"] = [only(4)]
    with pytest.raises(PacsError, match="partial"), local_input(_address(fake, series), retries=QUICK):
        pytest.fail("a partial series was given out")


# --- storing


@pytest.mark.parametrize("name", ["503", "no_answer"])
def test_storing_is_tried_again(series: list[Path], name: str):
    with fake_pacs.serving() as fake:
        fake.faults["stow"] = [FAULTS[name]] * 4
        assert push(series[0].parent, address=fake.address, retries=QUICK) == 5
        assert sorted(fake.files) == sorted(path.read_bytes() for path in series)
        assert fake.times("stow") == 5


def test_a_refused_file_is_told_by_its_name(series: list[Path]):
    with fake_pacs.serving() as fake:
        fake.faults["stow"] = [refusing]
        with pytest.raises(PacsError, match=f"refuses .*{series[0].name}; got failure reason 0xa700"):
            push(series[0].parent, address=fake.address, retries=QUICK)
        fake.faults["stow"] = [refusing_in_silence]
        with pytest.raises(PacsError, match="cannot store; got an answer that is no DICOM"):
            push(series[0].parent, address=fake.address, retries=QUICK)


def test_what_is_not_found_again_is_told(series: list[Path]):
    with fake_pacs.serving() as fake:
        fake.keeps = False
        with pytest.raises(PacsError, match="not found again; got 5 of 5 instances missing"):
            push(series[0].parent, address=fake.address, retries=QUICK)
        assert fake.times("instances") == 5


def test_a_login_page_after_storing_is_not_success(series: list[Path]):
    with fake_pacs.serving() as fake:
        fake.faults["stow"] = [login_page]
        with pytest.raises(PacsError, match="not found again"):
            push(series[0].parent, address=fake.address, retries=QUICK)


def test_only_dicom_is_sent(series: list[Path]):
    folder = series[0].parent
    (folder / "mask.nii.gz").write_bytes(b"mask")
    (folder / ".hidden.dcm").write_bytes(series[0].read_bytes())
    with fake_pacs.serving() as fake:
        assert push(folder, address=fake.address, retries=QUICK) == 5


@pytest.mark.parametrize("content", [None, b"text"], ids=["empty_folder", "text"])
def test_nothing_to_send_is_told(tmp_path: Path, content: bytes | None):
    if content is not None:
        (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(PacsError, match="no DICOM file"):
        push(tmp_path, address="dicomweb://127.0.0.1:1")
    with pytest.raises(PacsError, match="no such file"):
        push(tmp_path / "absent", address="dicomweb://127.0.0.1:1")


def test_a_damaged_file_is_not_sent(tmp_path: Path):
    (tmp_path / "a.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\x02\0")
    with pytest.raises(ImageError, match=r"a\.dcm: not a DICOM file that can be sent"):
        push(tmp_path, address="dicomweb://127.0.0.1:1")


def test_an_unreadable_file_is_told(series: list[Path], monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PacsError, match=r"\d\.dcm cannot be read; got Permission denied"):
        push(series[0].parent, address="dicomweb://127.0.0.1:1")


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_uids_with_leading_zeros_are_let_pass(series: list[Path], tmp_path: Path):
    ds = pydicom.dcmread(series[0])
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.02.3", "1.02.4"
    ds.save_as(tmp_path / "odd.dcm")
    with fake_pacs.serving() as fake:
        push(tmp_path / "odd.dcm", address=fake.address, retries=QUICK)
        (folder,) = pull(f"{fake.address}/studies/1.02.3", output_dir=tmp_path / "out", retries=QUICK)
    assert len(list(folder.iterdir())) == 1


def test_addresses_fit_what_is_asked(tmp_path: Path, series: list[Path]):
    with pytest.raises(PacsError, match="names no study"):
        pull("dicomweb://127.0.0.1:1", output_dir=tmp_path)
    with pytest.raises(PacsError, match="ends with the service"):
        push(series[0], address="dicomweb://127.0.0.1:1/studies/1.2")


# --- credentials and TLS on the wire


def test_credentials_go_into_the_header_and_nowhere_else(
    fake: FakePacs,
    series: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    caplog.set_level(logging.DEBUG)
    secret = "hunter2hunter2"
    monkeypatch.setenv("MEDSEG_DICOMWEB_USER", "anna")
    monkeypatch.setenv("MEDSEG_DICOMWEB_PASSWORD", secret)
    encoded = base64.b64encode(f"anna:{secret}".encode()).decode()
    _pull(fake, series, tmp_path / "out")
    assert {headers["Authorization"] for _, headers in fake.asked} == {f"Basic {encoded}"}
    fake.faults["series"] = [status(503), status(401)]
    with pytest.raises(PacsError, match=r"HTTP 401 after 2 attempts; set MEDSEG_DICOMWEB_TOKEN") as caught:
        _pull(fake, series, tmp_path / "again")
    everything = caplog.text + "".join(traceback.format_exception(caught.value))
    assert secret not in everything
    assert encoded not in everything


def test_no_password_comes_from_netrc(
    fake: FakePacs, series: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login anna password hunter2\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    _pull(fake, series, tmp_path / "out")
    monkeypatch.setenv("MEDSEG_DICOMWEB_TOKEN", "abc")
    _pull(fake, series, tmp_path / "again")
    assert [headers.get("Authorization") for kind, headers in fake.asked if kind == "wado"] == [None, "Bearer abc"]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody has signed, and its key."""
    tool = shutil.which("openssl")
    if tool is None:
        pytest.skip("no openssl to make a certificate: apt-get install openssl")
    folder = tmp_path_factory.mktemp("tls")
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")]
    subprocess.run([tool, "req", "-x509", *curve, *names, *files], check=True, capture_output=True)
    return folder / "certificate.pem", folder / "key.pem"


def test_tls_is_verified(
    certificate: tuple[Path, Path], series: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with fake_pacs.serving(certificate=certificate[0], key=certificate[1]) as fake:
        fake.files += [path.read_bytes() for path in series]
        with pytest.raises(PacsError, match=r"got no trusted certificate; name .* REQUESTS_CA_BUNDLE"):
            _pull(fake, series, tmp_path / "out")
        assert fake.asked == []
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))
        assert len(_pull(fake, series, tmp_path / "out")) == 5


def test_find_series_keeps_nothing_of_the_patient(fake: FakePacs, series: list[Path]):
    pacs = WebPacs(WebAddress.parse(fake.address), retries=QUICK)
    (found,) = pacs.find_series(_study(series))
    assert (found.modality, found.number, found.instances) == ("CT", 1, 5)
    assert "SECRET" not in repr(found)
