"""Trust is given to the files of a bundle by their hash, by one user, until one of them changes."""

from __future__ import annotations

import contextlib
import errno
import importlib
import importlib.util
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from medseg.bundle import find_bundle, open_workflow
from medseg.bundle.allowed import permitted, table
from medseg.bundle.describe import build_network
from medseg.bundle.trust import (
    add_trust,
    bundle_sha256,
    bundle_wants,
    read_trusted,
    remove_trust,
    store_path,
)
from medseg.errors import BundleError, OutputError

SHIPPED = ["ct_lung", "ct_sarcoma", "cxr_heart_lung", "mr_hippocampus"]


@pytest.fixture(autouse=True)
def own_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDSEG_CONFIG", str(tmp_path / "config"))


@pytest.fixture
def wanting(tmp_path: Path) -> Path:
    """A copy of a bundle that also wants a class of its own."""
    bundle = Path(shutil.copytree(find_bundle("mr_hippocampus"), tmp_path / "theirs"))
    (bundle / "scripts").mkdir()
    (bundle / "scripts" / "post.py").write_text("class Keep:\n    pass\n", encoding="utf-8")
    common = bundle / "configs" / "common.yaml"
    lines = common.read_text(encoding="utf-8").splitlines()
    common.write_text("\n".join([*lines, "mine: {_target_: scripts.post.Keep}", ""]), encoding="utf-8")
    return bundle


@pytest.mark.parametrize("name", SHIPPED)
def test_bundles_that_ship_want_nothing(name: str) -> None:
    assert bundle_wants(find_bundle(name)) == []


def test_every_name_on_the_list_is_there_and_is_itself() -> None:
    for package, names in table("callables").items():
        module = importlib.import_module(package)
        assert [name for name in names if not permitted(getattr(module, name, None))] == [], package
    for section in ("constants", "enumerations"):
        for package, names in table(section).items():
            assert [name for name in names if not hasattr(importlib.import_module(package), name)] == [], package


def test_a_bundle_that_wants_more_is_refused_until_it_is_trusted(wanting: Path) -> None:
    line = len((wanting / "configs" / "common.yaml").read_text(encoding="utf-8").splitlines())
    told = rf"theirs wants .*\n  configs/common.yaml:{line}: mine: calls scripts.post.Keep\n  .* medseg bundle trust .*"
    with pytest.raises(BundleError, match=told + bundle_sha256(wanting)):
        open_workflow(wanting, "inference")
    add_trust(wanting)
    assert type(open_workflow(wanting, "inference")).__name__ == "ConfigWorkflow"


@pytest.mark.parametrize(
    ("file", "asks"),
    [
        ("configs/smoke.yaml", True),
        ("configs/logging.conf", True),
        ("scripts/post.py", True),
        ("scripts/new.py", True),
        ("nibabel.pyc", True),
        ("models/model.pt", True),
        ("notes", True),
        ("docs/README.md", False),
        ("evaluation/case.nii.gz", False),
    ],
)
def test_any_change_of_what_could_run_asks_again(wanting: Path, file: str, asks: bool) -> None:
    add_trust(wanting)
    (wanting / file).parent.mkdir(exist_ok=True)
    with (wanting / file).open("ab") as changed:
        changed.write(b"\n# more\n")
    if asks and file != "models/model.pt":
        with pytest.raises(BundleError, match="wants what only a trusted bundle may do"):
            open_workflow(wanting, "inference")
    assert (bundle_sha256(wanting) != read_trusted()[0].sha256) is asks


def test_trust_said_with_a_command_is_recorded_once(wanting: Path) -> None:
    for _ in range(2):
        open_workflow(wanting, "inference", trust=True)
    (record,) = read_trusted()
    assert (record.sha256, record.name, record.folder) == (bundle_sha256(wanting), "theirs", str(wanting))
    assert store_path().stat().st_mode & 0o022 == 0


def test_a_bundle_that_keeps_to_the_list_leaves_no_record() -> None:
    open_workflow(find_bundle("ct_lung"), "inference", trust=True)
    assert read_trusted() == []


def test_recorded_trust_speaks_of_files_and_not_of_the_command_line(wanting: Path) -> None:
    add_trust(wanting)
    changes: dict[str, Any] = {"backend": "$__import__('os').sep"}
    with pytest.raises(BundleError, match=r"is trusted, but the command line .*\n  command line: backend: calls"):
        open_workflow(wanting, "inference", overrides=changes)
    assert open_workflow(wanting, "inference", overrides=changes, trust=True).parser["backend"] == changes["backend"]


@pytest.mark.parametrize("which", ["hash", "start", "name", "folder"])
def test_trust_is_taken_back(wanting: Path, which: str) -> None:
    digest = add_trust(wanting).sha256
    named = {"hash": digest, "start": digest[:8], "name": "theirs", "folder": str(wanting)}
    assert [one.sha256 for one in remove_trust(named[which])] == [digest]
    assert read_trusted() == []
    with pytest.raises(BundleError, match="no such bundle is trusted"):
        remove_trust(named[which])


def test_a_trusted_bundle_may_bring_its_own_network_and_stays_trusted(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "")
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    config = tiny_bundle / "configs" / "common.yaml"
    config.write_text("network_def: {_target_: scripts.net.Net}\n", encoding="utf-8")
    (tiny_bundle / "scripts").mkdir()
    theirs = Path(shutil.copytree(tiny_bundle, tmp_path / "another"))
    for bundle, kernel in ((tiny_bundle, 1), (theirs, 3)):
        lines = ["import torch", "class Net(torch.nn.Conv2d):"]
        lines += [f"    def __init__(self): super().__init__(1, 3, {kernel}, padding='same')", ""]
        (bundle / "scripts" / "net.py").write_text("\n".join(lines), encoding="utf-8")
    for bundle, parameters in ((tiny_bundle, 6), (theirs, 30), (tiny_bundle, 6)):  # each its own `scripts`
        digest = add_trust(bundle).sha256
        network = build_network(bundle, bundle / "configs" / "common.yaml")
        assert sum(one.numel() for one in network.parameters()) == parameters
        assert bundle_sha256(bundle) == digest


def test_a_link_cannot_be_trusted(wanting: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.py").touch()
    (wanting / "scripts" / "link.py").symlink_to(tmp_path / "elsewhere.py")
    with pytest.raises(BundleError, match=r"link\.py: a link cannot be trusted"):
        add_trust(wanting)


@pytest.mark.parametrize("content", ["{", "[1]", '[{"sha256": "0"}]'])
def test_damaged_records_trust_nothing(wanting: Path, content: str) -> None:
    store_path().parent.mkdir(parents=True)
    store_path().write_text(content, encoding="utf-8")
    with pytest.raises(BundleError, match="the records of trust are damaged"):
        open_workflow(wanting, "inference")


@pytest.mark.parametrize("trusted", [False, True], ids=["untrusted", "trusted"])
def test_a_planted_module_is_found_in_a_trusted_bundle_alone(
    tmp_path: Path, wanting: Path, trusted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = wanting if trusted else Path(shutil.copytree(find_bundle("mr_hippocampus"), tmp_path / "plain"))
    for name in ("medseg_planted_probe", "nibabel"):
        (bundle / f"{name}.py").write_text(f"open({str(tmp_path / name)!r}, 'w').close()\n", encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])  # MONAI puts the folder second
    for name in ("medseg_planted_probe", "nibabel"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    workflow = open_workflow(bundle, "inference", trust=trusted)
    workflow.initialize()
    with pytest.raises(Exception, match="input"):  # there are no images: it runs that far
        workflow.run()
    with contextlib.suppress(ModuleNotFoundError):
        importlib.import_module("medseg_planted_probe")
    assert (tmp_path / "medseg_planted_probe").exists() is trusted
    monkeypatch.delitem(sys.modules, "nibabel", raising=False)
    spec = importlib.util.find_spec("nibabel")
    assert spec is not None
    assert (spec.origin == str(bundle / "nibabel.py")) is trusted


def test_a_run_that_keeps_to_the_list_works_as_under_monai(tmp_path: Path) -> None:
    bundle = find_bundle("mr_hippocampus")
    (tmp_path / "images").mkdir()
    settings = {"input": str(tmp_path / "images"), "output_dir": str(tmp_path / "out")}
    guarded = open_workflow(bundle, "inference", overrides=settings)
    before = list(sys.path)
    assert type(guarded).__name__ == "GuardedWorkflow"
    network = guarded.parser.get_parsed_content("network_def")
    assert guarded.parser.get_parsed_content("device").type in ("cpu", "cuda")
    assert guarded.parser.get_parsed_content("network_def") is network
    assert sys.path == before


def test_results_go_only_where_the_command_says(tmp_path: Path) -> None:
    from medseg.bundle.guard import check_arguments

    named = tmp_path / "named"
    check_arguments("x", {"output_dir": str(named), "run_dir": str(named / "in"), "log_dir": None}, [named])
    check_arguments("x", {"output_dir": "predictions"}, [])
    for folder in (tmp_path, tmp_path / "named2", named / ".." / "other", "../elsewhere", "/"):
        with pytest.raises(BundleError, match="which is not the folder that was named"):
            check_arguments("x", {"output_dir": str(folder)}, [named])


def test_a_description_cannot_write_over_the_screen(wanting: Path) -> None:
    from medseg.bundle import describe_bundle
    from medseg.bundle.diff import as_text, diff_bundles
    from medseg.bundle.show_config import as_text as shown
    from medseg.bundle.show_config import settings
    from medseg.bundle.trust import merged_for

    path = wanting / "configs" / "metadata.json"
    metadata = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(metadata | {"description": "\x1b[2Jlungs\u202e é"}), encoding="utf-8")
    add_trust(wanting)
    texts = [describe_bundle(wanting), shown(settings(merged_for(wanting, "train"), only="_meta_"))]
    texts.append(as_text(diff_bundles(find_bundle("mr_hippocampus"), wanting), wanting, wanting))
    for text in texts:
        assert r"\x1b[2Jlungs\u202e é" in text
        assert "\x1b" not in text


def test_a_place_that_takes_no_records_is_told(wanting: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container whose home is read-only; the refusal of the system is played, since root may write all."""

    def refusing(path: Path, *_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "write_text", refusing)
    with pytest.raises(OutputError, match=r"trusted\.json cannot be written; got Read-only .*; name .* MEDSEG_CONFIG"):
        add_trust(wanting)


def test_the_records_are_readable_json(wanting: Path) -> None:
    add_trust(wanting)
    (record,) = json.loads(store_path().read_text(encoding="utf-8"))
    assert sorted(record) == ["folder", "given", "name", "sha256"]
