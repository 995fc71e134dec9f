"""Each back end gives the logits of the network as it is; the tuned twin also for the layers that it rewrites."""

from __future__ import annotations

import sys

import pytest
import torch
from monai.networks.blocks import ResidualUnit
from monai.networks.nets import DynUNet, UNet
from torch import nn

from medseg.errors import BundleError
from medseg.inference.backends import runnable
from medseg.inference.tuned import SampleNorm, SeveralVoxels, Subpixel, tuned
from medseg.networks import UNet2d

CPU = torch.device("cpu")


def unet(dims: int = 3) -> nn.Module:
    return UNet(
        spatial_dims=dims,
        in_channels=1,
        out_channels=3,
        channels=[4, 8, 16],
        strides=[2, 2],
        num_res_units=1,
        norm=("INSTANCE", {"affine": True}),
    )


def dynunet() -> nn.Module:
    return DynUNet(
        spatial_dims=3,
        in_channels=2,
        out_channels=2,
        kernel_size=[3, 3, 3],
        strides=[1, 2, 2],
        upsample_kernel_size=[2, 2],
        filters=[4, 8, 16],
        norm_name="INSTANCE",
        deep_supervision=True,
        deep_supr_num=1,
    )


NETWORKS = {
    "unet-3d": (unet, (2, 1, 16, 24, 20)),
    "unet-2d": (lambda: unet(2), (3, 1, 24, 16)),
    "dynunet": (dynunet, (1, 2, 16, 16, 8)),
    "batchnorm-2d": (lambda: UNet2d(in_channels=1, out_channels=2, base_width=4, depth=3), (2, 1, 17, 32)),
}


@pytest.fixture(params=sorted(NETWORKS))
def network_and_windows(request):
    torch.manual_seed(3)
    make, shape = NETWORKS[request.param]
    network = make().eval()
    for parameter in network.parameters():  # norms' weights of ones and zeros would hide a wrong order
        parameter.data += 0.2 * torch.rand_like(parameter)
    return network, torch.rand(shape)


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_float32_logits_are_those_of_the_network(network_and_windows, backend):
    if backend == "openvino":
        pytest.importorskip("openvino")
    network, windows = network_and_windows
    run = runnable(network, backend=backend, device=CPU, dtype=torch.float32)
    with torch.inference_mode():
        expected, got = network(windows), run(windows)
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_bfloat16_logits_are_no_further_off_than_under_autocast(network_and_windows, backend):
    if backend == "openvino":
        pytest.importorskip("openvino")
    network, windows = network_and_windows
    run = runnable(network, backend=backend, device=CPU, dtype=torch.bfloat16)
    with torch.inference_mode():
        expected = network(windows)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = network(windows).float()
        got = run(windows).float()
    error, usual = ((each - expected).square().mean().sqrt() for each in (got, rounded))
    assert error < 2 * usual + 1e-6


def test_a_network_keeps_its_weights_and_layers():
    network = unet().eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    layers = [type(module) for module in network.modules()]
    runnable(network, device=CPU, dtype=torch.bfloat16)(torch.rand(1, 1, 8, 8, 8))
    after = network.state_dict()
    assert [type(module) for module in network.modules()] == layers
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert all(parameter.requires_grad and parameter.dtype == torch.float32 for parameter in network.parameters())


def test_the_twin_rewrites_what_is_slow_and_nothing_else():
    twin = tuned(unet().eval(), dtype=torch.float32)
    found = [type(module) for module in twin.modules()]
    assert nn.InstanceNorm3d not in found
    assert found.count(Subpixel) == 2  # to 4 and to 3 channels
    assert SampleNorm in found
    assert SeveralVoxels in found
    assert ResidualUnit not in [type(module) for module in twin.model[2].modules()]  # x + its one convolution
    wide = nn.Sequential(nn.Conv3d(16, 16, 3, padding=1), nn.BatchNorm3d(16), nn.ConvTranspose3d(16, 16, 2, stride=2))
    assert [type(m) for m in tuned(wide, dtype=torch.float32)] == [nn.Conv3d, nn.BatchNorm3d, nn.ConvTranspose3d]


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize(
    "layer",
    [
        lambda bias: nn.ConvTranspose3d(5, 3, 3, stride=2, padding=1, output_padding=1, bias=bias),
        lambda bias: nn.Conv3d(3, 2, 3, padding=1, bias=bias),
        lambda bias: ResidualUnit(3, 2, 2, subunits=1, last_conv_only=True, bias=bias),
        lambda bias: ResidualUnit(3, 9, 9, subunits=1, last_conv_only=True, bias=bias),
        lambda bias: nn.InstanceNorm3d(3, affine=bias),
        lambda bias: nn.InstanceNorm3d(16, affine=bias),
        lambda bias: nn.InstanceNorm2d(3, affine=bias),
    ],
    ids=["transposed", "convolution", "residual", "wide-residual", "few-norms", "norms", "norms-2d"],
)
@pytest.mark.parametrize("last", [4, 5, 12], ids=["4", "5", "12"])
def test_a_rewritten_layer_is_the_layer(layer, bias, last):
    torch.manual_seed(5)
    original = layer(bias)
    twin = tuned(nn.Sequential(original), dtype=torch.float32)
    assert type(twin[0]) is not type(original)
    channels = getattr(original, "in_channels", None) or original.num_features
    sizes = (3, last) if "2d" in type(original).__name__ else (3, 4, last)
    x = 7 + torch.randn(2, channels, *sizes)
    layout = torch.channels_last_3d if len(sizes) == 3 else torch.channels_last
    with torch.inference_mode():
        torch.testing.assert_close(twin(x.to(memory_format=layout)), original(x), rtol=1e-4, atol=1e-5)


def test_a_layer_in_two_places_stays_one():
    norm = nn.InstanceNorm3d(2)
    twin = tuned(nn.Sequential(norm, nn.ReLU(), norm), dtype=torch.float32)
    assert twin[0] is twin[2]


def test_an_activation_works_in_place_only_behind_a_norm():
    layers = nn.Sequential(nn.PReLU(), nn.InstanceNorm3d(2), nn.Dropout(), nn.PReLU())
    twin = tuned(layers.eval(), dtype=torch.float32)
    x = torch.randn(1, 2, 4, 4, 4)
    kept = x.clone()
    with torch.inference_mode():
        torch.testing.assert_close(twin(x), layers(x))
    assert torch.equal(x, kept)
    assert [twin[0].inplace, twin[3].inplace] == [False, True]


def test_unknown_back_ends_are_refused():
    with pytest.raises(BundleError, match=r"unknown back end.*'tensorrt'.*torch or openvino"):
        runnable(unet(), backend="tensorrt", device=CPU, dtype=torch.float32)


def test_a_missing_extra_names_its_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(BundleError, match=r"pip install 'medseg\[openvino\]'"):
        runnable(unet(), backend="openvino", device=CPU, dtype=torch.float32)


def test_openvino_is_for_cpus():
    with pytest.raises(BundleError, match="device cuda:0"):
        runnable(unet(), backend="openvino", device=torch.device("cuda:0"), dtype=torch.float32)
