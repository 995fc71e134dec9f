"""`medseg score`: the flags for tolerances, tubes and lesions, down to the columns of scores.csv."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image as Picture

from medseg.cli import main


def write_volume(path: Path, labels: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(labels.astype(np.uint8), np.diag([1.0, 1.0, 2.0, 1.0])), path)


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "scores.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def masks(tmp_path: Path) -> list[str]:
    """Case a: one of two lesions found; case b: label 2 only, found."""
    truth, prediction = np.zeros((2, 12, 12, 6))
    truth[1:4, 1:4, 1:3], truth[8:11, 8:11, 1:3] = 1, 1
    prediction[1:4, 1:4, 1:3] = 1
    tube = np.zeros((12, 12, 6))
    tube[5, 5, :] = 2
    for folder, of_a in (("masks", prediction), ("truth", truth)):
        write_volume(tmp_path / folder / "a.nii.gz", of_a)
        write_volume(tmp_path / folder / "b.nii.gz", tube)
    return [str(tmp_path / "masks"), str(tmp_path / "truth"), "-o", str(tmp_path / "scores")]


def test_every_column_that_was_asked_for(masks: list[str]) -> None:
    asked = ["--tolerance-mm", "2", "0.5", "--tubes", "2", "--lesions", "1", "--lesion-iou", "0.5"]
    assert main(["score", *masks, *asked, "--quiet"]) == 0
    rows = {(row["case"], row["region"]): row for row in table(Path(masks[-1]))}
    lesion = rows["a", "label 1"]
    assert (lesion["lesions_truth"], lesion["lesions_matched"], lesion["lesion_f1"]) == ("2", "1", "0.666667")
    # of the two surfaces, one of two pieces and the one, two thirds lie on each other
    assert (lesion["nsd_0.5mm"], lesion["cldice"]) == ("0.666667", "")
    assert float(lesion["hd95_mm"]) > 7
    assert (lesion["truth_ml"], lesion["volume_error_relative"], lesion["specificity"]) == ("0.072", "0.5", "1")
    # case b holds no label 1 and case a no label 2: empty in both masks, and all scores are there
    assert (rows["b", "label 1"]["empty"], rows["b", "label 1"]["lesion_f1"]) == ("both", "1")
    assert (rows["a", "label 2"]["empty"], rows["a", "label 2"]["cldice"]) == ("both", "1")
    assert (rows["a", "label 2"]["hd95_mm"], rows["a", "label 2"]["nsd_2mm"]) == ("0", "1")
    assert rows["b", "label 2"]["cldice"] == "1"
    header = list(table(Path(masks[-1]))[0])
    assert header.index("nsd_0.5mm") + 1 == header.index("nsd_2mm")


def test_a_label_that_no_mask_holds_is_scored_where_it_is_named(masks: list[str]) -> None:
    assert main(["score", *masks, "--lesions", "7", "--lesion-mm", "5", "--quiet"]) == 0
    named = [row for row in table(Path(masks[-1])) if row["region"] == "label 7"]
    assert [(row["case"], row["empty"], row["lesion_f1"]) for row in named] == [("a", "both", "1"), ("b", "both", "1")]


def test_pictures_without_spacing_are_measured_in_pixels(tmp_path: Path) -> None:
    for folder, columns in (("masks", np.s_[2:6]), ("truth", np.s_[3:7])):
        (tmp_path / folder).mkdir()
        labels = np.zeros((10, 10), dtype=np.uint8)
        labels[2:8, columns] = 1
        Picture.fromarray(labels).save(tmp_path / folder / "x.png")
    arguments = [str(tmp_path / name) for name in ("masks", "truth")]
    done = main(
        ["score", *arguments, "-o", str(tmp_path / "s"), "--tolerance-px", "1", "--tolerance-mm", "1", "--quiet"]
    )
    assert done == 0
    (row,) = table(tmp_path / "s")
    assert (row["hd_px"], row["nsd_1px"], row["truth_px"], row["area_error_px"]) == ("1", "1", "24", "0")
    assert not [name for name in row if "mm" in name]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        pytest.param(["--lesions", "1"], "--lesions 1 --lesion-iou", id="lesions-without-a-rule"),
        pytest.param(["--lesion-mm", "3"], "--lesions 1 --lesion-iou", id="a-rule-without-lesions"),
        pytest.param(["--lesions", "1", "--lesion-mm", "3", "--lesion-iou", ".5"], "not allowed with", id="two-rules"),
        pytest.param(["--tolerance-mm", "0"], "expected a length above 0", id="no-tolerance"),
        pytest.param(["--tolerance-mm", "wide"], "expected a length above 0", id="a-word"),
        pytest.param(["--lesions", "1", "--lesion-iou", "1"], "expected a share", id="iou-of-one"),
        pytest.param(["--tubes", "0"], "expected a label value", id="background"),
    ],
)
def test_flags_that_make_no_sense_are_refused(flags, message, masks, capsys) -> None:
    assert main(["score", *masks, *flags]) == 2
    assert message in capsys.readouterr().err


def test_scoring_masks_waits_for_neither_torch_nor_monai(masks: list[str]) -> None:
    code = (
        "import sys\nfrom medseg.cli import main\n"
        f"assert main(['score', *{masks!r}, '--tolerance-mm', '1', '--quiet']) == 0\n"
        "sys.stdout.write(' '.join(sorted({'torch', 'monai', 'ignite'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
