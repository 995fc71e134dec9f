"""Numbers and booleans that YAML or JSON take for text, and words that no list of choices has."""

from __future__ import annotations

import re
from collections.abc import Iterator

from medseg.bundle.check.context import Context
from medseg.bundle.check.expressions import references
from medseg.bundle.check.findings import Finding, did_you_mean
from medseg.bundle.check.lines import Node
from medseg.bundle.check.merged import arguments
from medseg.bundle.check.signatures import signature
from medseg.bundle.check.types import fits
from medseg.bundle.check.values import components, texts

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_WORDS = {"true": "true", "false": "false", "none": "null", "null": "null", "yes": "true", "no": "false"}
_ENUMS = {
    "mode": ("GridSampleMode", "InterpolateMode", "SplineMode", "NumpyPadMode", "PytorchPadMode", "BlendMode"),
    "padding_mode": ("GridSamplePadMode", "NumpyPadMode", "PytorchPadMode", "NdimageMode"),
    "upsample_mode": ("InterpolateMode", "UpsampleMode"),
    "downsample_mode": ("InterpolateMode",),
    "reduction": ("LossReduction", "MetricReduction", "DiceCEReduction"),
}
"""MONAI's lists of choices (monai/utils/enums.py) by the name of the argument; any of them will do."""
_SECTIONS = ("training", "validation", "test")
"""Parts of a data list (`medseg.datasets.load_datalist`)."""
_CHECKED = ("monai.transforms.", "medseg.transforms.", "monai.losses.", "monai.metrics.", "monai.inferers.")
_FACTORIES = {"norm": "Norm", "norm_name": "Norm", "act": "Act", "act_name": "Act", "last_act": "Act"}
_FACTORY = re.compile(r'@(\w+)\.factory_function\("(\w+)"\)|(\w+)\.add_factory_(?:callable|class)\("(\w+)"')


def numbers(context: Context) -> Iterator[Finding]:
    """Texts such as 1e-4 (YAML wants 1.0e-4), "3" and "True"."""
    taken = _taken_as_text(context)
    for name, node in context.merged.ids.items():
        text = node.content
        if not isinstance(text, str) or name.startswith("_meta_") or name.endswith(("::_disabled_", "::_desc_")):
            continue
        meant = _meant(text)
        if meant is not None and name not in taken:
            what = f"{name} is a text that looks like a {'number' if _NUMBER.fullmatch(text) else 'plain word'}"
            yield context.error("number-as-text", node, what, repr(text), hint=f"write {meant}")


def _meant(text: str) -> str | None:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    mantissa, exponent = match.group(1), match.group(2)
    return text if not exponent or "." in mantissa else text.replace(mantissa, f"{mantissa}.0")


def _taken_as_text(context: Context) -> set[str]:
    """Arguments whose annotation allows a text, as `tag: "1"`; and ids that go into such arguments alone."""
    takers = _text_arguments(context)
    passed: set[str] = set()
    elsewhere: set[str] = set()
    for name, _, text in texts(context.merged):
        for wanted in references(text):
            (passed if name in takers and text == f"@{wanted}" else elsewhere).add(wanted)
    return takers | (passed - elsewhere)


def _text_arguments(context: Context) -> set[str]:
    found = set()
    for name, node in components(context.merged):
        target = node.content["_target_"].content
        takes = signature(context.sources.resolve(target), context.sources) if isinstance(target, str) else None
        for key, one in arguments(node).items() if takes is not None else []:
            parameter = takes.parameters.get(key) if takes is not None else None
            annotation = None if parameter is None or not isinstance(one.content, str) else parameter.annotation
            if parameter and annotation and fits("text", annotation, parameter.module, context.sources):
                found.add(f"{name}::{key}")
    return found


def choices(context: Context) -> Iterator[Finding]:
    """Words for interpolation, padding, reduction, normalisation and activation that MONAI does not have."""
    for name, node in components(context.merged):
        target = node.content["_target_"].content
        if not isinstance(target, str):
            continue
        module = context.sources.resolve(target).module
        for key, one in arguments(node).items():
            if key == "section" and module == "medseg.datasets.datalist":
                yield from _not_among(context, f"{name}::{key}", one, set(_SECTIONS))
            if key in _ENUMS and module.startswith(_CHECKED):
                yield from _not_among(context, f"{name}::{key}", one, _enum_values(context, _ENUMS[key]))
            if key in _FACTORIES and module.startswith("monai.networks."):
                first = one.content[0] if isinstance(one.content, list) and one.content else one
                yield from _not_among(context, f"{name}::{key}", first, _factory_names(context, _FACTORIES[key]))


def _not_among(context: Context, name: str, node: Node, known: set[str]) -> Iterator[Finding]:
    parts = [one for _, one in node.children()] if isinstance(node.content, list) else [node]
    for part in parts:
        value = context.values.value(part)
        if isinstance(value, str) and known and value.lower() not in known and not value.lstrip("-").isdecimal():
            hint = did_you_mean(value, known)
            what = f"{name} is none of the words for it"
            yield context.error(
                "wrong-choice", context.values.target(part), what, value, ", ".join(sorted(known)), hint
            )


def _enum_values(context: Context, names: tuple[str, ...]) -> set[str]:
    found = [context.sources.lookup("monai.utils.enums", name) for name in names]
    values = [value for one in found if one.kind == "class" for value in one.summary["values"]]
    return {value.lower() for value in values if isinstance(value, str)}


def _factory_names(context: Context, factory: str) -> set[str]:
    path = context.sources.file("monai.networks.layers.factories")
    if path is None:
        return set()
    text = path.read_text(encoding="utf-8")
    found = {(a or c, (b or d).lower()) for a, b, c, d in _FACTORY.findall(text)}
    return {name for one, name in found if one == factory}
