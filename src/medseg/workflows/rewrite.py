"""One value of a bundle's YAML replaced, its comments and everything else left as they are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medseg.errors import BundleError


def rewritten(path: Path, key: str, steps: Sequence[Mapping[str, Any]]) -> str:
    """The text of a YAML file whose top-level list `key` is replaced by `steps`.

    Parameters
    ----------
    path
        The file; it is not written.
    key
        A top-level key whose value is a list, such as "postprocessing".
    steps
        Its new entries, mappings of plain values.

    Raises
    ------
    BundleError
        The key is not there, or not in a form that can be replaced without touching the rest.
    """
    import yaml

    text = path.read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    starts = [i for i, line in enumerate(lines) if line.startswith(f"{key}:")]
    if len(starts) != 1:
        raise BundleError(f"{path}: no list {key} that can be replaced", got=f"{len(starts)} lines with that key")
    (start,) = starts
    new = "".join([*lines[:start], *_block(key, steps), *lines[_end(lines, start) :]])
    wanted = {**yaml.safe_load(text), key: [dict(step) for step in steps]}
    try:
        same = yaml.safe_load(new) == wanted
    except yaml.YAMLError:
        same = False
    if not same:
        raise BundleError(
            f"{path}: {key} is written in a form that cannot be replaced",
            expected="a list of steps, each key on a line of its own",
            next_step="replace it by hand with what models/postprocessing.json says",
        )
    return new


def _end(lines: Sequence[str], start: int) -> int:
    """Behind the last line of the value; comments and blank lines that follow belong to what comes next."""
    end = start + 1
    for i in range(start + 1, len(lines)):
        if lines[i].startswith((" ", "-")):
            end = i + 1
        elif lines[i].strip() and not lines[i].startswith("#"):
            break
    return end


def _block(key: str, steps: Sequence[Mapping[str, Any]]) -> list[str]:
    if not steps:
        return [f"{key}: []\n"]
    lines = [f"{key}:\n"]
    for step in steps:
        for i, (name, value) in enumerate(step.items()):
            text = value if name == "_target_" else json.dumps(value)  # JSON is YAML on one line
            lines.append(f"{'  - ' if i == 0 else '    '}{name}: {text}\n")
    return lines
