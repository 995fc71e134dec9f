"""A series is chosen by what the user says, never by luck."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medseg.errors import DataError, GeometryError, ImageError
from medseg.intake import case_id, find_inputs, read_image, source_files
from medseg.intake.inspection import inspect
from medseg.intake.repair import space_evenly, straighten

Make = Callable[..., Path]
PIXELS = np.arange(6, dtype=np.int16).reshape(2, 3)
ORIGINAL, DERIVED = ["ORIGINAL", "PRIMARY", "AXIAL"], ["DERIVED", "SECONDARY", "MPR"]
LOCALISER = ["ORIGINAL", "PRIMARY", "LOCALIZER"]


@pytest.fixture
def study(tmp_path: Path, make_series: Make, make_dicom: Make) -> Path:
    """One folder: a localiser, a CT of 3 slices, a derived one of 4, a CT of 2, an MR of 5, a screenshot."""

    def add(number: int, slices: int, image_type: list[str], kind: str = "CT") -> None:
        folder = make_series(
            tmp_path / "new",
            [2 * k for k in range(slices)],
            kind=kind,
            series=f"1.2.7.{number}",
            SeriesNumber=number,
            SeriesDescription=f"Scan {number}",
            ImageType=image_type,
        )
        for file in folder.iterdir():
            file.rename(tmp_path / "study" / f"{number}_{file.name}")

    (tmp_path / "study").mkdir()
    add(1, 7, LOCALISER)
    add(2, 3, ORIGINAL)
    add(3, 4, DERIVED)
    add(4, 2, ORIGINAL)
    add(5, 5, ORIGINAL, kind="MR")
    make_dicom(tmp_path / "study" / "shot", PIXELS, kind="SC", series="1.2.7.6", SeriesNumber=6)
    return tmp_path / "study"


@pytest.mark.parametrize("wanted", ["1.2.7.4", "4", "Scan 4", "scan 4"], ids=["uid", "number", "description", "case"])
def test_a_series_is_chosen_by_what_names_it(study: Path, wanted: str) -> None:
    (found,) = find_inputs(study, series=wanted)
    assert found.path == study / "#1.2.7.4"
    assert read_image(found.path).array.shape == (1, 3, 2, 2)
    assert [file.name for file in source_files(found.path)] == ["4_000.dcm", "4_001.dcm"]
    assert case_id(found.path) == found.id


def test_the_rule_takes_the_longest_original(study: Path) -> None:
    assert [found.path.name for found in find_inputs(study, series="auto", modality="CT")] == ["#1.2.7.2"]
    assert [found.path.name for found in find_inputs(study, series="auto", modality="MR")] == ["#1.2.7.5"]
    assert [found.path.name for found in find_inputs(study, series="auto")] == ["#1.2.7.5"]


def test_the_rule_takes_a_derived_series_where_there_is_no_other(tmp_path: Path, make_series: Make) -> None:
    folder = make_series(tmp_path / "a", [0, 2], ImageType=DERIVED)
    assert [found.path for found in find_inputs(tmp_path, series="auto")] == [folder]


def test_the_rule_never_takes_a_localiser_or_a_screenshot(tmp_path: Path, make_series: Make, make_dicom: Make) -> None:
    make_series(tmp_path / "a", [0, 2], ImageType=LOCALISER)
    make_dicom(tmp_path / "b" / "shot", PIXELS, kind="SC", series="1.2.7.6")
    with pytest.raises(DataError, match=r"no series fits --series 'auto'; got .*localiser.*secondary capture"):
        find_inputs(tmp_path, series="auto")


def test_what_is_ambiguous_is_refused_with_the_list(tmp_path: Path, make_series: Make) -> None:
    for number in (1, 2):
        make_series(tmp_path / str(number), [0, 2], series=f"1.2.7.{number}", SeriesNumber=7)
    told = r"more than one series fits --series '{}'; got series 7 \(CT, 2 images\) 1\.2\.7\.1; series 7 .* 1\.2\.7\.2"
    for wanted in ("auto", "7"):
        with pytest.raises(DataError, match=told.format(wanted)):
            find_inputs(tmp_path, series=wanted)


def test_half_a_series_is_never_taken_for_the_whole(tmp_path: Path, make_series: Make) -> None:
    """One series in two folders, 3 and 4 slices, beside a whole one of 5."""
    make_series(tmp_path / "a", [0, 4, 8], series="1.2.7.1", SeriesNumber=1)
    make_series(tmp_path / "b", [2, 6, 10, 14], series="1.2.7.1", SeriesNumber=1)
    make_series(tmp_path / "c", [0, 2, 4, 6, 8], series="1.2.7.2", SeriesNumber=2)
    for wanted in ("auto", "1", "1.2.7.1"):
        with pytest.raises(DataError, match=r"lies in several folders; got 3 images in .*a, 4 images in .*b"):
            find_inputs(tmp_path, series=wanted)
    with pytest.raises(DataError, match=r"two inputs .*one series: put all of its slices into one folder"):
        find_inputs(tmp_path)
    scattered = [[f.code for f in entry.findings if f.code == "scattered-series"] for entry in inspect(tmp_path)]
    assert scattered == [["scattered-series"], ["scattered-series"], []]


def test_what_fits_nothing_is_refused_with_the_list(study: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no series fits --series '9'; got series 1 \(CT, 7 images, localiser\)"):
        find_inputs(study, series="9")
    with pytest.raises(DataError, match="no series fits --series '5' of modality CT"):
        find_inputs(study, series="5", modality="CT")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no DICOM series to choose from"):
        find_inputs(tmp_path / "empty", series="1")
    with pytest.raises(DataError, match="a single file leaves no series to choose"):
        find_inputs(study / "shot", series="6")


def test_one_series_of_each_study_and_the_others_are_named(
    tmp_path: Path, make_series: Make, caplog: pytest.LogCaptureFixture
) -> None:
    for study, number in (("1", 3), ("2", 3), ("3", 4)):
        name = {"series": f"1.2.7.{study}", "StudyInstanceUID": f"1.2.9.{study}", "SeriesNumber": number}
        make_series(tmp_path / study, [0, 2], **name)
    with caplog.at_level(logging.WARNING):
        found = find_inputs(tmp_path, series="3")
    assert [one.path.name for one in found] == ["1", "2"]
    assert "a study is left out: no series fits --series '3'; got series 4 (CT, 2 images) 1.2.7.3" in caplog.text


def test_without_a_choice_several_series_stay_one_input_that_is_refused(study: Path) -> None:
    shot, several = sorted(find_inputs(study), key=lambda found: -len(str(found.path)))
    assert (shot.path, several.path) == (study / "shot", study)
    with pytest.raises(ImageError, match=r"more than one series.*series 3 \(CT, 4 images, derived\).*--series"):
        read_image(study)


def test_a_series_beside_a_screenshot_is_found_without_a_choice(
    tmp_path: Path, make_series: Make, make_dicom: Make
) -> None:
    make_series(tmp_path, [0, 2])
    make_dicom(tmp_path / "shot", PIXELS.astype(np.uint16), kind="SC", series="1.2.7.6")
    series, shot = find_inputs(tmp_path)
    assert (series.path, shot.path) == (tmp_path / "#1.2.3.4", tmp_path / "shot")
    assert read_image(series.path).array.shape == (1, 3, 2, 2)


def test_what_is_said_of_a_chosen_series_names_it(tmp_path: Path, make_series: Make) -> None:
    """The command that its error names takes this series of the folder."""
    make_series(tmp_path / "a", [0, 2.0, 4.5, 6.0], series="1.2.7.1")
    make_series(tmp_path / "b", [0, 2], series="1.2.7.2")
    for file in (tmp_path / "b").iterdir():
        file.rename(tmp_path / "a" / f"b_{file.name}")
    uneven = tmp_path / "a" / "#1.2.7.1"
    with pytest.raises(GeometryError, match=rf"^{uneven}: .*medseg data fix '{uneven}' -o fixed.nii.gz --resample 2"):
        read_image(uneven)
    with pytest.raises(GeometryError, match=r"#1\.2\.7\.2: nothing to repair"):
        straighten(tmp_path / "a" / "#1.2.7.2")
    assert space_evenly(uneven, slice_spacing_mm=2).array.shape == (3, 2, 4)
    assert read_image(tmp_path / "a" / "#1.2.7.2").source == tmp_path / "a" / "#1.2.7.2"


def test_a_damaged_file_beside_a_chosen_series_still_refuses_it(study: Path) -> None:
    """It may have been one of its slices."""
    (study / "2_002.dcm").write_bytes((study / "2_002.dcm").read_bytes()[:200])
    with pytest.raises(ImageError, match=r"2_002\.dcm"):
        read_image(study / "#1.2.7.2")


def test_a_chosen_series_goes_through_a_data_set_and_is_told_from_the_others_by_its_hash(study: Path) -> None:
    """`python -m monai.bundle run inference --series 4` gives a number, as YAML reads it."""
    from medseg.datasets import list_inputs
    from medseg.workflows.fingerprints import input_sha256

    (item,) = list_inputs(study, series=4, modality="CT")
    assert read_image(item["image"]).array.shape == (1, 3, 2, 2)
    (other,) = list_inputs(study, series="2", modality="CT")
    assert input_sha256(Path(item["image"])) != input_sha256(Path(other["image"]))
    assert input_sha256(Path(item["image"])) == input_sha256(Path(item["image"]))


def test_the_bundles_refuse_what_they_were_not_made_for(study: Path, tmp_path: Path, make_dicom: Make) -> None:
    from medseg.intake.loading import LoadCased

    load = LoadCased(modality="CT", spatial_dims=3)
    assert load({"image": str(study / "#1.2.7.4")})["image"].shape == (1, 3, 2, 2)
    with pytest.raises(ImageError, match="another modality; got MR; expected CT"):
        load({"image": str(study / "#1.2.7.5")})
    with pytest.raises(ImageError, match="one slice where a volume is needed"):
        load({"image": str(make_dicom(tmp_path / "one.dcm", PIXELS))})
