"""Help, wrong command lines, overrides."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture

from medseg import __version__, intake
from medseg.bundle import find_bundle
from medseg.bundle.pack import pack
from medseg.cli import main
from medseg.cli.arguments import UsageError, overrides
from medseg.cli.entry import parse

TRAIN = ["train", "ct_lung", "--datalist", "d.json", "-o", "run"]
PREDICT = ["predict", "ct_lung", "-i", "new", "-o", "masks"]


def test_the_help_answers_in_under_half_a_second():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "medseg.cli", "--help"], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


def test_version(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert (stop.value.code, capsys.readouterr().out) == (0, f"medseg {__version__}\n")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "required: COMMAND"),
        (["data"], "required: COMMAND"),
        (["segment"], "invalid choice: 'segment'"),
        (["train", "ct_lung", "-o", "run"], "required: --datalist"),
        (["predict", "ct_lung", "-i", "x.nii.gz"], "required: -o"),
        (["data", "phantom", "-o", "x", "--cases", "0"], "got '0', expected a whole number from 1 on"),
        (["data", "phantom", "-o", "x", "--seed", "-1"], "got '-1', expected a whole number from 0 on"),
        (["data", "prepare", "pairs", "s", "-o", "d.json", "--seed", "-1"], "got '-1', expected a whole number from 0"),
        (["data", "phantom", "-o", "x", "--kind", "mr"], "invalid choice: 'mr'"),
        (["data", "prepare", "zip", "src", "-o", "d.json"], "invalid choice: 'zip'"),
        (
            ["data", "prepare", "pairs", "s", "-o", "d.json", "--patient-regex", "x", "--patient-csv", "f:c"],
            "not allowed",
        ),
        ([*TRAIN, "epochs"], "expected key=value"),
        (
            [*TRAIN, "--epochs=3"],
            "unknown argument '--epochs=3'; see medseg train --help; values of the bundle are set as epochs=3",
        ),
        ([*TRAIN, "--resum"], "unknown argument '--resum'"),
        ([*TRAIN, "--epochs", "3"], "see medseg train --help; values of the bundle are set as epochs=VALUE"),
        ([*TRAIN, "epochs=3", "epochs=4"], "override 'epochs' is given twice"),
        ([*TRAIN, "epochs=[3"], "the value of override 'epochs' is not YAML; got '[3'"),
        (["score", "a", "b", "-o", "c", "epochs=3"], "unknown argument 'epochs=3'"),
        ([*PREDICT, "--jobs", "0"], "got '0', expected a whole number from 1 on"),
        ([*PREDICT, "--device", "gpu"], "got 'gpu', expected cpu, cuda or cuda:N"),
        ([*PREDICT, "--device", "cpu"], "new: no such file or folder"),
        ([*PREDICT, "--precision", "fp16"], "invalid choice: 'fp16'"),
        ([*PREDICT, "--jobs", "2", "jobs=3"], "--jobs and jobs= are both given; leave one of them out"),
        ([*PREDICT, "output_dir=b"], "-o and output_dir= are both given; leave one of them out"),
        ([*PREDICT, "input=old"], "-i and input= are both given"),
        ([*PREDICT, "--series", "3", "series=4"], "--series and series= are both given"),
        (["evaluate", "ct_lung", "--datalist", "d.json", "-o", "x", "datalist=e.json"], "--datalist and datalist= are"),
        ([*TRAIN, "run_dir=b"], "-o and run_dir= are both given"),
        ([*TRAIN, "--resume", "resume=true"], "--resume and resume= are both given"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_command_line_ends_with_2_and_one_message(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
):
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert told in err
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("medseg: error: ")


def test_a_device_that_is_not_there_is_told_and_nothing_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "a.nii.gz").write_bytes(b"not looked at")
    asked = ["predict", "ct_lung", "-i", str(tmp_path / "a.nii.gz"), "-o", str(tmp_path / "masks")]
    assert main([*asked, "--device", "cuda:99"]) == 2
    assert "device cuda:99 is not there" in capsys.readouterr().err
    assert not (tmp_path / "masks").exists()


def test_a_path_that_is_not_utf_8_is_refused_at_once(capsys: pytest.CaptureFixture[str]):
    assert main(["predict", "ct_lung", "-i", "new", "-o", os.fsdecode(b"M\xfcller")]) == 2
    assert r"a word of the command line is not UTF-8; got b'M\xfcller'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["data", "phantom", "-o", "file/x"],
        ["data", "fix", "mask.png", "-o", "file/x.png", "--copy-geometry", "--reference", "image.png"],
        ["data", "labels", "RS.dcm", "--reference", "image.png", "-o", "file/x.png"],
        ["bundle", "new", "x", "--from", "ct_lung", "-o", "file"],
        ["bundle", "pack", "ct_lung", "-o", "file/x.zip"],
        ["bundle", "unpack", "packed.zip", "-o", "file/x"],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_an_output_that_cannot_be_written_is_no_bug_of_ours(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stand_in: Any, capsys: pytest.CaptureFixture[str]
):
    """Below a file no folder can be made: as in a folder that is read-only, whoever runs the tests."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "RS.dcm").touch()
    mask, image = np.eye(4, dtype=np.uint8), np.arange(16, dtype=np.uint8).reshape(4, 4)
    Picture.fromarray(mask).save(tmp_path / "mask.png")
    Picture.fromarray(image).save(tmp_path / "image.png")
    if words[1] == "labels":
        stand_in(intake, "read_label", intake.read_label(tmp_path / "mask.png"))
    if words[1] == "unpack":
        pack(find_bundle("ct_lung"), tmp_path / "packed.zip")
    assert main(words) == 2
    assert re.search(r"error: file/\S+ cannot be written; got (File exists|Not a directory); ", capsys.readouterr().err)
    assert (tmp_path / "file").read_text() == "no folder"


@pytest.mark.parametrize("flag", ["--debug", "--json"])
def test_inspection_shows_a_name_that_the_screen_cannot(flag: str, tmp_path: Path):
    (tmp_path / os.fsdecode(b"M\xfcller.png")).write_bytes(b"no picture")
    command = [sys.executable, "-m", "medseg.cli", "data", "inspect", str(tmp_path), flag]
    strict = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}  # as under any locale but C
    done = subprocess.run(command, capture_output=True, text=True, env=strict, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert r"M\udcfcller.png" in done.stdout
    if flag == "--json":
        assert len(json.loads(done.stdout)["images"]) == 1


@pytest.mark.parametrize("words", [["train", "--datalist", "d.json", "-o", "run"], ["bundle", "show"]], ids=" ".join)
def test_a_missing_bundle_is_told_with_the_known_ones(words: list[str], capsys: pytest.CaptureFixture[str]):
    assert main(words) == 2
    assert "known bundles: ct_lung, " in capsys.readouterr().err


def test_an_unknown_bundle_is_told_with_the_known_ones(capsys: pytest.CaptureFixture[str]):
    assert main(["bundle", "show", "ct_lungs"]) == 2
    err = capsys.readouterr().err
    assert "'ct_lungs'" in err
    assert "ct_lung, " in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("word", "key", "value"),
    [
        ("epochs=3", "epochs", 3),
        ("train::trainer::max_epochs=3", "train::trainer::max_epochs", 3),
        ("learning_rate=1e-4", "learning_rate", 1e-4),
        ("learning_rate=2.5E+3", "learning_rate", 2500.0),
        ("learning_rate=0.01", "learning_rate", 0.01),
        ("betas=[0.9, 1e-3]", "betas", [0.9, 1e-3]),
        ("loss={weight: 1e-1}", "loss", {"weight": 0.1}),
        ("cache=false", "cache", False),
        ("precision=auto", "precision", "auto"),
        ("note=a=b", "note", "a=b"),
        ("note='1e-4'", "note", 1e-4),
        ("weights=", "weights", None),
        ("network=@other", "network", "@other"),
        ("device=$torch.device('cpu')", "device", "$torch.device('cpu')"),
        ("run=%training", "run", "%training"),
        ("name=e5", "name", "e5"),
    ],
    ids=lambda value: value if isinstance(value, str) and "=" in value else "",
)
def test_overrides_are_yaml_and_numbers_are_numbers(word: str, key: str, value: Any):
    found = overrides([word])
    assert found == {key: value}
    assert type(found[key]) is type(value)


def test_an_override_needs_a_key():
    with pytest.raises(UsageError, match="got '=3'; expected key=value"):
        overrides(["=3"])


@pytest.mark.parametrize(
    "words",
    [
        ["train", "ct_lung", "a=1", "b=2", "--datalist", "d.json", "-o", "run"],
        ["train", "ct_lung", "--datalist", "d.json", "a=1", "-o", "run", "b=2"],
        [*TRAIN, "a=1", "--resume", "b=2"],
    ],
    ids=["after the bundle", "between the flags", "last"],
)
def test_overrides_may_stand_anywhere_after_the_bundle(words: list[str]):
    arguments = parse(words)
    assert (arguments.bundle, arguments.overrides) == ("ct_lung", ["a=1", "b=2"])
