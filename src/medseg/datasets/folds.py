"""Cross-validation: the data list of each fold, patients never apart."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medseg.datasets.datalist import SECTIONS, by_section, datalist_from, write_json
from medseg.datasets.splits import refuse_seed
from medseg.errors import DataError

ALL_CASES = "all.json"


def fold_of_patients(patients: Sequence[str], *, folds: int, seed: int) -> dict[str, int]:
    """The fold of each patient, from 0 up; folds differ by one patient at most.

    Raises
    ------
    DataError
        The seed is negative, there are fewer than two folds, or fewer patients than folds.
    """
    refuse_seed(seed)
    unique = sorted(set(patients))
    if folds < 2 or len(unique) < folds:
        raise DataError("cross-validation", got=f"{folds} folds, {len(unique)} patients", expected="2 or more of both")
    order = np.random.default_rng(seed).permutation(len(unique))
    return {unique[i]: place % folds for place, i in enumerate(order)}


def deal_folds(
    path: str | os.PathLike[str],
    folder: Path,
    *,
    folds: int,
    seed: int,
    validation_fraction: float = 0.1,
    with_test: bool = False,
) -> dict[str, dict[str, Any]]:
    """The data lists of all folds by the names of their files, for `folder`: each fold in turn is the test part.

    Parameters
    ----------
    path
        The data list whose training and validation cases are dealt out; it comes first, as all.json.
    folder
        Where the lists will lie: the paths in them begin there. Nothing is written.
    folds
        How many.
    seed
        Of the draws.
    validation_fraction
        Share of the other folds' patients that choose the epoch to keep: never the fold that is scored.
    with_test
        Deal out the test part too, as one does to compare with figures over a whole data set. The test part is then
        no longer one that nothing has learned from.

    Raises
    ------
    DataError
        As `read_datalist` and `fold_of_patients`; or no patient would be left for a part.
    """
    content = datalist_from(path, folder.absolute())
    items = [item for section in SECTIONS if section != "test" or with_test for item in content[section]]
    of_patient = fold_of_patients([item["patient"] for item in items], folds=folds, seed=seed)
    dealt: dict[str, dict[str, Any]] = {ALL_CASES: content}
    for fold in range(folds):
        others = sorted(patient for patient, own in of_patient.items() if own != fold)
        chosen = _validation(others, validation_fraction, [seed, fold])
        parts = by_section(
            ("test" if own == fold else "validation" if item["patient"] in chosen else "training", item)
            for item, own in ((item, of_patient[item["patient"]]) for item in items)
        )
        about = {"fold": fold, "folds": folds, "fold_seed": seed}
        dealt[f"fold_{fold}.json"] = {**content, **parts, **about}
    return dealt


def write_folds(dealt: Mapping[str, Mapping[str, Any]], folder: Path) -> list[Path]:
    """Write the data lists that `deal_folds` gave for `folder`; those of the folds are returned, in their order.

    Raises
    ------
    OutputError
        The folder cannot be written.
    """
    written = {name: write_json(content, folder / name) for name, content in dealt.items()}
    return [path for name, path in written.items() if name != ALL_CASES]


def _validation(patients: Sequence[str], fraction: float, seed: Sequence[int]) -> set[str]:
    count = max(1, round(len(patients) * fraction))
    if count >= len(patients):
        raise DataError("no patient would be left for training", got=f"{len(patients)} patients beside the fold")
    return set(np.random.default_rng(seed).permutation(patients)[:count].tolist())
