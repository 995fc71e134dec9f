"""Segment new studies, and evaluate a bundle on the test cases of a datalist."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from medseg.bundle import find_bundle
from medseg.datasets import load_datalist
from medseg.evaluation.strata import Strata, read_all_strata
from medseg.intake import require_input
from medseg.outputs import Report, check_apart, check_formats, check_output_folder, check_unscored
from medseg.workflows.devices import device_setting
from medseg.workflows.own_data import refuse_other_labels
from medseg.workflows.pacs import check_storing, local_input, store_results
from medseg.workflows.stratified import add_strata


@dataclass(frozen=True)
class CaseOptions:
    """How many cases are worked on; each option sets the id of its name in the configuration, None leaves it alone.

    Attributes
    ----------
    resume
        Skip the cases that an earlier run did with the same input, weights and settings.
    jobs
        Cases in flight at once.
    device
        "cpu", "cuda" or "cuda:1".
    tta
        Average over mirrored inputs.
    precision
        "auto", "fp32" or "bf16".
    backend
        What runs the network, such as "torch" or "openvino".
    save_probabilities
        Write the probabilities of each class too.
    formats
        What each label map is written as besides its mask: some of `medseg.outputs.FORMATS`.
    """

    resume: bool | None = None
    jobs: int | None = None
    device: str | None = None
    tta: bool | None = None
    precision: str | None = None
    backend: str | None = None
    save_probabilities: bool | None = None
    formats: Sequence[str] | None = None

    def overrides(self) -> dict[str, Any]:
        """Ids and values for those that are given.

        Raises
        ------
        BundleError
            A device that this machine does not have.
        """
        given = {name: value for name, value in asdict(self).items() if value is not None}
        if self.device is not None:
            given["device"] = device_setting(self.device)
        if self.formats is not None:
            given["formats"] = list(self.formats)
        return given


def predict(
    bundle: str | os.PathLike[str],
    *,
    inputs: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    overlays: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
    options: CaseOptions | None = None,
    store: bool = False,
    trust: bool = False,
) -> Report:
    """Segment every study that `inputs` holds, on its native grid.

    Parameters
    ----------
    bundle
        Folder or name of a bundle.
    inputs
        An image, a folder of images, a DICOM series folder, or a folder of such folders; or a series in a PACS:
        `dicomweb://HOST[:PORT][/prefix]/studies/UID[/series/UID]`.
    output_dir
        Masks `<id>.nii.gz` or `<id>.png`, previews, manifests and report.json go here.
    overlays, overrides
        As for `train`.
    options
        Cases in flight, device, precision and the like; these win over `overrides`.
    store
        Store the DICOM outputs, a SEG at least, in the PACS that the images came from, and find them again.
    trust
        As for `train`.

    Raises
    ------
    BundleError, DataError, OutputError, PacsError
        Nothing was started. Cases that fail later are in the report.
    RunError
        The run stopped midway: report.json tells what is done, `CaseOptions(resume=True)` does the rest. Or it is
        done, but its results could not be stored.
    """
    asked, options = dict(overrides or {}), options if options is not None else CaseOptions()
    formats = asked.get("formats") if options.formats is None else options.formats
    if store:
        formats = check_storing(inputs, formats or ())
        options = replace(options, formats=formats)
    folder = find_bundle(bundle)
    with local_input(inputs, series=asked.get("series")) as local:
        _check_places(local, Path(output_dir))
        if formats:
            _check_formats(formats, folder, local, asked.get("series"))
        settings = {"input": str(local.resolve())}
        report = _run_cases(bundle, "inference", output_dir, overlays, {**asked, **settings}, options, trust=trust)
    if store:
        store_results(str(inputs), report, Path(output_dir))
    return report


def evaluate(
    bundle: str | os.PathLike[str],
    *,
    datalist: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    overlays: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
    options: CaseOptions | None = None,
    strata: Sequence[str] = (),
    trust: bool = False,
) -> Report:
    """Segment and score the test cases of a datalist: scores.csv, cases.csv, summary.json, masks and comparisons.

    Parameters and errors are those of `predict`, with `datalist` the MSD-style JSON whose `test` part is scored, and
    `strata` as for `score`.
    """
    _check_datalist(Path(datalist), Path(output_dir), find_bundle(bundle))
    chosen = _strata(strata, datalist)
    changes = {**(overrides or {}), "datalist": str(Path(datalist).resolve())}
    report = _run_cases(bundle, "evaluate", output_dir, overlays, changes, options, trust=trust)
    if len(report.cases) > len(report.failed):
        add_strata(Path(output_dir), chosen)
    return report


def _check_datalist(datalist: Path, output_dir: Path, bundle: Path) -> None:
    """As `_check_places`, for the cases of a datalist; its labels have to be those of the bundle."""
    from medseg.bundle.check.plans import refuse_zoo

    refuse_zoo(bundle)
    cases = load_datalist(datalist, "test")
    refuse_other_labels(bundle, datalist)
    check_apart(output_dir, [Path(case[key]) for case in cases for key in ("image", "label")])
    check_output_folder(output_dir)


def _strata(wanted: Sequence[str], datalist: str | os.PathLike[str]) -> list[Strata]:
    """Read before anything runs: a wrong table is told at once."""
    if not wanted:
        return []
    patients = {case["id"]: case["patient"] for case in load_datalist(datalist, "test")}
    return read_all_strata(wanted, patients)


def _run_cases(
    bundle: str | os.PathLike[str],
    purpose: Any,
    output_dir: str | os.PathLike[str],
    overlays: Sequence[str],
    overrides: Mapping[str, Any],
    options: CaseOptions | None,
    *,
    trust: bool,
) -> Report:
    from medseg.bundle import find_bundle
    from medseg.bundle.load import open_workflow, run_workflow

    folder = find_bundle(bundle)
    chosen = {} if options is None else options.overrides()
    settings = {**overrides, **chosen, "output_dir": str(Path(output_dir).resolve())}
    workflow = open_workflow(folder, purpose, overlays=overlays, overrides=settings, trust=trust)
    run_workflow(workflow, folder)
    report: Report = workflow.parser.get_parsed_content("cases").report
    return report


def _check_places(inputs: Path, output_dir: Path) -> None:
    """What is wrong with a path is told before torch and MONAI are loaded, which takes seconds."""
    require_input(inputs)
    check_apart(output_dir, [inputs])
    check_unscored(output_dir)
    check_output_folder(output_dir)


def _check_formats(formats: Sequence[str], folder: Path, inputs: Path, series: object) -> None:
    """Refuse formats that an input does not allow before the model is loaded."""
    from medseg.bundle import read_metadata
    from medseg.datasets import list_inputs

    about = read_metadata(folder)
    wanted = None if series is None else str(series)
    items = list_inputs(inputs, series=wanted, modality=about.modality)
    check_formats(formats, inputs=[Path(item["image"]) for item in items], spatial_dims=about.spatial_dims)
