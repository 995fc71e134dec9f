"""What a segmented case leaves behind, and the report of a run."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Picture

from medseg.case import Image, Prediction
from medseg.errors import OutputError
from medseg.outputs import CaseReport, Report, prepare_output_folder, write_prediction, write_report

NAMES = {0: "background", 1: "left lung", 2: "right lung"}


def case(shape, *, case_id="case1", spacing=(10.0, 10.0, 5.0), known=True) -> tuple[Prediction, Image]:
    rng = np.random.default_rng(0)
    image = Image(rng.normal(size=(1, *shape)), np.diag([*spacing, 1.0]), Path("in"), None, known)
    array = np.zeros(shape, dtype=np.int64)
    array.flat[:3] = 1
    return Prediction(case_id, Image(array, image.affine, image.source, None, known), NAMES), image


def test_a_volume_leaves_mask_preview_and_manifest(tmp_path: Path) -> None:
    prediction, image = case((4, 5, 6))
    names = write_prediction(prediction, image, tmp_path, manifest=lambda: {"bundle": {"name": "ct_lung"}})
    assert names == {"mask": "case1.nii.gz", "preview": "case1_preview.png", "manifest": "case1_manifest.json"}
    assert {file.name for file in tmp_path.iterdir()} == set(names.values())
    np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / "case1.nii.gz").dataobj), prediction.labels.array)
    manifest = json.loads((tmp_path / "case1_manifest.json").read_text())
    assert (manifest["case"], manifest["bundle"]) == ("case1", {"name": "ct_lung"})
    assert manifest["labels"] == [
        {"value": 1, "name": "left lung", "voxels": 3, "volume_ml": 1.5},
        {"value": 2, "name": "right lung", "voxels": 0, "volume_ml": 0.0},
    ]
    digest = hashlib.sha256((tmp_path / "case1.nii.gz").read_bytes()).hexdigest()
    assert manifest["outputs"]["mask"] == {"file": "case1.nii.gz", "sha256": digest}


@pytest.mark.parametrize("second", ["same", "other"], ids=["same_weights", "other_weights"])
def test_files_of_other_weights_do_not_stay_beside_a_new_mask(tmp_path: Path, second: str) -> None:
    """The contours are of the first mask alone; those that somebody changed since stay."""
    prediction, image = case((4, 5, 6))
    more = {"rtstruct": "case1_rtstruct.dcm", "sr": "case1_sr.dcm"}
    for name in more.values():
        (tmp_path / name).write_bytes(b"of the first")
    write_prediction(prediction, image, tmp_path, manifest=lambda: {"weights_sha256": "same"}, more=more)
    (tmp_path / more["sr"]).write_bytes(b"changed")
    names = write_prediction(prediction, image, tmp_path, manifest=lambda: {"weights_sha256": second})
    expected = {*names.values(), more["sr"]} | ({more["rtstruct"]} if second == "same" else set())
    assert {file.name for file in tmp_path.iterdir()} == expected


@pytest.mark.parametrize(("known", "size"), [(True, {"area_cm2": 3.0}), (False, {})])
def test_a_picture_leaves_a_mask_that_holds_the_labels(tmp_path: Path, known, size) -> None:
    prediction, image = case((6, 4), known=known)
    names = write_prediction(prediction, image, tmp_path, manifest=dict)
    with Picture.open(tmp_path / names["mask"]) as mask:
        np.testing.assert_array_equal(np.asarray(mask).T, prediction.labels.array)
    manifest = json.loads((tmp_path / names["manifest"]).read_text())
    assert manifest["labels"][0] == {"value": 1, "name": "left lung", "voxels": 3, **size}


@pytest.mark.parametrize("bad", ["", "../up", "a/b", "a\\b", ".hidden", "a\nb", "x" * 201])
def test_an_id_that_is_no_plain_file_name_is_refused(tmp_path: Path, bad) -> None:
    prediction, image = case((2, 2, 2), case_id=bad)
    with pytest.raises(OutputError, match="case id cannot be a file name"):
        write_prediction(prediction, image, tmp_path, manifest=dict)
    assert list(tmp_path.iterdir()) == []


def test_a_failing_write_is_an_error_for_the_user_and_leaves_no_half_file(tmp_path: Path, monkeypatch) -> None:
    prediction, image = case((2, 2, 2))

    def full(values: object, path: Path, **_: object) -> None:
        path.write_bytes(b"half a file")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("medseg.outputs.masks.write_nifti", full)
    with pytest.raises(OutputError, match=r"case1.*No space left on device"):
        write_prediction(prediction, image, tmp_path, manifest=dict)
    assert list(tmp_path.iterdir()) == []


def test_a_label_map_of_another_size_is_refused(tmp_path: Path) -> None:
    (prediction, _), (_, image) = case((2, 2, 2)), case((2, 2, 3))
    with pytest.raises(OutputError, match=r"got \(2, 2, 2\); expected \(2, 2, 3\)"):
        write_prediction(prediction, image, tmp_path, manifest=dict)


def test_report_names_each_case_and_what_became_of_it(tmp_path: Path) -> None:
    done = CaseReport("a", "done", outputs={"mask": "a.png"}, seconds=1.5)
    failed = CaseReport("b", "failed", reason="file is truncated")
    report = Report((done, failed))
    assert (report.failed, report.exit_code) == ((failed,), 1)
    assert (Report((done,)).failed, Report((done,)).exit_code) == ((), 0)
    read = json.loads(write_report(report, tmp_path).read_text())
    assert (read["done"], read["failed"]) == (1, 1)
    assert read["cases"][0] == {
        "id": "a",
        "status": "done",
        "reason": None,
        "outputs": {"mask": "a.png"},
        "seconds": 1.5,
        "resumed": False,
        "notes": [],
        "flags": [],
    }
    assert (read["cases"][1]["id"], read["cases"][1]["reason"]) == ("b", "file is truncated")


def test_output_folder_is_made_with_its_parents_and_may_exist(tmp_path: Path) -> None:
    for _ in range(2):
        prepare_output_folder(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


@pytest.mark.parametrize("inside", [False, True], ids=["is-a-file", "below-a-file"])
def test_output_folder_that_cannot_be_is_refused(tmp_path: Path, inside) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(OutputError, match="expected a folder"):
        prepare_output_folder(file / "sub" if inside else file)
