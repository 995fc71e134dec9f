"""The Medical Segmentation Decathlon's layout: a dataset.json that lists image and label of each training case."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medseg.case import Image
from medseg.datasets.layouts.found import Found, Layout, RawCase, files_by_id, stem
from medseg.errors import DataError

_ABOUT = ("name", "description", "reference", "licence", "release", "tensorImageSize", "modality")
_log = logging.getLogger(__name__)


def find(source: Path) -> Found:
    """The training cases of `source/dataset.json` (or of that file itself) and what is wrong with the others."""
    file = source if source.is_file() else source / "dataset.json"
    content = _parse(file)
    cases: list[RawCase] = []
    problems: list[str] = []
    named: set[Path] = set()
    for i, item in enumerate(content["training"]):
        if not isinstance(item, dict) or not all(isinstance(item.get(key), str) for key in ("image", "label")):
            problems.append(f"training[{i}]: got {item!r}, expected an image and a label")
            continue
        image, label = file.parent / item["image"], file.parent / item["label"]
        named |= {image.resolve(), label.resolve()}
        absent = [path for path in (image, label) if not path.exists()]
        problems += [f"case {stem(image)}: {path} does not exist" for path in absent]
        if not absent:
            cases.append(RawCase(stem(image), image, (label,)))
    problems += _alone(cases, named)
    cases.sort(key=lambda case: case.id)
    about = {key: content[key] for key in _ABOUT if key in content}
    return Found(tuple(cases), tuple(problems), _labels(content, file), about, file)


def read(case: RawCase) -> Image:
    """The label map as it is stored."""
    from medseg.intake import read_label

    return read_label(case.masks[0])


def _parse(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(
            f"{file} cannot be read", got=error.strerror, next_step="give the folder that holds dataset.json"
        ) from error
    except ValueError as error:
        raise DataError(f"{file} is no JSON", got=str(error)) from error
    if not isinstance(content, dict) or not isinstance(content.get("training"), list):
        raise DataError(
            f"{file} lists no training cases",
            expected='"training": [{"image": ..., "label": ...}, ...]',
            next_step="for folders of images and labels use the layout pairs",
        )
    others = [part for part in ("validation", "test") if content.get(part)]
    if others:
        _log.warning("%s: the cases under %s are not used, only those under training", file, " and ".join(others))
    return content


def _labels(content: Mapping[str, Any], file: Path) -> dict[int, str]:
    """Value -> name, from {"1": "liver"} (MSD) or {"liver": 1} (nnU-Net)."""
    labels = content.get("labels")
    _refuse_regions(labels, file)
    try:
        if not isinstance(labels, dict) or not labels:
            raise ValueError(labels)
        pairs = [(k, v) if str(k).isdigit() else (v, k) for k, v in labels.items()]
        return {int(value): str(name) for value, name in sorted(pairs, key=lambda pair: int(pair[0]))}
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{file}: labels", got=labels, expected='names by value: {"0": "background", "1": ...}'
        ) from error


def _refuse_regions(labels: Any, file: Path) -> None:
    regions = {n: v for n, v in labels.items() if isinstance(v, list)} if isinstance(labels, dict) else {}
    if regions:
        raise DataError(
            f"{file}: labels that are regions of several values (nnU-Net's region-based training)",
            got=", ".join(f"{name}: {values}" for name, values in regions.items()),
            expected="one value a name, as the masks hold it",
            next_step='name each value in a copy of the file beside it, {"background": 0, "edema": 1, ...}, '
            "and give that copy as the source",
        )


def _alone(cases: list[RawCase], named: set[Path]) -> list[str]:
    """A problem for each image without a label, or label without an image, in the folders of the listed cases.

    Files that the list names are not looked at: what is wrong with those has been said.
    """
    images: dict[str, list[Path]] = {}
    masks: dict[str, list[Path]] = {}
    for folder in sorted({case.image.parent for case in cases}):
        images |= files_by_id(folder)
    for folder in sorted({case.masks[0].parent for case in cases}):
        masks |= files_by_id(folder)
    if {path for files in images.values() for path in files} & {path for files in masks.values() for path in files}:
        return []  # images and labels share a folder: the list alone tells them apart
    alone = [(files[0], "a label") for case, files in images.items() if case not in masks]
    alone += [(files[0], "an image") for case, files in masks.items() if case not in images]
    return [f"case {stem(path)}: {path} without {what}" for path, what in alone if path.resolve() not in named]


LAYOUT = Layout("decathlon", find, read, lambda values: None)
