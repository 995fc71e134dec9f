"""Which cases are shown, why, and with which picture: flagged ones first, then the worst, the median, the best."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medseg.review.report.folders import Results
from medseg.review.report.regions import region_table
from medseg.review.report.scores import mean_dice
from medseg.review.report.svg import fixed, number
from medseg.review.report.table import Table

MOST_FLAGGED = 12
"""Flagged cases beyond these are only marked in the table, which the report says."""
_QUALITY = 82


@dataclass(frozen=True)
class Shown:
    """A picture in the page: data URI, size in pixels, `columns` side by side in it, and what it shows in words."""

    uri: str
    width: int
    height: int
    columns: int
    alt: str


@dataclass(frozen=True)
class CaseCard:
    """One case as it is shown.

    Attributes
    ----------
    id
        The case's id.
    anchor
        Its id in the page.
    why
        "worst", "median", "best", ...; empty where the flags tell it.
    flags
        Sentences.
    facts
        Name to value, in words.
    regions
        Scores and sizes of its regions.
    picture
        None where the folder holds none.
    """

    id: str
    anchor: str
    why: str
    flags: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()
    regions: Table | None = None
    picture: Shown | None = None
    missing: str = ""
    """Why there is no picture."""
    elsewhere: str = ""
    """Id of the card in the page that shows this case already."""


@dataclass(frozen=True)
class CaseChoice:
    """The cases of one folder: the first of the flagged ones, and others by how good or sure they are.

    Attributes
    ----------
    ranked_by
        What the order goes by; empty where nothing is known.
    flags
        Case to its flags, of all flagged cases.
    """

    flagged: Sequence[CaseCard]
    others: Sequence[CaseCard]
    ranked_by: str
    flags: Mapping[str, Sequence[str]] = field(default_factory=dict)


def flags_of(results: Results) -> dict[str, list[str]]:
    """Case to the reasons to look at it, of the cases that have any."""
    found = {}
    for case in results.done:
        texts = [str(flag.get("text") or flag.get("rule")) for flag in results.manifests.get(case, {}).get("flags", [])]
        listed = [row.get("text") or row.get("rule", "") for row in results.flags if row.get("case") == case]
        if texts or any(listed):
            found[case] = texts or [one for one in listed if one]
    return found


def were_flags_looked_for(results: Results) -> bool:
    """Whether the folder tells of flags at all: no flag is something else than nobody having looked."""
    return bool(results.flags) or any("flags" in one for one in results.manifests.values())


def choose(results: Results, *, each: int, prefix: str) -> CaseChoice:
    """The cases to show.

    Parameters
    ----------
    each
        How many of the worst, the median and the best.
    prefix
        What ids in the page begin with.
    """
    flags = flags_of(results)
    values, what = _ranking(results)
    order = sorted(values, key=lambda case: (values[case], case))
    first = sorted(flags, key=lambda case: (values.get(case, 0.0), case))
    makes = _CardMaker(results, values, what, flags, prefix)
    flagged = [makes.card(case) for case in first[:MOST_FLAGGED]]
    above = {one.id: one.anchor for one in flagged}
    others = [
        CaseCard(case, "", why, elsewhere=above[case]) if case in above else makes.card(case, why)
        for case, why in _places(order, each, what)
    ]
    return CaseChoice(flagged, others, what, flags)


def _ranking(results: Results) -> tuple[dict[str, float], str]:
    """Case to what it is ranked by, and the name of that."""
    dice = mean_dice(results.scores)
    if dice:
        return dice, "mean Dice over the regions"
    sure = {case: results.confidence(case) for case in results.manifests}
    known = {case: value for case, value in sure.items() if value is not None}
    return (known, "how sure the network was of each case") if known else (dict.fromkeys(results.done, 0.0), "")


def _places(order: Sequence[str], each: int, what: str) -> list[tuple[str, str]]:
    """(case, why) of the first, the middle and the last of an ascending order, no case twice."""
    if len(order) == 1:
        return [(order[0], "only case")]
    each = min(each, max(1, len(order) // 3))
    low, middle, high = ("worst", "median", "best") if "Dice" in what else ("least sure", "median", "surest")
    start = max(0, (len(order) - each) // 2)
    groups = ((low, order[:each]), (high, order[::-1][:each]), (middle, order[start : start + each]))
    taken: dict[str, str] = {}
    for why, cases in groups:
        for case in cases:
            taken.setdefault(case, why if what else "")
    ranks = {low: 0, middle: 1, high: 2, "": 0}
    return sorted(taken.items(), key=lambda item: (ranks[item[1]], order.index(item[0])))


@dataclass(frozen=True)
class _CardMaker:
    results: Results
    values: Mapping[str, float]
    what: str
    flags: Mapping[str, Sequence[str]]
    prefix: str

    def card(self, case: str, why: str = "") -> CaseCard:
        anchor = f"{self.prefix}-case-{self.results.done.index(case) + 1}" if case in self.results.done else ""
        picture = self._picture(case)
        missing = "" if picture else "The folder holds no picture of this case."
        regions = region_table(self.results, case)
        return CaseCard(case, anchor, why, self.flags.get(case, ()), self._facts(case), regions, picture, missing)

    def _facts(self, case: str) -> list[tuple[str, str]]:
        manifest = self.results.manifests.get(case, {})
        sure = self.results.confidence(case)
        facts = [] if sure is None else [("confidence", fixed(sure, 4))]
        facts += [
            (name.replace("_", " "), "not measurable" if value is None else number(value))
            for name, value in manifest.get("measurements", {}).items()
        ]
        return facts + [("note", str(note)) for note in manifest.get("notes", [])]

    def _picture(self, case: str) -> Shown | None:
        comparison, preview = (self.results.output(case, kind) for kind in ("comparison", "preview"))
        path = comparison or preview
        if path is None:
            return None
        shows = (
            "image, truth, prediction, and contours: truth yellow, prediction magenta, both white"
            if comparison
            else "the image with the prediction as coloured areas and contours"
        )
        score = f"; {number(self.values[case])} {self.what}" if case in self.values and "Dice" in self.what else ""
        return _shown(path, columns=4 if comparison else 1, alt=f"Case {case}: {shows}{score}")


def _shown(path: Path, *, columns: int, alt: str) -> Shown:
    """A PNG as a smaller WebP in the page."""
    from PIL import Image as Picture

    with Picture.open(path) as picture:
        wide = picture.convert("RGB")
    content = io.BytesIO()
    wide.save(content, format="WEBP", quality=_QUALITY, method=4)
    encoded = base64.b64encode(content.getvalue()).decode("ascii")
    panes = columns if columns > 1 else max(1, round(wide.width / max(1, wide.height) * 0.9))
    return Shown(f"data:image/webp;base64,{encoded}", wide.width, wide.height, min(panes, 4), alt)
