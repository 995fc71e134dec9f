"""The viewer shows what is in the folder: scores, flags, images on their own grid."""

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image as Pillow
from pydicom import dcmread
from viewer_parts import AFFINE, SIZE, cases_by_name, correct, mask, read_nifti, save, viewing, volume, wait_for

from medseg.case import Image
from medseg.dicom import write_xray
from medseg.errors import ReviewError
from medseg.evaluation.table import CaseRecord, write_cases
from medseg.review.viewer.cases import picture_sides
from medseg.review.viewer.entries import Entry
from medseg.review.viewer.folder import read_folder
from medseg.review.viewer.shown import Shown


def test_the_list_has_scores_flags_and_what_there_is(folder: Path, tmp_path: Path):
    with viewing(tmp_path, folder=folder, truth=tmp_path / "truth") as (client, _):
        cases = cases_by_name(client)
    assert list(cases) == ["case_0", "case_1", "xray"]
    first = cases["case_0"]
    assert first["scores"] == {"left lung": {"dice": 0.9}, "right lung": {"dice": 0.7, "hd95_mm": 2.5}}
    assert first["mean_dice"] == pytest.approx(0.8)
    assert first["flags"] == [{"rule": "fragments", "text": "three pieces"}]
    assert (first["has_truth"], first["has_prediction"], first["has_correction"]) == (True, True, False)
    assert first["review"] == {"status": None, "comment": "", "by": "", "when": None}
    assert (cases["xray"]["kind"], cases["xray"]["has_truth"]) == ("picture", False)


@pytest.mark.parametrize(
    ("saved", "dice"),
    [
        (lambda text: "\ufeff" + text.replace("\n", "\r\n"), 0.9),
        (lambda text: text.replace(",", ";"), None),
    ],
    ids=["with a mark", "with semicolons"],
)
def test_scores_that_a_spreadsheet_saved_are_shown_or_told(
    saved: Any, dice: float | None, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    table = folder / "scores.csv"
    table.write_bytes(saved(table.read_text(encoding="utf-8")).encode())
    [first, *_] = read_folder(folder, truth=tmp_path / "truth", datalist=None)
    assert first.scores.get("left lung", {}).get("dice") == dice
    assert ("scores of the folder are not shown" in caplog.text) is (dice is None)


def test_patients_of_the_scored_folder_are_known_wherever_the_truth_is_from(folder: Path, tmp_path: Path):
    records = [CaseRecord(f"case_{i}", "p1") for i in range(2)]
    write_cases(records, folder / "cases.csv", strata={})
    found = {entry.name: entry.patient for entry in read_folder(folder, truth=tmp_path / "truth", datalist=None)}
    assert found == {"case_0": "p1", "case_1": "p1", "xray": None}


def test_a_case_with_truth_that_no_table_scores_is_scored_meanwhile(folder: Path, tmp_path: Path):
    with viewing(tmp_path, folder=folder, truth=tmp_path / "truth") as (client, _):
        scores = wait_for(lambda: cases_by_name(client)["case_1"]["scores"])
        mean = cases_by_name(client)["case_1"]["mean_dice"]
    # mask 3 x 3 x 2 voxels, truth one of these slices; the other block is the same in both
    assert scores["left lung"] == pytest.approx({"dice": 2 * 9 / 27, "iou": 0.5, "precision": 0.5, "recall": 1.0})
    assert scores["right lung"]["dice"] == 1.0
    assert mean == pytest.approx(5 / 6)


@pytest.mark.parametrize(("stored", "shown"), [(["R", "F"], ["L", "R"]), (["LA", "FR"], ["R", "L"]), (None, None)])
def test_the_letters_of_an_x_ray_are_those_of_its_header(tmp_path: Path, stored: Any, shown: Any):
    path = write_xray(Image(np.eye(8, dtype=np.uint8), np.eye(4), Path("made")), tmp_path / "a.dcm", seed=1)
    file = dcmread(path)
    file.PatientOrientation = stored
    file.save_as(path)
    assert picture_sides(Entry("key", "a", "picture", "upload", tmp_path, image=path)) == shown


def test_details_have_labels_volumes_windows_and_the_grid(folder: Path, tmp_path: Path):
    with viewing(tmp_path, folder=folder) as (client, _):
        cases = cases_by_name(client)
        volume_, picture = (client.get(f"/api/cases/{cases[name]['id']}").json() for name in ("case_0", "xray"))
    assert volume_["labels"] == {
        "1": {"name": "left lung", "colour": "#56b4e9"},
        "2": {"name": "right lung", "colour": "#e69f00"},
    }
    # 27 and 36 voxels of 0.75 mm3
    assert volume_["volumes_ml"] == {"left lung": 0.0203, "right lung": 0.027}
    assert (volume_["shape"], volume_["spacing_mm"], volume_["modality"]) == (list(SIZE), [0.5, 0.75, 2.0], "CT")
    assert [w["name"] for w in volume_["window_presets"]] == ["lung", "soft tissue", "bone"]
    assert volume_["window_presets"][0] | {"level": -600.0, "width": 1500.0} == volume_["window_presets"][0]
    assert (picture["measurements"], picture["window_presets"]) == ({"cardiothoracic_ratio": 0.45}, [])
    assert picture["shape"] == [16, 20]


def test_an_x_ray_from_dicom_is_measured_in_mm(folder: Path, tmp_path: Path):
    picture = Image(np.arange(320, dtype=np.uint16).reshape(16, 20), np.diag([0.5, 0.25, 1, 1]), Path("made"))
    write_xray(picture, tmp_path / "images" / "xray.dcm", seed=1)
    manifest = folder / "xray_manifest.json"
    manifest.write_text(manifest.read_text(encoding="utf-8").replace('xray.png"', 'xray.dcm"', 1), encoding="utf-8")
    with viewing(tmp_path, folder=folder) as (client, _):
        key = cases_by_name(client)["xray"]["id"]
        details = client.get(f"/api/cases/{key}").json()
        record = correct(client, key, np.eye(16, 20)).json()
    assert (details["shape"], details["spacing_mm"]) == ([16, 20], [0.5, 0.25])
    assert record["labels"] == [{"value": 1, "name": "heart", "voxels": 16, "area_cm2": 0.02}]  # of 0.125 mm2 each


def test_corrections_of_a_linked_mask_go_into_the_reviewed_folder(tmp_path: Path):
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "a.nii.gz").symlink_to(save(mask(), tmp_path / "elsewhere" / "a.nii.gz"))
    (entry,) = read_folder(tmp_path / "masks", truth=None, datalist=None)
    assert entry.home == (tmp_path / "masks").resolve()


def test_a_volume_and_its_mask_come_on_the_grid_they_are_stored_on(folder: Path, tmp_path: Path):
    with viewing(tmp_path, folder=folder, truth=tmp_path / "truth") as (client, _):
        urls = client.get(f"/api/cases/{cases_by_name(client)['case_0']['id']}").json()["urls"]
        image = read_nifti(client.get(urls["image"]).content, tmp_path)
        assert image.get_data_dtype() == np.int16
        np.testing.assert_array_equal(np.asarray(image.dataobj), volume(0).array[0])
        np.testing.assert_allclose(image.affine, AFFINE)
        labels = read_nifti(client.get(urls["prediction"]).content, tmp_path)
        assert labels.get_data_dtype() == np.uint8
        np.testing.assert_array_equal(np.asarray(labels.dataobj), mask(0).array)
        np.testing.assert_allclose(labels.affine, AFFINE)
        truth = read_nifti(client.get(urls["truth"]).content, tmp_path)
        np.testing.assert_array_equal(np.asarray(truth.dataobj), mask(1).array)
        assert client.get(urls["preview"]).headers["content-type"] == "image/png"
        assert urls["correction"] is None


def test_parts_of_a_volume_and_a_compressed_one_can_be_asked_for(folder: Path, tmp_path: Path):
    with viewing(tmp_path, folder=folder) as (client, _):
        url = client.get(f"/api/cases/{cases_by_name(client)['case_0']['id']}").json()["urls"]["image"]
        whole = client.get(url).content
        part = client.get(url, headers={"Range": "bytes=352-361"})
        assert (part.status_code, part.content) == (206, whole[352:362])
        packed = tmp_path / "packed.nii.gz"
        packed.write_bytes(client.get(f"{url}.gz").content)
        np.testing.assert_array_equal(np.asarray(nibabel.load(packed).dataobj), volume(0).array[0])


def test_a_picture_comes_as_png_whose_labels_are_grey_values(folder: Path, tmp_path: Path):
    with viewing(tmp_path, folder=folder) as (client, _):
        urls = client.get(f"/api/cases/{cases_by_name(client)['xray']['id']}").json()["urls"]
        shown = np.asarray(Pillow.open(io.BytesIO(client.get(urls["image"]).content)))
        labels = np.asarray(Pillow.open(io.BytesIO(client.get(urls["prediction"]).content)))
        assert client.get(urls["image"].replace(".png", ".nii")).status_code == 404
    np.testing.assert_array_equal(shown, np.asarray(Pillow.open(tmp_path / "images" / "xray.png")))
    np.testing.assert_array_equal(labels, np.eye(20, 16, dtype=np.uint8))


def test_a_16_bit_picture_is_shown_between_its_outer_percentiles(folder: Path, tmp_path: Path):
    values = np.linspace(1000, 3000, 20 * 16).reshape(20, 16).astype(np.uint16)
    Pillow.fromarray(values).save(tmp_path / "images" / "xray.png")
    with viewing(tmp_path, folder=folder) as (client, _):
        url = client.get(f"/api/cases/{cases_by_name(client)['xray']['id']}").json()["urls"]["image"]
        shown = np.asarray(Pillow.open(io.BytesIO(client.get(url).content)))
    assert (shown.dtype, shown.min(), shown.max()) == (np.uint8, 0, 255)
    assert abs(int(shown[10, 0]) - 128) <= 1  # the middle of the range is the middle of the greys


@pytest.mark.parametrize(
    ("stored", "shown"),
    [(np.float64, np.float32), (np.int32, np.int16), (np.uint8, np.uint8)],
    ids=["64-bit float", "32-bit whole", "8-bit"],
)
def test_no_wider_type_is_sent_than_the_values_need(folder: Path, tmp_path: Path, stored: type, shown: type):
    values = np.arange(np.prod(SIZE)).reshape(SIZE).clip(max=255).astype(stored)
    nibabel.save(nibabel.Nifti1Image(values, AFFINE, dtype=stored), tmp_path / "images" / "case_0.nii.gz")
    with viewing(tmp_path, folder=folder) as (client, _):
        url = client.get(f"/api/cases/{cases_by_name(client)['case_0']['id']}").json()["urls"]["image"]
        image = read_nifti(client.get(url).content, tmp_path)
    assert image.get_data_dtype() == shown
    np.testing.assert_array_equal(np.asarray(image.dataobj), values)


def test_a_folder_of_mere_masks_is_reviewed_with_a_datalist(tmp_path: Path):
    masks = tmp_path / "masks"
    save(mask(), masks / "a.nii.gz")
    save(volume(), tmp_path / "images" / "a.nii.gz")
    save(mask(1), tmp_path / "truth" / "a.nii.gz")
    item = {"id": "a", "patient": "p", "image": "images/a.nii.gz", "label": "truth/a.nii.gz"}
    datalist = tmp_path / "datalist.json"
    datalist.write_text(json.dumps({"training": [], "validation": [], "test": [item]}), encoding="utf-8")
    with viewing(tmp_path, folder=masks, datalist=datalist) as (client, _):
        case = client.get(f"/api/cases/{cases_by_name(client)['a']['id']}").json()
        assert (case["has_truth"], case["has_prediction"], case["modality"]) == (True, True, "CT")
        assert [label["name"] for label in case["labels"].values()] == ["label 1", "label 2"]
        assert client.get(case["urls"]["image"]).status_code == 200


def test_labels_of_an_atlas_are_named_by_their_numbers_and_none_wraps(tmp_path: Path):
    """16 bits would make 65537 a 1, and counting up to 614454277 takes gigabytes."""
    labels = np.zeros(SIZE, np.int32)
    labels[1:3, 1:3, 1:3], labels[5, 5, 5] = 65537, 614454277
    nibabel.save(nibabel.Nifti1Image(labels, AFFINE), tmp_path / "atlas.nii.gz")
    with viewing(tmp_path, folder=tmp_path) as (client, _):
        case = client.get(f"/api/cases/{cases_by_name(client)['atlas']['id']}").json()
        shown = np.asarray(read_nifti(client.get(case["urls"]["prediction"]).content, tmp_path).dataobj)
    assert list(case["labels"]) == ["65537", "614454277"]
    assert set(np.unique(shown)) == {0, 65535}  # the page refuses it: above 255


def test_an_image_that_is_gone_or_damaged_is_told_and_the_mask_still_shown(folder: Path, tmp_path: Path):
    (tmp_path / "images" / "case_0.nii.gz").unlink()
    (tmp_path / "images" / "case_1.nii.gz").write_bytes(b"nothing of use")
    with viewing(tmp_path, folder=folder) as (client, _):
        cases = cases_by_name(client)
        assert not cases["case_0"]["has_image"]
        assert client.get(f"/api/cases/{cases['case_0']['id']}/prediction.nii").status_code == 200
        answer = client.get(f"/api/cases/{cases['case_1']['id']}/image.nii")
    assert answer.status_code == 422
    assert "case_1.nii.gz" in answer.json()["error"]


def test_what_was_not_looked_at_for_longest_makes_room(folder: Path, tmp_path: Path):
    images = [tmp_path / "images" / f"case_{i}.nii.gz" for i in (0, 1)]
    tmp = tmp_path / "shown"
    tmp.mkdir()
    shown = Shown(tmp, kept_bytes=3000)  # one volume of 352 + 1920 bytes
    first, second = shown.image(images[0]), shown.image(images[1])
    os.utime(first, (1, 1))
    third = shown.labels(folder / "case_0.nii.gz")
    assert (first.exists(), second.exists(), third.exists()) == (False, True, True)
    assert shown.image(images[0]).exists()  # made again


def test_a_folder_without_masks_is_refused(tmp_path: Path):
    empty = tmp_path / "empty"
    (empty / "images").mkdir(parents=True)
    (empty / "images" / "a.nii.gz").write_bytes(b"1")  # what lies below may be no mask
    with pytest.raises(ReviewError, match="holds no masks to review"), viewing(tmp_path, folder=empty):
        pass


def test_a_truth_of_other_names_is_refused_and_not_passed_over(folder: Path, tmp_path: Path):
    save(mask(), tmp_path / "elsewhere" / "case_0_mask.nii.gz")
    with pytest.raises(ReviewError, match=r"no case has a name of --truth.*case_0, case_1, xray; there case_0_mask"):
        read_folder(folder, truth=tmp_path / "elsewhere", datalist=None)


def test_the_state_names_bundles_and_limits_and_no_path(folder: Path, tmp_path: Path):
    with viewing(tmp_path, folder=folder, bundle="cxr_heart_lung") as (client, _):
        answer = client.get("/api/state")
        everything = answer.text + client.get("/api/cases").text
    state = answer.json()
    assert (state["bundle"], state["folder"], state["may_segment"]) == ("cxr_heart_lung", "results", True)
    assert state["bundles"][0]["labels"] == {"1": "left lung", "2": "right lung", "3": "heart"}
    assert {one["name"] for one in state["bundles"]} >= {"ct_lung", "cxr_heart_lung"}
    assert state["limits"]["upload_mb"] == 2000
    assert str(tmp_path) not in everything


def test_an_image_that_is_no_longer_the_one_that_was_segmented_is_told(folder: Path, tmp_path: Path):
    manifest = folder / "case_0_manifest.json"
    content = json.loads(manifest.read_text(encoding="utf-8"))
    image = tmp_path / "images" / "case_0.nii.gz"
    content["input_sha256"] = hashlib.sha256(image.read_bytes()).hexdigest()
    manifest.write_text(json.dumps(content), encoding="utf-8")
    with viewing(tmp_path, folder=folder) as (client, _):
        url = f"/api/cases/{cases_by_name(client)['case_0']['id']}"
        assert client.get(url).json()["notes"] == []
        save(volume(5), image)
        assert "has changed since" in client.get(url).json()["notes"][0]
