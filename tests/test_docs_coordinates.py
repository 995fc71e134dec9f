"""The worked example of docs/concepts/coordinates.md is what a DICOM series of these numbers reads as."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from medseg.case import Image
from medseg.dicom import write_series
from medseg.geometry import orientation
from medseg.intake import read_image

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "concepts" / "coordinates.md").read_text(encoding="utf-8")


def matrix(name: str) -> np.ndarray:
    rows = re.search(rf"{name} affine:\s+\[(.+?)\]", TEXT)
    assert rows is not None
    return np.array([[float(value) for value in row.split()] for row in rows[1].split(";")])


def vector(name: str) -> list[float]:
    values = re.search(rf"\b{name} = \((.+?)\)", TEXT)
    assert values is not None
    return [float(value) for value in values[1].split(",")]


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """The example, cut down to 512 x 3 x 4 voxels; its tags are set here, from the text."""
    values = np.arange(512 * 3 * 4).reshape(512, 3, 4).astype(np.int16) // 10
    write_series(Image(values, np.diag([-0.5, -0.5, 2.0, 1.0]), tmp_path), tmp_path / "ct", seed=1)
    for k, path in enumerate(sorted((tmp_path / "ct").iterdir())):
        file = dcmread(path)
        file.ImageOrientationPatient = [*vector("u"), *vector("v")]
        file.ImagePositionPatient = [s + k * d for s, d in zip(vector("S"), vector("d"), strict=True)]
        file.PixelSpacing = [0.5, 0.5]
        file.save_as(path)
    return tmp_path / "ct"


def test_the_series_reads_as_the_document_says(series: Path) -> None:
    image = read_image(series)
    np.testing.assert_allclose(image.affine, matrix("RAS"))
    np.testing.assert_allclose(np.diag([-1, -1, 1, 1]) @ image.affine, matrix("LPS"))
    assert f'orientation: "{orientation(image.affine)}"' in TEXT


def test_the_voxels_lie_where_the_document_says(series: Path) -> None:
    affine = read_image(series).affine
    first, last = affine @ [0, 0, 0, 1], affine @ [511, 0, 0, 1]
    assert f"Voxel (0, 0, 0) is at {first[0]:g} mm right, {first[1]:g} mm in front" in TEXT
    assert f"voxel (511, 0, 0) at {last[0]:g}: on the patient's left" in TEXT


def test_the_normal_is_the_cross_product_of_the_document() -> None:
    assert np.cross(vector("u"), vector("v")).tolist() == vector("n")


def test_every_finding_is_documented() -> None:
    text = (ROOT / "docs" / "how-to" / "inspect-and-fix.md").read_text(encoding="utf-8")
    sources = [*(ROOT / "src" / "medseg" / "intake").glob("*.py"), ROOT / "src" / "medseg" / "pairs.py"]
    found = {code for path in sources for code in re.findall(r'code="([a-z-]+)"', path.read_text(encoding="utf-8"))}
    assert len(found) > 15
    assert {code for code in found if f"`{code}`" not in text} == set()
