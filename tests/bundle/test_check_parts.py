"""The parts of the check alone: lines, modules as text, signatures, types, values, the index."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medseg.bundle.check.expressions import parse, references
from medseg.bundle.check.index import Index, cache_folder
from medseg.bundle.check.lines import of_value, read
from medseg.bundle.check.merged import absolute
from medseg.bundle.check.signatures import signature
from medseg.bundle.check.sources import Sources
from medseg.bundle.check.types import fits
from medseg.bundle.check.values import UNKNOWN

INDEX = Index()

MODULE = """
from __future__ import annotations
from enum import Enum
from typing import Any, Literal, Sequence, Union
from .base import *
from . import base as other

Size = Union[Sequence[int], int]

class Mode(Enum):
    A = "a"

class Parent:
    def __init__(self, width: int, *, depth: float = 1.0):
        self.width = width

class Child(Parent):
    def __init__(self, name: str, **kwargs: Any):
        self.extra = kwargs.pop("extra", None)
        super().__init__(**kwargs)

class Grandchild(Child):
    def size(self) -> int:
        return self.width

class Open(Parent):
    def __init__(self, name: str, **kwargs: Any):
        register(kwargs)
        super().__init__(1)

Alias = Other = Child
def plain(a, b: Size = 1, *rest, c: Literal["x", "y"] = "x"): ...
"""


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    """A bundle's folder with a package `things` in it."""
    (tmp_path / "things").mkdir()
    (tmp_path / "things" / "__init__.py").write_text("from things.core import *\n", encoding="utf-8")
    (tmp_path / "things" / "core.py").write_text(MODULE, encoding="utf-8")
    base = "__all__ = ['Hidden']\nclass Hidden:\n    pass\nclass Unlisted:\n    pass\n"
    (tmp_path / "things" / "base.py").write_text(base, encoding="utf-8")
    return Sources(tmp_path, INDEX)


@pytest.mark.parametrize(
    ("name", "kind", "module"),
    [
        ("things.Child", "class", "things.core"),
        ("things.Alias", "class", "things.core"),
        ("things.core.Other", "class", "things.core"),
        ("things.Hidden", "class", "things.base"),
        ("things.core.other.Hidden", "class", "things.base"),
        ("things.Unlisted", "missing", "things"),
        ("things.core", "module", "things.core"),
        ("things.core.Chld", "missing", "things.core"),
        ("nothings.core", "missing", ""),
        ("UNet", "class", "monai.networks.nets.unet"),
        ("torch.optim.AdamW", "class", "torch.optim.adamw"),
        ("torch.nn.MSELoss", "class", "torch.nn.modules.loss"),
        ("torch.float16", "opaque", ""),
        ("torch.flaot16", "missing", "torch"),
        ("os.path.join", "opaque", ""),
        ("os.path.jion", "missing", "os.path"),
        ("medseg.datasets.CaseDataset", "class", "medseg.datasets.cases"),
        ("medseg.datasets.CaseDatasets", "missing", "medseg.datasets"),
    ],
)
def test_a_name_leads_where_python_would_find_it(sources: Sources, name: str, kind: str, module: str):
    found = sources.resolve(name)
    assert found.kind == kind
    assert found.module == module or kind == "opaque"


@pytest.mark.parametrize(
    ("name", "names", "required", "is_open"),
    [
        ("things.Parent", ["width", "depth"], ["width"], False),
        ("things.Child", ["name", "width", "depth", "extra"], ["name"], False),
        ("things.Grandchild", ["name", "width", "depth", "extra"], ["name"], False),
        ("things.Open", ["name"], ["name"], True),
        ("things.plain", ["a", "b", "c"], ["a"], False),
    ],
)
def test_a_signature_follows_parents_and_what_is_handed_on(
    sources: Sources, name: str, names: list[str], required: list[str], is_open: bool
):
    takes = signature(sources.resolve(name), sources)
    assert takes is not None
    assert (takes.names, takes.required, takes.open) == (names, required, is_open)


def test_signatures_as_text_are_those_of_the_imported_classes():
    import inspect
    from pydoc import locate

    sources = Sources(None, INDEX)
    for name in (
        "monai.networks.nets.UNet",
        "monai.losses.DiceCELoss",
        "monai.transforms.RandAffined",
        "torch.optim.SGD",
    ):
        takes = signature(sources.resolve(name), sources)
        real = inspect.signature(locate(name))  # type: ignore[arg-type]
        assert takes is not None
        assert takes.names == list(real.parameters)
        assert takes.required == [p.name for p in real.parameters.values() if p.default is inspect.Parameter.empty]


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        (1, "int", True),
        (1.0, "int", False),
        (1, "float", True),
        (True, "int", False),
        ("1", "float", False),
        (None, "int | None", True),
        (None, "int", False),
        ([1, 2], "Sequence[int]", True),
        ([1, "x"], "Sequence[int]", False),
        ([1, UNKNOWN], "Sequence[int]", None),
        ("x", "Sequence[int]", False),
        ([1, 2], "tuple[int, int]", True),
        ([1, 2, 3], "tuple[int, int]", False),
        ([1, 2, 3], "tuple[int, ...]", True),
        ("y", "Literal['x', 'y']", True),
        ("z", "Literal['x', 'y']", False),
        ({"a": 1}, "Mapping[str, int]", True),
        (3, "Callable[..., int]", False),
        ("anything", "Any", None),
        (4, "Size", True),
        ("wide", "Size", False),
        (4, "Parent", False),
        ({"width": 4}, "Parent", False),
        ("a", "Mode", None),
        ("a", "'int'", False),
        (1, "not python [", None),
    ],
)
def test_values_are_held_against_annotations(sources: Sources, value: Any, annotation: str, expected: bool | None):
    assert fits(value, annotation, "things.core", sources) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("@a::b", ["a::b"]),
        ("@a#0#b", ["a::0::b"]),
        ("mail @a is no reference", []),
        ("$@a + @b::c[0]", ["a", "b::c"]),
        ("$f(@a, @a)", ["a"]),
        ("plain", []),
    ],
)
def test_references_are_those_that_monai_finds(text: str, expected: list[str]):
    from monai.bundle import ReferenceResolver

    assert references(text) == expected
    assert [one for one in ReferenceResolver.match_refs_pattern(text) if one] == expected


@pytest.mark.parametrize("text", ["@##A", "%#value1", "$@###x + @#y", "@A::B", "plain"])
def test_relative_ids_become_those_of_monai(text: str):
    from monai.bundle import ConfigParser

    assert absolute(text, "B::key::0") == ConfigParser.resolve_relative_ids("B::key::0", text)


def test_an_import_gives_the_name_that_python_gives():
    assert parse("$import torch.distributed as dist").imported == ("dist", "torch.distributed")
    assert parse("$from ignite.metrics import Accuracy").imported == ("Accuracy", "ignite.metrics.Accuracy")
    assert parse("$important + 1").imported is None


def test_lines_are_those_of_the_keys(tmp_path: Path):
    (tmp_path / "a.yaml").write_text("a: 1  # one\n\nb:\n  - x\n  - {c: [1,\n     2]}\n", encoding="utf-8")
    root = read(tmp_path / "a.yaml").root
    assert root.value() == {"a": 1, "b": ["x", {"c": [1, 2]}]}
    b = root.content["b"]
    assert (root.content["a"].line, b.line, b.content[1].line, b.content[1].content["c"].content[1].line) == (
        1,
        3,
        5,
        6,
    )


def test_json_is_read_as_json_with_lines(tmp_path: Path):
    content = {"a": 1e-05, "b": [True, None, "x\u00e9\n"], "c": {"d": -2.5, "e": {}, "f": []}}
    (tmp_path / "a.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    root = read(tmp_path / "a.json").root
    assert root.value() == content
    assert root.content["c"].content["d"].line == 9


def test_nodes_of_a_value_give_it_back():
    assert of_value({"a": [1, (2, 3)]}, file="command line").value() == {"a": [1, [2, 3]]}


def test_the_index_is_kept_and_seen_to_be_old(tmp_path: Path):
    file, made = tmp_path / "x.py", []

    def make(text: str) -> dict[str, int]:
        made.append(text)
        return {"length": len(text)}

    file.write_text("a = 1", encoding="utf-8")
    for _ in range(2):
        index = Index(tmp_path / "cache" / "signatures.json")
        assert index.summary(file, make) == {"length": 5}
        index.save()
    assert made == ["a = 1"]
    file.write_text("a = 12", encoding="utf-8")
    assert Index(tmp_path / "cache" / "signatures.json").summary(file, make) == {"length": 6}
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["signatures.json"]


def test_files_that_are_gone_leave_the_index(tmp_path: Path):
    path, files = tmp_path / "cache" / "signatures.json", [tmp_path / "gone.py", tmp_path / "package" / "__init__.py"]
    files[1].parent.mkdir()
    for file in files:
        file.write_text("a = 1", encoding="utf-8")
    index = Index(path)
    index.summary(files[0], len)
    index.table(files[1], lambda: {"a": 1})
    index.save()
    assert Index(path)._entries.keys() == {str(files[0]), f"{files[1].parent}/*"}
    files[0].unlink()
    index = Index(path)
    index.summary(files[1], len)
    index.save()
    assert Index(path)._entries.keys() == {str(files[1]), f"{files[1].parent}/*"}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 0, "files": {}}', '{"files": 3}', "\x00"])
def test_a_damaged_index_is_left_aside(tmp_path: Path, content: str):
    (tmp_path / "signatures.json").write_text(content, encoding="utf-8")
    (tmp_path / "x.py").write_text("a = 1", encoding="utf-8")
    assert Index(tmp_path / "signatures.json").summary(tmp_path / "x.py", len) == 5


def test_an_index_that_cannot_be_written_costs_nothing(tmp_path: Path):
    (tmp_path / "file").touch()
    (tmp_path / "x.py").write_text("a = 1", encoding="utf-8")
    index = Index(tmp_path / "file" / "signatures.json")
    assert index.summary(tmp_path / "x.py", len) == 5
    index.save()


def test_the_cache_is_where_the_user_wants_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "medseg"
