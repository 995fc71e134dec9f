"""Which ROI or segment of a DICOM mask becomes which label value: a file of `name: value` lines."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from medseg.case import Array, LabelArray
from medseg.errors import LabelError

Names: TypeAlias = Mapping[str, int]
"""Name of an ROI or segment to label value, in the order in which they are painted: the last wins."""


def read_names(path: Path | str) -> dict[str, int]:
    """The names of a file.

    Parameters
    ----------
    path
        YAML (or JSON): the ROI's name as it stands in the RTSTRUCT, or the segment's label in the SEG, to the label
        value, one a line; 47.50, 001 and No are names like any other. Several names may have one value. Names that a
        file does not have are passed over, and what is not named is left out. Where regions overlap, the later line
        wins.

    Raises
    ------
    LabelError
        Unreadable, no mapping, values that are no whole numbers from 1 on, or a name that stands twice.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LabelError(f"{file}: the names cannot be read", got=type(error).__name__) from error
    content = _parsed(text, file)
    wrong = [f"{k!r}: {v!r}" for k, v in content if not isinstance(v, int) or isinstance(v, bool) or v < 1]
    if wrong or not content:
        raise LabelError(
            f"{file}: no names of labels",
            got=", ".join(wrong[:5]) or "an empty file",
            expected="lines such as `GTV: 1`, values from 1 on",
        )
    found = [(name.strip(), value) for name, value in content if isinstance(value, int)]
    twice = sorted(name for name, count in Counter(name for name, _ in found).items() if count > 1)
    if twice:
        raise LabelError(
            f"{file}: a name stands more than once", got=", ".join(map(repr, twice[:5])), expected="one line for each"
        )
    return dict(found)


class _Pairs(list[tuple[str, object]]):
    """A mapping with all that is written in it: a dictionary would drop a name that stands twice."""


def _parsed(text: str, file: Path) -> Sequence[tuple[str, object]]:
    import yaml

    try:
        content = json.loads(text, object_pairs_hook=_Pairs) if file.suffix == ".json" else _parsed_yaml(text)
    except (ValueError, yaml.YAMLError) as error:
        raise LabelError(f"{file}: the names are not YAML or JSON", got=type(error).__name__) from error
    if content is not None and not isinstance(content, _Pairs):
        raise LabelError(f"{file}: no names of labels", got=type(content).__name__, expected="lines such as `GTV: 1`")
    return content or _Pairs()


def _parsed_yaml(text: str) -> object:
    """The content of a YAML text, the names as they are written: YAML makes 47.50 a number and No a truth."""
    import yaml

    root, maker = yaml.compose(text, Loader=yaml.SafeLoader), yaml.SafeLoader("")
    if not isinstance(root, yaml.MappingNode) or not all(isinstance(key, yaml.ScalarNode) for key, _ in root.value):
        return yaml.safe_load(text)
    return _Pairs((key.value, maker.construct_object(value, deep=True)) for key, value in root.value)


def values_of(present: Sequence[tuple[int, str]], names: Names | None, *, what: str, path: Path) -> dict[int, int]:
    """Number of each wanted ROI or segment to its label value, in the order of painting.

    Parameters
    ----------
    present
        (number, name) of those in the file.
    names
        None: each its own number.

    Raises
    ------
    LabelError
        None of the names is in the file; two with one number; a label value below 1, which would be background.
    """
    if not present:
        raise LabelError(f"{path}: holds no {what}")
    _refuse_twice([number for number, _ in present], what, path)
    if names is None:
        return {number: _label_value(number, number, what, path) for number, _ in sorted(present)}
    numbers = [
        (number, _label_value(number, value, what, path))
        for name, value in names.items()
        for number, there in present
        if there.strip() == name
    ]
    if not numbers:
        raise LabelError(
            f"{path}: holds none of the {what} asked for",
            got=", ".join(repr(name) for _, name in present),
            expected=f"one of {', '.join(map(repr, names))}",
            next_step="write the names as they stand in the file",
        )
    return dict(numbers)


def _refuse_twice(numbers: Sequence[int], what: str, path: Path) -> None:
    """Regions of one number cannot be told apart."""
    twice = sorted(number for number, count in Counter(numbers).items() if count > 1)
    if twice:
        raise LabelError(
            f"{path}: several of its {what} have one number",
            got=", ".join(map(str, twice)),
            expected="a number for each",
            next_step="export it again",
        )


def _label_value(number: int, value: int, what: str, path: Path) -> int:
    """`value`, refused where painting it would leave no trace."""
    if value < 1:
        raise LabelError(
            f"{path}: one of its {what} would become background",
            got=f"label value {value} for number {number}",
            expected="label values from 1 on",
            next_step="give a file of names",
        )
    return value


class Painter:
    """A label map that refuses overlaps unless the order of the names says who wins.

    Parameters
    ----------
    shape
        Of the label map.
    highest
        The largest label value.
    may_overlap
        True: what is painted later wins.
    path
        Named in the error.
    """

    def __init__(self, shape: tuple[int, ...], *, highest: int, may_overlap: bool, path: Path) -> None:
        self.labels: LabelArray = np.zeros(shape, dtype=np.uint8 if highest <= 255 else np.int32)
        self.may_overlap, self.path = may_overlap, path

    def paint(self, region: Array, value: int, *, where: tuple[int | slice, ...] = ()) -> None:
        """Give `value` to the set voxels of `region`, which lies at `where` of the label map."""
        part = self.labels[where]
        taken = region & (part != 0) & (part != value)
        if not self.may_overlap and taken.any():
            raise LabelError(
                f"{self.path}: two of its regions overlap, and nothing says which wins",
                got=f"{int(taken.sum())} voxels of labels {int(part[taken][0])} and {value}",
                expected="regions apart from each other, or a file of names whose later lines win",
                next_step="give a file of names",
            )
        part[region] = value
