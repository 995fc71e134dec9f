"""A bundle as small as one can be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

CONFIG = """\
spacing_mm: [1.5, 1.5]
window: [16, 16]
device: $torch.device('cpu')
labels: "@_meta_::network_data_format::outputs::pred::channel_def"
network_def:
  _target_: medseg.networks.UNet2d
  in_channels: 1
  out_channels: $len(@labels)
  base_width: 4
  depth: 2
"""


def image_format(**changes: Any) -> dict[str, Any]:
    return {
        "type": "image",
        "format": "magnitude",
        "modality": "DX",
        "num_channels": 1,
        "spatial_shape": ["2*n", 16],
        "dtype": "float32",
        "value_range": [0, 1],
        "is_patch_data": False,
        "channel_def": {"0": "image"},
        **changes,
    }


@pytest.fixture
def content() -> dict[str, Any]:
    """A metadata.json with the mandatory keys of MONAI's specification."""
    channels = {"0": "background", "1": "left lung", "2": "right lung"}
    return {
        "version": "0.2.0",
        "monai_version": "1.6.1",
        "pytorch_version": "2.13.0",
        "numpy_version": "2.4.6",
        "required_packages_version": {"nibabel": "5.4.2"},
        "task": "lungs",
        "description": "marks the lungs",
        "authors": "nobody",
        "copyright": "none",
        "network_data_format": {
            "inputs": {"image": image_format()},
            "outputs": {"pred": image_format(format="labels", num_channels=3, channel_def=channels)},
        },
    }


@pytest.fixture
def tiny_bundle(tmp_path: Path, content: dict[str, Any]) -> Path:
    """The folder of a bundle with metadata, a 2-D network, and no weights."""
    bundle = tmp_path / "tiny_lungs"
    (bundle / "configs").mkdir(parents=True)
    (bundle / "configs" / "metadata.json").write_text(json.dumps(content), encoding="utf-8")
    (bundle / "configs" / "common.yaml").write_text(CONFIG, encoding="utf-8")
    return bundle
