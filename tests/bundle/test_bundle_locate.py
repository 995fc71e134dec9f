"""Bundles by folder and by name, from a checkout and from a wheel, and what is said where there is none."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from medseg.bundle import find_bundle, list_bundles, locate
from medseg.errors import BundleError

SHIPPED = ["ct_lung", "ct_sarcoma", "cxr_heart_lung", "mr_hippocampus"]


def as_if_installed(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `locate` believe that the package medseg lies in the folder `at`."""
    monkeypatch.setattr(locate, "__file__", str(at / "bundle" / "locate.py"))


def test_find_bundle_takes_a_folder(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_bundle(tiny_bundle) == tiny_bundle.resolve()
    monkeypatch.chdir(tiny_bundle.parent)
    assert find_bundle("tiny_lungs") == find_bundle("./tiny_lungs/") == tiny_bundle.resolve()


@pytest.mark.parametrize("name", SHIPPED)
def test_find_bundle_takes_a_shipped_name_anywhere(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_bundle(name).name == name
    assert (find_bundle(name) / "configs" / "metadata.json").is_file()


def test_find_bundle_passes_by_a_folder_of_the_same_name_that_is_no_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ct_lung").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_bundle("ct_lung") == list_bundles()[0].path


@pytest.mark.parametrize("layout", ["site-packages/medseg", "src/medseg"], ids=["wheel", "checkout"])
def test_find_bundle_in_each_layout(
    layout: str, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "root" / layout
    bundles = package / "bundles" if layout.startswith("site") else tmp_path / "root" / "bundles"
    shutil.copytree(tiny_bundle, bundles / "tiny_lungs")
    as_if_installed(package, monkeypatch)
    assert find_bundle("tiny_lungs") == bundles / "tiny_lungs"
    assert [info.name for info in list_bundles()] == ["tiny_lungs"]


def test_wheel_does_not_look_for_bundles_outside_its_package(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_bundle, tmp_path / "lib" / "bundles" / "tiny_lungs")
    as_if_installed(tmp_path / "lib" / "site-packages" / "medseg", monkeypatch)
    assert list_bundles() == []


@pytest.mark.parametrize(
    "name", ["../bundles/ct_lung", "..", "ct_lung/../ct_lung", "ct_lung/configs", "", ".", "nothing", "CT_LUNG"]
)
def test_find_bundle_follows_no_path_from_a_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleError, match=f"one of: {', '.join(SHIPPED)}"):
        find_bundle(name)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("ct_lungs", "no such bundle; got 'ct_lungs'; .*did you mean ct_lung\\?"),
        ("hippocampus", "did you mean mr_hippocampus\\?"),
        ("zzz", "medseg bundle list shows"),
        ("folder", "folder is no bundle: it has no configs"),
        ("file.zip", "file.zip is a file and no bundle"),
    ],
)
def test_find_bundle_says_what_there_is(asked: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.zip").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleError, match=said):
        find_bundle(asked)


def test_list_bundles_says_whether_weights_are_there(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundles = tmp_path / "medseg" / "bundles"
    for name in ("a", "b"):
        shutil.copytree(tiny_bundle, bundles / name)
    (bundles / "b" / "models").mkdir()
    (bundles / "b" / "models" / "model.pt").touch()
    (bundles / "no_bundle").mkdir()
    as_if_installed(tmp_path / "medseg", monkeypatch)
    first, second = list_bundles()
    assert (first.name, first.version, first.task, first.modality) == ("a", "0.2.0", "lungs", "DX")
    assert first.labels == ("left lung", "right lung")
    assert (first.weights, second.weights) == (False, True)


def test_finding_and_listing_load_no_framework() -> None:
    code = (
        "import sys; from medseg.bundle import find_bundle, list_bundles; list_bundles(); find_bundle('ct_lung');"
        "print(sorted({'torch', 'monai', 'numpy', 'yaml', 'ignite'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_zip_file_tells_how_it_becomes_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "lungs.zip").touch()
    told = r"is a file and no bundle; .* medseg bundle unpack .*/lungs\.zip -o .*/lungs$"
    with pytest.raises(BundleError, match=told):
        find_bundle(tmp_path / "lungs.zip")
