"""Bundles packed, made anew and compared: what goes along, what stays, what is told."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from medseg.bundle import find_bundle
from medseg.bundle.archive import unpack
from medseg.bundle.check import check_static, errors
from medseg.bundle.diff import Difference, as_text, diff_bundles
from medseg.bundle.new import new_bundle
from medseg.bundle.pack import pack, without_run
from medseg.bundle.trust import bundle_wants
from medseg.bundle.verify import (
    SCORES_FILE,
    compare_scores,
    read_scores,
    scores_of_readme,
)
from medseg.errors import BundleError

NAMES = ["ct_lung", "ct_sarcoma", "cxr_heart_lung", "mr_hippocampus"]
PURPOSES: Any = ["train", "evaluate", "inference"]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A copy of the smallest bundle that ships, with what a run leaves beside it."""
    folder = Path(shutil.copytree(find_bundle("ct_lung"), tmp_path / "mine"))
    for name in ("datalist.json", "run.json", "models/last.pt", "tensorboard/events", "evaluation/scores.csv"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("a patient's name", encoding="utf-8")
    (folder / "scripts").mkdir()
    (folder / "scripts" / "post.py").write_text("KEEP = 1\n", encoding="utf-8")
    return folder


def change_metadata(bundle: Path, **changes: Any) -> None:
    path = bundle / "configs" / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def test_a_packed_bundle_has_its_own_files_and_no_data(bundle: Path, tmp_path: Path) -> None:
    done = pack(bundle, tmp_path / "new" / "a.zip")
    with zipfile.ZipFile(done.path) as packed:
        names = packed.namelist()
    assert len(names) == done.files
    assert {name.split("/")[0] for name in names} == {"ct_lung"}
    wanted = {"LICENSE", "configs/metadata.json", "configs/smoke.yaml", "docs/README.md", "docs/metadata.schema.json"}
    wanted |= {"models/model.pt", "models/precision.json", "models/scores.json", "scripts/post.py"}
    assert {f"ct_lung/{name}" for name in wanted} <= set(names)
    left = ("datalist", "run.json", "last", "tensorboard", "evaluation")
    assert [name for name in names if any(part in name for part in left)] == []
    assert pack(bundle, tmp_path / "b.zip").sha256 == done.sha256


def test_what_was_packed_is_unpacked_as_it_was_and_packs_the_same(bundle: Path, tmp_path: Path) -> None:
    done = pack(bundle, tmp_path / "a.zip")
    unpack(done.path, into=tmp_path / "out", sha256=done.sha256)
    assert diff_bundles(bundle, tmp_path / "out") == []
    assert pack(tmp_path / "out", tmp_path / "b.zip").sha256 == done.sha256


@pytest.mark.parametrize(
    ("remove", "name", "message"),
    [
        ("models/model.pt", "a.zip", "no weights to pack"),
        ("configs/metadata.json", "a.zip", "cannot be read"),
        ("LICENSE", "a.tar", "the archive's name; got a.tar; expected NAME.zip"),
    ],
)
def test_what_cannot_be_packed_is_refused(bundle: Path, tmp_path: Path, remove: str, name: str, message: str) -> None:
    (bundle / remove).unlink()
    with pytest.raises(BundleError, match=message):
        pack(bundle, tmp_path / name)
    assert not (tmp_path / name).exists()


def test_a_link_is_not_packed(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.md").write_text("secret", encoding="utf-8")
    (bundle / "docs" / "link.md").symlink_to(tmp_path / "secret.md")
    with pytest.raises(BundleError, match=r"link\.md: a link cannot be packed"):
        pack(bundle, tmp_path / "a.zip")


def test_a_run_becomes_a_bundle_that_does_not_point_at_the_run() -> None:
    written = yaml.safe_dump(
        {"run_dir": "@bundle_root", "datalist": "$@bundle_root + '/datalist.json'", "tta": False}, sort_keys=False
    )
    assert yaml.safe_load(without_run(written)) == {
        "run_dir": "$os.path.join('runs', @_meta_::name)",
        "datalist": "datalist.json",
        "tta": False,
    }
    plain = "run_dir: runs\ndatalist: mine.json  # ours\n"
    assert without_run(plain) == plain


@pytest.mark.parametrize("name", NAMES)
def test_a_new_bundle_keeps_the_configuration_and_nothing_of_the_weights(name: str, tmp_path: Path) -> None:
    source = find_bundle(name)
    folder = new_bundle("ct_mine", source=source, parent=tmp_path / "bundles")
    assert folder == tmp_path / "bundles" / "ct_mine"
    assert {one.where for one in diff_bundles(source, folder)} <= {"metadata", "weights", "scores", "records"}
    metadata = json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))
    assert (metadata["name"], metadata["version"], metadata["eval_metrics"]) == ("ct_mine", "0.1.0", {})
    assert metadata["medseg"]["segments"] == {}  # of the other's labels: they would name whatever is segmented now
    assert name in metadata["changelog"]["0.1.0"]
    assert [path.name for path in folder.rglob("*.pt")] == []
    assert bundle_wants(folder) == []
    assert [one.text() for purpose in PURPOSES for one in errors(check_static(folder, purpose))] == []


@pytest.mark.parametrize("name", ["", "a/b", "..", "-x", "a b", ".hidden"])
def test_a_name_that_is_none_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="a bundle's name; got"):
        new_bundle(name, source=find_bundle("ct_lung"), parent=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_new_bundle_never_replaces_one(tmp_path: Path) -> None:
    new_bundle("x", source=find_bundle("ct_lung"), parent=tmp_path)
    with pytest.raises(BundleError, match="is there already"):
        new_bundle("x", source=find_bundle("ct_lung"), parent=tmp_path)


def test_the_layout_of_a_list_is_no_difference(bundle: Path) -> None:
    common = bundle / "configs" / "common.yaml"
    written = yaml.safe_load(common.read_text(encoding="utf-8"))
    common.write_text(yaml.safe_dump(written, sort_keys=False), encoding="utf-8")  # as a run writes it: an item a line
    assert {one.where for one in diff_bundles(find_bundle("ct_lung"), bundle)} == {"scripts"}


def test_the_weights_of_an_ensemble_go_along_and_are_compared(bundle: Path, tmp_path: Path) -> None:
    (bundle / "models" / "model.pt").rename(bundle / "models" / "fold_0.pt")
    (bundle / "models" / "fold_1.pt").write_bytes(b"one")
    unpack(pack(bundle, tmp_path / "a.zip").path, into=tmp_path / "out")
    assert diff_bundles(bundle, tmp_path / "out") == []
    (tmp_path / "out" / "models" / "fold_1.pt").write_bytes(b"two")
    assert [(one.where, one.name) for one in diff_bundles(bundle, tmp_path / "out")] == [("weights", "fold_1.pt")]


def test_a_bundle_of_the_model_zoo_is_compared_and_made_anew(bundle: Path, tmp_path: Path) -> None:
    for path in (bundle / "configs").glob("*.yaml"):
        path.unlink()
    train = bundle / "configs" / "train.json"
    train.write_text(json.dumps({"bundle_root": ".", "train#trainer": {"lr": 1, "size": [1, 2]}}), encoding="utf-8")
    folder = new_bundle("other", source=bundle, parent=tmp_path)
    assert (folder / "scripts" / "post.py").read_text(encoding="utf-8") == "KEEP = 1\n"
    (folder / "configs" / "train.json").write_text(
        train.read_text(encoding="utf-8").replace("1", "3"), encoding="utf-8"
    )
    told = [one for one in diff_bundles(bundle, folder) if one.where == "train"]
    assert told == [
        Difference("train", "train::trainer::lr", 1, 3),
        Difference("train", "train::trainer::size", [1, 2], [3, 2]),
    ]


def test_a_difference_is_told_by_id_and_both_values(bundle: Path) -> None:
    common = bundle / "configs" / "common.yaml"
    text = common.read_text(encoding="utf-8")
    common.write_text(text.replace("spacing_mm: [3.0, 3.0, 3.0]", "spacing_mm: [3.0, 3.0, 2.0]"), encoding="utf-8")
    (bundle / "configs" / "smoke.yaml").unlink()
    change_metadata(bundle, version="9")
    (bundle / "models" / "model.pt").write_bytes(b"other")
    metadata = json.loads((find_bundle("ct_lung") / "configs" / "metadata.json").read_text(encoding="utf-8"))
    found = diff_bundles(find_bundle("ct_lung"), bundle)
    assert Difference("common", "spacing_mm", [3.0, 3.0, 3.0], [3.0, 3.0, 2.0]) in found
    assert Difference("metadata", "version", metadata["version"], "9") in found
    assert Difference("overlay smoke", "epochs", 1, "-") in found
    assert [(one.where, one.name) for one in found if one.where == "weights"] == [("weights", "model.pt")]
    assert [one.name for one in found if one.where == "scripts"] == ["scripts/post.py"]
    text = as_text(found, find_bundle("ct_lung"), bundle)
    assert "common:\n  spacing_mm: [3.0, 3.0, 3.0] -> [3.0, 3.0, 2.0]\n" in text
    assert as_text([], bundle, bundle) == "mine and mine are the same"


@pytest.mark.parametrize("name", NAMES)
def test_the_scores_for_machines_are_those_of_the_readme(name: str) -> None:
    folder = find_bundle(name)
    scores = read_scores(folder)
    assert scores is not None
    assert scores == scores_of_readme(folder)
    readme = (folder / "docs" / "README.md").read_text(encoding="utf-8")
    metrics = json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))["eval_metrics"]
    for region, values in scores["regions"].items():
        low, high = values["dice"]["mean_ci95"]
        assert f"| {region} | {values['dice']['mean']:.4f} [{low:.4f}, {high:.4f}] |" in readme
        assert low <= values["dice"]["mean"] == metrics[f"dice_{region}"] <= high


def test_scores_of_other_weights_are_refused(bundle: Path) -> None:
    (bundle / "models" / "model.pt").write_bytes(b"other")
    with pytest.raises(BundleError, match="speaks of other weights"):
        read_scores(bundle)
    (bundle / SCORES_FILE).write_text("{}", encoding="utf-8")
    with pytest.raises(BundleError, match="is damaged"):
        read_scores(bundle)
    (bundle / SCORES_FILE).unlink()
    assert read_scores(bundle) is None


@pytest.mark.parametrize(
    ("measured", "holds"), [(0.8, True), (0.69996, True), (0.9, True), (0.69994, False), (0.9001, False), (None, False)]
)
def test_scores_are_reproduced_within_the_interval_as_it_is_rounded(measured: float | None, holds: bool) -> None:
    reported = {"regions": {"lung": {"dice": {"mean": 0.8, "mean_ci95": [0.7, 0.9]}}}}
    summary = {"regions": {} if measured is None else {"lung": {"dice": {"mean": measured, "n": 3}}}}
    (one,) = compare_scores(reported, summary)
    assert (one.region, one.measured, one.holds) == ("lung", measured, holds)
