"""The sections of a report, from what the folders hold; what is missing is said, never left blank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medseg.review.report import card, facts, flagging, scores, training
from medseg.review.report.blocks import (
    Block,
    Cards,
    Document,
    Facts,
    Figures,
    Heading,
    Section,
    Sentences,
    TableBlock,
    Text,
    Tile,
    Tiles,
    Tone,
)
from medseg.review.report.cases import CaseCard, CaseChoice, were_flags_looked_for
from medseg.review.report.datasheet import DataSheet
from medseg.review.report.folders import Bundle, Results, Run
from medseg.review.report.predictions import medians, prediction_plots, prediction_table
from medseg.review.report.svg import counted, fixed, number

_NO_FLAGS = (
    "Nobody looked for signs of failure: the manifests hold no flags. With medseg flags limits a bundle learns to look."
)
MOST_ROWS = 200
"""Longer tables are folded."""
MOST_PLOTS = 24
"""Further plots are folded."""


@dataclass(frozen=True)
class Told:
    """One folder with results, its name in the report, and the cases of it that are shown."""

    name: str
    results: Results
    choice: CaseChoice

    @property
    def flag_counts(self) -> dict[str, int] | None:
        """Case to its number of flags; None where nobody looked for any."""
        if not were_flags_looked_for(self.results):
            return None
        return {case: len(texts) for case, texts in self.choice.flags.items()}

    @property
    def links(self) -> dict[str, str]:
        """Case to the id of its card."""
        cards = [*self.choice.flagged, *self.choice.others]
        return {one.id: one.anchor for one in cards if one.anchor}


def glance(runs: Sequence[Run], many: Sequence[Told]) -> Section:
    """The numbers that matter most."""
    blocks: list[Block] = []
    for run in runs:
        tiles = [
            Tile("Training", status := str(run.record.get("status", "unknown")), _epochs(run), _tone(status)),
            Tile(
                f"Best validation {run.best_name}",
                "\N{EN DASH}" if run.best is None else number(run.best),
                "never validated" if run.best is None else "",
            ),
        ]
        blocks += [Heading(f"Run {run.folder.resolve().name}"), Tiles(tiles)]
    for told in many:
        blocks += [Heading(f"{_kind(told.results)} {told.name}"), Tiles(_result_tiles(told))]
    return Section("glance", "At a glance", blocks)


def look_first(many: Sequence[Told]) -> Section:
    """Cases that failed or are flagged."""
    blocks: list[Block] = []
    for told in many:
        blocks += [Heading(told.name)] if len(many) > 1 else []
        failed = facts.failures(told.results)
        if failed is not None:
            blocks += [
                Text(f"{counted(len(failed.rows), 'case')} failed, which count in no score.", "bad"),
                TableBlock(failed),
            ]
        else:
            blocks.append(Text("No case failed.", "good"))
        if told.results.report.get("stopped"):
            left = counted(told.results.report.get("not_done", 0), "case")
            blocks.append(Text(f"The run ended early, {left} not come to: {told.results.report['stopped']}", "bad"))
        blocks += _flagged(told, level=4 if len(many) > 1 else 3)
    return Section("first", "Look at these first", blocks)


def scored(many: Sequence[Told]) -> Section:
    """Tables and plots of the scores."""
    blocks: list[Block] = []
    for told in many:
        blocks += [Heading(told.name)] if len(many) > 1 else []
        overview = scores.overview(told.results)
        if overview is None:
            blocks.append(Text("No case was scored, so there are no scores to show.", "missing"))
            continue
        blocks += [TableBlock(overview), Text(scores.empties(told.results)), *_few(told.results)]
        figures = [*scores.plots(told.results), *flagging.plots(told.results)]
        blocks += [Figures(figures[:MOST_PLOTS])] if figures else []
        blocks += [Figures(figures[MOST_PLOTS:], folded=True)] if len(figures) > MOST_PLOTS else []
        tables = [*scores.strata(told.results), scores.calibration(told.results), flagging.table(told.results)]
        blocks += [TableBlock(one) for one in tables if one is not None]
        confidence = scores.confidence_of_cases(told.results)
        blocks += [Text(confidence)] if confidence else []
        if not told.results.reliability:
            blocks.append(Text(f"No reliability curve: {_why_no_reliability(told.results)}.", "missing"))
        table, spread = scores.case_table(told.results, told.flag_counts, told.links), scores.spreads(told.results)
        blocks += [
            TableBlock(one, folded=one is spread or len(one.rows) > MOST_ROWS)
            for one in (table, spread)
            if one is not None
        ]
    return Section("scores", "Scores", blocks)


def predicted(many: Sequence[Told]) -> Section:
    """Sizes and confidences of predictions without truth."""
    blocks: list[Block] = [Text("There is no truth for these cases: sizes and confidence are all that can be told.")]
    for told in many:
        blocks += [Heading(told.name)] if len(many) > 1 else []
        table = prediction_table(told.results, told.flag_counts, told.links)
        if table is None:
            blocks.append(Text("No case has a manifest, so there are no sizes to show.", "missing"))
        else:
            blocks += [Figures(prediction_plots(told.results)), TableBlock(table, folded=len(table.rows) > MOST_ROWS)]
    return Section("predictions", "Predictions", blocks)


def shown(many: Sequence[Told]) -> Section:
    """The worst, the median and the best cases."""
    blocks: list[Block] = []
    for told in many:
        blocks += [Heading(told.name)] if len(many) > 1 else []
        if not told.choice.others:
            blocks.append(Text("No case is done, so there is none to show.", "missing"))
            continue
        by = told.choice.ranked_by
        if len(told.results.done) > 1:
            blocks.append(Text(f"Ordered by {by}." if by else "Nothing is known by which to order them.", "note"))
        blocks += [*_legend(told.results, told.choice.others), Cards(told.choice.others, 4 if len(many) > 1 else 3)]
    title = "Worst, median and best cases" if any("Dice" in told.choice.ranked_by for told in many) else "Cases"
    return Section("cases", title, blocks)


def trained(runs: Sequence[Run]) -> Section:
    """The curves of the training."""
    blocks: list[Block] = []
    for run in runs:
        blocks += [Heading(run.folder.resolve().name)] if len(runs) > 1 else []
        if not run.history:
            blocks.append(
                Text("No curves: the run has no history.csv (it is from before medseg wrote one).", "missing")
            )
            continue
        figures = training.history_plots(run.history)
        blocks += [Figures(figures), TableBlock(training.history_table(run.history), folded=True)]
        if not training.score_columns(run.history):
            blocks.append(Text("The run was never validated: there is no validation curve.", "missing"))
    return Section("training", "Training", blocks)


def what_was_run(runs: Sequence[Run], many: Sequence[Told], known: Sequence[Bundle]) -> Section:
    """Bundle, data, hashes, versions, seed."""
    blocks: list[Block] = []
    for run in runs:
        blocks += [Heading(f"Training run {run.folder.resolve().name}"), Facts(facts.of_run(run))]
    for told in many:
        blocks += [Heading(f"{_kind(told.results)} {told.name}"), Facts(facts.of_results(told.results, known))]
        table = facts.hashes(told.results)
        blocks += [TableBlock(table, folded=True)] if table is not None else []
    return Section("run", "What was run", blocks)


def data(sheets: Sequence[DataSheet]) -> Section:
    """The data sheets."""
    blocks: list[Block] = []
    for sheet in sheets:
        blocks += [Heading(sheet.title), Facts(sheet.facts), *(TableBlock(table) for table in sheet.tables)]
        blocks += [Text(sentence, "missing") for sentence in sheet.missing]
        blocks += [Text(sentence, "bad" if leaks else "good") for sentence, leaks in sheet.leakage]
    return Section("data", "Data sheet", blocks or [Text("No folder of this report tells of data.", "missing")])


def model_cards(cards: Sequence[card.ModelCard], missing: Sequence[str]) -> Section:
    """The model cards, and of which model there is none."""
    blocks: list[Block] = []
    for one in cards:
        blocks.append(Heading(one.name))
        for title, many in one.groups:
            blocks += [Heading(title, 4), Facts(many)]
        blocks += [Heading("Limits", 4), Sentences(one.limits)]
        blocks += [Heading("References", 4), Sentences(one.references)] if one.references else []
        blocks += [Document("The bundle's own docs/README.md", one.readme)] if one.readme else []
    return Section("card", "Model card", [*blocks, *(Text(sentence, "missing") for sentence in missing)])


def _flagged(told: Told, *, level: int) -> list[Block]:
    cards, count = told.choice.flagged, len(told.choice.flags)
    if not were_flags_looked_for(told.results):
        return [Text(_NO_FLAGS, "missing")]
    if not cards:
        return [Text("No case is flagged.", "good")]
    blocks: list[Block] = [Text(f"Flagged: {count} of {counted(len(told.results.done), 'case')}.", "bad")]
    if count > len(cards):
        text = f"Only the first {len(cards)} are shown here; the others are marked in the table of all cases."
        blocks.append(Text(text, "missing"))
    return [*blocks, *_legend(told.results, cards), Cards(cards, level)]


def _few(results: Results) -> list[Block]:
    cases = int(results.summary.get("cases", 0))
    if cases >= card.FEW_CASES:
        return []
    told = "resampled from so few, the intervals come out too narrow (of one there is none): do not lean on them"
    return [Text(f"Only {counted(cases, 'case')} scored: {told}.", "missing")]


def _legend(results: Results, cards: Sequence[CaseCard]) -> list[Block]:
    """What the colours of the cards' pictures are; nothing where they have none."""
    if not any(one.picture for one in cards):
        return []
    if results.kind == "predictions":
        return [Text("Coloured areas and contours are the prediction; the names stand below each picture.", "note")]
    contours = (
        "Contours: yellow is the truth, magenta the prediction, white where both run. Beside them: the image, the "
        "truth, and the prediction; on a narrow screen, push the picture to the right to see them."
    )
    return [Text(contours, "note")]


def _result_tiles(told: Told) -> list[Tile]:
    results = told.results
    failed = len(results.cases) - len(results.done)
    tiles = [
        Tile(
            "Cases done",
            str(len(results.done)),
            f"{failed} failed" if failed else "none failed",
            "bad" if failed else "",
        )
    ]
    if were_flags_looked_for(results):
        count = len(told.choice.flags)
        tiles.append(Tile("Flagged", str(count), "look at these first" if count else "", "bad" if count else ""))
    else:
        tiles.append(Tile("Flagged", "\N{EN DASH}", "nobody looked"))
    for region, one in results.summary.get("regions", {}).items():
        if "dice" in one:
            ends = one["dice"]["mean_ci95"]
            interval = f"95 % interval {' to '.join(fixed(end, 4) for end in ends)}" if ends else "of one patient"
            tiles.append(Tile(f"Dice {region}", fixed(one["dice"]["mean"], 4), interval))
    tiles += [Tile(*one) for one in medians(results)] if results.kind == "predictions" else []
    ece = results.summary.get("calibration", {}).get("ece")
    return [*tiles, Tile("Calibration error", number(ece), "ECE, 0 is best")] if ece is not None else tiles


def _tone(status: str) -> Tone:
    return "bad" if status == "stopped" else ""


def _epochs(run: Run) -> str:
    return f"{run.record.get('epoch', '?')} of {run.record.get('epochs', '?')} epochs"


def _kind(results: Results) -> str:
    return {"evaluation": "Evaluation", "scores": "Scores", "predictions": "Predictions"}[results.kind]


def _why_no_reliability(results: Results) -> str:
    if results.kind == "scores":
        return "masks alone say nothing of confidence"
    return "the evaluation was run with reliability: false, or its counts are not in this folder"
