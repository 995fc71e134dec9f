"""What lies in the folders that a report is made of: a training run, an evaluation, predictions, a bundle."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from medseg.errors import DataError
from medseg.evaluation.table import SCORES_FILE, read_scores
from medseg.files import sha256_of
from medseg.intake.own_outputs import manifest_path

Row: TypeAlias = Mapping[str, str]
Kind: TypeAlias = Literal["evaluation", "scores", "predictions"]

Part: TypeAlias = Literal["training", "validation", "test"]

PARTS: tuple[Part, ...] = ("training", "validation", "test")
_METADATA = Path("configs") / "metadata.json"
_WEIGHTS = Path("models") / "model.pt"


@dataclass(frozen=True)
class Bundle:
    """A bundle, or the run of one: both have the same files.

    Attributes
    ----------
    folder
        Where it lies.
    metadata
        configs/metadata.json.
    settings
        configs/common.yaml and train.yaml, as they are written.
    weights_sha256
        Of models/model.pt; None where there is none.
    readme
        docs/README.md; empty where there is none.
    """

    folder: Path
    metadata: Mapping[str, Any]
    settings: Mapping[str, Any]
    weights_sha256: str | None
    readme: str

    @property
    def label_names(self) -> dict[int, str]:
        """Value to name, without the background."""
        outputs = self.metadata.get("network_data_format", {}).get("outputs", {})
        return {int(k): str(v) for k, v in outputs.get("pred", {}).get("channel_def", {}).items() if int(k)}


@dataclass(frozen=True)
class Run:
    """A training run.

    Attributes
    ----------
    bundle
        Its folder, which is a bundle.
    record, history
        run.json, and the rows of history.csv.
    data_name, counts, data_sha256
        Of datalist.json: its name, part to number of cases, and hash; empty where it is absent.
    """

    bundle: Bundle
    record: Mapping[str, Any]
    history: Sequence[Row]
    data_name: str = ""
    counts: Mapping[Part, int] = field(default_factory=dict)
    data_sha256: str = ""

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.bundle.folder

    @property
    def best(self) -> float | None:
        """The validation score by which the weights were chosen; None of a run that was never validated."""
        found: float | None = self.record.get("best_validation_score", self.record.get("best_validation_dice"))
        return found

    @property
    def best_name(self) -> str:
        """What this score is: "Dice", or the name of the key metric that the bundle has in its place."""
        name = str(self.record.get("best_validation_score_name", "val_mean_dice"))
        return "Dice" if name == "val_mean_dice" else name


@dataclass(frozen=True)
class Results:
    """What `medseg evaluate`, `predict` or `score` left in a folder.

    Attributes
    ----------
    kind
        "scores" for masks that were only compared: nothing is known of how they were made.
    report
        report.json: what became of each case.
    scores, reliability, measurements, flags
        The rows of the tables of these names; empty where the table is absent.
    summary
        summary.json; empty where it is absent.
    manifests
        Case id to `<id>_manifest.json`.
    """

    folder: Path
    kind: Kind
    report: Mapping[str, Any]
    scores: Sequence[Row] = ()
    summary: Mapping[str, Any] = field(default_factory=dict)
    reliability: Sequence[Row] = ()
    measurements: Sequence[Row] = ()
    flags: Sequence[Row] = ()
    manifests: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def cases(self) -> list[Mapping[str, Any]]:
        """The entries of report.json."""
        return list(self.report.get("cases", []))

    @property
    def done(self) -> list[str]:
        """Ids of the cases that were done."""
        return [case["id"] for case in self.cases if case["status"] == "done"]

    def confidence(self, case: str) -> float | None:
        """How sure the network was of a case, over the voxels of its labels; None where that is not known."""
        found = self.manifests.get(case, {}).get("case_confidence", {}).get("mean_confidence")
        return None if found is None else float(found)

    def output(self, case: str, kind: str) -> Path | None:
        """The file of a kind ("mask", "preview", "comparison") of a case, where it is there."""
        entry = next((one for one in self.cases if one["id"] == case), {})
        name = entry.get("outputs", {}).get(kind)
        path = self.folder / Path(str(name)).name
        return path if name and path.is_file() else None


@dataclass(frozen=True)
class Source:
    """All that a report is made of; `bundles` are those that were given, and the runs' own."""

    runs: Sequence[Run]
    results: Sequence[Results]
    bundles: Sequence[Bundle]


def read_source(folders: Sequence[Path]) -> Source:
    """Find out what each folder holds, and read its tables.

    Raises
    ------
    DataError
        A folder that is none of a run, an evaluation, predictions or a bundle, or a file in it that is damaged.
    """
    runs: list[Run] = []
    results: list[Results] = []
    bundles: list[Bundle] = []
    for folder in folders:
        known = False
        if (folder / _METADATA).is_file():
            bundle = read_bundle(folder)
            bundles.append(bundle)
            known = True
            if (folder / "run.json").is_file():
                runs.append(_run(bundle))
        if (folder / "report.json").is_file():
            results.append(_results(folder))
            known = True
        if not known:
            raise _unknown(folder)
    return Source(runs, results, bundles)


def read_bundle(folder: Path) -> Bundle:
    """The bundle in a folder, its configuration read and nothing of it evaluated."""
    weights, readme = folder / _WEIGHTS, folder / "docs" / "README.md"
    settings = {**_yaml(folder / "configs" / "common.yaml"), **_yaml(folder / "configs" / "train.yaml")}
    return Bundle(
        folder,
        _json(folder / _METADATA),
        settings,
        sha256_of(weights) if weights.is_file() else None,
        readme.read_text(encoding="utf-8", errors="replace") if readme.is_file() else "",
    )


def _run(bundle: Bundle) -> Run:
    folder, datalist = bundle.folder, bundle.folder / "datalist.json"
    content = _json(datalist) if datalist.is_file() else {}
    counts = {part: len(content[part]) for part in PARTS if isinstance(content.get(part), list)}
    history = _table(folder / "history.csv", "epoch")
    digest = sha256_of(datalist) if content else ""
    return Run(bundle, _json(folder / "run.json"), history, str(content.get("name", "")), counts, digest)


def _results(folder: Path) -> Results:
    scored = (folder / SCORES_FILE).is_file()
    manifests = {}
    report = _json(folder / "report.json")
    for case in report.get("cases", []):
        path = manifest_path(folder, Path(str(case["id"])).name)
        if path.is_file():
            manifests[str(case["id"])] = _json(path)
    scores = _table(folder / SCORES_FILE, "case")
    if scores:
        read_scores(folder)  # refuses a cell that is no number
    return Results(
        folder,
        ("evaluation" if manifests else "scores") if scored else "predictions",
        report,
        scores=scores,
        summary=_json(folder / "summary.json") if (folder / "summary.json").is_file() else {},
        reliability=_table(folder / "reliability.csv", "label"),
        measurements=_table(folder / "measurements.csv", "case"),
        flags=_table(folder / "flags.csv", "case"),
        manifests=manifests,
    )


def _table(path: Path, first: str) -> list[Row]:
    """The rows of a table whose first column is `first`; a spreadsheet may have saved it with a mark before that."""
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows: list[Row] = list(csv.DictReader(file, restval=""))
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: no table", got=str(error), expected="CSV in UTF-8 as medseg writes it") from error
    if rows and first not in rows[0]:
        got, expected = ", ".join(map(str, rows[0])), f"{first}, ... parted by commas, as medseg writes it"
        raise DataError(f"{path}: no table", got=got, expected=expected, next_step="make it again")
    return rows


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: no JSON", got=str(error), expected="the file as medseg wrote it") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: no record", got=type(content).__name__, expected="the file as medseg wrote it")
    return content


def _yaml(path: Path) -> dict[str, Any]:
    import yaml

    if not path.is_file():
        return {}
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise DataError(f"{path}: no YAML", got=str(error), expected="the configuration of a bundle") from error
    return content if isinstance(content, dict) else {}


def _unknown(folder: Path) -> DataError:
    if not folder.exists():
        return DataError(f"{folder} does not exist", next_step="check the path")
    return DataError(
        f"{folder}: nothing to report on",
        expected="a folder that medseg train, evaluate, predict or score wrote, or a bundle's folder",
        next_step="it is known by run.json, report.json or configs/metadata.json",
    )
