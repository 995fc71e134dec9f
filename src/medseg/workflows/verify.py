"""Reproduce the scores that a bundle reports."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from medseg.bundle import find_bundle
from medseg.bundle.verify import SCORES_FILE, Reproduced, compare_scores, read_scores
from medseg.datasets import read_datalist
from medseg.errors import BundleError, RunError
from medseg.workflows.predict import CaseOptions, evaluate

logger = logging.getLogger(__name__)


def verify(
    bundle: str | os.PathLike[str],
    *,
    datalist: str | os.PathLike[str],
    output_dir: str | os.PathLike[str] | None = None,
    device: str | None = None,
    trust: bool = False,
) -> list[Reproduced]:
    """Score the test cases of a datalist and compare each region's mean Dice with the bundle's reported interval.

    Parameters
    ----------
    bundle
        Folder or name of a bundle with models/scores.json.
    datalist
        MSD-style JSON; a warning tells where its test part is not the one that the scores were reported on.
    output_dir
        Keep masks and scores there; None keeps nothing.
    device
        "cpu", "cuda" or "cuda:1"; as the bundle says if None.
    trust
        As for `train`.

    Raises
    ------
    BundleError
        The bundle reports no scores, or of other weights.
    RunError
        Not all cases could be scored.
    """
    folder = find_bundle(bundle)
    reported = read_scores(folder)
    if reported is None:
        raise BundleError(f"bundle {folder.name} reports no scores", expected=f"a file {SCORES_FILE}")
    _warn_of_other_cases(reported, datalist)
    kept = nullcontext(str(output_dir)) if output_dir is not None else tempfile.TemporaryDirectory(prefix="verify-")
    with kept as place:
        options = CaseOptions(device=device)
        report = evaluate(folder, datalist=datalist, output_dir=place, options=options, trust=trust)
        if report.failed:
            many = f"{len(report.failed)} of {len(report.cases)}"
            raise RunError(f"{many} cases could not be scored", got=f"{report.failed[0].id}: {report.failed[0].reason}")
        summary = json.loads((Path(place) / "summary.json").read_text(encoding="utf-8"))
    return compare_scores(reported, summary)


def _warn_of_other_cases(reported: Mapping[str, Any], datalist: str | os.PathLike[str]) -> None:
    """The mean of other cases may lie in the interval or not: neither says whether the reported one is true."""
    content = read_datalist(datalist)
    pairs: dict[str, tuple[Any, Any]] = {
        "test cases": (len(content["test"]), reported.get("cases")),
        "seed of the split": (content.get("seed"), reported.get("split_seed")),
    }
    other = {name: pair for name, pair in pairs.items() if None not in pair and pair[0] != pair[1]}
    if other:
        got, expected = (", ".join(f"{name}: {pair[side]}" for name, pair in other.items()) for side in (0, 1))
        logger.warning(
            "datalist %s: not the cases that the scores were reported on, so a difference proves nothing; got %s; "
            "expected %s; the bundle's docs/README.md names the command that splits them",
            *(datalist, got, expected),
        )
