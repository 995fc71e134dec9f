"""Failure flags of a bundle: limits from its training cases, a regression from validation cases and made failures."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg import __version__
from medseg.bundle import find_bundle, read_metadata
from medseg.bundle.load import build, open_workflow
from medseg.datasets import load_datalist, read_datalist
from medseg.errors import BundleError, DataError
from medseg.evaluation.expected_dice import DicePredictor, fit_regression, regression_inputs
from medseg.evaluation.features import CaseFeatures, region_features
from medseg.evaluation.flag_record import FlagRecord, read_flag_record, write_flag_record
from medseg.evaluation.flags import make_limits
from medseg.evaluation.made_failures import KINDS, spoilt
from medseg.workflows.own_data import cases_for, refuse_known
from medseg.workflows.records import record_path, writing

if TYPE_CHECKING:
    from medseg.inference import ReadCase, Segmenter

INTACT = "as it is"
ENOUGH_PATIENTS = 10
"""With fewer validation patients, limits of what only the network says come from training cases too."""

LEAST_PATIENTS = 5
"""With fewer validation patients no regression is fitted."""

Item = Mapping[str, str]


@dataclass(frozen=True)
class Measured:
    """One case, or one of its spoilt copies, segmented.

    Attributes
    ----------
    case, patient
        Ids.
    kind
        `INTACT`, or how it was spoilt.
    features
        Without its truth.
    dice
        Region to Dice.
    """

    case: str
    patient: str
    kind: str
    features: CaseFeatures
    dice: Mapping[str, float]


def open_segmenter(
    bundle: str | os.PathLike[str],
    *,
    device: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    trust: bool = False,
) -> tuple[Segmenter, dict[int, str], str]:
    """The bundle's segmenter, its labels without the background, and the SHA-256 of its weights.

    Parameters
    ----------
    bundle
        Folder or name of a bundle with weights.
    device
        "cpu", "cuda" or "cuda:1"; None as the bundle says.
    overrides
        Ids of the configuration and their values.
    trust
        Let the bundle do all it wants.
    """
    from medseg.networks.weights import weights_sha256
    from medseg.workflows.devices import device_setting

    folder = find_bundle(bundle)
    chosen = {} if device is None else {"device": device_setting(device)}
    workflow = open_workflow(folder, "evaluate", overrides={**(overrides or {}), **chosen}, trust=trust)
    segmenter: Segmenter = build(workflow, folder, "segmenter")
    labels = {value: name for value, name in read_metadata(folder).labels.items() if value > 0}
    return segmenter, labels, weights_sha256(build(workflow, folder, "weights"))


def learn_limits(
    bundle: str | os.PathLike[str],
    *,
    datalist: str | os.PathLike[str],
    share_flagged: float = 0.05,
    device: str | None = None,
    trust: bool = False,
) -> FlagRecord:
    """Limits of a bundle's failure flags, from the training and validation parts of a datalist.

    Parameters
    ----------
    bundle, device, trust
        As for `open_segmenter`.
    datalist
        MSD-style JSON, as the bundle was trained with; its test part is not looked at.
    share_flagged
        Share of cases like those of training that may be flagged.

    Raises
    ------
    BundleError, DataError
        No weights, no cases, or cases that the bundle cannot read; or a share that is none.
    """
    if not 0 < share_flagged < 1:
        raise DataError("the share of cases that may be flagged", got=share_flagged, expected="between 0 and 1")
    training, validation = cases_for(find_bundle(bundle), datalist, "training"), load_datalist(datalist, "validation")
    segmenter, names, weights = open_segmenter(bundle, device=device, trust=trust)
    enough = len({item["patient"] for item in validation}) >= ENOUGH_PATIENTS
    judged = [*validation] if enough else [*training, *validation]
    segmented = [one.features for one in measure(segmenter, judged, names)]
    limits = make_limits([_drawn(segmenter, item, names) for item in training], segmented, share_flagged=share_flagged)
    own = segmented[-len(validation) :]
    about = {
        "medseg_version": __version__,
        "date": datetime.now(UTC).date().isoformat(),
        "data": str(read_datalist(datalist).get("name", "")),
        "training_cases": len(training),
        "validation_cases": len(validation),
        "limits_of_network_from": "validation" if enough else "training and validation",
        "share_flagged": share_flagged,
        "flagged_of_validation": sum(bool(limits.flags(case)) for case in own),
    }
    return FlagRecord(weights, limits, None, about)


def learn_predictor(
    bundle: str | os.PathLike[str],
    *,
    datalist: str | os.PathLike[str],
    dice_below: float,
    device: str | None = None,
    trust: bool = False,
) -> tuple[FlagRecord, list[Measured]]:
    """The bundle's record with a regression of the Dice, and the cases that it was fitted on.

    It is fitted on the validation cases as they are and spoilt in each way of
    `medseg.evaluation.made_failures.KINDS`, because validation cases alone have hardly any failures to learn from. The
    cases as they are count as much as all spoilt ones together: most cases that come are like them.

    Parameters
    ----------
    bundle, device, trust
        As for `open_segmenter`; the bundle has limits already.
    datalist
        MSD-style JSON; only its validation part is used.
    dice_below
        A region whose Dice is below this counts as failed: what is too bad to use is the user's to say.

    Raises
    ------
    BundleError
        The bundle has no limits, or they are of other weights.
    DataError
        Too few validation patients, test cases of the bundle's own run among them, or a Dice that is none.
    """
    if not 0 < dice_below < 1:
        raise DataError("the Dice below which a case has failed", got=dice_below, expected="between 0 and 1")
    items = cases_for(find_bundle(bundle), datalist, "validation")
    patients = len({item["patient"] for item in items})
    if patients < LEAST_PATIENTS:
        raise DataError(
            f"datalist {datalist}: too few validation cases for a regression",
            got=f"{patients} patients",
            expected=f"at least {LEAST_PATIENTS}",
            next_step="the rules of medseg flags limits work without one",
        )
    refuse_known(find_bundle(bundle), items, datalist=Path(datalist), parts=["test"])
    segmenter, names, weights = open_segmenter(bundle, device=device, trust=trust)
    record = _known_record(bundle, weights)
    cases = list(measure(segmenter, items, names, kinds=(INTACT, *KINDS)))
    inputs = [regression_inputs(one.features, record.limits) for one in cases]
    fitted = {
        name: fit_regression(
            [one[name] for one in inputs],
            [one.dice[name] for one in cases],
            patients=[one.patient for one in cases],
            importance=[1.0 if one.kind == INTACT else 1.0 / len(KINDS) for one in cases],
        )
        for name in names.values()
    }
    about = {**record.about, **_regression_about(cases, [held_out for _, held_out in fitted.values()], dice_below)}
    predictor = DicePredictor(dice_below, {name: regression for name, (regression, _) in fitted.items()})
    return replace(record, predictor=predictor, about=about), cases


def _regression_about(cases: Sequence[Measured], held_out: Sequence[Any], dice_below: float) -> dict[str, Any]:
    """How well failures are told in cross-validation, where there are any."""
    import numpy as np

    from medseg.evaluation.roc import roc

    failed = [min(one.dice.values()) < dice_below for one in cases]
    about: dict[str, Any] = {"regression_cases": len(cases), "regression_date": datetime.now(UTC).date().isoformat()}
    if len(set(failed)) < 2:
        return about
    curve = roc(1 - np.min(held_out, axis=0), failed, patients=[one.patient for one in cases])
    return {**about, "regression_roc_cross_validated": curve.to_json()}


def measure(
    segmenter: Segmenter, items: Sequence[Item], names: Mapping[int, str], *, kinds: Sequence[str] = (INTACT,)
) -> Iterator[Measured]:
    """Segment cases, and copies of them spoilt in some ways; measure them and score them.

    Parameters
    ----------
    segmenter
        Of the bundle.
    items
        Of `load_datalist`.
    names
        Label value to name.
    kinds
        `INTACT` and keys of `medseg.evaluation.made_failures.KINDS`.
    """
    from medseg.intake import check_pair, read_label

    for number, item in enumerate(items):
        loaded = segmenter.loading({"image": item["image"]})
        truth = read_label(Path(item["label"]))
        for kind in kinds:
            read, expected = _changed(segmenter, loaded, item, truth.array, kind, seed=number)
            if kind == INTACT:
                check_pair(read.native, truth, case_id=item["id"], labels=names)
            yield _measured(segmenter, read, replace(truth, array=expected), item, names, kind)


def flag_record_path(bundle: str | os.PathLike[str]) -> Path:
    """Where a bundle keeps its record, models/flags.json; OutputError where it cannot be written."""
    return record_path(bundle, "flags.json")


def has_regression(path: Path) -> bool:
    """Whether the record at `path` holds a regression, which new limits end; of a damaged record nothing is kept."""
    try:
        record = read_flag_record(path)
    except BundleError:
        return False
    return record is not None and record.predictor is not None


def save_flag_record(record: FlagRecord, path: Path) -> None:
    """Write a record to `flag_record_path`; OutputError where it cannot be written."""
    with writing(path):
        write_flag_record(record, path)


def _known_record(bundle: str | os.PathLike[str], weights: str) -> FlagRecord:
    path = find_bundle(bundle) / "models" / "flags.json"
    record = read_flag_record(path)
    if record is None or record.weights_sha256 != weights:
        raise BundleError(
            f"{path}: no limits of these weights",
            expected="limits, on which the regression stands",
            next_step="make them first: medseg flags limits BUNDLE --datalist FILE",
        )
    return record


def _drawn(segmenter: Segmenter, item: Item, names: Mapping[int, str]) -> CaseFeatures:
    """A training case: its image as the network gets it, its regions as the truth has them."""
    from medseg.evaluation.features import intensity_features
    from medseg.intake import read_label

    truth = read_label(Path(item["label"]))
    regions = region_features(truth, raw=truth.array, names=names)
    read = segmenter.read(item)
    return CaseFeatures(intensity_features(read.inputs.numpy(), read.affine), regions)


def _changed(
    segmenter: Segmenter, loaded: Mapping[str, Any], item: Item, truth: Any, kind: str, *, seed: int
) -> tuple[ReadCase, Any]:
    """A case ready for the network, spoilt or not, and its truth."""
    import torch
    from monai.data import MetaTensor

    source = Path(item["image"])
    if kind == INTACT:
        return segmenter.prepare(loaded, source=source), truth
    image = loaded["image"]
    array, expected = spoilt(image.as_tensor().numpy(), truth, kind=kind, seed=seed)
    changed = MetaTensor(torch.from_numpy(array), meta=dict(image.meta))
    return segmenter.prepare({**loaded, "image": changed}, source=source), expected


def _measured(
    segmenter: Segmenter, read: ReadCase, truth: Any, item: Item, names: Mapping[int, str], kind: str
) -> Measured:
    from medseg.evaluation.features import intensity_features
    from medseg.evaluation.overlap import overlap_by_region
    from medseg.workflows.flagging import measured

    intensity = intensity_features(read.inputs.numpy(), read.affine)
    (before,) = segmenter.segment([read])
    after = segmenter.finish(before)
    scores = overlap_by_region(after.labels.array, truth.array, {name: [value] for value, name in names.items()})
    dice = {name: float(one.dice) for name, one in scores.items()}
    return Measured(item["id"], item["patient"], kind, measured(before, after, intensity, names), dice)
