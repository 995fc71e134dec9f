"""The files of the viewer's page: what is not ours says so, and nothing asks for anything outside."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

import medseg.review

STATIC = Path(medseg.review.__file__).parent / "viewer" / "static"
OURS = sorted(
    path for path in STATIC.rglob("*") if path.suffix in {".html", ".css", ".js"} and "vendor" not in path.parts
)


def test_niivue_is_the_file_that_its_notice_names():
    notice = (STATIC / "vendor" / "NOTICE").read_text(encoding="utf-8")
    (library,) = (STATIC / "vendor").glob("niivue-*.js")
    assert f"NiiVue {library.stem.removeprefix('niivue-')}" in notice
    assert hashlib.sha256(library.read_bytes()).hexdigest() in notice
    assert "BSD 2-Clause" in (STATIC / "vendor" / "LICENSE.niivue.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_our_files_name_no_address_outside(path: Path):
    text = re.sub(r"^// https://\S+$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)  # a source is cited
    assert re.findall(r"(?:https?:)?//[a-z0-9-]+\.[a-z]+\S*", text) == []


def test_the_page_has_nothing_inline():
    page = (STATIC / "index.html").read_text(encoding="utf-8")
    assert re.findall(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=|javascript:", page) == []


def test_the_page_loads_ahead_every_module_that_it_starts_with():
    page = (STATIC / "index.html").read_text(encoding="utf-8")
    ahead = set(re.findall(r'modulepreload" href="/static/js/(\w+\.js)"', page))
    assert ahead | {"main.js"} == {path.name for path in (STATIC / "js").glob("*.js")}
