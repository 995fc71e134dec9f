"""Configurations written as those of MONAI's model zoo are: no false alarm in any of them, and real defects found."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from medseg.bundle import open_workflow
from medseg.bundle.check import Finding, check_static
from medseg.bundle.trust import merged_for
from medseg.errors import BundleError

ZOO = Path(__file__).parent / "zoo"
FORMATS: dict[str, tuple[int, int, list[Any]]] = {
    "auto3dseg": (1, 3, ["*", "*", "*"]),
    "brats": (4, 3, ["8*n", "8*n", "8*n"]),
    "ddpm": (1, 1, [64, 64]),
    "endoscopic": (3, 2, [736, 480]),
    "latent": (8, 8, [48, 48, 32]),
    "nodule": (1, 1, ["16*n", "16*n", "8*n"]),
    "pathology": (3, 1, [224, 224]),
    "registration": (2, 2, [64, 64]),
    "relative": (1, 2, [64, 64]),
    "spleen": (1, 2, [96, 96, 96]),
    "template": (1, 4, ["8*n", "8*n", "8*n"]),
    "vista": (1, 132, [128, 128, 128]),
    "wholebody": (1, 105, [96, 96, 96]),
    "workflow": (3, 3, ["*", "*"]),
}
"""Channels in and out and the network's sizes, as the metadata state them."""

MISSING = {
    "ddpm": {"train::trainer", "train::dataset", "train::inferer"},
    "template": {"train::trainer", "train::dataset", "train::inferer"},
}
"""Bundles without the sections that MONAI asks for: a real gap, told as a warning."""
UNUSED = {"brats": {"output_dir"}, "ddpm": {"image_size"}}
"""Settings that nothing refers to, as they are found in the zoo too."""


@pytest.fixture
def bundle(tmp_path: Path, content: dict[str, Any], request: pytest.FixtureRequest) -> Path:
    """A copy of the fixture of the parameter's name, with metadata."""
    folder = Path(shutil.copytree(ZOO / request.param, tmp_path / request.param))
    inputs, outputs, shape = FORMATS[request.param]
    made = copy.deepcopy(content)
    made["optional_packages_version"] = made.pop("required_packages_version")
    formats = made["network_data_format"]
    formats["inputs"]["image"] |= {"num_channels": inputs, "spatial_shape": shape}
    names = {str(i): f"class {i}" for i in range(outputs)}
    formats["outputs"]["pred"] |= {"num_channels": outputs, "spatial_shape": shape, "channel_def": names}
    (folder / "configs" / "metadata.json").write_text(json.dumps(made), encoding="utf-8")
    return folder


each = pytest.mark.parametrize("bundle", sorted(FORMATS), indirect=True)


def told(findings: list[Finding], severity: str) -> list[str]:
    return [finding.text() for finding in findings if finding.severity == severity]


def test_there_is_a_fixture_of_each_kind():
    assert sorted(path.name for path in ZOO.iterdir()) == sorted(FORMATS)


@each
def test_no_error_in_a_sound_configuration(bundle: Path):
    assert told(check_static(bundle), "error") == []


@pytest.mark.parametrize("bundle", ["spleen"], indirect=True)
def test_what_is_laid_out_otherwise_is_not_run_and_the_message_says_so(bundle: Path):
    for refused in (open_workflow, merged_for):
        with pytest.raises(
            BundleError, match=r"model zoo: medseg checks .* does not run it; got evaluate\.json.*MONAI runs it"
        ):
            refused(bundle, "train")


@each
def test_no_warning_but_of_missing_sections(bundle: Path):
    findings = [finding for finding in check_static(bundle) if finding.code != "version"]
    expected = MISSING.get(bundle.name, set())
    assert {finding.what.split()[0] for finding in findings if finding.code == "missing-property"} == expected
    assert {finding.what.split()[3].rstrip(":") for finding in findings if finding.code == "unused-id"} == UNUSED.get(
        bundle.name, set()
    )
    assert [finding.text() for finding in findings if finding.code not in ("missing-property", "unused-id")] == []


def change(bundle: Path, file: str, old: str, new: str) -> int:
    """Replace the first `old` in a file of the bundle; its line."""
    path = bundle / "configs" / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return text[: text.index(old)].count("\n") + 1


DEFECTS = {
    "a metric that nothing computes": ("spleen", "evaluate.json", '"val_accuracy"]', '"val_acc"]', "unknown-metric"),
    "a step without its dollar sign": ("nodule", "train.json", '"$setattr(', '"setattr(', "idle-step"),
    "an old argument": ("vista", "inference.json", '"margin": 10', '"margins": 10', "unknown-argument"),
    "a class of the bundle's scripts": (
        "nodule",
        "train.json",
        "scripts.warmup.WarmUp",
        "scripts.warmup.Warmup",
        "missing-target",
    ),
    "an argument of the bundle's scripts": (
        "nodule",
        "train.json",
        '"total_epoch"',
        '"total_epochs"',
        "unknown-argument",
    ),
    "an argument handed on by the bundle's scripts": (
        "vista",
        "inference.json",
        '"amp": true,',
        '"amb": true,',
        "unknown-argument",
    ),
    "an argument in an expression": ("nodule", "train.json", "conv1_t_strid", "conv1_t_strides", "unknown-argument"),
    "a method": ("nodule", "train.json", "set_atss_matcher", "set_atts_matcher", "missing-name"),
    "a file merged behind": (
        "spleen",
        "evaluate.json",
        "validate#dataset#cache",
        "validat#dataset#cache",
        "unknown-id",
    ),
    "a macro": ("spleen", "train.json", '"%train#post', '"%trian#post', "missing-reference"),
    "a key of a case": (
        "brats",
        "train.json",
        '"keys": "image", "offsets"',
        '"keys": "imgae", "offsets"',
        "unknown-key-read",
    ),
    "a relative id": ("relative", "inference.yaml", '"@##size"', '"@###size"', "missing-reference"),
    "spacing of inference": ("spleen", "inference.json", "1.5, 2.0]", "1.5, 3.0]", "inconsistent"),
    "a name without import": ("ddpm", "train.yaml", "$operator.lt", "$operators.lt", "unknown-name"),
    "a disabled transform that is switched on": (
        "latent",
        "train_autoencoder.json",
        ', "_disabled_": true',
        "",
        "missing-target",
    ),
}


@pytest.mark.parametrize(
    ("bundle", "file", "old", "new", "code"), DEFECTS.values(), ids=DEFECTS.keys(), indirect=["bundle"]
)
def test_a_defect_is_found_where_it_stands(bundle: Path, file: str, old: str, new: str, code: str):
    line = change(bundle, file, old, new)
    found = {(finding.code, Path(finding.file).name, finding.line) for finding in check_static(bundle)}
    assert (code, file, line) in found
