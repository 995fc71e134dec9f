"""`python -m monai.bundle run inference|evaluating` with the settings of many cases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

pytestmark = [
    pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader:UserWarning"),
    pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning"),
]


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_monais_own_runner_takes_the_same_settings(run: Path, volumes: Path, tmp_path: Path) -> None:
    import monai.bundle

    configs = run / "configs"
    common: dict[str, Any] = {"meta_file": str(configs / "metadata.json"), "logging_file": False, "jobs": 3}

    def files(name: str) -> list[str]:
        return [str(configs / "common.yaml"), str(configs / name)]

    for resume in (False, True):
        masks_there = {"input": str(volumes.parent / "images"), "output_dir": str(tmp_path / "masks"), "resume": resume}
        monai.bundle.run(run_id="inference", config_file=files("inference.yaml"), **common, **masks_there)
        report = read(tmp_path / "masks" / "report.json")
        assert [case["status"] for case in report["cases"]] == ["done"] * 6
        assert [case["resumed"] for case in report["cases"]] == [resume] * 6
    scores_there = {"datalist": str(volumes), "output_dir": str(tmp_path / "scores"), "save_probabilities": True}
    monai.bundle.run(run_id="evaluating", config_file=files("evaluate.yaml"), **common, **scores_there)
    (case,) = read(tmp_path / "scores" / "report.json")["cases"]
    assert {"probability_0", "probability_1", "probability_2", "comparison"} < set(case["outputs"])
    maps = [nibabel.load(tmp_path / "scores" / case["outputs"][f"probability_{k}"]).get_fdata() for k in range(3)]
    np.testing.assert_allclose(sum(maps), 255, atol=1.5)
    assert read(tmp_path / "scores" / "summary.json")["calibration"]["cases"] == 1
