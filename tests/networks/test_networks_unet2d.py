"""UNet2d: its size, its options, any picture size, and what it can be exported to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from medseg.errors import BundleError
from medseg.networks import UNet2d

OPTIONS: dict[str, dict[str, Any]] = {
    "classic": {},
    "pad": {"fit": "pad"},
    "upsample": {"upsampling": "upsample"},
    "upsample-pad": {"upsampling": "upsample", "fit": "pad"},
    "separable": {"separable": True},
    "attention": {"context_attention": True},
    "attention-separable": {"context_attention": True, "separable": True},
    "dropout": {"dropout": (0.0, 0.1, 0.5)},
    "frozen": {"freeze_batch_norm": True},
    "deep-supervision": {"deep_supervision": 1},
}
each_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())


def tiny(**options: Any) -> UNet2d:
    """A network of 3 stages whose normalisation has met data, so that its statistics are not those of a new one."""
    torch.manual_seed(0)
    network = UNet2d(in_channels=1, out_channels=3, base_width=4, **{"depth": 3, **options})
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    return network.eval()


def picture(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


def weights(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def classic_count(width: int, inputs: int, outputs: int) -> int:
    """The paper's network by hand: 3x3 without bias, two numbers a channel in BatchNorm, 2x2 up, 1x1 head."""
    widths = [width, 2 * width, 4 * width, 8 * width, 16 * width]
    down = sum(9 * a * b + 9 * b * b for a, b in zip([inputs, *widths], widths, strict=False))
    up = sum(9 * 2 * b * b + 9 * b * b + 4 * 2 * b * b + b for b in widths[:-1])
    norm = 4 * sum(widths) + 4 * sum(widths[:-1])
    return down + up + norm + width * outputs + outputs


def test_unet2d_is_the_classic_network() -> None:
    assert weights(UNet2d(in_channels=1, out_channels=1)) == 31_036_481 == classic_count(64, 1, 1)


def test_unet2d_of_base_width_32_has_a_quarter_of_the_weights() -> None:
    assert weights(UNet2d(in_channels=1, out_channels=4, base_width=32)) == 7_762_564 == classic_count(32, 1, 4)


def test_unet2d_separable_weights_by_hand() -> None:
    # two stages, 4 and 8 channels: each 3x3 convolution a -> b has 9a + ab weights
    convolutions = [(1, 4), (4, 4), (4, 8), (8, 8), (8, 4), (4, 4)]
    expected = sum(9 * a + a * b for a, b in convolutions) + 2 * sum(b for _, b in convolutions) + 8 * 4 * 4 + 4 + 4 + 1
    assert weights(UNet2d(in_channels=1, out_channels=1, base_width=4, depth=2, separable=True)) == expected


@each_option
@pytest.mark.parametrize("size", [(32, 48), (33, 47), (5, 2), (1, 1)], ids=str)
def test_unet2d_gives_logits_of_the_size_of_the_picture(options: dict[str, Any], size: tuple[int, int]) -> None:
    with torch.no_grad():
        logits = tiny(**options)(picture(2, 1, *size))
    assert logits.shape == (2, 3, *size)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("upsampling", ["transposed", "upsample"])
def test_unet2d_fits_agree_where_nothing_needs_fitting(upsampling: str) -> None:
    """Sizes that halve evenly: neither way of fitting may touch the features."""
    interpolating, padding = tiny(upsampling=upsampling), tiny(upsampling=upsampling, fit="pad")
    with torch.no_grad():
        assert torch.equal(interpolating(picture(1, 1, 16, 24)), padding(picture(1, 1, 16, 24)))
        assert not torch.equal(interpolating(picture(1, 1, 15, 23)), padding(picture(1, 1, 15, 23)))


def test_unet2d_padding_keeps_odd_pictures_in_place() -> None:
    """Far from the cut edge a picture and its first 33 columns give the same logits: nothing was shifted."""
    network = tiny(fit="pad")
    whole = picture(1, 1, 64, 64)
    with torch.no_grad():
        even, odd = network(whole), network(whole[:, :, :33, :33])
    # 3 stages see 8 + 3 * (1 + 2) pixels at most to each side
    assert torch.allclose(even[:, :, :8, :8], odd[:, :, :8, :8], atol=1e-5)


@pytest.mark.parametrize("depth", [2, 4])
def test_unet2d_depth_halves_the_grid_one_time_less(depth: int) -> None:
    network = tiny(depth=depth)
    seen: list[torch.Size] = []
    network.bridge.register_forward_hook(lambda _module, _args, result: seen.append(result.shape))
    network(picture(1, 1, 32, 16))
    assert seen == [(1, 4 * 2 ** (depth - 1), 32 // 2 ** (depth - 1), 16 // 2 ** (depth - 1))]


def test_unet2d_dropout_is_set_per_stage() -> None:
    network = tiny(dropout=[0.0, 0.2, 0.4])
    shares = {name: module.p for name, module in network.named_modules() if isinstance(module, nn.Dropout2d)}
    assert shares == {"encoder.1.6": 0.2, "bridge.0.6": 0.4, "decoder.0.block.6": 0.2}
    assert sum(isinstance(module, nn.Dropout2d) for module in tiny(dropout=0.1).modules()) == 5


def test_unet2d_kaiming_keeps_the_variance_of_the_signal() -> None:
    network = UNet2d(in_channels=1, out_channels=2, base_width=32, depth=3)
    second, up = network.encoder[1][3], network.decoder[0].up
    assert second.weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.05)
    assert up.weight.std().item() == pytest.approx((1 / 128) ** 0.5, rel=0.05)
    assert not up.bias.any()


def test_unet2d_frozen_norm_stays_frozen_in_training() -> None:
    network = tiny(freeze_batch_norm=True).train()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    before = [norm.running_mean.clone() for norm in norms]
    network(picture(2, 1, 16, 16)).sum().backward()
    assert network.training
    assert not any(norm.training for norm in norms)
    assert all(weight.grad is None for norm in norms for weight in norm.parameters())
    assert all(torch.equal(norm.running_mean, mean) for norm, mean in zip(norms, before, strict=True))
    assert network.head.weight.grad is not None


def test_unet2d_frozen_takes_the_weights_of_a_trained_one() -> None:
    trained, frozen = tiny(), UNet2d(in_channels=1, out_channels=3, base_width=4, depth=3, freeze_batch_norm=True)
    frozen.load_state_dict(trained.state_dict())
    with torch.no_grad():
        assert torch.allclose(frozen.train()(picture(1, 1, 9, 9)), trained(picture(1, 1, 9, 9)), atol=1e-6)


@each_option
def test_unet2d_trains_in_bfloat16_and_channels_last(options: dict[str, Any]) -> None:
    network = tiny(**options).train().to(memory_format=torch.channels_last)
    pictures = picture(2, 1, 33, 31).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(pictures)
    logits.float().square().mean().backward()
    assert logits.dtype == torch.bfloat16
    grads = [weight.grad for weight in network.parameters() if weight.requires_grad]
    assert all(grad is not None and torch.isfinite(grad).all() for grad in grads)


def test_unet2d_heads_of_the_coarser_stages_are_those_of_what_the_decoder_hands_up() -> None:
    network = tiny(depth=4, deep_supervision=2)
    seen: list[torch.Tensor] = []
    for stage in network.decoder:
        stage.register_forward_hook(lambda module, inputs, output: seen.append(output))
    network.train()
    heads = network(picture(2, 1, 33, 47))
    assert heads.shape == (2, 3, 3, 33, 47)  # (B, K, C, X, Y)
    assert [tuple(one.shape[1:]) for one in seen] == [(16, 9, 12), (8, 17, 24), (4, 33, 47)]
    torch.testing.assert_close(heads[:, 0], network.head(seen[2]))
    for k, features in ((1, seen[1]), (2, seen[0])):
        logits = network.deep_supervision_heads[k - 1](features)
        torch.testing.assert_close(heads[:, k], nn.functional.interpolate(logits, size=(33, 47), mode="bilinear"))
    heads[:, 1:].square().sum().backward()
    assert network.head.weight.grad.count_nonzero() == 0  # the coarser heads train what lies below them alone
    assert network.decoder[0].up.weight.grad.count_nonzero() > 0


def test_unet2d_learns_a_square() -> None:
    torch.manual_seed(0)
    network = UNet2d(in_channels=1, out_channels=2, base_width=4, depth=2, context_attention=True)
    truth = torch.zeros(1, 17, 17, dtype=torch.long)
    truth[:, 4:9, 6:13] = 1
    pictures = truth[:, None] + 0.3 * picture(1, 1, 17, 17)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(30):
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(pictures), truth).backward()
        optimiser.step()
    assert (network(pictures).argmax(1) == truth).float().mean() > 0.98


# torch prefers torch.export to TorchScript, which is still what MONAI's ckpt_export writes
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is:DeprecationWarning")
@each_option
def test_unet2d_script_equals_the_network(options: dict[str, Any]) -> None:
    network = tiny(**options)
    script = torch.jit.script(network)
    with torch.no_grad():
        for size in [(33, 47), (16, 8)]:
            torch.testing.assert_close(script(picture(2, 1, *size)), network(picture(2, 1, *size)), atol=1e-6, rtol=0)


@pytest.mark.filterwarnings(
    # torch's exporter looks at pytree specifications in a way that torch itself is phasing out: nothing of ours
    "ignore:`isinstance\\(treespec, LeafSpec\\)` is deprecated:FutureWarning"
)
@pytest.mark.parametrize(
    "options",
    [
        {"depth": 3},
        {"depth": 3, "fit": "pad"},
        {"depth": 2, "upsampling": "upsample"},
        {"depth": 2, "upsampling": "upsample", "fit": "pad", "dropout": 0.3, "freeze_batch_norm": True},
        {"depth": 2, "separable": True, "context_attention": True},
    ],
    ids=["classic", "pad", "upsample", "upsample-pad-dropout-frozen", "separable-attention"],
)
def test_unet2d_onnx_equals_the_network_at_any_size(options: dict[str, Any], tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    network, file = tiny(**options), tmp_path / "unet.onnx"
    free = torch.export.Dim.DYNAMIC
    torch.onnx.export(
        network,
        (picture(2, 1, 33, 47),),
        file,
        input_names=["image"],
        dynamo=True,
        dynamic_shapes={"x": {0: free, 2: free, 3: free}},
        verbose=False,
    )
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for shape in [(2, 1, 33, 47), (1, 1, 32, 16), (3, 1, 5, 50)]:
        with torch.no_grad():
            expected = network(picture(*shape)).numpy()
        np.testing.assert_allclose(session.run(None, {"image": picture(*shape).numpy()})[0], expected, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"depth": 1}, "depth"),
        ({"base_width": 0}, "base_width"),
        ({"out_channels": 2.0}, "out_channels"),
        ({"upsampling": "bilinear"}, "'transposed' or 'upsample'"),
        ({"fit": "crop"}, "'interpolate' or 'pad'"),
        ({"dropout": [0.1, 0.1]}, "5 of them"),
        ({"dropout": 1.0}, "dropout"),
        ({"deep_supervision": 4}, "an integer from 0 to 3"),
        ({"deep_supervision": True}, "deep_supervision"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_unet2d_refuses_options_that_give_no_network(options: dict[str, Any], named: str) -> None:
    with pytest.raises(BundleError, match=named):
        UNet2d(**{"in_channels": 1, "out_channels": 2, **options})
