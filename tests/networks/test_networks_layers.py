"""The table of layers: right shapes and counts, for networks of any origin."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from medseg.errors import BundleError
from medseg.networks import UNet2d, describe


def test_describe_counts_by_hand() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 4, 1, bias=False))
    network[2].requires_grad_(False)
    rows = [re.split(" {2,}", line) for line in describe(network, (1, 1, 5, 6)).splitlines()]
    assert rows[2:5] == [
        ["0", "Conv2d", "1 x 2 x 3 x 4", "20"],  # 2 * (9 + 1)
        ["1", "ReLU", "1 x 2 x 3 x 4", "0"],
        ["2", "Conv2d", "1 x 4 x 3 x 4", "8"],
    ]
    assert describe(network, (1, 1, 5, 6)).splitlines()[-1] == "parameters: 28 in all, 20 trainable"


def test_describe_shows_weights_that_lie_beside_layers_and_layers_not_used() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))
            self.spare = nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x * self.scale[0], x.sum(1)

    text = describe(Odd(), (2, 3, 4))
    assert "Odd    Odd     2 x 3 x 4, 2 x 4           3" in text
    assert "spare  Linear  not used                   6" in text


def test_describe_leaves_the_network_alone() -> None:
    network = UNet2d(in_channels=1, out_channels=2, base_width=4, depth=2).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    describe(network, (1, 1, 9, 9))
    assert network.training
    assert not network.head._forward_hooks
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_describe_takes_networks_of_monai() -> None:
    from monai.networks.nets import DynUNet, UNet

    unet = UNet(3, 1, 3, channels=(4, 8, 16), strides=(2, 2), num_res_units=1)
    assert "1 x 3 x 16 x 16 x 16" in describe(unet, (1, 1, 16, 16, 16))
    dynunet = DynUNet(3, 1, 3, [3, 3, 3], [1, 2, 2], [2, 2], filters=[4, 8, 16], deep_supervision=True)
    text = describe(dynunet, (1, 1, 16, 16, 16))
    assert f"parameters: {sum(weight.numel() for weight in dynunet.parameters()):,} in all" in text
    assert "1 x 16 x 4 x 4 x 4" in text


def test_describe_says_which_shape_a_network_refuses() -> None:
    with pytest.raises(BundleError, match=r"UNet2d does not take an input of shape 1 x 2 x 8 x 8"):
        describe(UNet2d(in_channels=1, out_channels=2, base_width=4, depth=2), (1, 2, 8, 8))
