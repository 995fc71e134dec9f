"""The pictures of the tutorials and of the page on the U-Net: phantoms, their masks, and what stages of a network see.

    .venv/bin/python docs/tools/pictures.py

The seeds are those of the tutorials, so a reader who runs the commands sees the same. Run on 2026-11-21 (2 cores of an
AMD EPYC, torch 2.13 on the CPU); no person's image is in them.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from medseg.cli import main

IMAGES = Path(__file__).resolve().parents[1] / "images"
WIDTH = 800
TILE, GAP = 200, 8


def run(*words: str) -> None:
    """One medseg command; stop where it fails."""
    if main([*words, "--quiet"]) != 0:
        sys.exit(f"medseg {' '.join(words)} failed")


def shrunk(source: Path, name: str, *, width: int = WIDTH) -> None:
    """A picture no wider than `width`, in 256 colours, as a small PNG."""
    picture = Image.open(source).convert("RGB")
    size = (width, round(picture.height * width / picture.width))
    if picture.width > width:
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    picture.quantize(256, dither=Image.Dither.NONE).save(IMAGES / name, optimize=True)


def xrays(work: Path) -> None:
    """Tutorial 1: a phantom X-ray, its mask, and truth against prediction."""
    run("data", "phantom", "-o", str(work / "xrays"), "--cases", "4", "--seed", "9", "--kind", "xray")
    run("predict", "cxr_heart_lung", "-i", str(work / "xrays" / "images"), "-o", str(work / "masks"))
    shrunk(work / "masks" / "phantom_xray_0001_preview.png", "phantom_xray_mask.png", width=420)
    run(
        "data",
        "prepare",
        "pairs",
        str(work / "xrays"),
        "-o",
        str(work / "d.json"),
        "--fractions",
        "0.5",
        "0.25",
        "0.25",
    )
    run("evaluate", "cxr_heart_lung", "--datalist", str(work / "d.json"), "-o", str(work / "scores"))
    shrunk(next((work / "scores").glob("*_comparison.png")), "phantom_xray_comparison.png")


def ct(work: Path) -> None:
    """Tutorial 2: three planes of a phantom CT with its mask."""
    run("data", "phantom", "-o", str(work / "ct"), "--cases", "1", "--seed", "8", "--dicom")
    run("predict", "ct_lung", "-i", str(work / "ct" / "dicom"), "-o", str(work / "ct_masks"))
    shrunk(next((work / "ct_masks").glob("*_preview.png")), "phantom_ct_mask.png")


def stages(work: Path) -> None:
    """The page on the U-Net: the picture, channels on the way down, at the bottom, on the way up, and probabilities."""
    import torch

    from medseg.bundle import find_bundle
    from medseg.bundle.describe import build_network, network_config
    from medseg.networks.weights import load_weights

    bundle = find_bundle("cxr_heart_lung")
    untrained = build_network(bundle, network_config(bundle))
    network = load_weights(untrained, path=str(bundle / "models" / "model.pt")).eval()
    source = Image.open(work / "xrays" / "images" / "phantom_xray_0001.png").resize((256, 256), Image.Resampling.BOX)
    grey = np.asarray(source, dtype=np.float32)
    low, high = np.percentile(grey, (0.5, 99.5))
    grey = ((grey - low) / (high - low)).clip(0, 1).astype(np.float32)
    kept: list[torch.Tensor] = []
    for part in (network.encoder[0], network.encoder[2], network.bridge, network.decoder[3]):
        part.register_forward_hook(lambda module, given, out: kept.append(out[0]))
    with torch.no_grad():
        probability = network(torch.from_numpy(grey.T.copy())[None, None]).softmax(1)[0]
    rows = [
        [torch.from_numpy(grey.T.copy()), *(busiest(maps) for maps in kept[:3])],
        [busiest(kept[3]), *probability[1:]],
    ]
    names = [
        ["picture 256 x 256", "encoder 1: 256 x 256", "encoder 3: 64 x 64", "bridge: 16 x 16"],
        ["decoder 1: 256 x 256", "left lung", "right lung", "heart"],
    ]
    draw_tiles(rows, names).quantize(64).save(IMAGES / "phantom_xray_stages.png", optimize=True)


def busiest(maps: object) -> object:
    """The channel (X, Y) of (C, X, Y) that varies most."""
    return maps[int(maps.flatten(1).std(1).argmax())]  # type: ignore[index, attr-defined]


def draw_tiles(rows: list[list[object]], names: list[list[str]]) -> Image.Image:
    """Grey tiles in rows, each from its darkest to its brightest value, with a name above."""
    head = 18
    sheet = Image.new("RGB", (4 * (TILE + GAP) + GAP, 2 * (TILE + GAP + head) + GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for y, row in enumerate(rows):
        for x, tile in enumerate(row):
            values = np.asarray(tile, dtype=np.float32).T
            span = max(float(values.max() - values.min()), 1e-6)
            grey = Image.fromarray(((values - values.min()) / span * 255).astype(np.uint8))
            corner = (GAP + x * (TILE + GAP), GAP + head + y * (TILE + GAP + head))
            sheet.paste(grey.resize((TILE, TILE), Image.Resampling.NEAREST), corner)
            pen.text((corner[0], corner[1] - head + 2), names[y][x], fill="black")
    return sheet


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for draw in (xrays, ct, stages):
            draw(Path(folder))
