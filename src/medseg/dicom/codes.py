"""What a label means to DICOM: coded concepts (SNOMED CT) and a colour, as a bundle's metadata.json states them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from medseg.errors import BundleError

Rgb: TypeAlias = tuple[int, int, int]

RT_TYPES = ("ORGAN", "GTV", "CTV", "PTV", "AVOIDANCE", "CAVITY", "CONTROL", "")
PRIVATE_SCHEME = "99MEDSEG"
"""Coding scheme of labels whose bundle states no code: designators that begin with 99 are private (PS3.16, 8.2)."""

_KNOWN = {"category", "type", "modifier", "region", "colour", "rt_type"}


@dataclass(frozen=True)
class Code:
    """A coded concept.

    Attributes
    ----------
    value, scheme, meaning
        Such as "39607008", "SCT" (SNOMED CT), "Lung".
    """

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True)
class SegmentCode:
    """What the segment of one label value is.

    Attributes
    ----------
    name
        The label's name in the bundle.
    category, type
        Segmented property category (CID 7150) and type (CID 7151).
    modifier
        Of the type, such as its laterality; None where there is none.
    region
        Anatomic region, where the type does not tell it.
    colour
        Red, green, blue from 0 to 255.
    rt_type
        RT ROI Interpreted Type for RTSTRUCT: "ORGAN", "GTV", ...
    """

    name: str
    category: Code
    type: Code
    modifier: Code | None = None
    region: Code | None = None
    colour: Rgb = (255, 255, 255)
    rt_type: str = ""


TISSUE = Code("85756007", "SCT", "Tissue")


def segment_codes(
    labels: Mapping[int, str], stated: Mapping[str, Mapping[str, Any]] | None, *, colours: Mapping[int, Rgb]
) -> dict[int, SegmentCode]:
    """The code of every label but the background.

    Parameters
    ----------
    labels
        Label value to name.
    stated
        `medseg.segments` of metadata.json: label value as text to {category, type, modifier, region, colour,
        rt_type}, codes as [value, scheme, meaning]. A label that is not there becomes a tissue with a private code.
    colours
        Colour of a label value where none is stated.

    Raises
    ------
    BundleError
        Unknown keys or labels, codes or colours that are none; all at once.
    """
    entries = stated or {}
    problems = [f"label {value!r} is not in channel_def" for value in entries if value not in map(str, labels)]
    codes: dict[int, SegmentCode] = {}
    for value, name in labels.items():
        if value == 0:
            continue
        entry = entries.get(str(value), {})
        problems += [f"label {value}: {problem}" for problem in _problems(entry)]
        if not problems:
            codes[value] = _segment(value, name, entry, colours.get(value, (255, 255, 255)))
    if problems:
        raise BundleError("metadata.json, medseg.segments: " + "; ".join(problems))
    return codes


def _segment(value: int, name: str, entry: Mapping[str, Any], colour: Rgb) -> SegmentCode:
    def code(key: str) -> Code | None:
        return Code(*entry[key]) if key in entry else None

    return SegmentCode(
        name=name,
        category=code("category") or TISSUE,
        type=code("type") or Code(f"label-{value}", PRIVATE_SCHEME, name[:64]),
        modifier=code("modifier"),
        region=code("region"),
        colour=_colour(entry["colour"]) if "colour" in entry else colour,
        rt_type=entry.get("rt_type", ""),
    )


def _colour(values: Sequence[int]) -> Rgb:
    red, green, blue = (int(v) for v in values)
    return red, green, blue


def _problems(entry: Mapping[str, Any]) -> list[str]:
    found = [f"unknown key {key!r}, expected {', '.join(sorted(_KNOWN))}" for key in sorted(set(entry) - _KNOWN)]
    for key in ("category", "type", "modifier", "region"):
        code = entry.get(key)
        if code is not None and not (_is_list(code, 3) and all(isinstance(part, str) and part for part in code)):
            found.append(f"{key} is {code!r}, expected [value, scheme, meaning]")
    colour = entry.get("colour")
    if colour is not None and not (_is_list(colour, 3) and all(isinstance(c, int) and 0 <= c <= 255 for c in colour)):
        found.append(f"colour is {colour!r}, expected [red, green, blue] from 0 to 255")
    if entry.get("rt_type", "") not in RT_TYPES:
        found.append(f"rt_type is {entry['rt_type']!r}, expected one of {', '.join(filter(None, RT_TYPES))}")
    return found


def _is_list(value: object, length: int) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and len(value) == length
