"""Configurations that try to get round the guard: refused by their text, and held by the guard if the text passed."""

from __future__ import annotations

import contextlib
import json
import pickle
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from medseg.bundle import load
from medseg.bundle.load import open_workflow
from medseg.errors import BundleError

HOSTILE: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "hostile.yaml").read_text(encoding="utf-8"))
each = pytest.mark.parametrize("hostile", HOSTILE, ids=[one["id"] for one in HOSTILE])
each_live = pytest.mark.parametrize(
    "hostile", [one for one in HOSTILE if one.get("live")], ids=[one["id"] for one in HOSTILE if one.get("live")]
)


class Leaves:
    """Unpickled, it leaves the file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


class Attack:
    """A bundle with one hostile configuration, and the file that it leaves if it succeeds."""

    def __init__(self, folder: Path, hostile: dict[str, Any], content: dict[str, Any]) -> None:
        self.folder, self.bundle = folder, folder / "stranger"
        self.left = folder / "left"
        self.hostile = hostile
        (self.bundle / "configs").mkdir(parents=True)
        (folder / "evil.pkl").write_bytes(pickle.dumps(Leaves(self.left)))
        metadata = self.filled(json.dumps(content | hostile.get("metadata", {})))
        self.write("configs/metadata.json", metadata)
        self.write("configs/common.yaml", self.filled(hostile["config"]))
        self.write("configs/inference.yaml", "inference: [$1 + 1]\n")
        if "overlay" in hostile:
            self.write("configs/more.yaml", self.filled(hostile["overlay"]))
        for name, text in hostile.get("files", {}).items():
            self.write(name, self.filled(text))

    def write(self, name: str, text: str) -> None:
        (self.bundle / name).write_text(text + "\n", encoding="utf-8")

    def filled(self, text: str) -> str:
        words = {"TOUCH": f"'touch {self.left}'", "FILE": f"'{self.left}'", "PICKLE": f"'{self.folder / 'evil.pkl'}'"}
        for word, value in (words | {"DIR": str(self.folder)}).items():
            text = text.replace(word, value)
        return text

    def override(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self.override(one) for key, one in value.items()}
        filled = self.filled(value)
        return filled.strip("'") if value == "TOUCH" else filled

    def open(self) -> Any:
        overlays = ["more"] if "overlay" in self.hostile else []
        overrides = self.override(self.hostile["override"]) if "override" in self.hostile else None
        return open_workflow(self.bundle, "inference", overlays=overlays, overrides=overrides)

    def run(self) -> None:
        """Everything that the configuration holds, whatever fails on the way."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            workflow = self.open()
            with contextlib.suppress(Exception):
                workflow.initialize()
            for name in list(workflow.parser.ref_resolver.items):
                with contextlib.suppress(Exception):
                    workflow.parser.get_parsed_content(name)
            with contextlib.suppress(Exception):
                workflow.run()


@pytest.fixture(scope="module", autouse=True)
def one_search_for_components() -> Iterator[None]:
    """MONAI looks through all its modules anew for each parser; here there are hundreds of parsers."""
    from monai.bundle.config_item import ComponentLocator

    search, found = ComponentLocator._find_classes_or_functions, {}

    def once(self: Any, names: list[str]) -> Any:
        if len(names) not in found:
            found[len(names)] = search(self, names)
        return found[len(names)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ComponentLocator, "_find_classes_or_functions", once)
        yield


@pytest.fixture
def attack(tmp_path: Path, hostile: dict[str, Any], content: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Attack:
    monkeypatch.setenv("MEDSEG_CONFIG", str(tmp_path / "config"))
    for check in ("check_before_run", "check_before_data"):  # which refuse many of these too; here trust stands alone
        monkeypatch.setattr(load, check, lambda *_, **__: None)
    monkeypatch.setattr("pdb.runcall", lambda *_, **__: pytest.fail("a debugger was started"))
    monkeypatch.setattr("builtins.breakpoint", lambda *_, **__: pytest.fail("a debugger was started"))
    return Attack(tmp_path, hostile, content)


def test_there_are_many_attacks_and_most_succeed_where_nobody_guards() -> None:
    assert len(HOSTILE) >= 100
    assert sum(bool(one.get("live")) for one in HOSTILE) >= 50


@each
def test_the_text_is_refused_with_file_line_and_what_it_wants(attack: Attack, hostile: dict[str, Any]) -> None:
    with pytest.raises(BundleError) as told:
        attack.open()
    assert attack.filled(hostile["wants"]) in str(told.value) or hostile["wants"] in str(told.value)
    places = ("configs/common.yaml:", "configs/more.yaml:", "configs/metadata.json:", "command line: ")
    if not hostile.get("unreadable"):
        assert any(f"\n  {place}" in str(told.value) for place in places), told.value
    assert not attack.left.exists()


@each
def test_the_guard_holds_where_the_text_was_let_through(
    attack: Attack, hostile: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "require_trust", lambda *_, **__: False)
    with contextlib.suppress(BundleError):
        attack.run()
    assert not attack.left.exists()
    assert not (attack.folder / "elsewhere").exists()


@pytest.mark.filterwarnings("ignore")
@each_live
def test_the_attack_succeeds_where_nobody_guards(
    attack: Attack, hostile: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "require_trust", lambda *_, **__: True)
    attack.run()
    assert attack.left.exists()


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(
            ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
            + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
        ),
        "a: &a [*a]",
        "a: " + "[" * 5000 + "]" * 5000,
    ],
    ids=["a-billion", "within-itself", "deep"],
)
def test_a_file_that_would_fill_the_memory_is_refused(text: str, tmp_path: Path, content: dict[str, Any]) -> None:
    bundle = Attack(tmp_path, {"config": text}, content).bundle
    with pytest.raises(BundleError, match=r"configs/common\.yaml"):
        open_workflow(bundle, "inference")
