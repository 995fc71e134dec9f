"""What a bundle says of itself in configs/metadata.json: read, and checked against a schema that needs no download."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.errors import BundleError

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator, ValidationError

logger = logging.getLogger(__name__)

METADATA_FILE = Path("configs") / "metadata.json"
TOP_KEYS = frozenset(
    {
        *("schema", "name", "version", "changelog", "monai_version", "pytorch_version", "numpy_version", "task"),
        *("required_packages_version", "optional_packages_version", "supported_apps", "description", "authors"),
        *("copyright", "data_source", "data_type", "image_classes", "label_classes", "pred_classes", "eval_metrics"),
        *("intended_use", "references", "network_data_format", "medseg"),
    }
)
"""What the specification and medseg put at the top of metadata.json."""
LABELS_PATH = "$.network_data_format.outputs.pred.channel_def"


@dataclass(frozen=True)
class Metadata:
    """The part of metadata.json that medseg goes by; the input is `image`, the output `pred`.

    Attributes
    ----------
    name, version, task, description, copyright
        As they stand in the file; the name is that of the folder where the file gives none.
    labels
        Label value to name, 0 being the background.
    modality
        Of the input: DICOM code ("CT", "MR", "DX") or what the bundle calls it.
    in_channels, spatial_shape
        Of the network's input; a size is a number or an expression such as "16*n".
    data_source
        Where the training data come from.
    weights_license
        SPDX name of the licence of models/model.pt, where the bundle states it.
    segments
        Label value as text to its DICOM codes and colour, as `medseg.dicom.codes.segment_codes` takes them.
    """

    name: str
    version: str
    task: str
    description: str
    copyright: str
    labels: dict[int, str]
    modality: str
    in_channels: int
    spatial_shape: tuple[int | str, ...]
    data_source: str | None
    weights_license: str | None
    segments: Mapping[str, Mapping[str, Any]]

    @property
    def spatial_dims(self) -> int:
        """2 for pictures, 3 for volumes."""
        return len(self.spatial_shape)


def read_metadata(bundle: Path) -> Metadata:
    """The checked metadata of the bundle in the folder `bundle`.

    Raises
    ------
    BundleError
        Where configs/metadata.json is missing, no JSON, or breaks the specification; all breaks are named.
    """
    content = check_metadata(bundle / METADATA_FILE)
    image = content["network_data_format"]["inputs"]["image"]
    channels = content["network_data_format"]["outputs"]["pred"]["channel_def"]
    return Metadata(
        name=content.get("name", bundle.resolve().name),
        version=content["version"],
        task=content["task"],
        description=content["description"],
        copyright=content["copyright"],
        labels={value: channels[str(value)] for value in range(len(channels))},
        modality=image["modality"],
        in_channels=image["num_channels"],
        spatial_shape=tuple(image["spatial_shape"]),
        data_source=content.get("data_source"),
        weights_license=content.get("medseg", {}).get("weights_license"),
        segments=content.get("medseg", {}).get("segments", {}),
    )


def check_metadata(path: Path) -> dict[str, Any]:
    """The content of the metadata.json at `path`, once it keeps to MONAI's bundle specification.

    Raises
    ------
    BundleError
        With every violation, each after its JSON path ($.network_data_format.inputs.image.dtype).
    """
    content = _read_json(path)
    found = [f"{place}: {what}" for place, what in metadata_breaks(content, segmentation=True)]
    if found:
        many = f"{len(found)} errors" if len(found) > 1 else "an error"
        raise BundleError("\n  ".join([f"{path}: {many} against the MONAI bundle specification:", *sorted(found)]))
    return dict(content)


def metadata_breaks(content: object, *, segmentation: bool) -> Iterator[tuple[str, str]]:
    """Every break of the specification: its JSON path, and what is wrong there.

    Parameters
    ----------
    content
        Of a metadata.json.
    segmentation
        Whether medseg has to be able to run it: an input `image`, an output `pred` whose channels are labels.
    """
    validator = _validator()
    if validator is not None:
        yield from ((error.json_path, _message(error)) for error in validator.iter_errors(content))
    if segmentation:
        for text in _segmentation_errors(content):
            place, _, what = text.partition(": ")
            yield place, what


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BundleError(f"{path} cannot be read", got=error.strerror, expected="the metadata of a bundle") from error
    except UnicodeDecodeError as error:
        raise BundleError(
            f"{path} is no text", got=f"byte {error.start} not UTF-8", expected="JSON in UTF-8"
        ) from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise BundleError(f"{path}, {where}: no JSON: {error.msg}") from error
    except RecursionError as error:
        raise BundleError(f"{path}: no JSON: nested too deeply") from error


@cache
def _validator() -> Draft202012Validator | None:
    """None, with a warning, where little but torch is installed: on a machine that is lent for a training."""
    try:
        from jsonschema import Draft202012Validator
    except ImportError:
        logger.warning("metadata.json is not held against the bundle specification: jsonschema is not installed")
        return None
    schema = resources.files("medseg.bundle").joinpath("metadata.schema.json").read_text(encoding="utf-8")
    return Draft202012Validator(json.loads(schema))


def _message(error: ValidationError) -> str:
    if error.validator == "anyOf" and error.json_path == "$":
        return "'required_packages_version' is a required property ('optional_packages_version' in older bundles)"
    if error.validator == "anyOf":
        return f"{error.instance!r} is neither [] nor [MIN, MAX]"
    if error.validator == "oneOf":
        return f'{error.instance!r} is neither a size >= 1 nor an expression such as "16*n"'
    return error.message


def _segmentation_errors(content: object) -> Iterator[str]:
    """What medseg asks beyond the specification: an input `image`, and an output `pred` whose channels are labels."""
    formats = _dig(content, "network_data_format")
    for group, name in (("inputs", "image"), ("outputs", "pred")):
        if isinstance(_dig(formats, group), Mapping) and _dig(formats, group, name) is None:
            yield f"$.network_data_format.{group}: '{name}' is a required property of a segmentation bundle"
    channels = _dig(formats, "outputs", "pred", "channel_def")
    segments = _dig(content, "medseg", "segments")
    if isinstance(segments, Mapping) and isinstance(channels, Mapping):
        for value in sorted(set(segments) - set(channels)):
            yield f"$.medseg.segments: label {value} is not in {LABELS_PATH}"
    if isinstance(channels, Mapping) and channels:
        yield from _channel_errors(channels, _dig(formats, "outputs", "pred", "num_channels"))


def _channel_errors(channels: Mapping[str, object], num_channels: object) -> Iterator[str]:
    wanted = [str(value) for value in range(len(channels))]
    if sorted(channels) != sorted(wanted):
        yield f"{LABELS_PATH}: labels {', '.join(channels)} are not consecutive from 0"
    if str(channels.get("0", "background")).lower() != "background":
        yield f"{LABELS_PATH}: '0' is {channels['0']!r} and not 'background'"
    if isinstance(num_channels, int) and num_channels not in (1, len(channels)):
        yield f"{LABELS_PATH}: {len(channels)} labels, but num_channels is {num_channels}"
    names = [str(name) for name in channels.values()]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{LABELS_PATH}: two labels are called {name!r}"


def _dig(content: object, *keys: str) -> Any:
    for key in keys:
        content = content.get(key) if isinstance(content, Mapping) else None
    return content
