"""`medseg bundle show`: a reader learns what the bundle is, on which terms, and how large its network is."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from medseg.bundle import describe_bundle
from medseg.bundle.describe import example_size
from medseg.errors import BundleError
from medseg.networks import UNet2d


def facts(text: str) -> dict[str, str]:
    head = text.split("\n\n")[0]
    return {name: value.strip() for name, value in (line.split(":", 1) for line in head.splitlines())}


def test_describe_bundle_tells_what_it_is(tiny_bundle: Path) -> None:
    told = facts(describe_bundle(tiny_bundle))
    assert told["name"] == "tiny_lungs"
    assert told["version"] == "0.2.0"
    assert told["input"] == "DX, 2-D, 1 channel, 2*n x 16"
    assert told["labels"] == "0 background, 1 left lung, 2 right lung"
    assert told["weights"] == "none yet: train the bundle to get models/model.pt"
    assert told["weights licence"] == "not stated"


def test_describe_bundle_tells_data_and_licence(tiny_bundle: Path, content: dict[str, Any]) -> None:
    content |= {"data_source": "phantoms", "medseg": {"weights_license": "Apache-2.0"}}
    (tiny_bundle / "configs" / "metadata.json").write_text(json.dumps(content), encoding="utf-8")
    told = facts(describe_bundle(tiny_bundle))
    assert (told["data"], told["weights licence"]) == ("phantoms", "Apache-2.0")


def test_describe_bundle_shows_the_weights(tiny_bundle: Path) -> None:
    (tiny_bundle / "models").mkdir()
    (tiny_bundle / "models" / "model.pt").write_bytes(b"w" * 1_230_000)
    digest = hashlib.sha256(b"w" * 1_230_000).hexdigest()
    assert facts(describe_bundle(tiny_bundle))["weights"] == f"models/model.pt, 1.23 MB, sha256 {digest}"


def test_describe_bundle_shows_settings_and_no_expressions(tiny_bundle: Path) -> None:
    settings = describe_bundle(tiny_bundle).split("\n\n")[1].splitlines()
    assert settings == ["settings (common.yaml):", "  spacing_mm: 1.5, 1.5", "  window: 16, 16"]


def test_describe_bundle_shows_the_network_with_the_labels_of_the_metadata(tiny_bundle: Path) -> None:
    text = describe_bundle(tiny_bundle)
    network = UNet2d(in_channels=1, out_channels=3, base_width=4, depth=2)
    assert "UNet2d, input 1 x 1 x 8 x 16" in text
    assert "1 x 3 x 8 x 16" in text
    assert f"parameters: {sum(weight.numel() for weight in network.parameters()):,} in all" in text


def test_describe_bundle_reads_bundles_of_the_model_zoo(tiny_bundle: Path) -> None:
    """Those keep the network in inference.json, and name what they need by references."""
    (tiny_bundle / "configs" / "common.yaml").unlink()
    network = {"_target_": "UNet", "spatial_dims": 2, "in_channels": 1, "out_channels": 3}
    config = {"width": 4, "network_def": network | {"channels": ["@width", 8], "strides": [2]}}
    (tiny_bundle / "configs" / "inference.json").write_text(json.dumps(config), encoding="utf-8")
    assert "1 x 3 x 8 x 16" in describe_bundle(tiny_bundle)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("spacing_mm: [1, 1]\n", "no network; expected network_def in configs/common.yaml"),
        ("network_def: {_target_: medseg.networks.UNet2d, in_channels: 1, out_channels: 0}\n", "out_channels cannot"),
        ("network_def: {_target_: medseg.networks.UNet2D}\n", "network_def cannot be built"),
        ("network_def: {_target_: torch.nn.ReLU, '_desc_': '@nothing'}\n", "network_def cannot be built"),
        ("network_def: [\n", "no YAML"),
        ("- network_def\n", "no configuration; got list"),
    ],
    ids=["no network", "bad value", "no such class", "no such id", "syntax", "list"],
)
def test_describe_bundle_refuses_a_network_that_cannot_be_built(config: str, message: str, tiny_bundle: Path) -> None:
    (tiny_bundle / "configs" / "common.yaml").write_text(config, encoding="utf-8")
    with pytest.raises(BundleError, match=message):
        describe_bundle(tiny_bundle)


@pytest.mark.parametrize(
    ("size", "expected"),
    [(96, 96), ("*", 64), ("16*n", 64), ("2**n", 16), ("2**n*m", 64), ("8*(n+1)", 40), (" 32 ", 32)],
)
def test_example_size_fits_the_expression(size: int | str, expected: int) -> None:
    assert example_size(size) == expected


@pytest.mark.parametrize("size", ["2*nn", "exit()", "1/0", "n//0", "'a'", "2*", "9**9**9", "2**(1-n)"])
def test_example_size_refuses_what_is_no_size(size: str) -> None:
    with pytest.raises(BundleError, match="spatial_shape"):
        example_size(size)
