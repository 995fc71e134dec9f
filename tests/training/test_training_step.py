"""One training step and one validation step, against plain PyTorch."""

from __future__ import annotations

import shutil
from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from monai.losses import DiceCELoss
from monai.transforms import RandScaleIntensityd

from medseg.errors import BundleError, TrainingError
from medseg.training import BatchAugmentation, EvaluationStep, StackedDeepSupervisionLoss, TrainingStep


def engine(network: torch.nn.Module, rate: float = 0.1) -> Any:
    """What the steps use of MONAI's engine."""
    return SimpleNamespace(
        state=SimpleNamespace(device=torch.device("cpu")),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=rate),
        loss_function=lambda prediction, label: ((prediction - label) ** 2).mean(),
        inferer=lambda image, network: network(image),
    )


def batch() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(1)
    return {
        "image": torch.randn(2, 1, 8, 8, generator=generator),
        "label": torch.randn(2, 2, 8, 8, generator=generator),
        "id": ["a", "b"],
    }


@pytest.fixture
def network() -> torch.nn.Module:
    torch.manual_seed(3)
    return torch.nn.Conv2d(1, 2, 3, padding=1)


def gradient_step(network: torch.nn.Module, limit: float | None) -> tuple[torch.nn.Module, float]:
    """The same step by hand, the gradient's norm limited; and that norm."""
    plain, data = deepcopy(network), batch()
    loss = ((plain(data["image"]) - data["label"]) ** 2).mean()
    gradients = torch.autograd.grad(loss, list(plain.parameters()))
    norm = float(torch.cat([gradient.flatten() for gradient in gradients]).norm())
    factor = 1.0 if limit is None else min(1.0, limit / norm)
    with torch.no_grad():
        for parameter, gradient in zip(plain.parameters(), gradients, strict=True):
            parameter -= 0.1 * factor * gradient
    return plain, norm


@pytest.mark.parametrize("limit", [None, 1e9, 0.01], ids=["no clipping", "never reached", "reached"])
def test_a_step_goes_down_the_gradient_no_further_than_the_limit(network: torch.nn.Module, limit: float | None) -> None:
    expected, norm = gradient_step(network, limit)
    assert norm > 0.01
    output = TrainingStep(precision="fp32", max_gradient_norm=limit)(engine(network), batch())
    for ours, theirs in zip(network.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    assert not output["loss"].requires_grad
    assert not output["pred"].requires_grad
    assert network.training


@pytest.mark.parametrize("limit", [0, -1.0, float("nan")])
def test_a_limit_that_leaves_nothing_of_a_gradient_is_refused(limit: float) -> None:
    with pytest.raises(BundleError, match=f"max_gradient_norm; got {limit}; expected a number above 0, or null"):
        TrainingStep(max_gradient_norm=limit)


def test_bfloat16_is_near_float32_and_the_loss_stays_float32(network: torch.nn.Module) -> None:
    outputs = [TrainingStep(precision=p)(engine(deepcopy(network)), batch()) for p in ("fp32", "bf16")]
    assert [output["loss"].dtype for output in outputs] == [torch.float32, torch.float32]
    assert [output["pred"].dtype for output in outputs] == [torch.float32, torch.float32]
    difference = (outputs[0]["pred"] - outputs[1]["pred"]).abs().max()
    assert 0 < difference < 0.05  # bfloat16 has 8 bits of mantissa


def _holds(samples: int) -> Any:
    """An inferer on a device whose memory holds so many samples; what it was given is in its `given`."""

    def infer(image: torch.Tensor, network: torch.nn.Module) -> torch.Tensor:
        infer.given.append(len(image))  # type: ignore[attr-defined]
        if len(image) > samples:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB\nand more words")
        result: torch.Tensor = network(image)
        return result

    infer.given = []  # type: ignore[attr-defined]
    return infer


def test_a_batch_that_does_not_fit_is_taken_in_parts_with_the_same_gradient(
    network: torch.nn.Module, caplog: pytest.LogCaptureFixture
) -> None:
    generator = torch.Generator().manual_seed(2)
    five = {name: torch.randn(5, c, 8, 8, generator=generator) for name, c in (("image", 1), ("label", 2))}
    expected, small = engine(deepcopy(network)), engine(network)
    small.inferer = _holds(2)
    for one in (expected, small):  # a loss that is no mean over samples, as batch Dice is none
        one.loss_function = lambda logits, label: 1 - (logits * label).sum() / (logits.square() + label.square()).sum()
    step = TrainingStep(precision="fp32")
    whole = TrainingStep(precision="fp32")(expected, five)
    parts = step(small, five)
    assert small.inferer.given[:4] == [5, 2, 2, 1]
    assert sorted(small.inferer.given[4:]) == [1, 2, 2]  # again on the way back
    torch.testing.assert_close(parts["pred"], whole["pred"])
    torch.testing.assert_close(parts["loss"], whole["loss"])
    torch.testing.assert_close(network.state_dict(), expected.network.state_dict())
    assert "5 samples at once needs more memory than there is: from now on 2 at a time" in caplog.text
    small.inferer.given.clear()
    step(small, five)
    assert max(small.inferer.given) == 2  # it remembers


def test_a_sample_that_does_not_fit_says_what_to_do(network: torch.nn.Module) -> None:
    none = engine(network)
    none.inferer = _holds(0)
    with pytest.raises(TrainingError, match=r"one sample needs more memory.*Tried to allocate 2\.00 GiB;.*window"):
        TrainingStep(precision="fp32")(none, batch())


def test_of_several_processes_none_takes_parts_by_itself(
    network: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medseg.training.memory.processes", lambda: 2)  # the other one would wait for ever
    small = engine(network)
    small.inferer = _holds(1)
    with pytest.raises(TrainingError, match=r"2 samples needs more memory.*smaller window, batch_size"):
        TrainingStep(precision="fp32")(small, batch())
    assert small.inferer.given == [2]


def test_other_errors_of_a_step_stay_what_they_are(network: torch.nn.Module) -> None:
    with pytest.raises(RuntimeError, match="channels"):
        TrainingStep(precision="fp32")(engine(network), batch() | {"image": torch.zeros(2, 3, 8, 8)})


class _SpoiltInBfloat16(torch.autograd.Function):
    """Nothing forwards; backwards a gradient that is not finite where the values are bfloat16."""

    @staticmethod
    def forward(context: Any, values: torch.Tensor) -> torch.Tensor:
        return values.clone()

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * float("nan") if gradient.dtype == torch.bfloat16 else gradient


def test_a_gradient_spoilt_in_bfloat16_is_taken_again_in_float32(
    network: torch.nn.Module, caplog: pytest.LogCaptureFixture
) -> None:
    expected, _ = gradient_step(network, None)
    spoilt = engine(network)
    spoilt.state.iteration = 7
    spoilt.inferer = lambda image, network: _SpoiltInBfloat16.apply(network(image))
    with caplog.at_level("INFO"):
        TrainingStep(precision="bf16")(spoilt, batch())
    for ours, theirs in zip(network.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    assert "step 7: a gradient that is not finite" in caplog.text


def test_a_batch_is_augmented_before_the_step_from_the_seeds_of_its_cases(network: torch.nn.Module) -> None:
    doubled = BatchAugmentation(transforms=[RandScaleIntensityd(keys="image", prob=1.0, factors=(1.0, 1.0))])
    data = batch()
    expected = deepcopy(network)
    TrainingStep(precision="fp32")(engine(expected), data | {"image": 2 * data["image"]})
    TrainingStep(precision="fp32", augmentation=doubled)(engine(network), data | {"seed": torch.tensor([3, 4])})
    torch.testing.assert_close(network.weight, expected.weight)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a compiler: apt-get install g++")
def test_a_compiled_network_takes_the_same_step_and_keeps_the_names_of_its_weights(network: torch.nn.Module) -> None:
    expected = deepcopy(network)
    TrainingStep(precision="fp32")(engine(expected), batch())
    TrainingStep(precision="fp32", compile_mode="default")(engine(network), batch())
    assert list(network.state_dict()) == ["weight", "bias"]
    torch.testing.assert_close(network.state_dict(), expected.state_dict())


def test_an_unknown_mode_of_compiling_is_refused() -> None:
    with pytest.raises(BundleError, match=r"torch\.compile; got fast; expected null or one of default, reduce"):
        TrainingStep(compile_mode="fast")


def test_an_unknown_precision_is_refused(network: torch.nn.Module) -> None:
    with pytest.raises(BundleError, match="unknown precision; got 'fp16'; expected auto, bf16 or fp32"):
        TrainingStep(precision="fp16")(engine(network), batch())  # type: ignore[arg-type]


def test_validation_changes_nothing() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3, padding=1), torch.nn.BatchNorm2d(2), torch.nn.Dropout(0.5))
    before = deepcopy(network.state_dict())
    outputs = [EvaluationStep()(engine(network), batch())["pred"] for _ in range(2)]
    assert torch.equal(outputs[0], outputs[1])
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert not network.training


def test_deep_supervision_weighs_the_heads_by_halves() -> None:
    generator = torch.Generator().manual_seed(0)
    heads = torch.randn(2, 3, 3, 4, 4, 4, generator=generator)  # (B, K, C, X, Y, Z)
    label = torch.randint(0, 3, (2, 1, 4, 4, 4), generator=generator)
    loss = DiceCELoss(to_onehot_y=True, softmax=True)
    by_hand = sum(0.5**k * loss(heads[:, k], label) for k in range(3))
    torch.testing.assert_close(StackedDeepSupervisionLoss(loss=loss)(heads, label), by_hand)
    torch.testing.assert_close(StackedDeepSupervisionLoss(loss=loss)(heads[:, 0], label), loss(heads[:, 0], label))
