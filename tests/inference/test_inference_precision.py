"""Which arithmetic a device gets."""

from __future__ import annotations

import pytest
import torch

from medseg.errors import BundleError
from medseg.inference import autocast, channels_last, has_fast_bfloat16, resolve_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("features", "fast"),
    [
        ({"amx_bf16": True, "avx512_bf16": False}, True),
        ({"amx_bf16": False, "avx512_bf16": True}, True),
        ({"amx_bf16": False, "avx512_bf16": False, "avx512_f": True}, False),
        ({"architecture": "aarch64"}, False),
    ],
    ids=["amx", "avx512", "without", "other architecture"],
)
def test_auto_is_bfloat16_where_the_cpu_has_it(
    features: dict[str, object], fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)
    assert has_fast_bfloat16(CPU) is fast
    assert resolve_precision("auto", CPU) == (torch.bfloat16 if fast else torch.float32)
    assert resolve_precision("bf16", CPU) == torch.bfloat16
    assert resolve_precision("fp32", CPU) == torch.float32


@pytest.mark.parametrize("fast", [True, False])
def test_auto_asks_a_gpu_for_hardware_not_emulation(fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: fast or including_emulation)
    assert has_fast_bfloat16(torch.device("cuda")) is fast


def test_other_devices_compute_in_float32() -> None:
    assert resolve_precision("auto", torch.device("mps")) == torch.float32


@pytest.mark.parametrize("precision", ["fp16", "BF16", "", None])
def test_an_unknown_precision_is_refused(precision: str) -> None:
    with pytest.raises(BundleError, match=f"unknown precision; got {precision!r}; expected auto, bf16 or fp32"):
        autocast(precision, CPU)  # type: ignore[arg-type]


def test_autocast_changes_products_in_bf16_and_nothing_in_fp32() -> None:
    ones = torch.ones(2, 2)
    with autocast("fp32", CPU):
        assert not torch.is_autocast_enabled("cpu")
        assert (ones @ ones).dtype == torch.float32
    with autocast("bf16", CPU):
        assert (ones @ ones).dtype == torch.bfloat16
    assert not torch.is_autocast_enabled("cpu")


def test_channels_last_of_pictures_and_volumes() -> None:
    for dims in (2, 3):
        tensor = torch.zeros(2, 3, *[4] * dims).contiguous(memory_format=channels_last(dims))
        assert tensor.stride(1) == 1
