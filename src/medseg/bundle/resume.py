"""Whether a run may go on where it stopped: with the settings and the cases that it was started with."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from medseg.errors import BundleError, DataError, first_line
from medseg.files import sha256_of

logger = logging.getLogger(__name__)

WITHOUT_EFFECT = ("device", "workers", "worker_timeout_s", "cache_dir", "stop_after_minutes")
"""Settings of where and how fast a run is trained."""

_MAY_DIFFER = (
    *WITHOUT_EFFECT,
    *("epochs", "early_stop_patience", "validate_every", "initial_weights*"),
    *("precision", "deterministic", "compile_mode", "backend", "initialize", "finalize"),
    *("train::sampler::batch_size", "train::dataloader::batch_size*", "train::trainer::network*"),
    *("train::trainer::loss_function*", "validate::dataloader::sampler*"),
)
"""Ids that say how long and on what a run goes on; the last ones are of the overlay for several processes."""

_BATCH = "train::dataloader::batch_size"
_BEGINNING = ("initial_weights", "initial_weights_without")
_TOLD = 4


def refuse_other_run(run: Path, *, now: Mapping[str, Any], outputs: Any, datalist: str, epochs: int) -> None:
    """Refuse to go on with `run` unless it is the run that `now` and `datalist` describe; nothing is changed.

    Parameters
    ----------
    now
        common.yaml and train.yaml as they would be written, in one dict.
    outputs
        Of the metadata's network_data_format.
    epochs
        How many the run shall have in all.

    Raises
    ------
    BundleError
        Another network, other labels or settings; a checkpoint that is damaged, or of a run that is finished.
    DataError
        Other cases.
    """
    from medseg.training.checkpoints import resumable  # late: it brings torch

    before = _configuration(run)
    metadata = read_config(run / "configs" / "metadata.json")
    if (before["network_def"], metadata.get("network_data_format", {}).get("outputs")) != (now["network_def"], outputs):
        raise BundleError(
            f"{run}: the run was started with another network or other labels",
            got=now["network_def"],
            expected=before["network_def"],
            next_step=_by_itself(run),
        )
    _refuse_other_settings(run, before, now)
    refuse_other_cases(run, Path(datalist))
    resumable(run / "models", epochs=epochs, quiet=True)


def with_beginning(run: Path, train: Mapping[str, Any]) -> dict[str, Any]:
    """`train`.yaml as a resumed run writes it: it still says which weights the run was started from.

    Those are not read again; whoever names others now is told that they have no effect.
    """
    before = read_config(run / "configs" / "train.yaml")
    kept = {name: before[name] for name in _BEGINNING if name in before and name in train}
    for name, value in kept.items():
        if train[name] and train[name] != value:
            text = "%s=%s has no effect: the run goes on from its checkpoint; it was started with %s"
            logger.warning(text, name, train[name], value or "none")
    return {**train, **kept}


def read_config(path: Path) -> dict[str, Any]:
    """A file of a run's configs/, YAML or JSON.

    Raises
    ------
    BundleError
        It is not there, or damaged.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise _damaged(path, first_line(error)) from error
    if not isinstance(content, dict):
        raise _damaged(path, "an empty file" if content is None else f"a {type(content).__name__}")
    return content


def _damaged(path: Path, got: str) -> BundleError:
    step = "put it back from a copy of the run, or start a new run in another folder"
    return BundleError(f"{path}: the run's configuration is damaged", got=got, expected="its settings", next_step=step)


def _configuration(run: Path) -> dict[str, Any]:
    configs = run / "configs"
    parts = {**read_config(configs / "common.yaml"), **read_config(configs / "train.yaml")}
    if "network_def" not in parts:
        raise _damaged(configs, "no network_def")
    return parts


def _refuse_other_settings(run: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    old, new = dict(_flat(before)), dict(_flat(now))
    other = [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
    other = [name for name in other if not any(fnmatchcase(name, pattern) for pattern in _MAY_DIFFER)]
    if _cases_of_a_step(old) != _cases_of_a_step(new):
        other.append(_BATCH)
    if other:
        raise BundleError(
            f"{run}: the run was started with other settings, and a resumed run keeps them",
            got=_listed(other, new),
            expected=_listed(other, old),
            next_step=f"{_by_itself(run)}; to train on with others, start a new run: initial_weights={run}",
        )


def _cases_of_a_step(settings: Mapping[str, Any]) -> Any:
    """As they are written, for one process or, of which each takes a share, for several."""
    return settings.get(f"{_BATCH}::batch_size", settings.get(_BATCH))


def _flat(config: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Any]]:
    """Ids and values as they are given on a command line; a list is one value."""
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{within}{key}::")
        else:
            yield f"{within}{key}", value


def _listed(names: list[str], values: Mapping[str, Any]) -> str:
    more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
    return ", ".join(f"{name}={values.get(name, 'not set')}" for name in names[:_TOLD]) + more


def refuse_other_cases(run: Path, datalist: Path) -> None:
    """Refuse a datalist whose training or validation cases are others than those of the run's own, if it has one.

    Raises
    ------
    DataError
        Which cases are more, fewer, or of other files.
    """
    if not (run / "datalist.json").is_file():
        return
    for section in ("training", "validation"):
        old, new = _cases(run / "datalist.json", section), _cases(datalist, section)
        changed = sorted(name for name in old.keys() & new.keys() if not _same_files(old[name], new[name]))
        if old.keys() != new.keys() or changed:
            raise DataError(
                f"datalist {datalist}: other {section} cases than the run {run.name} was started with",
                got=_difference(new, old, changed),
                expected="the same cases and files, wherever they lie",
                next_step=f"{_by_itself(run)}; or start a new run",
            )


def _cases(datalist: Path, section: str) -> dict[str, dict[str, Any]]:
    """By id: the files of each case, and their hashes where the list has them."""
    content = json.loads(datalist.read_text(encoding="utf-8"))
    return {
        item["id"]: {
            "sha256": item.get("sha256"),
            "files": [datalist.parent / item[key] for key in ("image", "label") if key in item],
        }
        for item in content[section]
    }


def _same_files(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    if old["sha256"] and new["sha256"]:
        return bool(old["sha256"] == new["sha256"])
    return all(_same_file(*pair) for pair in zip(old["files"], new["files"], strict=True))


def _same_file(old: Path, new: Path) -> bool:
    """Of lists without hashes; by its name where what the run was started with is not there any more."""
    if os.path.realpath(old) == os.path.realpath(new):
        return True
    if old.is_file() and new.is_file():
        return sha256_of(old) == sha256_of(new)
    return old.name == new.name


def _difference(new: Mapping[str, Any], old: Mapping[str, Any], changed: list[str]) -> str:
    parts = {"more": sorted(new.keys() - old.keys()), "fewer": sorted(old.keys() - new.keys()), "other files": changed}
    told = [f"{len(names)} {what} ({', '.join(names[:_TOLD])})" for what, names in parts.items() if names]
    return ", ".join(told)


def _by_itself(run: Path) -> str:
    from medseg.training.stops import resume_command  # late: it brings torch

    return f"resume it as it was started: {resume_command(run)}"
