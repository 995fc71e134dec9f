"""Codes of labels: from a bundle's metadata, and what stands in where it states none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydicom.sr import codedict

from medseg.dicom.codes import Code, segment_codes
from medseg.errors import BundleError

LUNG = {"category": ["91723000", "SCT", "Anatomical Structure"], "type": ["39607008", "SCT", "Lung"]}
NAMES = {0: "background", 1: "left lung", 2: "mass"}
BUNDLES = sorted((Path(__file__).parents[2] / "bundles").iterdir())


def test_codes_are_read_and_the_background_has_none() -> None:
    stated = {"1": {**LUNG, "modifier": ["7771000", "SCT", "Left"], "colour": [1, 2, 3], "rt_type": "ORGAN"}}
    codes = segment_codes(NAMES, stated, colours={2: (4, 5, 6)})
    assert list(codes) == [1, 2]
    assert (codes[1].type, codes[1].modifier) == (Code("39607008", "SCT", "Lung"), Code("7771000", "SCT", "Left"))
    assert (codes[1].colour, codes[1].rt_type, codes[1].region) == ((1, 2, 3), "ORGAN", None)


def test_a_label_without_a_code_keeps_its_name_in_a_private_scheme() -> None:
    codes = segment_codes(NAMES, None, colours={2: (4, 5, 6)})
    assert (codes[2].type.scheme, codes[2].type.meaning, codes[2].colour) == ("99MEDSEG", "mass", (4, 5, 6))
    assert codes[2].category == Code("85756007", "SCT", "Tissue")


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no_such_label": ({"3": LUNG}, "label '3' is not in channel_def"),
    "unknown_key": ({"1": {**LUNG, "color": [1, 2, 3]}}, "unknown key 'color'"),
    "short_code": ({"1": {**LUNG, "type": ["39607008", "SCT"]}}, "type is"),
    "colour_out_of_range": ({"1": {**LUNG, "colour": [0, 0, 256]}}, "colour is"),
    "rt_type": ({"1": {**LUNG, "rt_type": "TUMOUR"}}, "rt_type is 'TUMOUR'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_codes_are_refused(name: str) -> None:
    stated, message = REFUSED[name]
    with pytest.raises(BundleError, match=message):
        segment_codes(NAMES, stated, colours={})


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda folder: folder.name)
def test_every_shipped_label_has_codes_that_dicom_knows(bundle: Path) -> None:
    content = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
    labels = {int(v): n for v, n in content["network_data_format"]["outputs"]["pred"]["channel_def"].items()}
    codes = segment_codes(labels, content["medseg"]["segments"], colours={})
    assert sorted(content["medseg"]["segments"]) == sorted(str(value) for value in codes)
    known = {(code.value, code.meaning) for code in map(codedict.codes.SCT.__getattr__, codedict.codes.SCT.dir())}
    for segment in codes.values():
        for code in filter(None, (segment.category, segment.type, segment.modifier, segment.region)):
            assert code.scheme == "SCT"
            assert (code.value, code.meaning) in known
    assert len({segment.colour for segment in codes.values()}) == len(codes), "each label its own colour"
