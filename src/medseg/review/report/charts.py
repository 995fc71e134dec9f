"""The plots of a report: curves of a training, spread of scores, agreement of sizes, reliability of confidence."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medseg.review.report.svg import BOTTOM, RIGHT, TOP, Drawing, around, number

MOST_SERIES = 8
"""Colours that are told apart; later series repeat them."""
_GREY = 6
"""The colours before it are for labels."""
_MOST_DOTS = 60
_MOST_CASES = 400
"""More would blacken a plot and swell the file: of boxes the outliers are drawn then, of clouds every n-th case."""
_ROW_PX = 46


@dataclass(frozen=True)
class Figure:
    """A chart with its heading, what is to be read from it, and the colours of its series."""

    title: str
    svg: str
    caption: str
    legend: Sequence[tuple[str, int]] = ()
    """Name and number of the colour of each series."""


@dataclass(frozen=True)
class Agreement:
    """Bland and Altman's numbers: mean difference, its standard deviation, and the limits of agreement."""

    bias: float
    sd: float
    low: float
    high: float


def curves(
    title: str, series: Mapping[str, Sequence[tuple[float, float]]], *, y_label: str, log: bool = False, whole: str = ""
) -> Figure:
    """Lines over the epochs.

    Parameters
    ----------
    series
        Name to (epoch, value); at least one point in all.
    log
        Draw the values on a logarithmic scale; they are positive then.
    whole
        The series that is no label's, such as a mean: it is grey, so that a label has one colour in all plots.
    """
    points = [point for many in series.values() for point in many]
    epochs, values = [x for x, _ in points], [y for _, y in points]
    ends = "; ".join(f"{name}: {number(many[-1][1])} at epoch {many[-1][0]:g}" for name, many in series.items() if many)
    drawing = Drawing(title, f"{y_label} over {max(epochs):g} epochs. Last values: {ends}.")
    x = drawing.across(min(epochs), max(epochs) if max(epochs) > min(epochs) else min(epochs) + 1)
    y = drawing.upwards(*(_decades(values) if log else around(values)), log=log)
    drawing.x_axis(x, "epoch", ticks=_whole(x.ticks()))
    drawing.y_axis(y, y_label)
    legend = _coloured(series, whole)
    for name, colour in legend:
        drawing.path([(x(epoch), y(value)) for epoch, value in series[name]], f"line s{colour}")
        for epoch, value in series[name] if len(series[name]) <= _MOST_DOTS else ():
            says = f"{name}, epoch {epoch:g}: {number(value, 6)}"
            drawing.dot(x(epoch), y(value), f"dot s{colour}", says=says, radius=2.5)
    return Figure(title, str(drawing), f"Last: {ends}.", legend if len(series) > 1 else ())


def boxes(title: str, groups: Mapping[str, Sequence[tuple[str, float]]], *, label: str) -> Figure:
    """Box plots, one row a region: box from the first to the third quartile, line at the median, whiskers to the last
    value within 1.5 times the box (Tukey), and every case as a point.

    Parameters
    ----------
    groups
        Region to (case, value).
    """
    values = [value for many in groups.values() for _, value in many]
    told = "; ".join(
        f"{name}: median {number(float(np.median([v for _, v in many])))}" for name, many in groups.items()
    )
    drawing = Drawing(title, f"{label} by region. {told}.", height=TOP + BOTTOM + _ROW_PX * len(groups), left=RIGHT)
    x = drawing.across(*around(values))
    drawing.x_axis(x, label)
    for row, (name, many) in enumerate(groups.items()):
        _box(drawing, x, TOP + row * _ROW_PX, name, many, f"s{row % MOST_SERIES}")
    points = "cases" if max(map(len, groups.values())) <= _MOST_CASES else "the cases beyond the whiskers"
    return Figure(title, str(drawing), f"Points are {points}; {told}.")


def _box(drawing: Drawing, x: object, top: float, name: str, many: Sequence[tuple[str, float]], colour: str) -> None:
    assert callable(x)
    values = np.asarray([value for _, value in many])
    q1, median, q3 = np.percentile(values, [25, 50, 75])
    near = values[(values >= q1 - 1.5 * (q3 - q1)) & (values <= q3 + 1.5 * (q3 - q1))]
    middle = top + 30
    drawing.text(drawing.left + 2, top + 13, f"{name} (n {len(many)})", "row-name")
    drawing.line(x(min(near.min(), q1)), middle, x(q1), middle, f"whisker {colour}")
    drawing.line(x(q3), middle, x(max(near.max(), q3)), middle, f"whisker {colour}")
    drawing.box(x(q1), middle - 8, x(q3) - x(q1), 16, f"box {colour}")
    drawing.line(x(median), middle - 8, x(median), middle + 8, f"median {colour}")
    outer = [(case, value) for case, value in many if not near.min() <= value <= near.max()]
    for place, (case, value) in enumerate(many if len(many) <= _MOST_CASES else outer[:_MOST_CASES]):
        shift = (place * 7 % 11 - 5) * 1.1  # apart, and the same each time
        drawing.dot(
            x(value), middle + shift, f"case-dot {colour}", says=f"{case}, {name}: {number(value, 6)}", radius=2
        )


def agreement(differences: Sequence[float]) -> Agreement:
    """Bias and limits of agreement, bias -+ 1.96 sd (Bland and Altman, Lancet 1986;327:307-310).

    The sd is that of the sample; 0 for one case.
    """
    d = np.asarray(differences, dtype=np.float64)
    bias, sd = float(d.mean()), float(d.std(ddof=1)) if d.size > 1 else 0.0
    return Agreement(bias, sd, bias - 1.96 * sd, bias + 1.96 * sd)


def bland_altman(title: str, pairs: Sequence[tuple[str, float, float]], *, unit: str) -> Figure:
    """Difference of prediction and truth over their mean, with bias and limits of agreement.

    Parameters
    ----------
    pairs
        (case, truth, prediction).
    """
    found = agreement([predicted - truth for _, truth, predicted in pairs])
    behind = f" {unit}" if unit else ""
    told = (
        f"bias {number(found.bias)}{behind}, limits of agreement {number(found.low)} to {number(found.high)}{behind} "
        f"(n {len(pairs)})"
    )
    drawing = Drawing(title, f"Prediction minus truth over their mean: {told}.")
    x = drawing.across(*around([(truth + predicted) / 2 for _, truth, predicted in pairs]))
    differences = [predicted - truth for _, truth, predicted in pairs]
    y = drawing.upwards(*around([*differences, found.low, found.high, 0.0]))
    drawing.x_axis(x, f"mean of truth and prediction ({unit})" if unit else "mean of truth and prediction")
    drawing.y_axis(y, f"prediction \N{MINUS SIGN} truth ({unit})" if unit else "prediction \N{MINUS SIGN} truth")
    drawing.line(x.start, y(0), x.end, y(0), "zero")
    for value, kind in ((found.bias, "bias"), (found.low, "limit"), (found.high, "limit")):
        drawing.line(x.start, y(value), x.end, y(value), kind)
    every = -(-len(pairs) // _MOST_CASES)
    for case, truth, predicted in pairs[::every]:
        says = f"{case}: truth {number(truth, 6)}{behind}, prediction {number(predicted, 6)}{behind}"
        drawing.dot((x((truth + predicted) / 2)), y(predicted - truth), "dot s0", says=says)
    drawn = f"; one case of {every} is drawn" if every > 1 else ""
    return Figure(title, str(drawing), f"{told[0].upper()}{told[1:]}; solid: bias, dashed: limits{drawn}.")


def reliability(
    title: str, classes: Mapping[str, Sequence[tuple[float, float, float]]], *, ece: float | None
) -> Figure:
    """How often the network is right over how sure it is; on the diagonal confidence is what it says.

    Parameters
    ----------
    classes
        Name to (mean confidence, accuracy, voxels) of each bin that holds any.
    ece
        Expected calibration error of all classes; None where it is unknown.
    """
    told = "unknown" if ece is None else number(ece)
    drawing = Drawing(title, f"Accuracy over confidence; expected calibration error {told}.")
    x, y = drawing.across(0, 1), drawing.upwards(0, 1)
    drawing.x_axis(x, "confidence")
    drawing.y_axis(y, "share that is right")
    drawing.line(x(0), y(0), x(1), y(1), "zero")
    legend = _coloured(classes, "background")
    for name, colour in legend:
        drawing.path([(x(sure), y(right)) for sure, right, _ in classes[name]], f"line s{colour}")
        for sure, right, voxels in classes[name]:
            says = f"{name}: confidence {number(sure)}, right {number(right)}, {voxels:,.0f} voxels"
            drawing.dot(x(sure), y(right), f"dot s{colour}", says=says, radius=3)
    caption = f"Expected calibration error {told}. Below the diagonal the network is surer than it should be."
    return Figure(title, str(drawing), caption, legend)


def receiver(title: str, lines: Mapping[str, Sequence[tuple[float, float]]], *, caption: str) -> Figure:
    """ROC curves: the share of failed cases that a warning finds, over the share of good cases that it calls out.

    Parameters
    ----------
    lines
        Name to (false alarms, sensitivity) at each threshold.
    """
    drawing = Drawing(title, caption)
    x, y = drawing.across(0, 1), drawing.upwards(0, 1)
    drawing.x_axis(x, "good cases that are called out")
    drawing.y_axis(y, "failed cases that are found")
    drawing.line(x(0), y(0), x(1), y(1), "zero")
    for place, points in enumerate(lines.values()):
        drawing.path([(x(alarms), y(found)) for alarms, found in points], f"line s{place % MOST_SERIES}")
    return Figure(title, str(drawing), caption, [(name, i % MOST_SERIES) for i, name in enumerate(lines)])


def _coloured(names: Collection[str], whole: str) -> list[tuple[str, int]]:
    """A colour for each name: grey for `whole`, the others in turn."""
    labels = [name for name in names if name != whole]
    colours = {name: place % _GREY for place, name in enumerate(labels)}
    return [(name, colours.get(name, _GREY)) for name in names]


def _whole(ticks: Sequence[float]) -> list[float]:
    return [tick for tick in ticks if abs(tick - round(tick)) < 1e-9]


def _decades(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low / 1.5, high * 1.5) if high > low else (low / 10, high * 10)
