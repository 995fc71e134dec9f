"""One HTML file of everything: the sections put together and rendered, with a policy that forbids outside requests."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medseg import __version__
from medseg.errors import DataError, MedsegError, OutputError
from medseg.files import atomic_write
from medseg.review.report import sections
from medseg.review.report.blocks import Page, Section
from medseg.review.report.card import ModelCard, card_of
from medseg.review.report.cases import choose
from medseg.review.report.datasheet import DataSheet, of_datalist, of_results
from medseg.review.report.folders import Bundle, Results, Source, read_bundle, read_source
from medseg.review.report.svg import counted

EACH = 3
"""How many of the worst, the median and the best cases are shown."""
_TEMPLATES = Path(__file__).with_name("templates")


def write_report(
    folders: Sequence[Path], output: Path, *, datalist: Path | None = None, each: int = EACH, read_images: bool = True
) -> Path:
    """Write the report of some folders as one HTML file; the same folders give the same bytes.

    Parameters
    ----------
    folders
        Folders of training runs, evaluations, scores, predictions and bundles, in any number and order.
    output
        The file to write; replaced if it is there.
    datalist
        The data of an evaluation; a run's folder has its own.
    each
        How many of the worst, the median and the best cases are shown.
    read_images
        Read the images of the datalists for their fingerprint and to find images that stand twice.

    Raises
    ------
    DataError
        A folder that holds nothing to report on, or a damaged file in it.
    OutputError
        The file cannot be written, or jinja2 is not installed.
    """
    if not folders:
        raise DataError("no folder to report on", expected="the folder of a run, an evaluation or predictions")
    page = build(read_source(folders), datalist=datalist, each=each, read_images=read_images)
    content = render(page)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(output) as temporary:
            temporary.write_text(content, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{output}: cannot be written", got=error.strerror, next_step="name another file") from error
    return output


def build(source: Source, *, datalist: Path | None, each: int, read_images: bool) -> Page:
    """The sections of the report; parameters as for `write_report`."""
    told = [_told(results, i, each) for i, results in enumerate(source.results, start=1)]
    with_truth = [one for one in told if one.results.kind != "predictions"]
    without = [one for one in told if one.results.kind == "predictions"]
    known, cards, missing = _cards(source)
    parts: list[Section] = [sections.glance(source.runs, told)]
    parts += [sections.look_first(told)] if told else []
    parts += [sections.scored(with_truth)] if with_truth else []
    parts += [sections.predicted(without)] if without else []
    parts += [sections.shown(told)] if told else []
    parts += [sections.trained(source.runs)] if source.runs else []
    parts += [
        sections.what_was_run(source.runs, told, known),
        sections.data(_sheets(source, datalist, read_images)),
        sections.model_cards(cards, missing),
    ]
    names = [*(run.folder.resolve().name for run in source.runs), *(one.name for one in told)]
    title = ", ".join(names) or ", ".join(card.name for card in cards)
    return Page(title, _about(source), parts)


def render(page: Page) -> str:
    """The page as HTML.

    Raises
    ------
    OutputError
        jinja2 is not installed.
    """
    style, script = ((_TEMPLATES / name).read_text(encoding="utf-8") for name in ("style.css", "sort.js"))
    template = _environment().get_template("report.html")
    html: str = template.render(
        page=page, style=style, script=script, policy=_policy(style, script), version=__version__
    )
    return html


def _environment() -> Any:
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ModuleNotFoundError as error:
        raise OutputError(
            "a report needs a package that is not installed",
            got=f"no module {error.name}",
            next_step="install it: pip install 'medseg[report]'",
        ) from error
    return Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )


def _policy(style: str, script: str) -> str:
    """A content security policy that lets in this style, this script and pictures inside the file, and nothing else."""
    hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script))
    style_hash, script_hash = (f"'sha256-{text}'" for text in hashes)
    return (
        f"default-src 'none'; img-src data:; style-src {style_hash}; script-src {script_hash}; "
        "base-uri 'none'; form-action 'none'"
    )


def _told(results: Results, place: int, each: int) -> sections.Told:
    return sections.Told(results.folder.resolve().name, results, choose(results, each=each, prefix=f"r{place}"))


def _sheets(source: Source, datalist: Path | None, read_images: bool) -> list[DataSheet]:
    lists = [path for path in (datalist, *(run.folder / "datalist.json" for run in source.runs)) if path is not None]
    sheets = [
        of_datalist(path, read_images=read_images)
        for path in dict.fromkeys(lists)
        if path.is_file() or path is datalist
    ]
    return sheets + [
        of_results(one, f"Images of {one.folder.resolve().name}", split=bool(sheets)) for one in source.results
    ]


def _cards(source: Source) -> tuple[list[Bundle], list[ModelCard], list[str]]:
    """All bundles that are known, their cards, and of which results the model is not known."""
    bundles, missing = list(source.bundles), list[str]()
    for results in source.results:
        if not any(_made_by(results, bundle) for bundle in bundles):
            shipped = _shipped(results)
            if shipped is None:
                missing.append(_no_card(results))
            else:
                bundles.append(shipped)
    runs = {run.folder: run for run in source.runs}
    cards = [
        card_of(one, [results for results in source.results if _made_by(results, one)], run=runs.get(one.folder))
        for one in bundles
    ]
    return bundles, cards, missing


def _made_by(results: Results, bundle: Bundle) -> bool:
    used = {one.get("weights_sha256") for one in results.manifests.values()}
    return bundle.weights_sha256 is not None and used == {bundle.weights_sha256}


def _shipped(results: Results) -> Bundle | None:
    """The bundle that ships with medseg, if these results are from its very weights."""
    from medseg.bundle import find_bundle

    names = {str(one.get("bundle", {}).get("name")) for one in results.manifests.values()}
    if len(names) != 1:
        return None
    try:
        bundle = read_bundle(find_bundle(names.pop()))
    except MedsegError:
        return None
    return bundle if _made_by(results, bundle) else None


def _no_card(results: Results) -> str:
    name = results.folder.resolve().name
    if not results.manifests:
        return f"{name}: no model card, as it is not recorded which model made these masks."
    return f"{name}: no model card, as none of the folders holds the weights that were used; give the run's folder too."


def _about(source: Source) -> str:
    kinds = {"evaluation": "evaluation", "scores": "scoring of masks", "predictions": "predictions"}
    parts = ["training run"] * bool(source.runs)
    parts += dict.fromkeys(kinds[one.kind] for one in source.results)
    cases = sum(len(one.done) for one in source.results)
    kinds_told = " and ".join(parts) or "bundle"
    return f"{kinds_told}; {counted(cases, 'case')}" if source.results else kinds_told
