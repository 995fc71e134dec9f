"""The page's modules without a browser: Node runs them on a page that has every element and draws nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import medseg.review

MODULES = Path(medseg.review.__file__).parent / "viewer" / "static" / "js"

PAGE = """
const nothing = () => new Proxy(function () {}, { get: () => () => undefined, set: () => true });
export const nodes = {};
export const listeners = {};
export function node() {
  return {
    dataset: {}, style: {}, value: "", children: [], hidden: false, clientWidth: 100, clientHeight: 100,
    classList: { toggle() {}, add() {}, remove() {} },
    get childElementCount() { return this.children.length; },
    append(...children) { this.children.push(...children); },
    replaceChildren(...children) { this.children = children; },
    setAttribute(name, value) { this[name] = value; },
    addEventListener() {}, removeAttribute() {}, toggleAttribute() {}, focus() {}, blur() {},
    querySelector: () => node(), matches: () => false, getContext: nothing,
  };
}
const named = (name) => (nodes[name] ??= node());
const store = () => ({ getItem: () => null, setItem() {}, removeItem() {} });
Object.assign(globalThis, {
  document: {
    body: node(), activeElement: null, hidden: false, getElementById: named, createElement: node,
    querySelector: (selector) => (selector.startsWith("dialog") ? null : named(selector)),
    addEventListener: (kind, react) => (listeners[kind] = react),
  },
  window: { devicePixelRatio: 1, addEventListener() {} },
  localStorage: store(),
  sessionStorage: store(),
  OffscreenCanvas: class { getContext() { return nothing(); } },
  ImageData: class { constructor(nu, nv) { this.data = new Uint8ClampedArray(4 * nu * nv); } },
});
/** Waits until what was begun has ended: nothing here takes time. */
export const settled = () => new Promise((done) => setTimeout(done, 20));
export const tell = (value) => process.stdout.write(JSON.stringify(value));
"""
"""Stands for the page; `tell` hands a value to the test."""


def run(folder: Path, script: str) -> Any:
    """What a script tells that lies beside the page's modules and PAGE, or a skip where there is no Node."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node: apt-get install nodejs")
    shutil.copytree(MODULES, folder, dirs_exist_ok=True)
    (folder / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    (folder / "page.js").write_text(PAGE, encoding="utf-8")
    (folder / "script.js").write_text(f'import * as page from "./page.js";\n{script}', encoding="utf-8")
    done = subprocess.run([node, "script.js"], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
