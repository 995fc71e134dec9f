"""DICOM to segment, and validators of what comes out."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from medseg.case import Image
from medseg.dicom import write_series, write_xray
from medseg.dicom.codes import SegmentCode, segment_codes
from medseg.intake import read_image

SECRET = "SECRETNAME"
OBLIQUE = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
SHAPE = (40, 36, 6)
NAMES = {0: "background", 1: "left lung", 2: "tumour"}
STATED = {
    "1": {
        "category": ["91723000", "SCT", "Anatomical Structure"],
        "type": ["39607008", "SCT", "Lung"],
        "modifier": ["7771000", "SCT", "Left"],
        "colour": [86, 180, 233],
        "rt_type": "ORGAN",
    },
    "2": {
        "category": ["49755003", "SCT", "Morphologically Abnormal Structure"],
        "type": ["108369006", "SCT", "Neoplasm"],
        "region": ["87784001", "SCT", "Soft tissue"],
        "colour": [230, 159, 0],
        "rt_type": "GTV",
    },
}


@pytest.fixture
def segments() -> dict[int, SegmentCode]:
    return segment_codes(NAMES, STATED, colours={})


@pytest.fixture
def ct(tmp_path: Path) -> Image:
    """An oblique CT series of a named patient, 0.7 x 0.9 x 2.5 mm; HU are -1000 + 10 x + y + z."""
    x, y, z = np.indices(SHAPE)
    affine = np.eye(4)
    affine[:3, :3] = OBLIQUE * (-0.7, -0.9, 2.5)
    affine[:3, 3] = (-12.25, 33.5, -417.125)
    hu = (10 * x + y + z - 1000).astype(np.int16)[None]
    for path in write_series(Image(hu, affine, Path("made"), "CT"), tmp_path / "ct", seed=1):
        _name(path)
    return read_image(tmp_path / "ct")


@pytest.fixture
def xray(tmp_path: Path) -> Image:
    """A chest X-ray of 60 x 50 pixels of 0.3 mm."""
    pixels = np.arange(3000).reshape(1, 60, 50).astype(np.uint16)
    image = Image(pixels, np.diag([0.3, 0.3, 1, 1]), Path("made"), "CR")
    return read_image(_name(write_xray(image, tmp_path / "x.dcm", seed=2)))


def _name(path: Path) -> Path:
    data = pydicom.dcmread(path)
    data.PatientName, data.PatientID, data.StudyDate, data.StudyTime = f"{SECRET}^Given", "P7", "20260102", "101500"
    data.save_as(path)
    return path


@pytest.fixture
def labels() -> np.ndarray:
    """Label 1: a ball with a hole and an island in it, on slices 1 to 4; label 2: two boxes, one at the border."""
    x, y, z = np.indices(SHAPE)
    radius = np.hypot(x - 18, y - 17) + 2 * np.abs(z - 2.5)
    made = np.where((radius < 14) & (radius > 8), 1, 0).astype(np.uint8)
    made[radius < 4] = 1
    made[:5, :3, 2:4] = 2
    made[33:36, 30:34, 3] = 2
    return made


Errors = Callable[[Path], list[str]]


@pytest.fixture
def package_errors() -> Errors:
    """dciodvfy of the package dicom3tools, which knows label maps; it comes with the test extra."""
    tool = Path(sys.executable).with_name("dciodvfy")
    assert tool.exists(), "pip install 'medseg[test]'"
    return lambda path: _errors(str(tool), path)


@pytest.fixture
def debian_errors() -> Errors:
    """dciodvfy of Debian, the one that hospitals and earlier releases know."""
    own = str(Path(sys.executable).parent)
    places = [place for place in os.environ.get("PATH", "").split(os.pathsep) if place != own]
    tool = shutil.which("dciodvfy", path=os.pathsep.join(places))
    if tool is None:
        pytest.skip("dciodvfy is not installed: apt-get install dicom3tools")
    return lambda path: _errors(tool, path)


def _errors(tool: str, path: Path) -> list[str]:
    done = subprocess.run([tool, "-new", str(path)], capture_output=True, text=True, check=False)
    lines = (done.stderr + done.stdout).splitlines()
    assert lines, "it says at least which kind of object it is"
    return [line for line in lines if line.startswith("Error")]
