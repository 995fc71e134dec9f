"""What each of two processes sees: `torchrun ... two_processes.py VOLUMES PICTURES DIR`.

DIR/<rank>.json gets what test_training_distributed.py looks at.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine
from monai.losses import DiceCELoss

from medseg.bundle import find_bundle
from medseg.bundle.load import open_workflow
from medseg.cli.entry import main
from medseg.datasets import EpochSampler, ShareSampler
from medseg.errors import MedsegError
from medseg.networks import UNet2d
from medseg.training import OverlapMetric, SurfaceMetric, WholeBatchLoss, distribute, distributed, join
from medseg.training.precision_recall import PrecisionRecall

LABELS = {"0": "background", "1": "one", "2": "two"}
CPU = torch.device("cpu")


def cases(number: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits ``(B, 3, 8, 8)`` and labels ``(B, 1, 8, 8)``, the labels of each case of another size."""
    generator = torch.Generator().manual_seed(5)
    label = torch.zeros(number, 1, 8, 8)
    for i in range(number):
        label[i, 0, : 1 + i] = 1
        label[i, 0, 5:, : 1 + i] = 2
    return torch.randn(number, 3, 8, 8, generator=generator), label


def gradients(rank: int) -> dict[str, float]:
    """The largest difference between gradients of one process with four cases and of two with two each."""
    image, label = cases(4)
    start = torch.nn.Conv2d(3, 3, 3, padding=1)
    torch.nn.init.constant_(start.bias, 0.1)
    torch.nn.init.normal_(start.weight, generator=torch.Generator().manual_seed(1))
    loss = DiceCELoss(to_onehot_y=True, softmax=True, include_background=False, batch=True)
    value = loss(start(image), label)
    value.backward()
    wanted = start.weight.grad.clone()
    found = {}
    for name, shared in (("whole", WholeBatchLoss(loss=loss)), ("share", loss)):
        start.zero_grad()
        parallel = distribute(start)
        shared_value = shared(parallel(image[rank::2]), label[rank::2])
        shared_value.backward()
        found[name] = float((start.weight.grad - wanted).abs().max() / wanted.abs().max())
        found[f"{name} loss"] = abs(float(shared_value.detach() - value.detach()))
    return found


def scores(rank: int) -> dict[str, Any]:
    """Scores of three cases, two in the first process and one in the second, beside those of all in one."""
    logits, label = cases(3)
    said = {}
    for name, indices in (("shared", list(ShareSampler(range(3)))), ("alone", range(3))):
        gather = contextlib.nullcontext() if name == "shared" else alone()
        engine = Engine(lambda _, i: {"pred": logits[i : i + 1], "label": label[i : i + 1]})
        OverlapMetric(labels=LABELS).attach(engine, "dice")
        SurfaceMetric(labels=LABELS, spacing_mm=[1.0, 2.0], tolerances_mm=[1.0]).attach(engine, "nsd")
        curves = PrecisionRecall({})
        with gather:
            said[name] = dict(engine.run(list(indices)).metrics)
            for i in indices:
                curves.update(logits[i : i + 1], label[i : i + 1])
            said[name]["true positives"] = curves.compute()["label 1"].true_positive[::30].tolist()
    return said


@contextlib.contextmanager
def alone() -> Any:
    """As if there were one process."""
    count, distributed.processes = distributed.processes, lambda: 1
    try:
        yield
    finally:
        distributed.processes = count


def order(rank: int) -> dict[str, list[list[int]]]:
    """Of 9 cases and of 3, in batches of 4: what this process takes in two epochs."""
    taken: dict[str, list[list[int]]] = {}
    for count in (9, 3):
        sampler = EpochSampler(range(count), seed=3, batch_size=4)
        for epoch in range(2):
            sampler.set_epoch(epoch)
            taken.setdefault(str(count), []).append(list(sampler))
    return taken


def refusals() -> dict[str, str]:
    """What is refused when both processes ask for it; the second one does not wait for torchrun here."""

    def fail() -> None:
        raise MedsegError("no room")

    said, other = {}, torch.zeros(1, 1, 4 + distributed.idist.get_rank())
    distributed.wait_to_be_ended = lambda: None
    for name, act in {
        "batch": lambda: distributed.share_of_batch(3),
        "validation": lambda: ShareSampler(range(1)),
        "first": lambda: distributed.first_alone(fail),
        "sizes": lambda: WholeBatchLoss(loss=torch.nn.MSELoss())(other, other),
    }.items():
        try:
            act()
        except MedsegError as error:
            said[name] = f"{type(error).__name__}: {error}"
    return said


def warned(network: torch.nn.Module) -> str:
    """What `distribute` warns of."""
    heard, handler = io.StringIO(), logging.StreamHandler()
    handler.setStream(heard)
    logging.getLogger("medseg").addHandler(handler)
    distribute(network)
    logging.getLogger("medseg").removeHandler(handler)
    return heard.getvalue()


def medseg(*words: object) -> tuple[int, str]:
    """Exit code and standard error of a command."""
    with contextlib.redirect_stderr(io.StringIO()) as heard:
        code = main([str(word) for word in words])
    return code, heard.getvalue()


def average(volumes: Path, run: Path) -> list[float]:
    """A run of the 3-D bundle: what its moving average sums to in each process, and how far it is from the network."""
    tiny = {"window": [16, 16, 16], "network_def::filters": [4, 8, 8, 8], "precision": "fp32", "epochs": 1}
    given = {"datalist": str(volumes), "run_dir": str(run), "validate_every": 1, "device": "$torch.device('cpu')"}
    bundle = find_bundle("mr_hippocampus")
    workflow = open_workflow(bundle, "train", overlays=["multi_gpu"], overrides={**tiny, **given})
    workflow.initialize()
    workflow.run()
    handler = workflow.parser.get_parsed_content("train::average")
    pairs = list(zip(handler.ema_model.parameters(), handler.model.parameters(), strict=True))
    sums = distributed.gathered([sum(float(one.double().abs().sum()) for one, _ in pairs)])
    workflow.finalize()
    return [*sums, sum(float((one - other).detach().abs().sum()) for one, other in pairs)]


def runs(pictures: Path, folder: Path) -> dict[str, Any]:
    """The 2-D bundle with frozen normalisation and batches augmented whole, in two legs; then a rate that spoils it."""
    tiny = ("image_size=[64,64]", "network_def::base_width=4", "precision=fp32", "batch_size=2", "validate_every=1")
    given = ("train", "cxr_heart_lung", "--datalist", pictures, "--device", "cpu", *tiny, "epochs=2")
    frozen = "network_def::freeze_batch_norm=true"
    legs = folder / "legs"
    overlays = ("--overlay", "gpu_augmentation", "--overlay", "multi_gpu")
    first = medseg(*given, frozen, *overlays, "-o", legs, "stop_after_minutes=0")
    distributed.idist.barrier()  # the first process writes how the leg ended; with the next it would write anew
    status = json.loads((legs / "run.json").read_text(encoding="utf-8"))["status"]
    distributed.idist.barrier()
    second = medseg("train", legs, "--datalist", pictures, "-o", legs, "--resume", "stop_after_minutes=null")
    spoilt = medseg(*given, "--overlay", "multi_gpu", "-o", folder / "spoilt", "learning_rate=1.0e30")
    return {"first leg": first, "status": status, "second leg": second, "spoilt": spoilt}


def run_all(volumes: Path, pictures: Path, folder: Path) -> None:
    """Everything, in an order that is the same in both processes."""
    join(device=CPU)
    rank = distributed.idist.get_rank()
    said: dict[str, Any] = {"gradients": gradients(rank), "scores": scores(rank), "order": order(rank)}
    said["refusals"] = refusals()
    said["warned"] = warned(UNet2d(in_channels=1, out_channels=2, base_width=2, depth=2))
    frozen = UNet2d(in_channels=1, out_channels=2, base_width=2, depth=2, freeze_batch_norm=True)
    said["warned when frozen"] = warned(frozen)
    said["average"] = average(volumes, folder / "average")
    said |= runs(pictures, folder)
    (folder / f"{rank}.json").write_text(json.dumps(said), encoding="utf-8")


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    run_all(*(Path(word) for word in sys.argv[1:4]))
