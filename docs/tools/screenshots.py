"""The screenshots of the viewer in docs/images, by Playwright and Debian's Chromium.

    .venv/bin/python docs/tools/screenshots.py [--work DIR]

Phantoms (seed 7), and from the reference data (MEDSEG_DATA, or ../shared/data beside the checkout) one CT of the
National Lung Screening Trial (CC BY 4.0, doi:10.7937/TCIA.HMQ8-J677) and chest X-rays of the Extended Wingspan set
(MIT, N. Dong et al., MICCAI 2018 and 2019). Masks are those of the bundles that come with medseg; with --work they are
made once. Run on 2026-11-21 (2 cores of an AMD EPYC, torch 2.13 on the CPU).
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from medseg.cli import main

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from browser import chromium, reviewing

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs" / "images"
DATA = Path(os.environ.get("MEDSEG_DATA", ROOT.parent / "shared" / "data"))
XRAYS = 4
LARGEST_BYTES = 300_000
LEGEND = ("#56b4e9", "#e69f00", "#009e73", "#8fd3b6", "#ff7a45", "#4ea1ff", "#c792ea", "#6fb9ef")
"""Colours of labels, of differences, of buttons."""


def run(*words: object) -> None:
    """One medseg command; stop where it fails."""
    if main([*(str(word) for word in words), "--quiet"]) != 0:
        sys.exit(f"medseg {' '.join(str(word) for word in words)} failed")


def made(folder: Path, make: Callable[[], None]) -> Path:
    """The folder, made unless it is there."""
    if not folder.is_dir():
        make()
    return folder


def phantom_scores(work: Path) -> Path:
    """Phantom CTs with truth, segmented by ct_lung and scored."""

    def make() -> None:
        run("data", "phantom", "-o", work / "phantoms", "--cases", 4, "--seed", 7)
        run("predict", "ct_lung", "-i", work / "phantoms" / "images", "-o", work / "scores")
        run("score", work / "scores", work / "phantoms" / "labels", "-o", work / "table")
        (work / "table" / "scores.csv").rename(work / "scores" / "scores.csv")

    return made(work / "scores", make)


def chest_ct(work: Path) -> Path:
    """The real chest CT, segmented by ct_lung."""
    return made(
        work / "ct", lambda: run("predict", "ct_lung", "-i", DATA / "chest_ct_nlst/ct.nii.gz", "-o", work / "ct")
    )


def chest_xrays(work: Path) -> Path:
    """A few real X-rays, segmented by cxr_heart_lung."""

    def make() -> None:
        images = work / "xray_images"
        images.mkdir(exist_ok=True)
        for path in sorted((DATA / "cxr_wingspan" / "CXR_png").iterdir())[:XRAYS]:
            (images / path.name).write_bytes(path.read_bytes())
        run("predict", "cxr_heart_lung", "-i", images, "-o", work / "xrays")

    return made(work / "xrays", make)


@contextmanager
def window(browser: Any, address: str, *, width: int = 1366, height: int = 768) -> Iterator[Any]:
    """A page on the viewer, once its first case is drawn."""
    context = browser.new_context(viewport={"width": width, "height": height})
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector("body[data-ready]", state="attached")
    yield page
    context.close()


def keep(page: Any, name: str) -> None:
    """A small PNG of what the page shows."""
    page.wait_for_timeout(600)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    path = IMAGES / name
    for colours in (256, 160, 96):
        # the legend's few pixels get their colours only where more pixels ask for them
        asking = Image.new("RGB", (picture.width, picture.height + 20 * len(LEGEND)))
        asking.paste(picture)
        for row, colour in enumerate(LEGEND):
            asking.paste(colour, (0, picture.height + 20 * row, picture.width, picture.height + 20 * row + 20))
        palette = asking.quantize(colours, Image.Quantize.MEDIANCUT)
        picture.quantize(palette=palette, dither=Image.Dither.NONE).save(path, optimize=True)
        if path.stat().st_size <= LARGEST_BYTES:
            return
    sys.exit(f"{name} is larger than {LARGEST_BYTES} bytes")


def centre(page: Any, plane: str) -> tuple[float, float]:
    """Page coordinates of the middle of a pane."""
    box = page.locator(f"[data-plane={plane}] canvas").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def drag(page: Any, *points: tuple[float, float]) -> None:
    """One drag of the mouse."""
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=4)
    page.mouse.up()


def shoot_phantoms(browser: Any, folder: Path, truth: Path) -> None:
    """Truth against prediction; a correction on its way."""
    with reviewing(folder, "--truth", str(truth)) as address, window(browser, address) as page:
        page.wait_for_selector("body[data-solid]", state="attached", timeout=90_000)
        page.click("#layers [data-value=difference]")
        page.wait_for_timeout(4000)  # the 3-D view follows
        keep(page, "review_difference.png")
        page.click("#layers [data-value=prediction]")
        page.click("#views [data-value=axial]")
        page.fill("#reviewer", "Dr Example")
        x, y = centre(page, "axial")
        page.keyboard.press("Escape")
        page.keyboard.press("d")
        drag(page, (x - 150, y - 60), (x + 150, y - 60))
        page.keyboard.press("b")
        drag(page, (x - 20, y + 60), (x + 30, y + 75), (x + 45, y + 40))
        keep(page, "review_paint.png")


def shoot_ct(browser: Any, folder: Path) -> None:
    """Three planes and 3-D."""
    with reviewing(folder) as address, window(browser, address) as page:
        page.wait_for_selector("body[data-solid]", state="attached", timeout=90_000)
        page.wait_for_timeout(3000)
        keep(page, "review_ct.png")


def shoot_xrays(browser: Any, folder: Path) -> None:
    """An X-ray with its ratio; the same on a phone."""
    with reviewing(folder) as address:
        with window(browser, address) as page:
            page.locator(".case").nth(1).click()
            page.wait_for_selector("#widths")
            page.check("#widths")
            page.fill("#reviewer", "Dr Example")
            page.fill("#comment", "Heart borders checked")
            page.click("#accept")
            page.wait_for_selector("#accept[aria-pressed=true]")
            keep(page, "review_xray.png")
        with window(browser, address, width=390, height=780) as page:
            keep(page, "review_phone.png")


def all_of(work: Path) -> None:
    """Every screenshot."""
    phantoms, ct, xrays = phantom_scores(work), chest_ct(work), chest_xrays(work)
    with chromium() as browser:
        shoot_phantoms(browser, phantoms, work / "phantoms" / "labels")
        shoot_ct(browser, ct)
        shoot_xrays(browser, xrays)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="folder for phantoms and masks, kept")
    given = parser.parse_args()
    if given.work is not None:
        given.work.mkdir(parents=True, exist_ok=True)
        all_of(given.work)
    else:
        with tempfile.TemporaryDirectory() as name:
            all_of(Path(name))
