"""predict from a PACS and back: query, retrieve, segment, store the SEG, find it again; and what must not happen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import fake_pacs
import nibabel
import numpy as np
import pydicom
import pytest
from fake_pacs import FakePacs, only, status
from local_orthanc import Orthanc

from medseg.case import Image
from medseg.cli import main
from medseg.datasets import list_inputs
from medseg.dicom import write_series
from medseg.dicom.names import series_name
from medseg.dicom.transfer import pull, push
from medseg.errors import DataError, PacsError, RunError
from medseg.workflows import predict
from medseg.workflows.pacs import local_input

pytest.importorskip("highdicom", reason="pip install 'medseg[dicom]'")

SETTINGS = {"device": "$torch.device('cpu')", "overlap": 0.0}


@pytest.fixture(scope="module")
def thorax(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A CT of two bags of air in water, 3.5 mm: 72 x 56 x 40."""
    x, y, z = np.indices((72, 56, 40)).astype(float)
    body = ((x - 36) / 33) ** 2 + ((y - 28) / 24) ** 2 < 1
    air = [((x - at) / 11) ** 2 + ((y - 28) / 15) ** 2 + ((z - 20) / 16) ** 2 < 1 for at in (20, 52)]
    hu = np.where(air[0] | air[1], -850, np.where(body, 40, -1000)).astype(np.int16)
    image = Image(hu[None], np.diag([3.5, 3.5, 3.5, 1.0]), Path("made"), "CT")
    return write_series(image, tmp_path_factory.mktemp("thorax") / "series", seed=3)


@pytest.fixture
def holding(thorax: list[Path], monkeypatch: pytest.MonkeyPatch) -> FakePacs:
    """A server that holds `thorax`; nobody waits between attempts."""
    monkeypatch.setattr("medseg.dicom.web_session.sleep", lambda _: None)
    monkeypatch.setattr("medseg.dicom.web.sleep", lambda _: None)
    with fake_pacs.serving() as fake:
        fake.files += [path.read_bytes() for path in thorax]
        yield fake


def _uids(files: list[Path]) -> tuple[str, str]:
    ds = pydicom.dcmread(files[0], stop_before_pixels=True)
    return str(ds.StudyInstanceUID), str(ds.SeriesInstanceUID)


def test_segmented_and_stored_beside_its_images(orthanc: Orthanc, thorax: list[Path], tmp_path: Path):
    push(thorax[0].parent, address=orthanc.address)
    study, series = _uids(thorax)
    address = f"{orthanc.address}/studies/{study}"
    report = predict("ct_lung", inputs=address, output_dir=tmp_path / "masks", overrides=SETTINGS, store=True)
    assert [(case.id, case.status) for case in report.cases] == [(series_name(series), "done")]
    back = {folder.name: folder for folder in pull(address, output_dir=tmp_path / "back")}
    (seg,) = [pydicom.dcmread(next(back[name].iterdir())) for name in back if name != series_name(series)]
    assert (seg.Modality, seg.StudyInstanceUID) == ("SEG", study)
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == series
    mask = np.asarray(nibabel.load(tmp_path / "masks" / f"{series_name(series)}.nii.gz").dataobj)
    assert mask.any(), "both bags are lungs to the network"
    assert int(np.asarray(seg.pixel_array).sum()) == int((mask > 0).sum())
    again = predict("ct_lung", inputs=address, output_dir=tmp_path / "again", overrides=SETTINGS)
    assert again.cases[0].id == report.cases[0].id, "the SEG is no second series to choose from"


def test_a_partial_series_is_never_segmented(holding: FakePacs, thorax: list[Path], tmp_path: Path):
    holding.faults["wado"] = [only(39)]
    with pytest.raises(PacsError, match="partial series, not used; got 39 instances; expected 40"):
        predict("ct_lung", inputs=f"{holding.address}/studies/{_uids(thorax)[0]}", output_dir=tmp_path / "masks")
    assert not (tmp_path / "masks").exists()


def test_what_cannot_be_stored_is_kept(holding: FakePacs, thorax: list[Path], tmp_path: Path):
    holding.faults["stow"] = [status(507)]
    address = f"{holding.address}/studies/{_uids(thorax)[0]}"
    with pytest.raises(RunError, match=r"segmented, but the results are not stored.*HTTP 507.*medseg pacs push"):
        predict("ct_lung", inputs=address, output_dir=tmp_path / "masks", overrides=SETTINGS, store=True)
    assert len(list((tmp_path / "masks").glob("*_seg.dcm"))) == 1
    assert (tmp_path / "masks" / "report.json").exists()


def test_credentials_leave_no_trace(
    holding: FakePacs,
    thorax: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    monkeypatch.setenv("MEDSEG_DICOMWEB_TOKEN", "hunter2hunter2")
    address = f"{holding.address}/studies/{_uids(thorax)[0]}"
    words = ["predict", "ct_lung", "-i", address, "-o", str(tmp_path / "masks"), "--store", "--debug", "overlap=0.0"]
    assert main([*words, "--device", "cpu"]) == 0
    assert {headers["Authorization"] for _, headers in holding.asked} == {"Bearer hunter2hunter2"}
    printed = capfd.readouterr()
    files = [path for path in (tmp_path / "masks").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".gz", ".png", ".json", ".dcm", ".csv", ".txt"}
    assert not [path for path in files if b"hunter2" in path.read_bytes()]
    assert "hunter2" not in printed.out + printed.err


def test_the_command_tells_what_was_not_stored(
    holding: FakePacs, thorax: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    holding.keeps = False
    address = f"{holding.address}/studies/{_uids(thorax)[0]}"
    words = ["predict", "ct_lung", "-i", address, "-o", str(tmp_path / "masks"), "--store", "overlap=0.0"]
    assert main([*words, "--device", "cpu"]) == 1
    assert "not found again" in capfd.readouterr().err


def test_storing_needs_a_pacs(thorax: list[Path], tmp_path: Path):
    with pytest.raises(PacsError, match="stored where the images came from; got a path"):
        predict("ct_lung", inputs=thorax[0].parent, output_dir=tmp_path / "masks", store=True)
    assert not (tmp_path / "masks").exists()


def test_a_series_is_chosen_by_its_number(holding: FakePacs, thorax: list[Path], tmp_path: Path):
    other = pydicom.dcmread(thorax[0])
    other.SeriesInstanceUID, other.SOPInstanceUID, other.SeriesNumber = "1.2.3.4", "1.2.3.5", 2
    other.save_as(tmp_path / "other.dcm")
    holding.files.append((tmp_path / "other.dcm").read_bytes())
    address = f"{holding.address}/studies/{_uids(thorax)[0]}"
    report = predict("ct_lung", inputs=address, output_dir=tmp_path / "masks", overrides={**SETTINGS, "series": "1"})
    assert [case.id for case in report.cases] == [series_name(_uids(thorax)[1])]
    with pytest.raises(PacsError, match="got 2 with images"):
        predict("ct_lung", inputs=address, output_dir=tmp_path / "more", overrides=SETTINGS)


def test_a_series_is_chosen_by_rule_or_description(holding: FakePacs, thorax: list[Path], tmp_path: Path):
    scout = pydicom.dcmread(thorax[0])
    scout.SeriesInstanceUID, scout.SOPInstanceUID, scout.SeriesNumber = "1.2.3.4", "1.2.3.5", 2
    scout.ImageType, scout.SeriesDescription = ["ORIGINAL", "PRIMARY", "LOCALIZER"], "2 views"
    scout.save_as(tmp_path / "scout.dcm")
    holding.files.append((tmp_path / "scout.dcm").read_bytes())
    address = f"{holding.address}/studies/{_uids(thorax)[0]}"
    report = predict("ct_lung", inputs=address, output_dir=tmp_path / "auto", overrides={**SETTINGS, "series": "auto"})
    assert [case.id for case in report.cases] == [series_name(_uids(thorax)[1])]
    with local_input(address, series="2 Views") as folder:
        (case,) = list_inputs(folder, series="2 Views")
        assert case["id"] == series_name("1.2.3.4")
    with pytest.raises(DataError, match="no series fits --series 'arterial'"):
        predict("ct_lung", inputs=address, output_dir=tmp_path / "none", overrides={**SETTINGS, "series": "arterial"})


# --- the other commands


def test_the_commands_pull_and_push(
    holding: FakePacs, thorax: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    address = f"{holding.address}/studies/{_uids(thorax)[0]}"
    assert main(["pacs", "pull", address, "-o", str(tmp_path / "out")]) == 0
    assert main(["pacs", "push", str(tmp_path / "out"), holding.address]) == 0
    assert capfd.readouterr().out.splitlines() == [f"1 series in {tmp_path / 'out'}", "40 files stored and found again"]


def test_a_wrong_address_is_a_wrong_input(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    assert main(["pacs", "pull", "https://host/studies/1", "-o", str(tmp_path)]) == 2
    assert "dicomweb://HOST" in capfd.readouterr().err


def test_a_missing_extra_names_its_command():
    code = (
        "import sys\nfrom medseg.errors import PacsError\n"
        "sys.modules['dicomweb_client.web'] = sys.modules['pynetdicom'] = None\n"
        "for module in ('web', 'dimse', 'dimse_receive'):\n"
        "    try:\n        __import__(f'medseg.dicom.{module}')\n"
        "    except PacsError as error:\n        sys.stdout.write(f'{error}\\n')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count("pip install 'medseg[pacs]'") == 3


def test_the_pacs_commands_do_without_torch(tmp_path: Path):
    code = (
        "import sys\nfrom medseg.cli import main\n"
        "codes = [main(['pacs', 'push', sys.argv[1], 'dicomweb://h']), main(['pacs', 'send', sys.argv[1], 'h:104'])]\n"
        "sys.stdout.write(f'{codes} ' + str({'torch', 'monai', 'scipy', 'SimpleITK'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout == "[2, 2] set()", "quick to start, and a receiver that waits takes little memory"
