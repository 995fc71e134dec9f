"""Seconds until the viewer shows a chest CT, beside NiiVue alone, in a browser without a graphics card.

python benchmarks/viewer.py [--ct CT.nii.gz] [--repeats 5]

By default the whole CT of the reference data (512x512x143, 37 MB): MEDSEG_DATA, or ../shared/data beside the checkout.
Its mask is a threshold, as only its size matters here. Counted from the page's load event to the sign that it sets once
image and mask are drawn; cold: the first page of a server just started; warm: a new browser profile on the same server.
NiiVue: the same file uncompressed, three planes without a mask, from its own page's load event to the first frame.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from browser import chromium, reviewing
from measure import Table, median, publish, skip

TARGET_S = 3.0
NIIVUE = Path(__file__).parents[1] / "src/medseg/review/viewer/static/vendor/niivue-0.69.0.js"
DEFAULT = Path(os.environ.get("MEDSEG_DATA", Path(__file__).parents[2] / "shared" / "data")) / "chest_ct_nlst/ct.nii.gz"

WATCH = """
window.signs = {};
addEventListener("load", () => { signs.load = performance.now(); });
new MutationObserver(() => {
  for (const sign of ["ready", "solid"]) {
    if (document.body?.dataset[sign] && !(sign in signs)) signs[sign] = performance.now();
  }
}).observe(document, { attributes: true, subtree: true, attributeFilter: ["data-ready", "data-solid"] });
"""
NIIVUE_PAGE = """<!doctype html><body><canvas id="c" width="780" height="650"></canvas><script type="module">
import { Niivue, NVImage } from "./niivue.js";
const viewer = new Niivue({ multiplanarShowRender: 0, isResizeCanvas: false, logLevel: "error" });
await viewer.attachToCanvas(document.getElementById("c"), false);
await viewer.loadVolumes([{ url: "image.nii", cal_min: -1350, cal_max: 150 }]);
viewer.gl.finish();
document.body.dataset.ready = "1";
</script></body>"""


def main(*, ct: Path, repeats: int) -> None:
    """Print and write the table."""
    with tempfile.TemporaryDirectory() as name, chromium() as browser:
        folder = Path(name)
        results = threshold_results(ct, folder)
        cold, warm, alone = [], [], []
        for _ in range(repeats):  # interleaved: what changes on the machine meanwhile meets all
            with reviewing(results) as address:
                cold.append(seconds(browser, address, solid=True))
                warm.append(seconds(browser, address))
            with niivue_site(ct, folder / "niivue") as address:
                alone.append(seconds(browser, address))
    table = Table(
        "First view of a chest CT", ["page", "s after load", "slowest", "s after the request", "3-D, s after load"]
    )
    for title, found in (("viewer, cold", cold), ("viewer, warm", warm), ("NiiVue alone, no mask", alone)):
        solid = [signs["solid"] for signs in found if "solid" in signs]
        ready = [signs["ready"] for signs in found]
        table.rows.append(
            [title, median(ready), max(ready), median([s["all"] for s in found]), median(solid) if solid else "-"]
        )
    table.notes.append(
        f"target: image and mask drawn within {TARGET_S:.0f} s after the page has loaded; WebGL by SwiftShader"
    )
    publish("viewer", [table], settings={"ct": f"{ct.stat().st_size / 1e6:.0f} MB", "repeats": repeats})


def threshold_results(ct: Path, folder: Path) -> Path:
    """A folder as `medseg predict` leaves it, with a mask of what is as dark as lung."""
    import numpy as np

    from medseg.case import Image, Prediction
    from medseg.intake import read_image
    from medseg.outputs import write_prediction

    image = read_image(ct)
    dark = ((image.array[0] > -950) & (image.array[0] < -500)).astype(np.uint8)
    labels = Image(dark, image.affine, ct, image.modality)
    results = folder / "results"
    results.mkdir()
    about = {"input": str(ct), "bundle": {"name": "ct_lung", "version": "0.1.0"}}
    names = {0: "background", 1: "lung"}
    write_prediction(Prediction("ct", labels, names), image, results, manifest=lambda: dict(about))
    return results


def seconds(browser: Any, address: str, *, solid: bool = False) -> dict[str, float]:
    """Seconds from the load event to each sign, and `all`: from the request to the first view."""
    context = browser.new_context(viewport={"width": 1366, "height": 768})
    try:
        page = context.new_page()
        page.add_init_script(WATCH)
        page.goto(address)
        page.wait_for_selector(f"body[data-{'solid' if solid else 'ready'}]", state="attached", timeout=120_000)
        signs: dict[str, float] = page.evaluate("window.signs")
    finally:
        context.close()
    load = signs.pop("load")
    after = {sign: (at - load) / 1000 for sign, at in signs.items()}
    return {**after, "all": signs["ready"] / 1000}


@contextmanager
def niivue_site(ct: Path, folder: Path) -> Iterator[str]:
    """A page with NiiVue and the CT, served by Python."""
    if not folder.is_dir():
        from isal import igzip

        folder.mkdir()
        (folder / "index.html").write_text(NIIVUE_PAGE, encoding="utf-8")
        (folder / "niivue.js").symlink_to(NIIVUE)
        (folder / "image.nii").write_bytes(igzip.decompress(ct.read_bytes()))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        """Without a log."""

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/index.html"
        server.shutdown()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ct", type=Path, default=DEFAULT)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    if not given.ct.is_file():
        skip(f"no CT at {given.ct.name}: give --ct, or set MEDSEG_DATA")
    main(ct=given.ct, repeats=given.repeats)
