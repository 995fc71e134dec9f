"""metadata.json: what is read from it, and that no break of MONAI's specification passes or hides another."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medseg.bundle import Metadata, check_metadata, read_metadata
from medseg.errors import BundleError

MANDATORY = [
    "version",
    "monai_version",
    "pytorch_version",
    "numpy_version",
    "required_packages_version",
    "task",
    "description",
    "authors",
    "copyright",
    "network_data_format",
]
TENSOR = ["type", "format", "num_channels", "spatial_shape", "dtype", "value_range", "is_patch_data", "channel_def"]


SEGMENT = {"category": ["91723000", "SCT", "Anatomical Structure"], "type": ["39607008", "SCT", "Lung"]}


def segments(content: dict[str, Any], stated: dict[str, Any]) -> None:
    content["medseg"] = {"weights_license": "MIT", "segments": stated}


def check(content: object, folder: Path) -> dict[str, Any]:
    file = folder / "metadata.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    return check_metadata(file)


def test_metadata_is_read(tiny_bundle: Path) -> None:
    assert read_metadata(tiny_bundle) == Metadata(
        name="tiny_lungs",
        version="0.2.0",
        task="lungs",
        description="marks the lungs",
        copyright="none",
        labels={0: "background", 1: "left lung", 2: "right lung"},
        modality="DX",
        in_channels=1,
        spatial_shape=("2*n", 16),
        data_source=None,
        weights_license=None,
        segments={},
    )
    assert read_metadata(tiny_bundle).spatial_dims == 2


def test_metadata_name_and_licence_come_from_the_file(tmp_path: Path, content: dict[str, Any]) -> None:
    (tmp_path / "configs").mkdir()
    check(content | {"name": "lungs", "medseg": {"weights_license": "MIT"}}, tmp_path / "configs")
    metadata = read_metadata(tmp_path)
    assert (metadata.name, metadata.weights_license) == ("lungs", "MIT")


def test_metadata_segments_come_from_the_file(tmp_path: Path, content: dict[str, Any]) -> None:
    (tmp_path / "configs").mkdir()
    segments(content, {"1": SEGMENT})
    check(content, tmp_path / "configs")
    assert read_metadata(tmp_path).segments == {"1": SEGMENT}


def test_metadata_labels_are_in_order_of_their_values(tmp_path: Path, content: dict[str, Any]) -> None:
    names = ["background", *(f"rib {value}" for value in range(1, 12))]
    pred = content["network_data_format"]["outputs"]["pred"]
    pred |= {"num_channels": 12, "channel_def": dict(sorted((str(value), name) for value, name in enumerate(names)))}
    (tmp_path / "configs").mkdir()
    check(content, tmp_path / "configs")
    assert list(read_metadata(tmp_path).labels.items()) == list(enumerate(names))


@pytest.mark.parametrize("key", MANDATORY)
def test_metadata_without_a_mandatory_key_is_refused(key: str, tmp_path: Path, content: dict[str, Any]) -> None:
    del content[key]
    with pytest.raises(BundleError, match=rf"\$: '{key}' is a required property"):
        check(content, tmp_path)


@pytest.mark.parametrize("key", [*TENSOR, "modality"])
def test_metadata_without_a_key_of_the_input_is_refused(key: str, tmp_path: Path, content: dict[str, Any]) -> None:
    del content["network_data_format"]["inputs"]["image"][key]
    with pytest.raises(BundleError, match=rf"\$\.network_data_format\.inputs\.image: '{key}' is a required property"):
        check(content, tmp_path)


def test_metadata_of_older_bundles_is_accepted(tmp_path: Path, content: dict[str, Any]) -> None:
    content["optional_packages_version"] = content.pop("required_packages_version")
    del content["network_data_format"]["outputs"]["pred"]["modality"]
    assert check(content, tmp_path) == content


def pred(content: dict[str, Any]) -> dict[str, Any]:
    return content["network_data_format"]["outputs"]["pred"]


def image(content: dict[str, Any]) -> dict[str, Any]:
    return content["network_data_format"]["inputs"]["image"]


BREAKS: dict[str, tuple[Callable[[dict[str, Any]], object], str, str]] = {
    "number for text": (lambda c: c.update(task=3), "$.task", "3 is not of type 'string'"),
    "empty text": (lambda c: c.update(authors=" "), "$.authors", "does not match"),
    "version": (lambda c: c.update(version="newest"), "$.version", "'newest' does not match"),
    "package": (
        lambda c: c["required_packages_version"].update(nibabel=5.4),
        "$.required_packages_version.nibabel",
        "5.4 is not of type 'string'",
    ),
    "tensor type": (lambda c: image(c).update(type="picture"), "$.network_data_format.inputs.image.type", "'picture'"),
    "zero size": (
        lambda c: image(c).update(spatial_shape=[0, 16]),
        "$.network_data_format.inputs.image.spatial_shape[0]",
        "0 is neither a size >= 1 nor",
    ),
    "value range": (
        lambda c: image(c).update(value_range=[1]),
        "$.network_data_format.inputs.image.value_range",
        "[1] is neither [] nor [MIN, MAX]",
    ),
    "yes": (
        lambda c: image(c).update(is_patch_data="yes"),
        "$.network_data_format.inputs.image.is_patch_data",
        "'yes' is not of type 'boolean'",
    ),
    "own block": (
        lambda c: c.update(medseg={"weights_license": "MIT", "weight_license": "MIT"}),
        "$.medseg",
        "'weight_license' was unexpected",
    ),
    "label gap": (
        lambda c: pred(c).update(channel_def={"0": "background", "2": "lung", "3": "heart"}),
        "$.network_data_format.outputs.pred.channel_def",
        "labels 0, 2, 3 are not consecutive from 0",
    ),
    "no background": (
        lambda c: pred(c)["channel_def"].update({"0": "lung"}),
        "$.network_data_format.outputs.pred.channel_def",
        "'0' is 'lung' and not 'background'",
    ),
    "one name twice": (
        lambda c: pred(c)["channel_def"].update({"2": "left lung"}),
        "$.network_data_format.outputs.pred.channel_def",
        "two labels are called 'left lung'",
    ),
    "channels": (
        lambda c: pred(c).update(num_channels=2),
        "$.network_data_format.outputs.pred.channel_def",
        "3 labels, but num_channels is 2",
    ),
    "no pred": (
        lambda c: c["network_data_format"].update(outputs={"out": pred(c)}),
        "$.network_data_format.outputs",
        "'pred' is a required property",
    ),
    "no image": (
        lambda c: c["network_data_format"].update(inputs={"x": image(c)}),
        "$.network_data_format.inputs",
        "'image' is a required property",
    ),
    "a segment that is no label": (
        lambda c: segments(c, {"9": SEGMENT}),
        "$.medseg.segments",
        "label 9 is not in $.network_data_format.outputs.pred.channel_def",
    ),
    "a segment without a type": (
        lambda c: segments(c, {"1": {"category": SEGMENT["category"]}}),
        "$.medseg.segments['1']",
        "'type' is a required property",
    ),
    "a code without a meaning": (
        lambda c: segments(c, {"1": {**SEGMENT, "type": ["39607008", "SCT"]}}),
        "$.medseg.segments['1'].type",
        "is too short",
    ),
}


@pytest.mark.parametrize(("change", "path", "message"), BREAKS.values(), ids=BREAKS.keys())
def test_metadata_that_breaks_the_specification_is_refused(
    change: Callable[[dict[str, Any]], object], path: str, message: str, tmp_path: Path, content: dict[str, Any]
) -> None:
    change(content)
    with pytest.raises(BundleError) as caught:
        check(content, tmp_path)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{tmp_path / 'metadata.json'}: an error against the MONAI bundle specification:"
    assert [(line.split(": ")[0].strip(), message in line) for line in lines[1:]] == [(path, True)]


def test_metadata_shows_all_its_errors_at_once(tmp_path: Path, content: dict[str, Any]) -> None:
    broken = copy.deepcopy(content)
    del broken["authors"]
    broken["task"] = 3
    image(broken)["dtype"] = None
    pred(broken)["channel_def"] = {"0": "lung", "1": "heart", "2": "rib"}
    with pytest.raises(BundleError, match="4 errors") as caught:
        check(broken, tmp_path)
    for path in ("$: 'authors'", "$.task:", "$.network_data_format.inputs.image.dtype:", "channel_def: '0' is 'lung'"):
        assert path in str(caught.value)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (b'{"version": "1",\n "task": }', "line 2, column 10: no JSON"),
        (b"", "line 1, column 1: no JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[]", "is not of type 'object'"),
        (b'{"network_data_format": [1]}', "is not of type 'object'"),
    ],
    ids=["syntax", "empty", "encoding", "list", "list inside"],
)
def test_metadata_that_is_no_object_is_refused(written: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "metadata.json").write_bytes(written)
    with pytest.raises(BundleError, match=message):
        check_metadata(tmp_path / "metadata.json")


def test_metadata_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"metadata\.json cannot be read; got No such file"):
        read_metadata(tmp_path)
