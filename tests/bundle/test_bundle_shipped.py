"""The four bundles that ship: complete, with MONAI's every field, under licences that agree with their data."""

from __future__ import annotations

from pathlib import Path

import pytest

from medseg.bundle import check_metadata, find_bundle, read_metadata

LABELS = {
    "ct_lung": {0: "background", 1: "left lung", 2: "right lung"},
    "ct_sarcoma": {0: "background", 1: "tumour"},
    "cxr_heart_lung": {0: "background", 1: "left lung", 2: "right lung", 3: "heart"},
    "mr_hippocampus": {0: "background", 1: "anterior", 2: "posterior"},
}
WEIGHTS = {
    "ct_lung": "Apache-2.0",
    "ct_sarcoma": "CC-BY-3.0",
    "cxr_heart_lung": "MIT",
    "mr_hippocampus": "CC-BY-SA-4.0",
}
FIELDS = [
    "schema",
    "name",
    "version",
    "changelog",
    "monai_version",
    "pytorch_version",
    "numpy_version",
    "required_packages_version",
    "supported_apps",
    "task",
    "description",
    "authors",
    "copyright",
    "data_source",
    "data_type",
    "image_classes",
    "label_classes",
    "pred_classes",
    "eval_metrics",
    "intended_use",
    "references",
    "network_data_format",
]
each_bundle = pytest.mark.parametrize("name", LABELS)


@each_bundle
def test_shipped_bundle_has_every_field_of_the_specification(name: str) -> None:
    content = check_metadata(find_bundle(name) / "configs" / "metadata.json")
    assert [field for field in FIELDS if field not in content] == []
    assert content["version"] in content["changelog"]


@each_bundle
def test_shipped_bundle_states_labels_name_and_licence(name: str) -> None:
    metadata = read_metadata(find_bundle(name))
    assert metadata.name == name
    assert metadata.labels == LABELS[name]
    assert metadata.weights_license == WEIGHTS[name]
    assert metadata.spatial_dims == (2 if name == "cxr_heart_lung" else 3)


@each_bundle
def test_shipped_bundle_carries_the_licence_of_the_project(name: str) -> None:
    project = Path(__file__).parents[2] / "LICENSE"
    assert (find_bundle(name) / "LICENSE").read_bytes() == project.read_bytes()


@each_bundle
def test_shipped_bundle_logs_by_a_file_that_monai_accepts(name: str) -> None:
    from monai.bundle.workflows import _reject_executable_logging_config

    text = _reject_executable_logging_config(str(find_bundle(name) / "configs" / "logging.conf"))
    assert "args=(sys.stdout,)" in text
