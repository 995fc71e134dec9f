"""docs/concepts/training_speed.md from the results of training_speed.py."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from measure import RESULTS, Table

PAGE = Path(__file__).resolve().parents[1] / "docs" / "concepts" / "training_speed.md"


def write_page() -> None:
    """Write the page anew from all results there are."""
    PAGE.write_text(page(sorted(RESULTS.glob("training_speed_*.json"))), encoding="utf-8")


def page(results: Sequence[Path]) -> str:
    """The page's text: the introduction and the tables of each machine."""
    parts = [INTRODUCTION]
    for path in results:
        content = json.loads(path.read_text(encoding="utf-8"))
        about = {key: value for key, value in content["about"].items() if value}
        parts.append(f"## Measured on {about['cpu']}, {about['device']}, {about['date']}\n")
        parts += [Table(**table).markdown() for table in content["tables"]]
        parts.append("; ".join(f"{key} {value}" for key, value in about.items()) + ".\n")
    if not results:
        parts.append("No results have been published yet.\n")
    return "\n".join(parts).rstrip() + "\n"


INTRODUCTION = """# How fast training is, and why

INTRO
"""
