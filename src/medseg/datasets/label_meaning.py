"""Whether the labels of a datalist mean what a bundle takes them for."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from typing import Any

from medseg.errors import DataError

logger = logging.getLogger(__name__)


_NAMELESS = re.compile(r"foreground|label \d+")
"""What `prepare` calls a label that nobody named."""


def check_label_meaning(
    content: Mapping[str, Any], labels: Mapping[int, str], *, path: str | os.PathLike[str], bundle: str
) -> None:
    """As `refuse_swapped_labels`; warn of labels that one of the two lacks or calls by quite another name."""
    refuse_swapped_labels(content, labels, path=path, bundle=bundle)
    theirs = _by_value(content.get("labels"))
    if not theirs:
        return
    if missing := {value: name for value, name in labels.items() if value and value not in theirs}:
        logger.warning("datalist %s: no mask holds %s, which %s segments", path, _told(missing), bundle)
    if more := {value: name for value, name in theirs.items() if value and value not in labels}:
        logger.warning("datalist %s names %s: %s has no such label, refuses masks with it", path, _told(more), bundle)
    if other := {v: n for v, n in theirs.items() if v and v in labels and not _is_same(n, labels[v])}:
        ours = _told({value: labels[value] for value in other})
        logger.warning("datalist %s: %s; the bundle %s has %s: is it the same?", path, _told(other), bundle, ours)


def refuse_swapped_labels(
    content: Mapping[str, Any], labels: Mapping[int, str], *, path: str | os.PathLike[str], bundle: str
) -> None:
    """Refuse a datalist that gives a bundle's label another value.

    Values alone cannot tell: masks with 1 for the right lung would train, and be scored, as the left one.

    Parameters
    ----------
    content
        Of the datalist; one without "labels" says nothing.
    labels
        Of the bundle: value to name, 0 being the background.
    path, bundle
        The datalist's file and the bundle's name, for the messages.

    Raises
    ------
    DataError
        A name, however it is spaced or written large, stands for another value in the bundle.
    """
    known = {_plain(name): value for value, name in labels.items()}
    theirs = _by_value(content.get("labels"))
    other = {value: name for value, name in theirs.items() if known.get(_plain(name), value) != value}
    if other:
        raise DataError(
            f"datalist {path}: its labels have other values than those of the bundle {bundle}",
            got=_told(other),
            expected=_told({known[_plain(name)]: name for name in other.values()}),
            next_step="write the masks again with the bundle's values, or correct the names where they were prepared",
        )


def _by_value(labels: Any) -> dict[int, str]:
    """Value to name, from {"1": "liver"} or nnU-Net's {"liver": 1}; what is neither says nothing."""
    pairs = labels.items() if isinstance(labels, Mapping) else ()
    turned = ((key, name) if str(key).isdecimal() else (name, key) for key, name in pairs)
    return {int(value): str(name) for value, name in turned if str(value).isdecimal()}


def _is_same(theirs: str, ours: str) -> bool:
    """Whether two names may be of one label: nobody named theirs, or all words of one stand in the other."""
    words = [set(_plain(name).split()) for name in (theirs, ours)]
    return bool(_NAMELESS.fullmatch(_plain(theirs))) or words[0] <= words[1] or words[1] <= words[0]


def _plain(name: str) -> str:
    return " ".join(re.split(r"[\W_]+", name.strip().lower()))


def _told(labels: Mapping[int, str]) -> str:
    return ", ".join(f"{value} {name}" for value, name in sorted(labels.items()))
