"""benchmarks/training_speed.py: its clock, what its sides change, nnU-Net's plan, the tables and the page."""

from __future__ import annotations

import importlib
import io
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from medseg.bundle import find_bundle
from medseg.bundle.load import open_workflow
from medseg.training import step as training_step

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
MODULES = (
    "training_speed",
    "training_speed_tables",
    "training_speed_page",
    "training_workers",
    "training_side",
    "pace",
)


@pytest.fixture(scope="module")
def scripts() -> Iterator[dict[str, ModuleType]]:
    """The scripts as modules; they find each other in their folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield {name: importlib.import_module(name) for name in MODULES}
        for name in (*MODULES, "measure"):
            sys.modules.pop(name, None)


class Over(Exception):  # noqa: N818
    """The other process is gone."""


def paced(
    scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch, orders: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[int]]:
    """What a clock answers to orders, and the batches that the step alone was given, of a training without end."""

    def leave(code: int) -> None:
        raise Over

    alone: list[int] = []
    answers = io.StringIO()
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(json.dumps(order) + "\n" for order in orders)))
    monkeypatch.setattr(scripts["pace"].os, "_exit", leave)
    monkeypatch.setattr(scripts["pace"], "SETTLE_S", 0.0)
    pace = scripts["pace"].Pace(alone.append, device=torch.device("cpu"), about={"batch": 2}, answers=answers)

    def slow() -> Iterator[int]:
        for number in range(1000):
            time.sleep(0.01)
            yield number

    def train() -> None:
        for _ in pace.paced(slow()):
            time.sleep(0.02)

    with pytest.raises(Over):
        train()
    lines = answers.getvalue().splitlines()
    assert all(line.startswith("@") for line in lines)
    return [json.loads(line[1:]) for line in lines], alone


def test_a_turn_counts_steps_behind_its_first_and_what_was_waited(
    scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps of 10 + 20 ms or longer: 70 ms are over with the third at the latest; at least 10 ms of each is waiting."""
    (about, first, second), _ = paced(scripts, monkeypatch, [{"do": "train", "seconds": 0.07}] * 2)
    assert about == {"batch": 2}
    for answer in (first, second):
        assert 1 <= answer["steps"] <= 3
        assert answer["seconds"] >= 0.07
        assert 0.01 * answer["steps"] <= answer["waited"] <= answer["seconds"] - 0.02 * answer["steps"]


def test_the_step_alone_is_taken_on_the_last_batch(
    scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two warm steps, one that is not counted, one that is: batch number 3 is the last one."""
    orders = [{"do": "train", "seconds": 0.001}, {"do": "step", "seconds": 0.0}]
    answers, alone = paced(scripts, monkeypatch, orders)
    assert answers[1]["steps"] == 1
    assert answers[2]["steps"] == 1
    assert alone == [3]


def test_a_profile_has_the_operators_of_one_step(scripts: dict[str, ModuleType]) -> None:
    pace = scripts["pace"].Pace(
        lambda batch: torch.ones(40, 40) @ torch.ones(40, 40),
        device=torch.device("cpu"),
        about={},
        answers=io.StringIO(),
    )
    rows = {name: (milliseconds, calls) for name, milliseconds, calls in pace._profile(0.0)["operators"]}
    assert rows["aten::mm"][0] > 0
    assert rows["aten::mm"][1] == 1


def test_nnunets_plan_has_our_patch_and_network(scripts: dict[str, ModuleType]) -> None:
    plan = scripts["training_workers"].plan_changes
    volume = plan({"_target_": "DynUNet", "filters": [4, 8], "strides": [1, 2]}, [40, 56, 44], base=2)
    assert (volume["configuration"], volume["patch"], volume["batch"]) == ("3d_fullres", [44, 56, 40], 2)
    assert volume["architecture"] == {
        "n_stages": 2,
        "features_per_stage": [4, 8],
        "kernel_sizes": [[3, 3, 3], [3, 3, 3]],
        "strides": [[1, 1, 1], [2, 2, 2]],
        "n_conv_per_stage": [2, 2],
        "n_conv_per_stage_decoder": [2],
    }
    picture = plan({"_target_": "medseg.networks.UNet2d", "base_width": 4, "depth": 3}, [64, 32], base=4)
    assert (picture["configuration"], picture["patch"]) == ("2d", [32, 64])
    assert picture["architecture"]["features_per_stage"] == [4, 8, 16]
    assert picture["architecture"]["strides"] == [[1, 1], [2, 2], [2, 2]]
    assert picture["architecture"]["norm_op"].endswith("BatchNorm2d")


def test_nnunet_reads_the_arrays_that_were_written(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    import nibabel as nib
    from PIL import Image

    write = scripts["training_workers"].write_array
    write(np.array([[0.0, 1.0, 2.0], [0.5, -1.0, 0.2]]), tmp_path / "image.png", label=False)
    write(np.array([[0, 1, 2], [3, 0, 1]]), tmp_path / "label.png", label=True)
    write(np.arange(24.0).reshape(2, 3, 4), tmp_path / "image.nii.gz", label=False)
    # Values 0 to 1 become 0 to 255, cut off beyond; X runs along a row of the picture.
    assert np.asarray(Image.open(tmp_path / "image.png")).tolist() == [[0, 127], [255, 0], [255, 51]]
    assert np.asarray(Image.open(tmp_path / "label.png")).tolist() == [[0, 3], [1, 0], [2, 1]]
    assert np.array_equal(np.asarray(nib.load(tmp_path / "image.nii.gz").dataobj), np.arange(24.0).reshape(2, 3, 4))


def test_the_ladder_is_what_bundle_and_device_have(scripts: dict[str, ModuleType]) -> None:
    speed = scripts["training_speed"]
    volumes = [one.name for one in speed.entries("mr_hippocampus", device="cpu")]
    assert volumes[:2] == [speed.PLAIN, speed.OURS]
    assert "without norms that keep the layout" in volumes
    assert "with torch.compile" not in volumes
    assert "with torch.compile" in [one.name for one in speed.entries("mr_hippocampus", device="cuda")]
    asked = speed.entries("cxr_heart_lung", device="cpu", also=["with torch.compile"])
    pictures = [one.name for one in asked]
    assert "without norms that keep the layout" not in pictures  # its network has batch norms
    assert pictures[-1] == "with torch.compile"
    with pytest.raises(SystemExit, match=r"no such entry: x; there are: without bfloat16"):
        speed.entries("cxr_heart_lung", device="cpu", also=["x"])


@pytest.mark.parametrize("bundle", ["mr_hippocampus", "cxr_heart_lung"])
def test_the_ladder_passes_the_check_of_the_configuration(
    scripts: dict[str, ModuleType], bundle: str, tmp_path: Path
) -> None:
    """All changes at once, as they do not exclude each other and each check takes a second."""
    speed = scripts["training_speed"]
    together: dict[str, Any] = {"datalist": str(tmp_path / "none.json"), **speed.TRIAL[bundle]}
    overlays: list[str] = []
    for one in speed.entries(bundle, device="cuda"):
        together |= one.overrides
        overlays += one.overlays
    workflow = open_workflow(find_bundle(bundle), "train", overlays=overlays, overrides=together)
    assert workflow.parser["train::dataset::cache"] is False
    network = workflow.parser.get_parsed_content("network")
    assert all(one.is_contiguous() for one in network.parameters())


def test_what_is_switched_off_is_what_the_step_uses(
    scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen by the layout of the image that reaches the network, and by the class of its norm."""
    side = scripts["training_side"]
    for place, _ in side.SWITCHES.values():
        monkeypatch.setattr(training_step, place, getattr(training_step, place))
    before = layout_and_norm()
    side.switch_off(["channels-last", "norms"])
    assert before == (True, False)
    assert layout_and_norm() == (False, True)


class Seen(torch.nn.Module):
    """Notes whether its image came in channels-last layout."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = torch.nn.Conv3d(2, 2, 1), torch.nn.InstanceNorm3d(2, affine=True)
        self.channels_last = False

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.channels_last = image.is_contiguous(memory_format=torch.channels_last_3d)
        return self.norm(self.conv(image))


def layout_and_norm() -> tuple[bool, bool]:
    network = Seen()

    class Engine:
        state = type("State", (), {"device": torch.device("cpu"), "iteration": 1})
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)

        def __init__(self) -> None:
            self.network = network

        def inferer(self, image: torch.Tensor, forward: Any) -> torch.Tensor:
            return forward(image)

        def loss_function(self, prediction: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
            return (prediction - label).square().mean()

    images = torch.rand(1, 2, 4, 4, 4)
    training_step.TrainingStep(precision="fp32")(Engine(), {"image": images, "label": images})
    return network.channels_last, type(network.norm) is torch.nn.InstanceNorm3d


@pytest.mark.parametrize(
    ("operator", "group"),
    [
        ("aten::mkldnn_convolution", "convolutions"),
        ("autograd::engine::evaluate_function: ConvolutionBackward0", "convolutions"),
        ("aten::native_batch_norm_backward", "normalisation"),
        ("aten::linalg_vector_norm", "optimiser, clipping"),
        ("Optimizer.step#AdamW.step", "optimiser, clipping"),
        ("aten::copy_", "copies between layouts and number formats"),
        ("aten::leaky_relu_", "activations, pooling, upsampling"),
        ("aten::_log_softmax", "loss"),
        ("aten::cat", "joined channels"),
        ("aten::mul", "all others"),
    ],
)
def test_operators_are_grouped(scripts: dict[str, ModuleType], operator: str, group: str) -> None:
    assert scripts["training_speed_tables"].group_of(operator) == group


def measured(scripts: dict[str, ModuleType]) -> Any:
    """Batches of 2: the plain loop takes 1 s a step, ours .5 s and, in the round in which all are slow, .8 and 4 s."""
    tables = scripts["training_speed_tables"]
    about = {"batch": 2, "precision": "float32", "batches by": "a thread", "parameters": 1_500_000}

    def side(*seconds: float) -> Any:
        turns = [{"steps": 4, "seconds": 4 * one, "waited": one} for one in seconds]
        operators = [("aten::conv", 6.0, 2.0), ("aten::copy_", 2.0, 1.0)]
        return tables.SideMeasured(about, turns, turns, operators)

    return tables.Measured("b", {"plain": side(1.0, 4.0, 1.0), "ours": side(0.5, 0.8, 0.5)})


def test_figures_are_medians_and_ratios_those_of_each_round(scripts: dict[str, ModuleType]) -> None:
    """2 samples in 1, 4, 1 s: median 2 a second; ours 4. Ratios of the rounds 2, 5, 2: 2. A quarter is waiting."""
    tables, found = scripts["training_speed_tables"], measured(scripts)
    table = tables.peer_table(found, ["plain", "ours"], beside="plain")
    cells = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert [one["whole training, samples/s"] for one in cells] == [2.0, 4.0]
    assert [one["times plain"] for one in cells] == [1.0, 2.0]
    assert cells[0]["slowest to fastest round"] == "0.5 to 2"
    assert cells[1]["waits for data"] == "25.0%"
    assert cells[1]["parameters"] == "1.50 M"
    ladder = tables.step_table(found, ["ours", "plain"], beside="ours", notes=["n."])
    assert [row[2] for row in ladder.rows] == [1.0, 2.0]


def test_operators_are_summed_by_kind_and_listed(scripts: dict[str, ModuleType]) -> None:
    tables, found = scripts["training_speed_tables"], measured(scripts)
    kinds, top = tables.operator_tables(found, ["plain", "ours"], whole=["ours"])
    rows = {row[0]: row[1:] for row in kinds.rows}
    assert rows["convolutions"] == ["6.0", "6.0"]
    assert rows["copies between layouts and number formats"] == ["2.0", "2.0"]
    assert rows["sum"] == ["8.0", "8.0"]
    assert top.rows[0] == ["`aten::conv`", 2.0, "6.0", "75.0%"]


def test_the_page_holds_the_tables_with_machine_and_date(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    page = scripts["training_speed_page"].page
    assert page([]).endswith("No results have been published yet.\n")
    table = {"title": "b: sides", "columns": ["side", "x"], "rows": [["ours", 1.23456]], "notes": []}
    about = {"cpu": "A CPU", "device": "cpu", "date": "2026-01-02", "features": "avx2", "seed": "42"}
    (tmp_path / "r.json").write_text(json.dumps({"about": about, "tables": [table]}), encoding="utf-8")
    text = page([tmp_path / "r.json"])
    assert "## Measured on A CPU (avx2), cpu, 2026-01-02\n\n### b: sides\n\n| side | x |\n" in text
    assert "| ours | 1.23 |" in text
    assert text.endswith("cpu A CPU; device cpu; date 2026-01-02; features avx2; seed 42.\n")


def test_the_page_in_the_docs_is_that_of_the_results(scripts: dict[str, ModuleType]) -> None:
    module = scripts["training_speed_page"]
    assert module.PAGE.read_text(encoding="utf-8") == module.page(sorted(module.RESULTS.glob("training_speed_*.json")))
