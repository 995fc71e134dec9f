"""Every command of the whole parser: help, examples, flags that mean the same wherever they stand."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator

import pytest

from medseg.cli.arguments import Parser
from medseg.cli.entry import new_parser, parse
from medseg.datasets.patients import patients_of

WITHOUT_JSON = {"medseg completion", "medseg review", "medseg tensorboard"}
"""The first prints a script for a shell; the others serve pages until they are stopped."""
SHORT = {"-h": "--help", "-o": "--output", "-i": "--input"}
METAVARS = {
    "--device": {"DEVICE"},
    "--datalist": {"FILE"},
    "--jobs": {"N"},
    "--overlay": {"NAME"},
    "--seed": {"S"},
    "--cases": {"N"},
    "--port": {"N"},
    "--reference": {"IMAGE"},
    "--output": {"DIR", "RUN_DIR", "OUT", "MASK", "DATALIST.json", "FILE", "FILE.zip", "FILE.html"},
    "--input": {"FILE_OR_DIR"},
}
"""What the value of a flag is called, wherever the flag stands."""


def verbs(parser: argparse.ArgumentParser) -> Iterator[Parser]:
    below = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    for action in below:
        for child in action.choices.values():
            yield from verbs(child)
    if not below:
        assert isinstance(parser, Parser)
        yield parser


def nouns(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield parser
            for child in action.choices.values():
                yield from nouns(child)


VERBS = {parser.prog: parser for parser in verbs(new_parser())}
NOUNS = {parser.prog: parser for parser in nouns(new_parser())}


def flags(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    return {name: action for action in parser._actions for name in action.option_strings}


def examples(parser: argparse.ArgumentParser) -> list[str]:
    """The lines of the paragraph "example:" at the end of the help."""
    found = re.search(r"^example:\n((?:  .+\n?)+)", parser.format_help(), re.MULTILINE)
    return [line[2:] for line in found[1].splitlines()] if found else []


@pytest.mark.parametrize("name", list(VERBS))
def test_every_verb_says_what_it_does_and_what_each_argument_is(name: str):
    parser = VERBS[name]
    assert re.fullmatch(r"[A-Z][^\n]+[.]", parser.description or "")
    assert [a.dest for a in parser._actions if not a.help] == []
    assert [a.dest for a in parser._actions if (a.help or "").endswith(".")] == []


@pytest.mark.parametrize("name", list(VERBS))
def test_every_example_is_a_command_of_this_verb_that_is_understood(name: str):
    lines = examples(VERBS[name])
    assert lines
    for line in lines:
        assert line.startswith(f"{name} ") or line == name
        words = shlex.split(line.partition(" > ")[0])
        assert parse(words[1:]).parser.prog == name


@pytest.mark.parametrize("name", list(VERBS))
def test_every_verb_has_the_common_flags(name: str):
    wanted = {"--help", "--quiet", "--debug"} | ({"--json"} if name not in WITHOUT_JSON else set())
    found = flags(VERBS[name])
    assert wanted - set(found) == set()
    switches = [found[flag] for flag in sorted(wanted - {"--help"})]
    assert [a.nargs for a in switches] == [0] * len(switches), "a common flag takes no value"


@pytest.mark.parametrize("name", list(VERBS))
def test_flags_are_spelt_and_named_alike_everywhere(name: str):
    for flag, action in flags(VERBS[name]).items():
        assert re.fullmatch(r"-[a-z]|--[a-z0-9]+(-[a-z0-9]+)*", flag)
        if len(flag) == 2:
            assert SHORT[flag] in action.option_strings
        elif action.nargs != 0 and flag in METAVARS:
            assert action.metavar in METAVARS[flag]


@pytest.mark.parametrize("name", list(VERBS))
def test_values_that_are_no_choice_have_a_name_in_capitals(name: str):
    taking = [a for a in VERBS[name]._actions if a.nargs != 0 and a.dest != "overrides"]
    unnamed = [a.dest for a in taking if a.metavar is None and a.choices is None]
    named = [a.metavar for a in taking if isinstance(a.metavar, str)]
    lower = [name for name in named if re.search("[a-z]", re.sub(r"\|[a-z]+$|\.[a-z]+$", "", name))]
    assert (unnamed, lower) == ([], [])


def test_a_bundle_is_called_so_wherever_it_is_the_first_argument():
    first = {name: [a for a in parser._actions if not a.option_strings] for name, parser in VERBS.items()}
    named = {name: actions[0].metavar for name, actions in first.items() if actions and actions[0].dest == "bundle"}
    assert {name for name, metavar in named.items() if metavar != "BUNDLE"} == {"medseg bundle diff"}  # A and B
    assert {"medseg train", "medseg evaluate", "medseg predict", "medseg bundle show"} <= set(named)


@pytest.mark.parametrize("name", list(NOUNS))
def test_every_group_tells_each_of_its_commands_in_a_line(name: str):
    text = NOUNS[name].format_help()
    below = next(a for a in NOUNS[name]._actions if isinstance(a, argparse._SubParsersAction))
    assert NOUNS[name].description
    told = {choice.dest: choice.help for choice in below._choices_actions}
    assert set(told) == set(below.choices)
    assert all(told.values())
    assert [one for one in told if one not in text] == []


def test_runs_write_a_log_and_have_a_folder_for_it():
    logging = {name for name, parser in VERBS.items() if parser.get_default("run_log")}
    assert {"medseg train", "medseg evaluate", "medseg predict", "medseg score"} <= logging
    assert all("--output" in flags(VERBS[name]) for name in logging)


def test_the_pattern_of_the_example_finds_the_patients_of_phantoms():
    [line] = examples(VERBS["medseg data prepare"])
    pattern = parse(shlex.split(line)[1:]).patient_regex
    assert patients_of(["phantom_ct_0007"], pattern=pattern) == ({"phantom_ct_0007": "0007"}, [])
