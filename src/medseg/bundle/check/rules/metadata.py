"""metadata.json: the specification's schema (ours, no download), and versions that are not those installed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from medseg.bundle.check.context import Context
from medseg.bundle.check.findings import Finding, did_you_mean
from medseg.bundle.check.lines import Node
from medseg.bundle.metadata import TOP_KEYS, metadata_breaks

_STATED = {"monai_version": "monai", "pytorch_version": "torch", "numpy_version": "numpy"}
_TENSOR = frozenset(
    {
        *("type", "format", "modality", "num_channels", "spatial_shape", "dtype", "value_range", "is_patch_data"),
        *("channel_def", "inputs", "outputs", "image", "pred"),
    }
)
_PART = re.compile(r"\.([^.\[\]]+)|\[(?:'([^']*)'|(\d+))\]")


def schema(context: Context) -> Iterator[Finding]:
    """Breaks of the specification, each at the line of its key."""
    root = context.merged.find("_meta_")
    if root is None or not Path(root.file).is_file():
        folder = context.merged.bundle / "configs" / "metadata.json"
        yield Finding(
            "missing-file", "error", str(folder), None, "metadata.json is missing", expected=f"a file {folder}"
        )
        return
    content = root.value()
    for path, what in metadata_breaks(content, segmentation=context.own):
        place = _place(root, path)
        quoted = re.match(r"'([^']*)' is a required property", what)
        hint = None
        if quoted:
            place, hint = _misspelt(place, quoted.group(1))
        unexpected = re.search(r"'([^']*)' was unexpected", what)
        if unexpected:
            place = dict(place.children()).get(unexpected.group(1), place)
        label = path.removeprefix("$").lstrip(".") or "metadata.json"
        yield context.error("metadata", place, f"{label}: {what}", hint=hint)


def _place(root: Node, path: str) -> Node:
    node = root
    for match in _PART.finditer(path):
        key = next(group for group in match.groups() if group is not None)
        child = dict(node.children()).get(key)
        if child is None:
            break
        node = child
    return node


def _misspelt(parent: Node, wanted: str) -> tuple[Node, str | None]:
    """The key beside the missing one that was meant for it, if any."""
    for key, node in parent.children():
        if key not in TOP_KEYS | _TENSOR and did_you_mean(key, [wanted], cutoff=0.75) is not None:
            return node, f"did you mean {wanted} instead of {key}?"
    return parent, None


def misspelt_keys(context: Context) -> Iterator[Finding]:
    """Keys at the top of the metadata that the specification does not know, close to one that is not there.

    Others are keys of the bundle's own, which the specification allows.
    """
    root = context.merged.find("_meta_")
    for key, node in [] if root is None else root.children():
        hint = (
            None
            if key in TOP_KEYS
            else did_you_mean(key, TOP_KEYS - set(dict(root.children()) if root else ()), cutoff=0.8)
        )
        if hint is not None:
            yield context.warning("metadata", node, f"metadata.json: nothing reads the key {key}", hint=hint)


def versions(context: Context) -> Iterator[Finding]:
    """Packages that are missing, older than those stated, or of another line of versions."""
    for key, package in _STATED.items():
        node = context.merged.find(f"_meta_::{key}")
        if node is not None and isinstance(node.content, str):
            yield from _version(context, node, package, exact=True)
    for group in ("required_packages_version", "optional_packages_version"):
        node = context.merged.find(f"_meta_::{group}")
        for package, stated in [] if node is None else node.children():
            if isinstance(stated.content, str):
                yield from _version(context, stated, package, exact=False)


def _version(context: Context, node: Node, package: str, *, exact: bool) -> Iterator[Finding]:
    installed = _installed(package)
    if installed is None:
        what = f"the bundle was made with {package} {node.content}, which is not installed"
        yield context.warning("version", node, what, hint=f"pip install {package}=={node.content}")
        return
    here, there = _line(installed), _line(str(node.content))
    if (exact and here != there) or here < there:
        what = f"the bundle was made with another {package} than is installed"
        yield context.warning("version", node, what, str(node.content), installed)


@cache
def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _line(text: str) -> tuple[int, ...]:
    """The first two numbers of a version: 2.13.0+cpu is of the line 2.13."""
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])
