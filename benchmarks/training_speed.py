"""Samples per second of training: ours, MONAI's plain loop, nnU-Net's trainer, and ours without each of its parts.

python benchmarks/training_speed.py [--nnunet PYTHON] [--profile] [--device cpu|cuda] [--bundle NAME ...]
    [--data NAME=FOLDER|DATALIST ...] [--rounds 3] [--seconds 1.5] [--also ENTRY ...] [--trial]
python benchmarks/training_speed.py --page

The data are the reference images (MEDSEG_DATA) unless others are given: a folder in the layout of the bundle's public
data set, or a datalist. PYTHON is that of an environment with nnunetv2 (benchmarks/inference_ct.py --make-nnunet makes
one); without it nnU-Net is left out. Each side trains in a process of its own with the same threads; one at a time
runs, the others are stopped (SIGSTOP), and the turns go round. In its turn a side takes one step that is not counted,
trains for --seconds, and then takes the step alone on its last batch. A side's figure is the median over the rounds, a
ratio the median of each round's. --profile adds torch.profiler's times by operator, of the step alone.

Everything goes to benchmarks/results/training_speed_DEVICE.{json,md} (DEVICE_float32 where the hardware has no products
in bfloat16) and docs/concepts/training_speed.md (--page writes that alone). --trial runs tiny networks on few cases
once, to see that it works, and writes nothing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from measure import publish, reference_images, skip
from training_speed_page import write_page
from training_speed_tables import Measured, SideMeasured, operator_tables, peer_table, step_table
from training_workers import NnUNetWorker, OurWorker, Worker

from medseg.bundle import find_bundle
from medseg.bundle.load import open_workflow
from medseg.datasets import prepare
from medseg.inference import has_fast_bfloat16

DATA = {"mr_hippocampus": ("hippocampus", "decathlon"), "cxr_heart_lung": ("cxr_wingspan", "montgomery")}
"""Where the reference images of each bundle are, and their layout."""

TRIAL: dict[str, dict[str, Any]] = {
    "mr_hippocampus": {"window": [24, 32, 24], "network_def::filters": [4, 8, 8, 8]},
    "cxr_heart_lung": {"image_size": [64, 64], "network_def::base_width": 4},
}
PLAIN, OURS, PEER = "MONAI's plain loop", "medseg, as shipped", "nnU-Net's trainer"


@dataclass(frozen=True)
class Entry:
    """One way to train.

    Attributes
    ----------
    name
        As the tables call it.
    side
        "ours" or "plain".
    overrides, overlays
        Of the bundle's configuration.
    switched_off
        What the step does without a setting: keys of training_side.SWITCHES.
    note
        What else goes with it.
    """

    name: str
    side: str = "ours"
    overrides: Mapping[str, Any] = field(default_factory=dict)
    overlays: Sequence[str] = ()
    switched_off: Sequence[str] = ()
    note: str = ""


COMPILED = Entry("with torch.compile", overrides={"compile_mode": "default"})
LADDER = (
    Entry("without bfloat16", overrides={"precision": "fp32"}),
    Entry(
        "without channels-last",
        overrides={"network": "$@network_def.to(@device)"},
        switched_off=["channels-last"],
        note="the instance norms then have no layout to keep",
    ),
    Entry("without norms that keep the layout", switched_off=["norms"]),
    Entry("without cached cases", overrides={"train::dataset::cache": False, "train::dataset::disk_cache": None}),
    Entry("without the thread that prepares batches", overrides={"train::dataloader::ahead": 0}),
    Entry(
        "with augmentation in batches on the device",
        overlays=["gpu_augmentation"],
        note="the step alone holds it, too",
    ),
    COMPILED,
)


def entries(bundle: str, *, device: str, also: Sequence[str] = ()) -> list[Entry]:
    """The plain loop, ours, and of the ladder what the bundle has and the device takes by itself, or what is named."""
    folder = find_bundle(bundle)
    network = str(yaml.safe_load((folder / "configs" / "common.yaml").read_text(encoding="utf-8"))["network_def"])
    unknown = sorted(set(also) - {one.name for one in LADDER})
    if unknown:
        raise SystemExit(f"no such entry: {', '.join(unknown)}; there are: {', '.join(one.name for one in LADDER)}")

    def fits(one: Entry) -> bool:
        has = all((folder / "configs" / f"{name}.yaml").is_file() for name in one.overlays)
        if "norms" in one.switched_off:  # which keep their layout on CPUs alone
            return device == "cpu" and "INSTANCE" in network
        return has and (one is not COMPILED or device != "cpu" or one.name in also)

    return [Entry(PLAIN, side="plain"), Entry(OURS), *(one for one in LADDER if fits(one))]


def measure(bundle: str, options: argparse.Namespace, folder: Path) -> Measured:
    """All rounds of all sides."""
    datalist = datalist_of(bundle, options, folder)
    shared: dict[str, Any] = {"bundle": bundle, "datalist": str(datalist), "device": options.device}
    shared |= {"seed": options.seed, "threads": options.threads, "workers": options.threads}
    shared |= {"cases_at_most": 12 if options.trial else None}
    changes = TRIAL[bundle] if options.trial else {}
    workers: dict[str, Worker] = {}
    try:
        for one in entries(bundle, device=options.device, also=options.also):
            cached = {"cache_dir": str(folder / "cache")} if one.side == "ours" else {}
            settings = {**shared, "side": one.side, "overlays": list(one.overlays)}
            settings |= {"switched_off": list(one.switched_off), "overrides": {**changes, **cached, **one.overrides}}
            workers[one.name] = OurWorker(settings, folder=folder / str(len(workers)))
        if options.nnunet:
            overrides = {**changes, "datalist": str(datalist)}
            config = open_workflow(find_bundle(bundle), "train", overrides=overrides).parser
            workers[PEER] = NnUNetWorker(shared, config, python=options.nnunet, folder=folder / "nnunet")
        return rounds(bundle, workers, options)
    finally:
        for worker in workers.values():
            worker.close()


def rounds(bundle: str, workers: Mapping[str, Worker], options: argparse.Namespace) -> Measured:
    """One side after the other, again and again; then the profiles."""
    found = Measured(bundle, {})
    print(f"{bundle}: {len(workers)} sides start", flush=True)
    with ThreadPoolExecutor(2) as pool:
        for name, about in zip(workers, pool.map(lambda worker: worker.begin(), workers.values()), strict=True):
            found.sides[name] = SideMeasured(about)
    for number in range(options.rounds):
        print(f"{bundle}: round {number + 1} of {options.rounds}", flush=True)
        for name, worker in workers.items():
            with worker.turn():
                found.sides[name].whole.append(worker.ask({"do": "train", "seconds": options.seconds}))
                found.sides[name].alone.append(worker.ask({"do": "step", "seconds": options.seconds}))
    for name, worker in workers.items() if options.profile else ():
        print(f"{bundle}: {name} is profiled", flush=True)
        with worker.turn():
            found.sides[name].operators = worker.ask({"do": "profile", "seconds": options.seconds})["operators"]
    return found


def datalist_of(bundle: str, options: argparse.Namespace, folder: Path) -> Path:
    """The datalist that was given, or one of the folder."""
    given = dict(one.split("=", 1) for one in options.data)
    name, layout = DATA[bundle]
    source = Path(given.get(bundle, reference_images() / name))
    if not source.exists():
        skip(f"no images for {bundle}: --data {bundle}=FOLDER, or set MEDSEG_DATA")
    return source if source.is_file() else prepare(layout, source, folder / "datalist.json")


def tables_of(found: Measured, *, profiled: bool) -> list[Any]:
    """Of one bundle."""
    ladder = [name for name in found.sides if name not in (PLAIN, PEER)]
    notes = [f"{one.name}: {one.note}." for one in LADDER if one.note and one.name in found.sides]
    tables = [peer_table(found, [name for name in (PLAIN, PEER, OURS) if name in found.sides], beside=PLAIN)]
    tables.append(step_table(found, ladder, beside=OURS, notes=notes))
    if profiled:
        tables += operator_tables(found, [PLAIN, *ladder], whole=(PLAIN, OURS))
    return tables


def main(options: argparse.Namespace) -> None:
    """Measure, print, write results and the page."""
    if options.page:
        write_page()
        return
    if options.device == "cuda" and not cuda_name():
        skip("no GPU on this machine")
    signal.signal(signal.SIGTERM, _end)  # no side may be left behind, standing still
    tables = []
    for bundle in options.bundle or DATA:
        folder = Path(tempfile.mkdtemp())
        try:
            tables += tables_of(measure(bundle, options, folder), profiled=options.profile)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    if options.trial:
        print("\n".join(table.markdown() for table in tables))
        return
    settings = {"device": cuda_name() if options.device == "cuda" else "cpu", "training threads": options.threads}
    settings |= {"rounds": options.rounds, "seconds of a turn": options.seconds, "seed": options.seed}
    kind = options.device if has_fast_bfloat16(torch.device(options.device)) else f"{options.device}_float32"
    publish(f"training_speed_{kind}", tables, settings=settings)
    write_page()


def _end(number: int, frame: object) -> None:
    raise SystemExit(143)


def cuda_name() -> str:
    """Of the GPU; empty without one."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nnunet", type=Path, metavar="PYTHON")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--bundle", action="append", choices=list(DATA), help="both if not given")
    parser.add_argument("--data", action="append", default=[], metavar="NAME=FOLDER|DATALIST")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--also", action="append", default=[], metavar="ENTRY", help="of the ladder, e.g. on a CPU")
    parser.add_argument("--trial", action="store_true")
    parser.add_argument("--page", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main(_options())
