"""The built site: strict, complete, and asking no other server for anything."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOADED = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "object": "data",
    "use": "href",
}
LINKS_LOADED = {"stylesheet", "preconnect", "dns-prefetch", "preload", "icon", "manifest", "modulepreload"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason="pip install 'medseg[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Loads(HTMLParser):
    """The addresses that a browser fetches on its own when it opens a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.classes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.classes |= set(values.get("class", "").split())
        if tag in LOADED and LOADED[tag] in values:
            self.found.append(values[LOADED[tag]])
        if tag == "link" and LINKS_LOADED & set(values.get("rel", "").split()):
            self.found.append(values.get("href", ""))


def outside(address: str) -> bool:
    return re.match(r"(https?:)?//", address) is not None


def test_no_page_loads_anything_from_elsewhere(site: Path):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        loads = Loads()
        loads.feed(page.read_text(encoding="utf-8"))
        assert len(loads.found) > 3
        assert [address for address in loads.found if outside(address)] == [], page
        assert "mermaid" not in loads.classes, "the theme would fetch its script from elsewhere"


def test_no_style_loads_anything_from_elsewhere(site: Path):
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert [found for found in re.findall(r"(?:url\(|@import)\s*[\"']?([^\"')]+)", text) if outside(found)] == []


def test_every_page_of_docs_is_in_the_navigation_of_the_first(site: Path):
    first = (site / "index.html").read_text(encoding="utf-8")
    wanted = {
        path.relative_to(ROOT / "docs").with_suffix(".html").as_posix()
        for path in (ROOT / "docs").rglob("*.md")
        if path.name != "index.md"
    }
    wanted |= {"reference/commands.html", "reference/python/workflows.html"}
    assert {page for page in wanted if f'href="{page}"' not in first} == set()


def test_the_reference_has_every_verb_and_the_public_names_of_a_room(site: Path):
    commands = (site / "reference" / "commands.html").read_text(encoding="utf-8")
    for verb in ("medseg data inspect", "medseg predict", "medseg bundle check", "medseg completion"):
        assert f'<h2 id="{verb.replace(" ", "-")}">{verb}<' in commands
    assert "--save-probabilities" in commands
    rooms = ("intake", "datasets", "networks", "inference", "evaluation", "outputs", "bundle", "workflows")
    for room in rooms:
        page = (site / "reference" / "python" / f"{room}.html").read_text(encoding="utf-8")
        ids = set(re.findall(rf'id="medseg\.{room}\.([\w.]+)"', page))
        module = importlib.import_module(f"medseg.{room}")
        found = {name: getattr(module, name) for name in module.__all__}
        public = {name for name, value in found.items() if inspect.isclass(value) or inspect.isfunction(value)}
        assert {name for name in public if name not in ids and f"{name}.{name}" not in ids} == set(), room
