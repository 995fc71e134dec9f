"""Folders as medseg's commands leave them, tiny and made by the same writers, and a reader of the report's HTML."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

from medseg.case import Image, Prediction
from medseg.evaluation import score_case, summarise, write_scores, write_summary
from medseg.outputs import CaseReport, Report, save_picture, write_prediction, write_report
from medseg.pictures import comparison

NAMES = {0: "background", 1: "left lung", 2: "right lung"}
REGIONS = {"left lung": [1], "right lung": [2]}
FLAG = {
    "rule": "volume",
    "region": "left lung",
    "value": 3.0,
    "limit": 2.0,
    "text": "left lung: volume 3 ml, above 2 ml",
}
_VOID = {"meta", "img", "br", "hr", "link", "input"}


def volume(shift: int, *, empty: bool = False) -> tuple[Image, Image]:
    """An image of 12^3 voxels of 2 mm and its truth, moved by `shift` voxels along X."""
    array = np.zeros((12, 12, 12), np.uint8)
    if not empty:
        array[1 + shift : 5 + shift, 2:10, 2:10] = 1
        array[7:11, 2:10, 2:10] = 2
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    values = np.where(array > 0, -800, 40).astype(np.int16)
    return Image(values[None], affine, Path("in"), "CT"), Image(array, affine, Path("truth"), "CT")


def manifest_of(flags: Sequence[Mapping[str, Any]] | None, *, confidence: float = 0.9) -> dict[str, Any]:
    """What the run knows of a case."""
    judged = {} if flags is None else {"flags": list(flags)}
    return {
        "bundle": {"name": "tiny", "version": "1.2.3"},
        "weights_sha256": "ab" * 32,
        "settings_sha256": "cd" * 32,
        "input_sha256": "ef" * 32,
        "device": "cpu",
        "precision": "float32",
        "confidence": [{"value": 1, "name": "left lung", "voxels": 9, "mean_confidence": confidence}],
        "case_confidence": {"mean_confidence": confidence, "mean_entropy": 0.1},
        "notes": [],
        "measurements": {},
        **judged,
    }


@dataclass
class FolderMaker:
    """Writes a folder of results case by case.

    Attributes
    ----------
    truth
        Score the cases, as `evaluate` does.
    """

    folder: Path
    truth: bool = True
    rows: list[Any] = field(default_factory=list)
    cases: list[CaseReport] = field(default_factory=list)

    def case(self, name: str, *, shift: int = 0, empty: bool = False, flags: Any = (), confidence: float = 0.9) -> None:
        """One case whose prediction is the truth moved by `shift` voxels; `empty` leaves the truth without labels."""
        self.folder.mkdir(parents=True, exist_ok=True)
        image, truth = volume(0, empty=empty)
        labels = volume(shift)[1]
        more = {}
        if self.truth:
            self.rows += score_case(name, labels, truth, REGIONS, spatial_dims=3)
            more = {"comparison": f"{name}_comparison.png"}
            save_picture(comparison(image, truth, labels, label_names=NAMES), self.folder / more["comparison"])
        prediction = Prediction(name, labels, NAMES)
        told = manifest_of(flags, confidence=confidence)
        files = write_prediction(prediction, image, self.folder, manifest=lambda: told, more=more)
        self.cases.append(CaseReport(name, "done", outputs=files, seconds=1.5))

    def failed(self, name: str, reason: str) -> None:
        """A case that failed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.cases.append(CaseReport(name, "failed", reason=reason))

    def close(self, **more: Any) -> Path:
        """Write the tables."""
        report = Report(tuple(self.cases))
        write_report(replace(report, **more), self.folder)
        if self.truth:
            summary = summarise(self.rows) if self.rows else {"cases": 0, "regions": {}}
            summary["failed_cases"] = [case.id for case in report.failed]
            write_scores(self.rows, self.folder / "scores.csv")
            write_summary(summary, self.folder / "summary.json")
        return self.folder


def make_run(folder: Path, *, epochs: int = 3, history: bool = True, datalist: Mapping[str, Any] | None = None) -> Path:
    """The folder of a training run, without its network."""
    for name in ("configs", "models", "docs"):
        (folder / name).mkdir(parents=True)
    metadata = {
        "name": "tiny",
        "version": "1.2.3",
        "task": "find two lungs",
        "description": "a <b>bold</b> bundle",
        "intended_use": "tests",
        "eval_metrics": {"mean_dice": 0.9876},
        "data_source": "made up",
        "network_data_format": {
            "inputs": {"image": {"modality": "CT", "num_channels": 1, "spatial_shape": [16, 16, 16]}},
            "outputs": {"pred": {"channel_def": {str(k): v for k, v in NAMES.items()}}},
        },
    }
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    (folder / "configs" / "common.yaml").write_text("network_def: {_target_: UNet}\nspacing_mm: [2.0, 2.0, 2.0]\n")
    (folder / "models" / "model.pt").write_bytes(b"weights")
    record = {
        "status": "done",
        "settings": {"bundle": "tiny", "version": "1.2.3", "seed": 42, "batch_size": 2},
        "epoch": epochs,
        "epochs": epochs,
        "best_validation_dice": 0.625,
        "best_epoch": 2,
        "training_seconds": 12.0,
        "written": "2026-01-02T03:04:05+00:00",
        "environment": {"medseg": "0.1.0", "python": "3.11", "torch": "2.13", "machine": "a machine", "threads": 1},
    }
    (folder / "run.json").write_text(json.dumps(record))
    if history:
        lines = ["epoch,loss,learning_rate,val_mean_dice,val_dice/left lung"]
        lines += [
            f"{i},{1 / i:.6g},{10.0**-i:.6g},{'' if i == 1 else 0.25 * i},{0.2 * i:.6g}" for i in range(1, epochs + 1)
        ]
        (folder / "history.csv").write_text("\n".join(lines) + "\n")
    if datalist is not None:
        (folder / "datalist.json").write_text(json.dumps(datalist))
    return folder


@dataclass
class Element:
    """A node of the page."""

    tag: str
    attributes: dict[str, str]
    children: list[Element | str] = field(default_factory=list)

    def all(self, tag: str) -> list[Element]:
        """Every element of a tag below this one."""
        found = []
        for child in self.children:
            if isinstance(child, Element):
                found += [child] if child.tag == tag else []
                found += child.all(tag)
        return found

    @property
    def text(self) -> str:
        """All text in it."""
        parts = [child if isinstance(child, str) else child.text for child in self.children]
        return " ".join(" ".join(parts).split())


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in _VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def parse(page: Path) -> Element:
    """The page as a tree; every element has to be closed in its turn."""
    reader = _Reader()
    reader.feed(page.read_text(encoding="utf-8"))
    assert [element.tag for element in reader.open] == [""]
    return reader.root


def table_of(page: Element, caption: str) -> list[dict[str, tuple[str, str]]]:
    """Rows of the table with this caption: heading to (text, data-value)."""
    (table,) = [one for one in page.all("table") if one.all("caption")[0].text.startswith(caption)]
    headings = [cell.text for cell in table.all("thead")[0].all("th")]
    rows = []
    for row in table.all("tbody")[0].all("tr"):
        cells = [cell for cell in row.children if isinstance(cell, Element)]
        values = [(cell.text, cell.attributes["data-value"]) for cell in cells]
        rows.append(dict(zip(headings, values, strict=True)))
    return rows


def csv_of(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
