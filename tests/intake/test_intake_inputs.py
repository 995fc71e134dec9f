"""FILE_OR_DIR: what is an input, what is not, and the id of each."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from PIL import Image as Pillow

from medseg.datasets import list_inputs
from medseg.errors import DataError, ImageError
from medseg.intake import Input, case_id, find_inputs, passed_over, read_image, require_input
from medseg.intake.inspection import inspect

Make = Callable[..., Path]
PIXELS = np.arange(6, dtype=np.uint16).reshape(2, 3)


def touch(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"x")


def digest(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()[:12]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.nii.gz", "a"), ("a.b.NII.GZ", "a.b"), ("a.nii", "a"), ("x.y.png", "x.y"), ("s.mhd", "s")],
)
def test_the_id_is_the_stem(tmp_path: Path, name: str, expected: str) -> None:
    touch(tmp_path, name)
    assert find_inputs(tmp_path / name) == (Input(expected, tmp_path / name),)
    assert case_id(tmp_path / name) == expected


def test_a_folder_of_images_leaves_out_what_is_none(tmp_path: Path) -> None:
    touch(tmp_path, "b.nii.gz", "a.png", "a_preview.png", "b_comparison.png", "b_manifest.json", "report.json")
    touch(tmp_path, "a_probability_0.png", "b_probability_12.nii.gz")
    touch(tmp_path, "notes.txt", ".hidden.png", "cases.csv")
    touch(tmp_path / "deeper", "c.nii.gz")
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(PIXELS[None]), str(tmp_path / "m.mhd"))
    assert [found.id for found in find_inputs(tmp_path)] == ["a", "b", "m"]


def test_series_folders_and_x_rays_side_by_side(tmp_path: Path, make_series: Make, make_dicom: Make) -> None:
    touch(tmp_path, "a.png")
    make_series(tmp_path / "one", [0, 2], series="1.2.3.5")
    make_series(tmp_path / "two", [0, 2], series="1.2.3.6")
    for i in (1, 2):
        make_dicom(tmp_path / f"x{i}", PIXELS, kind="DX", SOPInstanceUID=f"1.2.3.7.{i}")
    assert {(found.id, found.path.name) for found in find_inputs(tmp_path)} == {
        ("a", "a.png"),
        (digest("1.2.3.5"), "one"),
        (digest("1.2.3.6"), "two"),
        (digest("1.2.3.7.1"), "x1"),
        (digest("1.2.3.7.2"), "x2"),
    }


def test_a_series_folder_is_one_input_and_reads(tmp_path: Path, make_series: Make) -> None:
    folder = make_series(tmp_path / "ct", [0, 2])
    (found,) = find_inputs(folder)
    assert found == Input(digest("1.2.3.4"), folder)
    assert case_id(folder) == case_id(folder / "000.dcm") == found.id
    assert read_image(found.path).array.shape == (1, 3, 2, 2)


def test_folders_of_images_in_folders(tmp_path: Path, locked: set[str], make_series: Make) -> None:
    """Each patient's folder holds images: all are taken, not the masks of a run before, not beside DICOM or images."""
    touch(tmp_path / "p1" / "anat", "p1_t1.nii.gz")
    touch(tmp_path / "p2", "p2_t1.mha")
    touch(tmp_path / "out", "p1_t1.nii.gz", "p1_t1_preview.png", "p1_t1_manifest.json")
    touch(tmp_path / "out", "p2_t1.nii.gz", "p2_t1_manifest.json")
    require_input(tmp_path)
    taken = find_inputs(tmp_path)
    assert [(one.id, one.path.relative_to(tmp_path).as_posix()) for one in taken] == [
        ("p1_t1", "p1/anat/p1_t1.nii.gz"),
        ("p2_t1", "p2/p2_t1.mha"),
    ]
    assert passed_over(tmp_path, inputs=taken) is None
    touch(tmp_path / "closed", "a.nii.gz")
    (tmp_path / "lost+found").mkdir()
    locked.update({"closed", "lost+found"})
    assert {one.path.name for one in find_inputs(tmp_path)} == {"closed", "p1_t1.nii.gz", "p2_t1.mha"}
    make_series(tmp_path / "ct", [0, 2])
    taken = find_inputs(tmp_path)
    assert [one.path.name for one in taken] == ["closed", "ct"]
    assert "1 .mha, 1 .nii.gz beside DICOM" in str(passed_over(tmp_path, inputs=taken))


def test_images_and_labels_of_a_data_set_are_not_both_segmented(tmp_path: Path) -> None:
    touch(tmp_path / "images", "a.nii.gz")
    touch(tmp_path / "labels", "a.nii.gz")
    with pytest.raises(DataError, match=r"id a; got .*images/a\.nii\.gz and .*labels/a\.nii\.gz; .*their folders"):
        find_inputs(tmp_path)


def test_what_medseg_wrote_is_no_image_to_segment(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its masks are inputs all the same, to be scored."""
    touch(tmp_path, "a.nii.gz", "a_manifest.json", "a_preview.png")
    with pytest.raises(DataError, match=r"a_preview\.png: by its name a preview"):
        find_inputs(tmp_path / "a_preview.png")
    assert [found.id for found in find_inputs(tmp_path)] == ["a"]
    with pytest.raises(DataError, match="no image found; got 1 masks that medseg wrote"):
        list_inputs(tmp_path)
    touch(tmp_path, "b.nii.gz")
    assert [item["id"] for item in list_inputs(tmp_path)] == ["b"]
    assert "passed over: 1 masks that medseg wrote" in caplog.text


def test_two_inputs_with_one_id_are_refused(tmp_path: Path, make_series: Make) -> None:
    touch(tmp_path, "a.nii", "a.nii.gz")
    with pytest.raises(DataError, match=r"id a; got .*a\.nii and .*a\.nii\.gz"):
        find_inputs(tmp_path)
    make_series(tmp_path / "copies" / "one", [0, 2])
    make_series(tmp_path / "copies" / "two", [0, 2])
    with pytest.raises(DataError, match=r"one and .*two"):
        find_inputs(tmp_path / "copies")


def test_a_name_that_is_not_utf_8_is_refused_before_any_work(tmp_path: Path) -> None:
    """As `id` it would end a run of many cases where its tables are written."""
    touch(tmp_path, "a.png", os.fsdecode(b"M\xfcller.png"), os.fsdecode(b"R\xf6ntgen.txt"))
    with pytest.raises(DataError, match=r"not UTF-8; got 1 such as b'.*/M\\xfcller\.png'; expected .* convmv"):
        find_inputs(tmp_path)


def test_nothing_readable_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        find_inputs(tmp_path / "absent")
    touch(tmp_path, "report.json", "a_preview.png")
    with pytest.raises(DataError, match="no readable input"):
        find_inputs(tmp_path)
    with pytest.raises(ImageError, match="unknown image format"):
        find_inputs(tmp_path / "report.json")


def test_a_damaged_dicom_file_stays_an_input_that_fails_alone(tmp_path: Path, make_series: Make) -> None:
    make_series(tmp_path / "good", [0, 2])
    touch(tmp_path / "bad", "001.dcm")
    found = find_inputs(tmp_path)
    assert [item.path.name for item in found] == ["001.dcm", "good"]
    with pytest.raises(ImageError, match=r"001\.dcm"):
        read_image(found[0].path)


def test_pictures_in_dicom_count_once(tmp_path: Path, make_dicom: Make) -> None:
    make_dicom(tmp_path / "a.png", PIXELS, kind="DX")
    Pillow.fromarray(PIXELS.astype(np.uint8)).save(tmp_path / "b.png")
    assert [found.path.name for found in find_inputs(tmp_path)] == ["a.png", "b.png"]


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of files and folders that may not be read; who runs the tests as root may read all, whatever their mode."""
    names: set[str] = set()

    def refusing(real: Callable[..., Any]) -> Callable[..., Any]:
        def checked(path: Path, *given: Any, **named: Any) -> Any:
            if path.name in names:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return real(path, *given, **named)

        return checked

    monkeypatch.setattr(Path, "open", refusing(Path.open))
    monkeypatch.setattr(Path, "iterdir", refusing(Path.iterdir))
    return names


def test_a_file_that_may_not_be_read_is_an_input_like_others(tmp_path: Path, locked: set[str]) -> None:
    """It fails alone when it is read; among good ones it once ended the whole run."""
    touch(tmp_path, "a.nii.gz", "b.nii.gz", "IM0001")
    locked |= {"b.nii.gz", "IM0001"}
    assert [found.id for found in find_inputs(tmp_path)] == ["IM0001", "a", "b"]


def test_a_slice_that_may_not_be_read_is_not_left_out_of_its_series(
    tmp_path: Path, make_series: Make, locked: set[str]
) -> None:
    make_series(tmp_path / "ct", [0, 2, 4])
    last = max((tmp_path / "ct").iterdir())
    last.rename(last.with_suffix(""))
    locked.add(last.stem)
    (found,) = find_inputs(tmp_path)
    with pytest.raises(ImageError, match="PermissionError"):
        read_image(found.path)


@pytest.mark.parametrize("series", [None, "auto"])
def test_a_folder_that_may_not_be_read_is_an_input_that_fails_alone(
    tmp_path: Path, make_series: Make, locked: set[str], series: str | None
) -> None:
    """Among 10,000 studies it once ended the whole run; two of one name have ids of their own."""
    for study in ("a", "b"):
        touch(tmp_path / study / "closed", "001.dcm")
    make_series(tmp_path / "good", [0, 2])
    locked.add("closed")
    require_input(tmp_path)
    found = find_inputs(tmp_path, series=series)
    assert [item.path.relative_to(tmp_path).as_posix() for item in found] == ["a/closed", "b/closed", "good"]
    assert len({item.id for item in found}) == 3
    with pytest.raises(DataError, match=r"closed: the folder cannot be read; got Permission denied"):
        read_image(found[0].path)
    entries = {entry.path.name: entry for entry in inspect(tmp_path)}
    assert entries["closed"].has_errors
    assert not entries["good"].has_errors
    locked.add(tmp_path.name)
    with pytest.raises(DataError, match="the folder cannot be read"):
        find_inputs(tmp_path, series=series)


def test_a_study_whose_files_are_all_damaged_is_not_lost_when_series_are_chosen(
    tmp_path: Path, make_series: Make
) -> None:
    make_series(tmp_path / "good", [0, 2])
    touch(tmp_path / "bad", "001.dcm", "002.dcm")
    found = find_inputs(tmp_path, series="auto")
    assert [item.path.relative_to(tmp_path).as_posix() for item in found] == ["bad/001.dcm", "bad/002.dcm", "good"]


def test_a_link_into_a_closed_folder_is_an_input_and_hides_nothing_beside_it(
    tmp_path: Path, make_series: Make, locked: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To look at what it leads to raises, as `Path.is_file` does then."""
    make_series(tmp_path / "good", [0, 2])
    touch(tmp_path, "link", "linked.nii.gz")
    locked.add("link")
    looked = Path.is_file

    def refusing(path: Path) -> bool:
        if path.name.startswith("link"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return looked(path)

    monkeypatch.setattr(Path, "is_file", refusing)
    assert [item.path.name for item in find_inputs(tmp_path)] == ["good", "link", "linked.nii.gz"]


def test_a_path_without_an_image_is_refused_without_listing_all(tmp_path: Path, make_series: Make) -> None:
    touch(tmp_path / "none", "notes.txt", "a_preview.png")
    touch(tmp_path / "none" / "deeper", "a.nii.gz", "a_manifest.json")
    touch(tmp_path / "patients" / "p1", "a.nii.gz")
    make_series(tmp_path / "study" / "ct", [0, 2])
    touch(tmp_path / "images", "a.nii.gz")
    require_input(tmp_path / "study")
    require_input(tmp_path / "images")
    require_input(tmp_path / "images" / "a.nii.gz")
    require_input(tmp_path / "patients")
    for wrong, message in (("none", "no readable input"), ("absent", "no such file"), ("none/notes.txt", "format")):
        with pytest.raises((DataError, ImageError), match=message):
            require_input(tmp_path / wrong)


def test_what_may_be_an_image_is_not_passed_over_in_silence(tmp_path: Path, make_dicom: Make) -> None:
    """Archives, formats that nobody reads here, images in folders below; not notes, previews or DICOM of any name."""
    make_dicom(tmp_path / "series" / "1.img", PIXELS)
    for name in ("a_preview.png", "a_manifest.json", "notes.txt", "report.json", ".hidden.zip"):
        (tmp_path / "series" / name).write_bytes(b"1")
    (tmp_path / "case.nii").mkdir()
    assert passed_over(tmp_path) is None
    for name in ("study.zip", "old.hdr", "old.img", "b.img", "deep/er/x.NII.GZ", "deep/y.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"1")
    assert passed_over(tmp_path) == (
        "1 .hdr, 2 .img of a format that is not read; "
        "1 .nii.gz, 1 .png beside DICOM or below other images: give them by themselves; "
        "1 .zip to be unpacked"
    )
    (tmp_path / "top.nrrd").write_bytes(b"1")
    taken = find_inputs(tmp_path)
    assert [one.path.name for one in taken] == ["series", "top.nrrd"]
    assert ".nrrd" not in str(passed_over(tmp_path, inputs=taken))
    chosen = find_inputs(tmp_path, series="auto")
    assert "1 .nii.gz, 1 .nrrd, 1 .png beside DICOM" in str(passed_over(tmp_path, inputs=chosen))
    touch(tmp_path / "named", "x.png", "x_preview.png", "y_comparison.png", "x_probability_2.nii.gz", "y_manifest.json")
    assert passed_over(tmp_path / "named", inputs=find_inputs(tmp_path / "named")) == (
        "1 .nii.gz, 1 .png named like what medseg draws: rename them if they are images"
    )
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "study.zip").write_bytes(b"1")
    with pytest.raises(DataError, match=r"got 1 \.zip to be unpacked"):
        find_inputs(tmp_path / "other")


def test_inspection_tells_what_it_does_not_read(
    tmp_path: Path, make_series: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """A folder of MGZ or of archives was said to hold nothing, and nothing to be wrong with it."""
    make_series(tmp_path / "ct", [0, 2])
    Pillow.fromarray(PIXELS.astype(np.uint8)).save(tmp_path / "a.png")
    assert [entry.kind for entry in inspect(tmp_path)] == ["image", "series"]
    assert "passed over" not in caplog.text
    touch(tmp_path / "ct", "old.mgz")
    touch(tmp_path, "more.zip")
    assert len(inspect(tmp_path)) == 2
    assert f"{tmp_path}: passed over: 1 .mgz of a format that is not read; 1 .zip to be unpacked" in caplog.text


def test_what_medseg_drew_is_not_inspected(tmp_path: Path) -> None:
    """A preview is in colour: each was an error in a folder of good masks."""
    for name in ("a", "a_preview", "b_preview"):
        Pillow.fromarray(PIXELS.astype(np.uint8)).save(tmp_path / f"{name}.png")
    touch(tmp_path, "a_manifest.json")
    assert [entry.path.name for entry in inspect(tmp_path)] == ["a.png", "b_preview.png"]
