"""Windows over the image: MONAI's own numbers, in the precision asked for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import sliding_window_inference

from medseg.errors import BundleError
from medseg.inference import Mirror, SlidingWindow


def network(dims: int, channels: int = 1) -> torch.nn.Module:
    torch.manual_seed(0)
    kind: Any = torch.nn.Conv3d if dims == 3 else torch.nn.Conv2d
    return torch.nn.Sequential(kind(channels, 4, 3, padding=1), torch.nn.ReLU(), kind(4, 3, 3, padding=1)).eval()


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("shape", "roi"),
    [
        pytest.param((13, 9, 8), (6, 6, 6), id="larger"),
        pytest.param((3, 4, 5), (6, 6, 6), id="smaller"),
        pytest.param((3, 12, 6), (6, 6, 6), id="smaller on one axis"),
        pytest.param((6, 6, 6), (6, 6, 6), id="one window"),
        pytest.param((11, 7), (4, 5), id="picture"),
    ],
)
@pytest.mark.parametrize(("mode", "overlap", "batch"), [("gaussian", 0.5, 1), ("constant", 0.0, 3)])
@torch.inference_mode()
def test_fp32_is_monais_sliding_window(
    shape: tuple[int, ...], roi: tuple[int, ...], mode: str, overlap: float, batch: int
) -> None:
    net, inputs = network(len(shape)), noise(1, 1, *shape)
    ours = SlidingWindow(roi_size=roi, overlap=overlap, mode=mode, precision="fp32", sw_batch_size=batch)(inputs, net)
    theirs = sliding_window_inference(inputs, roi, batch, net, overlap=overlap, mode=mode)
    assert isinstance(theirs, torch.Tensor)
    assert ours.shape == (1, 3, *shape)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@torch.inference_mode()
def test_one_window_is_the_network_itself() -> None:
    net, inputs = network(3), noise(2, 1, 6, 6, 6)
    torch.testing.assert_close(SlidingWindow(roi_size=[6] * 3, precision="fp32")(inputs, net), net(inputs))


@torch.inference_mode()
def test_several_channels_of_input() -> None:
    net, inputs = network(3, channels=2), noise(1, 2, 7, 6, 6)
    assert SlidingWindow(roi_size=[6] * 3, precision="fp32")(inputs, net).shape == (1, 3, 7, 6, 6)


@torch.inference_mode()
def test_bf16_is_close_and_comes_back_in_float32() -> None:
    net, inputs = network(3), noise(1, 1, 9, 7, 8)
    seen: list[torch.dtype] = []
    net[2].register_forward_hook(lambda _module, _inputs, output: seen.append(output.dtype))
    fine, coarse = (SlidingWindow(roi_size=[6] * 3, precision=p)(inputs, net) for p in ("fp32", "bf16"))
    assert set(seen) == {torch.float32, torch.bfloat16}
    assert fine.dtype == coarse.dtype == torch.float32
    assert not torch.equal(fine, coarse)
    torch.testing.assert_close(coarse, fine, rtol=0.05, atol=0.02)


@torch.inference_mode()
def test_images_with_meta_data_give_plain_tensors() -> None:
    inputs = MetaTensor(noise(1, 1, 8, 8, 8), affine=torch.diag(torch.tensor([2.0, 2.0, 2.0, 1.0])))
    logits = SlidingWindow(roi_size=[6] * 3, precision="fp32")(inputs, network(3))
    assert type(logits) is torch.Tensor


def test_the_network_gets_windows_channels_last_and_what_else_was_given() -> None:
    seen: list[torch.Tensor] = []

    def spy(windows: torch.Tensor, factor: float, *, offset: float) -> torch.Tensor:
        seen.append(windows)
        return windows * factor + offset

    inputs = noise(1, 2, 6, 6)
    logits = SlidingWindow(roi_size=[6, 6], precision="fp32")(inputs, spy, 2.0, offset=1.0)
    torch.testing.assert_close(logits, inputs * 2 + 1)
    assert seen[0].stride(1) == 1


@pytest.mark.parametrize("overlap", [1.0, -0.1, 50])
def test_windows_that_would_not_move_on_are_refused(overlap: float) -> None:
    with pytest.raises(BundleError, match=r"overlap; got .*; expected from 0 to below 1"):
        SlidingWindow(roi_size=[4, 4, 4], overlap=overlap)


@pytest.mark.parametrize(
    "wrong",
    [{"sw_batch_size": 0}, {"window_voxels": -1}, {"window_multiple": 0}, {"mirror": Mirror(axes=[0, 2])}],
    ids=str,
)
def test_settings_that_would_fail_every_case_are_refused_at_once(wrong: dict[str, Any]) -> None:
    with pytest.raises(BundleError, match=next(iter(wrong))):
        SlidingWindow(roi_size=[4, 4], **wrong)
