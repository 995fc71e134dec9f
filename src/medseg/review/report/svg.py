"""Charts as SVG that takes the page's colours: axes, ticks, marks. No style inside, so a strict CSP lets it be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as Xml

WIDTH, HEIGHT = 380, 270
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 12, 42
_TICKS = 5
MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Scale:
    """From a value to a place on the page, linear or logarithmic."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        value, low, high = (math.log10(v) for v in (value, self.low, self.high)) if self.log else self._plain(value)
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def _plain(self, value: float) -> tuple[float, float, float]:
        return value, self.low, self.high

    def ticks(self) -> list[float]:
        """Round values inside the scale."""
        if not self.log:
            return nice_ticks(self.low, self.high)
        first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
        every = max(1, (last - first) // _TICKS)
        powers = [10.0**power for power in range(first, last + 1, every)]
        return powers if len(powers) > 1 else nice_ticks(self.low, self.high)


def nice_ticks(low: float, high: float, count: int = _TICKS) -> list[float]:
    """About `count` multiples of 1, 2 or 5 times a power of ten from `low` to `high`."""
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if raw <= power * factor * (1 + 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def around(values: Sequence[float], *, margin: float = 0.06) -> tuple[float, float]:
    """Limits a little wider than the values; one apart where all are equal."""
    low, high = min(values), max(values)
    if high - low < 1e-12 * max(abs(low), abs(high), 1e-6):
        half = abs(low) * 0.1 or 0.5
        return low - half, high + half
    return low - margin * (high - low), high + margin * (high - low)


def number(value: float, digits: int = 4) -> str:
    """For people: significant digits, thousands apart, no trailing zeros, a true minus sign."""
    if 1e4 <= abs(value) < 1e9:
        shown = f"{value:,.0f}"
    elif abs(value) >= 1e3:
        shown = f"{value:.0f}" if abs(value) < 1e9 else f"{value:.{digits}g}"
    else:
        shown = f"{value:.{digits}g}"
    return shown.replace("-", MINUS).replace(f"e{MINUS}0", f"e{MINUS}")


def fixed(value: float, decimals: int) -> str:
    """For columns of people: the same decimals in every row, thousands apart, a true minus sign."""
    return f"{round(value, decimals) + 0.0:,.{decimals}f}".replace("-", MINUS)  # no minus zero


def counted(count: int, thing: str) -> str:
    """ "1 case", "2 cases"."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


class Drawing:
    """An SVG with marks on two scales.

    Parameters
    ----------
    title, description
        What a screen reader says of it.
    height
        In the units of the page; the width is fixed, so that text is readable on a phone too.
    left
        Room for the labels of the vertical axis.
    """

    def __init__(self, title: str, description: str, *, height: int = HEIGHT, left: int = LEFT) -> None:
        self.width, self.height, self.left = WIDTH, height, left
        size = {"width": str(WIDTH), "height": str(height), "viewBox": f"0 0 {WIDTH} {height}"}
        self.root = Xml.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "role": "img", "class": "chart", **size})
        Xml.SubElement(self.root, "title").text = title
        Xml.SubElement(self.root, "desc").text = description

    def across(self, low: float, high: float) -> Scale:
        """A horizontal scale over the plot."""
        return Scale(low, high, self.left, self.width - RIGHT)

    def upwards(self, low: float, high: float, *, log: bool = False) -> Scale:
        """A vertical scale over the plot."""
        return Scale(low, high, self.height - BOTTOM, TOP, log)

    def x_axis(self, scale: Scale, label: str, *, ticks: Sequence[float] | None = None) -> None:
        """The line below the plot, with grid lines."""
        bottom = self.height - BOTTOM
        for tick in scale.ticks() if ticks is None else ticks:
            self.line(scale(tick), TOP, scale(tick), bottom, "grid")
            self.text(scale(tick), bottom + 16, number(tick), "tick", anchor="middle")
        self.line(self.left, bottom, self.width - RIGHT, bottom, "axis")
        self.text((self.left + self.width - RIGHT) / 2, self.height - 6, label, "label", anchor="middle")

    def y_axis(self, scale: Scale, label: str) -> None:
        """The line left of the plot, with grid lines."""
        for tick in scale.ticks():
            self.line(self.left, scale(tick), self.width - RIGHT, scale(tick), "grid")
            self.text(self.left - 6, scale(tick) + 4, number(tick), "tick", anchor="end")
        self.line(self.left, TOP, self.left, self.height - BOTTOM, "axis")
        middle = (TOP + self.height - BOTTOM) / 2
        turned = self.text(12, middle, label, "label", anchor="middle")
        turned.set("transform", f"rotate(-90 12 {middle:g})")

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        """A straight line."""
        places = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
        Xml.SubElement(self.root, "line", {"class": kind, **{name: f"{v:.1f}" for name, v in places.items()}})

    def path(self, points: Sequence[tuple[float, float]], kind: str) -> None:
        """A line through points."""
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        Xml.SubElement(self.root, "polyline", {"class": kind, "points": places})

    def box(self, x: float, y: float, width: float, height: float, kind: str) -> None:
        """A rectangle."""
        places = {"x": x, "y": y, "width": max(width, 1.0), "height": height}
        Xml.SubElement(self.root, "rect", {"class": kind, **{name: f"{v:.1f}" for name, v in places.items()}})

    def dot(self, x: float, y: float, kind: str, *, says: str, radius: float = 3.5) -> None:
        """A point that tells what it is when the mouse rests on it."""
        mark = Xml.SubElement(
            self.root, "circle", {"class": kind, "cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": f"{radius:g}"}
        )
        Xml.SubElement(mark, "title").text = says

    def text(self, x: float, y: float, text: str, kind: str, *, anchor: str = "start") -> Xml.Element:
        """A line of text."""
        element = Xml.SubElement(
            self.root, "text", {"class": kind, "x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor}
        )
        element.text = text
        return element

    def __str__(self) -> str:
        return Xml.tostring(self.root, encoding="unicode")
