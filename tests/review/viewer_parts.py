"""What the viewer's tests share: a folder of tiny cases, a viewer on it, a process that stands for the network's."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from PIL import Image as Pillow
from starlette.testclient import TestClient

from medseg.case import Image, Prediction
from medseg.outputs import write_prediction
from medseg.review.viewer.app import make_app
from medseg.review.viewer.child import Child
from medseg.review.viewer.session import Session
from medseg.review.viewer.settings import Settings
from medseg.review.viewer.viewer import Viewer

PORT = 8765
BASE = f"http://127.0.0.1:{PORT}"
OURS = {"Origin": BASE, "X-Medseg": "1"}

DEADLINE_SECONDS = 30.0

SIZE = (12, 10, 8)
# X runs to the left, Y to the back, 0.5 x 0.75 x 2 mm, and the origin is nowhere round
AFFINE = np.array([[-0.5, 0, 0, 31.0], [0, -0.75, 0, 12.0], [0, 0, 2.0, -7.0], [0, 0, 0, 1]])

FAKE_WORKER = """
import json, os, pathlib, shutil, sys, time
def tell(**a):
    sys.stdout.write(json.dumps(a) + "\\n"); sys.stdout.flush()
tell(ready=True)
for line in sys.stdin:
    asked = json.loads(line)
    if "load" in asked:
        continue
    job, out = asked["job"], pathlib.Path(asked["output"])
    tell(job=job, stage="load"); tell(job=job, stage="read")
    if "slow" in asked["id"]:
        (out.parent / "running").touch()
        time.sleep(60)
    if "bad" in asked["id"]:
        tell(job=job, failed=asked["image"] + ": no image at all"); continue
    if "dies" in asked["id"]:
        os._exit(3)
    tell(job=job, stage="network"); tell(job=job, stage="write")
    out.mkdir(parents=True)
    name = asked["id"]
    shutil.copy(asked["image"], out / (name + ".nii.gz"))
    labels = [{"value": 1, "name": "blob", "voxels": 4, "volume_ml": 0.003}]
    (out / (name + "_manifest.json")).write_text(json.dumps({"labels": labels, "measurements": {"ratio": 0.5}}))
    tell(job=job, done={"mask": name + ".nii.gz", "manifest": name + "_manifest.json"})
"""


def volume(seed: int = 0) -> Image:
    """An image (1, X, Y, Z) of noise about zero, like HU."""
    values = np.random.default_rng(seed).integers(-900, 900, SIZE).astype(np.int16)
    return Image(values[None], AFFINE, Path("image.nii.gz"), "CT")


def mask(seed: int = 0) -> Image:
    """A label map with two blocks, told apart by `seed`."""
    labels = np.zeros(SIZE, dtype=np.uint8)
    labels[1:4, 2:5, 1 + seed % 3 : 4] = 1
    labels[6:9, 2:5, 2:6] = 2
    return Image(labels, AFFINE, Path("mask.nii.gz"))


def save(image: Image, path: Path) -> Path:
    """As NIfTI."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = image.array[0] if image.array.ndim == 4 else image.array
    nibabel.save(nibabel.Nifti1Image(array, image.affine), path)
    return path


def make_folder(root: Path, *, cases: int = 2) -> Path:
    """A folder as `medseg evaluate` leaves it: volumes case_0 ... and one picture xray, images beside it."""
    folder = root / "results"
    folder.mkdir(parents=True)
    names = {0: "background", 1: "left lung", 2: "right lung"}
    for i in range(cases):
        save(volume(i), root / "images" / f"case_{i}.nii.gz")
        save(mask(i + 1), root / "truth" / f"case_{i}.nii.gz")
        about = {"input": f"../images/case_{i}.nii.gz", "bundle": {"name": "ct_lung", "version": "0.1.0"}}
        about["flags"] = [{"rule": "fragments", "text": "three pieces"}] if i == 0 else []
        write_prediction(
            Prediction(f"case_{i}", mask(i), names), volume(i), folder, manifest=lambda about=about: {**about}
        )
    picture = np.random.default_rng(9).integers(0, 255, (20, 16)).astype(np.uint8)
    Pillow.fromarray(picture).save(root / "images" / "xray.png")
    labels = Image(np.eye(16, 20, dtype=np.uint8), np.eye(4), Path("xray.png"), spacing_known=False)
    image = Image(picture.T[None], np.eye(4), Path("xray.png"), spacing_known=False)
    about = {"input": "../images/xray.png", "measurements": {"cardiothoracic_ratio": 0.45}}
    write_prediction(Prediction("xray", labels, {0: "background", 1: "heart"}), image, folder, manifest=lambda: about)
    (folder / "scores.csv").write_text(
        "case,region,dice,hd95_mm,empty\ncase_0,left lung,0.9,,none\ncase_0,right lung,0.7,2.5,none\n", encoding="utf-8"
    )
    return folder


@contextmanager
def viewing(
    tmp_path: Path, *, cookie: bool = True, child: Child | None = None, **settings: Any
) -> Iterator[tuple[TestClient, Viewer]]:
    """A client with a session, and the viewer; the session's folder is below `tmp_path`."""
    parent = tmp_path / "temporary"
    parent.mkdir(exist_ok=True)
    session = Session(parent)
    try:
        viewer = Viewer(Settings(port=PORT, **settings), session, child=child or fake_child(tmp_path))
        with TestClient(make_app(viewer), base_url=BASE, raise_server_exceptions=False) as client:
            if cookie:
                client.cookies.set(viewer.access.cookie, viewer.access.sessions.open())
            yield client, viewer
    finally:
        session.close()


def fake_child(tmp_path: Path) -> Child:
    """A process that answers at once, slowly, badly or never, as the case's name asks."""
    script = tmp_path / "fake_worker.py"
    script.write_text(FAKE_WORKER, encoding="utf-8")
    return Child((str(script),))


def cases_by_name(client: TestClient) -> dict[str, dict[str, Any]]:
    """What /api/cases says."""
    return {case["name"]: case for case in client.get("/api/cases").json()}


def voxels(labels: np.ndarray) -> bytes:
    """As the page sends them."""
    return gzip.compress(labels.astype(np.uint8).tobytes(order="F"))


def read_nifti(body: bytes, tmp_path: Path) -> Any:
    """The NIfTI that an answer holds."""
    path = tmp_path / "answer.nii"
    path.write_bytes(body)
    return nibabel.load(path)


def read_json(path: Path) -> Any:
    """The content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def painted() -> np.ndarray:
    """The prediction of case_0 with five voxels more of label 2."""
    labels = mask(0).array.copy()
    labels[0, 0:5, 7] = 2
    return labels


def correct(client: TestClient, case: str, labels: np.ndarray, **more: Any) -> Any:
    """Save painted labels as the page does; `more` goes into the query."""
    shape = ",".join(map(str, labels.shape))
    headers = {**OURS, "X-Shape": shape, "X-By": more.pop("by", "Dr%20J%C3%BCrgens")}
    return client.put(f"/api/cases/{case}/correction", headers=headers, content=voxels(labels), params=more)


def review(client: TestClient, case: str, status: str | None, comment: str = "", by: str = "me") -> Any:
    """Say something of a case."""
    said = {"status": status, "comment": comment, "by": by}
    return client.put(f"/api/cases/{case}/review", headers=OURS, json=said)


def wait_for(ready: Callable[[], Any]) -> Any:
    """What `ready` gives once it gives something."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        found = ready()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it never came")
