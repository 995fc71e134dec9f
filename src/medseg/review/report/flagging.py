"""How well the failure flags find the cases that really failed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from medseg.evaluation.roc import roc_curve
from medseg.review.report.charts import Figure, receiver
from medseg.review.report.folders import Results
from medseg.review.report.svg import fixed
from medseg.review.report.table import Column, Table, figure, text

_NAMES = {"rules": "rules", "predicted_dice": "predicted Dice"}


def table(results: Results) -> Table | None:
    """What summary.json says of the flags: how many, and the area under each ROC curve."""
    found = results.summary.get("failure_flags")
    if not found:
        return None
    rows = [[text("cases flagged"), figure(found.get("flagged"), detail=f"of {found.get('cases', '?')}")]]
    if "dice_below" in found:
        failed = f"cases with a region below Dice {found['dice_below']:g}"
        rows += [[text(failed), figure(found.get("failed"))]]
        rows += [[text("of these flagged"), figure(found.get("failed_and_flagged"))]]
    for name, one in found.get("roc", {}).items():
        words = text(f"area under the ROC curve, {_NAMES.get(name, name)}")
        if one is None:
            rows.append([words, text("not defined: no case, or every case, failed")])
        else:
            ends = one["auc_ci95"]
            detail = "one patient: no interval" if ends is None else f"[{', '.join(fixed(end, 3) for end in ends)}]"
            rows.append([words, figure(one["auc"], decimals=3, detail=detail)])
    return Table("Failure flags", [Column("What"), Column("Value", numeric=True)], rows, sortable=False)


def plots(results: Results) -> list[Figure]:
    """The ROC curves behind the areas of summary.json, where there are failed and good cases."""
    found = results.summary.get("failure_flags", {})
    areas = {name: one for name, one in found.get("roc", {}).items() if one}
    worst = _worst_dice(results)
    judged = [case for case, one in results.manifests.items() if "flag_excess" in one and case in worst]
    failed = [worst[case] < found["dice_below"] for case in judged] if "dice_below" in found else []
    if not areas or len(set(failed)) < 2:
        return []
    lines = {}
    for name, one in areas.items():
        values = np.asarray([_warning(results.manifests[case], name) for case in judged])
        _, sensitivity, false_alarms = roc_curve(values, np.asarray(failed))
        label = f"{_NAMES.get(name, name)} (area {fixed(one['auc'], 3)})"
        lines[label] = list(zip(false_alarms.tolist(), sensitivity.tolist(), strict=True))
    caption = f"A case failed where a region has a Dice below {found['dice_below']:g}: {sum(failed)} of {len(failed)}."
    return [receiver("Failure flags against true failures", lines, caption=caption)]


def _warning(manifest: Mapping[str, Any], name: str) -> float:
    """What `medseg.evaluation.flag_summary` makes its areas from: larger for cases to look at."""
    if name == "rules":
        return float(manifest["flag_excess"])
    return 1 - min((float(value) for value in manifest.get("predicted_dice", {}).values()), default=1.0)


def _worst_dice(results: Results) -> dict[str, float]:
    worst: dict[str, float] = {}
    for row in results.scores:
        if row.get("dice"):
            worst[row["case"]] = min(float(row["dice"]), worst.get(row["case"], 1.0))
    return worst
