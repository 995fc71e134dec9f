"""Every bundle that ships trains, evaluates and predicts with its smoke overlay, on any data set."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medseg.bundle import find_bundle, read_metadata
from medseg.datasets import load_datalist, prepare
from medseg.intake import read_image, read_label
from medseg.outputs import Report
from medseg.workflows import evaluate, predict, train

TINY_DATA = {
    "ct_lung": "coarse_volumes",
    "ct_sarcoma": "coarse_volumes",
    "cxr_heart_lung": "pictures",
    "mr_hippocampus": "volumes",
}
REAL_DATA = {
    "ct_sarcoma": ("pairs", "sarcoma_ct_mr/CT"),
    "cxr_heart_lung": ("montgomery", "cxr_wingspan"),
    "mr_hippocampus": ("decathlon", "hippocampus"),
}


def smoke(name: str, datalist: Path, folder: Path) -> tuple[Path, Report, Report]:
    """Train, evaluate and predict with the smoke overlay."""
    run = train(name, datalist=datalist, run_dir=folder / "run", overlays=["smoke"])
    weights = {"weights": str(run / "models" / "model.pt")}
    scored = evaluate(name, datalist=datalist, output_dir=folder / "scores", overlays=["smoke"], overrides=weights)
    image = load_datalist(datalist, "test")[0]["image"]
    predicted = predict(name, inputs=image, output_dir=folder / "masks", overlays=["smoke"], overrides=weights)
    return run, scored, predicted


def check_predicted(report: Report, datalist: Path, folder: Path, labels: set[int]) -> None:
    """One mask of the bundle's labels, on the grid of its image."""
    case = load_datalist(datalist, "test")[0]
    assert [(one.id, one.status) for one in report.cases] == [(case["id"], "done")]
    mask, image = read_label(folder / report.cases[0].outputs["mask"]), read_image(Path(case["image"]))
    assert mask.array.shape == image.array.shape[1:]
    np.testing.assert_allclose(mask.affine, image.affine, atol=1e-5)
    assert set(np.unique(mask.array).tolist()) <= labels


@pytest.mark.parametrize("name", TINY_DATA)
def test_smoke_on_tiny_images(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    datalist = request.getfixturevalue(TINY_DATA[name])
    run, scored, predicted = smoke(name, datalist, tmp_path)
    assert json.loads((run / "run.json").read_text(encoding="utf-8"))["epoch"] == 1
    assert [case.status for case in scored.cases] == ["done"]
    labels = read_metadata(find_bundle(name)).labels
    summary = json.loads((tmp_path / "scores" / "summary.json").read_text(encoding="utf-8"))
    assert set(summary["regions"]) >= {label for value, label in labels.items() if value > 0}
    check_predicted(predicted, datalist, tmp_path / "masks", set(labels))


@pytest.mark.real_data
@pytest.mark.parametrize("name", REAL_DATA)
def test_smoke_on_all_of_the_real_images(name: str, tmp_path: Path, real_data: Path) -> None:
    layout, folder = REAL_DATA[name]
    datalist = prepare(layout, real_data / folder, tmp_path / "datalist.json")
    _, scored, predicted = smoke(name, datalist, tmp_path)
    test_cases = [case["id"] for case in load_datalist(datalist, "test")]
    assert [case.id for case in scored.cases] == test_cases[:4]
    assert scored.failed == ()
    check_predicted(predicted, datalist, tmp_path / "masks", set(read_metadata(find_bundle(name)).labels))


@pytest.mark.real_data
def test_smoke_weights_of_the_lung_bundle_segment_a_whole_chest_ct(
    coarse_volumes: Path, tmp_path: Path, real_data: Path
) -> None:
    run = train("ct_lung", datalist=coarse_volumes, run_dir=tmp_path / "run", overlays=["smoke"])
    image = real_data / "chest_ct_nlst" / "ct.nii.gz"
    report = predict(run, inputs=image, output_dir=tmp_path / "masks")
    assert [(case.id, case.status) for case in report.cases] == [("ct", "done")]
    assert read_label(tmp_path / "masks" / "ct.nii.gz").array.shape == (512, 512, 143)


def test_a_limited_number_of_cases_is_told(pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    limit = {"cases_at_most": 2}
    train("cxr_heart_lung", datalist=pictures, run_dir=tmp_path / "run", overlays=["smoke"], overrides=limit)
    assert "training: only 2 of 4 cases are used, as the configuration says" in caplog.text
    assert "validation: only" not in caplog.text


def test_the_sarcoma_bundle_refuses_a_scan_that_was_not_cropped_round_a_box_and_goes_on(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    noise = np.random.default_rng(0)
    for name, size, spacing_mm in (("crop", 40, 4.0), ("scan", 60, 8.0)):
        hu = noise.normal(40, 20, (size, size, size)).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(hu, np.diag([spacing_mm] * 3 + [1.0])), images / f"{name}.nii.gz")
    report = predict("ct_sarcoma", inputs=images, output_dir=tmp_path / "masks")
    assert {case.id: case.status for case in report.cases} == {"crop": "done", "scan": "failed"}
    (failed,) = report.failed
    # at 2 x 2 x 3.3 mm the grid ends with the last whole voxel between the outer centres of the 480 mm
    expected = r"not cropped round a box; got 474 x 474 x 475 mm; expected sides of at most 450 mm; draw a box .* 50 mm"
    assert re.search(expected, str(failed.reason))
