"""Damaged RTSTRUCT and DICOM SEG: refused by name, or a mask on the image's grid; never another where it is cut."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from robustness_fuzz import random_damage, systematic_damage
from robustness_seeds import SECRET, SEEDS, dicom, save

from medseg.errors import MedsegError
from medseg.intake import read_image, read_label

FRAME = "1.2.3.77"
BOX = np.zeros((5, 6, 4), np.uint8)
BOX[1:4, 1:5, 1:3] = 1


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """Four slices with what a SEG wants of its source."""
    (tmp_path / "ct").mkdir()
    SEEDS["series"](tmp_path / "ct")
    for path in (tmp_path / "ct").iterdir():
        file = dcmread(path)
        file.FrameOfReferenceUID, file.PositionReferenceIndicator = FRAME, ""
        for name in ("PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate", "StudyTime"):
            setattr(file, name, "")
        file.ReferringPhysicianName = ""
        file.save_as(path)
    return tmp_path / "ct"


def rtstruct(series: Path, path: Path) -> Path:
    """BOX as two contours along pixel borders."""
    slices = [dcmread(file) for file in sorted(series.iterdir())]
    contours = []
    for k in (1, 2):
        (left, right), (top, bottom) = (
            [o + s * v for v in ends] for o, s, ends in ((-11, 0.7, (0.5, 3.5)), (-12, 0.8, (0.5, 4.5)))
        )
        points = [(left, top), (right, top), (right, bottom), (left, bottom)]
        source = item(ReferencedSOPClassUID=slices[k].SOPClassUID, ReferencedSOPInstanceUID=slices[k].SOPInstanceUID)
        contours.append(
            item(
                ContourGeometricType="CLOSED_PLANAR",
                NumberOfContourPoints=4,
                ContourData=[f"{v:.4f}" for x, y in points for v in (x, y, -30 + 2.5 * k)],
                ContourImageSequence=[source],
            )
        )
    data = dicom("1.2.840.10008.5.1.4.1.1.481.3", Modality="RTSTRUCT", FrameOfReferenceUID=FRAME)
    data.StructureSetROISequence = [item(ROINumber=1, ROIName="box", ReferencedFrameOfReferenceUID=FRAME)]
    data.ROIContourSequence = [item(ReferencedROINumber=1, ContourSequence=contours)]
    return save(data, path)


def seg(series: Path, path: Path) -> Path:
    """BOX as highdicom writes it, binary."""
    hd = pytest.importorskip("highdicom", reason="pip install 'medseg[dicom]'")
    code = hd.sr.CodedConcept("39607008", "SCT", "Lung")
    box = hd.seg.SegmentDescription(1, "box", code, code, "MANUAL")
    slices = [dcmread(file) for file in sorted(series.iterdir())]
    uids, kind = [generate_uid(), generate_uid()], hd.seg.SegmentationTypeValues.BINARY
    made = hd.seg.Segmentation(slices, BOX.T.astype(bool), kind, [box], uids[0], 9, uids[1], 1, "m", "m", "1", "1")
    made.save_as(path)
    return path


def item(**values: Any) -> Dataset:
    data = Dataset()
    for name, value in values.items():
        setattr(data, name, value)
    return data


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("write", [rtstruct, seg], ids=["rtstruct", "seg"])
def test_a_damaged_mask_is_refused_by_name_or_lies_on_the_image(tmp_path: Path, series: Path, write: Any) -> None:
    path, image = write(series, tmp_path / "mask.dcm"), read_image(series)
    good, draw, read = path.read_bytes(), random.Random(5), 0
    said: list[str] = []
    np.testing.assert_array_equal(read_label(path, reference=image).array, BOX)
    damaged = [*list(systematic_damage("slice", path))[::6], *(random_damage("mask", good, draw) for _ in range(60))]
    for bad in damaged:
        path.write_bytes(bad.data)
        try:
            label = read_label(path, reference=image)
        except MedsegError as error:
            said.append(str(error))
        else:
            read += 1
            assert label.array.shape == BOX.shape
            if bad.damage in ("truncated", "cut"):
                np.testing.assert_array_equal(label.array, BOX)
    assert [text for text in said if "mask.dcm" not in text or SECRET in text] == []
    assert len(said) > 60
    assert read > 5
