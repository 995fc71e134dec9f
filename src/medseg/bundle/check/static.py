"""Stage one: everything about a configuration that its text and the installed sources as text decide."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from medseg.bundle.check.context import Context
from medseg.bundle.check.findings import COMMAND_LINE, Finding, did_you_mean, in_order
from medseg.bundle.check.index import Index, user_index
from medseg.bundle.check.merged import Merged, normal
from medseg.bundle.check.plans import PURPOSES, Plan, Reader, missing_file, plans
from medseg.bundle.check.rules import (
    components,
    consistency,
    keys,
    labels,
    metadata,
    metrics,
    properties,
    ranges,
    references,
    sides,
    texts,
    unused,
    windows,
)
from medseg.bundle.check.sources import Sources

RULES: tuple[Callable[[Context], Iterable[Finding]], ...] = (
    references.missing,
    references.circles,
    references.expressions,
    references.special_keys,
    components.targets,
    components.without_target,
    components.without_target_in_lists,
    components.calls,
    properties.required,
    properties.entries,
    unused.unreferenced,
    texts.numbers,
    texts.choices,
    keys.read_before_written,
    metrics.computed_by_nobody,
    metrics.no_metrics,
    metrics.reported,
    labels.interpolated,
    labels.narrowed,
    labels.channels,
    labels.axes,
    labels.classes,
    labels.label_values,
    labels.losses,
    sides.mirrored,
    windows.divisible,
    ranges.outside,
    metadata.schema,
    metadata.misspelt_keys,
    metadata.versions,
)
TOGETHER: tuple[Callable[[Sequence[Context]], Iterable[Finding]], ...] = (
    consistency.shared_settings,
    consistency.spacing_and_intensities,
    consistency.windows,
)
"""Rules that compare the configurations of one bundle."""


def check_static(
    bundle: Path,
    purpose: str | None = None,
    *,
    overlays: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
    index: Index | None = None,
) -> list[Finding]:
    """All that is wrong with a bundle's configuration, as far as text decides it; imports neither torch nor MONAI.

    Parameters
    ----------
    bundle
        The bundle's folder.
    purpose
        "train", "evaluate" or "inference": what is about to run. None: every configuration of the bundle.
    overlays, overrides
        As in `open_workflow`.
    index
        Of installed sources; the user's own when None.

    Returns
    -------
    list of Finding
        Errors first, then by file and line.
    """
    index = user_index() if index is None else index
    sources, reader = Sources(bundle, index), Reader()
    configurations = _configurations(bundle, purpose, overlays, overrides or {}, reader)
    if any(finding.code in ("unreadable", "no-mapping") for finding in reader.findings):
        return in_order(reader.findings)  # the rest would be told of what is left of the files
    findings = list(_unknown_overrides(configurations, overrides or {}, purpose))
    if purpose is not None and not reader.findings and all(one.plan.name != purpose for one, _ in configurations):
        findings.append(missing_file(bundle / "configs" / f"{purpose}.yaml"))
    merged = [one.finish() for one, _ in configurations]
    contexts = [Context(one, sources, merged) for one in merged]
    chosen = [c for c in contexts if purpose in (None, c.merged.plan.name)]
    for context in chosen:
        findings += context.merged.findings
        findings += (finding for rule in RULES for finding in rule(context))
    findings += (finding for rule in TOGETHER for finding in rule(chosen if purpose is None else contexts))
    findings += reader.findings
    index.save()
    return in_order(_each_text_once(findings))


def _each_text_once(findings: Sequence[Finding]) -> list[Finding]:
    """Without the wrong types that a number written as a text makes where it is used: one mistake, one finding."""
    texts_at = {(one.file, one.line, one.got) for one in findings if one.code == "number-as-text"}
    return [one for one in findings if one.code != "wrong-type" or (one.file, one.line, repr(one.got)) not in texts_at]


def _configurations(
    bundle: Path, purpose: str | None, overlays: Sequence[str], overrides: Mapping[str, Any], reader: Reader
) -> list[tuple[Merged, list[str]]]:
    """Each plan merged, and the overrides that it does not know."""
    found = []
    for plan in plans(bundle, overlays, reader):
        merged = Merged(bundle, plan, reader)
        if plan.overlays and merged.findings and plan.name != (purpose or "train"):
            merged = Merged(bundle, _without_overlays(plan), reader)  # an overlay for another command
        found.append((merged, merged.override(overrides)))
    return found


def _without_overlays(plan: Plan) -> Plan:
    return Plan(plan.name, plan.files[: len(plan.files) - len(plan.overlays)], own=plan.own)


def _unknown_overrides(
    configurations: Sequence[tuple[Merged, list[str]]], overrides: Mapping[str, Any], purpose: str | None
) -> Iterator[Finding]:
    """Overrides of ids that are nowhere: not in the configuration to be run, or in none of the bundle."""
    asked = [(merged, unknown) for merged, unknown in configurations if purpose in (None, merged.plan.name)]
    for name in overrides if asked else []:
        if not all(name in unknown for _, unknown in asked):
            continue
        merged = asked[0][0]
        top = normal(name).split("::")[0]
        known = [key for key in merged.root.content if key not in ("_meta_", "imports")]
        hint = merged.nearest(name) or did_you_mean(top, known)
        what = f"the configuration has no {name}"
        yield Finding("unknown-override", "error", COMMAND_LINE, None, what, None, f"one of {', '.join(known)}", hint)


def purposes(bundle: Path) -> list[str]:
    """What the bundle can be run for, in medseg's layout."""
    return [one for one in PURPOSES if (bundle / "configs" / f"{one}.yaml").is_file()]
