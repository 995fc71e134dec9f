"""What README.md and docs/ show: commands that parse, snippets that run, files that are YAML or JSON, no dead words."""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from medseg.cli.entry import new_parser, parse
from medseg.postprocess.options import all_options

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def load_mechanism() -> ModuleType:
    spec = importlib.util.spec_from_file_location("readme_commands", ROOT / ".ci" / "readme_commands.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


ci = load_mechanism()
by_name = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def blocks(page: Path, language: str) -> list[str]:
    return [b.body for b in ci.blocks(page.read_text(encoding="utf-8")) if b.language == language]


def commands(script: str) -> Iterator[list[str]]:
    """The words of each call of medseg in a script, up to a pipe, a redirection or the end of its line."""
    for line in script.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|;&()<>")
        lexer.whitespace_split, lexer.commenters = True, "#"
        words = list(lexer)
        for number, word in enumerate(words):
            before = words[number - 1] if number else ";"
            if word == "medseg" and (set(before) <= set("|;&($") or before == "time"):
                yield list(itertools.takewhile(lambda one: not set(one) <= set("|;&()<>"), words[number + 1 :]))


def plain(words: list[str]) -> list[str]:
    """Without what only a shell knows: variables and patterns stand for some file."""
    return [re.sub(r"\$\{?\w+\}?|\$\(.*|\*", "x", word) for word in words]


@by_name
def test_every_block_is_run_or_says_why_not(page: Path):
    assert list(ci.complaints(page)) == []


@by_name
def test_every_command_in_a_script_is_understood(page: Path):
    for script in blocks(page, "bash"):
        for words in commands(script):
            if words in (["--help"], ["--version"]):
                continue
            assert callable(parse(plain(words)).handler)


def parser_of(words: list[str]) -> tuple[argparse.ArgumentParser, list[str]] | None:
    """The parser of the verb that `words` begin with, and the words after it; None where there is no such verb."""
    parser: argparse.ArgumentParser = new_parser()
    while below := next((a for a in parser._actions if isinstance(a, argparse._SubParsersAction)), None):
        if not words:
            return parser, []
        if words[0] not in below.choices:
            return None
        parser, words = below.choices[words[0]], words[1:]
    return parser, words


def flags_of(parser: argparse.ArgumentParser) -> set[str]:
    return {flag for action in parser._actions for flag in action.option_strings}


@by_name
def test_commands_within_a_sentence_have_verbs_and_flags_that_exist(page: Path):
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for code in re.findall(r"`medseg ([^`]+)`", text):
        words = re.sub(r"\\?[|()\[\],]", " ", code.replace("\n", " ")).split()
        upper = next((i for i, w in enumerate(words) if not re.fullmatch(r"[a-z]+", w)), len(words))
        found = parser_of(words[:upper])
        if found is None and words[0] in ("COMMAND", "VERB"):
            continue
        assert found is not None, f"medseg {code}"
        unknown = {w.partition("=")[0] for w in words if re.match(r"--?[a-z]", w)} - flags_of(found[0]) - {"--help"}
        assert unknown == set(), f"medseg {code}"


@by_name
def test_python_snippets_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    snippets = blocks(page, "python")
    if not snippets:
        return
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {"__name__": "snippet"}
    for number, code in enumerate(snippets):
        exec(compile(code, f"{page.name}, snippet {number + 1}", "exec"), scope)


@by_name
def test_yaml_and_json_blocks_are_yaml_and_json(page: Path):
    for text in blocks(page, "yaml"):
        assert yaml.safe_load(text) is not None
    for text in blocks(page, "json"):
        assert json.loads(text if text.lstrip().startswith(("{", "[")) else f"{{{text}}}") is not None


def test_what_the_readme_links_to_is_there():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    assert len(targets) > 10
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_every_page_begins_with_its_one_title():
    for page in PAGES:
        text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
        assert text.startswith("# "), page
        assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1, page


# Figures that stand elsewhere, too.


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def readme_row(bundle: str) -> list[str]:
    """The cells of a bundle's row in the README's table of test scores."""
    row = re.search(rf"^\| {bundle} \|(.*)\|$", read("README.md"), re.MULTILINE)
    assert row is not None
    return [cell.strip() for cell in row[1].split("|")]


@pytest.mark.parametrize("bundle", ["ct_lung", "cxr_heart_lung", "mr_hippocampus", "ct_sarcoma"])
def test_the_scores_of_the_readme_are_those_of_the_shipped_weights(bundle: str):
    """Every "name 0.889 [0.796, 0.958]" of a region, rounded from models/scores.json, up to the first semicolon."""
    cases, _, told = readme_row(bundle)
    scores = json.loads(read(f"bundles/{bundle}/models/scores.json"))
    assert cases.split(" / ")[1].split()[0] == str(scores["cases"])
    found = re.findall(r"(\w+) ([0-9.]+) \[([0-9.]+), ([0-9.]+)\]", told.partition(";")[0])
    assert found
    for name, *figures in found:
        [region] = [one for one in scores["regions"] if one.split()[0] == name]
        dice = scores["regions"][region]["dice"]
        digits = len(figures[0].partition(".")[2])
        expected = [dice["mean"], *dice["mean_ci95"]]
        assert [float(one) for one in figures] == pytest.approx(expected, abs=0.51 * 10**-digits)


def test_lung_found_where_there_is_none_is_told_as_it_was_measured():
    row = re.search(
        r"^\| (32) \| (\d+) \(.*?\) \| ([0-9.]+) \| ([0-9.]+) \|", read("benchmarks/results/ct_shifts.md"), re.M
    )
    assert row is not None
    images, found, mean, most = row.groups()
    text = f"lung in {found}, {mean} ml on average and {float(most):.0f} ml at most"
    assert f"of {images} real CTs of other\nparts of the body it finds {text} (" in read("README.md")
    assert text.replace("lung in", "lung was found in") in read("docs/concepts/phantoms.md")


def test_what_is_counted_is_told_as_it_is():
    hostile = len(yaml.safe_load(read("tests/bundle/hostile.yaml")))
    minutes = sum(map(int, readme_row("cxr_heart_lung")[1].split(" + ")))
    assert f"hold {hostile} hostile configurations" in read("docs/concepts/trust.md")
    assert f"The best of {len(all_options(3))} options" in read("docs/how-to/postprocess.md")
    assert f"took {minutes} minutes on one core" in read("docs/tutorials/xray-lungs.md")


# The mechanism itself: what it must find, and find wrong.


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("medseg data inspect x --json > found.json", [["data", "inspect", "x", "--json"]]),
        ("bundle=$(medseg bundle show a | sed 's/b)//') # medseg", [["bundle", "show", "a"]]),
        ("cd x && medseg train a \\\n  -o 'b c'", [["train", "a", "-o", "b c"]]),
        ("medseg pacs receive -o inbox &", [["pacs", "receive", "-o", "inbox"]]),
        ("pip install medseg", []),
    ],
    ids=["redirected", "substituted", "continued", "behind", "none"],
)
def test_calls_of_medseg_are_found_in_scripts(line: str, found: list[list[str]]):
    assert list(commands(line)) == found


GOOD = (
    "<!-- ci: docs -->\n```bash\nmedseg bundle list\n```\n\n<!-- output -->\n```text\nct_lung 0.1.0\n...\nlast 7\n```\n"
)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (GOOD, None),
        ("<!-- ci: parse: this needs a hospital's PACS -->\n```bash\nmedseg pacs push a b\n```\n", None),
        ("```bash\nls\n```\n", "no stage of .ci/run runs this block"),
        ("<!-- ci: nowhere -->\n```bash\nls\n```\n", "no stage of .ci/run runs this block"),
        ("<!-- ci: parse -->\n```bash\nls\n```\n", "no stage of .ci/run runs this block"),
        ("<!-- ci: docs -->\n\n```bash\nls\n```\n", "no stage of .ci/run runs this block"),
        ("```\nls\n```\n", "a block of no known language"),
        ("```text\nmedseg bundle list\n```\n", "commands in a block of text"),
        ("- item\n\n  ```bash\n  ls\n  ```\n", "a fence is indented"),
        ("```python\n1\n```\n<!-- output -->\n```text\n1\n```\n", "an output without the commands"),
    ],
    ids=["good", "parsed", "no marker", "no stage", "no reason", "apart", "no language", "text", "indented", "output"],
)
def test_what_nothing_would_run_is_complained_of(text: str, told: str | None, tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    found = "\n".join(ci.complaints(page))
    assert (found == "") if told is None else (told in found)


@pytest.mark.parametrize(
    ("printed", "agrees"),
    [
        ("ct_lung   0.2.0\nother 3\nlast 9\n", True),
        ("ct_lung 0.1.0\nlast 7.25\n", True),
        ("ct_lung 0.1.0\nother 3\n", False),
        ("ct_sarcoma 0.1.0\nlast 7\n", False),
        ("ct_lung 0.1.0\nlast 7\nmore\n", False),
    ],
    ids=["other numbers", "nothing between", "no last line", "another word", "a line more"],
)
def test_an_output_is_compared_but_for_its_numbers(printed: str, agrees: bool, tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(GOOD, encoding="utf-8")
    (tmp_path / "0.txt").write_text(printed, encoding="utf-8")
    assert (list(ci.compare(page, tmp_path)) == []) is agrees


def test_a_script_keeps_the_output_that_the_page_shows():
    text = ci.script(GOOD, "docs")
    assert '{\nmedseg bundle list\n} > "$OUTPUTS/0.txt"\ncat "$OUTPUTS/0.txt"\n' in text
    assert "medseg" not in ci.script(GOOD, "own-data")
