"""Against a real Orthanc: what goes in comes out, by DICOMweb and by C-STORE, in both directions."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from local_orthanc import AET, Orthanc
from pacs_series import QUICK, make_series

from medseg.dicom.dimse_receive import receiver
from medseg.dicom.names import series_name
from medseg.dicom.transfer import pull, push, send
from medseg.errors import PacsError
from medseg.workflows.pacs import local_input

WAIT_S = 20.0


def _pixels(files: list[Path]) -> dict[str, bytes]:
    return {str(ds.SOPInstanceUID): ds.PixelData for ds in map(pydicom.dcmread, files)}


def _uids(files: list[Path]) -> tuple[str, str]:
    ds = pydicom.dcmread(files[0])
    return str(ds.StudyInstanceUID), str(ds.SeriesInstanceUID)


def _address(orthanc: Orthanc, files: list[Path]) -> str:
    study, series = _uids(files)
    return f"{orthanc.address}/studies/{study}/series/{series}"


def test_pushed_and_pulled_by_dicomweb(orthanc: Orthanc, series: list[Path], tmp_path: Path):
    assert push(series[0].parent, address=orthanc.address) == 5
    assert len(orthanc.rest("/instances")) == 5
    (folder,) = pull(_address(orthanc, series), output_dir=tmp_path / "out")
    assert folder.name == series_name(_uids(series)[1])
    assert _pixels(list(folder.iterdir())) == _pixels(series)


def test_pushing_again_changes_nothing(orthanc: Orthanc, series: list[Path]):
    for _ in range(2):
        assert push(series[0].parent, address=orthanc.address) == 5
    assert len(orthanc.rest("/instances")) == 5


def test_a_compressed_series_comes_compressed(orthanc: Orthanc, series: list[Path], tmp_path: Path):
    for path in series:
        ds = pydicom.dcmread(path)
        ds.compress(pydicom.uid.RLELossless)
        ds.save_as(path)
    push(series[0].parent, address=orthanc.address)
    (folder,) = pull(_address(orthanc, series), output_dir=tmp_path / "out")
    received = [pydicom.dcmread(path) for path in folder.iterdir()]
    assert {ds.file_meta.TransferSyntaxUID for ds in received} == {pydicom.uid.RLELossless}
    assert _pixels(list(folder.iterdir())) == _pixels(series)


def test_more_than_one_request_holds(
    orthanc: Orthanc, series: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("medseg.dicom.web._BATCH_BYTES", 3000)  # two files of 1.4 KB
    assert push(series[0].parent, address=orthanc.address) == 5
    assert len(orthanc.rest("/instances")) == 5


def test_a_large_file_goes_in_pieces(orthanc: Orthanc, tmp_path: Path):
    ds = pydicom.dcmread(make_series(tmp_path / "one", slices=1)[0])
    ds.Rows = ds.Columns = 1200
    ds.PixelData = bytes(range(256)) * (1200 * 1200 * 2 // 256)
    ds.save_as(tmp_path / "large.dcm")
    push(tmp_path / "large.dcm", address=orthanc.address)
    (folder,) = pull(_address(orthanc, [tmp_path / "large.dcm"]), output_dir=tmp_path / "out")
    assert _pixels(list(folder.iterdir())) == _pixels([tmp_path / "large.dcm"])


def test_a_study_is_all_of_its_series(orthanc: Orthanc, series: list[Path], tmp_path: Path):
    second = _second_series(series, tmp_path / "second")
    push(series[0].parent, address=orthanc.address)
    push(second[0].parent, address=orthanc.address)
    folders = pull(f"{orthanc.address}/studies/{_uids(series)[0]}", output_dir=tmp_path / "out")
    assert {folder.name: len(list(folder.iterdir())) for folder in folders} == {
        series_name(_uids(series)[1]): 5,
        series_name(_uids(second)[1]): 2,
    }


def test_an_ambiguous_study_is_refused_with_its_series(orthanc: Orthanc, series: list[Path], tmp_path: Path):
    second = _second_series(series, tmp_path / "second")
    push(series[0].parent, address=orthanc.address)
    push(second[0].parent, address=orthanc.address)
    with (
        pytest.raises(PacsError, match=r"which series.*CT number 1, 5 instances.*CT number 7, 2 instances"),
        local_input(f"{orthanc.address}/studies/{_uids(series)[0]}"),
    ):
        pass


def test_sent_by_c_store(orthanc: Orthanc, series: list[Path], tmp_path: Path):
    assert send(series[0].parent, peer=f"127.0.0.1:{orthanc.dicom_port}", called=AET, retries=QUICK) == 5
    (folder,) = pull(_address(orthanc, series), output_dir=tmp_path / "out")
    assert _pixels(list(folder.iterdir())) == _pixels(series)


def test_received_by_c_store(orthanc: Orthanc, series: list[Path], tmp_path: Path):
    push(series[0].parent, address=orthanc.address)
    with receiver(tmp_path, port=0, allowed=[AET]) as taking, orthanc.reaches(taking.port):
        orthanc.send_series(_uids(series)[1])
        came = taking.next_series(timeout_s=WAIT_S)
    assert came is not None
    assert came.instances == 5
    assert _pixels(list(came.folder.iterdir())) == _pixels(series)


def _second_series(series: list[Path], folder: Path) -> list[Path]:
    """Two slices in another series of the same study."""
    folder.mkdir()
    for number, path in enumerate(series[:2]):
        ds = pydicom.dcmread(path)
        ds.SeriesInstanceUID, ds.SOPInstanceUID, ds.SeriesNumber = "1.2.3.4", f"1.2.3.4.{number}", 7
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.save_as(folder / path.name)
    return sorted(folder.iterdir())


@pytest.mark.real_data
def test_a_real_series_comes_back_as_it_was(orthanc: Orthanc, real_data: Path, tmp_path: Path):
    folder = real_data / "chest_ct_nlst" / "dicom_jpegls_16"
    files = sorted(path for path in folder.iterdir() if path.suffix == ".dcm")
    assert push(folder, address=orthanc.address) == len(files) == 16
    (pulled,) = pull(_address(orthanc, files), output_dir=tmp_path / "out")
    assert _pixels(list(pulled.iterdir())) == _pixels(files)
    syntaxes = {str(pydicom.dcmread(path).file_meta.TransferSyntaxUID) for path in pulled.iterdir()}
    assert syntaxes == {"1.2.840.10008.1.2.4.80"}, "JPEG-LS lossless, not decoded on the way"
