"""models/flags.json: the limits and the regression of a bundle, and what they say of a case."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medseg.errors import BundleError
from medseg.evaluation.expected_dice import DicePredictor
from medseg.evaluation.features import CaseFeatures
from medseg.evaluation.flags import Flag, Limits
from medseg.files import atomic_write, sha256_of

FLAGS_FILE = "flags.csv"


@dataclass(frozen=True)
class Judgement:
    """What the rules and the regression say of a case.

    Attributes
    ----------
    flags
        Reasons to look at it; none for most cases.
    excess
        How far out it is by the rules: above 1 it breaks one.
    predicted_dice
        Region to the Dice that it probably has; empty where the bundle has no regression.
    features
        What they went by.
    """

    flags: tuple[Flag, ...]
    excess: float
    predicted_dice: Mapping[str, float]
    features: CaseFeatures

    def to_json(self) -> dict[str, Any]:
        """For a manifest."""
        return {
            "flags": [flag.to_json() for flag in self.flags],
            "flag_excess": self.excess,
            "predicted_dice": dict(self.predicted_dice),
            "features": self.features.to_json(),
        }

    @classmethod
    def from_json(cls, manifest: Mapping[str, Any]) -> Judgement:
        """What a manifest holds of it."""
        found = manifest["features"]
        return cls(
            tuple(Flag(**one) for one in manifest["flags"]),
            float(manifest["flag_excess"]),
            dict(manifest["predicted_dice"]),
            CaseFeatures(found["intensity"], found["regions"]),
        )


@dataclass(frozen=True)
class FlagRecord:
    """What models/flags.json holds.

    Attributes
    ----------
    weights_sha256
        Of the weights that it was made with: it says nothing of others.
    limits
        Of the rules.
    predictor
        The regression, where one was fitted.
    about
        How and from what it was made, for readers.
    """

    weights_sha256: str
    limits: Limits
    predictor: DicePredictor | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    def judge(self, case: CaseFeatures) -> Judgement:
        """Rules and regression on a case; numbers with four digits, as manifests hold them: a resumed run has those."""
        predicted = {} if self.predictor is None else self.predictor(case, self.limits)
        learned = [] if self.predictor is None else self.predictor.flags(predicted)
        rounded = {region: round(dice, 4) for region, dice in predicted.items()}
        return Judgement((*learned, *self.limits.flags(case)), round(self.limits.excess(case), 4), rounded, case)


def read_flag_record(path: Path) -> FlagRecord | None:
    """The record of a bundle; None where it has none.

    Raises
    ------
    BundleError
        The file is no such record.
    """
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        predictor = content["predictor"]
        return FlagRecord(
            str(content["weights_sha256"]),
            Limits.from_json(content["limits"]),
            None if predictor is None else DicePredictor.from_json(predictor),
            content["about"],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(
            f"{path}: no record of failure flags",
            got=f"{type(error).__name__}: {error}",
            next_step="make it again: medseg flags limits BUNDLE --datalist FILE",
        ) from error


def write_flag_record(record: FlagRecord, path: Path) -> None:
    """Write the record; an existing file is replaced in one step."""
    content = {
        "weights_sha256": record.weights_sha256,
        "about": record.about,
        "limits": record.limits.to_json(),
        "predictor": None if record.predictor is None else record.predictor.to_json(),
    }
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(_rounded(content), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def flag_record_sha256(path: Path) -> str | None:
    """SHA-256 of the file; None where there is none."""
    return sha256_of(path) if path.is_file() else None


def write_flags(judged: Iterable[tuple[str, Judgement]], path: Path) -> None:
    """Write flags.csv: one row for each flag of each case; a case without flags has none."""
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["case", "rule", "region", "value", "limit", "text"])
        for case, judgement in judged:
            for flag in judgement.flags:
                table.writerow([case, flag.rule, flag.region, f"{flag.value:.6g}", f"{flag.limit:.6g}", flag.text])


def _rounded(value: Any) -> Any:
    """Floats with six digits: enough for limits, and a file that can be read."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: _rounded(one) for key, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, (list, tuple)) else value
