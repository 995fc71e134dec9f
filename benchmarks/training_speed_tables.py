"""The tables of training_speed.py, from what its sides answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from measure import Table, median

TOP = 12
GROUPS: dict[str, tuple[str, ...]] = {
    "optimiser, clipping": ("optimizer", "adam", "foreach", "linalg_vector_norm"),
    "convolutions": ("conv", "mkldnn", "cudnn_conv"),
    "normalisation": ("_norm", "normbackward"),
    "copies between layouts and number formats": ("copy", "contiguous", "clone"),
    "activations, pooling, upsampling": ("relu", "threshold", "clamp", "pool", "upsample"),
    "joined channels": ("aten::cat", "catbackward", "aten::stack"),
    "loss": ("softmax", "nll_loss", "scatter", "cross_entropy"),
}
"""Of the operators' names what they hold; the first group that fits counts."""
REST = "all others"


@dataclass
class SideMeasured:
    """What a side answered.

    Attributes
    ----------
    about
        Parameters, arithmetic, batch, and who prepares batches.
    whole, alone
        Steps and seconds of each round, of the whole training and of the step alone.
    operators
        Name, milliseconds a step and calls a step.
    """

    about: Mapping[str, Any]
    whole: list[dict[str, Any]] = field(default_factory=list)
    alone: list[dict[str, Any]] = field(default_factory=list)
    operators: list[tuple[str, float, float]] = field(default_factory=list)


@dataclass
class Measured:
    """All sides of a bundle by name."""

    bundle: str
    sides: dict[str, SideMeasured]


def rates(side: SideMeasured, turns: Sequence[Mapping[str, Any]]) -> list[float]:
    """Samples per second of each round."""
    return [side.about["batch"] * turn["steps"] / turn["seconds"] for turn in turns]


def ratio(one: Sequence[float], other: Sequence[float]) -> float:
    """The median of each round's ratio."""
    return median([a / b for a, b in zip(one, other, strict=True)])


def waits(side: SideMeasured) -> str:
    """Which share of the iterations' time goes into waiting for a batch, the median over the rounds."""
    return f"{median([turn['waited'] / turn['seconds'] for turn in side.whole]):.1%}"


def peer_table(found: Measured, names: Sequence[str], *, beside: str) -> Table:
    """Sides beside each other."""
    columns = ["side", "whole training, samples/s", "slowest to fastest round", f"times {beside}"]
    columns += ["step alone, samples/s", f"times {beside} ", "waits for data"]
    table = Table(
        f"{found.bundle}: three trainings side by side",
        [*columns, "arithmetic", "batch", "batches made by", "parameters"],
    )
    for name in names:
        side, base = found.sides[name], found.sides[beside]
        whole, alone = rates(side, side.whole), rates(side, side.alone)
        row: list[object] = [name, median(whole), f"{min(whole):.3g} to {max(whole):.3g}"]
        row += [
            ratio(whole, rates(base, base.whole)),
            median(alone),
            ratio(alone, rates(base, base.alone)),
            waits(side),
        ]
        about = side.about
        table.rows.append(
            [*row, about["precision"], about["batch"], about["batches by"], f"{about['parameters'] / 1e6:.2f} M"]
        )
    return table


def step_table(found: Measured, names: Sequence[str], *, beside: str, notes: Sequence[str]) -> Table:
    """Ours and ours with one thing changed."""
    columns = ["our training", "whole training, samples/s", "as shipped: so many times faster"]
    columns += ["step alone, samples/s", "as shipped: so many times faster ", "waits for data"]
    table = Table(f"{found.bundle}: what each part brings", columns, notes=list(notes))
    base = found.sides[beside]
    for name in names:
        side = found.sides[name]
        whole, alone = rates(side, side.whole), rates(side, side.alone)
        gains = [ratio(rates(base, base.whole), whole), ratio(rates(base, base.alone), alone)]
        table.rows.append([name, median(whole), gains[0], median(alone), gains[1], waits(side)])
    return table


def group_of(operator: str) -> str:
    """The group that an operator's time is counted in."""
    name = operator.lower()
    return next((group for group, parts in GROUPS.items() if any(part in name for part in parts)), REST)


def operator_tables(found: Measured, names: Sequence[str], *, whole: Sequence[str]) -> list[Table]:
    """Milliseconds of a step by kind of operator for all `names`, and the top operators of `whole`."""
    table = Table(f"{found.bundle}: milliseconds of one step by kind of operator", ["kind", *names])
    sums = {name: grouped(found.sides[name].operators) for name in names}
    for group in (*GROUPS, REST):
        table.rows.append([group, *(f"{sums[name].get(group, 0.0):.1f}" for name in names)])
    table.rows.append(["sum", *(f"{sum(sums[name].values()):.1f}" for name in names)])
    table.notes.append("Self time of torch.profiler, which itself takes a little; of the step alone.")
    return [table, *(_top(found, name) for name in whole)]


def grouped(operators: Sequence[tuple[str, float, float]]) -> dict[str, float]:
    """Milliseconds of each group."""
    sums: dict[str, float] = {}
    for name, milliseconds, _ in operators:
        sums[group_of(name)] = sums.get(group_of(name), 0.0) + milliseconds
    return sums


def _top(found: Measured, name: str) -> Table:
    operators = sorted(found.sides[name].operators, key=lambda row: -row[1])
    whole = sum(row[1] for row in operators)
    table = Table(
        f"{found.bundle}: the operators that take longest, {name}", ["operator", "calls a step", "ms a step", "share"]
    )
    for operator, milliseconds, calls in operators[:TOP]:
        table.rows.append([f"`{operator}`", calls, f"{milliseconds:.1f}", f"{milliseconds / whole:.1%}"])
    return table
