"""One window through ct_lung's network by every way to run it on this CPU: seconds, and labels beside float32's.

python benchmarks/backends.py [--runs 15] [--compile]

medseg's own are `torch` (its tuned twin) and `openvino`. The others are what was tried and left out: torch in float32
and under autocast, ONNX Runtime (extra export), and with --compile torch.compile, which needs a C++ compiler and up to
a minute. The window is noise, so labels lie closer to their boundaries than in an image.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import torch
from measure import Table, interleaved, median, publish
from sides import MedsegSide
from torch import Tensor, nn

from medseg.inference.backends import runnable

CPU = torch.device("cpu")
LAST = torch.channels_last_3d
Ways = dict[str, Callable[[], Tensor]]


def main(*, runs: int, with_compile: bool) -> None:
    """Print and write the table."""
    torch.manual_seed(0)
    network, window = MedsegSide("ct_lung", {"device": "$torch.device('cpu')"}).network, torch.rand(1, 1, 112, 96, 96)
    with torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
        ways = _medseg(network, window) | _torch(network, window) | _onnx(network, window, Path(folder))
        if with_compile:
            ways |= _compiled(network, window)
        logits = {name: way().float() for name, way in ways.items()}
        seconds = interleaved(ways, runs=runs)
    usual, labels = median(seconds["torch bfloat16, autocast"]), logits["torch float32"].argmax(1)
    table = Table("One window of 112x96x96", ["way", "ms (median)", "shortest", "times autocast", "labels as float32"])
    for name, each in seconds.items():
        same = float((logits[name].argmax(1) == labels).float().mean())
        row = [name, 1e3 * median(each), 1e3 * min(each), usual / median(each), f"{same:.5f}"]
        table.rows.append(row)
    publish("backends", [table], settings={"runs": runs, "seed": 0})


def _medseg(network: nn.Module, window: Tensor) -> Ways:
    ways: Ways = {}
    for backend in ("torch", "openvino"):
        for dtype in (torch.bfloat16, torch.float32):
            run = runnable(network, backend=backend, device=CPU, dtype=dtype)
            ways[f"medseg {backend}, {str(dtype).removeprefix('torch.')}"] = lambda run=run: run(window)
    return ways


def _torch(network: nn.Module, window: Tensor) -> Ways:
    last = deepcopy(network).to(memory_format=LAST)
    contiguous = deepcopy(network).to(memory_format=torch.contiguous_format)

    def autocast() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            logits: Tensor = last(window.to(memory_format=LAST))
        return logits

    return {"torch float32": lambda: contiguous(window), "torch bfloat16, autocast": autocast}


def _compiled(network: nn.Module, window: Tensor) -> Ways:
    last = torch.compile(deepcopy(network).to(memory_format=LAST))

    def run() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            logits: Tensor = last(window.to(memory_format=LAST))
        return logits

    return {"torch.compile, bfloat16": run}


def _onnx(network: nn.Module, window: Tensor, folder: Path) -> Ways:
    import onnxruntime

    path = folder / "network.onnx"
    torch.onnx.export(deepcopy(network), (window.clone(),), str(path), dynamo=True, verbose=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return {"ONNX Runtime float32": lambda: torch.from_numpy(session.run(None, {name: window.numpy()})[0])}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--compile", action="store_true")
    given = parser.parse_args()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        main(runs=given.runs, with_compile=given.compile)
