"""models/precision.json: on which devices bfloat16 was found to give the labels that float32 gives."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from medseg.errors import BundleError
from medseg.files import atomic_write

LEAST_DICE = 0.998
"""Labels in bfloat16 and in float32 agree when their Dice is at least this for each class and case."""

_CPU_FEATURES = ("amx_bf16", "avx512_bf16")


@dataclass(frozen=True)
class DeviceTraits:
    """What decides how a device multiplies in bfloat16.

    Attributes
    ----------
    kind
        "cpu", "cuda", ...
    features
        Of a CPU those of amx_bf16 and avx512_bf16 that it has; of a GPU its name and compute capability.
    """

    kind: str
    features: tuple[str, ...]

    @staticmethod
    def of(device: torch.device) -> DeviceTraits:
        """The traits of a device of this machine."""
        if device.type == "cuda":
            major, minor = torch.cuda.get_device_capability(device)
            return DeviceTraits("cuda", (torch.cuda.get_device_name(device), f"capability {major}.{minor}"))
        capabilities = torch.cpu.get_capabilities() if device.type == "cpu" else {}
        return DeviceTraits(device.type, tuple(name for name in _CPU_FEATURES if capabilities.get(name)))

    def __str__(self) -> str:
        return f"{self.kind}: {', '.join(self.features) or 'no bfloat16'}"


@dataclass(frozen=True)
class PrecisionRecord:
    """One comparison of bfloat16 with float32 on a bundle's test cases.

    Attributes
    ----------
    device
        Where it was made.
    weights_sha256
        Of the weights that were run (`medseg.networks.weights.weights_sha256`).
    cases
        How many cases were compared.
    minimum_dice, minimum_class
        The smallest Dice between the two label maps over classes and cases, and the class that it is of.
    passed
        Whether that is at least `LEAST_DICE`.
    torch_version
        Of the run.
    date
        Of the run, ISO 8601.
    """

    device: DeviceTraits
    weights_sha256: str
    cases: int
    minimum_dice: float
    minimum_class: str
    passed: bool
    torch_version: str
    date: str

    def as_json(self) -> dict[str, Any]:
        """The record as it stands in the file."""
        return asdict(self)


def read_records(path: Path) -> tuple[PrecisionRecord, ...]:
    """The records of a bundle; none where the file is absent.

    Raises
    ------
    BundleError
        The file is no such record.
    """
    if not path.is_file():
        return ()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return tuple(_from_json(entry) for entry in content["records"])
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"{path}: no record of precision",
            got=f"{type(error).__name__}: {error}",
            next_step="make it again: medseg bundle precision BUNDLE --datalist FILE",
        ) from error


def add_record(record: PrecisionRecord, path: Path) -> None:
    """Write a record beside those that other devices made with the same weights; the others are out of date and go."""
    kept = [
        known
        for known in read_records(path)
        if known.device != record.device and known.weights_sha256 == record.weights_sha256
    ]
    entries: Sequence[Mapping[str, Any]] = [entry.as_json() for entry in (*kept, record)]
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps({"least_dice": LEAST_DICE, "records": entries}, indent=2) + "\n", "utf-8")


def _from_json(entry: Mapping[str, Any]) -> PrecisionRecord:
    device = entry["device"]
    traits = DeviceTraits(str(device["kind"]), tuple(map(str, device["features"])))
    return PrecisionRecord(
        device=traits,
        weights_sha256=str(entry["weights_sha256"]),
        cases=int(entry["cases"]),
        minimum_dice=float(entry["minimum_dice"]),
        minimum_class=str(entry["minimum_class"]),
        passed=bool(entry["passed"]),
        torch_version=str(entry["torch_version"]),
        date=str(entry["date"]),
    )
