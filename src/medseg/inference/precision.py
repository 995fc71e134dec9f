"""Which number format and memory layout a network runs in on a device."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import torch

from medseg.errors import BundleError
from medseg.inference.precision_record import DeviceTraits, PrecisionRecord, read_records
from medseg.networks.weights import weights_sha256

logger = logging.getLogger(__name__)

Precision: TypeAlias = Literal["auto", "bf16", "fp32"]


def has_fast_bfloat16(device: torch.device) -> bool:
    """True where bfloat16 products are done in hardware: AMX or AVX512-BF16 CPUs, and GPUs from Ampere on."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bool(DeviceTraits.of(device).features)


def resolve_precision(precision: Precision, device: torch.device) -> torch.dtype:
    """The dtype of a network's arithmetic in training; "auto" takes bfloat16 exactly where it is done in hardware."""
    if precision not in ("auto", "bf16", "fp32"):
        raise BundleError("unknown precision", got=repr(precision), expected="auto, bf16 or fp32")
    wanted = precision == "bf16" or (precision == "auto" and has_fast_bfloat16(device))
    return torch.bfloat16 if wanted else torch.float32


def choose_precision(
    precision: Precision,
    *,
    device: torch.device,
    record: Path | None,
    weights: str | Sequence[str],
    backend: str = "torch",
) -> torch.dtype:
    """The dtype of a trained network's arithmetic on new images.

    "auto" takes bfloat16 only where the hardware has it and the bundle's record shows that these weights give, on a
    device with the same traits, the labels that float32 gives; elsewhere float32. One log line says why.

    Parameters
    ----------
    precision
        "bf16" and "fp32" are taken as they are.
    device
        Where the network runs.
    record
        models/precision.json of the bundle, as `medseg bundle precision` writes it; None, or absent: no record.
    weights
        File of the checkpoint that is run, or the files of an ensemble.
    backend
        What runs the network. Records are made with torch: another one rounds in other places, so "auto" is float32.

    Raises
    ------
    BundleError
        An unknown precision, or a record that is damaged.
    """
    dtype = resolve_precision(precision, device)
    if precision != "auto" or dtype == torch.float32:
        return dtype
    if backend != "torch":
        logger.info("precision auto: float32; records of bfloat16 are made with torch and tell nothing of %s", backend)
        return torch.float32
    traits = DeviceTraits.of(device)
    records = () if record is None else read_records(record)
    found = _matching(records, traits, weights_sha256(weights)) if records else None
    if found is not None and found.passed:
        return torch.bfloat16
    logger.info("%s", _why_float32(found, records, traits))
    return torch.float32


def _matching(records: Sequence[PrecisionRecord], traits: DeviceTraits, weights: str) -> PrecisionRecord | None:
    return next((record for record in records if (record.device, record.weights_sha256) == (traits, weights)), None)


def _why_float32(found: PrecisionRecord | None, records: Sequence[PrecisionRecord], traits: DeviceTraits) -> str:
    if found is not None:
        return (
            f"precision auto: float32; on this device ({traits}) bfloat16 changes labels, Dice down to "
            f"{found.minimum_dice:.4f} on {found.cases} test cases"
        )
    same_device = any(record.device == traits for record in records)
    lacks = "these weights" if same_device else f"this device ({traits})"
    return (
        f"precision auto: float32; the bundle has no record that bfloat16 gives the same labels with {lacks}; "
        "make it: medseg bundle precision BUNDLE --datalist FILE"
    )


def autocast(precision: Precision | torch.dtype, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """A context in which convolutions run in `precision`; sums and losses stay in float32."""
    dtype = precision if isinstance(precision, torch.dtype) else resolve_precision(precision, device)
    return torch.autocast(device.type, dtype=dtype) if dtype != torch.float32 else contextlib.nullcontext()


def channels_last(spatial_dims: int) -> torch.memory_format:
    """The layout in which convolutions are fastest on CPUs and on GPUs with tensor cores."""
    return torch.channels_last_3d if spatial_dims == 3 else torch.channels_last
