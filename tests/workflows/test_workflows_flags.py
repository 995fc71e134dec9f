"""Failure flags from the command to manifest, table and console; learnt from training and validation cases alone."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from medseg.cli import main
from medseg.datasets import load_datalist
from medseg.errors import BundleError, DataError
from medseg.evaluation.flag_record import read_flag_record
from medseg.evaluation.made_failures import KINDS
from medseg.workflows import CaseOptions, evaluate, predict
from medseg.workflows import flags as flags_workflow
from medseg.workflows.flags import learn_limits, learn_predictor


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def datalist(volumes: Path) -> Path:
    """One case to train on, four or five to validate and fit on, by patient; one to test."""
    content = read(volumes)
    cases = [*content["training"], *content["validation"]]
    (volumes.parent / "unreadable.nii.gz").write_bytes(b"no image")  # who looked at test cases would be told so
    test = [{**item, "image": "unreadable.nii.gz"} for item in content["test"]]
    content |= {"training": cases[:1], "validation": [*cases[1:]], "test": test}
    path = volumes.parent / "validate.json"
    path.write_text(json.dumps(content))
    return path


@pytest.fixture(scope="module")
def bundle(run: Path, datalist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained run with limits, made by the command."""
    folder = Path(shutil.copytree(run, tmp_path_factory.mktemp("flags") / "bundle"))
    assert main(["flags", "limits", str(folder), "--datalist", str(datalist), "--quiet"]) == 0
    return folder


@pytest.mark.parametrize("share", [5.0, 0.0, float("nan")])
def test_a_share_that_is_none_is_refused_before_any_case_is_looked_at(share: float, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"share of cases that may be flagged; got {share}; expected between 0 and 1"):
        learn_limits("mr_hippocampus", datalist=tmp_path / "none.json", share_flagged=share)


def test_limits_tell_where_they_come_from(bundle: Path) -> None:
    record = read_flag_record(bundle / "models" / "flags.json")
    assert record is not None
    assert record.predictor is None
    assert (record.about["training_cases"], record.about["validation_cases"]) == (1, 4)
    assert record.about["limits_of_network_from"] == "training and validation"  # fewer than ten patients
    assert record.limits.always == ("anterior", "posterior")
    assert {"volume_ml", "border_share", "fragments", "entropy"} <= record.limits.regions["anterior"].keys()
    assert {"mean", "sd", "p95", "roughness"} <= record.limits.intensity.keys()


def test_limits_of_size_and_intensity_are_those_of_training_truth(bundle: Path, datalist: Path) -> None:
    (item,) = load_datalist(datalist, "training")
    truth = np.asarray(nibabel.load(item["label"]).dataobj)
    limit = read(bundle / "models" / "flags.json")["limits"]["regions"]["anterior"]["volume_ml"]
    assert limit["seen"] == pytest.approx([(truth == 1).sum() / 1000] * 2, rel=1e-5)
    assert limit["low"] < limit["median"] < limit["high"]


def spoilt_copies(volumes: Path, folder: Path) -> Path:
    """The test image as it is, ten times as bright in one corner, and empty but for noise."""
    (item,) = load_datalist(volumes, "test")
    image = nibabel.load(item["image"])
    values = np.asarray(image.dataobj).astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 1, values.shape).astype(np.float32)
    folder.mkdir()
    for name, array in (("good", values), ("noise", noise)):
        nibabel.save(nibabel.Nifti1Image(array, image.affine), folder / f"{name}.nii.gz")
    return folder


def test_predict_flags_what_is_not_like_training(
    bundle: Path, volumes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = spoilt_copies(volumes, tmp_path / "images")
    assert main(["predict", str(bundle), "-i", str(images), "-o", str(tmp_path / "out"), "--device", "cpu"]) == 0
    manifest = read(tmp_path / "out" / "noise_manifest.json")
    assert manifest["flags"]
    assert {"rule", "region", "value", "limit", "text"} == manifest["flags"][0].keys()
    assert any(flag["rule"] == "intensity" for flag in manifest["flags"])
    assert manifest["flag_excess"] > 1
    assert set(manifest["features"]["regions"]) == {"anterior", "posterior"}
    with (tmp_path / "out" / "flags.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["text"] for row in table if row["case"] == "noise"] == [flag["text"] for flag in manifest["flags"]]
    said = capsys.readouterr().out
    assert "flagged, to be looked at first" in said
    assert f"  noise: {manifest['flags'][0]['text']}" in said
    report = {case["id"]: case for case in read(tmp_path / "out" / "report.json")["cases"]}
    assert report["noise"]["flags"] == [flag["text"] for flag in manifest["flags"]]


def test_without_a_record_nothing_is_flagged(run: Path, volumes: Path, tmp_path: Path) -> None:
    (item,) = load_datalist(volumes, "test")
    (tmp_path / "flags.csv").write_text("case,rule,region,value,limit,text\n")  # of an earlier run
    predict(run, inputs=item["image"], output_dir=tmp_path)
    assert "flags" not in read(next(tmp_path.glob("*_manifest.json")))
    assert not (tmp_path / "flags.csv").exists()


def test_a_record_of_other_weights_is_left_alone_with_a_warning(
    bundle: Path, volumes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    content = read(other / "models" / "flags.json")
    (other / "models" / "flags.json").write_text(json.dumps({**content, "weights_sha256": "0" * 64}))
    (item,) = load_datalist(volumes, "test")
    predict(other, inputs=item["image"], output_dir=tmp_path / "out")
    assert "made with other weights, no flags" in caplog.text
    assert "flags" not in read(next((tmp_path / "out").glob("*_manifest.json")))


def test_new_limits_are_applied_to_cases_that_were_done(bundle: Path, volumes: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    images = spoilt_copies(volumes, tmp_path / "images")
    again = CaseOptions(resume=True)
    predict(other, inputs=images, output_dir=tmp_path / "out")
    first = (tmp_path / "out" / "flags.csv").read_text()
    report = predict(other, inputs=images, output_dir=tmp_path / "out", options=again)
    assert all(case.resumed for case in report.cases)
    assert (tmp_path / "out" / "flags.csv").read_text() == first
    content = read(other / "models" / "flags.json")
    for limit in content["limits"]["intensity"].values():
        limit |= {"low": -1e9, "high": 1e9}
    (other / "models" / "flags.json").write_text(json.dumps(content))
    report = predict(other, inputs=images, output_dir=tmp_path / "out", options=again)
    assert not any(case.resumed for case in report.cases)
    assert "intensity" not in (tmp_path / "out" / "flags.csv").read_text()


def test_evaluate_tells_patients_confidence_and_flags(bundle: Path, volumes: Path, tmp_path: Path) -> None:
    (item,) = load_datalist(volumes, "test")
    (tmp_path / "t.csv").write_text(f"patient,scanner\n{item['patient']},one\n")
    evaluate(bundle, datalist=volumes, output_dir=tmp_path / "s", strata=[f"{tmp_path / 't.csv'}:scanner"])
    with (tmp_path / "s" / "cases.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["case"], row["patient"], row["stratum:scanner"]) == (item["id"], item["patient"], "one")
    manifest = read(tmp_path / "s" / f"{item['id']}_manifest.json")
    classes = [one for one in manifest["confidence"] if one["value"] != 0]
    mean = np.average([one["mean_confidence"] for one in classes], weights=[one["voxels"] for one in classes])
    assert float(row["confidence"]) == pytest.approx(mean, abs=1e-5)
    assert manifest["case_confidence"]["mean_confidence"] == pytest.approx(mean, abs=1e-5)
    summary = read(tmp_path / "s" / "summary.json")
    assert summary["failure_flags"]["cases"] == 1
    assert summary["bootstrap"]["by"] == "patient"
    assert summary["strata"]["scanner"]["one"]["cases"] == 1
    assert 0 <= summary["calibration"]["brier"] <= 2
    assert summary["calibration"]["case_confidence"]["cases"] == 1


def test_a_regression_needs_limits_and_patients(run: Path, bundle: Path, volumes: Path, datalist: Path) -> None:
    with pytest.raises(DataError, match="1 patients; expected at least 5"):
        learn_predictor(bundle, datalist=volumes, dice_below=0.8)
    with pytest.raises(DataError, match="the Dice below which a case has failed; got 8"):
        learn_predictor(bundle, datalist=datalist, dice_below=8)
    content = read(volumes)
    cases = [item for part in ("training", "validation", "test") for item in content[part]]
    (volumes.parent / "all.json").write_text(json.dumps({**content, "training": [], "validation": cases, "test": []}))
    with pytest.raises(DataError, match="its validation part holds test cases of the run"):
        learn_predictor(bundle, datalist=volumes.parent / "all.json", dice_below=0.8)


def test_a_regression_is_fitted_on_validation_cases_and_made_failures(
    run: Path,
    bundle: Path,
    volumes: Path,
    datalist: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few = {kind: KINDS[kind] for kind in ("noise, twice the contrast", "flipped, second axis")}
    monkeypatch.setattr(flags_workflow, "KINDS", few)
    content = read(datalist)
    content["validation"], content["training"] = [*content["validation"], *content["training"]], []
    five = volumes.parent / "five.json"
    five.write_text(json.dumps(content))
    with pytest.raises(BundleError, match=r"no limits of these weights.*medseg flags limits"):
        learn_predictor(run, datalist=five, dice_below=0.5)
    other = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    assert main(["flags", "fit", str(other), "--datalist", str(five), "--dice-below", "0.5"]) == 0
    said = capsys.readouterr().out
    assert "anterior: predicted Dice is off by 0." in said
    record = read_flag_record(other / "models" / "flags.json")
    assert record is not None
    assert record.predictor is not None
    regression = record.predictor.regions["anterior"]
    assert (regression.cases, regression.patients) == (5 * (1 + 2), 5)
    assert 0 < regression.error["mae"] < 1
    (item,) = load_datalist(volumes, "test")
    predict(other, inputs=item["image"], output_dir=tmp_path / "out")
    manifest = read(next((tmp_path / "out").glob("*_manifest.json")))
    assert set(manifest["predicted_dice"]) == {"anterior", "posterior"}
    assert all(0 <= dice <= 1 for dice in manifest["predicted_dice"].values())
    monkeypatch.setattr(flags_workflow, "learn_limits", lambda *_, **__: replace(record, predictor=None))
    capsys.readouterr()
    for told in (True, False):  # new limits end the regression, which is told the once that there is one
        assert main(["flags", "limits", str(other), "--datalist", str(five)]) == 0
        assert ("medseg flags fit makes it anew" in capsys.readouterr().out) == told
    (other / "models" / "flags.json").write_text("damaged")
    assert not flags_workflow.has_regression(other / "models" / "flags.json")


@pytest.mark.parametrize("name", ["ct_lung", "ct_sarcoma", "cxr_heart_lung", "mr_hippocampus"])
def test_the_shipped_bundles_have_limits_of_their_own_weights(name: str) -> None:
    from medseg.bundle import find_bundle
    from medseg.files import sha256_of

    models = find_bundle(name) / "models"
    record = read_flag_record(models / "flags.json")
    assert record is not None
    assert record.weights_sha256 == sha256_of(models / "model.pt")
    assert record.about["training_cases"] > record.about["validation_cases"]
