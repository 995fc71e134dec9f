"""The whole corridor on real images: prepare, a few steps of training, evaluation, prediction, scoring."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medseg.bundle import find_bundle
from medseg.case import Image
from medseg.datasets import prepare, read_datalist
from medseg.geometry import reorient, voxel_volume_ml
from medseg.intake import read_image, read_label
from medseg.workflows import evaluate, predict, score, train

pytestmark = pytest.mark.real_data

BUNDLES = [
    pytest.param("cxr_heart_lung", "montgomery", "cxr_wingspan", id="cxr_heart_lung"),
    pytest.param("mr_hippocampus", "decathlon", "hippocampus", id="mr_hippocampus"),
    pytest.param("ct_sarcoma", "pairs", "sarcoma_ct_mr/CT", id="ct_sarcoma"),
]


@pytest.mark.parametrize(("bundle", "layout", "folder"), BUNDLES)
def test_bundle_runs_on_its_real_data(bundle: str, layout: str, folder: str, real_data: Path, tmp_path: Path) -> None:
    datalist = prepare(layout, real_data / folder, tmp_path / "data" / "datalist.json")
    run = train(bundle, datalist=datalist, run_dir=tmp_path / "run", overlays=["smoke"])
    assert evaluate(run, datalist=datalist, output_dir=tmp_path / "scores").failed == ()
    summary = json.loads((tmp_path / "scores" / "summary.json").read_text(encoding="utf-8"))
    case = read_datalist(datalist)["test"][0]
    image, label = (datalist.parent / case[key] for key in ("image", "label"))
    assert summary["cases"] >= 1
    assert predict(run, inputs=image, output_dir=tmp_path / "masks").failed == ()
    masks = [p for p in (tmp_path / "masks").iterdir() if p.name in (f"{case['id']}.png", f"{case['id']}.nii.gz")]
    assert read_label(masks[0]).array.shape == read_label(label).array.shape
    assert score(masks[0], label, output_dir=tmp_path / "score").failed == ()


def test_shipped_lung_weights_find_the_lungs_of_a_real_ct(real_data: Path, tmp_path: Path) -> None:
    """Against the air inside the body, found by threshold and components: independent of any network."""
    ct = real_data / "chest_ct_nlst" / "ct.nii.gz"
    assert predict("ct_lung", inputs=ct, output_dir=tmp_path).failed == ()
    predicted = reorient(read_label(tmp_path / "ct.nii.gz"), "RAS")
    assert nibabel.load(tmp_path / "ct.nii.gz").shape == nibabel.load(ct).shape
    left, right = (predicted.array == value for value in (1, 2))
    volume_ml = [mask.sum() * voxel_volume_ml(predicted.affine) for mask in (left, right)]
    assert all(1000 < each < 5000 for each in volume_ml), volume_ml
    assert _centre_x(left) < _centre_x(right), "in RAS x grows to the right"
    assert _dice(left | right, _air_inside_the_body(reorient(read_image(ct), "RAS"))) >= 0.93


def test_shipped_sarcoma_weights_find_a_tumour_that_they_never_saw_in_a_dicom_series(
    real_data: Path, tmp_path: Path
) -> None:
    study = real_data / "sarcoma_dicom_rtstruct" / "STS_003"
    (case,) = predict("ct_sarcoma", inputs=study / "CT", output_dir=tmp_path).cases
    predicted, truth = (
        read_label(path).array > 0 for path in (tmp_path / case.outputs["mask"], study / "CT_mask.nii.gz")
    )
    assert 2 * (predicted & truth).sum() / (predicted.sum() + truth.sum()) > 0.8  # it was 0.84


@pytest.mark.parametrize(
    ("bundle", "layout", "folder", "regions", "least"),
    [
        pytest.param("cxr_heart_lung", "montgomery", "cxr_wingspan", ["lungs"], 0.96, id="lungs"),
        pytest.param("cxr_heart_lung", "montgomery", "cxr_wingspan", ["heart"], 0.92, id="heart"),
        pytest.param("mr_hippocampus", "decathlon", "hippocampus", ["anterior", "posterior"], 0.87, id="hippocampus"),
    ],
)
def test_shipped_weights_keep_their_promise_on_the_test_split(
    bundle: str,
    layout: str,
    folder: str,
    regions: Sequence[str],
    least: float,
    real_data: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    summary = _shipped_summary(bundle, layout, real_data / folder, tmp_path_factory)
    assert np.mean([summary["regions"][name]["dice"]["mean"] for name in regions]) >= least


_SUMMARIES: dict[str, dict[str, dict[str, dict[str, dict[str, float]]]]] = {}


def _shipped_summary(
    bundle: str, layout: str, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """Scores of the shipped weights on the test part of seed 42, made once for all tests of a bundle."""
    if bundle not in _SUMMARIES:
        assert (find_bundle(bundle) / "models" / "model.pt").is_file()
        work = tmp_path_factory.mktemp(bundle)
        datalist = prepare(layout, folder, work / "datalist.json")
        evaluate(bundle, datalist=datalist, output_dir=work / "scores")
        _SUMMARIES[bundle] = json.loads((work / "scores" / "summary.json").read_text(encoding="utf-8"))
    return _SUMMARIES[bundle]


def _air_inside_the_body(ct: Image) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Voxels under -400 HU that are not joined to the air round the body, the two largest pieces of it, holes filled.

    Every second voxel along X and Y is enough for an overlap and four times faster.
    """
    from scipy import ndimage

    air = ct.array[0, ::2, ::2] < -400
    pieces, count = ndimage.label(air)
    outside = np.unique(
        np.concatenate([pieces[0].ravel(), pieces[-1].ravel(), pieces[:, 0].ravel(), pieces[:, -1].ravel()])
    )
    sizes = ndimage.sum_labels(air, pieces, np.arange(count + 1))
    sizes[outside] = 0
    lungs = np.isin(pieces, np.argsort(sizes)[-2:][sizes[np.argsort(sizes)[-2:]] > 0.1 * sizes.max()])
    return np.asarray(ndimage.binary_closing(lungs, iterations=3))


def _dice(
    full: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], reference: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
) -> float:
    mask = full[::2, ::2]
    return float(2 * (mask & reference).sum() / (mask.sum() + reference.sum()))


def _centre_x(mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> float:
    return float(np.nonzero(mask)[0].mean())
