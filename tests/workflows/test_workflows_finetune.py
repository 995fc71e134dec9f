"""Fine-tuning by the bundles' overlay: from a run or a shipped bundle, frozen and slower parts, resumed."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from medseg.bundle import find_bundle
from medseg.bundle.load import open_workflow
from medseg.datasets import prepare
from medseg.errors import BundleError
from medseg.workflows import train

BUNDLES = ("cxr_heart_lung", "ct_lung", "ct_sarcoma", "mr_hippocampus")


def weights(run: Path, name: str = "model.pt") -> dict[str, Any]:
    return torch.load(run / "models" / name, weights_only=True)


@pytest.mark.parametrize("bundle", BUNDLES)
def test_every_bundle_has_the_overlay_and_knows_its_encoder(bundle: str, volumes: Path, tmp_path: Path) -> None:
    settings = {"initial_weights": bundle, "freeze": "@encoder", "datalist": str(volumes), "run_dir": str(tmp_path)}
    folder = find_bundle(bundle)
    workflow = open_workflow(folder, "train", overlays=["finetune"], overrides=settings)
    workflow.parser["device"] = torch.device("cpu")
    network = workflow.parser.get_parsed_content("network")
    shipped = torch.load(folder / "models" / "model.pt", weights_only=True)
    trained = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    frozen = [name for name, parameter in network.named_parameters() if not parameter.requires_grad]
    assert any(name in trained[-1] for name in ("head", "model.2", "heads"))
    assert len(frozen) > len(trained) / 3
    assert all(torch.equal(network.state_dict()[name].float(), shipped[name].float()) for name in (*trained, *frozen))


@pytest.fixture(scope="module")
def settings(tiny: dict[str, Any]) -> dict[str, Any]:
    """Two epochs of two steps: the first block frozen, the rest of the encoder all but frozen."""
    rates = {"learning_rate": 1e-3, "encoder_learning_rate": 1e-9, "weight_decay": 0.0, "train::scheduler::T_max": 2}
    return {**tiny, **rates, "epochs": 2, "freeze": ["input_block.*"]}


@pytest.fixture(scope="module")
def tuned(run: Path, volumes: Path, settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that goes on from the weights of another, named by its folder."""
    folder = tmp_path_factory.mktemp("runs") / "tuned"
    start = {**settings, "initial_weights": str(run)}
    return train("mr_hippocampus", datalist=volumes, run_dir=folder, overlays=["finetune"], overrides=start)


def test_a_run_is_tuned_further_with_a_part_frozen_and_another_slower(run: Path, tuned: Path) -> None:
    before, after = weights(run), weights(tuned, "last.pt")["network"]
    for name, value in after.items():
        change = float((value - before[name]).abs().max())
        if name.startswith("input_block"):
            assert change == 0, name
        elif name.startswith(("downsamples", "bottleneck")):
            assert change < 1e-7, name  # 4 steps of AdamW, each at most the rate of 1e-12
        elif name.startswith("upsamples") and name.endswith("conv.weight"):
            assert change > 1e-5, name


def test_a_resumed_tuning_ends_with_the_weights_of_the_uninterrupted_one(
    run: Path, tuned: Path, volumes: Path, settings: dict[str, Any], tmp_path: Path
) -> None:
    arguments: dict[str, Any] = {"datalist": volumes, "overlays": ["finetune"], "run_dir": tmp_path / "parts"}
    start = {"initial_weights": str(run / "models" / "model.pt"), "epochs": 1}
    parts = train("mr_hippocampus", overrides={**settings, **start}, **arguments)
    gone = {**settings, "initial_weights": "no/longer/there.pt", "initial_weights_without": ["output_block.*"]}
    train("mr_hippocampus", resume=True, overrides=gone, **arguments)
    left, right = weights(tuned, "last.pt"), weights(parts, "last.pt")
    assert [group["lr"] for group in left["optimizer"]["param_groups"]] == [0.0, 0.0]  # the end of the cosine
    for name, value in left["network"].items():
        assert torch.equal(value, right["network"][name]), name


def test_a_pattern_that_fits_nothing_ends_the_run_before_it_begins(
    volumes: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    wrong = {**tiny, "freeze": ["encoder*"]}
    with pytest.raises(BundleError, match=r"no weights of the network fit the pattern; got 'encoder\*'; expected for"):
        train("mr_hippocampus", datalist=volumes, run_dir=tmp_path / "t", overrides=wrong)


@pytest.mark.real_data
def test_the_lung_bundle_becomes_a_sarcoma_bundle(
    real_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Three classes become two: all but the head is loaded, and the first steps run on real CT."""
    datalist = prepare("pairs", real_data / "sarcoma_ct_mr" / "CT", tmp_path / "datalist.json")
    few = {"initial_weights": "ct_lung", "epochs": 1, "cases_at_most": 2, "precision": "fp32", "validate_every": 1}
    few |= {"window": [32, 32, 32], "spacing_mm": [6.0, 6.0, 6.0], "device": "$torch.device('cpu')"}
    with caplog.at_level(logging.INFO):
        run = train("ct_sarcoma", datalist=datalist, run_dir=tmp_path / "run", overlays=["finetune"], overrides=few)
    assert any(line.startswith("initial weights: bundle ct_lung") for line in caplog.messages)
    (counted,) = [line for line in caplog.messages if line.startswith("loaded ")]
    loaded, total = (int(word) for word in counted.split() if word.isdigit())
    skipped = [line.split()[1] for line in caplog.messages if line.startswith("  skipped")]
    assert loaded == total - len(skipped)
    assert skipped
    assert all(name.startswith("model.2.") for name in skipped)
    assert json.loads((run / "run.json").read_text(encoding="utf-8"))["status"] == "done"
