"""How long it takes to bring a series to a local Orthanc and to fetch it, and what C-STORE's waiting costs.

`python benchmarks/pacs_store.py [slices]`: needs Orthanc (apt-get install orthanc orthanc-dicomweb) and leave to make a
network namespace, in which both run. The peer is pynetdicom as it comes; ours has TCP_NODELAY and TCP_QUICKACK.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pynetdicom

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "pacs"))

import local_orthanc  # noqa: E402 (a server that the tests use too)
import pydicom  # noqa: E402

from medseg.case import Image  # noqa: E402
from medseg.dicom import write_series  # noqa: E402
from medseg.dicom.transfer import pull, push, send  # noqa: E402

RUNS = 3
START_S = 3.0


def series(folder: Path, *, side: int, slices: int) -> list[Path]:
    """CT slices of noise, `side` pixels wide."""
    hu = np.random.default_rng(side).integers(-1000, 1000, (1, side, side, slices)).astype(np.int16)
    return write_series(Image(hu, np.eye(4), Path("made"), "CT"), folder, seed=side)


def pynetdicom_alone(files: list[Path], port: int) -> None:
    """The peer: one association, one file after the other."""
    ae = pynetdicom.AE()
    ae.add_requested_context(pynetdicom.sop_class.CTImageStorage, "1.2.840.10008.1.2.1")
    association = ae.associate("127.0.0.1", port)
    for path in files:
        assert association.send_c_store(path).Status == 0
    association.release()


def measure(files: list[Path], server: local_orthanc.Orthanc, folder: Path) -> dict[str, list[float]]:
    """Milliseconds a file of each way, several times."""
    study = pydicom.dcmread(files[0], stop_before_pixels=True).StudyInstanceUID
    ways: dict[str, Callable[[int], object]] = {
        "C-STORE, pynetdicom as it comes": lambda _: pynetdicom_alone(files, server.dicom_port),
        "C-STORE, medseg pacs send": lambda _: send(files[0].parent, peer=f"127.0.0.1:{server.dicom_port}"),
        "DICOMweb, medseg pacs push": lambda _: push(files[0].parent, address=server.address),
        "DICOMweb, medseg pacs pull": lambda run: pull(
            f"{server.address}/studies/{study}", output_dir=folder / str(run)
        ),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for run in range(RUNS):
        for name, way in ways.items():
            if "pull" not in name:
                server.clear()
            started = time.perf_counter()
            way(run)
            found[name].append((time.perf_counter() - started) * 1000 / len(files))
    return found


def inside(slices: int) -> None:
    """Measure, in a network of our own."""
    local_orthanc.loopback_up()
    for side in (64, 512):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            files = series(folder / "series", side=side, slices=slices)
            orthanc = local_orthanc.start(folder, 8042, 4242)
            try:
                time.sleep(START_S)
                found = measure(files, local_orthanc.Orthanc(8042, 4242, folder), folder / "pulled")
            finally:
                orthanc.kill()
                orthanc.wait()
        for name, times in found.items():
            print(f"{side} x {side}, {slices} slices: {name}: {sorted(times)[RUNS // 2]:.1f} ms a file", flush=True)


def main() -> None:
    """Print the median of each way."""
    slices = sys.argv[1] if len(sys.argv) > 1 else "60"
    if sys.argv[2:] == ["inside"]:
        inside(int(slices))
    else:
        os.execvp("unshare", [*local_orthanc.namespace(), sys.executable, __file__, slices, "inside"])


if __name__ == "__main__":
    main()
