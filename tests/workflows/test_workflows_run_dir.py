"""The folder of a run is a complete bundle, and no command changes a bundle that is there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel
import pytest
import torch
import yaml

from medseg.bundle import check_metadata, find_bundle
from medseg.bundle.load import build, open_workflow
from medseg.datasets import copy_datalist, load_datalist
from medseg.errors import BundleError, DataError
from medseg.files import sha256_of
from medseg.workflows import evaluate, predict, train
from medseg.workflows.flags import learn_limits, learn_predictor
from medseg.workflows.precision import check_precision
from medseg.workflows.tune import tune_postprocessing

FILES = [
    *(f"configs/{name}" for name in ("common.yaml", "train.yaml", "evaluate.yaml", "inference.yaml", "metadata.json")),
    *("configs/logging.conf", "LICENSE", "docs/README.md", "datalist.json", "run.json"),
    *("models/model.pt", "models/last.pt"),
]


def fingerprints(folder: Path) -> dict[Path, str]:
    return {path: sha256_of(path) for path in folder.rglob("*") if path.is_file()}


def config(run: Path, name: str) -> dict[str, Any]:
    return yaml.safe_load((run / "configs" / name).read_text(encoding="utf-8"))


def test_a_run_has_all_that_a_bundle_has(run: Path) -> None:
    assert [name for name in FILES if not (run / name).is_file()] == []
    assert len(list((run / "tensorboard").iterdir())) == 1
    assert [path for path in run.rglob("*") if path.name.startswith(".")] == []
    assert check_metadata(run / "configs" / "metadata.json")["name"] == "mr_hippocampus"
    assert find_bundle(run) == run


def test_the_configuration_of_a_run_is_the_one_that_ran(run: Path) -> None:
    common, training = config(run, "common.yaml"), config(run, "train.yaml")
    assert common["window"] == [16, 16, 16]
    assert common["network_def"]["filters"] == [4, 8, 8, 8]
    assert common["network_def"]["dropout"] == 0.1
    assert (training["epochs"], training["validate_every"]) == (4, 1)
    before = config(find_bundle("mr_hippocampus"), "train.yaml")
    changed = {key for key in training if training[key] != before.get(key)}
    assert changed - {"run"} == {"epochs", "validate_every"}  # MONAI puts what `run: "%training"` names in its place


def test_the_datalist_of_a_run_leads_to_the_same_files(run: Path, volumes: Path) -> None:
    for section in ("training", "validation", "test"):
        assert load_datalist(run / "datalist.json", section) == load_datalist(volumes, section)
    assert "/" not in json.loads((run / "datalist.json").read_text(encoding="utf-8"))["training"][0]["image"][:1]


def test_a_run_is_evaluated_and_predicts_with_its_own_network_and_stays_as_it_is(
    run: Path, volumes: Path, tmp_path: Path
) -> None:
    before = fingerprints(run) | fingerprints(find_bundle("mr_hippocampus"))
    report = evaluate(run, datalist=run / "datalist.json", output_dir=tmp_path / "scores")
    (case,) = load_datalist(volumes, "test")
    assert [(one.id, one.status) for one in report.cases] == [(case["id"], "done")]
    manifest = json.loads((tmp_path / "scores" / f"{case['id']}_manifest.json").read_text(encoding="utf-8"))
    assert manifest["weights_sha256"] == sha256_of(run / "models" / "model.pt")
    predict(run, inputs=case["image"], output_dir=tmp_path / "masks")
    masks = [nibabel.load(tmp_path / name / f"{case['id']}.nii.gz").get_fdata() for name in ("scores", "masks")]
    assert (masks[0] == masks[1]).all()
    assert fingerprints(run) | fingerprints(find_bundle("mr_hippocampus")) == before


def test_a_moved_run_still_works(run: Path, volumes: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "run"
    shutil.copytree(run, moved)
    case = load_datalist(volumes, "test")[0]
    predict(moved, inputs=case["image"], output_dir=tmp_path / "masks")
    manifest = json.loads((tmp_path / "masks" / f"{case['id']}_manifest.json").read_text(encoding="utf-8"))
    assert manifest["weights_sha256"] == sha256_of(moved / "models" / "model.pt")


def test_a_run_is_the_bundle_of_another_run(run: Path, volumes: Path, tmp_path: Path) -> None:
    run = shutil.copytree(run, tmp_path / "first")
    (run / "scripts").mkdir()
    (run / "scripts" / "net.py").write_text("class Net: ...\n", encoding="utf-8")
    before = fingerprints(run)
    start = {"epochs": 1, "learning_rate": 0.0, "initial_weights": str(run / "models" / "model.pt")}
    second = train(run, datalist=volumes, run_dir=tmp_path / "second", overrides=start)
    assert fingerprints(run) == before
    assert (second / "scripts" / "net.py").read_text(encoding="utf-8") == "class Net: ...\n"
    weights = [torch.load(folder / "models" / "model.pt", weights_only=True) for folder in (run, second)]
    assert all(torch.allclose(weights[0][name], weights[1][name]) for name in weights[0])
    assert config(second, "common.yaml") == config(run, "common.yaml")


@pytest.mark.parametrize("held", ["models/model.pt", "models/last.pt"])
def test_training_into_a_folder_with_weights_is_refused(run: Path, volumes: Path, tmp_path: Path, held: str) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder, ignore=lambda _, names: [name for name in names if name.endswith(".pt")])
    (folder / held).write_bytes(b"weights")
    before = fingerprints(folder)
    with pytest.raises(BundleError, match=rf"{folder}: the folder already holds {held}") as refused:
        train(run, datalist=volumes, run_dir=folder)
    assert ("continue this run with --resume" in str(refused.value)) == (held == "models/last.pt")
    assert fingerprints(folder) == before


def test_a_folder_in_which_another_process_trains_is_refused(run: Path, volumes: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    with another_process_in(folder / "models"):
        before = fingerprints(folder)
        with pytest.raises(BundleError, match=rf"{folder}: another process trains in this folder.*with --resume"):
            train(folder, datalist=volumes, run_dir=folder, resume=True)
        assert fingerprints(folder) == before
    train(folder, datalist=volumes, run_dir=folder, resume=True, overrides={"epochs": 5})
    with another_process_in(folder / "models"):
        pass  # this process is not in there any longer


@contextmanager
def another_process_in(folder: Path) -> Iterator[None]:
    said = "import sys; from pathlib import Path; from medseg.files import OnlyProcess as O"
    said += "; print(O.enter(Path(sys.argv[1])), flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", said, folder], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "True\n"
        yield
        other.stdin.write("\n")


def test_a_run_that_stopped_before_its_first_checkpoint_can_be_started_again(
    run: Path, volumes: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder, ignore=lambda _, names: [name for name in names if name.endswith(".pt")])
    train(run, datalist=volumes, run_dir=folder, overrides={"epochs": 1})
    assert (folder / "models" / "model.pt").is_file()


def test_another_bundle_is_never_trained_into(volumes: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "mine"
    shutil.copytree(find_bundle("ct_lung"), bundle, ignore=shutil.ignore_patterns("models"))
    before = fingerprints(bundle)
    for resume in (False, True):
        with pytest.raises(BundleError, match=str(bundle)):
            train("mr_hippocampus", datalist=volumes, run_dir=bundle, resume=resume)
        with pytest.raises(BundleError, match=str(bundle)):
            train(bundle, datalist=volumes, run_dir=bundle, resume=resume)
    assert fingerprints(bundle) == before


@pytest.mark.parametrize("name", ["LICENSE", "docs/README.md", "datalist.json"])
def test_files_of_the_user_are_not_overwritten(volumes: Path, tmp_path: Path, name: str) -> None:
    mine = tmp_path / name
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine", encoding="utf-8")
    with pytest.raises(BundleError, match=rf"already holds {name.partition('/')[0]};.*a new folder"):
        train("mr_hippocampus", datalist=volumes, run_dir=tmp_path)
    assert mine.read_text(encoding="utf-8") == "mine"


def test_a_datalist_that_cannot_be_used_starts_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=re.escape(f"datalist {tmp_path / 'none.json'} cannot be read")):
        train("mr_hippocampus", datalist=tmp_path / "none.json", run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_labels_with_other_values_than_the_bundles_start_nothing(run: Path, volumes: Path, tmp_path: Path) -> None:
    content = json.loads(copy_datalist(volumes, tmp_path / "d.json").read_text(encoding="utf-8"))
    names = check_metadata(run / "configs" / "metadata.json")["network_data_format"]["outputs"]["pred"]["channel_def"]
    content["labels"] = {"0": names["0"], "1": names["2"], "2": names["1"]}
    (tmp_path / "d.json").write_text(json.dumps(content), encoding="utf-8")
    named: dict[str, Any] = {"datalist": tmp_path / "d.json"}

    def monais_own() -> None:
        build(open_workflow(run, "evaluate", overrides={"datalist": str(named["datalist"])}), run, "dataset")

    commands: list[Callable[[], Any]] = [
        lambda: train("mr_hippocampus", **named, run_dir=tmp_path / "out"),
        lambda: evaluate("mr_hippocampus", **named, output_dir=tmp_path / "out"),
        lambda: tune_postprocessing("mr_hippocampus", **named),
        lambda: learn_limits("mr_hippocampus", **named),
        lambda: learn_predictor("mr_hippocampus", **named, dice_below=0.8),
        lambda: check_precision("mr_hippocampus", **named),
        monais_own,
    ]
    for command in commands:
        with pytest.raises(DataError, match="its labels have other values than those of the bundle mr_hippocampus"):
            command()
    assert not (tmp_path / "out").exists()


def test_a_negative_seed_starts_nothing(volumes: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="which is @seed, is out of range; got -1; expected a whole number from 0 on"):
        train("mr_hippocampus", datalist=volumes, run_dir=tmp_path / "run", overrides={"seed": -1})
    assert not (tmp_path / "run").exists()


def test_values_from_python_are_written_as_plain_yaml(volumes: Path, tmp_path: Path, tiny: dict[str, Any]) -> None:
    changes = {**tiny, "window": (16, 16, 16), "initial_weights": None, "epochs": 1, "validate_every": 2}
    run = train("mr_hippocampus", datalist=volumes, run_dir=tmp_path / "run", overrides=changes)
    assert config(run, "common.yaml")["window"] == [16, 16, 16]
    assert (run / "models" / "model.pt").is_file()  # the last epoch is validated, though it is not the second
