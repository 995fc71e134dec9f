"""The curves of a training as a picture: loss, validation scores, learning rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.files import atomic_write
from medseg.pictures.colours import label_colour

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Epoch = Mapping[str, float]
"""One epoch: "epoch", "loss", "learning_rate", and the validation metrics where it was validated."""

PLOT_FILES = ("training.png", "training.svg")
_DPI = 144
_STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "medseg", "font.size": 9.0, "axes.grid": True, "grid.alpha": 0.3}


def save_training_plots(history: Sequence[Epoch], folder: Path) -> list[Path]:
    """Draw the curves of a training as training.png and training.svg in `folder`; the same bytes for the same numbers.

    Parameters
    ----------
    history
        One entry an epoch, as history.csv holds them; at least one.
    folder
        Must exist.

    Raises
    ------
    ModuleNotFoundError
        matplotlib is not installed (extra `report`).
    """
    import matplotlib

    paths = [folder / name for name in PLOT_FILES]
    with matplotlib.rc_context(_STYLE):
        figure = _figure(history)
        for path in paths:
            with atomic_write(path) as temporary:
                figure.savefig(temporary, dpi=_DPI, metadata=_without_date(path))
    return paths


def _score_columns(history: Sequence[Epoch], *beginnings: str) -> list[str]:
    """The columns that begin so, means first."""
    names = dict.fromkeys(name for row in history for name in row if name.startswith(beginnings))
    return sorted(names, key=lambda name: "/" in name)


def _figure(history: Sequence[Epoch]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.4), layout="constrained")
    loss, scores, rate = figure.subplots(1, 3)
    _draw(loss, history, ["loss"], title="Loss (training)")
    dice = _score_columns(history, "val_mean_dice", "val_dice/")
    if dice:
        _draw(scores, history, dice, title="Dice (validation)")
    else:
        _draw(scores, history, _score_columns(history, "val_mean_"), title="Validation")
    _draw(rate, history, ["learning_rate"], title="Learning rate")
    if all(row["learning_rate"] > 0 for row in history):
        rate.set_yscale("log")
    return figure


def _draw(axes: Any, history: Sequence[Epoch], names: Sequence[str], *, title: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_title(title)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for place, name in enumerate(names):
        points = [(row["epoch"], row[name]) for row in history if name in row]
        style = {"color": _colour(place), "linewidth": 1.5 if place else 2.2, "label": _title(name)}
        axes.plot(*zip(*points, strict=True), marker="." if len(points) < 60 else "", **style)
    if len(names) > 1:
        axes.legend(fontsize=8)
    elif not names:
        axes.text(0.5, 0.5, "never validated", ha="center", va="center", transform=axes.transAxes)


def _colour(place: int) -> tuple[float, ...]:
    """The first curve, a mean or the only one, is dark; the others have the colours of their labels."""
    return tuple(part / 255 for part in label_colour(place)) if place else (0.2, 0.2, 0.25)


def _title(name: str) -> str:
    return name.partition("/")[2] or name.removeprefix("val_").replace("_", " ")


def _without_date(path: Path) -> dict[str, Any]:
    return {"Date": None} if path.suffix == ".svg" else {"Software": None}
