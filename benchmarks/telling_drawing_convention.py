"""Whether an X-ray shows that its lungs were drawn through the heart: how well that is told without the drawing.

python benchmarks/telling_drawing_convention.py DATALIST.json cases.csv [--bundle cxr_heart_lung]

Of the training and the validation part of the datalist; the test part is not looked at. Each case is described by what
the bundle's trained network sees (mean and spread of each channel of its deepest stage) and, apart from that, by plain
traits of the picture (percentiles, spectrum, borders). A ridge regression on the ten first principal components is
fitted without the case and ranks it. The area under the ROC curve tells what that is worth: 0.5 is a coin. Its interval
draws cases. Above `heart_under_lung_frac` 0.1 a lung counts as drawn through the heart.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from lungs_by_drawing_convention import OTHER_CONVENTION, under_lung
from measure import Table, ends, publish

from medseg.bundle import find_bundle
from medseg.bundle.load import build, open_workflow
from medseg.case import Array, FloatArray
from medseg.datasets import load_datalist
from medseg.evaluation.roc import roc
from medseg.inference import Segmenter

COMPONENTS, RIDGE = 10, 0.3


def seen(segmenter: Segmenter, image: Path) -> tuple[FloatArray, FloatArray]:
    """(traits of the network's deepest stage, traits of the picture) of one X-ray."""
    inputs = segmenter.read({"image": str(image)}).inputs
    kept: list[torch.Tensor] = []
    hook = segmenter.network.bridge.register_forward_hook(lambda module, given, out: kept.append(out[0].float()))
    with torch.inference_mode():
        segmenter.network(inputs[None].float())
    hook.remove()
    (deepest,) = kept
    network = torch.cat([deepest.mean((1, 2)), deepest.std((1, 2))]).numpy()
    return network.astype(np.float64), picture_traits(inputs[0].numpy())


def picture_traits(picture: Array) -> FloatArray:
    """Percentiles, the logarithm of the power at eighteen distances from the spectrum's middle, the four borders."""
    power = np.abs(np.fft.fftshift(np.fft.fft2(picture - picture.mean()))) ** 2
    across, along = (np.arange(size) - size // 2 for size in power.shape)
    distance = np.hypot(across[:, None], along[None])
    edges = np.geomspace(2, min(power.shape) / 2, 19)
    rings = [power[(distance >= low) & (distance < high)] for low, high in pairwise(edges)]
    spectrum = [float(np.log(ring.mean())) for ring in rings if ring.size]
    borders = [float(side.mean()) for side in (picture[:4], picture[-4:], picture[:, :4], picture[:, -4:])]
    return np.array([*np.percentile(picture, [1, 5, 10, 25, 50, 75, 90, 95, 99]), *spectrum, *borders])


def left_out_scores(traits: FloatArray, other: Array) -> FloatArray:
    """The score of each case by the others' regression; both conventions weigh the same in it."""
    scores = np.zeros(len(other))
    for case in range(len(other)):
        rest = np.arange(len(other)) != case
        scaled = (traits - traits[rest].mean(0)) / (traits[rest].std(0) + 1e-6)
        components = scaled @ np.linalg.svd(scaled[rest], full_matrices=False)[2][:COMPONENTS].T
        design = np.c_[components, np.ones(len(other))]
        weights = np.where(other, 0.5 / other[rest].sum(), 0.5 / (~other[rest]).sum())[rest, None]
        normal = design[rest].T @ (weights * design[rest]) + RIDGE * np.eye(design.shape[1])
        target = design[rest].T @ (weights[:, 0] * np.where(other[rest], 1.0, -1.0))
        scores[case] = design[case] @ np.linalg.solve(normal, target)
    return scores


def main(options: argparse.Namespace) -> None:
    """Describe the cases, rank each by the others, publish the areas."""
    under = under_lung(options.cases)
    cases = [case for part in ("training", "validation") for case in load_datalist(options.datalist, part)]
    other = np.array([under[case["id"]] > OTHER_CONVENTION for case in cases])
    folder = find_bundle(options.bundle)
    workflow = open_workflow(folder, "inference", overrides={"input": "unused", "output_dir": "unused"})
    segmenter: Segmenter = build(workflow, folder, "segmenter")
    network, picture = (np.array(traits) for traits in zip(*(seen(segmenter, c["image"]) for c in cases), strict=True))
    title = f"Telling {other.sum()} cases drawn through the heart from {(~other).sum()} others"
    table = Table(title, ["by", "area under the ROC curve", "95 % interval"])
    for name, traits in (("the network's deepest stage", network), ("traits of the picture", picture)):
        found = roc(left_out_scores(traits, other), other, patients=[case["patient"] for case in cases])
        table.rows.append([name, f"{found.auc:.2f}", ends(found.auc_ci95, ".2f")])
    publish("telling_drawing_convention", [table], settings={"bundle": folder.name, "parts": "training, validation"})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datalist", type=Path)
    parser.add_argument("cases", type=Path)
    parser.add_argument("--bundle", default="cxr_heart_lung")
    return parser.parse_args()


if __name__ == "__main__":
    main(_options())
