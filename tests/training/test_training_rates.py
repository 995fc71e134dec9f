"""Learning rates by part of the network: groups, schedules, a resumed optimiser, and what is refused."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch

from medseg.errors import BundleError
from medseg.networks import UNet2d
from medseg.training import parameter_groups

ENCODER = ["encoder.*", "bridge.*"]


def tiny() -> UNet2d:
    return UNet2d(in_channels=1, out_channels=2, base_width=2, depth=2)


def rates(network: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, float]:
    of_parameter = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    return {name: of_parameter[id(p)] for name, p in network.named_parameters() if id(p) in of_parameter}


def test_without_factors_there_is_one_group_of_all_that_is_trained() -> None:
    network = tiny()
    network.head.requires_grad_(False)
    (group,) = parameter_groups(network, learning_rate=0.5, encoder=ENCODER)
    assert group["lr"] == 0.5
    assert [id(p) for p in group["params"]] == [id(p) for p in network.parameters() if p.requires_grad]


def test_the_encoder_learns_at_its_factor_all_along_the_schedule() -> None:
    network = tiny()
    optimizer = torch.optim.AdamW(parameter_groups(network, learning_rate=0.5, encoder=ENCODER, encoder_factor=0.1))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4)
    assert optimizer.param_groups[0]["lr"] == 0.5  # what the records of a run show
    for share in (1.0, 0.8535533906, 0.5):  # (1 + cos(pi k / 4)) / 2, k = 0, 1, 2
        for name, rate in rates(network, optimizer).items():
            slow = name.startswith(("encoder", "bridge"))
            assert rate == pytest.approx(0.5 * share * (0.1 if slow else 1.0)), name
        optimizer.step()
        schedule.step()


def test_the_first_pattern_that_fits_decides_and_comes_before_the_encoder() -> None:
    network = tiny()
    factors = {"encoder.0.0.*": 0.01, "*.0.weight": 2.0}
    groups = parameter_groups(network, learning_rate=1.0, encoder=ENCODER, encoder_factor=0.1, factors=factors)
    found = rates(network, torch.optim.SGD(groups))
    assert found["encoder.0.0.weight"] == 0.01
    assert found["bridge.0.0.weight"] == 2.0
    assert found["bridge.0.3.weight"] == 0.1
    assert found["head.weight"] == 1.0


def test_a_resumed_optimiser_has_the_rates_that_it_was_saved_with() -> None:
    network = tiny()
    first = torch.optim.AdamW(parameter_groups(network, learning_rate=0.5, encoder=ENCODER, encoder_factor=0.1))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(first, T_max=4)
    first.step()
    schedule.step()
    again = torch.optim.AdamW(parameter_groups(network, learning_rate=0.5, encoder=ENCODER, encoder_factor=0.1))
    again.load_state_dict(first.state_dict())
    assert rates(network, again) == rates(network, first)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"encoder_factor": 0.1}, ["encoder_learning_rate=0.1 has no effect: the 12 tensors"]),
        ({"encoder_factor": 1.0}, []),
        (
            {"factors": {"encoder.0.*": 0.5, "*.weight": 0.1, "head.*": 2.0}},
            ["learning_rate_factors: encoder.0.* has no effect: the 6 tensors"],
        ),
    ],
    ids=["encoder", "no rate of its own", "factors"],
)
def test_a_rate_of_frozen_parameters_alone_is_told(
    arguments: dict[str, Any], told: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    network = tiny()
    for part in (network.encoder, network.bridge):
        part.requires_grad_(False)
    parameter_groups(network, learning_rate=1.0, encoder=ENCODER, **arguments)
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert [text[: len(start)] for text, start in zip(warnings, told, strict=True)] == told


def test_a_rate_of_an_encoder_that_is_frozen_in_part_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    network = tiny()
    network.encoder.requires_grad_(False)
    parameter_groups(network, learning_rate=1.0, encoder=ENCODER, encoder_factor=0.1)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"encoder": ENCODER, "encoder_factor": 0.0}, "learning rate for the encoder's; got 0.0; .* freeze leaves"),
        ({"factors": {"head.*": -1.0}}, r"learning rate for head.\*; got -1.0; expected a number above 0"),
        ({"factors": {"tail.*": 0.1}}, r"no weights of the network fit the pattern; got 'tail.\*'"),
        ({"factors": {"*": 0.1}}, "every trained parameter has a factor of its own; got 1, 0.1"),
    ],
    ids=["zero", "negative", "fits nothing", "all"],
)
def test_factors_that_cannot_be_meant_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        parameter_groups(tiny(), learning_rate=1.0, **arguments)
