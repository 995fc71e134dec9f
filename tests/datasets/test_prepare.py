"""Preparing data sets: each layout, what it refuses, and the patients."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image as Picture
from prepare_parts import ALL, decathlon, montgomery, noise, pairs, picture, square, values, volume

from medseg.datasets import load_datalist, prepare, read_datalist
from medseg.errors import DataError, LabelError, OutputError


def test_montgomery_merges_the_organs_and_the_lung_wins(tmp_path: Path) -> None:
    """Left and right overlap in column 1 of `montgomery`: the left one wins; the heart keeps what no lung covers."""
    source = montgomery(tmp_path / "src")
    picture(source / "ManualMask" / "heartMask" / "x1.png", [[0, 0, 0, 255]] + [[0] * 4] * 2 + [[255] * 4])
    out = prepare("montgomery", source, tmp_path / "lists" / "cxr.json", **ALL)
    [case] = load_datalist(out, "training")
    assert case["label"] == str(tmp_path / "lists" / "cxr_labels" / "x1.png")
    assert values(Path(case["label"])) == [[2, 1, 1, 3], [2, 1, 1, 0], [2, 2, 1, 1], [2, 2, 1, 1]]
    content = read_datalist(out)
    assert content["labels"] == {"0": "background", "1": "left lung", "2": "right lung", "3": "heart"}
    assert content["training"][0]["image"] == "../src/CXR_png/x1.png"


def test_montgomery_without_hearts_has_two_labels(tmp_path: Path) -> None:
    out = prepare("montgomery", montgomery(tmp_path / "src", heart=False), tmp_path / "d.json", **ALL)
    assert read_datalist(out)["labels"] == {"0": "background", "1": "left lung", "2": "right lung"}


def test_montgomery_names_every_missing_mask(tmp_path: Path) -> None:
    source = montgomery(tmp_path / "src")
    noise(source / "CXR_png" / "x2.png", 1, 4)
    picture(source / "ManualMask" / "leftMask" / "x3.png", [[0, 255]] * 2)
    with pytest.raises(DataError) as info:
        prepare("montgomery", source, tmp_path / "d.json", **ALL)
    assert "case x2: no file in leftMask, rightMask, heartMask" in str(info.value)
    assert "case x3: no file in CXR_png, rightMask, heartMask" in str(info.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["src"]


def test_a_name_that_is_not_utf_8_is_told_and_nothing_written(tmp_path: Path) -> None:
    for name in ("images", "masks"):
        picture(tmp_path / name / os.fsdecode(b"M\xfcller.png"), [[0, 1], [1, 0]])
    with pytest.raises(DataError, match=r"not UTF-8; got 1 such as b'.*/images/M\\xfcller\.png'"):
        prepare("pairs", tmp_path, tmp_path / "d.json", **ALL)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["images", "masks"]


def test_a_folder_that_may_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read all, so the refusal of the system is played."""
    for name in ("images", "masks"):
        noise(tmp_path / name / "x1.png", 1, 4)
    listed = Path.iterdir

    def refusing(path: Path) -> Any:
        if path.name == "masks":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", refusing)
    with pytest.raises(DataError, match=r"masks: the folder cannot be read; got Permission denied"):
        prepare("pairs", tmp_path, tmp_path / "d.json", **ALL)


def test_folders_of_images_in_the_folder_of_images_are_told(tmp_path: Path) -> None:
    for name in ("images", "masks"):
        (tmp_path / name / "site_a").mkdir(parents=True)
        noise(tmp_path / name / "site_a" / "x1.png", 1, 4)
    with pytest.raises(DataError, match=r"got 1 such as site_a/ with x1\.png; expected .*; move them up"):
        prepare("pairs", tmp_path, tmp_path / "d.json", **ALL)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[0, 128, 255, 0]] * 4, r"case x1: mask .*x1\.png is not binary; got \[0, 128, 255\]"),
        ([[0, 255]] * 2, r"case x1: masks of different size; got \(2, 2\)"),
    ],
    ids=["grey", "size"],
)
def test_montgomery_refuses_masks_that_are_none(tmp_path: Path, rows: list[list[int]], message: str) -> None:
    source = montgomery(tmp_path / "src")
    picture(source / "ManualMask" / "rightMask" / "x1.png", rows)
    with pytest.raises(DataError, match=message):
        prepare("montgomery", source, tmp_path / "d.json", **ALL)


def test_decathlon_keeps_names_and_files(tmp_path: Path) -> None:
    out = prepare("decathlon", decathlon(tmp_path / "src"), tmp_path / "d.json", fractions=(0.34, 0.33, 0.33))
    content = read_datalist(out)
    assert content["name"] == "Toy"
    assert content["labels"] == {"0": "background", "1": "Anterior", "2": "Posterior"}
    assert content["modality"] == {"0": "MRI"}
    assert (content["numTraining"], content["numValidation"], content["numTest"]) == (1, 1, 1)
    item = content["training"][0]
    image = (tmp_path / item["image"]).read_bytes()
    assert item["sha256"]["image"] == hashlib.sha256(image).hexdigest()
    assert item["label"] == f"src/labelsTr/{item['id']}.nii.gz"


def test_decathlon_reads_the_json_itself_and_nnunet_labels(tmp_path: Path) -> None:
    source = decathlon(tmp_path / "src", labels={"background": 0, "Anterior": 1, "Posterior": 2})
    out = prepare("decathlon", source / "dataset.json", tmp_path / "d.json", **ALL)
    assert read_datalist(out)["labels"] == {"0": "background", "1": "Anterior", "2": "Posterior"}


def test_decathlon_names_every_bad_case_with_its_file(tmp_path: Path) -> None:
    """One case of each kind; nothing is written."""
    source = decathlon(tmp_path / "src", 6)
    volume(source / "labelsTr" / "h_0.nii.gz", np.full((5, 6, 7), 7, np.uint8))
    volume(source / "labelsTr" / "h_1.nii.gz", np.ones((5, 6, 6), np.uint8))
    volume(source / "imagesTr" / "h_2.nii.gz", np.zeros((5, 6, 7), np.float32))
    (source / "imagesTr" / "h_3.nii.gz").write_bytes((source / "imagesTr" / "h_3.nii.gz").read_bytes()[:200])
    (source / "labelsTr" / "h_4.nii.gz").unlink()
    volume(source / "imagesTr" / "extra.nii.gz", np.ones((5, 6, 7), np.uint8))
    with pytest.raises(DataError) as info:
        prepare("decathlon", source, tmp_path / "d.json", **ALL)
    lines = str(info.value).splitlines()
    assert "6 problems" in lines[0]
    for case, name in {
        "h_0": "labelsTr/h_0", "h_1": "labelsTr/h_1", "h_2": "imagesTr/h_2", "h_3": "imagesTr/h_3",
        "h_4": "labelsTr/h_4", "extra": "imagesTr/extra",
    }.items():  # fmt: skip
        assert sum(f"case {case}" in line and name in line for line in lines) == 1, case
    assert sorted(p.name for p in tmp_path.iterdir()) == ["src"]


def test_a_value_without_a_name_is_told_of_the_list_that_lacks_it(tmp_path: Path) -> None:
    source = decathlon(tmp_path / "src", labels={"0": "background", "1": "Anterior"})
    with pytest.raises(DataError) as info:
        prepare("decathlon", source, tmp_path / "d.json", **ALL)
    told = f'have no name in {source / "dataset.json"}; got 2; expected only 0, 1; name them under "labels" there'
    assert told in str(info.value)
    assert "bundle" not in str(info.value)


@pytest.mark.parametrize("given", ["src", "src/dataset.json"])
def test_the_list_that_is_read_is_not_overwritten(tmp_path: Path, given: str) -> None:
    list_of_source = decathlon(tmp_path / "src") / "dataset.json"
    before = list_of_source.read_bytes()
    with pytest.raises(OutputError, match=r"dataset\.json belongs to the data set .*; give the name of a new file"):
        prepare("decathlon", tmp_path / given, list_of_source, **ALL)
    assert list_of_source.read_bytes() == before
    assert not (tmp_path / "src" / "leakage.json").exists()


def test_within_the_source_only_a_datalist_is_written_anew(tmp_path: Path) -> None:
    source = pairs(tmp_path / "src", {"a": square(1), "b": square(1)})
    (source / "mine.json").write_text('{"training": []}')
    with pytest.raises(OutputError, match=r"mine\.json belongs to the data set"):
        prepare("pairs", source, source / "mine.json", **ALL)
    first, again = (prepare("pairs", source, source / "d.json", seed=seed, **ALL) for seed in (1, 2))
    assert first == again
    assert read_datalist(again)["seed"] == 2


def test_a_folder_of_somebody_else_is_not_written_into(tmp_path: Path) -> None:
    source = pairs(tmp_path / "src", {"a": square(255)})
    own = tmp_path / "d_labels" / "a.png"
    own.parent.mkdir()
    own.write_text("precious")
    with pytest.raises(OutputError, match=r"d_labels is there, .*; give -o another name, or move the folder"):
        prepare("pairs", source, tmp_path / "d.json", **ALL)
    assert own.read_text() == "precious"
    own.unlink()
    prepare("pairs", source, tmp_path / "d.json", **ALL).unlink()
    prepare("pairs", source, tmp_path / "d.json", **ALL)  # after a stop, too: the folder is known by its mark
    assert values(own) == square(1).tolist()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"training": None}, "lists no training cases"),
        ({"labels": None}, "names by value"),
        ({"labels": {"background": 0, "whole": [1, 2], "core": 2}}, r"labels that are regions .* got whole: \[1, 2\];"),
        ({"training": ["a.nii"]}, r"training\[0\]: got 'a.nii'"),
    ],
)
def test_decathlon_refuses_another_json(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        prepare("decathlon", decathlon(tmp_path / "src", **fields), tmp_path / "d.json", **ALL)


def test_two_cases_with_one_id_are_refused(tmp_path: Path) -> None:
    source = decathlon(tmp_path / "src", 1)
    volume(source / "more" / "h_0.nii.gz", np.arange(210.0).reshape(5, 6, 7))
    content = json.loads((source / "dataset.json").read_text())
    content["training"].append({"image": "more/h_0.nii.gz", "label": "labelsTr/h_0.nii.gz"})
    (source / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="case h_0: two cases have this id"):
        prepare("decathlon", source, tmp_path / "d.json", **ALL)


def test_pairs_turns_binary_masks_into_ones(tmp_path: Path) -> None:
    source = pairs(tmp_path / "src", {"a": square(255), "b": square(0)})
    out = prepare("pairs", source, tmp_path / "d.json", **ALL)
    cases = {case["id"]: case for case in load_datalist(out, "training")}
    assert values(Path(cases["a"]["label"])) == square(1).tolist()
    assert values(Path(cases["b"]["label"])) == square(0).tolist()
    assert Path(cases["a"]["label"]).parent == tmp_path / "d_labels"
    assert read_datalist(out)["labels"] == {"0": "background", "1": "foreground"}


def test_masks_of_1_and_masks_of_255_hold_one_label(tmp_path: Path) -> None:
    source = pairs(tmp_path / "src", {"a": square(255), "b": square(1), "c": square(0)})
    out = prepare("pairs", source, tmp_path / "d.json", **ALL)
    cases = {case["id"]: case["label"] for case in load_datalist(out, "training")}
    assert values(Path(cases["a"])) == values(Path(cases["b"])) == square(1).tolist()
    assert read_datalist(out)["labels"] == {"0": "background", "1": "foreground"}


def test_masks_of_255_and_of_another_value_are_refused(tmp_path: Path) -> None:
    source = pairs(tmp_path / "src", {"a": square(255), "b": square(2)})
    with pytest.raises(LabelError, match="got 2 in case b and 255 in case a; expected 0 and 1, or 0 and 255"):
        prepare("pairs", source, tmp_path / "d.json", **ALL)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["src"]


def test_255_beside_1_in_one_mask_is_a_label_of_its_own(tmp_path: Path) -> None:
    both = square(1)
    both[6] = 255
    source = pairs(tmp_path / "src", {"a": both, "b": square(1), "c": square(255)})
    out = prepare("pairs", source, tmp_path / "d.json", **ALL)
    assert read_datalist(out)["labels"] == {"0": "background", "1": "label 1", "255": "label 255"}


def test_pairs_keeps_classes_even_where_a_case_has_only_one(tmp_path: Path) -> None:
    source = pairs(tmp_path / "src", {"a": square(1), "b": square(2)}, folder="labels")
    out = prepare("pairs", source, tmp_path / "d.json", **ALL)
    cases = {case["id"]: case["label"] for case in load_datalist(out, "training")}
    assert cases["b"] == str(source / "labels" / "b.png")
    assert read_datalist(out)["labels"] == {"0": "background", "1": "label 1", "2": "label 2"}


def test_pairs_of_volumes_rewrites_on_the_same_grid(tmp_path: Path) -> None:
    mask = np.zeros((4, 5, 6), np.int16)
    mask[1, 2, 3] = 255
    volume(tmp_path / "src" / "images" / "v_0000.nii.gz", np.arange(120.0).reshape(4, 5, 6), 0.5)
    volume(tmp_path / "src" / "masks" / "v_seg.nii", mask, 0.5)
    [case] = load_datalist(prepare("pairs", tmp_path / "src", tmp_path / "d.json", **ALL), "training")
    assert case["id"] == "v"
    written = nibabel.load(case["label"])
    assert np.argwhere(np.asarray(written.dataobj)).tolist() == [[1, 2, 3]]
    assert np.asarray(written.dataobj).max() == 1
    assert np.allclose(written.affine, np.diag([0.5, 0.5, 0.5, 1]))


def test_pictures_beside_volumes_are_refused(tmp_path: Path) -> None:
    source = pairs(tmp_path / "src", {"a": square(1)})
    volume(source / "images" / "v.nii.gz", np.arange(120.0).reshape(4, 5, 6))
    volume(source / "masks" / "v.nii.gz", np.ones((4, 5, 6), np.uint8))
    with pytest.raises(DataError, match=r"got .*a\.jpg \(2-D\) and .*v\.nii\.gz \(3-D\)"):
        prepare("pairs", source, tmp_path / "d.json", **ALL)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["src"]


def test_a_data_set_of_empty_masks_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    prepare("pairs", pairs(tmp_path / "src", {"a": square(0), "b": square(0)}), tmp_path / "d.json", **ALL)
    assert "no mask holds a label, all 2 are empty" in caplog.text
    caplog.clear()
    prepare("pairs", pairs(tmp_path / "one", {"a": square(0), "b": square(1)}), tmp_path / "e.json", **ALL)
    assert "empty" not in caplog.text


def test_pairs_matches_endings_only_where_names_differ(tmp_path: Path) -> None:
    root = tmp_path / "src"
    for i, (image, mask) in enumerate(
        [("s_0000", "s_0000"), ("s_0001", "s_0001"), ("t", "t_mask"), ("u_seg", "u_seg")]
    ):
        noise(root / "images" / f"{image}.png", i)
        picture(root / "masks" / f"{mask}.png", square(1))
    picture(root / "masks" / "t_mask_preview.png", square(9))
    (root / "masks" / "t_mask_manifest.json").touch()
    (root / "masks" / ".DS_Store").touch()
    (root / "images" / "README.txt").touch()
    out = prepare("pairs", root, tmp_path / "d.json", **ALL)
    assert [case["id"] for case in load_datalist(out, "training")] == ["s_0000", "s_0001", "t", "u_seg"]


def test_what_may_be_a_case_is_not_left_out_in_silence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = pairs(tmp_path / "src", {"a": square(1), "b_preview": square(1)}, suffix=".png")
    out = prepare("pairs", source, tmp_path / "d.json", **ALL)
    assert [case["id"] for case in load_datalist(out, "training")] == ["a", "b_preview"]
    assert caplog.text == ""
    for folder in ("images", "masks"):
        noise(source / folder / "a_preview.png", 3)
        (source / folder / "c.hdr").touch()
    prepare("pairs", source, tmp_path / "d.json", **ALL)
    assert caplog.text.count("passed over: 1 of a format that is not read") == 2
    assert caplog.text.count("passed over: 1 named like previews: rename them if they are cases") == 2


def test_an_umlaut_in_one_sign_or_in_two_is_one_name(tmp_path: Path) -> None:
    noise(tmp_path / "src" / "images" / "mu\u0308ller.png", 1)
    picture(tmp_path / "src" / "masks" / "m\u00fcller.png", square(1))
    out = prepare("pairs", tmp_path / "src", tmp_path / "d.json", **ALL)
    (case,) = load_datalist(out, "training")
    assert (case["id"], Path(case["image"]).stem) == ("m\u00fcller", "mu\u0308ller")


def test_pairs_names_what_stands_alone_or_twice(tmp_path: Path) -> None:
    source = pairs(tmp_path / "src", {"a": square(1), "b": square(1), "c": square(1)})
    (source / "masks" / "a.png").unlink()
    (source / "images" / "b.jpg").unlink()
    noise(source / "images" / "c.png", 9)
    with pytest.raises(DataError) as info:
        prepare("pairs", source, tmp_path / "d.json", **ALL)
    assert "case a: image" in str(info.value)
    assert "case b: mask" in str(info.value)
    assert "case c: two files with one name" in str(info.value)


def test_pairs_refuses_masks_blurred_by_jpeg(tmp_path: Path) -> None:
    noise(tmp_path / "src" / "images" / "a.png", 0)
    picture(tmp_path / "src" / "masks" / "a.jpg", np.tri(8) * 255)
    with pytest.raises(DataError, match=r"case a: mask .*a\.jpg was blurred by JPEG"):
        prepare("pairs", tmp_path / "src", tmp_path / "d.json", **ALL)


def many(root: Path, names: list[str]) -> Path:
    return pairs(root, {name: square(1) for name in names}, suffix=".png")


def test_patients_by_pattern_stay_together_and_the_split_repeats(tmp_path: Path) -> None:
    names = [f"p{patient:02d}_{scan}" for patient in range(20) for scan in range(2)]
    source = many(tmp_path / "src", names)
    first, again = (prepare("pairs", source, tmp_path / n / "d.json", patient_regex=r"^(p\d+)_") for n in "ab")
    assert first.read_bytes() == again.read_bytes()
    content = read_datalist(first)
    assert [content[part] for part in ("seed", "fractions")] == [42, [0.8, 0.1, 0.1]]
    assert [len(content[part]) for part in ("training", "validation", "test")] == [32, 4, 4]
    assert {case["patient"] for case in content["test"]} == {case["id"][:3] for case in content["test"]}


def test_patients_by_table_with_and_without_suffix(tmp_path: Path) -> None:
    source, table = many(tmp_path / "src", ["a", "b", "c"]), tmp_path / "t.csv"
    table.write_text("\ufefffile,who\na.png,P1\nb,P1\nc.nii.gz,P2\n", encoding="utf-8")
    out = prepare("pairs", source, tmp_path / "d.json", patient_csv=f"{table}:who", fractions=(0.5, 0.5, 0))
    content = read_datalist(out)
    patients = {case["id"]: case["patient"] for part in ("training", "validation") for case in content[part]}
    assert patients == {"a": "P1", "b": "P1", "c": "P2"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patient_regex": r"^a(\d)"}, "case b: the pattern .* finds no patient"),
        ({"patient_regex": "("}, "no regular expression"),
        ({"patient_csv": "TABLE:who"}, "case b: .* names no patient"),
        ({"patient_csv": "TABLE:whom"}, "no column 'whom'; got file, who"),
        ({"patient_csv": "TABLE"}, "expected FILE:COLUMN"),
        ({"patient_csv": "none.csv:who"}, "cannot be read"),
        ({"patient_csv": "TWICE:who"}, "a has two values of who"),
        ({"patient_csv": "TABLE:who", "patient_regex": "a"}, "given twice"),
        ({"fractions": (0.9, 0.05, 0.05)}, "would be empty"),
        ({"seed": -1}, "a seed is negative; got -1"),
    ],
)
def test_patients_that_cannot_be_told_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    source = many(tmp_path / "src", ["a", "b"])
    (tmp_path / "t.csv").write_text("file,who\na,1\n")
    (tmp_path / "u.csv").write_text("file,who\na,1\na.png,2\nb,3\n")
    for word, name in (("TABLE", "t.csv"), ("TWICE", "u.csv")):
        options = {k: v.replace(word, str(tmp_path / name)) if isinstance(v, str) else v for k, v in options.items()}
    with pytest.raises(DataError, match=message):
        prepare("pairs", source, tmp_path / "d.json", **{**ALL, **options})
    assert not (tmp_path / "d.json").exists()


@pytest.mark.parametrize(
    ("layout", "source", "output", "message"),
    [
        ("pears", "src", "d.json", "unknown layout; got 'pears'; expected one of montgomery, decathlon, pairs"),
        ("pairs", "nowhere", "d.json", "nowhere does not exist"),
        ("pairs", "src", "d.txt", r"a file name ending in \.json"),
        ("montgomery", "src", "d.json", "got images, masks; expected a folder CXR_png"),
        ("pairs", "src", "leakage.json", "expected another name: the duplicates go there"),
        ("decathlon", "src", "d.json", "dataset.json cannot be read"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path: Path, layout: str, source: str, output: str, message: str) -> None:
    many(tmp_path / "src", ["a"])
    with pytest.raises(DataError, match=message):
        prepare(layout, tmp_path / source, tmp_path / output, **ALL)


@pytest.mark.real_data
def test_real_x_rays(real_data: Path, tmp_path: Path) -> None:
    out = prepare("montgomery", real_data / "cxr_wingspan", tmp_path / "cxr.json")
    content = read_datalist(out)
    n = sum(len(content[part]) for part in ("training", "validation", "test"))
    assert n == content["numTraining"] + content["numValidation"] + content["numTest"]
    assert abs(len(content["test"]) - n / 10) < 1
    assert json.loads((tmp_path / "leakage.json").read_text())["duplicates"] == []
    row, item = (real_data / "cxr_wingspan" / "cases.csv").read_text().splitlines()[1].split(","), {}
    for part in ("training", "validation", "test"):
        item |= {case["id"]: case for case in content[part]}
    label = np.asarray(Picture.open(tmp_path / item[Path(row[0]).stem]["label"]))
    assert [(label == 1).sum(), (label == 2).sum()] == pytest.approx([int(row[1]), int(row[2])], abs=5)


@pytest.mark.real_data
def test_real_volumes(real_data: Path, tmp_path: Path) -> None:
    hippocampus = read_datalist(prepare("decathlon", real_data / "hippocampus", tmp_path / "h" / "d.json"))
    assert hippocampus["labels"] == {"0": "background", "1": "Anterior", "2": "Posterior"}
    assert json.loads((tmp_path / "h" / "leakage.json").read_text())["duplicates"] == []
    sarcoma = read_datalist(prepare("pairs", real_data / "sarcoma_ct_mr" / "CT", tmp_path / "s" / "d.json"))
    assert sarcoma["labels"] == {"0": "background", "1": "foreground"}
