"""What a bundle knows of a datalist: what its labels mean, which patients its own datalist.json has."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from medseg.bundle import read_metadata
from medseg.datasets import load_datalist, read_datalist, refuse_swapped_labels
from medseg.datasets.datalist import SECTIONS
from medseg.errors import DataError
from medseg.evaluation.table import some


def refuse_other_labels(bundle: Path, datalist: Path) -> None:
    """Refuse a datalist that gives a label of the bundle another value, before torch is loaded.

    Raises
    ------
    DataError
        It does, or it cannot be read.
    """
    about = read_metadata(bundle)
    refuse_swapped_labels(read_datalist(datalist), about.labels, path=datalist, bundle=about.name)


def cases_for(bundle: Path, datalist: str | os.PathLike[str], part: str) -> list[dict[str, str]]:
    """Those of one part of a datalist whose labels have the bundle's values.

    Raises
    ------
    DataError
        They have others, or the datalist cannot be read.
    """
    about = read_metadata(bundle)
    return load_datalist(datalist, part, labels=about.labels, bundle=about.name)


def refuse_known(
    bundle: Path, items: Sequence[Mapping[str, str]], *, datalist: Path, parts: Sequence[str] = ("training", "test")
) -> None:
    """Refuse validation cases of patients that the bundle's own datalist has in other parts.

    On what a network learnt from it makes fewer mistakes than it will; what is chosen by test cases can no longer be
    measured with them. A bundle without a datalist.json says nothing.

    Parameters
    ----------
    bundle
        Folder of a bundle or a run.
    items
        Validation cases, as `load_datalist` gives them.
    datalist
        Where they stand, for the message.
    parts
        Of the bundle's own datalist.

    Raises
    ------
    DataError
        There are some.
    """
    own = _own_patients(bundle)
    for part in parts:
        shared = [item for item in items if item["patient"] in own.get(part, set())]
        if shared:
            count = len({item["patient"] for item in shared})
            raise DataError(
                f"datalist {datalist}: its validation part holds {part} cases of the run {bundle}",
                got=f"{count} patients of its {part} part, in {some([item['id'] for item in shared])}",
                expected="none",
                next_step=f"use the run's own {bundle / 'datalist.json'}, or cases that are new to it",
            )


def _own_patients(bundle: Path) -> dict[str, set[str]]:
    """Part to patients; the files that it names need not lie where they did."""
    path = bundle / "datalist.json"
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {part: {str(item["patient"]) for item in content.get(part, ())} for part in SECTIONS}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: no datalist", got=f"{type(error).__name__}: {error}", next_step="put back the run's own file"
        ) from error
