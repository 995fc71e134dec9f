"""The data sheet: split, fingerprint of the images, images and patients that stand twice."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from report_parts import make_run, parse, table_of

from medseg.errors import DataError
from medseg.review.report import write_report
from medseg.review.report.datasheet import fingerprint, of_datalist


def datalist(folder: Path, parts: Mapping[str, Sequence[int]], *, patients: Mapping[str, str] | None = None) -> Path:
    """Pictures of 40 x 30 pixels of noise, one for each seed; equal seeds make equal pictures."""
    content: dict[str, Any] = {"name": "noise", "training": [], "validation": [], "test": []}
    for part, seeds in parts.items():
        for i, seed in enumerate(seeds):
            name = f"{part}_{i}"
            pixels = np.random.default_rng(seed).integers(0, 200 + seed, (30, 40), np.uint8)
            Pillow.fromarray(pixels).save(folder / f"{name}.png")
            Pillow.fromarray((pixels > 100).astype(np.uint8)).save(folder / f"{name}_mask.png")
            patient = (patients or {}).get(name, name)
            item = {"id": name, "patient": patient, "image": f"{name}.png", "label": f"{name}_mask.png"}
            content[part].append(item)
    path = folder / "datalist.json"
    path.write_text(json.dumps(content))
    return path


def test_split_and_fingerprint(tmp_path: Path) -> None:
    path = datalist(tmp_path, {"training": [1, 2, 3], "validation": [4], "test": [5, 6]})
    run = make_run(tmp_path / "run")
    root = parse(write_report([run], tmp_path / "report.html", datalist=path))
    rows = {row["Part"][0]: (row["Cases"][0], row["Patients"][0]) for row in table_of(root, "Split")}
    assert rows == {"training": ("3", "3"), "validation": ("1", "1"), "test": ("2", "2")}
    told = {row["Images"][0]: row for row in table_of(root, "Fingerprint")}
    assert told["size X (voxels)"]["training (n 3)"][0] == "40"
    assert told["size Y (voxels)"]["test (n 2)"][0] == "30"
    assert told["spacing X (mm)"]["training (n 3)"][0] == "unknown"
    assert told["intensity, all values"]["test (n 2)"][0].startswith("0 to 20")
    assert "No patient stands in two parts (6 patients)." in root.text
    assert "No image stands twice, as it is or mirrored (6 images compared)." in root.text


def test_an_image_that_stands_in_two_parts_is_told(tmp_path: Path) -> None:
    sheet = of_datalist(datalist(tmp_path, {"training": [1, 2], "test": [1]}), read_images=True)
    assert sheet.leakage == [
        ("No patient stands in two parts (3 patients).", False),
        ("1 pair of the same image, as it is or mirrored; 1 across two parts, so scores are too good.", True),
        ("test_0 and training_0: identical, in test and training.", True),
    ]


def test_a_patient_in_two_parts_is_told_even_though_no_run_would_take_the_list(tmp_path: Path) -> None:
    path = datalist(tmp_path, {"training": [1], "test": [2]}, patients={"training_0": "p", "test_0": "p"})
    sheet = of_datalist(path, read_images=True)
    assert sheet.leakage == [("1 patient in two parts: p.", True)]
    assert "could not all be read" in sheet.missing[0]


def test_images_that_are_gone_and_images_that_are_not_read_are_two_things(tmp_path: Path) -> None:
    path = datalist(tmp_path, {"training": [1], "test": [2]})
    assert "(--no-images)" in of_datalist(path, read_images=False).missing[0]
    (tmp_path / "training_0.png").unlink()
    sheet = of_datalist(path, read_images=True)
    assert "could not all be read" in sheet.missing[0]
    assert [table.caption for table in sheet.tables] == ["Split"]


def test_spacing_and_size_of_mixed_volumes_by_hand() -> None:
    def image(z: int, mm: float) -> dict[str, Any]:
        intensity = {"min": -5.0, "p1": 0.0, "median": z, "p99": 9.0, "max": 10.0, "mean": 1.0, "sd": 1.0}
        about = {"size": [4, 4, z], "spacing_mm": [1.0, 1.0, mm], "orientation": "LPS", "modality": "CT"}
        return {**about, "intensity": intensity}

    table = fingerprint({"all": [image(10, 2.5), image(20, 5.0), image(60, 1.25)]})
    told = {row[0].text: row[1].text for row in table.rows}
    assert told["size Z (voxels)"] == "20 (10 to 60)"
    assert told["spacing Z (mm)"] == "2.5 (1.25 to 5)"
    assert told["spacing X (mm)"] == "1"
    assert told["orientation"] == "LPS"


@pytest.mark.parametrize("content", ["{", "[]", '{"name": "x"}'])
def test_a_file_that_is_no_datalist_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "list.json").write_text(content)
    with pytest.raises(DataError, match="no datalist"):
        of_datalist(tmp_path / "list.json", read_images=False)
