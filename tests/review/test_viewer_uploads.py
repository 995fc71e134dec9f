"""Dropped files become cases, or are refused: too many, too large, leading out, bombs."""

from __future__ import annotations

import asyncio
import errno
import io
import stat
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from starlette.testclient import TestClient
from viewer_parts import AFFINE, OURS, SIZE, cases_by_name, read_nifti, save, viewing, volume

from medseg.dicom.write import write_series
from medseg.review.viewer.names import Places, parts_of, safe_name
from medseg.review.viewer.receive import FileReceiver
from medseg.review.viewer.session import Session
from medseg.review.viewer.settings import Limits

UNPACKED = "medseg.review.viewer.archives._RATIO_FROM_BYTES"


def nifti(tmp_path: Path) -> bytes:
    return save(volume(), tmp_path / "made" / "ct.nii.gz").read_bytes()


def png(values: np.ndarray | None = None) -> bytes:
    file = io.BytesIO()
    picture = np.arange(320, dtype=np.uint8).reshape(20, 16) if values is None else values
    Pillow.fromarray(picture).save(file, format="PNG")
    return file.getvalue()


def zipped(files: dict[str, bytes], *, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", compression) as target:
        for name, content in files.items():
            target.writestr(name, content)
    return archive.getvalue()


def upload(client: TestClient, files: dict[str, bytes]) -> Any:
    return client.post("/api/uploads", headers=OURS, files=[("files", (name, data)) for name, data in files.items()])


def left_on_disk(tmp_path: Path) -> list[str]:
    (session,) = (tmp_path / "temporary").iterdir()
    return sorted(path.name for path in (session / "uploads").rglob("*"))


@pytest.fixture
def series(tmp_path: Path) -> dict[str, bytes]:
    """A CT series of 8 slices as files of a folder."""
    folder = tmp_path / "dicom"
    write_series(volume(), folder)
    return {f"study/{path.name}": path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_nifti_becomes_a_volume_on_its_own_grid(tmp_path: Path):
    with viewing(tmp_path) as (client, _):
        answer = upload(client, {"ct.nii.gz": nifti(tmp_path)})
        assert (answer.status_code, answer.json()["kind"], answer.json()["name"]) == (201, "volume", "ct")
        case = client.get(f"/api/cases/{answer.json()['cases'][0]['id']}").json()
        assert (case["source"], case["shape"], case["modality"]) == ("upload", list(SIZE), "CT")
        image = read_nifti(client.get(case["urls"]["image"]).content, tmp_path)
    np.testing.assert_array_equal(np.asarray(image.dataobj), volume().array[0])
    np.testing.assert_allclose(image.affine, AFFINE)


def test_a_picture_becomes_a_picture(tmp_path: Path):
    with viewing(tmp_path) as (client, _):
        answer = upload(client, {"xray.png": png()})
        assert (answer.json()["kind"], answer.json()["name"]) == ("picture", "xray")
        body = client.get(f"/api/cases/{answer.json()['cases'][0]['id']}/image.png").content
    np.testing.assert_array_equal(np.asarray(Pillow.open(io.BytesIO(body))).ravel(), np.arange(320, dtype=np.uint8))


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_a_dicom_series_becomes_one_volume_where_it_lay(tmp_path: Path, series: dict[str, bytes], packed: bool):
    files = {"study.zip": zipped({**series, "__MACOSX/._x": b"", "study/DICOMDIR": b"x"})} if packed else series
    with viewing(tmp_path) as (client, _):
        answer = upload(client, files)
        assert answer.status_code == 201, answer.text
        (case,) = answer.json()["cases"]
        image = read_nifti(client.get(f"/api/cases/{case['id']}/image.nii").content, tmp_path)
    # DICOM has no order of its own: compare where each voxel lies
    turned = np.linalg.inv(image.affine) @ AFFINE
    back = np.rint(turned @ np.array([[3, 4, 5, 1]]).T).astype(int).ravel()[:3]
    assert np.asarray(image.dataobj)[tuple(back)] == volume().array[0][3, 4, 5]
    assert sorted(image.shape) == sorted(SIZE)
    assert "study" not in case["name"]


def test_two_series_in_one_folder_are_two_cases(tmp_path: Path, series: dict[str, bytes]):
    write_series(volume(1), tmp_path / "other")
    other = {f"study/b_{path.name}": path.read_bytes() for path in (tmp_path / "other").iterdir()}
    with viewing(tmp_path) as (client, _):
        cases = upload(client, {**series, **other}).json()["cases"]
        images = [client.get(f"/api/cases/{case['id']}/image.nii").content for case in cases]
    assert len(cases) == 2
    assert images[0] != images[1]


def test_what_cannot_be_read_is_told_and_the_rest_is_taken(tmp_path: Path):
    with viewing(tmp_path) as (client, _):
        answer = upload(client, {"good.png": png(), "bad.nii.gz": b"not at all", "notes.txt": b"hello"}).json()
        assert [case["name"] for case in answer["cases"]] == ["good"]
        assert len(answer["refused"]) == 1
        assert answer["refused"][0].startswith("bad: ")
        nothing = upload(client, {"notes.txt": b"hello"})
    assert nothing.status_code == 422
    assert "nothing that can be shown" in nothing.json()["error"]
    assert str(tmp_path) not in str(answer) + nothing.text


OUT = ["../../evil.png", "/etc/evil.png", "a/../../evil.png", "C:\\evil.png", "..\\evil.png"]


@pytest.mark.parametrize("name", OUT)
def test_no_file_name_leads_out_of_the_folder(tmp_path: Path, name: str):
    with pytest.raises(ValueError, match="leads out"):
        parts_of(name)
    with viewing(tmp_path) as (client, _):
        in_archive = upload(client, {"a.zip": zipped({"good.png": png(), name.replace("\\", "/"): png()})})
        assert in_archive.status_code == 422
        body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="' + name.encode() + b'"\r\n\r\n'
        headers = {**OURS, "Content-Type": "multipart/form-data; boundary=x"}
        if not name.startswith("C:"):  # of a path of Windows the parser leaves the name alone
            given = client.post("/api/uploads", headers=headers, content=body + png() + b"\r\n--x--\r\n")
            assert given.status_code == 422
        assert left_on_disk(tmp_path) == []
    assert list(tmp_path.rglob("evil*")) == []


def test_names_are_kept_plain_and_apart(tmp_path: Path):
    assert safe_name("Röntgen 1.png") == "Röntgen 1.png"
    assert safe_name('a<b>"c|.nii.gz') == "a_b__c_.nii.gz"
    assert safe_name("....") == "image"
    assert safe_name("1.2.840.113619.2.55.3.604688119.969.1268071029.320.dcm").startswith("1.2.840.113619.2.55.3.60")
    assert len(safe_name("x" * 400 + ".nii.gz").encode()) <= 120
    assert safe_name("x" * 400 + ".nii.gz").endswith(".nii.gz")
    places = Places(tmp_path)
    first, twin, other = places.place(("a", "i.png")), places.place(("a", "i.png")), places.place(("b", "i.png"))
    assert (first.parent, twin.name) == (twin.parent, "2_i.png")
    assert other.parent != first.parent
    assert first.parent.parent == tmp_path


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_numbered_files_beside_a_folder_are_all_taken(tmp_path: Path, packed: bool):
    """Folders are numbered in the order in which they come: the second must not be where the file 0002 is."""
    files = dict.fromkeys(("0001", "0002", "0003.png", "sub/x.png"), png())
    with viewing(tmp_path) as (client, _):
        answer = upload(client, {"a.zip": zipped(files)} if packed else files)
    assert answer.status_code == 201, answer.text
    assert sorted(case["name"] for case in answer.json()["cases"]) == ["0003", "x"]  # those without a suffix are none


def test_an_upload_tells_the_modality_by_which_bundles_are_offered(tmp_path: Path):
    with viewing(tmp_path) as (client, _):
        told = [upload(client, files).json() for files in ({"ct.nii.gz": nifti(tmp_path)}, {"xray.png": png()})]
    assert [one["modality"] for one in told] == ["CT", None]


def test_links_devices_and_locked_archives_are_refused(tmp_path: Path):
    def special(kind: int, flags: int = 0) -> bytes:
        archive = io.BytesIO()
        info = zipfile.ZipInfo("link.png")
        info.external_attr, info.flag_bits = (kind | 0o777) << 16, flags
        with zipfile.ZipFile(archive, "w") as target:
            target.writestr(info, "/etc/passwd")
        data = bytearray(archive.getvalue())
        for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            data[data.index(signature) + offset] |= flags
        return bytes(data)

    with viewing(tmp_path) as (client, _):
        answers = {
            "link": upload(client, {"a.zip": special(stat.S_IFLNK)}),
            "device": upload(client, {"a.zip": special(stat.S_IFCHR)}),
            "locked": upload(client, {"a.zip": special(stat.S_IFREG, 0x1)}),
        }
        assert left_on_disk(tmp_path) == []
    told = {name: answer.json()["error"] for name, answer in answers.items()}
    assert "link" in told["link"]
    assert "device" in told["device"]
    assert "password" in told["locked"]


def test_bombs_are_refused_by_number_size_ratio_and_by_what_they_become(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(UNPACKED, 100_000)
    limits = Limits(files=5, unpacked_bytes=2_000_000, ratio=50)
    liar = bytearray(zipped({"a.png": b"\0" * 50_000}))
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = liar.index(signature) + offset
        liar[at : at + 4] = (100).to_bytes(4, "little")  # 50,000 bytes that say they are 100
    bombs = {
        "number": zipped({f"{i}.png": b"" for i in range(6)}),
        "size": zipped({"a.png": b"\0" * 2_000_001}),
        "ratio": zipped({"a.png": b"\0" * 1_000_000}),
        "lie": bytes(liar),
    }
    with viewing(tmp_path, limits=limits) as (client, _):
        answers = {name: upload(client, {"a.zip": bomb}) for name, bomb in bombs.items()}
        assert left_on_disk(tmp_path) == []
        assert upload(client, {"fine.zip": zipped({"x.png": png()})}).status_code == 201
    assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(bombs, 422)
    assert "too many files" in answers["number"].json()["error"]
    assert "too large" in answers["size"].json()["error"]
    assert "grows" in answers["ratio"].json()["error"]


def test_an_archive_in_an_archive_is_not_opened(tmp_path: Path):
    inner = zipped({"x.png": png()})
    with viewing(tmp_path) as (client, _):
        assert upload(client, {"a.zip": zipped({"inner.zip": inner})}).status_code == 422


def test_an_upload_beyond_the_limit_is_cut_off_while_it_comes_in(tmp_path: Path):
    taken = []

    def endless() -> object:
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.nii"\r\n\r\n'
        for i in range(1000):
            taken.append(i)
            yield b"\0" * 100_000

    headers = {**OURS, "Content-Type": "multipart/form-data; boundary=x"}
    with viewing(tmp_path, limits=Limits(upload_bytes=1_000_000, files=2)) as (client, _):
        assert upload(client, {"a.png": b"\0" * 1_100_000}).status_code == 413
        assert client.post("/api/uploads", headers=headers, content=endless()).status_code == 413
        assert upload(client, {f"{i}.png": png() for i in range(3)}).status_code == 413
        assert left_on_disk(tmp_path) == []
        assert client.post("/api/uploads", headers=headers, content=b"garbage").status_code == 422
        assert client.post("/api/uploads", headers=OURS, json={}).status_code == 422


def test_a_boundary_without_end_is_refused(tmp_path: Path):
    with viewing(tmp_path) as (client, _):
        kind = f"multipart/form-data; boundary={'x' * 300}"
        answer = client.post("/api/uploads", headers={**OURS, "Content-Type": kind}, content=b"")
    assert (answer.status_code, "no multipart form" in answer.text) == (422, True)


def test_a_disk_that_becomes_full_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(receiver: FileReceiver, data: bytes, start: int, end: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(FileReceiver, "_data", full)
    with viewing(tmp_path) as (client, _):
        answer = upload(client, {"xray.png": png()})
        assert left_on_disk(tmp_path) == []
    assert (answer.status_code, "No space left on device" in answer.json()["error"]) == (413, True)


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_archive_is_told(tmp_path: Path, compression: int):
    damaged = bytearray(zipped({"notes.txt": b"hello " * 10_000}, compression=compression))
    damaged[60:70] = bytes(255 - value for value in damaged[60:70])
    with viewing(tmp_path) as (client, _):
        answer = upload(client, {"a.zip": bytes(damaged)})
        assert left_on_disk(tmp_path) == []
    assert (answer.status_code, "archive is damaged" in answer.text) == (422, True)


def test_an_upload_that_is_cut_off_is_not_taken_for_a_whole_one(tmp_path: Path):
    headers = {**OURS, "Content-Type": "multipart/form-data; boundary=x"}
    part = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n' + png() + b"\r\n"
    with viewing(tmp_path) as (client, _):
        for body, status in ((part, 422), (part + b"--x", 422), (part + b"--x--\r\n", 201)):
            assert client.post("/api/uploads", headers=headers, content=body).status_code == status
        assert len(client.get("/api/cases").json()) == 1


def test_an_upload_that_is_taken_back_is_no_bug_of_ours(tmp_path: Path):
    part = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    coming = iter([{"type": "http.request", "body": part, "more_body": True}, {"type": "http.disconnect"}])
    answered = []

    async def receive() -> Any:
        return next(coming)

    async def send(message: Any) -> None:
        answered.append(message)

    with viewing(tmp_path) as (client, viewer):
        cookie = f"{viewer.access.cookie}={viewer.access.sessions.open()}"
        headers = {**OURS, "Host": "127.0.0.1", "Origin": "http://127.0.0.1", "Cookie": cookie}
        headers["Content-Type"] = "multipart/form-data; boundary=x"
        scope = {"type": "http", "method": "POST", "scheme": "http", "path": "/api/uploads", "query_string": b""}
        scope["headers"] = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        asyncio.run(client.app(scope, receive, send))  # raises nothing, so that no traceback is printed
        assert left_on_disk(tmp_path) == []
    assert answered[0]["status"] == 400


def test_a_header_that_names_another_file_of_this_computer_reads_nothing(tmp_path: Path):
    secret = tmp_path / "secret.raw"
    secret.write_bytes(b"s" * 1000)
    header = f"NDims = 3\nDimSize = 10 10 10\nElementType = MET_UCHAR\nElementDataFile = {secret}\n"
    nrrd = f"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 10 10 10\nencoding: raw\ndata file: {secret}\n\n"
    with viewing(tmp_path) as (client, _):
        for name, text in (("a.mha", header), ("a.mhd", header), ("a.nrrd", nrrd), ("a.nhdr", nrrd)):
            answer = upload(client, {name: text.encode()})
            assert answer.status_code == 422, name
            assert client.get("/api/cases").json() == []


def test_an_uploaded_case_is_removed_with_its_files_and_others_are_not(folder: Path, tmp_path: Path):
    with viewing(tmp_path, folder=folder) as (client, viewer):
        case = upload(client, {"xray.png": png()}).json()["cases"][0]
        assert client.delete(f"/api/cases/{case['id']}", headers=OURS).status_code == 204
        assert client.get(f"/api/cases/{case['id']}").status_code == 404
        assert list(viewer.session.folder.rglob("*.png")) == []  # neither the upload nor what was made of it
        assert list(viewer.session.uploads.iterdir()) == []
        kept = cases_by_name(client)["case_0"]["id"]
        assert client.delete(f"/api/cases/{kept}", headers=OURS).status_code == 422
    assert (folder / "case_0.nii.gz").is_file()


@pytest.mark.parametrize("key", ["%2e%2e", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "case_0", "results"])
def test_no_address_names_a_file(folder: Path, tmp_path: Path, key: str):
    with viewing(tmp_path, folder=folder) as (client, _):
        for path in (f"/api/cases/{key}/image.nii", f"/static/{key}", f"/static/%2e%2e%2f{key}"):
            assert client.get(path).status_code in (404, 405)


def test_a_manifest_cannot_name_a_file_outside_its_folder(folder: Path, tmp_path: Path):
    outside = tmp_path / "secret.nii.gz"
    outside.write_bytes((folder / "case_0.nii.gz").read_bytes())
    (folder / "case_0.nii.gz").unlink()
    (folder / "case_0.nii.gz").symlink_to(outside)
    text = (folder / "case_1_manifest.json").read_text(encoding="utf-8")
    (folder / "case_1_manifest.json").write_text(
        text.replace('"case_1.nii.gz"', '"../secret.nii.gz"'), encoding="utf-8"
    )
    with viewing(tmp_path, folder=folder) as (client, _):
        assert list(cases_by_name(client)) == ["xray"]


def test_the_folder_of_a_viewer_is_private_and_goes_with_it(tmp_path: Path):
    with viewing(tmp_path) as (client, viewer):
        upload(client, {"xray.png": png()})
        assert stat.S_IMODE(viewer.session.folder.stat().st_mode) == 0o700
        assert any(viewer.session.uploads.rglob("xray.png"))
    assert list((tmp_path / "temporary").iterdir()) == []


def test_what_a_killed_viewer_left_is_removed_by_the_next_and_a_living_one_is_not(tmp_path: Path):
    living = Session(tmp_path)
    killed = Session(tmp_path)
    (killed.uploads / "patient.dcm").touch()
    assert killed._lock is not None
    killed._lock.close()  # as the end of its process does
    (tmp_path / "medseg-review-of-someone-else").mkdir()
    new = Session(tmp_path)
    assert not killed.folder.exists()
    assert living.folder.is_dir()
    assert (tmp_path / "medseg-review-of-someone-else").is_dir()
    for one in (living, new):
        one.close()
        assert not one.folder.exists()
