"""Both stages: over a whole bundle for `medseg bundle check`, and over what is about to run."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medseg.bundle.check.findings import Finding, errors, in_order, refuse
from medseg.bundle.check.merged import Merged
from medseg.bundle.check.plans import Reader, plans
from medseg.bundle.check.static import check_static
from medseg.errors import BundleError

logger = logging.getLogger(__name__)


def check_bundle(
    bundle: Path,
    *,
    overlays: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
    static: bool = False,
    trust: bool = False,
) -> list[Finding]:
    """All findings in all configurations of a bundle.

    Parameters
    ----------
    bundle, overlays, overrides
        As in `check_static`.
    static
        Stop after stage one.
    trust
        Stage two may build what the bundle names, also where that is not on medseg's list; it is recorded.

    Returns
    -------
    list of Finding
        Stage two's are among them only where stage one found no error.
    """
    findings = check_static(bundle, overlays=overlays, overrides=overrides)
    if static or errors(findings):
        return findings
    reader = Reader()
    for plan in plans(bundle, overlays, reader):
        merged = Merged(bundle, plan, reader)
        merged.override(overrides or {})
        if not merged.findings:  # an overlay for another command
            findings += _built(merged.finish(), trust=trust)
    return in_order(findings)


def _built(merged: Merged, *, trust: bool) -> list[Finding]:
    from medseg.bundle.check.deep import check_deep, parser_of
    from medseg.bundle.trust import let_in, require_trust

    try:
        trusted = require_trust(merged.bundle, merged, trust=trust)
    except BundleError:
        what = "its network was not built: the bundle wants more than medseg's list allows"
        hint = f"medseg bundle trust {merged.bundle} shows what; --trust allows it"
        return [Finding("not-trusted", "warning", str(merged.plan.files[0]), 1, what, hint=hint)]
    if trusted:
        let_in(merged.bundle)
    return check_deep(merged, parser_of(merged, trusted=trusted))


def check_before_run(
    bundle: Path, purpose: str, *, overlays: Sequence[str] = (), overrides: Mapping[str, Any] | None = None
) -> None:
    """Stage one for what is about to run: warnings are logged, errors are raised all at once.

    Raises
    ------
    BundleError
        With every error, each with its file and line; behind them what the bundle wants beyond medseg's list.
    """
    findings = check_static(bundle, purpose, overlays=overlays, overrides=overrides)
    _log_warnings(findings, bundle)
    if errors(findings):
        refuse(findings, bundle, also=_wants(bundle, purpose, overlays, overrides))


def _wants(bundle: Path, purpose: str, overlays: Sequence[str], overrides: Mapping[str, Any] | None) -> str | None:
    """The refusal of a bundle that nobody has trusted; None where it can be run, or not even be merged."""
    from medseg.bundle.trust import merged_for, require_trust

    try:
        merged = merged_for(bundle, purpose, overlays=overlays, overrides=overrides)
    except BundleError:
        return None
    try:
        require_trust(bundle, merged)
    except BundleError as refusal:
        return str(refusal)
    return None


def check_before_data(merged: Merged, parser: Any) -> None:
    """Stage two for what is about to run, before any data is read; raises as `check_before_run` does."""
    from medseg.bundle.check.deep import check_deep

    findings = check_deep(merged, parser)
    _log_warnings(findings, merged.bundle)
    refuse(findings, merged.bundle)


def _log_warnings(findings: Sequence[Finding], bundle: Path) -> None:
    for finding in findings:
        if finding.severity == "warning":
            logger.warning("%s", finding.text(bundle))
