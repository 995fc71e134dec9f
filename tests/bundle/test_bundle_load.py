"""Files, overlays and overrides merged as MONAI merges them; what is wrong is told before anything runs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser

from medseg.bundle import find_bundle, open_workflow
from medseg.bundle.guard import GuardedParser
from medseg.bundle.load import literal
from medseg.bundle.run import open_run, root
from medseg.errors import BundleError

NAMES = ["ct_lung", "ct_sarcoma", "cxr_heart_lung", "mr_hippocampus"]
PURPOSES: Any = ["train", "evaluate", "inference"]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A copy of a bundle that ships."""
    return Path(shutil.copytree(find_bundle("cxr_heart_lung"), tmp_path / "mine"))


@pytest.mark.parametrize("name", NAMES)
def test_the_smoke_overlay_fits_every_command_and_all_others_fit_training(name: str) -> None:
    folder = find_bundle(name)
    files = {path.stem for path in (folder / "configs").glob("*.yaml")}
    for overlay in files - {"common", "train", "evaluate", "inference"}:
        for purpose in PURPOSES if overlay == "smoke" else ["train"]:
            assert open_workflow(folder, purpose, overlays=[overlay]).parser["bundle_root"] == str(folder)


@pytest.mark.parametrize("name", NAMES)
def test_train_evaluate_and_inference_share_one_common_file(name: str) -> None:
    folder = find_bundle(name)
    parsers = [open_workflow(folder, purpose).parser for purpose in PURPOSES]
    for key in ("network_def", "preprocessing", "loading", "inferer", "labels", "trained_network", "segmenter"):
        assert parsers[0][key] == parsers[1][key] == parsers[2][key], key
    for parser, key in zip(parsers, ("training", "evaluating", "inference"), strict=True):
        assert key in parser
        assert "run" in parser


@pytest.mark.parametrize(
    ("overrides", "precision"),
    [
        ({}, "auto"),
        ({"overlap": 0.25}, "auto"),
        ({"spacing_mm": [3, 3, 3]}, "fp32"),
        ({"spacing_mm": [3, 3, 3], "precision": "bf16"}, "bf16"),
    ],
    ids=["as it is", "windows", "spacing", "asked for"],
)
def test_a_record_of_bfloat16_is_of_the_images_that_it_was_made_with(overrides: dict[str, Any], precision: str) -> None:
    workflow = open_workflow(find_bundle("mr_hippocampus"), "inference", overrides=overrides)
    assert workflow.parser["precision"] == precision


def test_overlays_come_behind_the_files_and_overrides_behind_overlays(bundle: Path) -> None:
    (bundle / "configs" / "mine.yaml").write_text("epochs: 7\nseed: 8\n", encoding="utf-8")
    overrides = {"seed": 9, "network_def::dropout": 0.25, "run_dir": "run#2"}
    parser = open_workflow(bundle, "train", overlays=["smoke", "mine"], overrides=overrides).parser
    assert (parser["epochs"], parser["seed"], parser["validate_every"]) == (7, 9, 1)
    assert (parser["network_def::base_width"], parser["network_def::dropout"]) == (4, 0.25)
    assert parser.get_parsed_content("run_dir") == "run#2"


@pytest.mark.parametrize("kind", [ConfigParser, GuardedParser])
@pytest.mark.parametrize("text", ["/ct/#1.2.3", "/run#2/@home %x/'quoted'\\n", "@a#b", "$1 + 1", "/plain/@x"])
def test_a_path_keeps_its_signs_and_references_their_meaning(kind: type[ConfigParser], text: str) -> None:
    """MONAI takes # for :: in every text: results went to run::2, and FOLDER/#UID was not found."""
    parser = kind({"a": {"b": "c"}, "path": literal(text)})
    assert parser.get_parsed_content("path") == {"@a#b": "c", "$1 + 1": 2}.get(text, text)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("epoch", "the configuration has no epoch; .*did you mean epochs?"),
        ("train::trainr::max_epochs", "the configuration has no train::trainr::max_epochs"),
        ("device::kind", "the configuration has no device::kind"),
        ("spacing", "the configuration has no spacing"),
    ],
)
def test_an_override_of_what_is_not_there_is_refused(bundle: Path, name: str, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        open_workflow(bundle, "train", overrides={name: 1})


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        ("smok", "unknown overlay; got smok; expected deep_supervision, finetune, gpu_augmentation, multi_gpu, smoke"),
        ("train", "unknown overlay"),
        ("../x", "unknown overlay"),
    ],
)
def test_an_unknown_overlay_is_told_with_those_there_are(bundle: Path, overlay: str, message: str) -> None:
    (bundle / "x.yaml").write_text("epochs: 1\n", encoding="utf-8")
    with pytest.raises(BundleError, match=message):
        open_workflow(bundle, "train", overlays=[overlay])


def test_an_overlay_for_another_command_is_told_as_such(bundle: Path) -> None:
    (bundle / "configs" / "adam.yaml").write_text("train::optimizer::lr: 0.1\n", encoding="utf-8")
    assert open_workflow(bundle, "train", overlays=["adam"]).parser["train::optimizer::lr"] == 0.1
    with pytest.raises(
        BundleError, match=r"configs/adam\.yaml:1: .*adam.* names an id that evaluate\.yaml does not have; got train"
    ):
        open_workflow(bundle, "evaluate", overlays=["adam"])


@pytest.mark.parametrize("file", ["common.yaml", "evaluate.yaml"])
def test_a_missing_file_is_named(bundle: Path, file: str) -> None:
    (bundle / "configs" / file).unlink()
    with pytest.raises(BundleError, match=f"{file} is missing; expected a file {bundle / 'configs' / file}"):
        open_workflow(bundle, "evaluate")


@pytest.mark.parametrize("file", ["common.yaml", "metadata.json"])
def test_a_file_that_is_no_yaml_or_json_is_refused(bundle: Path, file: str) -> None:
    (bundle / "configs" / file).write_text("{one: [two", encoding="utf-8")
    with pytest.raises(
        BundleError, match=f"mine: an error in its configuration:\n  configs/{file}:[12]: error: no [YJ]"
    ):
        open_workflow(bundle, "train")


def test_the_folder_of_a_bundle_is_known_only_while_it_runs(tmp_path: Path) -> None:
    for call in (root, lambda: open_run(str(tmp_path / "run"), datalist="d.json", resume=False)):
        with pytest.raises(BundleError, match="no bundle is running"):
            call()
    assert not (tmp_path / "run").exists()
