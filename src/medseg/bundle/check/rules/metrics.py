"""Names of metrics that something asks for and nothing computes."""

from __future__ import annotations

from collections.abc import Iterator

from medseg.bundle.check.context import Context
from medseg.bundle.check.findings import Finding, did_you_mean
from medseg.bundle.check.lines import Node
from medseg.bundle.check.merged import arguments
from medseg.bundle.check.values import UNKNOWN, components

_COMPUTED = ("key_val_metric", "key_train_metric", "key_metric", "additional_metrics", "metrics_to_compute")
_ASKED = {
    "MetricsSaver": ("metrics", "metric_details"),
    "CheckpointSaver": ("key_metric_name",),
    "MLFlowHandler": (),
}


def computed_by_nobody(context: Context) -> Iterator[Finding]:
    """What MetricsSaver would drop in silence, and CheckpointSaver would wait for in vain."""
    known, sure = _computed(context)
    if not known or not sure:
        return
    for name, node in components(context.merged):
        for argument in _ASKED.get(str(node.content["_target_"].content).split(".")[-1], ()):
            for asked in _names(context, arguments(node).get(argument)):
                if asked.content not in known and asked.content not in ("*", "loss"):
                    what = f"{name} asks for the metric {asked.content}, which nothing computes"
                    expected, hint = ", ".join(sorted(known)), did_you_mean(asked.content, known)
                    yield context.error("unknown-metric", asked, what, expected=expected, hint=hint)


def no_metrics(context: Context) -> Iterator[Finding]:
    """What stands under the name of a metric and computes nothing, for it has no `_target_`."""
    for name, node in components(context.merged):
        for argument in _COMPUTED:
            one = arguments(node).get(argument)
            group = None if one is None else context.values.target(one)
            for key, metric in [] if group is None or not isinstance(group.content, dict) else group.children():
                made = context.values.target(metric)
                if isinstance(made.content, (dict, list, int, float)) and "_target_" not in _keys(made):
                    what = f"{name}::{argument}::{key} is no metric: it has no _target_"
                    yield context.error("no-target", metric, what, expected="_target_: the class of the metric")


def _keys(node: Node) -> list[str]:
    return [key for key, _ in node.children()]


def _names(context: Context, node: Node | None) -> list[Node]:
    if node is None:
        return []
    node = context.values.target(node)
    parts = [one for _, one in node.children()] or [node]
    return [one for one in parts if isinstance(one.content, str) and one.content[:1] not in "$@%"]


def _computed(context: Context) -> tuple[set[str], bool]:
    known: set[str] = set()
    sure = True
    for _, node in components(context.merged):
        for argument in _COMPUTED:
            one = arguments(node).get(argument)
            found = None if one is None else context.values.target(one)
            if found is not None and isinstance(found.content, dict):
                known |= set(found.content)
            elif found is not None and context.values.value(found) is UNKNOWN:
                sure = False
    return known, sure


def reported(context: Context) -> Iterator[Finding]:
    """Scores in the metadata of labels that the bundle does not have."""
    scores = context.merged.find("_meta_::eval_metrics")
    labels = context.merged.find("_meta_::network_data_format::outputs::pred::channel_def")
    if scores is None or labels is None or not isinstance(labels.content, dict) or not context.own:
        return
    names = {str(one.content) for _, one in labels.children()} | {"lungs", "mean", "foreground"}
    names |= {name.replace(" ", "_") for name in names}
    for key, node in scores.children():
        for metric in ("dice", "iou", "nsd", "hd95"):
            label = key.removeprefix(f"{metric}_")
            if label != key and label not in names:
                what, hint = f"eval_metrics has a score of {label}, which is no label", did_you_mean(label, names)
                yield context.warning("unknown-metric", node, what, expected=", ".join(sorted(names)), hint=hint)
