"""What the tests of the viewer's page share: Chromium, a server in a thread, cases whose sides and sizes are known."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from PIL import Image as Pillow

from medseg.case import Image, Prediction
from medseg.outputs import write_prediction

CHROMIUM_FLAGS = (
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-sandbox",  # tests run as root in CI, where Chromium's sandbox refuses to start
)

NO_WEBGL = """
const real = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...more) {
  return kind.startsWith("webgl") ? null : real.call(this, kind, ...more);
};
"""

# An image stored to the left, back and head: 48 x 40 x 20 voxels of 1.5 x 1.5 x 4 mm
SIZE, SPACING_MM = (48, 40, 20), (1.5, 1.5, 4.0)
AFFINE = np.array([[-1.5, 0, 0, 40.0], [0, -1.5, 0, 30.0], [0, 0, 4.0, -100.0], [0, 0, 0, 1]])
LEFT, RIGHT = 1, 2
NAMES = {0: "background", LEFT: "left lung", RIGHT: "right lung"}
COLOURS = {LEFT: (86, 180, 233), RIGHT: (230, 159, 0)}
AGREEMENT, FALSE_POSITIVE, FALSE_NEGATIVE = (143, 211, 182), (255, 122, 69), (78, 161, 255)

WORKER = """
import json, pathlib, sys, time
import nibabel, numpy
def tell(**a):
    sys.stdout.write(json.dumps(a) + "\\n"); sys.stdout.flush()
go = pathlib.Path(__file__).with_name("go")
tell(ready=True)
for line in sys.stdin:
    asked = json.loads(line)
    if "load" in asked:
        continue
    job, out, name = asked["job"], pathlib.Path(asked["output"]), asked["id"]
    tell(job=job, stage="read"); tell(job=job, stage="network")
    while not go.exists():
        time.sleep(0.02)
    if "bad" in name:
        tell(job=job, failed="the image holds nothing to segment"); continue
    image = nibabel.load(asked["image"])
    mask = (numpy.asarray(image.dataobj) > 0).astype(numpy.uint8)
    out.mkdir(parents=True)
    nibabel.save(nibabel.Nifti1Image(mask, image.affine), out / (name + ".nii.gz"))
    labels = [{"value": 1, "name": "left lung", "voxels": int(mask.sum()), "volume_ml": 1.0}]
    (out / (name + "_manifest.json")).write_text(json.dumps({"labels": labels}))
    tell(job=job, done={"mask": name + ".nii.gz", "manifest": name + "_manifest.json"})
"""
"""Stands for the process with the networks: marks what is above 0, once a file `go` lies beside it."""


def label_map() -> np.ndarray:
    """X runs to the patient's left: the right lung comes first. Lungs differ in size."""
    labels = np.zeros(SIZE, dtype=np.uint8)
    labels[6:18, 10:30, 4:16] = RIGHT
    labels[30:40, 12:28, 4:16] = LEFT
    return labels


def true_map() -> np.ndarray:
    """The prediction's right lung one voxel further to the left, its left lung the same."""
    labels = np.zeros(SIZE, dtype=np.uint8)
    labels[7:19, 10:30, 4:16] = RIGHT
    labels[30:40, 12:28, 4:16] = LEFT
    return labels


def stored(array: np.ndarray, codes: str) -> nibabel.Nifti1Image:
    """The array, which stands on AFFINE, stored in another order and direction of the axes, by nibabel."""
    image = nibabel.Nifti1Image(array, AFFINE)
    return image.as_reoriented(ornt_transform(io_orientation(AFFINE), axcodes2ornt(tuple(codes))))


def grey_values() -> np.ndarray:
    return np.random.default_rng(3).integers(-900, -500, SIZE).astype(np.int16)


def _save(image: nibabel.Nifti1Image, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)
    return path


def add_volume(root: Path, name: str, codes: str = "LPS", flags: tuple[str, ...] = ()) -> None:
    """A CT with its prediction and truth, stored along the axes `codes`."""
    image = stored(grey_values(), codes)
    _save(image, root / "images" / f"{name}.nii.gz")
    _save(stored(true_map(), codes), root / "truth" / f"{name}.nii.gz")
    mask = stored(label_map(), codes)
    about: dict[str, Any] = {
        "input": f"../images/{name}.nii.gz",
        "bundle": {"name": "ct_lung", "version": "0.1.0"},
        "flags": [{"rule": "fragments", "text": text} for text in flags],
    }
    (root / "results").mkdir(exist_ok=True)
    labels = Image(np.asarray(mask.dataobj), mask.affine, Path("mask.nii.gz"))
    grey = Image(np.asarray(image.dataobj)[None], image.affine, Path("image.nii.gz"), "CT")
    write_prediction(Prediction(name, labels, NAMES), grey, root / "results", manifest=lambda: dict(about))


HEART = 3


def xray_map() -> np.ndarray:
    """Labels (X, Y) of a frontal X-ray: heart 24 columns wide, lungs 60 from border to border."""
    labels = np.zeros((80, 64), dtype=np.uint8)
    labels[10:30, 10:50] = RIGHT
    labels[50:70, 10:50] = LEFT
    labels[28:52, 34:52] = HEART
    return labels


def add_xray(root: Path) -> None:
    """A picture with both lungs and the heart."""
    picture = np.random.default_rng(4).integers(40, 200, (64, 80)).astype(np.uint8)
    for name in ("images", "results"):
        (root / name).mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(picture).save(root / "images" / "xray.png")
    grid: Any = {"affine": np.eye(4), "source": Path("xray.png"), "spacing_known": False}
    about: dict[str, Any] = {"input": "../images/xray.png", "bundle": {"name": "cxr_heart_lung", "version": "0.1.0"}}
    write_prediction(
        Prediction("xray", Image(array=xray_map(), **grid), {**NAMES, HEART: "heart"}),
        Image(array=picture.T[None], **grid),
        root / "results",
        manifest=lambda: dict(about),
    )


@dataclass
class Site:
    """A running viewer."""

    url: str
    folder: Path
    go: Path

    @property
    def base(self) -> str:
        return self.url.partition("?")[0]


@contextmanager
def serving(root: Path, **settings: Any) -> Iterator[Site]:
    """A viewer of root/results (or without a folder, where there is none), in a thread; its networks are WORKER."""
    pytest.importorskip("uvicorn", reason="no uvicorn: pip install 'medseg[review]'")
    import uvicorn

    from medseg.review.viewer.app import make_app
    from medseg.review.viewer.child import Child
    from medseg.review.viewer.serve import address
    from medseg.review.viewer.session import Session
    from medseg.review.viewer.settings import Settings
    from medseg.review.viewer.viewer import Viewer

    script = root / "worker" / "worker.py"
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(WORKER, encoding="utf-8")
    folder = root / "results"
    session = Session(root / "worker")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        truth = root / "truth" if (root / "truth").is_dir() else None
        shown = Settings(port=port, folder=folder if folder.is_dir() else None, truth=truth, **settings)
        viewer = Viewer(shown, session, child=Child((str(script),)))
        server = uvicorn.Server(uvicorn.Config(make_app(viewer), log_config=None, timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield Site(address(viewer, viewer.access.token), folder, script.with_name("go"))
        finally:
            server.should_exit = True
            thread.join(20)
            session.close()


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser, or a skip that tells what is missing."""
    pytest.importorskip("playwright", reason="no playwright: pip install 'medseg[test]'")
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=list(CHROMIUM_FLAGS))
        yield browser
        browser.close()


@contextmanager
def window(
    browser: Any, site: Site, *, width: int = 1280, height: int = 760, solid: bool = False, refused: int = 0
) -> Iterator[Any]:
    """A page in a browser profile of its own; at the end nothing has gone wrong in it, and nothing went outside.

    Without `solid` the browser has no WebGL, as some have none: drawn by the processor the 3-D view takes seconds.
    `refused` answers of the server are expected, each of which Chromium writes to the console.
    """
    context = browser.new_context(viewport={"width": width, "height": height}, accept_downloads=True)
    if not solid:
        context.add_init_script(NO_WEBGL)
    page = context.new_page()
    page.set_default_timeout(20_000)
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    inside = (site.base, "data:", "blob:")
    page.on("request", lambda request: None if request.url.startswith(inside) else wrong.append(request.url))
    page.goto(site.url)
    page.wait_for_selector("body[data-ready], body[data-failed]", state="attached")
    try:
        yield page
    finally:
        context.close()
    expected = [
        text for text in wrong if text.startswith("Failed to load resource: the server responded with a status")
    ]
    assert [text for text in wrong if text not in expected] == []
    assert len(expected) == refused


def open_case(page: Any, name: str) -> str:
    """Opens a case by its name in the list, waits until it is drawn; its id."""
    row = page.locator(".case", has=page.locator(f"b:text-is('{name}')"))
    row.click()
    wanted = row.get_attribute("data-id")
    page.wait_for_selector(f"body[data-ready='{wanted}']", state="attached")
    return str(wanted)


def drawn(page: Any) -> None:
    """Wait until what was asked for is on the screen: panes are drawn with the browser's next frame."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def pixels(page: Any, plane: str) -> np.ndarray:
    """What a pane's canvas shows, (H, W, 3)."""
    drawn(page)
    values = page.evaluate(
        """plane => {
          const canvas = document.querySelector(`.pane[data-plane="${plane}"] canvas`);
          const image = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          let text = "";
          for (let at = 0; at < image.data.length; at += 8192)
            text += String.fromCharCode(...image.data.subarray(at, at + 8192));
          return [canvas.width, canvas.height, btoa(text)];
        }""",
        plane,
    )
    import base64

    width, height, text = values
    return np.frombuffer(base64.b64decode(text), dtype=np.uint8).reshape(height, width, 4)[..., :3]


def where(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Columns and rows (n, 2) of the pixels of a colour."""
    rows, columns = np.nonzero((np.abs(picture.astype(int) - colour) <= 2).all(axis=-1))
    return np.stack([columns, rows], axis=1)


def solid_masks(page: Any) -> None:
    """Masks opaque, without outlines: each voxel then shows its colour and nothing else."""
    page.locator("#opacity").fill("100")
    if page.locator("#outline").is_checked():
        page.locator("#outline").uncheck()


def scale_of(page: Any, plane: str) -> float:
    """Pixels of the canvas per mm in a pane that shows its whole slice: as large as fits."""
    box = page.locator(f".pane[data-plane='{plane}'] canvas").bounding_box()
    right, down = {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}[plane]
    return min(box["width"] / (SIZE[right] * SPACING_MM[right]), box["height"] / (SIZE[down] * SPACING_MM[down]))


def spot(page: Any, plane: str, voxel: tuple[int, int]) -> tuple[float, float]:
    """Page coordinates of the centre of voxel (right, down) of a volume's pane: the picture stands in its middle."""
    box = page.locator(f".pane[data-plane='{plane}'] canvas").bounding_box()
    right, down = {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}[plane]
    scale = scale_of(page, plane)
    x = box["x"] + box["width"] / 2 + (voxel[0] + 0.5 - SIZE[right] / 2) * SPACING_MM[right] * scale
    y = box["y"] + box["height"] / 2 + (voxel[1] + 0.5 - SIZE[down] / 2) * SPACING_MM[down] * scale
    return x, y


def slice_number(page: Any, plane: str) -> int:
    """Which slice a pane says it shows, counted from 1."""
    drawn(page)
    words = page.locator(f".pane[data-plane='{plane}'] canvas").get_attribute("aria-label")
    return int(words.split("slice ")[1].split(" of")[0])


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
