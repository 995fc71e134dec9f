"""Segment new studies, and evaluate a bundle on the test cases of a datalist."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medseg.outputs import Report


def predict(
    bundle: str | os.PathLike[str],
    *,
    inputs: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    overlays: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
) -> Report:
    """Segment every study that `inputs` holds, on its native grid.

    Parameters
    ----------
    bundle
        Folder or name of a bundle.
    inputs
        An image, a folder of images, a DICOM series folder, or a folder of such folders.
    output_dir
        Masks `<id>.nii.gz` or `<id>.png`, previews, manifests and report.json go here.
    overlays, overrides
        As for `train`.

    Raises
    ------
    BundleError, DataError, OutputError
        Nothing was started. Cases that fail later are in the report.
    """
    settings = {"input": str(Path(inputs).resolve())}
    return _run_cases(bundle, "inference", output_dir, overlays, {**(overrides or {}), **settings})


def evaluate(
    bundle: str | os.PathLike[str],
    *,
    datalist: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    overlays: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
) -> Report:
    """Segment and score the test cases of a datalist: scores.csv, summary.json, masks and comparisons.

    Parameters and errors are those of `predict`, with `datalist` the MSD-style JSON whose `test` part is scored.
    """
    settings = {"datalist": str(Path(datalist).resolve())}
    return _run_cases(bundle, "evaluate", output_dir, overlays, {**(overrides or {}), **settings})


def _run_cases(
    bundle: str | os.PathLike[str],
    purpose: Any,
    output_dir: str | os.PathLike[str],
    overlays: Sequence[str],
    overrides: Mapping[str, Any],
) -> Report:
    from medseg.bundle import find_bundle
    from medseg.bundle.load import open_workflow, run_workflow

    folder = find_bundle(bundle)
    settings = {**overrides, "output_dir": str(Path(output_dir).resolve())}
    workflow = open_workflow(folder, purpose, overlays=overlays, overrides=settings)
    run_workflow(workflow, folder)
    report: Report = workflow.parser.get_parsed_content("cases").report
    return report
