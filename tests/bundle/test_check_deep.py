"""Stage two and the two stages together: networks are built without data; what is about to run is checked first."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from medseg.bundle import find_bundle, open_workflow
from medseg.bundle.check import Finding, check_bundle
from medseg.cli import main
from medseg.errors import BundleError


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configurations of a bundle that ships, to be spoilt."""
    monkeypatch.setenv("MEDSEG_CONFIG", str(tmp_path / "config"))
    shutil.copytree(find_bundle("ct_lung") / "configs", tmp_path / "mine" / "configs")
    return tmp_path / "mine"


def spoil(bundle: Path, file: str, old: str, new: str) -> int:
    path = bundle / "configs" / file
    text = path.read_text(encoding="utf-8")
    assert old in text, old
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return text[: text.index(old)].count("\n") + 1


def places(findings: list[Finding], code: str) -> set[tuple[str, int | None]]:
    return {(Path(one.file).name, one.line) for one in findings if one.code == code}


@pytest.mark.parametrize("name", ["ct_lung", "ct_sarcoma", "cxr_heart_lung", "mr_hippocampus"])
def test_networks_of_the_shipped_bundles_take_their_windows(name: str):
    assert check_bundle(find_bundle(name)) == []


def test_a_window_that_an_expression_computes_is_tried(mine: Path):
    line = spoil(mine, "common.yaml", "window: [112, 96, 96]", "window: $list(range(21, 24))")
    assert check_bundle(mine, static=True) == []
    found = check_bundle(mine)
    assert places(found, "window") == {("common.yaml", line)}
    assert "cannot take an image of 1 x 1 x 21 x 22 x 23" in found[0].what


def test_a_network_that_cannot_be_built_is_told_at_the_argument_that_it_names(mine: Path):
    line = spoil(mine, "common.yaml", "num_res_units: 1", "num_res_units: 1\n  dropout: 3.0")
    found = check_bundle(mine)
    assert [one.code for one in found] == ["network"]
    assert (Path(found[0].file).name, found[0].line) == ("common.yaml", line + 1)
    assert "dropout" in str(found[0].got)


def test_channels_that_the_network_gives_are_counted(mine: Path):
    spoil(
        mine, "common.yaml", "out_channels: $len(@labels)", "out_channels: $max([2, len(@labels) + 0 * len('ab')]) + 1"
    )
    found = check_bundle(mine)
    assert [(one.code, one.expected) for one in found] == [("channels", "3")]


def test_a_target_that_an_expression_computes_is_tried(mine: Path):
    line = spoil(mine, "train.yaml", "_target_: SimpleInferer", "_target_: $monai.inferers.SimpleInferer\n    siz: 3")
    assert "not-trusted" in {one.code for one in check_bundle(mine)}
    found = check_bundle(mine, trust=True)
    assert places(found, "unknown-argument") == {("train.yaml", line + 1)}


def test_a_bundle_that_nobody_trusts_is_not_built(mine: Path, tmp_path: Path):
    touch = str(tmp_path / "ran")
    spoil(mine, "common.yaml", "  num_res_units: 1", f"  num_res_units: $len([open({touch!r}, 'w')])")
    found = check_bundle(mine)
    assert {one.code for one in found} == {"not-trusted"}
    assert {one.severity for one in found} == {"warning"}
    assert not (tmp_path / "ran").exists()


def test_a_run_is_refused_with_all_mistakes(mine: Path):
    first = spoil(mine, "common.yaml", "num_res_units", "num_res_unit")
    second = spoil(mine, "train.yaml", "1.0e-3", "1e-3")
    with pytest.raises(BundleError) as told:
        open_workflow(mine, "train")
    text = str(told.value)
    assert text.startswith("bundle mine: 2 errors in its configuration:\n")
    assert f"configs/common.yaml:{first}: error: network_def: UNet takes no argument num_res_unit" in text
    assert f"configs/train.yaml:{second}: error: learning_rate is a text" in text


def test_a_run_is_refused_before_data_where_the_network_cannot_take_its_window(mine: Path):
    spoil(mine, "common.yaml", "window: [112, 96, 96]", "window: $list(range(21, 24))")
    with pytest.raises(BundleError, match="the network cannot take an image of 1 x 1 x 21 x 22 x 23"):
        open_workflow(mine, "inference")


def test_a_warning_is_logged_and_runs(mine: Path, caplog: pytest.LogCaptureFixture):
    spoil(mine, "metadata.json", '"numpy_version": "2', '"numpy_version": "1')
    open_workflow(mine, "evaluate")
    assert "the bundle was made with another numpy than is installed" in caplog.text


def test_the_command_lists_what_it_finds(mine: Path, capsys: pytest.CaptureFixture[str]):
    line = spoil(mine, "common.yaml", "_target_: UNet", "_target_: UNett")
    assert main(["bundle", "check", str(mine), "--static", "epocs=3"]) == 2
    out, err = capsys.readouterr()
    assert out == "mine: 2 errors, no warnings\n"
    assert (
        f"configs/common.yaml:{line}: error: network_def: MONAI has no class or function UNett; did you mean UNet?"
        in err
    )
    assert "command line: error: the configuration has no epocs" in err


def test_the_command_speaks_json(mine: Path, capsys: pytest.CaptureFixture[str]):
    line = spoil(mine, "common.yaml", "overlap: 0.5", 'overlap: "0.5"')
    assert main(["bundle", "check", str(mine), "--static", "--json"]) == 2
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert err == ""
    assert ("number-as-text", line, "write 0.5") in {(one["code"], one["line"], one["hint"]) for one in found}


def test_a_sound_bundle_ends_with_zero(capsys: pytest.CaptureFixture[str]):
    assert main(["bundle", "check", "mr_hippocampus", "--static", "--overlay", "smoke", "epochs=3"]) == 0
    assert capsys.readouterr() == ("mr_hippocampus: no errors, no warnings\n", "")
