"""The datalist: an MSD-style JSON that says which files are which case, and which part each case belongs to.

MONAI's `load_decathlon_datalist` reads the same file. Paths in it are relative to the file itself.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from medseg.datasets.label_meaning import check_label_meaning
from medseg.datasets.problems import refuse_all
from medseg.errors import DataError, writing
from medseg.files import atomic_write

logger = logging.getLogger(__name__)

SECTIONS = ("training", "validation", "test")
_TEXT_FIELDS = ("id", "patient", "image", "label")


def by_section(items: Iterable[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """The sections of a datalist and their numbers of cases, from the section and the entry of each case."""
    parts: dict[str, list[dict[str, Any]]] = {section: [] for section in SECTIONS}
    for section, item in items:
        parts[section].append(item)
    return {**parts, **{f"num{section.capitalize()}": len(cases) for section, cases in parts.items()}}


def read_datalist(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The whole datalist as it is written, checked.

    Returns
    -------
    dict
        The JSON object; `training`, `validation` and `test` are lists of {id, patient, image, label, ...} whose
        paths are relative to the folder of `path`.

    Raises
    ------
    DataError
        The file is missing or no JSON, a section or a field is missing, two cases have one id, a file does not
        exist, or a patient stands in two parts. All problems are named at once.
    """
    file = Path(path)
    content = _parse(file)
    refuse_all(
        [*_section_problems(content), *_item_problems(content, _base_of(file)), *_patient_problems(content)],
        where=f"datalist {file}",
        next_step=_of_run(file) or "make it again: medseg data prepare LAYOUT SRC -o DATALIST.json",
    )
    return content


def load_datalist(
    path: str | os.PathLike[str],
    section: str,
    *,
    at_most: int | None = None,
    without: Sequence[str] = (),
    labels: Mapping[int, str] | Mapping[str, str] | None = None,
    bundle: str = "at hand",
) -> list[dict[str, str]]:
    """The cases of one part, ready for a data set: `_target_: medseg.datasets.load_datalist` in a bundle.

    Parameters
    ----------
    path
        The datalist.
    section
        "training", "validation" or "test".
    at_most
        Take only the first so many cases, and say so in the log; None takes all.
    without
        Ids of cases to leave out of this part. Those of other parts stay there, so that one list does for all folds
        of a cross-validation; the log tells how many are which.
    labels, bundle
        Of the bundle that the cases are for, value to name, and its name: a datalist that gives a label another value
        is refused (`check_label_meaning`). None asks nothing.

    Returns
    -------
    list of dict
        {"id", "patient", "image", "label"}, the last two as absolute paths.

    Raises
    ------
    DataError
        As `read_datalist`; also when the part is unknown or empty, a case to leave out is in no part, or none is left.
    """
    if section not in SECTIONS:
        raise DataError(f"datalist {path}: unknown part", got=repr(section), expected=f"one of {', '.join(SECTIONS)}")
    content, base = read_datalist(path), _base_of(path)
    if labels is not None:
        named = {int(value): name for value, name in labels.items()}
        check_label_meaning(content, named, path=path, bundle=bundle)
    if not content[section]:
        raise DataError(
            f"datalist {path}: the part {section!r} is empty",
            got="0 cases",
            expected="at least one",
            next_step=f"prepare the data again with a larger {section} fraction, or use another part",
        )
    _refuse_strays(content, without, path)
    items = _without(content[section], without, f"datalist {path}: {section}")
    return [
        {
            "id": item["id"],
            "patient": item["patient"],
            "image": str(_resolve(base, item["image"])),
            "label": str(_resolve(base, item["label"])),
        }
        for item in _first(items, at_most, f"datalist {path}: {section}")
    ]


def _refuse_strays(content: Mapping[str, Any], without: Sequence[str], path: str | os.PathLike[str]) -> None:
    stray = sorted(set(without) - {item["id"] for _, _, item in _items(content)})
    if stray:
        raise DataError(f"datalist {path}: cases to leave out", got=", ".join(stray), expected="ids of its cases")


def _without(items: list[Any], without: Sequence[str], part: str) -> list[Any]:
    kept = [item for item in items if item["id"] not in without]
    left = len(items) - len(kept)
    if not kept:
        raise DataError(f"{part}: cases to leave out", got="all of them", expected="at least one case that is left")
    if without:
        logger.info("%s: %d cases are left out; %d more stay in other parts", part, left, len(set(without)) - left)
    return kept


def _first(items: list[Any], at_most: int | None, part: str) -> list[Any]:
    if at_most is not None and at_most < 1:
        raise DataError(f"{part}: wrong number of cases", got=at_most, expected="at least one, or null for all")
    if at_most is not None and at_most < len(items):
        logger.warning("%s: only %d of %d cases are used, as the configuration says", part, at_most, len(items))
    return items[:at_most]


def write_json(content: Mapping[str, Any], path: Path) -> Path:
    """Write JSON whole or not at all."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as aside:
            aside.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def copy_datalist(path: str | os.PathLike[str], destination: str | os.PathLike[str]) -> Path:
    """Copy a datalist into another folder, its relative paths changed so that they lead to the same files."""
    target = Path(destination).absolute()
    return write_json(datalist_from(path, target.parent), target)


def datalist_from(path: str | os.PathLike[str], folder: Path) -> dict[str, Any]:
    """The content of `read_datalist` as it would stand in a file of `folder`: its relative paths begin there."""
    content, source = read_datalist(path), _base_of(path)
    for section in SECTIONS:
        content[section] = [
            {**item, **{key: relative_path(_resolve(source, item[key]), folder) for key in ("image", "label")}}
            for item in content[section]
        ]
    return content


def relative_path(file: Path, base: Path) -> str:
    """`file` as seen from the folder `base`, with forward slashes; absolute where no relative path leads there.

    Folders that are reached through links count as where they truly lie: from there every reader goes up. A file that
    is a link itself stays the link, as its name may be the case's.
    """
    try:
        return Path(os.path.relpath(file.parent.resolve() / file.name, base.resolve())).as_posix()
    except ValueError:  # another drive on Windows
        return file.absolute().as_posix()


def _base_of(path: str | os.PathLike[str]) -> Path:
    """The folder where the paths in a datalist begin; a link to a datalist, or through one, changes nothing."""
    return Path(path).resolve().parent


def _resolve(base: Path, item_path: str) -> Path:
    return Path(os.path.normpath(base / item_path))


def _of_run(file: Path) -> str | None:
    """What to do about a datalist that a run keeps: its folder was moved without the data."""
    if not any((file.parent / mark).exists() for mark in ("run.json", "configs/metadata.json")):
        return None
    return "if the run's folder was moved, give the datalist that the run was started with: --datalist DATALIST.json"


def _parse(file: Path) -> dict[str, Any]:
    if file.is_dir():
        next_step = "give the file that medseg data prepare wrote"
        raise DataError(f"datalist {file}", got="a folder", expected="a file .json", next_step=next_step)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(
            f"datalist {file} cannot be read",
            got=error.strerror,
            next_step=_of_run(file) or f"make it: medseg data prepare LAYOUT SRC -o {file}",
        ) from error
    except ValueError as error:
        raise DataError(f"datalist {file} is no JSON", got=str(error)) from error
    if not isinstance(content, dict):
        raise DataError(f"datalist {file}", got=f"a JSON {type(content).__name__}", expected="a JSON object")
    return content


def _section_problems(content: Mapping[str, Any]) -> Iterator[str]:
    for section in SECTIONS:
        if section not in content:
            yield f"part {section!r} is missing"
        elif not isinstance(content[section], list):
            yield f"part {section!r}: got {type(content[section]).__name__}, expected a list of cases"


def _items(content: Mapping[str, Any]) -> Iterator[tuple[str, int, Any]]:
    for section in SECTIONS:
        part = content.get(section)
        yield from ((section, i, item) for i, item in enumerate(part if isinstance(part, list) else []))


def _item_problems(content: Mapping[str, Any], base: Path) -> Iterator[str]:
    seen: dict[str, str] = {}
    for section, i, item in _items(content):
        place = f"{section}[{i}]"
        missing = [f for f in _TEXT_FIELDS if not (isinstance(item, dict) and _is_text(item.get(f)))]
        if missing:
            yield f"{place}: got no text for {', '.join(missing)}, expected {{id, patient, image, label}}"
            continue
        if item["id"] in seen:
            yield f"case {item['id']}: the id stands twice, {seen[item['id']]} and {place}"
        if "/" in item["id"] or "\\" in item["id"]:
            yield f"case {item['id']}: an id names the output files and cannot hold a slash"
        seen[item["id"]] = place
        files = {key: _resolve(base, item[key]) for key in ("image", "label")}
        if files["image"] == files["label"]:
            yield f"case {item['id']}: image and label are one file, {files['image']}"
        for key, file in files.items():
            if not file.exists():
                hint = ": its path is written with \\, write /" if "\\" in item[key] else ""
                yield f"case {item['id']}: {key} file {file} does not exist{hint}"


def _patient_problems(content: Mapping[str, Any]) -> Iterator[str]:
    first: dict[str, tuple[str, Any]] = {}
    told: set[str] = set()
    for section, _, item in _items(content):
        if not isinstance(item, dict) or not _is_text(item.get("patient")):
            continue
        patient = item["patient"]
        earlier, case = first.setdefault(patient, (section, item.get("id")))
        if earlier != section and patient not in told:
            told.add(patient)
            yield f"patient {patient}: stands in {earlier} (case {case}) and in {section} (case {item.get('id')})"


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""
