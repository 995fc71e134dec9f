"""Which DICOM instances an image was read from: in its order, and never a guess among series."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from medseg.case import Image
from medseg.dicom import write_series, write_xray
from medseg.errors import GeometryError
from medseg.intake import read_image
from medseg.intake.dicom_source import source_images


def _series(folder: Path, seed: int, shape: tuple[int, ...] = (4, 3, 5)) -> Path:
    hu = np.arange(np.prod(shape)).reshape(1, *shape).astype(np.int16)
    write_series(Image(hu, np.diag([-1.0, -1.0, 2.0, 1.0]), Path("made"), "CT"), folder, seed=seed)
    return folder


def test_slices_stand_in_the_order_of_the_image_whatever_their_names(tmp_path: Path) -> None:
    folder = _series(tmp_path / "ct", 1)
    for k, path in enumerate(sorted(folder.iterdir())):
        path.rename(folder / f"{(7 * k) % 5}.dcm")
    image = read_image(folder)
    source = source_images(image)
    assert source is not None
    for z, (file, data) in enumerate(zip(source.files, source.datasets, strict=True)):
        stored = pydicom.dcmread(file)
        hu = stored.pixel_array * float(stored.RescaleSlope) + float(stored.RescaleIntercept)
        np.testing.assert_array_equal(hu.T, image.array[0, :, :, z])
        assert source.instances[data.SOPInstanceUID] == z
    assert (source.series, source.frame_of_reference) == (data.SeriesInstanceUID, data.FrameOfReferenceUID)


def test_an_image_that_is_no_dicom_has_none(tmp_path: Path) -> None:
    image = read_image(_series(tmp_path / "ct", 1))
    assert source_images(replace(image, source=tmp_path / "elsewhere.nii.gz")) is None


def test_an_xray_is_its_own_instance(tmp_path: Path) -> None:
    path = write_xray(Image(np.eye(6, dtype=np.uint8)[None], np.eye(4), Path("x"), "CR"), tmp_path / "x.dcm", seed=3)
    source = source_images(read_image(path))
    assert source is not None
    assert (source.files, source.frames, list(source.instances.values())) == ((path,), (), [0])


def _two(tmp_path: Path, *, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> tuple[Path, list[str]]:
    """A folder with two series; their UIDs."""
    uids = []
    (tmp_path / "both").mkdir()
    for seed, shape in enumerate(shapes):
        for path in _series(tmp_path / f"one{seed}", seed, shape).iterdir():
            shutil.copy(path, tmp_path / "both" / f"{seed}_{path.name}")
        uids.append(str(pydicom.dcmread(path).SeriesInstanceUID))
    return tmp_path / "both", uids


def test_of_two_series_the_one_on_the_grid_is_taken(tmp_path: Path) -> None:
    folder, uids = _two(tmp_path, shapes=((4, 3, 5), (4, 3, 6)))
    source = source_images(replace(read_image(tmp_path / "one1"), source=folder))
    assert source is not None
    assert source.series == uids[1]


def test_two_series_on_one_grid_are_no_guess(tmp_path: Path) -> None:
    folder, uids = _two(tmp_path, shapes=((4, 3, 5), (4, 3, 5)))
    image = read_image(tmp_path / "one0")
    with pytest.raises(GeometryError, match="got 2 series on the image's grid; expected one"):
        source_images(replace(image, source=folder))
    chosen = source_images(replace(image, source=folder / f"#{uids[1]}"))
    assert chosen is not None
    assert chosen.series == uids[1]


def test_a_series_that_has_changed_since_is_refused(tmp_path: Path) -> None:
    folder = _series(tmp_path / "ct", 1)
    image = read_image(folder)
    sorted(folder.iterdir())[-1].unlink()
    with pytest.raises(GeometryError, match="got 0 series on the image's grid"):
        source_images(image)
