"""What a section of a report is made of; the template knows how each kind looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from medseg.review.report.cases import CaseCard
from medseg.review.report.charts import Figure
from medseg.review.report.table import Table

Tone: TypeAlias = Literal["", "note", "missing", "good", "bad"]


@dataclass(frozen=True)
class Heading:
    """A heading below the section's."""

    text: str
    level: int = 3
    kind: ClassVar[str] = "heading"


@dataclass(frozen=True)
class Text:
    """A paragraph; "missing" for what could not be told, "good" and "bad" for findings."""

    text: str
    tone: Tone = ""
    kind: ClassVar[str] = "text"


@dataclass(frozen=True)
class Sentences:
    """A list of sentences."""

    items: Sequence[str]
    kind: ClassVar[str] = "list"


@dataclass(frozen=True)
class Tile:
    """One number at a glance."""

    name: str
    value: str
    detail: str = ""
    tone: Tone = ""


@dataclass(frozen=True)
class Tiles:
    """Numbers side by side."""

    tiles: Sequence[Tile]
    kind: ClassVar[str] = "tiles"


@dataclass(frozen=True)
class Facts:
    """Names and values."""

    facts: Sequence[tuple[str, str]]
    kind: ClassVar[str] = "facts"


@dataclass(frozen=True)
class TableBlock:
    """A table; a folded one is opened by the reader, and by printing."""

    table: Table
    folded: bool = False
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class Figures:
    """Plots side by side; folded ones are opened by the reader, and by printing."""

    figures: Sequence[Figure]
    folded: bool = False
    kind: ClassVar[str] = "figures"


@dataclass(frozen=True)
class Cards:
    """Cases with their pictures; `level` of their headings."""

    cards: Sequence[CaseCard]
    level: int = 4
    kind: ClassVar[str] = "cards"


@dataclass(frozen=True)
class Document:
    """A text as it stands in a file, folded."""

    title: str
    text: str
    kind: ClassVar[str] = "document"


Block: TypeAlias = Heading | Text | Sentences | Tiles | Facts | TableBlock | Figures | Cards | Document


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    id: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """A whole report."""

    title: str
    about: str
    sections: Sequence[Section]
