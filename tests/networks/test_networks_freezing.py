"""Frozen parts: named by patterns, not trained, and their batch normalisation at rest."""

from __future__ import annotations

import copy

import pytest
import torch

from medseg.errors import BundleError
from medseg.networks import UNet2d
from medseg.networks.weights import start_weights


def tiny() -> UNet2d:
    torch.manual_seed(0)
    return UNet2d(in_channels=1, out_channels=2, base_width=2, depth=2)


def step(network: torch.nn.Module) -> None:
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    network.train()
    network(torch.rand(2, 1, 8, 8) + 3).square().mean().backward()
    optimizer.step()


def test_what_the_patterns_name_stays_and_the_rest_learns() -> None:
    network = start_weights(tiny(), path=None, freeze=["encoder*", "bridge.*.weight"])
    before = copy.deepcopy(network.state_dict())
    step(network)
    for name, value in network.named_parameters():
        frozen = name.startswith("encoder") or (name.startswith("bridge") and name.endswith("weight"))
        assert torch.equal(value, before[name]) == frozen, name


def test_frozen_batch_normalisation_keeps_its_statistics_also_in_a_copy() -> None:
    """The bridge's norms keep a trained bias, so they are not frozen and go on counting."""
    network = start_weights(tiny(), path=None, freeze=["encoder*", "bridge.*.weight"])
    for one in (network, copy.deepcopy(network)):
        before = copy.deepcopy(one.state_dict())
        step(one)
        counted = {name for name, value in one.named_buffers() if not torch.equal(value, before[name])}
        assert all(not name.startswith("encoder") for name in counted)
        assert {name for name, _ in one.named_buffers() if not name.startswith("encoder")} == counted


def test_a_frozen_layer_gives_in_training_what_it_gives_afterwards() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2), torch.nn.Conv2d(2, 1, 1))
    start_weights(network, path=None, freeze=["0.*", "1.*"])
    image = torch.rand(4, 1, 3, 3) * 9
    assert torch.equal(network.train()(image), network.eval()(image))


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (["encoder*", "enc"], r"no weights of the network fit the pattern; got 'enc'; expected for .* encoder\*"),
        (["*"], r"nothing is left to train; got \*"),
    ],
    ids=["fits nothing", "fits all"],
)
def test_patterns_that_cannot_be_meant_are_refused(patterns: list[str], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        start_weights(tiny(), path=None, freeze=patterns)
