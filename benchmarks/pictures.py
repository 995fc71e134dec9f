"""Images per second of many small pictures through one loaded model, beside one process for each picture.

python benchmarks/pictures.py [--cases 250] [--phantoms 50] [--singles 5] [--seed 0] [--device cpu]

X-ray phantoms, each several times under different names since making them takes longer than segmenting them, through
cxr_heart_lung by `medseg predict`, whole commands: one for all pictures, and one for each of the first few. Each
picture gets its mask, its preview and its manifest. nnU-Net's 2.5 images/s is what its users measured with 250 small
pictures on an A100 (MIC-DKFZ/nnUNet issue 2655).
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import torch
from measure import Table, median, publish, skip
from runs import make_phantoms, predict

NNUNET_IMAGES_PER_S = 2.5


def main(*, cases: int, phantoms: int, singles: int, seed: int, device: str) -> None:
    """Print and write the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = sorted(make_phantoms(folder / "phantoms", cases=phantoms, seed=seed, kind="xray").iterdir())
        images = folder / "images"
        images.mkdir()
        for number in range(cases):
            shutil.copyfile(made[number % phantoms], images / f"{number:04}{made[0].suffix}")
        paths = sorted(images.iterdir())
        options = ["--device", device]
        # One process each, before and after the folder: what changes on the machine meanwhile shows in their spread.
        alone = [predict("cxr_heart_lung", p, folder / p.stem, options).seconds for p in paths[: (singles + 1) // 2]]
        together = predict("cxr_heart_lung", images, folder / "all", options)
        alone += [predict("cxr_heart_lung", p, folder / p.stem, options).seconds for p in paths[len(alone) : singles]]
    rate, one_by_one = together.cases / together.seconds, 1 / median(alone)
    table = Table(f"{together.cases} pictures", ["way", "images/s", "times one process each"])
    table.rows.append(["medseg predict, one command", rate, rate / one_by_one])
    table.rows.append([f"medseg predict, one process each (median of {len(alone)})", one_by_one, 1.0])
    table.rows.append(["nnU-Net on an A100, as reported", NNUNET_IMAGES_PER_S, NNUNET_IMAGES_PER_S / one_by_one])
    spent = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in together.stages.items())
    table.notes.append(f"target: >= 20 times; seconds in all, {together.seconds:.1f} by the clock: {spent}")
    publish(f"pictures_{device.replace(':', '')}", [table], settings={"seed": seed, "phantoms": phantoms})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=250)
    parser.add_argument("--phantoms", type=int, default=50)
    parser.add_argument("--singles", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    given = parser.parse_args()
    if given.device.startswith("cuda") and not torch.cuda.is_available():
        skip("no GPU on this machine")
    main(cases=given.cases, phantoms=given.phantoms, singles=given.singles, seed=given.seed, device=given.device)
