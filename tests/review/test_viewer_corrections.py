"""Corrections are new files with who and when; reviews are never lost; what was accepted can be trained on."""

from __future__ import annotations

import gzip
import io
import json
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image as Pillow
from starlette.testclient import TestClient
from viewer_parts import (
    AFFINE,
    BASE,
    OURS,
    SIZE,
    cases_by_name,
    correct,
    mask,
    painted,
    read_json,
    read_nifti,
    review,
    save,
    viewing,
    volume,
    voxels,
)

from medseg.case import Image
from medseg.datasets import load_datalist
from medseg.errors import ReviewError
from medseg.outputs import write_mask
from medseg.review.viewer.corrections import Corrections, measurements, sizes
from medseg.review.viewer.folder import read_folder
from medseg.review.viewer.reviews import Reviews


def test_a_correction_is_a_new_file_on_the_images_grid_with_who_and_when(folder: Path, tmp_path: Path):
    before = (folder / "case_0.nii.gz").read_bytes()
    with viewing(tmp_path, folder=folder) as (client, _):
        case = cases_by_name(client)["case_0"]["id"]
        answer = correct(client, case, painted())
        assert answer.status_code == 200, answer.text
        shown = client.get(f"/api/cases/{case}").json()
        body = client.get(shown["urls"]["correction"]).content
        download = client.get(shown["urls"]["mask_download"])
    assert (folder / "case_0.nii.gz").read_bytes() == before
    written = nibabel.load(folder / "corrections" / "case_0_v1.nii.gz")
    np.testing.assert_array_equal(np.asarray(written.dataobj), painted())
    np.testing.assert_allclose(written.affine, AFFINE)
    (record,) = read_json(folder / "corrections" / "case_0.json")["versions"]
    assert (record["by"], record["changed_voxels"], record["version"]) == ("Dr Jürgens", 5, 1)
    assert record["from"]["file"] == "case_0.nii.gz"
    assert len(record["from"]["sha256"]) == len(record["sha256"]) == 64
    assert record["when"].endswith("+00:00")
    # 36 + 5 voxels of 0.75 mm3
    assert record["labels"][1] == {"value": 2, "name": "right lung", "voxels": 41, "volume_ml": 0.0307}
    assert shown["has_correction"]
    assert shown["correction_by"] == {"by": "Dr Jürgens", "when": record["when"]}
    np.testing.assert_array_equal(np.asarray(read_nifti(body, tmp_path).dataobj), painted())
    assert download.content == (folder / "corrections" / "case_0_v1.nii.gz").read_bytes()
    assert "case_0_corrected.nii.gz" in download.headers["content-disposition"]


def test_each_save_is_a_version_and_two_who_paint_at_once_both_keep_theirs(folder: Path, tmp_path: Path):
    other = painted()
    other[11, 9, 0] = 1
    with viewing(tmp_path, folder=folder) as (client, _):
        case = cases_by_name(client)["case_0"]["id"]
        assert "note" not in correct(client, case, painted(), **{"from": 0}).json()
        second = correct(client, case, other, by="B", **{"from": 0}).json()
        third = correct(client, case, other, by="B", **{"from": 2}).json()
    assert "version 1 was saved meanwhile" in second["note"]
    assert (second["version"], second["from"]["file"], second["changed_voxels"]) == (2, "case_0.nii.gz", 6)
    assert (third["from"]["file"], third["changed_voxels"]) == ("case_0_v2.nii.gz", 0)
    names = sorted(path.name for path in (folder / "corrections").iterdir())
    assert names == ["case_0.json", "case_0_v1.nii.gz", "case_0_v2.nii.gz", "case_0_v3.nii.gz"]


def test_two_viewers_that_save_at_once_keep_both_corrections(folder: Path, monkeypatch: pytest.MonkeyPatch):
    def slowly(labels: Image, path: Path) -> None:
        time.sleep(0.05)
        write_mask(labels, path)

    def save_as(who: str) -> None:
        Corrections().save(entry, mask(), names={1: "left lung"}, by=who, based_on=0)

    entry = next(one for one in read_folder(folder, truth=None, datalist=None) if one.name == "case_0")
    monkeypatch.setattr("medseg.outputs.write_mask", slowly)
    both = [threading.Thread(target=save_as, args=(who,)) for who in ("A", "B")]  # each with a viewer of their own
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    versions = read_json(folder / "corrections" / "case_0.json")["versions"]
    assert [one["file"] for one in versions] == ["case_0_v1.nii.gz", "case_0_v2.nii.gz"]
    assert {one["by"] for one in versions} == {"A", "B"}
    assert [Corrections().before(entry, version) for version in (1, 2)] == [0, 1]


def test_a_version_that_a_killed_viewer_left_without_a_record_stays_and_bars_no_other(folder: Path, tmp_path: Path):
    left = folder / "corrections" / "case_0_v1.nii.gz"
    left.parent.mkdir()
    left.write_bytes(b"left")
    with viewing(tmp_path, folder=folder) as (client, _):
        answer = correct(client, cases_by_name(client)["case_0"]["id"], painted(), **{"from": 0}).json()
    assert (answer["version"], answer["file"], left.read_bytes()) == (2, "case_0_v2.nii.gz", b"left")
    assert "note" not in answer


def test_a_picture_is_corrected_rows_downwards(folder: Path, tmp_path: Path):
    labels = np.zeros((16, 20), dtype=np.uint8)  # X along the columns, Y down the rows
    labels[3, 7] = 1
    with viewing(tmp_path, folder=folder) as (client, _):
        case = cases_by_name(client)["xray"]["id"]
        assert correct(client, case, labels[..., None]).status_code == 200  # the page sends "16,20,1"
        shown = np.asarray(Pillow.open(io.BytesIO(client.get(f"/api/cases/{case}/correction.png").content)))
    assert np.argwhere(shown).tolist() == [[7, 3]]  # row 7, column 3
    np.testing.assert_array_equal(np.asarray(Pillow.open(folder / "corrections" / "xray_v1.png")), shown)


WRONG = {
    "another size": (np.zeros((4, 4, 4)), {}, "another size"),
    "a value that is no label": (np.full(SIZE, 7), {}, "no labels"),
    "no gzip": (np.zeros(SIZE), {"content": b"abc"}, "no gzip stream"),
    "too few voxels": (np.zeros(SIZE), {"content": gzip.compress(b"\0" * 10)}, "do not fill"),
    "a bomb": (np.zeros(SIZE), {"content": gzip.compress(b"\0" * 10_000_000)}, "do not fill"),
    "no shape": (np.zeros(SIZE), {"shape": "12;10;8"}, "another size"),
}


@pytest.mark.parametrize(("labels", "more", "told"), WRONG.values(), ids=WRONG)
def test_a_correction_that_does_not_fit_is_refused(
    folder: Path, tmp_path: Path, labels: np.ndarray, more: dict[str, Any], told: str
):
    with viewing(tmp_path, folder=folder) as (client, _):
        case = cases_by_name(client)["case_0"]["id"]
        shape = more.get("shape", ",".join(map(str, labels.shape)))
        answer = client.put(
            f"/api/cases/{case}/correction",
            headers={**OURS, "X-Shape": shape},
            content=more.get("content", voxels(labels)),
        )
    assert answer.status_code == 422
    assert told in answer.json()["error"]
    assert not (folder / "corrections").exists()


def test_accept_reject_and_comment_stay_in_one_file(folder: Path, tmp_path: Path):
    with viewing(tmp_path, folder=folder) as (client, _):
        cases = cases_by_name(client)
        assert review(client, cases["case_0"]["id"], "accepted", by="A").json()["status"] == "accepted"
        review(client, cases["case_1"]["id"], "rejected", "lung cut off", by="B")
        review(client, cases["case_0"]["id"], None, "let me think", by="B")
        shown = cases_by_name(client)["case_0"]["review"]
        assert (shown["status"], shown["comment"], shown["by"]) == (None, "let me think", "B")
        assert review(client, cases["case_0"]["id"], "fine").status_code == 422
    content = read_json(folder / "review.json")["cases"]
    assert (content["case_1"]["status"], content["case_1"]["comment"]) == ("rejected", "lung cut off")
    assert [(one["status"], one["by"]) for one in content["case_0"]["earlier"]] == [("accepted", "A")]
    with viewing(tmp_path, folder=folder) as (client, _):  # the next time
        assert cases_by_name(client)["case_1"]["review"]["comment"] == "lung cut off"


def test_two_browsers_at_once_lose_no_entry(folder: Path, tmp_path: Path):
    with viewing(tmp_path, folder=folder) as (client, viewer):
        ids = [case["id"] for case in client.get("/api/cases").json()]
        cookies = [{viewer.access.cookie: viewer.access.sessions.open()} for _ in ids]
        clients = [TestClient(client.app, base_url=BASE, cookies=one) for one in cookies]

        def work(one: TestClient, case: str) -> None:
            for i in range(5):
                review(one, case, "accepted", f"round {i}")

        threads = [threading.Thread(target=work, args=pair) for pair in zip(clients, ids, strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    content = read_json(folder / "review.json")["cases"]
    said = {name: (one["comment"], len(one["earlier"])) for name, one in content.items()}
    assert said == dict.fromkeys(("case_0", "case_1", "xray"), ("round 4", 4))


def test_two_viewers_on_one_folder_lose_no_entry(tmp_path: Path):
    first, second = Reviews(tmp_path), Reviews(tmp_path)
    first.put("a", status="accepted", comment="", by="", mask=None)
    second.put("b", status="rejected", comment="", by="", mask=None)
    first.put("c", status=None, comment="?", by="", mask=None)
    assert {name: one["status"] for name, one in second.all().items()} == {
        "a": "accepted",
        "b": "rejected",
        "c": None,
    }


def test_a_damaged_review_file_is_never_overwritten(tmp_path: Path):
    path = tmp_path / "review.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ReviewError, match="not overwritten"):
        Reviews(tmp_path).put("a", status="accepted", comment="", by="", mask=None)
    assert path.read_text(encoding="utf-8") == "{"


def test_a_folder_that_cannot_be_written_to_is_told(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    with viewing(tmp_path, folder=folder) as (client, _):
        monkeypatch.setattr("medseg.review.viewer.reviews.write_json", refuse)
        answer = review(client, cases_by_name(client)["case_0"]["id"], "accepted")
    assert (answer.status_code, "cannot be written" in answer.json()["error"]) == (422, True)


def test_the_datalist_has_the_accepted_cases_with_their_best_masks(folder: Path, tmp_path: Path):
    with viewing(tmp_path, folder=folder) as (client, _):
        cases = cases_by_name(client)
        correct(client, cases["case_0"]["id"], painted())
        for name in ("case_0", "case_1"):
            review(client, cases[name]["id"], "accepted", by="A")
        review(client, cases["xray"]["id"], "rejected")
        answer = client.get("/api/export")
    path = tmp_path / "elsewhere" / "datalist.json"
    path.parent.mkdir()
    path.write_bytes(answer.content)
    items = {one["id"]: one for part in ("training", "validation") for one in load_datalist(path, part)}
    assert sorted(items) == ["case_0", "case_1"]
    assert items["case_0"]["image"] == str(tmp_path / "images" / "case_0.nii.gz")
    assert items["case_0"]["label"] == str(folder / "corrections" / "case_0_v1.nii.gz")
    assert items["case_1"]["label"] == str(folder / "case_1.nii.gz")
    content = answer.json()
    assert content["labels"] == {"0": "background", "1": "left lung", "2": "right lung"}
    assert {len(content[part]) for part in ("training", "validation")} == {1}
    told = {one["id"]: one["truth"] for part in ("training", "validation") for one in content[part]}
    assert told == {"case_0": "correction", "case_1": "prediction"}


def test_labels_that_mean_different_things_make_no_datalist(folder: Path, tmp_path: Path):
    manifest = read_json(folder / "case_1_manifest.json")
    for row, name in zip(manifest["labels"], ("right lung", "left lung"), strict=True):
        row["name"] = name
    (folder / "case_1_manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with viewing(tmp_path, folder=folder) as (client, _):
        for case in cases_by_name(client).values():
            review(client, case["id"], "accepted")
        answers = [client.get(path) for path in ("/api/export", "/api/export.zip")]
    assert [answer.status_code for answer in answers] == [422, 422]
    assert "'left lung' in case_0, 'right lung' in case_1" in answers[0].json()["error"]


def test_a_mask_that_was_made_anew_after_it_was_accepted_is_not_exported(folder: Path, tmp_path: Path):
    with viewing(tmp_path, folder=folder) as (client, _):
        cases = cases_by_name(client)
        for name in ("case_0", "case_1"):
            review(client, cases[name]["id"], "accepted")
        assert client.get(f"/api/cases/{cases['case_0']['id']}").json()["notes"] == []
        save(mask(1), folder / "case_0.nii.gz")
        assert "has changed since" in client.get(f"/api/cases/{cases['case_0']['id']}").json()["notes"][0]
        review(client, cases["case_0"]["id"], "accepted", "a fine one")  # a comment does not accept the new mask
        content = client.get("/api/export").json()
        correct(client, cases["case_0"]["id"], painted())  # what someone painted is what someone saw
        assert len(client.get("/api/export").json()["training"]) == 1
    assert (content["left_out"], [one["id"] for one in content["training"]]) == (["case_0"], ["case_1"])


def test_a_correction_with_the_labels_of_another_bundle_is_told_and_not_exported(folder: Path, tmp_path: Path):
    manifest = folder / "case_0_manifest.json"
    with viewing(tmp_path, folder=folder) as (client, _):
        key = cases_by_name(client)["case_0"]["id"]
        assert correct(client, key, painted()).status_code == review(client, key, "accepted").status_code == 200
        assert client.get(f"/api/cases/{key}").json()["notes"] == []
    about = read_json(manifest)
    about["labels"][0]["name"] = "tumour"  # of a later medseg predict with another bundle into the same folder
    manifest.write_text(json.dumps(about), encoding="utf-8")
    with viewing(tmp_path, folder=folder) as (client, _):
        assert "labels of another bundle" in client.get(f"/api/cases/{key}").json()["notes"][0]
        assert "0 accepted cases" in client.get("/api/export").json()["error"]


def test_a_verdict_is_on_the_version_that_was_looked_at(folder: Path, tmp_path: Path):
    with viewing(tmp_path, folder=folder) as (client, _):
        url = f"/api/cases/{cases_by_name(client)['case_0']['id']}"
        for _ in range(2):
            correct(client, url.rpartition("/")[2], painted())
        told = []
        for version in (0, 1, 2):
            said = {"status": None, "comment": str(version), "by": "B", "version": version}
            assert client.put(f"{url}/review", headers=OURS, json=said).status_code == 200
            told.append(client.get(url).json()["notes"])
    stale = ["the mask is not the one that was reviewed: it has changed since"]
    assert told == [stale, [], []]  # both corrections hold the same voxels


def test_nothing_accepted_is_nothing_to_export(folder: Path, tmp_path: Path):
    with viewing(tmp_path, folder=folder) as (client, _):
        for path in ("/api/export", "/api/export.zip"):
            answer = client.get(path)
            assert (answer.status_code, "accept some cases first" in answer.json()["error"]) == (422, True)


def test_the_archive_holds_images_and_labels_of_uploads_too_and_works_anywhere(folder: Path, tmp_path: Path):
    data = (tmp_path / "images" / "case_0.nii.gz").read_bytes()
    with viewing(tmp_path, folder=folder, bundle="ct_lung") as (client, viewer):
        taken = client.post("/api/uploads", headers=OURS, files={"files": ("new.nii.gz", data)}).json()["cases"][0]
        assert correct(client, taken["id"], painted()).status_code == 200  # painted from nothing
        for case in (taken["id"], cases_by_name(client)["case_1"]["id"]):
            review(client, case, "accepted")
        answer = client.get("/api/export.zip")
        assert list(viewer.session.folder.glob("export*")) == []
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        archive.extractall(tmp_path / "moved")
    moved = tmp_path / "moved" / "datalist.json"
    items = [one for part in ("training", "validation") for one in load_datalist(moved, part)]
    new = next(one for one in items if one["id"].startswith("new_"))
    np.testing.assert_array_equal(np.asarray(nibabel.load(new["label"]).dataobj), painted())
    np.testing.assert_array_equal(np.asarray(nibabel.load(new["image"]).dataobj), volume(0).array[0])
    assert str(tmp_path) not in json.dumps(read_json(moved))


def test_a_label_that_no_correction_can_hold_has_no_voxels():
    labels = Image(np.ones((2, 3, 4), np.uint8), np.diag([1.0, 2.0, 5.0, 1.0]), Path("x.nii.gz"))
    rows = sizes(labels, {1: "lung", 300: "nodule"})
    assert [(row["name"], row["voxels"], row["volume_ml"]) for row in rows] == [("lung", 24, 0.24), ("nodule", 0, 0.0)]


def test_a_corrected_chest_x_ray_is_measured_again():
    labels = np.zeros((20, 6), dtype=np.uint8)
    labels[2:6, 2] = 2  # thorax from column 2 to 17: 16 wide
    labels[14:18, 3] = 1
    labels[8:12, 4] = 3  # heart 4 wide
    image = Image(labels, np.eye(4), Path("xray.png"), spacing_known=False)
    names = {1: "left lung", 2: "right lung", 3: "heart"}
    assert measurements(image, names) == {"cardiothoracic_ratio": 0.25}
    assert measurements(image, {1: "heart"}) == {}
