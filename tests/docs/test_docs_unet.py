"""Every matrix and number of docs/concepts/unet.md, computed again by torch and MONAI."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.networks import UNet2d

PAGE = Path(__file__).resolve().parents[2] / "docs" / "concepts" / "unet.md"
TEXT = PAGE.read_text(encoding="utf-8")
_BLOCK = re.compile(r"^<!-- (matrix|values): (\S+) -->\n```text\n(.*?)^```$", re.DOTALL | re.MULTILINE)
BLOCKS = {name: (kind, body) for kind, name, body in _BLOCK.findall(TEXT)}
HALF_OF_THE_LAST_DIGIT = 5.1e-4


def matrix(name: str) -> Tensor:
    kind, body = BLOCKS[name]
    assert kind == "matrix"
    return torch.tensor([[float(cell) for cell in line.split()] for line in body.splitlines()])


def values(name: str) -> dict[str, float]:
    """The last number of each line, by what stands before the first "="."""
    kind, body = BLOCKS[name]
    assert kind == "values"
    found = {}
    for line in body.splitlines():
        left, _, _ = line.partition("=")
        found[left.strip()] = float(line.rpartition("=")[2])
    return found


def image(name: str) -> Tensor:
    return matrix(name)[None, None]


def conv(x: str, kernel: str, **how: int) -> Tensor:
    return functional.conv2d(image(x), image(kernel), **how)[0, 0]


def transposed(x: str, kernel: str, **how: int) -> Tensor:
    return functional.conv_transpose2d(image(x), image(kernel), **how)[0, 0]


def as_matrix() -> Tensor:
    """The matrix that a convolution with kernel-2x2 is, found by convolving each unit picture."""
    units = torch.eye(9).reshape(9, 1, 3, 3)
    return functional.conv2d(units, image("kernel-2x2")).reshape(9, 4).T


def kernel_gradient() -> Tensor:
    kernel = image("kernel-2x2").requires_grad_()
    functional.conv2d(image("picture-3x3"), kernel).backward(image("upstream"))
    assert kernel.grad is not None
    return kernel.grad[0, 0]


def picture_gradient() -> Tensor:
    picture = image("picture-3x3").requires_grad_()
    functional.conv2d(picture, image("kernel-2x2")).backward(image("upstream"))
    assert picture.grad is not None
    return picture.grad[0, 0]


def pool_gradient() -> Tensor:
    picture = image("to-pool").requires_grad_()
    functional.max_pool2d(picture, 2).sum().backward()
    assert picture.grad is not None
    return picture.grad[0, 0]


def batch_norm(x: Tensor) -> Tensor:
    norm = nn.BatchNorm2d(1)
    return norm(x[None, None])[0, 0].detach()


def upsampled() -> Tensor:
    return functional.interpolate(image("small"), scale_factor=2.0, mode="bilinear", align_corners=False)[0, 0]


def logits() -> Tensor:
    """(class, pixel) as they stand in the page."""
    return matrix("logits")


def head() -> Tensor:
    weights = matrix("head-weights")
    features = matrix("features")  # (channel, pixel)
    return functional.conv2d(features[None, :, None], weights[:, :, None, None])[0, :, 0]


def ce_gradient() -> Tensor:
    z = logits().requires_grad_()
    functional.cross_entropy(z.T, truth()).backward()
    assert z.grad is not None
    return z.grad


def truth() -> Tensor:
    return matrix("truth")[0].long()


MATRICES: dict[str, Callable[[], Tensor]] = {
    "valid": lambda: conv("picture", "edge"),
    "same": lambda: conv("picture", "edge", padding=1),
    "strided": lambda: conv("picture", "edge", padding=1, stride=2),
    "relu": lambda: functional.relu(matrix("same")),
    "normalised": lambda: batch_norm(matrix("to-normalise")),
    "pooled": lambda: functional.max_pool2d(image("to-pool"), 2)[0, 0],
    "pool-gradient": pool_gradient,
    "pooled-odd": lambda: functional.max_pool2d(image("odd"), 2, ceil_mode=True)[0, 0],
    "stamped": lambda: transposed("small", "stamp", stride=2),
    "overlapping": lambda: transposed("ones-2x2", "ones-3x3", stride=2),
    "upsampled": upsampled,
    "convolved-3x3": lambda: conv("picture-3x3", "kernel-2x2"),
    "as-matrix": as_matrix,
    "back": lambda: transposed("convolved-3x3", "kernel-2x2"),
    "head": head,
    "softmax": lambda: logits().softmax(0),
    "ce-gradient": ce_gradient,
    "kernel-gradient": kernel_gradient,
    "picture-gradient": picture_gradient,
}
GIVEN = {
    *("picture", "edge", "to-normalise", "to-pool", "odd", "small", "stamp", "ones-2x2", "ones-3x3", "picture-3x3"),
    *("kernel-2x2", "upstream", "features", "head-weights", "logits", "truth"),
}


@pytest.mark.parametrize("name", list(MATRICES))
def test_each_matrix_is_what_torch_computes(name: str):
    torch.testing.assert_close(matrix(name), MATRICES[name](), atol=HALF_OF_THE_LAST_DIGIT, rtol=0)


def test_a_transposed_convolution_multiplies_by_the_transposed_matrix():
    back = matrix("as-matrix").T @ matrix("convolved-3x3").reshape(4)
    torch.testing.assert_close(back.reshape(3, 3), matrix("back"))


def close(found: dict[str, float], expected: dict[str, float]) -> None:
    assert found == pytest.approx(expected, abs=HALF_OF_THE_LAST_DIGIT)


def test_the_one_pixel_worked_out_is_that_of_the_result():
    (found,) = values("one-pixel").values()
    assert found == float(matrix("valid")[0, 0])


def test_sizes_after_a_convolution():
    kinds = {
        "3x3": nn.Conv2d(1, 1, 3),
        "3x3, padding 1": nn.Conv2d(1, 1, 3, padding=1),
        "3x3, padding 1, stride 2": nn.Conv2d(1, 1, 3, padding=1, stride=2),
        "3x3, padding 4, dilation 4": nn.Conv2d(1, 1, 3, padding=4, dilation=4),
        "2x2, stride 2, transposed": nn.ConvTranspose2d(1, 1, 2, stride=2),
    }
    close(values("sizes"), {name: layer(torch.zeros(1, 1, 256, 256)).shape[-1] for name, layer in kinds.items()})


def test_batch_normalisation():
    x = matrix("to-normalise")
    close(values("batch-norm"), {"mean": float(x.mean()), "variance": float(x.var(unbiased=False))})


def test_cross_entropy():
    losses = functional.cross_entropy(logits().T, truth(), reduction="none")
    expected = {f"pixel {i + 1}": float(loss) for i, loss in enumerate(losses)} | {"mean": float(losses.mean())}
    close(values("cross-entropy"), expected)


def test_dice_loss():
    from monai.losses import DiceLoss

    z, t = logits()[None], truth()[None, None]
    foreground, one_hot = logits().softmax(0)[1], (truth() == 1).float()
    loss = DiceLoss(to_onehot_y=True, softmax=True, include_background=False, batch=True)
    expected = {
        "sum of p * t": float((foreground * one_hot).sum()),
        "sum of p": float(foreground.sum()),
        "sum of t": float(one_hot.sum()),
        "loss": float(loss(z, t)),
    }
    close(values("dice"), expected)


def test_both_losses_added_are_the_loss_that_the_bundles_train_with():
    from monai.losses import DiceCELoss

    how = {"to_onehot_y": True, "softmax": True, "include_background": False, "batch": True}
    both = values("cross-entropy")["mean"] + values("dice")["loss"]
    (told,) = values("both").values()
    assert told == pytest.approx(both, abs=2 * HALF_OF_THE_LAST_DIGIT)
    assert float(DiceCELoss(**how)(logits()[None], truth()[None, None])) == pytest.approx(told, abs=1e-3)


def test_a_small_object_counts_for_dice_and_hardly_for_cross_entropy():
    shares = torch.full((100,), 0.1)  # what the network gives to the foreground at each of 100 pixels
    t = torch.zeros(100)
    t[0] = 1
    dice = 1 - 2 * (shares * t).sum() / (shares.sum() + t.sum())
    close(
        values("small-object"),
        {"cross-entropy": float(functional.binary_cross_entropy(shares, t)), "Dice loss": float(dice)},
    )


class Taps:
    """Shapes after each stage of a network, taken while it runs."""

    def __init__(self, network: UNet2d) -> None:
        self.shapes: list[tuple[int, int]] = []
        for part in [*network.encoder, network.bridge, *network.decoder, network.head]:
            part.register_forward_hook(self._take)

    def _take(self, part: nn.Module, given: object, out: Tensor) -> None:
        self.shapes.append((out.shape[1], out.shape[2]))


def shown_shapes() -> list[tuple[int, int]]:
    rows = re.findall(r"^\| (?:encoder|bridge|decoder|head)[^|]*\| (\d+) \| (\d+) x \2 \|", TEXT, re.MULTILINE)
    return [(int(channels), int(size)) for channels, size in rows]


def test_the_table_of_stages_is_what_the_network_of_the_bundle_does():
    network = UNet2d(in_channels=1, out_channels=4, base_width=32).eval()
    taps = Taps(network)
    with torch.no_grad():
        network(torch.zeros(1, 1, 256, 256))
    assert shown_shapes() == taps.shapes


def test_the_number_of_weights():
    network = UNet2d(in_channels=1, out_channels=4, base_width=32)
    close(
        values("weights"),
        {
            "first convolution": network.encoder[0][0].weight.numel(),
            "second convolution": network.encoder[0][3].weight.numel(),
            "whole network": sum(p.numel() for p in network.parameters()),
        },
    )


def test_the_field_that_a_pixel_of_the_bridge_sees():
    network = UNet2d(in_channels=1, out_channels=2, base_width=1).eval()
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.ones_(part.weight)  # nothing cancels: each pixel that can reach the bridge does
    x = torch.ones(1, 1, 320, 320, requires_grad=True)
    y = x
    for stage in network.encoder:
        y = functional.avg_pool2d(stage(y), 2)  # a mean reaches as far as a maximum, and all pixels take part in it
    y = network.bridge(y)
    y[0, 0, 10, 10].backward()
    assert x.grad is not None
    columns = x.grad[0, 0].abs().sum(0).nonzero()
    assert int(columns.max() - columns.min()) + 1 == values("field")["stage 5"]


def test_the_fields_follow_their_rule():
    field, step, found = 1, 1, {}
    for stage in range(1, 6):
        if stage > 1:
            field, step = field + step, 2 * step
        field += 2 * 2 * step
        found[f"stage {stage}"] = field
    close(values("field"), found)


def test_no_matrix_and_no_number_stands_unchecked():
    source = Path(__file__).read_text(encoding="utf-8")
    matrices = {name for name, (kind, _) in BLOCKS.items() if kind == "matrix"}
    assert matrices == set(MATRICES) | GIVEN
    assert [name for name, (kind, _) in BLOCKS.items() if kind == "values" and f'values("{name}")' not in source] == []
    assert TEXT.count("```text") == len(BLOCKS), "a block of text without <!-- matrix --> or <!-- values -->"
