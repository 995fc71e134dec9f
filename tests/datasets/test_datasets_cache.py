"""The disk cache: a new entry when anything changed, whole files only, damage noticed, no more than allowed."""

from __future__ import annotations

import functools
import importlib
import logging
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Compose, Lambdad, NormalizeIntensityd, ScaleIntensityd, SpatialPadd

from medseg.datasets import CaseDataset
from medseg.datasets.cache import DiskCache
from medseg.datasets.fingerprint import describe, fingerprint
from medseg.datasets.preparation import _digest
from medseg.errors import BundleError, OutputError
from medseg.intake import LoadCased
from medseg.transforms import CheckCased

LABELS = {"0": "background", "1": "thing"}


@pytest.fixture
def cases(tmp_path: Path) -> list[dict[str, Any]]:
    """Two volumes with masks, on disk."""
    found = []
    for i in range(2):
        item = {"id": f"c{i}", "patient": f"p{i}"}
        for key, values in (("image", np.arange(60.0) + i), ("label", np.arange(60) % 2)):
            path = tmp_path / "files" / f"{key}_{i}.nii.gz"
            path.parent.mkdir(exist_ok=True)
            volume = nibabel.Nifti1Image(values.reshape(3, 4, 5).astype(np.float32), np.diag([1.0, 2.0, 3.0, 1.0]))
            nibabel.save(volume, path)
            item[key] = str(path)
        found.append(item)
    return found


def chain(low: float = 0.0) -> list[Callable[[Any], Any]]:
    return [LoadCased(), CheckCased(labels=LABELS), ScaleIntensityd(keys="image", minv=low, maxv=1.0)]


def dataset(cases: list[dict[str, Any]], folder: Path, **settings: Any) -> CaseDataset:
    settings = {"preprocessing": chain(), **settings}
    return CaseDataset(cases, settings.pop("preprocessing"), disk_cache=str(folder), **settings)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_read_is_what_was_made(cases: list[dict[str, Any]], tmp_path: Path) -> None:
    plain, folder = CaseDataset(cases, chain()), tmp_path / "cache"
    made, read = dataset(cases, folder), dataset(cases, folder)
    assert (made._disk.counts, read._disk.counts) == ((0, 2), (2, 0))
    for i in range(2):
        for each in (made[i], read[i]):
            assert each.keys() == plain[i].keys()
            assert each["id"] == f"c{i}"
            for key in ("image", "label"):
                assert isinstance(each[key], MetaTensor)
                assert torch.equal(each[key], plain[i][key])
                assert each[key].dtype == plain[i][key].dtype
                assert torch.equal(each[key].affine, plain[i][key].affine)
                assert each[key].meta.keys() == plain[i][key].meta.keys()
                assert each[key].meta["filename_or_obj"] == cases[i][key]


def test_a_changed_transform_or_file_is_a_new_entry_and_a_moved_file_is_not(
    cases: list[dict[str, Any]], tmp_path: Path
) -> None:
    folder = tmp_path / "cache"
    dataset(cases, folder)
    first = names(folder)
    assert torch.min(dataset(cases, folder, preprocessing=chain(low=-1.0))[0]["image"]) == -1
    assert len(names(folder)) == 4
    moved = tmp_path / "elsewhere"
    shutil.copytree(tmp_path / "files", moved)
    elsewhere = [
        {**c, "image": str(moved / Path(c["image"]).name), "label": str(moved / Path(c["label"]).name)} for c in cases
    ]
    assert dataset(elsewhere, folder)._disk.counts == (2, 0)
    other = np.arange(60.0).reshape(3, 4, 5)[::-1].astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(other, np.diag([1.0, 2.0, 3.0, 1.0])), cases[0]["image"])
    changed = dataset(cases, folder)
    assert changed._disk.counts == (1, 1)
    assert set(first) < set(names(folder))


def test_other_voxels_behind_the_same_header_are_another_case(tmp_path: Path) -> None:
    header = (
        "ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nTransformMatrix = 1 0 0 0 1 0 0 0 1\n"
    )
    found = []
    for values in (range(8), range(1, 9)):
        for key in ("image", "label"):
            (tmp_path / f"{key}.mhd").write_text(f"{header}ElementDataFile = {key}.raw\n")
            (tmp_path / f"{key}.raw").write_bytes(bytes(values))
        case = {"id": "c", "patient": "p", **{key: str(tmp_path / f"{key}.mhd") for key in ("image", "label")}}
        data = dataset([case], tmp_path / "cache", preprocessing=[LoadCased()])
        assert data._disk.counts == (0, 1)
        found.append((float(data[0]["image"].max()), _digest(tmp_path / "image.mhd")))
    assert [value for value, _ in found] == [7, 8]
    assert found[0][1] != found[1][1]


@pytest.mark.parametrize("damage", ["cut", "one bit", "empty"])
def test_a_damaged_entry_is_made_again_with_a_warning(
    cases: list[dict[str, Any]], tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    folder = tmp_path / "cache"
    expected = dataset(cases, folder)[0]["image"]
    for path in folder.iterdir():
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes({"cut": content[:-9], "one bit": content, "empty": b""}[damage])
    again = dataset(cases, folder)
    assert again._disk.counts == (0, 2)
    assert torch.equal(again[0]["image"], expected)
    assert sum("is damaged and made again" in record.message for record in caplog.records) == 2
    assert dataset(cases, folder)._disk.counts == (2, 0)


def test_an_entry_holds_nothing_that_is_executed(cases: list[dict[str, Any]], tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    dataset(cases, folder)
    body = next(folder.iterdir()).read_bytes().partition(b"\n")[2]
    (tmp_path / "body.pt").write_bytes(body)
    assert torch.load(tmp_path / "body.pt", weights_only=True)["values"]["image"]["is"] == "image"
    assert str(tmp_path).encode() not in body


@pytest.mark.parametrize(
    "other",
    [
        [ScaleIntensityd(keys="image", minv=0.0, maxv=2.0)],
        [ScaleIntensityd(keys="label", minv=0.0, maxv=1.0)],
        [NormalizeIntensityd(keys="image")],
        [ScaleIntensityd(keys="image", minv=0.0, maxv=1.0), SpatialPadd(keys="image", spatial_size=[4, 4, 4])],
        [SpatialPadd(keys="image", spatial_size=[4, 4, 4]), ScaleIntensityd(keys="image", minv=0.0, maxv=1.0)],
        [Lambdad(keys="image", func=lambda x: x + 1)],
        [Lambdad(keys="image", func=lambda x: x + 2)],
        [Lambdad(keys="image", func=functools.partial(np.add, 1))],
        [Lambdad(keys="image", func=functools.partial(np.add, 2))],
    ],
    ids=["value", "key", "class", "one more", "order", "code", "other code", "partial", "other partial"],
)
def test_each_chain_has_its_own_fingerprint(other: list[Callable[[Any], Any]]) -> None:
    everyone = [[ScaleIntensityd(keys="image", minv=0.0, maxv=1.0)], [Lambdad(keys="image", func=lambda x: x + 3)]]
    assert fingerprint(Compose(other)) not in {fingerprint(Compose(one)) for one in everyone}


def test_torch_functions_are_told_by_name_and_tensors_by_every_digit() -> None:
    assert "0x" not in describe([torch.exp, math.sqrt, torch.nn.functional.pad])
    for one, other in (
        (torch.exp, torch.log),
        (torch.tensor([2**24]), torch.tensor([2**24 + 1])),
        (torch.ones(1, dtype=torch.bfloat16), torch.zeros(1, dtype=torch.bfloat16)),
    ):
        assert describe(one) != describe(other)


OWN = {
    "own/__init__.py": "",
    "own/steps.py": (
        "from .levels import LEVEL\nfrom own import shifts\nimport own_alone, nibabel, tqdm\nFACTOR = 2\n"
        "def plain(x):\n    return x - LEVEL if x not in {'a', 'b', 'c'} else x\n"
        "def helped(x):\n    return shifts.shift(x)\n"
        "class Step:\n    def __call__(self, d):\n        return shifts.shift(d)\n"
    ),
    "own/levels.py": "LEVEL = 100\n",
    "own/shifts.py": "def shift(x):\n    from own.late import by\n    return x + by()\n",
    "own/late.py": "def by():\n    return 1\n",
    "own/unused.py": "VALUE = 1\n",
    "own_alone.py": "import own.steps\nVALUE = 1\n",
}
"""A user's own transforms, in files that import one another, some late, some in a circle."""


def own_chains(folder: Path, monkeypatch: pytest.MonkeyPatch, **changed: str) -> list[Compose]:
    """Chains of a function, of one that has a helper, and of a class, as they are imported by a new process."""
    for name, text in {**OWN, **changed}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    for name in [name for name in sys.modules if name.partition(".")[0] in ("own", "own_alone")]:
        monkeypatch.delitem(sys.modules, name)
    steps = importlib.import_module("own.steps")
    return [
        Compose([Lambdad("image", steps.plain)]),
        Compose([Lambdad("image", steps.helped)]),
        Compose([steps.Step()]),
    ]


def test_the_fingerprint_is_that_of_another_process_whatever_the_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = (
        "from monai.transforms import Compose, Lambdad, ScaleIntensityd;"
        "from medseg.datasets.fingerprint import fingerprint;"
        "from own.late import by; from own.steps import plain;"
        "chain = Compose([ScaleIntensityd(keys=['image', 'other'], minv=0.0, maxv=1.0), Lambdad('image', plain)]);"
        "chain.set_random_state(7); print(fingerprint(chain))"
    )
    (own, *_) = own_chains(tmp_path, monkeypatch)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": path}
    other = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    chain = Compose([ScaleIntensityd(keys=["image", "other"], minv=0.0, maxv=1.0), *own.transforms])
    chain.set_random_state(8)
    assert other.stdout.strip() == fingerprint(chain)


@pytest.mark.parametrize(
    ("file", "before", "after", "same"),
    [
        ("own/steps.py", "FACTOR = 2", "FACTOR = 3", False),
        ("own/levels.py", "100", "50", False),
        ("own/shifts.py", "x + by", "x - by", False),
        ("own/late.py", "return 1", "return 2", False),
        ("own_alone.py", "VALUE = 1", "VALUE = 2", False),
        ("own/unused.py", "VALUE = 1", "VALUE = 2", True),
    ],
    ids=["global", "imported global", "helper", "helper's late import", "imported whole", "not imported"],
)
def test_what_own_code_imports_is_part_of_its_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, before: str, after: str, same: bool
) -> None:
    first = [fingerprint(chain) for chain in own_chains(tmp_path / "a", monkeypatch)]
    changed = {file: OWN[file].replace(before, after)}
    second = [fingerprint(chain) for chain in own_chains(tmp_path / "b", monkeypatch, **changed)]
    assert [one == other for one, other in zip(first, second, strict=True)] == [same] * 3


NOTEBOOK = """
import logging
import numpy as np
logger = logging.getLogger("own")
LEVEL = 100
BIASES = np.array([1.0, 2.0])
def shift(x):
    return again(x) if x is None else x + BIASES
def again(x):
    return shift(x)
def helped(x):
    logger.debug("shifted")
    return [shift(one) - LEVEL for one in x]
class Base:
    offset = 1
class Step(Base):
    def __call__(self, d):
        return helped(d) if self.known(d) else d
    @staticmethod
    def known(d):
        return d != 7
"""


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ("LEVEL = 100", "LEVEL = 50", [False, False]),
        ("2.0", "3.0", [False, False]),
        ("x + BIASES", "x - BIASES", [False, False]),
        ("offset = 1", "offset = 2", [True, False]),
        ("d != 7", "d != 8", [True, False]),
        ("", "", [True, True]),
    ],
    ids=["global", "array", "helper", "base", "static method", "nothing"],
)
def test_code_without_a_file_has_what_it_names_in_its_fingerprint(before: str, after: str, same: list[bool]) -> None:
    found = []
    for text in (NOTEBOOK, NOTEBOOK.replace(before, after)):
        names: dict[str, Any] = {"__name__": "notebook"}
        exec(compile(text, "<cell>", "exec"), names)
        found.append([fingerprint(Compose([Lambdad("image", names["helped"])])), fingerprint(names["Step"]())])
    assert [one == other for one, other in zip(*found, strict=True)] == same


@pytest.mark.parametrize(("file", "same"), [("own/levels.py", False), ("own/unused.py", True)])
def test_a_module_that_code_without_a_file_reaches_through_its_package_is_in_its_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, same: bool
) -> None:
    found = []
    for folder, changed in (("a", {}), ("b", {file: OWN[file].replace("1", "2")})):
        own_chains(tmp_path / folder, monkeypatch, **changed)
        names: dict[str, Any] = {"__name__": "notebook"}
        exec(compile("import own.steps, own.unused\nstep = lambda x: own.steps.plain(x)", "<cell>", "exec"), names)
        found.append(fingerprint(Compose([Lambdad("image", names["step"])])))
    assert (found[0] == found[1]) == same


def test_a_function_of_a_configuration_has_the_references_it_names_in_its_fingerprint() -> None:
    def of(**values: Any) -> str:
        config = ConfigParser(
            {**values, "step": {"_target_": "Lambdad", "keys": "image", "func": "$lambda x: x-@level"}}
        )
        return fingerprint(config.get_parsed_content("step"))

    assert of(level=1) == of(level=1, other=2)
    assert of(level=1) != of(level=2)


def test_another_version_is_another_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint(Compose(chain()))
    monkeypatch.setattr("medseg.datasets.fingerprint.version", lambda name: "9.9" if name == "monai" else "1")
    after = fingerprint(Compose(chain()))
    monkeypatch.setattr("medseg.datasets.fingerprint.version", lambda name: "9.8" if name == "monai" else "1")
    assert len({before, after, fingerprint(Compose(chain()))}) == 3


def test_a_circle_ends_and_what_has_no_content_is_refused(tmp_path: Path) -> None:
    circle: list[Any] = [1]
    circle.append(circle)
    assert describe(circle) == "list [int 1, circle 1]"
    assert describe(np.arange(3)) != describe(np.arange(3.0))
    assert describe(torch.float32) != describe(torch.float16)
    no_content = Lambdad(keys="image", func=iter([]).__next__)
    with pytest.raises(BundleError, match="cannot be kept on disk"):
        DiskCache(tmp_path, transforms=no_content, most_gib=1)


def test_results_that_are_no_data_are_refused(cases: list[dict[str, Any]], tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="got a object"):
        dataset(cases, tmp_path / "cache", preprocessing=[Lambdad(keys="image", func=lambda _: object())])


def test_the_oldest_unused_entries_go_first(cases: list[dict[str, Any]], tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    for age, low in ((300, -3.0), (200, -2.0), (100, -1.0)):
        before = set(folder.iterdir()) if folder.exists() else set()
        dataset(cases[:1], folder, preprocessing=chain(low))
        (new,) = set(folder.iterdir()) - before
        os.utime(new, (new.stat().st_mtime - age,) * 2)
    by_age = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)
    size = by_age[0].stat().st_size
    dataset(cases[:1], folder, disk_gib=2.5 * size / 2**30)  # one more: of four, two are left
    assert [path in set(folder.iterdir()) for path in by_age] == [False, False, True]
    assert len(names(folder)) == 2


def test_a_folder_too_small_for_this_training_keeps_it_and_warns(
    cases: list[dict[str, Any]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset(cases, tmp_path / "cache", disk_gib=1e-9)
    assert len(names(tmp_path / "cache")) == 2
    assert "more" in caplog.text
    with pytest.raises(BundleError, match="above 0"):
        dataset(cases, tmp_path / "cache", disk_gib=0)


def test_a_full_disk_costs_the_cache_and_not_the_training(
    cases: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    data = dataset(cases, tmp_path / "cache")
    assert torch.equal(data[1]["image"], CaseDataset(cases, chain())[1]["image"])
    assert caplog.text.count("No space left on device") == 1  # told once, whichever thread met it
    assert names(tmp_path / "cache") == []


@pytest.mark.parametrize(
    ("name", "got"),
    [("file", "File exists"), ("file/within", "Not a directory"), ("locked", "Permission denied")],
    ids=["a file", "below a file", "not to be written"],
)
def test_a_folder_that_cannot_be_used_is_named(
    cases: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, got: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "locked").mkdir()
    may = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "locked" and may(path, mode))  # root may
    expected = f"cache_dir {re.escape(str(tmp_path / name))}: prepared cases cannot be kept there; got {got}; .*another"
    with pytest.raises(OutputError, match=expected):
        dataset(cases, tmp_path / name)


def test_several_at_once_and_leftovers_of_killed_ones(cases: list[dict[str, Any]], tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / ".0123abcd.tmp.x.case").write_bytes(b"half")
    with ThreadPoolExecutor(4) as pool:
        sets = list(pool.map(lambda _: dataset(cases, folder), range(4)))
    assert all(torch.equal(each[0]["image"], sets[0][0]["image"]) for each in sets)
    assert all(name.endswith(".case") for name in names(folder))
    assert len(names(folder)) == 2


def test_memory_that_does_not_suffice_is_told_and_changes_nothing(
    cases: list[dict[str, Any]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    plain = CaseDataset(cases, chain())
    one = CaseDataset(cases, chain(), memory_gib=1.5 * 60 * 5 / 2**30)  # 60 voxels, float32 and uint8
    assert "1 of 2 cases are kept in memory" in caplog.text
    assert "prepared anew" in caplog.text
    none = dataset(cases, tmp_path / "cache", memory_gib=0.0)
    assert "read from disk" in caplog.text
    for each in (one, none):
        assert [torch.equal(each[i]["image"], plain[i]["image"]) for i in range(2)] == [True, True]
