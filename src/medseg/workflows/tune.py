"""Which clean-up of a label map helps a bundle? Asked of validation cases, never of test cases.

The network segments each case once. For each label every option of `medseg.postprocess.options` is tried on it in place
of what the bundle does with that label now, and scored by the label's Dice. The choice is made with the patients in
folds: on all folds but one the option with the best mean Dice is chosen, what is simpler winning ties, and its gain is
measured on the fold that was left out. So the gain that is told is that of choosing and using on other patients, not
that of the luckiest of many options. A label gets what is best on all cases if this gain is above 0 and the lower end
of its 95 % interval by patient is not below 0; else the bundle keeps what it has. A gain of less than 0.0005 is none.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medseg import __version__
from medseg.bundle import find_bundle, read_metadata
from medseg.bundle.load import build, open_workflow
from medseg.datasets import read_datalist
from medseg.errors import BundleError, DataError, OutputError
from medseg.evaluation.bootstrap import Floats, Indices, groups, percentiles, resampled_means
from medseg.files import atomic_write
from medseg.postprocess.options import STEPS, Option, Step, all_options, apply_steps
from medseg.workflows.own_data import cases_for, refuse_known
from medseg.workflows.precision import dice_of_labels
from medseg.workflows.rewrite import rewritten

if TYPE_CHECKING:
    from medseg.inference import Segmenter

FOLDS = 5
LEAST_PATIENTS = 4
PART = "validation"
LEAST_GAIN = 5e-4
"""Of the mean Dice: less is nothing that anyone would see, and no reason for a step."""

_TINY = 1e-9


@dataclass(frozen=True)
class LabelChoice:
    """What was found for one label.

    Attributes
    ----------
    value, name
        The label.
    present, nothing
        Mean Dice with the steps that the bundle has now, and with none.
    tried
        Option to mean Dice over all cases.
    chosen
        The option that is best on all cases; None where that is what the bundle does now.
    gain, gain_ci95
        Of choosing on some patients and using on others, against what the bundle does now; in Dice.
    helps
        Whether the choice is to be written.
    """

    value: int
    name: str
    present: float
    nothing: float
    tried: Mapping[str, float]
    chosen: Option | None
    gain: float
    gain_ci95: tuple[float, float]
    helps: bool

    def to_json(self) -> dict[str, Any]:
        """For models/postprocessing.json."""
        return {
            "mean_dice": {"as_it_was": self.present, "nothing": self.nothing, "tried": dict(self.tried)},
            "chosen": "as it was" if self.chosen is None else str(self.chosen),
            "gain": self.gain,
            "gain_ci95": list(self.gain_ci95),
            "helps": self.helps,
        }


@dataclass(frozen=True)
class Tuning:
    """What `tune_postprocessing` found.

    Attributes
    ----------
    labels
        One choice for each.
    before, after
        The bundle's steps as they are, and as they should be; the same where nothing helps.
    record
        For models/postprocessing.json.
    """

    labels: tuple[LabelChoice, ...]
    before: tuple[Step, ...]
    after: tuple[Step, ...]
    record: Mapping[str, Any]

    @property
    def changes(self) -> bool:
        """Whether there is anything to write into the configuration."""
        return any(one.helps for one in self.labels)


def tune_postprocessing(
    bundle: str | os.PathLike[str],
    *,
    datalist: str | os.PathLike[str],
    part: str = PART,
    seed: int = 0,
    device: str | None = None,
    trust: bool = False,
) -> Tuning:
    """Try largest component, minimum volume and hole filling for each label.

    Parameters
    ----------
    bundle
        Folder or name of a bundle with weights.
    datalist
        MSD-style JSON whose validation part is used.
    part
        "validation": the test part is refused, for what was chosen on it would look better there than it is; so are
        training cases, on which the network makes fewer mistakes than it will.
    seed
        Of the folds and the resamples.
    device
        "cpu", "cuda" or "cuda:1"; None as the bundle says.
    trust
        Let the bundle do all it wants.

    Raises
    ------
    DataError
        Labels with other values than the bundle's, another part than validation, training or test cases of the bundle's
        own run among its cases, or too few patients.
    BundleError
        Steps that cannot be told apart by label.
    """
    items = _items(find_bundle(bundle), Path(datalist), part)
    plan = _plan(find_bundle(bundle), device=device, trust=trust)
    options = all_options(plan.spatial_dims)
    scores = _scores(plan, items, options)
    member = groups([item["patient"] for item in items])
    labels = tuple(
        _choice(value, name, scores[:, k], options, member, [item["patient"] for item in items], seed)
        for k, (value, name) in enumerate(plan.names.items())
    )
    after = _new_steps(plan, labels)
    record = {
        "medseg_version": __version__,
        "date": datetime.now(UTC).date().isoformat(),
        "weights_sha256": plan.weights_sha256,
        "data": str(read_datalist(datalist).get("name", "")),
        "part": part,
        "cases": len(items),
        "patients": int(member.max()) + 1,
        "folds": _fold_count(member),
        "seed": seed,
        "labels": {one.name: one.to_json() for one in labels},
        "before": list(plan.steps),
        "after": list(after),
    }
    return Tuning(labels, plan.steps, after, record)


def write_tuning(tuning: Tuning, bundle: str | os.PathLike[str]) -> list[Path]:
    """Write what helped into configs/common.yaml, and the record to models/postprocessing.json; the files written.

    Raises
    ------
    OutputError
        A file cannot be written.
    BundleError
        configs/common.yaml has no list `postprocessing` that can be replaced.
    """
    folder = find_bundle(bundle)
    texts: dict[Path, str] = {}
    if tuning.changes:
        common = folder / "configs" / "common.yaml"
        texts[common] = rewritten(common, "postprocessing", tuning.after)
    record = folder / "models" / "postprocessing.json"
    texts[record] = json.dumps({**tuning.record, "written": tuning.changes}, indent=1, allow_nan=False) + "\n"
    for path, text in texts.items():
        try:
            with atomic_write(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
        except OSError as error:
            raise OutputError(
                f"{path} cannot be written",
                got=error.strerror,
                next_step="copy the bundle to a folder of yours and name that, or only look: --print-only",
            ) from error
    return list(texts)


@dataclass(frozen=True)
class _Plan:
    """The bundle: what segments, what it does to labels now, and the steps that are not ours to change."""

    segmenter: Segmenter
    names: Mapping[int, str]
    steps: tuple[Step, ...]
    spatial_dims: int
    weights_sha256: str

    @property
    def others(self) -> bool:
        """Whether there are steps of another kind, such as KeepInside."""
        return any(step.get("_target_") not in STEPS for step in self.steps)


def _items(bundle: Path, datalist: Path, part: str) -> list[dict[str, str]]:
    if part != PART:
        raise DataError(
            f"postprocessing cannot be tuned on the part {part!r}",
            got=part,
            expected=f"{PART!r}: the test cases are there to measure what was chosen without them",
        )
    items = cases_for(bundle, datalist, part)
    patients = {item["patient"] for item in items}
    if len(patients) < LEAST_PATIENTS:
        raise DataError(
            f"datalist {datalist}: too few validation cases to choose on some and measure on others",
            got=f"{len(patients)} patients",
            expected=f"at least {LEAST_PATIENTS}",
        )
    refuse_known(bundle, items, datalist=datalist)
    return items


def _plan(bundle: Path, *, device: str | None, trust: bool) -> _Plan:
    from medseg.networks.weights import weights_sha256
    from medseg.workflows.devices import device_setting

    chosen = {} if device is None else {"device": device_setting(device)}
    workflow = open_workflow(bundle, "evaluate", overrides=chosen, trust=trust)
    steps = workflow.parser.get("postprocessing")
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise BundleError(f"bundle {bundle}: postprocessing", got=repr(steps), expected="a list of steps")
    unclear = [step for step in steps if step.get("_target_") in STEPS and not isinstance(step.get("labels"), list)]
    if unclear:
        raise BundleError(f"bundle {bundle}: postprocessing", got=unclear[0], expected="labels as a plain list")
    about = read_metadata(bundle)
    return _Plan(
        build(workflow, bundle, "segmenter"),
        {value: name for value, name in about.labels.items() if value > 0},
        tuple(steps),
        about.spatial_dims,
        weights_sha256(build(workflow, bundle, "weights")),
    )


def _scores(plan: _Plan, items: Sequence[Mapping[str, str]], options: Sequence[Option]) -> Floats:
    """Dice ``(cases, labels, 1 + options)``, the first as the bundle does it now."""
    from dataclasses import replace

    from medseg.intake import check_pair, read_label

    found = np.empty((len(items), len(plan.names), 1 + len(options)))
    for i, item in enumerate(items):
        read, truth = plan.segmenter.read(item), read_label(Path(item["label"]))
        check_pair(read.native, truth, case_id=item["id"], labels=plan.names)
        (raw,) = plan.segmenter.segment([read])
        present = plan.segmenter.finish(raw).labels.array
        for k, value in enumerate(plan.names):
            found[i, k, 0] = dice_of_labels(present, truth.array, value)
            for j, option in enumerate(options):
                cleaned = apply_steps(raw.labels.array, _steps_with(plan, value, option), raw.labels.affine)
                if plan.others:
                    cleaned = _rest(plan, replace(raw, labels=replace(raw.labels, array=cleaned)))
                found[i, k, 1 + j] = dice_of_labels(cleaned, truth.array, value)
    return found


def _steps_with(plan: _Plan, value: int, option: Option) -> list[Step]:
    """The option for one label; with steps of other kinds behind, those of the other labels too, as they are now."""
    own: list[Step] = list(option.steps([value], spatial_dims=plan.spatial_dims))
    return [*own, *_known_steps(plan.steps, [v for v in plan.names if v != value])] if plan.others else own


def _rest(plan: _Plan, segmentation: Any) -> Any:
    """After the steps that are not ours to change."""
    array, affine = segmentation.labels.array, segmentation.labels.affine
    for step, declared in zip(plan.segmenter.postprocessing, plan.steps, strict=True):
        if declared.get("_target_") not in STEPS:
            array = step(array, affine)
    return array


def _choice(
    value: int,
    name: str,
    scores: Floats,
    options: Sequence[Option],
    member: Indices,
    patients: Sequence[str],
    seed: int,
) -> LabelChoice:
    """Choose for one label on ``(cases, 1 + options)``."""
    fold = np.random.default_rng(seed).permutation(int(member.max()) + 1)[member] % _fold_count(member)
    gains = np.empty(len(scores))
    for number in np.unique(fold):
        out = fold == number
        best = _best(scores[~out])
        gains[out] = scores[out, best] - scores[out, 0]
    low, high = percentiles(resampled_means(gains, patients=patients, seed=seed))  # of four patients at least
    best, gain = _best(scores), float(gains.mean())
    means = scores.mean(axis=0)
    return LabelChoice(
        value,
        name,
        present=float(means[0]),
        nothing=float(means[1]),
        tried={str(option): float(mean) for option, mean in zip(options, means[1:], strict=True)},
        chosen=None if best == 0 else options[best - 1],
        gain=gain,
        gain_ci95=(low, high),
        helps=best != 0 and gain >= LEAST_GAIN and low >= -_TINY,
    )


def _best(scores: Floats) -> int:
    """The first of the options with the best mean: what the bundle does now, then the simplest."""
    means = scores.mean(axis=0)
    return int(np.flatnonzero(means >= means.max() - _TINY)[0])


def _fold_count(member: Indices) -> int:
    return min(FOLDS, int(member.max()) + 1)


def _new_steps(plan: _Plan, labels: Sequence[LabelChoice]) -> tuple[Step, ...]:
    """Steps of labels that stay as they are, then the new ones, then those of other kinds."""
    if not any(one.helps for one in labels):
        return plan.steps
    kept = _known_steps(plan.steps, [one.value for one in labels if not one.helps])
    together: dict[Option, list[int]] = {}
    for one in labels:
        if one.helps and one.chosen is not None:
            together.setdefault(one.chosen, []).append(one.value)
    new = [step for option, of in together.items() for step in option.steps(of, spatial_dims=plan.spatial_dims)]
    return (*kept, *new, *(step for step in plan.steps if step.get("_target_") not in STEPS))


def _known_steps(steps: Sequence[Step], values: Sequence[int]) -> list[Step]:
    """The steps that we know, for these labels alone."""
    found: list[Step] = []
    for step in steps:
        labels = [value for value in step.get("labels", []) if value in values]
        if step.get("_target_") in STEPS and labels:
            found.append({**step, "labels": labels})
    return found
