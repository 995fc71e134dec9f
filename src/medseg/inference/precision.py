"""Which number format and memory layout a network runs in on a device."""

from __future__ import annotations

import contextlib
from typing import Literal, TypeAlias

import torch

from medseg.errors import BundleError

Precision: TypeAlias = Literal["auto", "bf16", "fp32"]


def has_fast_bfloat16(device: torch.device) -> bool:
    """True where bfloat16 products are done in hardware: AMX or AVX512-BF16 CPUs, and GPUs from Ampere on."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        features = torch.cpu.get_capabilities()
        return bool(features.get("amx_bf16") or features.get("avx512_bf16"))
    return False


def resolve_precision(precision: Precision, device: torch.device) -> torch.dtype:
    """The dtype of the network's arithmetic; "auto" takes bfloat16 exactly where it is done in hardware."""
    if precision not in ("auto", "bf16", "fp32"):
        raise BundleError("unknown precision", got=repr(precision), expected="auto, bf16 or fp32")
    wanted = precision == "bf16" or (precision == "auto" and has_fast_bfloat16(device))
    return torch.bfloat16 if wanted else torch.float32


def autocast(precision: Precision, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """A context in which convolutions run in `precision`; sums and losses stay in float32."""
    dtype = resolve_precision(precision, device)
    return torch.autocast(device.type, dtype=dtype) if dtype != torch.float32 else contextlib.nullcontext()


def channels_last(spatial_dims: int) -> torch.memory_format:
    """The layout in which convolutions are fastest on CPUs and on GPUs with tensor cores."""
    return torch.channels_last_3d if spatial_dims == 3 else torch.channels_last
