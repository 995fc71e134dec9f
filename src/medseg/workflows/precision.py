"""Does bfloat16 give the labels that float32 gives? Asked of a bundle's test cases, on the device at hand."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.bundle import find_bundle, read_metadata
from medseg.bundle.load import build, open_workflow
from medseg.case import LabelArray
from medseg.errors import BundleError, DataError
from medseg.workflows.own_data import refuse_other_labels
from medseg.workflows.records import record_path, writing

if TYPE_CHECKING:
    from medseg.inference import PrecisionRecord, Segmenter


@dataclass(frozen=True)
class Agreement:
    """How well the labels in bfloat16 and in float32 agree.

    Attributes
    ----------
    case, name
        Case id, and name of the class.
    dice
        Of the class's voxels in the one and the other; 1 where both have none.
    """

    case: str
    name: str
    dice: float


@dataclass(frozen=True)
class PrecisionCheck:
    """The comparison of a bundle: one agreement per case and class, and the record that sums them up."""

    agreements: tuple[Agreement, ...]
    record: PrecisionRecord

    @property
    def worst(self) -> Agreement:
        """The smallest Dice of all."""
        return _worst(self.agreements)


def check_precision(
    bundle: str | os.PathLike[str],
    *,
    datalist: str | os.PathLike[str],
    device: str | None = None,
    overlays: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
    trust: bool = False,
) -> PrecisionCheck:
    """Segment the test cases of a datalist in float32 and in bfloat16, and compare the label maps.

    Parameters
    ----------
    bundle
        Folder or name of a bundle with weights.
    datalist
        MSD-style JSON with a test part.
    device
        "cpu", "cuda" or "cuda:1"; None as the bundle says.
    overlays, overrides, trust
        As for `train`.

    Raises
    ------
    BundleError
        The device does not do bfloat16 in hardware, so that nothing is to be chosen.
    DataError
        The datalist has no test cases, or gives a label of the bundle another value.
    """
    from medseg.workflows.predict import CaseOptions

    folder = find_bundle(bundle)
    refuse_other_labels(folder, Path(datalist))
    given = {**CaseOptions(device=device).overrides(), "datalist": str(Path(datalist).resolve())}
    changes = {**(overrides or {}), **given}
    full, half = (
        open_workflow(folder, "evaluate", overlays=overlays, overrides={**changes, "precision": precision}, trust=trust)
        for precision in ("fp32", "bf16")
    )
    segmenters = (build(full, folder, "segmenter"), build(half, folder, "segmenter"))
    _refuse_slow(segmenters[0].device)
    if (backend := segmenters[0].backend) != "torch":
        raise BundleError("records of precision", got=f"back end {backend}", expected="torch, as they are for it alone")
    names = {value: name for value, name in read_metadata(folder).labels.items() if value > 0}
    items = list(build(full, folder, "dataset"))
    agreements = tuple(one for item in items for one in _compared(segmenters, item, names))
    if not agreements:
        raise DataError(f"{datalist}: no test cases", expected="a part `test` with cases that the bundle can segment")
    record = _record(agreements, segmenters[0].device, len(items), build(full, folder, "weights"))
    return PrecisionCheck(agreements, record)


def precision_record_path(
    bundle: str | os.PathLike[str], *, overlays: Sequence[str] = (), overrides: Mapping[str, Any] | None = None
) -> Path:
    """Where a bundle keeps its records, models/precision.json.

    Raises
    ------
    BundleError
        Another configuration than the bundle's own is to be checked: precision auto would trust the record for the
        bundle as it is.
    OutputError
        The file cannot be written.
    """
    changes = [*overlays, *(f"{key}={value}" for key, value in (overrides or {}).items())]
    if changes:
        raise BundleError(
            "a record of precision is of the bundle as it is",
            got=", ".join(changes),
            expected="no overlay and no change of its configuration",
            next_step="leave them out, or only look at the result: --print-only",
        )
    return record_path(bundle, "precision.json")


def write_check(check: PrecisionCheck, path: Path) -> None:
    """Write a check's record to `precision_record_path`, beside those of other devices with the same weights.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    from medseg.inference import add_record

    with writing(path):
        add_record(check.record, path)


def dice_of_labels(one: LabelArray, other: LabelArray, value: int) -> float:
    """Dice of the voxels with `value` in two label maps of one shape; 1 where neither has any."""
    import numpy as np

    first, second = one == value, other == value
    both = int(np.count_nonzero(first)) + int(np.count_nonzero(second))
    return 2.0 * int(np.count_nonzero(first & second)) / both if both else 1.0


def _refuse_slow(device: Any) -> None:
    from medseg.inference import has_fast_bfloat16

    if not has_fast_bfloat16(device):
        raise BundleError(
            f"device {device} does not multiply bfloat16 in hardware: float32 is used on it, without a record",
            expected="a CPU with AMX or AVX512-BF16, or a GPU from Ampere on",
        )


def _compared(
    segmenters: tuple[Segmenter, Segmenter], item: Mapping[str, Any], names: Mapping[int, str]
) -> Iterator[Agreement]:
    read = segmenters[0].read(item)
    full, half = (each.finish(each.segment([read])[0]).labels.array for each in segmenters)
    for value, name in names.items():
        yield Agreement(str(item["id"]), name, dice_of_labels(full, half, value))


def _record(agreements: Sequence[Agreement], device: Any, cases: int, weights: str | Sequence[str]) -> PrecisionRecord:
    import torch

    from medseg.inference import LEAST_DICE, DeviceTraits, PrecisionRecord
    from medseg.networks.weights import weights_sha256

    worst = _worst(agreements)
    return PrecisionRecord(
        device=DeviceTraits.of(device),
        weights_sha256=weights_sha256(weights),
        cases=cases,
        minimum_dice=round(worst.dice, 6),
        minimum_class=worst.name,
        passed=worst.dice >= LEAST_DICE,
        torch_version=str(torch.__version__),
        date=datetime.now(UTC).date().isoformat(),
    )


def _worst(agreements: Sequence[Agreement]) -> Agreement:
    return min(agreements, key=lambda one: one.dice)
