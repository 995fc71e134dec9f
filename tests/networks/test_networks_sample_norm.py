"""Instance norms that keep a channels-last tensor: the numbers of torch's own, in the layout that came in."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn

from medseg.networks.sample_norm import keep_layout

LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}


def norm(spatial_dims: int, *, affine: bool = True, running: bool = False) -> nn.Module:
    kind = nn.InstanceNorm2d if spatial_dims == 2 else nn.InstanceNorm3d
    layer = kind(6, affine=affine, track_running_stats=running)
    if affine:
        nn.init.uniform_(layer.weight)
        nn.init.uniform_(layer.bias)
    return layer


def images(spatial_dims: int, batch: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(spatial_dims)
    x = 1 + 5 * torch.randn(batch, 6, *(7, 6, 5)[:spatial_dims], generator=generator)
    return x.contiguous(memory_format=LAYOUTS[x.ndim])


@pytest.mark.parametrize("affine", [True, False], ids=["affine", "plain"])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_values_and_gradients_are_those_of_torch(spatial_dims: int, batch: int, affine: bool) -> None:
    theirs = norm(spatial_dims, affine=affine)
    ours = deepcopy(theirs)
    assert keep_layout(ours) == 1
    results = []
    for layer in (theirs, ours):
        x = images(spatial_dims, batch).requires_grad_()
        y = layer(x)
        (y * torch.arange(y.numel()).view(y.shape) / y.numel()).sum().backward()
        assert x.grad is not None
        results.append([y.detach(), x.grad, *(parameter.grad for parameter in layer.parameters())])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=2e-5)
    assert results[1][0].is_contiguous(memory_format=LAYOUTS[spatial_dims + 2])


def test_names_and_weights_stay_and_a_second_time_changes_nothing() -> None:
    network = nn.Sequential(nn.Conv3d(1, 6, 3), norm(3), nn.ReLU())
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert keep_layout(network) == 1
    assert keep_layout(network) == 0
    assert list(network.state_dict()) == list(before)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert isinstance(network[1], nn.InstanceNorm3d)


def test_other_layouts_and_running_statistics_are_left_to_torch() -> None:
    running = norm(3, running=True)
    assert keep_layout(running) == 0
    assert type(running) is nn.InstanceNorm3d
    layer, x = norm(2), images(2, 2).contiguous()
    expected = deepcopy(layer)(x)
    keep_layout(layer)
    assert torch.equal(layer(x), expected)
    assert torch.equal(layer(x[0]), expected[0])  # without an axis of samples
