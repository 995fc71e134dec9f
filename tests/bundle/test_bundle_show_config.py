"""`config show`: each value with where it comes from, without torch and MONAI; the rest when it is asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from medseg.bundle import find_bundle, open_workflow
from medseg.bundle.show_config import as_text, as_values, resolved, settings
from medseg.bundle.trust import merged_for
from medseg.errors import BundleError


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    configs = tmp_path / "mine" / "configs"
    configs.mkdir(parents=True)
    (configs / "metadata.json").write_text('{"name": "mine",\n "labels": {"0": "air", "1": "lung"}}', encoding="utf-8")
    (configs / "common.yaml").write_text(
        "size: [32, 32]\n"
        "labels: '@_meta_::labels'\n"
        "network_def:\n"
        "  _target_: UNet\n"
        "  channels: $len(@labels)\n"
        "window: '@size'\n"
        "again: '@window'\n"
        "net: '@network_def'\n",
        encoding="utf-8",
    )
    (configs / "train.yaml").write_text("epochs: 3\nsteps:\n  - one\n  - two\nempty: {}\n", encoding="utf-8")
    (configs / "small.yaml").write_text("size: [8, 8]\n+steps: [three]\nnetwork_def::width: 4\n", encoding="utf-8")
    return tmp_path / "mine"


def test_each_value_tells_its_file_and_line_its_overlay_or_the_command_line(bundle: Path) -> None:
    merged = merged_for(bundle, "train", overlays=["small"], overrides={"epochs": 9, "network_def::norm": "batch"})
    assert {row.name: (row.value, row.source) for row in settings(merged)} == {
        "size": ([8, 8], "overlay small, configs/small.yaml:1"),
        "labels": ("@_meta_::labels", "configs/common.yaml:2"),
        "network_def::_target_": ("UNet", "configs/common.yaml:4"),
        "network_def::channels": ("$len(@labels)", "configs/common.yaml:5"),
        "network_def::width": (4, "overlay small, configs/small.yaml:3"),
        "network_def::norm": ("batch", "command line"),
        "window": ("@size", "configs/common.yaml:6"),
        "again": ("@window", "configs/common.yaml:7"),
        "net": ("@network_def", "configs/common.yaml:8"),
        "epochs": (9, "command line"),
        "steps::0": ("one", "configs/train.yaml:3"),
        "steps::1": ("two", "configs/train.yaml:4"),
        "steps::2": ("three", "overlay small, configs/small.yaml:2"),
        "empty": ({}, "configs/train.yaml:5"),
    }


def test_a_reference_tells_the_value_at_its_end(bundle: Path) -> None:
    rows = {row.name: row.means for row in settings(merged_for(bundle, "train"))}
    assert (rows["window"], rows["again"], rows["net"], rows["size"]) == ([32, 32], [32, 32], None, None)
    assert rows["labels"] == {"0": "air", "1": "lung"}


def test_only_what_is_below_an_id_is_shown(bundle: Path) -> None:
    merged = merged_for(bundle, "train")
    assert [row.name for row in settings(merged, only="@network_def")] == [
        "network_def::_target_",
        "network_def::channels",
    ]
    assert [row.source for row in settings(merged, only="_meta_#labels")] == ["configs/metadata.json:2"] * 2
    with pytest.raises(BundleError, match="the configuration has no netwrk_def; did you mean network_def"):
        settings(merged, only="netwrk_def")


def test_text_and_values_say_the_same(bundle: Path) -> None:
    rows = settings(merged_for(bundle, "train"))
    lines = as_text(rows, values={"network_def::channels": "2"}).splitlines()
    assert any(
        line.startswith("again: @window = [32, 32] ") and line.endswith("# configs/common.yaml:7") for line in lines
    )
    assert any(line.startswith("network_def::channels: $len(@labels) = 2 ") for line in lines)
    values = as_values(rows, values={"network_def::channels": "2"})
    assert {"id": "window", "value": "@size", "source": "configs/common.yaml:6", "means": [32, 32]} in values
    assert [one["resolved"] for one in values if "resolved" in one] == ["2"]


def test_expressions_are_evaluated_where_that_makes_no_component() -> None:
    bundle = find_bundle("ct_lung")
    merged = merged_for(bundle, "train", overlays=["smoke"])
    parser = open_workflow(bundle, "train", overlays=["smoke"]).parser
    values = resolved(merged, parser, only=[row.name for row in settings(merged)])
    assert values["network_def::out_channels"] == "3"
    assert values["weights"] == repr(f"{bundle}/models/model.pt")
    assert values["run_dir"] == "'runs/ct_lung'"
    assert "train::optimizer::params" not in values


def test_nothing_heavy_is_imported_for_it() -> None:
    code = (
        "import sys\nfrom medseg.cli import main\nassert main(['config', 'show', 'ct_lung', '--json']) == 0\n"
        "sys.stderr.write(' '.join({'torch', 'monai', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert '"source": "configs/common.yaml:2"' in done.stdout
