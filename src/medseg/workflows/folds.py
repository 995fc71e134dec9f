"""The folds of a cross-validation in one folder: dealt once, trained in one way, each case scored once."""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medseg.bundle.resume import WITHOUT_EFFECT, read_config
from medseg.datasets.datalist import SECTIONS, load_datalist, write_json
from medseg.datasets.folds import ALL_CASES, deal_folds, write_folds
from medseg.errors import DataError
from medseg.evaluation.scores import CaseScore
from medseg.evaluation.table import SCORES_FILE, read_scores, some

logger = logging.getLogger(__name__)

RECORD_FILE = "cross_validation.json"
_OF_ONE_FOLD = (
    *WITHOUT_EFFECT,
    *("bundle_root", "run_dir", "datalist", "dataset_dir", "resume"),
    *("train::dataloader::num_workers", "train::dataset::cache"),
)
_OF_THE_BUNDLE = ("_meta_::name", "_meta_::network_data_format")
_ABSENT = object()
_OTHERWISE = "give what those were begun with, or another folder"


def open_folds(
    datalist: str | os.PathLike[str],
    folder: Path,
    *,
    folds: int,
    seed: int,
    with_test: bool,
    settings: Mapping[str, Any],
) -> list[Path]:
    """The data lists of the folds, in `folder`/datalists, and what all are trained with, in cross_validation.json.

    Where a fold has been begun, so has a checkpoint or scores in `folder`/fold_K, all others must be dealt and trained
    in the same way. Several processes may do this at once.

    Parameters
    ----------
    datalist, folds, seed, with_test
        As `medseg.datasets.folds.deal_folds` takes them.
    folder
        Of the cross-validation.
    settings
        What `training_settings` gives.

    Raises
    ------
    DataError
        As `deal_folds`; or folds were begun with other cases or other settings. Nothing has been written then.
    OutputError
        The folder cannot be written.
    """
    lists, record = folder / "datalists", folder / RECORD_FILE
    dealt = deal_folds(datalist, lists, folds=folds, seed=seed, with_test=with_test)
    begun = begun_folds(folder)
    if begun:
        _refuse_other_cases(lists, dealt)
        _refuse_other_settings(record, settings, begun)
    kept = {name for name in dealt if begun and name != ALL_CASES and (lists / name).is_file()}
    write_folds({name: content for name, content in dealt.items() if name not in kept}, lists)
    if not begun or not record.is_file():
        write_json({"settings": settings}, record)
    return [lists / name for name in dealt if name != ALL_CASES]


def begun_folds(folder: Path) -> list[str]:
    """The folds of which there is anything to go on from."""
    kept = ("models/last.pt", f"evaluation/{SCORES_FILE}")
    return sorted(run.name for run in folder.glob("fold_*") if any((run / name).is_file() for name in kept))


def training_settings(bundle: Path, *, overlays: Sequence[str], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """What decides how a fold is trained: the merged configuration without what may differ from fold to fold.

    Raises
    ------
    BundleError
        A file is missing or not readable, or an overlay or override does not fit.
    """
    from medseg.bundle.show_config import tree
    from medseg.bundle.trust import merged_for

    found = dict(tree(merged_for(bundle, "train", overlays=overlays, overrides=overrides)))
    about = {name: found[name] for name in found if _below(name, _OF_THE_BUNDLE)}
    rest = {name: found[name] for name in found if not _below(name, ("_meta_", *_OF_ONE_FOLD))}
    plain: dict[str, Any] = json.loads(json.dumps(about | rest, default=str))
    return plain


def _below(name: str, roots: Sequence[str]) -> bool:
    return any(name == root or name.startswith(f"{root}::") for root in roots)


def _refuse_other_settings(record: Path, settings: Mapping[str, Any], begun: Sequence[str]) -> None:
    if not record.is_file():
        logger.warning("%s is missing: %s may have been trained with other settings", record, some(begun))
        return
    before = json.loads(record.read_text(encoding="utf-8"))["settings"]
    names = [name for name in {**settings, **before} if settings.get(name, _ABSENT) != before.get(name, _ABSENT)]
    if names:
        raise DataError(
            f"{record.parent}: begun with other settings: {some(begun)}",
            got=_values(names, settings),
            expected=_values(names, before),
            next_step=_OTHERWISE,
        )


def _values(names: Sequence[str], settings: Mapping[str, Any]) -> str:
    told = (f"{name}={json.dumps(settings[name])}" if name in settings else f"no {name}" for name in names)
    return some([text.replace("_meta_::name", "bundle", 1) for text in told])


def _refuse_other_cases(lists: Path, dealt: Mapping[str, Mapping[str, Any]]) -> None:
    for name, now in dealt.items():
        file = lists / name
        if name == ALL_CASES or not file.is_file():
            continue
        before = json.loads(file.read_text(encoding="utf-8"))
        different = _other_numbers(now, before) or _other_cases(_cases(now, lists), _cases(before, lists))
        if different:
            got, expected = different
            what = f"{lists.parent}: holds a cross-validation with other folds"
            raise DataError(what, got=got, expected=expected, next_step=_OTHERWISE)


def _other_numbers(now: Mapping[str, Any], before: Mapping[str, Any]) -> tuple[str, str] | None:
    """The number of folds and the seed, as they are and as they were; None where they are the same."""
    got, expected = (f"{one.get('folds')} folds, seed {one.get('fold_seed')}" for one in (now, before))
    return (got, expected) if got != expected else None


def _cases(content: Mapping[str, Any], folder: Path) -> dict[str, tuple[str, ...]]:
    """By id: the part, the patient and the files of each case, with the hashes that the list has of them."""
    files = ("image", "label")
    return {
        item["id"]: (
            *(section, item["patient"], json.dumps(item.get("sha256"), sort_keys=True)),
            *(os.path.realpath(folder / item[key]) for key in files),
        )
        for section in SECTIONS
        for item in content[section]
    }


def _other_cases(now: Mapping[str, Any], before: Mapping[str, Any]) -> tuple[str, str] | None:
    """What differs between two lists of one fold, as it is and as it was; None where nothing does."""
    apart = {"new": sorted(now.keys() - before.keys()), "missing": sorted(before.keys() - now.keys())}
    if any(apart.values()):
        told = "; ".join(f"{what}: {some(cases)}" for what, cases in apart.items() if cases)
        return f"{len(now)} cases ({told})", f"{len(before)} cases"
    changed = sorted(case for case in now if now[case] != before[case])
    if not changed:
        return None
    return f"another file, patient or part of {some(changed)}", "those that the folds were begun with"


def fold_scores(run: Path, datalist: Path) -> list[CaseScore]:
    """The scores of one fold: those of the test cases of its data list, each once.

    Raises
    ------
    DataError
        There is no table, or a case is missing in it, stands there twice, or is none of the fold's.
    """
    rows = read_scores(run / "evaluation")
    common = read_config(run / "configs" / "common.yaml")
    at_most = common.get("cases_at_most")
    part = load_datalist(datalist, "test", at_most=at_most if isinstance(at_most, int) else None)
    wanted, scored = {case["id"] for case in part}, {row.case for row in rows}
    twice = {case for (case, _), count in Counter((row.case, row.region) for row in rows).items() if count > 1}
    wrong = {"missing": wanted - scored, "twice": twice, "not of this fold": scored - wanted}
    if any(wrong.values()):
        raise DataError(
            f"{run.name}: {run / 'evaluation' / SCORES_FILE} is not of the cases of this fold",
            got="; ".join(f"{what}: {some(sorted(cases))}" for what, cases in wrong.items() if cases),
            expected=f"each of its {len(wanted)} test cases once",
            next_step=f"remove {run / 'evaluation'}: the same command scores the fold again",
        )
    return rows
