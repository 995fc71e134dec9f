"""De-identification: tag by tag against the table, nested items, private tags, references that still lead."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from medseg.case import Image
from medseg.cli import main
from medseg.dicom import write_series
from medseg.dicom.confidentiality import Confidentiality, table
from medseg.dicom.deidentify import deidentify
from medseg.errors import DataError, ImageError, OutputError
from medseg.intake import read_image

SECRET = "SECRETNAME"

# by hand from PS3.15 table E.1-1, column "Basic Prof."
BY_HAND = {
    "PatientName": "pseudonym",
    "PatientID": "pseudonym",
    "PatientBirthDate": "Z",
    "PatientSex": "Z",
    "PatientAge": "X",
    "PatientWeight": "X",
    "PatientAddress": "X",
    "OtherPatientIDs": "X",
    "AccessionNumber": "Z",
    "ReferringPhysicianName": "Z",
    "StudyDate": "Z",
    "StudyTime": "Z",
    "StudyID": "Z",
    "StudyDescription": "X",
    "SeriesDescription": "X",
    "InstitutionName": "X/Z/D",
    "InstitutionAddress": "X",
    "StationName": "X/Z/D",
    "OperatorsName": "X/Z/D",
    "DeviceSerialNumber": "X/Z/D",
    "ProtocolName": "X/D",
    "AcquisitionDate": "X/Z",
    "ContentDate": "Z/D",
    "ImageComments": "X",
    "PatientComments": "X",
    "RequestingPhysician": "X",
    "StudyInstanceUID": "U",
    "SeriesInstanceUID": "U",
    "SOPInstanceUID": "U",
    "FrameOfReferenceUID": "U",
    "Manufacturer": "K",
    "Modality": "K",
    "SliceThickness": "K",
    "ImagePositionPatient": "K",
    "KVP": "K",
    "SOPClassUID": "K",
}
VALUES: dict[str, Any] = {
    **dict.fromkeys(("LO", "LT", "PN", "SH", "ST", "UC", "UT"), SECRET),
    **dict.fromkeys(("AE", "CS"), SECRET),
    **dict.fromkeys(("DS", "IS"), "7"),
    **dict.fromkeys(("FD", "FL", "SL", "SS", "UL", "US"), 7),
    **dict.fromkeys(("OB", "OW", "UN"), SECRET.encode()),
    "AS": "077Y",
    "DA": "19770707",
    "DT": "19770707070707",
    "TM": "070707",
    "UI": "1.2.77",
    "UR": f"http://{SECRET}",
}


def _value(vr: str) -> Any:
    if vr != "SQ":
        return VALUES[vr]
    item = Dataset()
    item.PatientName = SECRET
    return [item]


def _vr(tag: tuple[int, ...]) -> str:
    known = dictionary_has_tag(Tag(tag[0], tag[1]))
    return dictionary_VR(Tag(tag[0], tag[1])).split(" or ")[0] if known else "LO"  # newer than pydicom's dictionary


def _object(**values: Any) -> Dataset:
    made = Dataset()
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    made.SOPClassUID, made.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
    for name, value in values.items():
        setattr(made, name, value)
    return made


def _texts(dataset: Dataset) -> Iterator[str]:
    for element in dataset.iterall():
        yield element.value.decode("latin-1") if isinstance(element.value, bytes) else str(element.value)


@pytest.mark.parametrize("keyword", BY_HAND)
def test_a_tag_is_treated_as_the_standard_says(keyword: str) -> None:
    vr = dictionary_VR(keyword)
    original = [1.0, 2.0, 7.0] if keyword == "ImagePositionPatient" else _value(vr)
    dataset = _object(**{keyword: original})
    Confidentiality("s").apply(dataset)
    found, action = dataset.get(keyword), BY_HAND[keyword]
    if action == "X":
        assert keyword not in dataset
    elif action in ("Z", "X/Z"):
        assert keyword in dataset
        assert found in ("", None)
    elif action in ("Z/D", "X/D", "X/Z/D"):
        assert found not in ("", None, original)
    elif action == "U":
        assert found.startswith("1.2.826.0.1.3680043.8.498.")
    elif action == "pseudonym":
        assert str(found).startswith("ANON-")
    else:
        assert found == original


SINGLE = sorted(tag for tag in table() if len(tag) == 2)


def test_every_tag_of_the_table_loses_its_value_at_the_top_and_in_items() -> None:
    """All 652 single tags, each alone in an object and in an item of a sequence that stays."""
    kept = []
    for tag in SINGLE:
        dataset, item = _object(), Dataset()
        if Tag(tag).is_private or keyword_for_tag(Tag(tag)) in ("ContentSequence", "EncapsulatedDocument"):
            continue
        for target in (dataset, item):
            target.add_new(Tag(tag), _vr(tag), _value(_vr(tag)))
        dataset.ConceptNameCodeSequence = [item]
        Confidentiality("s").apply(dataset)
        left = [v for v in _texts(dataset) if any(s in v for s in (SECRET, "1977", "077Y", "1.2.77", "0707"))]
        numbers = [d[tag].value for d in (dataset, dataset.ConceptNameCodeSequence[0]) if tag in d]
        if left or 7 in numbers or "7" in map(str, numbers):
            kept.append((keyword_for_tag(Tag(tag)), left, numbers))
    assert kept == []
    assert len(SINGLE) > 600


def test_curves_and_overlay_data_go() -> None:
    dataset = _object()
    for group, element in ((0x5000, 0x3000), (0x5002, 0x0010), (0x6000, 0x3000), (0x6002, 0x4000)):
        dataset.add_new(Tag(group, element), "OW" if element == 0x3000 else "US", b"\1\2" if element == 0x3000 else 1)
    dataset.add_new(Tag(0x6000, 0x0010), "US", 5)
    Confidentiality("s").apply(dataset)
    assert [str(element.tag) for element in dataset if element.tag.group >= 0x5000] == ["(6000,0010)"]


def test_private_and_unknown_tags_go_everywhere() -> None:
    item = Dataset()
    item.private_block(0x0029, SECRET, create=True).add_new(1, "LO", SECRET)
    dataset = _object(ConceptNameCodeSequence=[item])
    dataset.private_block(0x0009, SECRET, create=True).add_new(1, "LO", SECRET)
    dataset.add_new(Tag(0x0010, 0x7FF1), "LO", SECRET)  # no such tag in the standard
    Confidentiality("s").apply(dataset)
    assert not any(SECRET in text for text in _texts(dataset))
    assert not any(element.tag.is_private for element in dataset.iterall())


def test_it_is_marked_and_the_meta_information_is_new() -> None:
    dataset = _object(PatientIdentityRemoved="NO")
    dataset.file_meta.SourceApplicationEntityTitle = SECRET
    dataset.preamble = SECRET.encode().ljust(128)
    Confidentiality("s").apply(dataset)
    assert dataset.PatientIdentityRemoved == "YES"
    assert dataset.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
    assert dataset.LongitudinalTemporalInformationModified == "REMOVED"
    assert "SourceApplicationEntityTitle" not in dataset.file_meta
    assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
    assert dataset.preamble == b"\0" * 128


def test_uids_are_alike_within_a_run_and_unlike_between_runs() -> None:
    run = Confidentiality()
    assert run.uid("1.2.3") == run.uid("1.2.3") != run.uid("1.2.4")
    assert Confidentiality().uid("1.2.3") != run.uid("1.2.3")
    assert len(run.uid("1.2.3")) <= 64
    several = _object(IrradiationEventUID=["1.2.3", "1.2.4"])
    run.apply(several)
    assert list(several.IrradiationEventUID) == [run.uid("1.2.3"), run.uid("1.2.4")]


def test_references_are_replaced_like_what_they_refer_to() -> None:
    run, references = Confidentiality("s"), [Dataset(), Dataset()]
    for reference in references:
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
    dataset = _object(SourceImageSequence=references[:1], ReferencedImageSequence=references[1:])
    run.apply(dataset)
    for sequence in (dataset.SourceImageSequence, dataset.ReferencedImageSequence):
        assert sequence[0].ReferencedSOPInstanceUID == run.uid("1.2.3") == dataset.SOPInstanceUID
        assert sequence[0].ReferencedSOPClassUID == "1.2.840.10008.5.1.4.1.1.2"


def test_patients_stay_apart() -> None:
    run = Confidentiality("s")
    made = [_object(PatientID=name, PatientName=SECRET) for name in ("A", "B", "A")]
    for dataset in made:
        run.apply(dataset)
    assert made[0].PatientID == made[2].PatientID != made[1].PatientID


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"BurnedInAnnotation": "YES"}, "burned into its pixels"),
        ({"ContentSequence": [Dataset()]}, "report or document"),
        ({"EncapsulatedDocument": b"%PDF"}, "report or document"),
    ],
    ids=["burned_in", "report", "document"],
)
def test_what_cannot_be_cleaned_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ImageError, match=message):
        Confidentiality("s").apply(_object(**values))


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two series of one patient under a folder that has the patient's name, and a file that is not DICOM."""
    hu = np.arange(2 * 3 * 4).reshape(1, 2, 3, 4).astype(np.int16)
    for seed in (1, 2):
        folder = tmp_path / SECRET / f"{SECRET}_{seed}"
        for path in write_series(Image(hu, np.eye(4), Path("x"), "CT"), folder, seed=seed):
            dataset = pydicom.dcmread(path)
            dataset.PatientName, dataset.PatientID, dataset.InstitutionName = f"{SECRET}^X", f"{SECRET}1", SECRET
            dataset.save_as(path)
    (tmp_path / SECRET / "notes.txt").write_text(SECRET)
    return tmp_path / SECRET


def test_a_study_becomes_a_new_folder_without_the_name_anywhere(study: Path, tmp_path: Path) -> None:
    done = deidentify(study, tmp_path / "new")
    assert (len(done.files), done.series, done.failed, done.passed_over) == (8, 2, (), 1)
    for path in (tmp_path / "new").rglob("*"):
        assert SECRET not in str(path.relative_to(tmp_path))
        assert path.is_dir() or SECRET.encode() not in path.read_bytes()
    old, new = (read_image(folder) for folder in (study / f"{SECRET}_1", done.files[0].parent))
    np.testing.assert_array_equal(new.array, old.array)
    np.testing.assert_array_equal(new.affine, old.affine)


def _pseudonym(**values: Any) -> str:
    dataset = _object(**values)
    Confidentiality("s").apply(dataset)
    assert dataset.PatientID == dataset.PatientName
    return str(dataset.PatientID)


def test_a_patient_stays_one_however_the_name_is_written() -> None:
    written = ("DOE^JANE", "Doe^Jane", "DOE^JANE^^^", "DOE ^JANE^M^^Dr", "Doe^Jane=Yamada^Tarou")
    one = {_pseudonym(PatientID="7", PatientName=name) for name in written}
    assert one == {_pseudonym(PatientID="7", PatientName="DOE^JANE", IssuerOfPatientID="here")}
    assert len({*one, _pseudonym(PatientID="7", PatientName="DOE^JOHN"), _pseudonym(PatientID="8")}) == 3


def test_patients_without_id_and_name_stay_apart_by_their_study() -> None:
    nobody = {"PatientID": "", "PatientName": ""}
    one, same, other = (_pseudonym(**nobody, StudyInstanceUID=f"1.2.{study}") for study in (3, 3, 4))
    assert one == same != other
    assert _pseudonym(PatientID="7", StudyInstanceUID="1.2.3") == _pseudonym(PatientID="7", StudyInstanceUID="1.2.4")


def test_a_report_is_left_out_and_told(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = study / "report.dcm"
    shutil.copy(next(study.rglob("*.dcm")), path)
    dataset = pydicom.dcmread(path)
    dataset.ContentSequence = [Dataset()]
    dataset.save_as(path)
    assert main(["data", "deidentify", str(study), "-o", str(tmp_path / "new")]) == 1
    captured = capsys.readouterr()
    assert "8 files of 2 series" in captured.out
    assert "1 left out" in captured.out
    assert f"{SECRET}^X" not in captured.out + captured.err


def test_a_truncated_file_is_left_out(study: Path, tmp_path: Path) -> None:
    path = next(study.rglob("*.dcm"))
    path.write_bytes(path.read_bytes()[:300])
    done = deidentify(study, tmp_path / "new")
    assert len(done.files) == 7
    assert [failed for failed, _ in done.failed] == [path]
    path.write_bytes(b"")
    assert [failed for failed, _ in deidentify(study, tmp_path / "again").failed] == [path], "by its suffix DICOM"


def test_a_file_that_does_not_say_how_it_is_encoded_is_left_out(study: Path, tmp_path: Path) -> None:
    path = next(study.rglob("*.dcm"))
    content, tag = path.read_bytes(), b"\x02\0\x10\0UI"  # TransferSyntaxUID becomes a tag that nobody knows
    path.write_bytes(content.replace(tag, b"\x02\0\x10\x0fUI", 1))
    done = deidentify(study, tmp_path / "new")
    assert (len(done.files), done.failed) == (7, ((path, "not a DICOM object; got no TransferSyntaxUID"),))


def test_a_full_disk_leaves_nothing_and_is_told(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pydicom.FileDataset, "save_as", full)
    with pytest.raises(OutputError, match="new cannot be written; got No space left on device"):
        deidentify(study, tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == [SECRET]


REFUSED: dict[str, tuple[Callable[[Path, Path], object], type[Exception], str]] = {
    "no_such_source": (lambda study, new: deidentify(study / "none", new), DataError, "no such file"),
    "no_dicom": (lambda study, new: deidentify(study / "notes.txt", new), DataError, "no DICOM files"),
    "not_empty": (lambda study, new: deidentify(study, study), OutputError, "not an empty folder"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_use_is_refused(name: str, study: Path, tmp_path: Path) -> None:
    act, kind, message = REFUSED[name]
    with pytest.raises(kind, match=message):
        act(study, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.real_data
def test_rtstruct_still_fits_its_series(real_data: Path, tmp_path: Path) -> None:
    from medseg.intake import read_label

    done = deidentify(real_data / "sarcoma_dicom_rtstruct" / "STS_003", tmp_path / "new")
    structures = next(f for f in done.files if pydicom.dcmread(f, stop_before_pixels=True).Modality == "RTSTRUCT")
    series = next(f.parent for f in done.files if f.parent != structures.parent)
    mask = read_label(structures, reference=read_image(series))
    truth = read_label(real_data / "sarcoma_dicom_rtstruct" / "STS_003" / "CT_mask.nii.gz")
    np.testing.assert_array_equal(mask.array, truth.array)
