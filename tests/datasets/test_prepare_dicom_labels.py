"""`medseg data prepare pairs` and `data labels` with masks that come as RTSTRUCT and DICOM SEG."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from medseg.case import Image, Prediction
from medseg.cli import main
from medseg.datasets import prepare
from medseg.dicom import write_series
from medseg.dicom.codes import segment_codes
from medseg.errors import DataError
from medseg.intake import read_image, read_label
from medseg.outputs import Algorithm, Meaning, write_formats

NAMES = {0: "background", 1: "lung", 2: "mass"}
KINDS = {"rtstruct": "rtstruct", "seg": "dicom-seg"}


def _labels(seed: int) -> np.ndarray:
    made = np.zeros((9, 8, 4), np.uint8)
    made[1:4, 2:6, 1:3], made[5 + seed, 2:6, 2] = 1, 2
    return made


@pytest.fixture
def studies(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """images/<case>/ as DICOM series, labels/<case>.dcm as RTSTRUCT or SEG."""
    (tmp_path / "set" / "labels").mkdir(parents=True)
    meaning = Meaning(segment_codes(NAMES, None, colours={}), Algorithm("tiny", "1"), {})
    for seed in range(3):
        hu = np.random.default_rng(seed).integers(-1000, 1000, (1, 9, 8, 4)).astype(np.int16)
        folder = tmp_path / "set" / "images" / f"case{seed}"
        write_series(Image(hu, np.diag([-1.0, -1.0, 2.0, 1.0]), Path("made"), "CT"), folder, seed=seed)
        image = read_image(folder)
        prediction = Prediction(f"case{seed}", Image(_labels(seed), image.affine, folder), NAMES)
        written = write_formats(prediction, image, tmp_path, formats=[request.param], meaning=meaning)
        (tmp_path / written[request.param]).rename(tmp_path / "set" / "labels" / f"case{seed}.dcm")
    return tmp_path / "set"


@pytest.mark.parametrize("studies", KINDS.values(), ids=KINDS, indirect=True)
def test_masks_in_dicom_become_files_on_the_grid_of_their_images(studies: Path, tmp_path: Path) -> None:
    target = prepare("pairs", studies, tmp_path / "datalist.json", fractions=(0.34, 0.33, 0.33))
    content = json.loads(target.read_text(encoding="utf-8"))
    items = {item["id"]: item for part in ("training", "validation", "test") for item in content[part]}
    assert sorted(items) == ["case0", "case1", "case2"]
    for seed in range(3):
        label = read_label(tmp_path / items[f"case{seed}"]["label"])
        np.testing.assert_array_equal(label.array, _labels(seed))
        np.testing.assert_allclose(label.affine, read_image(tmp_path / items[f"case{seed}"]["image"]).affine)


@pytest.mark.parametrize("studies", ["rtstruct"], indirect=True)
def test_a_file_of_names_beside_the_masks_says_which_roi_counts(studies: Path, tmp_path: Path) -> None:
    (studies / "labels" / "names.yaml").write_text("mass: 1\n")
    target = prepare("pairs", studies, tmp_path / "datalist.json", fractions=(0.34, 0.33, 0.33))
    content = json.loads(target.read_text(encoding="utf-8"))
    (item,) = content["test"]
    expected = (_labels(int(item["id"][-1])) == 2).astype(np.uint8)
    np.testing.assert_array_equal(read_label(tmp_path / item["label"]).array, expected)


@pytest.mark.parametrize("studies", ["rtstruct"], indirect=True)
def test_a_mask_of_another_series_is_named(studies: Path, tmp_path: Path) -> None:
    first, second = (studies / "labels" / f"case{seed}.dcm" for seed in (0, 1))
    first.unlink()
    second.rename(first)
    (studies / "images" / "case1").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"case case0: .*case0\.dcm: drawn on another frame of reference"):
        prepare("pairs", studies, tmp_path / "datalist.json")


@pytest.mark.parametrize("studies", ["dicom-seg"], indirect=True)
def test_the_command_turns_a_mask_into_a_file(
    studies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "names.yaml").write_text("mass: 3\n")
    words = ["data", "labels", str(studies / "labels" / "case0.dcm"), "--reference", str(studies / "images" / "case0")]
    output = tmp_path / "new" / "mask.nii.gz"
    assert main([*words, "--names", str(tmp_path / "names.yaml"), "-o", str(output)]) == 0
    assert capsys.readouterr().out == f"{output}: labels 3\n"
    np.testing.assert_array_equal(read_label(output).array, np.where(_labels(0) == 2, 3, 0))
    kept = output.read_bytes()
    assert main([*words, "-o", str(output)]) == 2
    assert ("mask.nii.gz is there already" in capsys.readouterr().err, output.read_bytes()) == (True, kept)
    output.unlink()
    assert main(["data", "labels", str(studies / "images" / "case0" / "0001.dcm"), *words[3:], "-o", str(output)]) == 2
