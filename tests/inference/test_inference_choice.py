"""Which precision a trained network runs in: what the bundle's record says of this device and these weights."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from medseg.errors import BundleError
from medseg.files import sha256_of
from medseg.inference import (
    DeviceTraits,
    PrecisionRecord,
    Segmenter,
    SlidingWindow,
    add_record,
    choose_precision,
    read_records,
)

CPU = torch.device("cpu")
ZEN4, SAPPHIRE_RAPIDS = {"avx512_bf16": True}, {"avx512_bf16": True, "amx_bf16": True}


@pytest.fixture
def cpu_with(monkeypatch: pytest.MonkeyPatch) -> object:
    def have(features: dict[str, bool]) -> None:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)

    have(ZEN4)
    return have


@pytest.fixture
def weights(tmp_path: Path) -> str:
    (tmp_path / "model.pt").write_bytes(b"some weights")
    return str(tmp_path / "model.pt")


def record(weights: str, **changes: object) -> PrecisionRecord:
    made = PrecisionRecord(
        device=DeviceTraits("cpu", ("avx512_bf16",)),
        weights_sha256=sha256_of(Path(weights)),
        cases=20,
        minimum_dice=0.9991,
        minimum_class="lung",
        passed=True,
        torch_version="2.8.0",
        date="2026-01-31",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def choose(weights: str, folder: Path, precision: str = "auto", *, device: torch.device = CPU) -> torch.dtype:
    return choose_precision(precision, device=device, record=folder / "precision.json", weights=weights)  # type: ignore[arg-type]


@pytest.mark.usefixtures("cpu_with")
def test_a_record_that_passed_on_such_a_device_gives_bfloat16(tmp_path: Path, weights: str) -> None:
    add_record(record(weights), tmp_path / "precision.json")
    assert choose(weights, tmp_path) == torch.bfloat16
    assert choose(weights, tmp_path, "fp32") == torch.float32


@pytest.mark.usefixtures("cpu_with")
@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"passed": False, "minimum_dice": 0.9312}, r"bfloat16 changes labels, Dice down to 0\.9312 on 20 test cases"),
        ({"weights_sha256": "0" * 64}, "no record .* with these weights"),
        (
            {"device": DeviceTraits("cpu", ("amx_bf16", "avx512_bf16"))},
            r"no record .* this device \(cpu: avx512_bf16\)",
        ),
        ({"device": DeviceTraits("cuda", ("a GPU", "capability 9.0"))}, "no record .* this device"),
    ],
    ids=["failed", "other weights", "other CPU", "GPU"],
)
def test_any_other_record_gives_float32_and_one_line_says_why(
    tmp_path: Path, weights: str, changes: dict[str, object], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    add_record(record(weights, **changes), tmp_path / "precision.json")
    with caplog.at_level(logging.INFO, "medseg"):
        assert choose(weights, tmp_path) == torch.float32
    (line,) = caplog.messages
    assert line.startswith("precision auto: float32")
    assert re.search(why, line)
    assert choose(weights, tmp_path, "bf16") == torch.bfloat16


@pytest.mark.usefixtures("cpu_with")
def test_without_a_record_it_is_float32_and_the_line_names_the_command(
    tmp_path: Path, weights: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "medseg"):
        assert choose(weights, tmp_path) == torch.float32
        assert choose_precision("auto", device=CPU, record=None, weights=()) == torch.float32
    assert len(caplog.messages) == 2
    assert all("medseg bundle precision BUNDLE --datalist FILE" in line for line in caplog.messages)


def test_a_device_without_bfloat16_needs_no_record_and_says_nothing(
    tmp_path: Path, weights: str, cpu_with: object, caplog: pytest.LogCaptureFixture
) -> None:
    cpu_with({})  # type: ignore[operator]
    add_record(record(weights, device=DeviceTraits("cpu", ())), tmp_path / "precision.json")
    with caplog.at_level(logging.INFO, "medseg"):
        assert choose(weights, tmp_path) == torch.float32
    assert not caplog.messages


@pytest.mark.usefixtures("cpu_with")
def test_a_record_is_made_with_torch_and_speaks_for_no_other_back_end(
    tmp_path: Path, weights: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    add_record(record(weights), tmp_path / "precision.json")
    for backend, dtype in (("torch", torch.bfloat16), ("openvino", torch.float32)):
        segmenter = Segmenter(
            network=torch.nn.Conv3d(1, 2, 1),
            loading=[],
            preprocessing=[],
            inferer=SlidingWindow(roi_size=[4] * 3),
            precision_record=str(tmp_path / "precision.json"),
            weights=weights,
            backend=backend,  # type: ignore[arg-type]
        )
        assert segmenter.precision_on(CPU) == dtype
    assert caplog.messages == [  # no command is named: there is none that would make such a record
        "precision auto: float32; records of bfloat16 are made with torch and tell nothing of openvino"
    ]


def test_a_gpu_is_told_by_name_and_capability(tmp_path: Path, weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA A")
    add_record(record(weights, device=DeviceTraits.of(gpu)), tmp_path / "precision.json")
    assert choose(weights, tmp_path, device=gpu) == torch.bfloat16
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA B")
    assert choose(weights, tmp_path, device=gpu) == torch.float32


@pytest.mark.usefixtures("cpu_with")
def test_an_ensemble_is_its_files_in_their_order(tmp_path: Path, weights: str) -> None:
    from medseg.networks.weights import weights_sha256

    (tmp_path / "b.pt").write_bytes(b"other weights")
    both = [weights, str(tmp_path / "b.pt")]
    add_record(record(weights, weights_sha256=weights_sha256(both)), tmp_path / "precision.json")
    path = tmp_path / "precision.json"
    assert choose_precision("auto", device=CPU, record=path, weights=both) == torch.bfloat16
    assert choose_precision("auto", device=CPU, record=path, weights=weights) == torch.float32


def test_records_of_other_devices_stay_and_those_of_other_weights_go(tmp_path: Path, weights: str) -> None:
    path, amx = tmp_path / "precision.json", DeviceTraits("cpu", ("amx_bf16", "avx512_bf16"))
    first, other_device = record(weights), record(weights, device=amx, minimum_dice=0.99, passed=False)
    for made in (record(weights, weights_sha256="0" * 64), first, other_device):
        add_record(made, path)
    assert read_records(path) == (first, other_device)
    again = replace(first, date="2026-02-01")
    add_record(again, path)
    assert read_records(path) == (other_device, again)
    assert json.loads(path.read_text())["least_dice"] == 0.998


@pytest.mark.usefixtures("cpu_with")
@pytest.mark.parametrize("content", ["", "[]", '{"records": [{}]}', '{"records": 3}', "nothing"])
def test_a_damaged_record_is_refused(tmp_path: Path, weights: str, content: str) -> None:
    (tmp_path / "precision.json").write_text(content)
    with pytest.raises(BundleError, match=r"precision\.json: no record of precision.*make it again"):
        choose(weights, tmp_path)


@pytest.mark.usefixtures("cpu_with")
@pytest.mark.parametrize(("passed", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_the_network_runs_in_what_was_chosen(
    tmp_path: Path, weights: str, passed: bool, dtype: torch.dtype, caplog: pytest.LogCaptureFixture
) -> None:
    add_record(record(weights, passed=passed), tmp_path / "precision.json")
    seen: set[torch.dtype] = set()

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = torch.nn.Conv3d(1, 2, 1)

        def forward(self, values: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.convolution(values)
            seen.add(logits.dtype)
            return logits

    def loading(data: dict[str, object]) -> dict[str, object]:
        return {**data, "image": MetaTensor(torch.arange(64.0).reshape(1, 4, 4, 4), affine=torch.eye(4))}

    segmenter = Segmenter(
        network=Network(),
        loading=[loading],
        preprocessing=[],
        inferer=SlidingWindow(roi_size=[4, 4, 4]),
        precision_record=str(tmp_path / "precision.json"),
        weights=weights,
    )
    with caplog.at_level(logging.INFO, "medseg"):
        for _ in range(2):
            assert np.asarray(segmenter({"image": "a"}).labels.array).shape == (4, 4, 4)
    assert seen == {dtype}
    assert segmenter.precision_on(CPU) == dtype
    assert len(caplog.messages) == (0 if passed else 1)
