"""How well a bundle's failure flags tell failed cases from good ones, on its own cases and on failures made of them.

python benchmarks/failure_flags.py BUNDLE DATALIST.json

Each case of the validation and of the test part is segmented as it is and spoilt in the ways of
medseg.evaluation.made_failures. The bundle's models/flags.json (medseg flags limits, medseg flags fit) judges them. A
case has failed where a region's Dice is below the record's. The limits come from training and validation cases, the
regression was fitted on validation cases and on failures made of them: of validation cases its AUC is therefore the
cross-validated one that the record holds. Test cases were used for neither.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from measure import Table, ends, publish

from medseg.bundle import find_bundle
from medseg.datasets import load_datalist
from medseg.evaluation.flag_record import FlagRecord, read_flag_record
from medseg.evaluation.made_failures import KINDS
from medseg.evaluation.roc import roc
from medseg.workflows.flags import INTACT, Measured, measure, open_segmenter


def main() -> None:
    """Measure both parts and write benchmarks/results/failure_flags_BUNDLE."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("datalist", type=Path)
    options = parser.parse_args()
    folder = find_bundle(options.bundle)
    record = read_flag_record(folder / "models" / "flags.json")
    if record is None or record.predictor is None:
        raise SystemExit(f"{folder}: no models/flags.json with a regression; see medseg flags --help")
    segmenter, names, weights = open_segmenter(folder)
    if weights != record.weights_sha256:
        raise SystemExit(f"{folder}: models/flags.json was made with other weights")
    tables = []
    for part in ("validation", "test"):
        cases = list(measure(segmenter, load_datalist(options.datalist, part), names, kinds=(INTACT, *KINDS)))
        tables += [told(cases, record, part), by_kind(cases, record, part)]
    settings = {"bundle": folder.name, "seed": 0, "failed": f"Dice of a region below {record.predictor.dice_below:g}"}
    publish(f"failure_flags_{folder.name}", tables, settings=settings)


def told(cases: Sequence[Measured], record: FlagRecord, part: str) -> Table:
    """AUC of each warning, and what the flags as they are given caught."""
    judged = [record.judge(one.features) for one in cases]
    failed = [has_failed(one, record) for one in cases]
    warnings = {
        "rules (largest excess)": [one.excess for one in judged],
        "predicted Dice (smallest region)": [1 - min(one.predicted_dice.values()) for one in judged],
        "entropy alone (largest region)": [entropy(one) for one in cases],
    }
    table = Table(
        f"{part}: {len(cases)} images, {sum(failed)} failed", ["warning", "AUC against true failures", "95 % interval"]
    )
    for name, values in warnings.items():
        found: Mapping[str, object] = roc(values, failed, patients=[one.patient for one in cases]).to_json()
        if part == "validation" and name.startswith("predicted"):
            name, found = f"{name}, cross-validated", record.about["regression_roc_cross_validated"]
        table.rows.append([name, f"{found['auc']:.3f}", ends(found["auc_ci95"], ".3f")])
    caught = sum(bool(one.flags) for one, bad in zip(judged, failed, strict=True) if bad)
    alarms = sum(bool(one.flags) for one, bad in zip(judged, failed, strict=True) if not bad)
    table.notes.append(
        f"Any flag: {caught} of {sum(failed)} failed images, {alarms} of {len(cases) - sum(failed)} good ones."
    )
    return table


def by_kind(cases: Sequence[Measured], record: FlagRecord, part: str) -> Table:
    """For each way of spoiling: how many failed, and how many of the failed and of the good ones are flagged."""
    table = Table(f"{part}, by kind", ["image", "n", "failed", "flagged of the failed", "flagged of the good", "rules"])
    for kind in (INTACT, *KINDS):
        group = [(one, record.judge(one.features).flags) for one in cases if one.kind == kind]
        bad = [bool(flags) for one, flags in group if has_failed(one, record)]
        good = [bool(flags) for one, flags in group if not has_failed(one, record)]
        rules = sorted({flag.rule for _, flags in group for flag in flags})
        row = [kind, len(group), len(bad), share(bad), share(good), ", ".join(rules)]
        table.rows.append(row)
    return table


def has_failed(one: Measured, record: FlagRecord) -> bool:
    """A case is as good as its worst region."""
    assert record.predictor is not None
    return min(one.dice.values()) < record.predictor.dice_below


def entropy(one: Measured) -> float:
    """Of the region of which the network is least sure; of one that it does not find, more than any other."""
    return max(numbers.get("entropy", 10.0) for numbers in one.features.regions.values())


def share(flagged: Sequence[bool]) -> str:
    """How many of how many."""
    return f"{sum(flagged)} of {len(flagged)}" if flagged else "-"


if __name__ == "__main__":
    main()
