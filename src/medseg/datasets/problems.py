"""All the problems of a data set in one message, so that a user repairs it in one go."""

from __future__ import annotations

from collections.abc import Sequence

from medseg.errors import DataError

LISTED = 20
"""A message lists this many problems, then only counts: more would scroll the first ones away."""


def refuse_all(problems: Sequence[str], *, where: str, next_step: str | None = None) -> None:
    """Raise one DataError about `where` that lists `problems`; do nothing when there are none."""
    if not problems:
        return
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    lines = [f"{where}: {count}", *(f"  {problem}" for problem in problems[:LISTED])]
    if len(problems) > LISTED:
        lines.append(f"  ... and {len(problems) - LISTED} more")
    raise DataError("\n".join(lines), next_step=next_step)
