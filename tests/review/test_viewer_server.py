"""`medseg review` as a process, with a real network, ended by signals; and training on what it exports."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import nibabel
import numpy as np
import pytest
from viewer_parts import OURS, cases_by_name, correct, painted, review, save, viewing, volume, wait_for

from medseg.bundle import find_bundle
from medseg.cli import main
from medseg.cli import review as review_command
from medseg.review.viewer.extra import review_extra

START_SECONDS = 60.0
END_SECONDS = 20.0


@contextmanager
def running(
    tmp_path: Path, *words: str, browser: bool = False, **environment: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`medseg review` with its temporary folder in `tmp_path`, and the address that it prints."""
    temporary = tmp_path / "temporary"
    temporary.mkdir(exist_ok=True)
    quiet = [] if browser else ["--no-browser"]
    process = subprocess.Popen(
        [sys.executable, "-m", "medseg.cli", "review", *words, "--port", str(free_port()), *quiet],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary), **environment},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"open (http\S+)", line)
        assert found, line + (process.stderr.read() if process.stderr else "")
        yield process, found[1]
    finally:
        process.kill()
        process.communicate()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def opened(address: str) -> Iterator[tuple[httpx2.Client, dict[str, str]]]:
    """A browser that has opened the printed address, and the headers of its page's requests."""
    base = address.split("/?")[0]
    with httpx2.Client(base_url=base, timeout=30.0, follow_redirects=True) as client:
        assert client.get(address).status_code == 200
        yield client, {**OURS, "Origin": base}


def cookie_header(client: httpx2.Client) -> str:
    return "; ".join(f"{name}={value}" for name, value in client.cookies.items())


def job_after(client: httpx2.Client, *states: str) -> dict[str, Any]:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        job: dict[str, Any] = client.get("/api/jobs").json()[-1]
        if job["state"] in states:
            return job
        time.sleep(0.1)
    raise AssertionError(f"still {job}")


def test_drop_segment_and_end_by_sigterm(tmp_path: Path):
    path = save(volume(), tmp_path / "made" / "brain.nii.gz")
    with running(tmp_path, "mr_hippocampus") as (process, address):
        with opened(address) as (client, ours):
            taken = client.post("/api/uploads", headers=ours, files={"files": (path.name, path.read_bytes())}).json()
            asked = client.post(
                "/api/jobs", headers=ours, json={"case": taken["cases"][0]["id"], "bundle": "mr_hippocampus"}
            )
            assert asked.status_code == 202
            started = time.monotonic()
            assert client.get("/api/state").json()["bundle"] == "mr_hippocampus"
            assert time.monotonic() - started < 5.0  # while torch is being loaded, in another process
            job = job_after(client, "done", "failed")
            assert job["state"] == "done", job
            case = client.get(f"/api/cases/{asked.json()['case']}").json()
            assert case["bundle"]["name"] == "mr_hippocampus"
            mask = tmp_path / "mask.nii.gz"
            mask.write_bytes(client.get(case["urls"]["mask_download"]).content)
        (session,) = (tmp_path / "temporary").glob("medseg-review-*")
        assert any((session / "uploads").rglob("brain.nii.gz"))
        process.send_signal(signal.SIGTERM)
        assert process.wait(END_SECONDS) == 143
    assert list((tmp_path / "temporary").glob("medseg*")) == []
    written = nibabel.load(mask)
    np.testing.assert_allclose(written.affine, nibabel.load(path).affine)
    assert written.shape == nibabel.load(path).shape
    # the mask is the one that the command gives
    assert main(["predict", "mr_hippocampus", "-i", str(path), "-o", str(tmp_path / "out"), "--quiet"]) == 0
    assert (tmp_path / "out" / "brain.nii.gz").read_bytes() == mask.read_bytes()


def test_ctrl_c_while_a_file_is_coming_in_leaves_nothing(tmp_path: Path):
    with running(tmp_path) as (process, address):
        host, port = address.split("//")[1].split("/")[0].split(":")
        with opened(address) as (client, ours):
            cookies = cookie_header(client)
        part = b'--x\r\nContent-Disposition: form-data; name="files"; filename="patient.nii"\r\n\r\n'
        head = [
            "POST /api/uploads HTTP/1.1",
            f"Host: {host}:{port}",
            f"Cookie: {cookies}",
            *(f"{name}: {value}" for name, value in ours.items()),
            "Content-Type: multipart/form-data; boundary=x",
            "Content-Length: 5000000",
        ]
        with socket.create_connection((host, int(port))) as half:
            half.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + part + b"\0" * 2_000_000)
            deadline = time.monotonic() + END_SECONDS
            while not list((tmp_path / "temporary").rglob("patient.nii")) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert list((tmp_path / "temporary").rglob("patient.nii"))
            process.send_signal(signal.SIGINT)
            assert process.wait(END_SECONDS) == 130
    assert list((tmp_path / "temporary").glob("medseg*")) == []


def test_no_raw_path_leads_out_of_the_static_files(tmp_path: Path):
    with running(tmp_path) as (_, address):
        host, port = address.split("//")[1].split("/")[0].split(":")
        with opened(address) as (client, _):
            cookies = cookie_header(client)
        for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static//etc/passwd", "/../../etc/passwd"):
            with socket.create_connection((host, int(port))) as raw:
                raw.sendall(
                    f"GET {path} HTTP/1.1\r\nHost: {host}\r\nCookie: {cookies}\r\nConnection: close\r\n\r\n".encode()
                )
                answer = b"".join(iter(lambda: raw.recv(65536), b""))
            assert answer.split(b" ")[1] == b"404", path


def test_the_browser_is_opened_with_a_token_of_its_own(tmp_path: Path):
    seen, script = tmp_path / "seen.txt", tmp_path / "browser.sh"
    script.write_text(f'#!/bin/sh\necho "$1" > {seen}.part\nmv {seen}.part {seen}\n', encoding="utf-8")
    script.chmod(0o700)
    with running(tmp_path, browser=True, BROWSER=f"{script} %s") as (_, address):
        wait_for(seen.is_file)
        opened_with = seen.read_text(encoding="utf-8").strip()
        assert opened_with != address
        assert opened_with.split("token=")[0] == address.split("token=")[0]
        with opened(opened_with) as (client, _):
            assert client.get("/api/state").status_code == 200
        with httpx2.Client() as other:
            assert other.get(opened_with).status_code == 403


def test_a_password_comes_from_the_environment_and_no_token_is_printed(tmp_path: Path):
    with running(tmp_path, MEDSEG_REVIEW_PASSWORD="correct horse") as (_, address):
        assert "token" not in address
        with httpx2.Client(base_url=address) as client:
            assert client.get("/api/state").status_code == 401
            ours = {**OURS, "Origin": address.rstrip("/")}
            assert client.post("/login", headers=ours, json={"password": "correct horse"}).status_code == 204
            assert client.get("/api/state").status_code == 200


def test_a_password_from_an_editor_that_marks_its_encoding_is_the_one_that_is_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Notepad begins a file with a byte order mark, which nobody types."""
    file, given = tmp_path / "password.txt", []
    file.write_bytes(b"\xef\xbb\xbfcorrect horse\r\n")
    file.chmod(0o600)
    monkeypatch.setattr("medseg.review.viewer.serve.serve", lambda settings, ready: given.append(settings.password))
    assert main(["review", "--password-file", str(file)]) == 0
    assert given == ["correct horse"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["review", "--host", "0.0.0.0"], "no password is set"),
        (["review", "no_such_bundle"], "no such bundle"),
        (["review", "ct_lung", "--bundle", "cxr_heart_lung"], "two bundles"),
        (["review", "--port", "99999"], "expected a port"),
        (["review", "--password-file", "nowhere.txt"], "cannot be read"),
        (["review", "ct_lung", "--truth", "labels"], "of the cases of a folder; got 'ct_lung'"),
        (["review", "--datalist", "datalist.json"], "of the cases of a folder; got no folder"),
        (["review", "--key", "key.pem"], "--key without its certificate"),
    ],
    ids=["open door", "bundle", "two bundles", "port", "password file", "truth", "datalist", "key"],
)
def test_what_cannot_be_opened_is_refused_with_exit_code_2(
    words: list[str], told: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert told in capfd.readouterr().err


def test_the_mark_that_windows_puts_before_a_text_is_no_part_of_the_password(tmp_path: Path):
    file = tmp_path / "password.txt"
    file.write_bytes("\ufeffcorrect horse\r\n".encode())
    file.chmod(0o600)
    assert review_command._password(file) == "correct horse"


def test_a_short_password_and_a_taken_port_are_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "password.txt"
    file.write_text("short\n", encoding="utf-8")
    assert main(["review", "--password-file", str(file)]) == 2
    assert "at least 8 characters" in capfd.readouterr().err
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["review", "--port", str(taken.getsockname()[1]), "--no-browser"]) == 2
    assert "cannot listen" in capfd.readouterr().err


def test_a_missing_extra_names_its_install_command():
    with pytest.raises(ValueError, match=r"pip install 'medseg\[review\]'"), review_extra():
        raise ModuleNotFoundError("No module named 'fastapi'", name="fastapi")


def test_what_was_accepted_trains_a_network(folder: Path, tmp_path: Path):
    """Two volumes accepted, one of them corrected: their datalist goes through `medseg train`."""
    from medseg.workflows import train

    with viewing(tmp_path, folder=folder) as (client, _):
        cases = cases_by_name(client)
        correct(client, cases["case_0"]["id"], painted())
        for name in ("case_0", "case_1"):
            review(client, cases[name]["id"], "accepted")
        datalist = tmp_path / "datalist.json"
        datalist.write_bytes(client.get("/api/export").content)
    tiny = {"window": [16, 16, 16], "network_def::filters": [4, 8, 8, 8], "precision": "fp32", "epochs": 1}
    device = {"device": "$torch.device('cpu')"}
    run = train("mr_hippocampus", datalist=datalist, run_dir=tmp_path / "run", overrides={**tiny, **device})
    assert (run / "models" / "model.pt").is_file()
    shutil.rmtree(run)


def test_a_bundle_that_wants_more_than_is_allowed_is_not_opened_untrusted(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    theirs = tmp_path / "theirs"
    shutil.copytree(find_bundle("ct_lung"), theirs)
    common = theirs / "configs" / "common.yaml"
    text = common.read_text(encoding="utf-8")
    common.write_text(text + "\nsurprise: $__import__('os').getcwd()\n", encoding="utf-8")
    assert main(["review", str(theirs), "--no-browser"]) == 2
    assert "trust" in capfd.readouterr().err
