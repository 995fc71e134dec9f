"""What the main commands leave on the screen, in the log, and for machines: one round over small phantoms."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from medseg.cli.entry import new_parser

ROOT = Path(__file__).resolve().parents[2]
SHAPES = ROOT / "docs" / "reference" / "json.md"
ROUND = """
import contextlib, io, json, sys
from medseg.cli import main
said = {}
for name, words in json.loads(sys.argv[1]):
    sys.stderr.write(f"=== {name}\\n")
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = main(words)
    said[name] = [code, out.getvalue()]
sys.stdout.write(json.dumps(said))
"""
COPY = ["--copy-geometry", "--reference", "p/images/phantom_xray_0001.png"]
SMALL = ["--overlay", "smoke", "epochs=1"]
COMMANDS: list[tuple[str, list[str]]] = [
    ("medseg data phantom", ["data", "phantom", "-o", "p", "--cases", "3", "--seed", "4", "--kind", "xray"]),
    ("medseg data inspect", ["data", "inspect", "p"]),
    ("medseg data prepare", ["data", "prepare", "pairs", "p", "-o", "d.json", "--fractions", ".34", ".33", ".33"]),
    ("medseg bundle list", ["bundle", "list"]),
    ("medseg bundle show", ["bundle", "show", "cxr_heart_lung"]),
    ("medseg train", ["train", "cxr_heart_lung", "--datalist", "d.json", "-o", "run", *SMALL]),
    ("medseg evaluate", ["evaluate", "run", "--datalist", "d.json", "-o", "scores"]),
    ("medseg predict", ["predict", "run", "-i", "p/images", "-o", "masks"]),
    ("medseg score", ["score", "masks", "p/labels", "-o", "again"]),
    ("medseg compare", ["compare", "again", "again", "-o", "compared"]),
    ("medseg report", ["report", "masks", "-o", "report.html"]),
    ("medseg bundle check", ["bundle", "check", "cxr_heart_lung", "--static"]),
    ("medseg bundle trust", ["bundle", "trust", "cxr_heart_lung", "--show"]),
    ("medseg bundle new", ["bundle", "new", "mine", "--from", "cxr_heart_lung"]),
    ("medseg bundle diff", ["bundle", "diff", "cxr_heart_lung", "run"]),
    ("medseg bundle pack", ["bundle", "pack", "run", "-o", "run.zip"]),
    ("medseg bundle unpack", ["bundle", "unpack", "run.zip", "-o", "unpacked"]),
    ("medseg config show", ["config", "show", "run", "--id", "learning_rate"]),
    ("medseg data fix", ["data", "fix", "p/labels/phantom_xray_0001.png", "-o", "fixed.png", *COPY]),
    ("resumed", ["train", "run", "--datalist", "d.json", "-o", "run", "--resume", "epochs=2"]),
    ("refused", ["predict", "run", "-i", "nowhere", "-o", "none"]),
]
OURS = (
    r"=== [a-z ]+",
    r"epoch \d/\d loss .*",
    r"resumed after epoch 1 of 2",
    r"started for 1 epochs, resumed for 2: the learning rate goes on as in a run of 2 epochs, at .*",
    r"precision auto: .*",
    r"waiting for data: \d+\.\d % of the steps' time \(\d+\.\d of \d+\.\d s\)",
    r"\d of \d cases done, 0 failed.*",
    r"datalist .*: only \d of \d cases are used, as the configuration says",
    r"medseg: error: \S*nowhere: no such file or folder",
)
"""All that may stand on standard error: lines of medseg. Whatever else a library says is a stray."""


@dataclass
class Round:
    """Where the commands ran, and what each said."""

    folder: Path
    codes: dict[str, int]
    values: dict[str, Any]
    stderr: str


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Round:
    folder = tmp_path_factory.mktemp("round")
    words = json.dumps([(name, [*command, "--json"]) for name, command in COMMANDS])
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "PYTHONWARNINGS"))}
    ran = subprocess.run(
        [sys.executable, "-c", ROUND, words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    values = {name: json.loads(text) for name, (_, text) in said.items()}
    return Round(folder, {name: code for name, (code, _) in said.items()}, values, ran.stderr)


def test_the_round_went_as_it_should(done: Round):
    assert done.codes == {name: 2 if name == "refused" else 0 for name, _ in COMMANDS}


def test_no_library_says_anything_on_the_screen(done: Round):
    lines = done.stderr.splitlines()
    assert [line for line in lines if not any(re.fullmatch(pattern, line) for pattern in OURS)] == []
    assert sum(line.startswith("epoch ") for line in lines) == 2


def test_a_refusal_is_a_json_document_too(done: Round):
    error = done.values["refused"]["error"]
    assert (error["kind"], error["exit_code"]) == ("DataError", 2)
    assert "nowhere" in error["message"]


@pytest.mark.parametrize(
    ("folder", "verb"),
    [("run", "train"), ("scores", "evaluate"), ("masks", "predict"), ("again", "score")],
    ids=["train", "evaluate", "predict", "score"],
)
def test_each_run_leaves_a_log_with_all_levels_and_its_end(done: Round, folder: str, verb: str):
    text = (done.folder / folder / "log.txt").read_text(encoding="utf-8")
    assert f"DEBUG medseg.cli.log: medseg {verb}; medseg " in text
    assert text.splitlines()[-1].endswith("DEBUG medseg.cli.log: exit code 0")
    assert str(done.folder) not in text.splitlines()[0]


def test_a_resumed_run_keeps_the_log_of_the_first(done: Round):
    first = (done.folder / "run" / "log.txt.1").read_text(encoding="utf-8")
    second = (done.folder / "run" / "log.txt").read_text(encoding="utf-8")
    assert "epoch 1/1" in first
    assert "epoch 2/2" not in first
    assert "epoch 2/2" in second
    assert "epochs=..." in second


def test_what_is_refused_leaves_no_folder_and_no_log(done: Round):
    assert not (done.folder / "none").exists()


# --json: what the page of the reference promises

_SHAPE = re.compile(r"^## `?(medseg [a-z -]+?)`?$.*?^```json\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def documented() -> dict[str, Any]:
    return {name: json.loads(text) for name, text in _SHAPE.findall(SHAPES.read_text(encoding="utf-8"))}


def differences(shown: Any, given: Any, place: str = "") -> list[str]:
    """Where `given` lacks or adds a key, or has another type than `shown`; null stands for anything."""
    if isinstance(shown, dict) and isinstance(given, dict):
        any_name = [value for key, value in shown.items() if key.startswith("<")]
        named = {key for key in shown if not key.startswith("<")}
        lacking = [f"{place}: no {key}" for key in sorted(named - given.keys())]
        known = {key: shown[key] for key in named} | {key: any_name[0] for key in given.keys() - named if any_name}
        extra = [f"{place}: {key} is not documented" for key in sorted(given.keys() - known.keys())]
        below = [differences(known[key], given[key], f"{place}.{key}") for key in given.keys() & known.keys()]
        return [*lacking, *extra, *itertools.chain.from_iterable(below)]
    if isinstance(shown, list) and isinstance(given, list):
        return [d for value in given[:3] for d in (differences(shown[0], value, f"{place}[]") if shown else [])]
    numbers = isinstance(shown, int | float) and isinstance(given, int | float)
    same = shown is None or given is None or numbers or type(shown) is type(given)
    return [] if same else [f"{place}: {type(shown).__name__} shown, {type(given).__name__} given"]


@pytest.mark.parametrize("name", [name for name, _ in COMMANDS if name.startswith("medseg ")])
def test_json_has_the_documented_shape(done: Round, name: str):
    assert differences(documented()[name], done.values[name]) == []


def test_every_verb_with_json_is_documented():
    wanted = set()
    stack = [new_parser()]
    while stack:
        parser = stack.pop()
        below = [
            action for action in parser._actions if hasattr(action, "choices") and isinstance(action.choices, dict)
        ]
        stack += [child for action in below for child in action.choices.values()]
        if not below and any("--json" in action.option_strings for action in parser._actions):
            wanted.add(parser.prog)
    assert set(documented()) == wanted
