"""The model card: what a model is for, what it was made of, how good it is, and where it must not be believed.

After Mitchell et al., Model Cards for Model Reporting (FAT* 2019, doi:10.1145/3287560.3287596): details, intended use,
factors and data, metrics, limits. It says only what the bundle's metadata and the results of this report say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medseg.evaluation.bootstrap import interval_text
from medseg.review.report.cases import flags_of, were_flags_looked_for
from medseg.review.report.facts import NOT_STATED
from medseg.review.report.folders import Bundle, Results, Run
from medseg.review.report.scores import empties
from medseg.review.report.svg import counted, fixed, number

FEW_CASES = 30
"""Below, an interval is wide and the worst case has most likely not been met."""
_NOT_A_DEVICE = "Research and teaching. Not a medical device: not for diagnosis or treatment."


@dataclass(frozen=True)
class ModelCard:
    """The card of one bundle: groups of facts, and what limits it."""

    name: str
    groups: Sequence[tuple[str, Sequence[tuple[str, str]]]]
    limits: Sequence[str]
    references: Sequence[str]
    readme: str


def card_of(bundle: Bundle, results: Sequence[Results], *, run: Run | None = None) -> ModelCard:
    """The card of a bundle, with what `results`, made with its weights, say of it.

    Parameters
    ----------
    run
        The training run whose folder the bundle is: its weights are new, so that data and scores that the metadata
        state, which are those of the bundle that the run started from, are not told as its own.
    """
    metadata = bundle.metadata
    where = "training run" if run is not None else "bundle"
    name = f"{metadata.get('name', '')} {metadata.get('version', '')}, {where} {bundle.folder.resolve().name}"
    measured = [fact for one in results for fact in _measured(one)]
    groups = [
        ("Model", _details(bundle, run)),
        ("Intended use", [("use", str(metadata.get("intended_use") or _NOT_A_DEVICE))]),
        ("Training data", _data(metadata) if run is None else _data_of_run(run)),
        ("Scores", [*(_claimed(metadata) if run is None else _scores_of_run(run)), *measured]),
    ]
    filled = [(title, facts or [("", NOT_STATED)]) for title, facts in groups]
    references = [str(one) for one in metadata.get("references", [])]
    return ModelCard(name.strip(), filled, _limits(results), references, bundle.readme)


def _details(bundle: Bundle, run: Run | None) -> list[tuple[str, str]]:
    metadata, settings = bundle.metadata, bundle.settings
    image = metadata.get("network_data_format", {}).get("inputs", {}).get("image", {})
    network = settings.get("network_def", {})
    special = metadata.get("medseg", {})
    labels = ", ".join(f"{value} {name}" for value, name in bundle.label_names.items())
    facts = [
        ("task", metadata.get("task")),
        ("description" if run is None else "description of the bundle it started from", metadata.get("description")),
        ("input", _input(image)),
        ("output labels", labels),
        ("network", network.get("_target_") if isinstance(network, Mapping) else None),
        ("spacing of the network (mm)", _plain(settings.get("spacing_mm"))),
        ("weights SHA-256", bundle.weights_sha256 or "there are no weights"),
        ("licence of the weights", special.get("weights_license") if run is None else "that of who trained them"),
        ("authors", metadata.get("authors")),
        ("copyright", metadata.get("copyright")),
    ]
    return [(name, str(value)) for name, value in facts if value]


def _data(metadata: Mapping[str, Any]) -> list[tuple[str, str]]:
    facts = [("source", metadata.get("data_source")), ("licence", metadata.get("medseg", {}).get("data_license"))]
    return [(name, str(value)) for name, value in facts if value]


def _data_of_run(run: Run) -> list[tuple[str, str]]:
    counts = ", ".join(f"{part} {count}" for part, count in run.counts.items())
    return [("datalist", run.data_name or NOT_STATED), ("cases", counts or NOT_STATED)]


def _scores_of_run(run: Run) -> list[tuple[str, str]]:
    chose = "these cases chose the weights, so it is too good"
    told = "never validated" if run.best is None else f"{number(run.best)}: {chose}"
    return [(f"best {run.best_name} on the validation cases", told)]


def _claimed(metadata: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (f"stated by the bundle: {name.replace('_', ' ')}", number(value) if isinstance(value, float) else str(value))
        for name, value in metadata.get("eval_metrics", {}).items()
    ]


def _measured(results: Results) -> list[tuple[str, str]]:
    found = []
    for region, one in results.summary.get("regions", {}).items():
        dice = one.get("dice")
        if dice:
            value = f"{fixed(dice['mean'], 4)} {interval_text(dice['mean_ci95'])}, {counted(dice['n'], 'case')}"
            found.append((f"measured in {results.folder.resolve().name}: Dice {region}", value))
    return found


def _limits(results: Sequence[Results]) -> list[str]:
    """What the results themselves say against trusting them."""
    told: list[str] = []
    scored = [one for one in results if one.scores]
    for one in scored:
        where, cases = one.folder.resolve().name, int(one.summary.get("cases", 0))
        if cases < FEW_CASES:
            told.append(
                f"{where}: only {counted(cases, 'case')} scored; the worst that can happen has hardly been met."
            )
        told.append(f"{where}: {empties(one)}")
        told += _told_of_flags(one, where)
        ece = one.summary.get("calibration", {}).get("ece")
        told.append(f"{where}: {_calibration(ece)}")
        if one.summary.get("failed_cases"):
            failed = counted(len(one.summary["failed_cases"]), "case")
            told.append(f"{where}: {failed} failed, which count in no mean.")
    if not scored:
        told.append("No scores are part of this report: how good the model is on these images is not known.")
    told.append(
        "Scores hold for images like those that were scored: other scanners, protocols and patients may differ."
    )
    return told


def _told_of_flags(results: Results, where: str) -> list[str]:
    if not were_flags_looked_for(results):
        return [f"{where}: nobody looked for signs of failure (no flags in the manifests)."]
    return [f"{where}: flagged {len(flags_of(results))} of {counted(len(results.done), 'case')}."]


def _calibration(ece: float | None) -> str:
    if ece is None:
        return "how far the network's confidence can be believed was not measured."
    return f"confidence is off by {number(ece)} on average (expected calibration error)."


def _input(image: Mapping[str, Any]) -> str:
    shape = " x ".join(map(str, image.get("spatial_shape", [])))
    channels = image.get("num_channels")
    parts = [image.get("modality"), shape, f"{channels} channel{'s' if channels != 1 else ''}" if channels else None]
    return ", ".join(str(part) for part in parts if part)


def _plain(value: object) -> str | None:
    return " x ".join(map(str, value)) if isinstance(value, (list, tuple)) else None if value is None else str(value)
