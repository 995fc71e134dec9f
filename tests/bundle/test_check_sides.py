"""Left and right in mirrored images: copies of a bundle whose labels are others now."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from medseg.bundle import find_bundle
from medseg.bundle.check import check_static
from medseg.bundle.metadata import METADATA_FILE
from medseg.bundle.new import new_bundle

SWAPPED = "{} and {} change places in mirrored images; got [1, 2]; expected labels that are each other's mirror image"
KEPT = "mirrors left and right, where {} keep their names; expected {} among its swaps"


@pytest.fixture
def told(tmp_path: Path) -> Callable[..., set[str]]:
    """What is said of a copy of a bundle with labels of these names, without the places."""

    def check(source: str, *names: str) -> set[str]:
        folder = new_bundle("copy", source=find_bundle(source), parent=tmp_path)
        metadata = json.loads((folder / METADATA_FILE).read_text(encoding="utf-8"))
        output = metadata["network_data_format"]["outputs"]["pred"]
        output["channel_def"] = {str(value): name for value, name in enumerate(("background", *names))}
        output["num_channels"] = 1 + len(names)
        (folder / METADATA_FILE).write_text(json.dumps(metadata), encoding="utf-8")
        return {one.text(folder).partition(": warning: ")[2] for one in check_static(folder, "train")}

    return check


@pytest.mark.parametrize(
    "names",
    [("left lung", "right lung", "heart"), ("Lung_R", "Lung_L", "heart"), ("linke Lunge", "rechte Lunge", "Herz")],
    ids=["as shipped", "other words", "another language"],
)
def test_left_and_right_of_the_same_may_change_places(told: Callable[..., set[str]], names: tuple[str, ...]) -> None:
    assert told("cxr_heart_lung", *names) == set()


@pytest.mark.parametrize(
    "names", [("heart", "aorta", "clavicle"), ("left lung", "left clavicle", "heart")], ids=["organs", "of one side"]
)
def test_other_labels_must_not(told: Callable[..., set[str]], names: tuple[str, ...]) -> None:
    found = told("cxr_heart_lung", *names)
    assert {text.partition(": ")[0] for text in found} == {"inferer::mirror", "train::augmentation::0"}
    assert all(SWAPPED.format(*names) in text for text in found)


def test_a_pair_that_the_copy_has_more_is_missed(told: Callable[..., set[str]]) -> None:
    found = told("cxr_heart_lung", "left lung", "right lung", "clavicle left", "Clavicle_Right")
    kept = "clavicle left and Clavicle_Right"
    transforms = {"inferer::mirror": "Mirror", "train::augmentation::0": "RandMirrorLabelsd"}
    assert found == {f"{name} {KEPT.format(kept, f'{kind} with [3, 4]')}" for name, kind in transforms.items()}


def test_a_flip_that_knows_no_labels_is_told_where_they_have_sides(told: Callable[..., set[str]]) -> None:
    found = told("mr_hippocampus", "left hippocampus", "right hippocampus")
    (flip,) = [text for text in found if text.startswith("train::augmentation::2")]
    kept, better = "left hippocampus and right hippocampus", "medseg.transforms.RandMirrorLabelsd with [1, 2]"
    assert KEPT.format(kept, better) in flip
    assert len(found) == 2
