"""What part of the machine's rate of bfloat16 matrix products the network reaches.

python benchmarks/network_roof.py [--runs 15] [--size 4096] [--device cpu]

The roof is the best rate of square matrix products measured here, by the same torch with the same threads. The
network's operations are counted by torch (two for each multiplication with its addition), in its convolutions alone.
"""

from __future__ import annotations

import argparse
import warnings

import torch
from measure import Table, interleaved, median, publish, skip
from sides import MedsegSide
from torch.utils.flop_counter import FlopCounterMode

from medseg.inference.backends import runnable

SIZES = (1024, 2048)


def main(*, runs: int, size: int, device: torch.device) -> None:
    """Print and write the table."""
    torch.manual_seed(0)
    network = MedsegSide("ct_lung", {"device": f"$torch.device('{device}')"}).network
    window = torch.rand(1, 1, 112, 96, 96, device=device)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(window)
    operations = {"network": counter.get_total_flops()}
    table = Table(
        "The network beside matrix products", ["number format", "what", "Gflop", "ms (median)", "Gflop/s", "part"]
    )
    for dtype in (torch.bfloat16, torch.float32):
        run = runnable(network, device=device, dtype=dtype)
        ways = {"network": lambda run=run: _done(run(window), device)}
        for n in (*SIZES, size):
            a, b = torch.rand(2, n, n, device=device).to(dtype)
            ways[f"{n} x {n}"] = lambda a=a, b=b: _done(a @ b, device)
            operations[f"{n} x {n}"] = 2 * n**3
        with torch.inference_mode():
            seconds = interleaved(ways, runs=runs)
        rates = {name: operations[name] / median(each) / 1e9 for name, each in seconds.items()}
        roof = max(rate for name, rate in rates.items() if name != "network")
        for name, rate in rates.items():
            row = [str(dtype).removeprefix("torch."), name, operations[name] / 1e9, 1e3 * median(seconds[name])]
            table.rows.append([*row, rate, f"{rate / roof:.0%}"])
    publish(f"network_roof_{device.type}", [table], settings={"runs": runs, "seed": 0})


def _done(result: torch.Tensor, device: torch.device) -> torch.Tensor:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    given = parser.parse_args()
    if given.device.startswith("cuda") and not torch.cuda.is_available():
        skip("no GPU on this machine")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        main(runs=given.runs, size=given.size, device=torch.device(given.device))
