"""Gradients of convolutions of small maps in bfloat16 on a CPU: of the input, never of what the memory held before."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from medseg.networks.small_maps import exact_small_maps

LAYOUTS = {2: torch.channels_last, 3: torch.channels_last_3d}
CASES: dict[str, tuple[type[nn.Module], dict[str, Any], tuple[int, ...]]] = {
    "2 voxels deep": (nn.Conv3d, {"kernel_size": 3, "padding": 1}, (2, 4, 6)),
    "one voxel": (nn.Conv3d, {"kernel_size": 3, "padding": 1, "stride": 2}, (1, 1, 1)),
    "a kernel of 5": (nn.Conv3d, {"kernel_size": 5, "padding": 2}, (4, 6, 6)),
    "one pixel wide": (nn.Conv2d, {"kernel_size": 3, "padding": 1, "stride": 2}, (4, 1)),
    "transposed": (nn.ConvTranspose3d, {"kernel_size": 3, "padding": 1}, (2, 2, 2)),
}


def leave_in_memory(value: float) -> None:
    """What is taken next holds it, as far as it is not written."""
    kept = [torch.full((2**power,), value) for power in range(4, 21) for _ in range(4)]
    del kept


def gradients(layer: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    layer.zero_grad(set_to_none=True)
    x = x.detach().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    y.float().square().mean().backward()
    assert x.grad is not None
    return [x.grad, *(parameter.grad for parameter in layer.parameters() if parameter.grad is not None)]


@pytest.mark.parametrize("case", CASES)
def test_a_gradient_holds_nothing_that_lay_in_memory(case: str) -> None:
    kind, settings, size = CASES[case]
    layer = kind(32, 64, **settings).to(memory_format=LAYOUTS[len(size)])
    x = torch.randn(2, 32, *size, generator=torch.Generator().manual_seed(1))
    x = x.contiguous(memory_format=LAYOUTS[len(size)])
    assert exact_small_maps(layer) == 1
    first = gradients(layer, x)
    for value in (1e6, float("nan"), -3e30):
        leave_in_memory(value)
        for one, other in zip(gradients(layer, x), first, strict=True):
            assert torch.equal(one, other)


def test_large_maps_stay_in_bfloat16_and_names_and_weights_as_they_are() -> None:
    network = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.ConvTranspose3d(4, 2, 2, stride=2), nn.Conv1d(2, 2, 3))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert exact_small_maps(network) == 2
    assert exact_small_maps(network) == 0
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    with torch.autocast("cpu", torch.bfloat16):
        assert network[0](torch.ones(1, 1, 3, 3, 3)).dtype == torch.bfloat16
        assert network[0](torch.ones(1, 1, 2, 3, 3)).dtype == torch.float32
        assert network[1](torch.ones(1, 4, 1, 1, 1)).shape == (1, 2, 2, 2, 2)
    assert network[0](torch.ones(1, 1, 2, 3, 3)).dtype == torch.float32
