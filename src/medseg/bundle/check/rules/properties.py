"""What MONAI asks every training and inference configuration to have, and what the commands run."""

from __future__ import annotations

from collections.abc import Iterator

from medseg.bundle.check.context import Context
from medseg.bundle.check.findings import Finding
from medseg.bundle.check.lines import Node
from medseg.bundle.check.merged import is_component
from medseg.bundle.check.plans import ENTRIES, RUN_IDS

REQUIRED = {
    "train": {
        "bundle_root": "text",
        "device": "text",
        "dataset_dir": "text",
        "train::trainer": "component",
        "train::trainer::max_epochs": "number",
        "train::dataset": "component",
        "train::inferer": "component",
    },
    "infer": {
        "bundle_root": "text",
        "device": "text",
        "dataset_dir": "text",
        "dataset": "component",
        "evaluator": "component",
        "network_def": "component",
        "inferer": "component",
    },
}
"""Required properties of MONAI 1.6 (monai/bundle/properties.py), and what kind of thing each is."""

OPTIONAL = frozenset(
    {
        *("network_def", "val_interval", "handlers", "preprocessing", "postprocessing", "key_metric", "dataset::data"),
        *(f"train::{one}" for one in ("dataset::data", "handlers", "preprocessing", "postprocessing", "key_metric")),
        *(f"validate::{one}" for one in ("evaluator", "handlers", "dataset", "dataset::data", "inferer")),
        *(f"validate::{one}" for one in ("preprocessing", "postprocessing", "key_metric")),
    }
)
"""Properties that an application may ask for: they may stand there without anything referring to them."""


def required(context: Context) -> Iterator[Finding]:
    """Properties that are missing or are no such thing."""
    kind = context.merged.plan.kind
    for name, what in REQUIRED.get(kind or "", {}).items():
        node = context.merged.find(name)
        if node is not None:
            yield from _wrong(context, name, node, what)
        elif what != "number" or context.merged.find(name.rpartition("::")[0]) is not None:
            yield _missing(context, name)


def _missing(context: Context, name: str) -> Finding:
    parent = context.merged.find(name.rpartition("::")[0]) or context.merged.root
    text = f"{name} is missing, which MONAI asks of every {context.merged.plan.name} configuration"
    make = context.error if context.own else context.warning
    return make("missing-property", _beside(parent), text, hint=context.merged.nearest(name))


def _beside(parent: Node) -> Node:
    """Where something is missing: the line of the mapping it belongs into; the root's is the first."""
    return parent


def _wrong(context: Context, name: str, node: Node, what: str) -> Iterator[Finding]:
    value = context.values.target(node).content
    computed = isinstance(value, str) and value.startswith(("$", "@", "%"))
    if computed or is_component(context.values.target(node)):
        return
    if what == "component":
        yield context.error("wrong-property", node, f"{name} is no component", node.value(), "a mapping with _target_")
    elif what == "text" and not (isinstance(value, str) and value.strip()):
        yield context.error("wrong-property", node, f"{name} is no text", node.value(), "a text or an expression")
    elif what == "number" and not (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        place = context.values.target(node)
        yield context.error(
            "wrong-property", place, f"{name} is no number of epochs", value, "a whole number from 1 on"
        )


def entries(context: Context) -> Iterator[Finding]:
    """Whether there is anything to run, and whether all in it does something."""
    plan = context.merged.plan
    if plan.own and context.merged.find(RUN_IDS[plan.name]) is None:
        what = f"{RUN_IDS[plan.name]} is missing: there is nothing to run"
        yield context.error("missing-entry", _last(context), what, hint=context.merged.nearest(RUN_IDS[plan.name]))
    for name in ENTRIES:
        node = context.merged.find(name)
        for _, step in [] if node is None or not isinstance(node.content, list) else node.children():
            if isinstance(step.content, str) and not step.content.startswith(("$", "@", "%")):
                what = f"{name} has a step that is plain text and does nothing"
                yield context.warning("idle-step", step, what, step.content, hint=f"did you mean ${step.content}?")


def _last(context: Context) -> Node:
    files = context.merged.plan.files
    return Node(None, str(files[1] if context.own else files[-1]), 1)
