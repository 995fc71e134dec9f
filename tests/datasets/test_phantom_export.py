"""Phantoms as files: the pairs layout, whole or not at all, the same for the same seed."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image

from medseg.datasets.phantom import ct_phantom, export, write_phantoms
from medseg.errors import DataError, OutputError


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Phantoms of 24 voxels a side, for speed."""
    monkeypatch.setattr(
        export,
        "ct_phantom",
        lambda seed, case_id, wide: ct_phantom(seed, shape=(24, 26, 12), case_id=case_id, wide=wide),
    )


@pytest.mark.usefixtures("small")
def test_ct_pairs_and_series(tmp_path: Path) -> None:
    images = write_phantoms(tmp_path / "data", cases=2, seed=9, kind="ct", dicom=True)
    assert [p.name for p in images] == ["phantom_ct_0001.nii.gz", "phantom_ct_0002.nii.gz"]
    expected = ct_phantom((9, 2), shape=(24, 26, 12), case_id="phantom_ct_0002")
    assert expected.label is not None
    stored = nibabel.load(images[1])
    np.testing.assert_array_equal(np.asarray(stored.dataobj), expected.image.array[0])
    np.testing.assert_allclose(stored.affine, expected.image.affine, atol=1e-3)
    label = nibabel.load(tmp_path / "data" / "labels" / images[1].name)
    np.testing.assert_array_equal(np.asarray(label.dataobj), expected.label.array)
    series = sorted((tmp_path / "data" / "dicom" / "phantom_ct_0002").iterdir())
    assert len(series) == 12
    assert [p.name for p in tmp_path.iterdir()] == ["data"], "nothing half-written stays"


@pytest.mark.usefixtures("small")
def test_same_seed_same_files(tmp_path: Path) -> None:
    first, second = (write_phantoms(tmp_path / name, cases=1, seed=4, kind="ct", dicom=True) for name in "ab")
    a, b = (sorted(p for p in (tmp_path / name).rglob("*") if p.is_file()) for name in "ab")
    assert [p.read_bytes() for p in a] == [p.read_bytes() for p in b]
    assert first[0].name == second[0].name


def test_xray_pairs_and_dicom(tmp_path: Path) -> None:
    (image,) = write_phantoms(tmp_path / "data", cases=1, seed=2, kind="xray", dicom=True)
    pixels = np.asarray(Image.open(image))
    labels = np.asarray(Image.open(tmp_path / "data" / "labels" / image.name))
    assert pixels.shape == labels.shape == (512, 512)
    assert set(np.unique(labels)) == {0, 1, 2, 3}
    (dicom,) = (tmp_path / "data" / "dicom" / "phantom_xray_0001").iterdir()
    np.testing.assert_array_equal(pydicom.dcmread(dicom).pixel_array, pixels)


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(DataError, match="not an empty folder"):
        write_phantoms(tmp_path, cases=1, seed=1, kind="ct", dicom=False)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.usefixtures("small")
def test_wide_phantoms_are_other_ones_and_the_same_for_the_same_seed(tmp_path: Path) -> None:
    wide = [write_phantoms(tmp_path / n, cases=3, seed=4, kind="ct", dicom=False, wide=True) for n in "ab"]
    usual = write_phantoms(tmp_path / "c", cases=3, seed=4, kind="ct", dicom=False)
    first, second, other = ([path.read_bytes() for path in paths] for paths in (*wide, usual))
    assert first == second
    assert first != other


def test_a_negative_seed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a seed is negative; got -1"):
        write_phantoms(tmp_path / "x", cases=1, seed=-1, kind="ct", dicom=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("cases", "kind", "wide", "message"),
    [(0, "ct", False, "0 cases"), (1, "mri", False, "'mri'"), (1, "xray", True, "only CT")],
    ids=["none", "kind", "wide"],
)
def test_wrong_requests_are_refused(tmp_path: Path, cases: int, kind: str, wide: bool, message: str) -> None:
    with pytest.raises(DataError, match=message):
        write_phantoms(tmp_path / "x", cases=cases, seed=1, kind=kind, dicom=False, wide=wide)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "_write_case", full_disk)
    with pytest.raises(OutputError, match="x cannot be written; got No space"):
        write_phantoms(tmp_path / "x", cases=1, seed=1, kind="ct", dicom=False)
    assert list(tmp_path.iterdir()) == []
