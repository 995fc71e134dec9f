"""Many cases: the bad ones are named, the good ones done; what is written, where, and what the numbers are."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from medseg.datasets import load_datalist
from medseg.errors import BundleError, DataError, OutputError
from medseg.networks import UNet2d
from medseg.workflows import EvaluateCases, PredictCases, evaluate, predict, score, train


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def xray_run(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train("cxr_heart_lung", datalist=pictures, run_dir=tmp_path_factory.mktemp("runs") / "x", overlays=["smoke"])


def test_a_corrupt_file_among_good_ones_fails_alone(run: Path, volumes: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    good = [case["image"] for case in load_datalist(volumes, "training")[:2]]
    for file in good:
        shutil.copy(file, images)
    (images / "broken.nii.gz").write_bytes(Path(good[0]).read_bytes()[:300])
    nibabel.save(nibabel.Nifti1Image(np.zeros((8, 8, 8), np.int16), np.eye(4)), images / "constant.nii.gz")
    report = predict(run, inputs=images, output_dir=tmp_path / "masks")
    assert [(case.id, case.status) for case in report.cases if case.id in ("broken", "constant")] == [
        ("broken", "failed"),
        ("constant", "failed"),
    ]
    assert report.exit_code == 1
    done = sorted(Path(file).name.removesuffix(".nii.gz") for file in good)
    assert sorted(case.id for case in report.cases if case.status == "done") == done
    suffixes = (".nii.gz", "_preview.png", "_manifest.json")
    expected = {f"{case}{suffix}" for case in done for suffix in suffixes} | {"report.json"}
    assert {path.name for path in (tmp_path / "masks").iterdir()} == expected
    written = {case["id"]: case for case in read(tmp_path / "masks" / "report.json")["cases"]}
    assert "broken.nii.gz" in written["broken"]["reason"]
    assert written[done[0]]["status"] == "done"


def test_a_mask_lies_where_its_image_lies(run: Path, tmp_path: Path, volumes: Path) -> None:
    image = nibabel.load(load_datalist(volumes, "test")[0]["image"])
    turned = image.as_reoriented(nibabel.orientations.axcodes2ornt(("P", "I", "R")))  # another order and direction
    nibabel.save(turned, tmp_path / "turned.nii.gz")
    predict(run, inputs=tmp_path / "turned.nii.gz", output_dir=tmp_path / "masks")
    mask = nibabel.load(tmp_path / "masks" / "turned.nii.gz")
    assert mask.shape == turned.shape
    np.testing.assert_allclose(mask.affine, turned.affine, atol=1e-5)
    assert np.issubdtype(mask.get_data_dtype(), np.integer)


def test_pictures_give_label_pngs_of_their_size_and_measurements(
    xray_run: Path, pictures: Path, tmp_path: Path
) -> None:
    report = evaluate(xray_run, datalist=pictures, output_dir=tmp_path)
    (case,) = report.cases
    for kind in ("preview", "comparison", "manifest"):
        assert case.outputs[kind].startswith(f"{case.id}_{kind}.")
    with Pillow.open(tmp_path / f"{case.id}.png") as mask:
        assert (mask.size, mask.mode) == ((64, 64), "L")
        assert set(np.unique(np.asarray(mask)).tolist()) <= {0, 1, 2, 3}
    (measured,) = rows(tmp_path / "measurements.csv")
    assert (measured["case"], measured["measurement"]) == (case.id, "cardiothoracic_ratio")
    # The spot that stands for the heart is 10 columns wide.
    (item,) = load_datalist(pictures, "test")
    with Pillow.open(item["label"]) as picture:
        truth = np.asarray(picture)
    lungs = np.flatnonzero(np.isin(truth, (1, 2)).any(0))
    assert float(measured["truth"]) == pytest.approx(10 / (lungs[-1] - lungs[0] + 1), rel=1e-5)
    ratio = read(tmp_path / "summary.json")["measurements"]["cardiothoracic_ratio"]
    assert ratio["cases"] == ratio["missing"]["prediction"] + (ratio["error"] or {"n": 0})["n"] == 1
    columns = rows(tmp_path / "scores.csv")[0]
    assert {"hd95_px", "assd_px", "nsd_2px", "nsd_5px", "truth_px"} <= set(columns)  # the spacing is unknown
    assert not [name for name in columns if name.endswith(("mm", "cm2", "ml"))]


def test_scores_are_those_of_the_masks_that_were_written(run: Path, volumes: Path, tmp_path: Path) -> None:
    report = evaluate(run, datalist=volumes, output_dir=tmp_path / "scores")
    (case,) = load_datalist(volumes, "test")
    truth = nibabel.load(case["label"]).get_fdata()
    mask = nibabel.load(tmp_path / "scores" / report.cases[0].outputs["mask"]).get_fdata()
    table = {row["region"]: float(row["dice"]) for row in rows(tmp_path / "scores" / "scores.csv")}
    for value, name in ((1, "anterior"), (2, "posterior")):
        total = (truth == value).sum() + (mask == value).sum()
        assert table[name] == pytest.approx(2 * ((truth == value) & (mask == value)).sum() / total, abs=1e-6)
    summary = read(tmp_path / "scores" / "summary.json")
    assert (summary["cases"], summary["failed_cases"]) == (1, [])
    assert summary["regions"]["anterior"]["nsd_1mm"]["n"] == 1  # as the bundle declares
    assert summary["regions"]["anterior"]["hd95_mm"]["n"] == 1


def test_masks_without_scores_do_not_come_beside_the_scores_of_others(run: Path, volumes: Path, tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text("of an evaluation", encoding="utf-8")
    with pytest.raises(OutputError, match=r"got the folder of an evaluation: .* name another folder"):
        predict(run, inputs=volumes.parent / "images", output_dir=tmp_path)
    with pytest.raises(OutputError, match="got the folder of an evaluation"):
        PredictCases.check_folder(tmp_path)
    EvaluateCases.check_folder(tmp_path)


def test_scores_of_a_region_that_the_bundle_does_not_have_are_refused(run: Path, volumes: Path, tmp_path: Path) -> None:
    wanted = {"cases::scores::tubes": ["vessel"]}
    with pytest.raises(BundleError, match=r"vessel.*anterior, posterior"):
        evaluate(run, datalist=volumes, output_dir=tmp_path / "scores", overrides=wanted)


def test_a_test_case_that_cannot_be_read_is_named_in_report_and_summary(
    run: Path, volumes: Path, tmp_path: Path
) -> None:
    content = read(volumes)
    shutil.copytree(volumes.parent, tmp_path / "data")
    (item,) = content["test"]
    (tmp_path / "data" / item["image"]).write_bytes(b"no image")
    report = evaluate(run, datalist=tmp_path / "data" / "datalist.json", output_dir=tmp_path / "scores")
    assert [(case.id, case.status) for case in report.cases] == [(item["id"], "failed")]
    summary = read(tmp_path / "scores" / "summary.json")
    assert (summary["cases"], summary["failed_cases"]) == (0, [item["id"]])


def test_nothing_is_started_without_images(run: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError):
        predict(run, inputs=tmp_path / "empty", output_dir=tmp_path / "masks")
    assert not (tmp_path / "masks").exists()


@pytest.mark.parametrize("wrong", ["absent", "empty", "notes.txt", "file as output", "output under a file"])
def test_a_wrong_path_is_told_before_anything_heavy_is_loaded(run: Path, tmp_path: Path, wrong: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.nii.gz").write_bytes(b"not looked at")
    places = {"file as output": "notes.txt", "output under a file": "notes.txt/masks"}
    given = tmp_path / ("images" if wrong in places else wrong)
    script = (
        "import sys\nfrom medseg.errors import MedsegError\nfrom medseg.workflows import predict\n"
        "try:\n    predict(sys.argv[1], inputs=sys.argv[2], output_dir=sys.argv[3])\n"
        "except MedsegError as error:\n    print(error, *({'torch', 'monai'} & set(sys.modules)))\n"
    )
    asked = [sys.executable, "-c", script, str(run), str(given), str(tmp_path / places.get(wrong, "masks"))]
    told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) in told
    assert not {"torch", "monai"} & set(told.split())
    assert not (tmp_path / "masks").exists()


@pytest.mark.parametrize("through", ["folder", "file", "link"])
def test_images_are_never_replaced_by_their_masks(run: Path, volumes: Path, tmp_path: Path, through: str) -> None:
    image = Path(load_datalist(volumes, "test")[0]["image"])
    (tmp_path / "data").mkdir()
    copied = Path(shutil.copy(image, tmp_path / "data"))
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / copied.name).symlink_to(copied)
    before = copied.read_bytes()
    if through == "link":  # seen when the case is read: the folder itself is another one
        report = predict(run, inputs=tmp_path / "links", output_dir=tmp_path / "data")
        assert ["would take its place" in str(case.reason) for case in report.cases] == [True]
    else:
        with pytest.raises(OutputError, match="would take its place"):
            predict(run, inputs=copied if through == "file" else copied.parent, output_dir=tmp_path / "data")
    assert copied.read_bytes() == before


def test_masks_of_experts_are_never_replaced_by_ours(run: Path, volumes: Path) -> None:
    label = Path(load_datalist(volumes, "test")[0]["label"])
    before = label.read_bytes()
    with pytest.raises(OutputError, match="would take its place"):
        evaluate(run, datalist=volumes, output_dir=label.parent)
    assert label.read_bytes() == before


def test_weights_in_half_precision_give_the_same_masks(run: Path, volumes: Path, tmp_path: Path) -> None:
    state = torch.load(run / "models" / "model.pt", weights_only=True)
    torch.save({name: value.half() for name, value in state.items()}, tmp_path / "half.pt")
    image = load_datalist(volumes, "test")[0]["image"]
    for name, weights in (("whole", run / "models" / "model.pt"), ("half", tmp_path / "half.pt")):
        predict(run, inputs=image, output_dir=tmp_path / name, overrides={"weights": str(weights)})
    whole, half = (nibabel.load(next((tmp_path / name).glob("*.nii.gz"))).get_fdata() for name in ("whole", "half"))
    assert (whole != half).mean() < 0.01


class Code:
    """What a pickle can do to whoever loads it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("ran"),)


@pytest.mark.parametrize("kind", ["missing", "another network's", "no weights", "with code in it"])
def test_weights_that_do_not_fit_are_refused_by_name(
    run: Path, volumes: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "weights.pt"
    if kind == "another network's":
        torch.save(UNet2d(in_channels=1, out_channels=2, base_width=4, depth=2).state_dict(), file)
    elif kind == "no weights":
        file.write_bytes(b"not a file of torch")
    elif kind == "with code in it":
        torch.save({"weights": Code()}, file)
    image = load_datalist(volumes, "test")[0]["image"]
    with pytest.raises(BundleError, match=f"^{file}: "):
        predict(run, inputs=image, output_dir=tmp_path / "masks", overrides={"weights": str(file)})
    assert not (tmp_path / "ran").exists()


def test_score_names_what_is_missing_on_either_side(volumes: Path, tmp_path: Path) -> None:
    masks, truth = tmp_path / "masks", tmp_path / "truth"
    for folder in (masks, truth):
        shutil.copytree(volumes.parent / "labels", folder)
    (masks / "case_0.nii.gz").unlink()
    (truth / "case_1.nii.gz").unlink()
    (masks / "case_2.nii.gz").write_bytes(b"broken")
    report = score(masks, truth, output_dir=tmp_path / "scores")
    reasons = {case.id: case.reason for case in report.failed}
    assert reasons.keys() == {"case_0", "case_1", "case_2"}
    assert (reasons["case_0"], reasons["case_1"]) == ("no prediction", "no truth")
    summary = read(tmp_path / "scores" / "summary.json")
    assert (summary["cases"], sorted(summary["failed_cases"])) == (3, ["case_0", "case_1", "case_2"])
    assert {row["dice"] for row in rows(tmp_path / "scores" / "scores.csv")} <= {"1", "1.0", "1.000000"}


def test_score_takes_two_files_whatever_their_names(volumes: Path, tmp_path: Path) -> None:
    labels = volumes.parent / "labels"
    report = score(labels / "case_0.nii.gz", labels / "case_1.nii.gz", output_dir=tmp_path / "scores")
    assert [(case.id, case.status) for case in report.cases] == [("case_0", "done")]


def test_score_without_a_name_in_common_starts_nothing(volumes: Path, tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    shutil.copy(volumes.parent / "labels" / "case_0.nii.gz", tmp_path / "masks" / "other.nii.gz")
    with pytest.raises(DataError, match="no prediction has the name of a truth"):
        score(tmp_path / "masks", volumes.parent / "labels", output_dir=tmp_path / "scores")
    assert not (tmp_path / "scores").exists()
