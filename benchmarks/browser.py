"""Chromium without a graphics card, and the viewer as users start it: for the benchmark and the screenshots."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FLAGS = [
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
"""WebGL by the processor (SwiftShader), nothing in the background; without a sandbox, as root has none."""


@contextmanager
def chromium() -> Iterator[Any]:
    """Debian's Chromium, driven by Playwright."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def reviewing(folder: Path | str, *options: str) -> Iterator[str]:
    """`medseg review` of a folder or bundle on a free port: the address to open."""
    command = [sys.executable, "-m", "medseg.cli", "review", str(folder), "--no-browser", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        found = next((m for line in process.stdout if (m := re.search(r"http://\S+", line))), None)
        try:
            if found is None:
                raise SystemExit(f"medseg review ended with {process.wait()}")
            yield found.group(0)
        finally:
            process.terminate()
