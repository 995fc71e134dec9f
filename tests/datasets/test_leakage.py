"""Doubles in a data set: what is found, what is not, and what the report says."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from medseg.case import Array, Image
from medseg.datasets import find_leakage, prepare
from medseg.datasets.leakage import Duplicate, find_duplicates, thumbnail


def picture(array: Array) -> Image:
    return Image(np.asarray(array)[None], np.eye(4), Path("p.png"), None, spacing_known=False)


def volume(array: Array, affine: Array | None = None) -> Image:
    return Image(np.asarray(array)[None], np.eye(4) if affine is None else affine, Path("v.nii"))


def doubles(images: dict[str, Image]) -> list[Duplicate]:
    return find_duplicates({case: thumbnail(image) for case, image in images.items()}, images.__getitem__)


def smooth(seed: int, shape: tuple[int, ...] = (61, 47)) -> Array:
    """A picture of a few random bumps; odd sizes that no thumbnail divides."""
    rng, axes = np.random.default_rng(seed), np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij")
    bumps = [rng.uniform(60, 200) * np.exp(-sum(((x - rng.uniform()) / 0.25) ** 2 for x in axes)) for _ in range(6)]
    return np.clip(sum(bumps), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("flip", [(), (0,), (1,), (0, 1)], ids=["identical", "X", "Y", "XY"])
def test_pictures_are_found_the_other_way_round(flip: tuple[int, ...]) -> None:
    found = doubles({"b": picture(np.flip(smooth(1), flip)), "a": picture(smooth(1)), "c": picture(smooth(2))})
    assert found == [Duplicate(("a", "b"), tuple("XY"[axis] for axis in flip), 0.0)]


def test_a_mirrored_copy_saved_as_jpeg_is_found() -> None:
    stream = io.BytesIO()
    Picture.fromarray(np.ascontiguousarray(smooth(3)[::-1].T)).save(stream, "JPEG", quality=80)
    copy = np.asarray(Picture.open(stream)).T
    assert not np.array_equal(copy[::-1], smooth(3))
    [double] = doubles({"a": picture(smooth(3)), "b": picture(copy)})
    assert double.flipped_axes == ("X",)
    assert 0 < double.mean_difference < 3


@pytest.mark.parametrize("stored", [257, 16], ids=["16 bits", "12 bits"])
def test_the_same_picture_in_more_bits_is_found_mirrored_too(stored: int) -> None:
    deep = smooth(3)[::-1].astype(np.uint16) * stored
    [double] = doubles({"a": picture(smooth(3)), "b": picture(deep), "c": picture(smooth(2))})
    assert (double.cases, double.flipped_axes) == (("a", "b"), ("X",))
    assert double.mean_difference == pytest.approx(0, abs=1e-3)


def test_a_small_lesion_more_is_no_duplicate_of_another_patient() -> None:
    other = smooth(4).astype(np.int16)
    other[10:35, 10:30] += 60
    assert doubles({"a": picture(smooth(4)), "b": picture(other)}) == []


def test_a_symmetric_picture_counts_once_and_sizes_are_kept_apart() -> None:
    half = smooth(5)
    whole = np.concatenate([half, half[::-1]])
    found = doubles({"a": picture(whole), "b": picture(whole), "c": picture(whole[:-1])})
    assert [(double.cases, double.flipped_axes) for double in found] == [(("a", "b"), ())]


def test_three_times_the_same_gives_three_pairs() -> None:
    images = {case: picture(smooth(6)) for case in "abc"}
    assert [double.cases for double in doubles(images)] == [("a", "b"), ("a", "c"), ("b", "c")]


def test_volumes_are_compared_in_the_patient_not_in_the_file() -> None:
    """b is a stored from left to right the other way; c is a with the patient's left and right exchanged."""
    array = smooth(7, (21, 18, 9))
    turned = np.diag([-1.0, 1, 1, 1])
    turned[0, 3] = 20
    found = doubles({"a": volume(array), "b": volume(array[::-1], turned), "c": volume(array[::-1])})
    assert [(double.cases, double.flipped_axes) for double in found] == [
        (("a", "b"), ()),
        (("a", "c"), ("X",)),
        (("b", "c"), ("X",)),
    ]


@pytest.mark.parametrize("axes", ["Y", "Z", "XY", "XYZ"])
def test_volumes_are_found_mirrored_along_any_axis(axes: str) -> None:
    flip = tuple("XYZ".index(axis) for axis in axes)
    array = smooth(8, (21, 18, 9))
    found = doubles({"a": volume(array), "b": volume(np.flip(array, flip)), "c": volume(smooth(9, (21, 18, 9)))})
    assert found == [Duplicate(("a", "b"), tuple(axes), 0.0)]


def save(path: Path, array: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Picture.fromarray(np.ascontiguousarray(array.T)).save(path)


def test_the_report_tells_parts_and_patients(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for i, case in enumerate("abcd"):
        save(tmp_path / "src" / "images" / f"{case}.png", smooth(10 + min(i, 2)) if i < 3 else smooth(10)[::-1])
        save(tmp_path / "src" / "masks" / f"{case}.png", (smooth(i) > 100).astype(np.uint8))
    with caplog.at_level(logging.WARNING, logger="medseg"):
        for seed in range(20):  # until the twins a and d fall into two parts
            out = prepare("pairs", tmp_path / "src", tmp_path / "d.json", seed=seed, fractions=(0.5, 0.25, 0.25))
            report = json.loads((tmp_path / "leakage.json").read_text())
            if report["across_parts"]:
                break
    [entry] = report["duplicates"]
    assert entry["cases"] == entry["patients"] == ["a", "d"]
    assert entry["kind"] == "mirrored"
    assert entry["across_parts"] is True
    assert entry["across_patients"] is True
    assert (report["cases"], report["across_parts"]) == (4, 1)
    assert "stand in two parts: 1" in caplog.text
    assert find_leakage(out) == report


@pytest.mark.real_data
def test_liver_slices_that_stand_once_per_flip_are_found(real_data: Path, tmp_path: Path) -> None:
    """The names say it: the same patient and slice under both flips, and no other pair."""
    source = real_data / "liver_ct_slices"
    out = prepare("pairs", source, tmp_path / "d.json", patient_regex=r"^[a-z]+_(\d+)_")
    slices: dict[str, list[str]] = {}
    for file in sorted((source / "images").iterdir()):
        slices.setdefault(file.stem.split("_", 1)[1], []).append(file.stem)
    twins = [names for names in slices.values() if len(names) == 2]
    report = json.loads((tmp_path / "leakage.json").read_text())
    assert twins
    assert sorted(entry["cases"] for entry in report["duplicates"]) == sorted(twins)
    assert {entry["kind"] for entry in report["duplicates"]} == {"mirrored"}
    assert report["across_parts"] == 0  # twins share a patient
    assert report["patients"] == len({name.split("_")[1] for names in slices.values() for name in names})
    assert out.is_file()


@pytest.mark.real_data
@pytest.mark.parametrize("kind", ["CXR", "ChestCT", "Hand"])
def test_no_false_alarm_among_similar_pictures(real_data: Path, kind: str) -> None:
    files = sorted((real_data / "mednist" / kind).iterdir())
    assert doubles({f.name: picture(np.asarray(Picture.open(f).convert("L")).T) for f in files}) == []
