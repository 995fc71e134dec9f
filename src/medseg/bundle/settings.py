"""The part of a configuration that decides what is found in a case: what a resumed run has to share with the first."""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Iterator, Mapping
from typing import Any

from medseg.bundle.run import running_workflow

_REFERENCE = re.compile(r"@(\w+(?:(?:::|#)\w+)*)")
_OF_A_PLACE = frozenset({"bundle_root", "dataset_dir", "device", "precision_record", "run_dir", "weights"})
"""Where things lie and run; the weights count by the hash of their file."""

_BESIDE_THE_MASK = ("cases::measurements", "cases::segments")
"""What stands in manifests and DICOM outputs beside the mask: a resumed run must not mix old numbers and new."""


def mask_settings() -> dict[str, Any]:
    """Settings of the configuration that is being evaluated: `segmenter` and all that it refers to, as written.

    With them the measurements and the DICOM codes of `cases`. Paths and the device are left out, and so is everything
    that changes no result (jobs, output folder).

    Returns
    -------
    dict
        Id to its content, overrides and overlays merged, references not resolved.
    """
    return result_settings(running_workflow().parser.config)


def result_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """As `mask_settings`, of a merged configuration."""
    beside = [settings_behind(name, config) for name in _BESIDE_THE_MASK if _at(config, name) is not None]
    return dict(sorted(ChainMap(settings_behind("segmenter", config), *beside).items()))


def settings_behind(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """`name` and, over any number of steps, what it refers to; of a reference into an id, that part of it."""
    found: dict[str, Any] = {}
    waiting = [name]
    while waiting:
        key = waiting.pop()
        if key in found or key in _OF_A_PLACE:
            continue
        found[key] = _at(config, key)
        waiting += _references(found[key])
    return dict(sorted(found.items()))


def _at(config: Any, key: str) -> Any:
    for part in key.replace("#", "::").split("::"):
        config = config[int(part)] if isinstance(config, list) else config.get(part)
        if config is None:
            return None
    return config


def _references(content: Any) -> Iterator[str]:
    if isinstance(content, Mapping):
        content = list(content.values())
    if isinstance(content, (list, tuple)):
        for one in content:
            yield from _references(one)
    elif isinstance(content, str):
        yield from (name.replace("#", "::") for name in _REFERENCE.findall(content))
