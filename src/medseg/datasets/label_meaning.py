"""Whether the labels of a datalist mean what a bundle takes them for."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from typing import Any

from medseg.errors import DataError

logger = logging.getLogger(__name__)


def check_label_meaning(
    content: Mapping[str, Any], labels: Mapping[int, str], *, path: str | os.PathLike[str], bundle: str
) -> None:
    """Refuse a datalist that gives a bundle's label another value; warn where it does not have one at all.

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
    given = content.get("labels")
    theirs = {int(v): str(n) for v, n in given.items() if str(v).isdecimal()} if isinstance(given, Mapping) else {}
    if not theirs:
        return
    known = {_plain(name): value for value, name in labels.items()}
    other = {value: name for value, name in theirs.items() if known.get(_plain(name), value) != value}
    if other:
        raise DataError(
            f"datalist {path}: its labels have other values than those of the bundle {bundle}",
            got=_told(other),
            expected=_told({known[_plain(name)]: name for name in other.values()}),
            next_step="write the masks again with the bundle's values, or correct the names where they were prepared",
        )
    if missing := {value: name for value, name in labels.items() if value and value not in theirs}:
        logger.warning("datalist %s: no mask holds %s, which %s segments", path, _told(missing), bundle)


def _plain(name: str) -> str:
    return " ".join(re.split(r"[\W_]+", name.strip().lower()))


def _told(labels: Mapping[int, str]) -> str:
    return ", ".join(f"{value} {name}" for value, name in sorted(labels.items()))
