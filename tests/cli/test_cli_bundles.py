"""`medseg bundle trust|new|pack|unpack|diff|verify` and `config show`, as a user types them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from medseg.bundle import find_bundle
from medseg.cli import main


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDSEG_CONFIG", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(find_bundle("ct_lung"), tmp_path / "stranger"))
    with (folder / "configs" / "common.yaml").open("a", encoding="utf-8") as file:
        file.write("extra: $__import__('os').getcwd()\n")
    return folder


def values(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_stranger_is_refused_looked_at_trusted_and_forgotten(
    stranger: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bundle", "show", "stranger"]) == 2
    line = len((stranger / "configs" / "common.yaml").read_text(encoding="utf-8").splitlines())
    assert f"\n  configs/common.yaml:{line}: extra: calls __import__ in" in capsys.readouterr().err
    shown = values(capsys, "bundle", "trust", "stranger", "--show")
    assert (shown["trusted"], [want["name"] for want in shown["wants"]]) == (False, ["extra", "extra"])
    assert main(["bundle", "trust", "--list"]) == 0
    assert capsys.readouterr().out == "nothing is trusted\n"
    assert values(capsys, "bundle", "trust", "stranger")["trusted"]
    (record,) = values(capsys, "bundle", "trust", "--list")["trusted"]
    assert (record["sha256"], record["folder"]) == (shown["sha256"], str(stranger))
    assert main(["bundle", "show", "stranger"]) == 0
    capsys.readouterr()
    assert main(["bundle", "trust", "--remove", "stranger"]) == 0
    assert capsys.readouterr().out.startswith("no longer trusted: ")
    assert main(["bundle", "show", "stranger"]) == 2


@pytest.mark.parametrize("words", [[], ["ct_lung", "--list"], ["--list", "--remove", "x"]])
def test_trust_is_told_one_thing_to_do(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bundle", "trust", *words]) == 2
    assert "expected one of BUNDLE, --list, --remove WHICH" in capsys.readouterr().err


def test_a_bundle_that_ships_needs_no_trust(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bundle", "trust", "ct_lung"]) == 0
    assert capsys.readouterr().out == "ct_lung keeps to the list: it needs no trust\n"


def test_from_new_to_packed_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bundle", "new", "mine", "--from", "ct_lung"]) == 0
    (tmp_path / "mine" / "models").mkdir()
    shutil.copyfile(find_bundle("ct_lung") / "models" / "model.pt", tmp_path / "mine" / "models" / "model.pt")
    capsys.readouterr()
    packed = values(capsys, "bundle", "pack", "mine", "-o", "mine.zip")
    assert main(["bundle", "unpack", "mine.zip", "-o", "theirs", "--sha256", "0" * 64]) == 2
    assert not (tmp_path / "theirs").exists()
    assert f"got sha256 {packed['sha256']}" in capsys.readouterr().err
    assert main(["bundle", "unpack", "mine.zip", "-o", "theirs", "--sha256", packed["sha256"]]) == 0
    assert capsys.readouterr().out == f"{packed['files']} files in theirs; sha256 {packed['sha256']}\n"
    assert values(capsys, "bundle", "diff", "mine", "theirs") == {"differences": []}
    names = {one["name"] for one in values(capsys, "bundle", "diff", "ct_lung", "mine")["differences"]}
    assert "name" in names
    assert "spacing_mm" not in names
    assert main(["predict", "mine.zip", "-i", "x", "-o", "y"]) == 2
    assert "medseg bundle unpack mine.zip -o mine" in capsys.readouterr().err


def test_the_configuration_is_shown_with_its_sources(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["config", "show", "ct_lung", "--purpose", "inference", "--overlay", "smoke", "overlap=0.25"]
    rows = {one["id"]: one for one in values(capsys, *words)["settings"]}
    assert rows["overlap"] == {"id": "overlap", "value": 0.25, "source": "command line"}
    assert rows["spacing_mm"]["source"].startswith("overlay smoke, configs/smoke.yaml:")
    assert rows["inferer::overlap"]["means"] == 0.25
    assert main(["config", "show", "ct_lung", "nonsense=1"]) == 2
    assert "the configuration has no nonsense" in capsys.readouterr().err
    assert main(["config", "show", "ct_lung", "--overlay", "smok"]) == 2
    assert "unknown overlay; got smok; expected demo, finetune," in (said := capsys.readouterr().err)
    assert "did you mean smoke?" in said


def test_scores_are_verified_on_given_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "phantom", "-o", "phantoms", "--cases", "1", "--seed", "5", "--quiet"]) == 0
    fractions = ["--fractions", "0", "0", "1"]
    assert main(["data", "prepare", "pairs", "phantoms", "-o", "data.json", *fractions, "--quiet"]) == 0
    bundle = Path(shutil.copytree(find_bundle("ct_lung"), tmp_path / "mine"))
    path = bundle / "models" / "scores.json"
    scores = json.loads(path.read_text(encoding="utf-8"))
    for region, interval in (("left lung", [0.0, 1.0]), ("right lung", [0.9999, 1.0])):
        scores["regions"][region]["dice"]["mean_ci95"] = interval
    path.write_text(json.dumps(scores), encoding="utf-8")
    capsys.readouterr()
    assert main(["bundle", "verify", "mine", "--datalist", "data.json", "--json"]) == 1
    said = capsys.readouterr()
    found = json.loads(said.out)["regions"]
    assert {one["region"]: one["reproduced"] for one in found} == {"left lung": True, "right lung": False}
    assert {one["reported_cases"] for one in found} == {scores["cases"]}
    assert "not the cases that the scores were reported on" in said.err
    assert f"got test cases: 1; expected test cases: {scores['cases']}" in said.err
    assert all(0.5 < one["measured"] < 0.9999 and one["cases"] == 1 for one in found)
