"""The golden loss curve of each bundle: the losses of its first steps, on data that any machine makes.

After a change that is meant to change them (a recipe, an initialisation), write them anew and say why in the commit:

    python tests/training/golden_curves.py BUNDLE ...      # without a name: all
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training_parts import checkpoint, history, write_cases

from medseg.workflows import train

GOLDEN = Path(__file__).with_name("golden")

SETTINGS: Mapping[str, Any] = {
    "precision": "fp32",
    "device": "$torch.device('cpu')",
    "batch_size": 2,
    "epochs": 3,
    "validate_every": 3,
}
"""Over the smoke overlay: six steps, long enough for two epochs of augmentation to differ and for the optimiser's
moments to matter, short enough that rounding, which another CPU does otherwise, has not grown."""

RELATIVE: Mapping[str, float] = {"loss": 2e-4, "average_lag": 3e-3}
"""By so much a value may differ. With other instruction sets (SSE4.1, AVX2, AVX-512) and two threads the losses of
the bundles came out at most 3.5e-5 apart, the lag 2.3e-3; a cross-entropy that counts 1 % more moves a loss by 5e-3."""


def curve(bundle: str, datalist: Path, folder: Path, **changes: Any) -> dict[str, Any]:
    """The mean loss of each epoch, and how far the weights that ship, an average, are from the last ones (L2 norm)."""
    overrides = {**SETTINGS, **changes}
    run = train(bundle, datalist=datalist, run_dir=folder, overlays=["smoke"], overrides=overrides)
    last = checkpoint(run)
    apart = [(last["network"][name] - value).double().square().sum() for name, value in last["evaluated"].items()]
    return {"loss": [float(row["loss"]) for row in history(run)], "average_lag": float(sum(apart)) ** 0.5}


def differing(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """Which values of a curve are not those expected, within `RELATIVE`, and by how much."""
    assert len(found["loss"]) == len(expected["loss"])
    named = {f"loss of epoch {i + 1}": ("loss", i) for i in range(len(expected["loss"]))}
    pairs = {name: (found[key][i], expected[key][i], RELATIVE[key]) for name, (key, i) in named.items()}
    pairs["average_lag"] = (found["average_lag"], expected["average_lag"], RELATIVE["average_lag"])
    return [
        f"{name}: {one:.6g}, golden {other:.6g}"
        for name, (one, other, relative) in pairs.items()
        if not abs(one - other) <= relative * abs(other)
    ]


def golden(bundle: str) -> dict[str, Any]:
    """The curve that a bundle must have."""
    content: dict[str, Any] = json.loads((GOLDEN / f"{bundle}.json").read_text(encoding="utf-8"))
    return content


def _rewrite(bundle: str) -> None:
    import monai
    import torch

    with tempfile.TemporaryDirectory() as folder:
        found = curve(bundle, write_cases(bundle, Path(folder) / "data"), Path(folder) / "run")
    settings = {key: value for key, value in SETTINGS.items() if key != "device"}
    origin = {"torch": torch.__version__, "monai": monai.__version__, "cpu": torch.backends.cpu.get_cpu_capability()}
    content = {
        **found,
        "relative_tolerance": dict(RELATIVE),
        "settings": {"overlay": "smoke", **settings},
        "written_with": origin,
        "written_by": "python tests/training/golden_curves.py",
    }
    GOLDEN.mkdir(exist_ok=True)
    (GOLDEN / f"{bundle}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    for name in sys.argv[1:] or ("ct_lung", "ct_sarcoma", "cxr_heart_lung", "mr_hippocampus"):
        _rewrite(name)
