"""pipelines/ship_weights.py: weights go into a bundle that does with them what they learned."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path

import pytest

from medseg.bundle import find_bundle

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("base_width: 32", "base_width: 16", "network_def"),
        ("upper: 99.5", "upper: 99", "preprocessing"),
        ("base_width: 32", "base_width: 32\n  freeze_batch_norm: true", None),
        ("tta: false", "tta: false", None),
    ],
)
def test_weights_of_other_settings_are_refused(tmp_path: Path, old: str, new: str, named: str | None) -> None:
    refuse = runpy.run_path(str(ROOT / "pipelines" / "ship_weights.py"))["refuse_other_settings"]
    bundle, run = find_bundle("cxr_heart_lung"), tmp_path / "run"
    shutil.copytree(bundle / "configs", run / "configs")
    common = run / "configs" / "common.yaml"
    text = common.read_text(encoding="utf-8")
    assert old in text
    common.write_text(text.replace(old, new), encoding="utf-8")
    if named is None:
        refuse(run, bundle)
        return
    with pytest.raises(SystemExit, match=f"run and cxr_heart_lung differ in {named}; train with the bundle's"):
        refuse(run, bundle)
