"""Our side of training_speed.py and MONAI's plain loop; each runs in a process of its own, started by that script.

Ours is the bundle's train.yaml as the workflow builds it, with all its handlers. The plain loop is that of MONAI's
tutorials, of the same network, loss, optimiser and transforms: CacheDataset, a DataLoader with worker processes,
float32 in torch's usual layout, and `loss.item()` behind each step.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, TextIO

import torch
from ignite.engine import Events
from pace import Pace, only_answers, parameters_of

from medseg.bundle import find_bundle
from medseg.bundle.load import build, open_workflow
from medseg.inference.precision import resolve_precision
from medseg.training import step as training_step

ENDLESS = 1_000_000


def plain_layout(spatial_dims: int) -> torch.memory_format:
    """Torch's usual one, whatever the axes."""
    return torch.contiguous_format


def norms_as_they_are(network: torch.nn.Module) -> int:
    """No layer is changed."""
    return 0


SWITCHES: dict[str, tuple[str, Callable[..., Any]]] = {
    "channels-last": ("channels_last", plain_layout),
    "norms": ("keep_layout", norms_as_they_are),
}
"""What the training step does without a setting: its name in medseg.training.step, and what stands there instead."""


def switch_off(names: list[str]) -> None:
    """Replace what the names stand for; a name that the step no longer has ends the benchmark."""
    for name in names:
        place, instead = SWITCHES[name]
        getattr(training_step, place)
        setattr(training_step, place, instead)


def opened(settings: dict[str, Any]) -> tuple[Any, Any]:
    """The bundle's workflow for training without end, and the bundle's folder."""
    folder = find_bundle(settings["bundle"])
    shared = {name: settings[name] for name in ("datalist", "run_dir", "cases_at_most", "seed")}
    device = f"$torch.device('{settings['device']}')"
    lasting = {"epochs": ENDLESS, "validate_every": ENDLESS, "early_stop_patience": ENDLESS, "device": device}
    overrides = {**shared, **lasting, **settings["overrides"]}
    return open_workflow(folder, "train", overlays=settings["overlays"], overrides=overrides), folder


def ours(settings: dict[str, Any], *, answers: TextIO) -> None:
    """`medseg train`, its iterations told of."""
    switch_off(settings["switched_off"])
    workflow, folder = opened(settings)
    workflow.initialize()
    trainer = build(workflow, folder, "train::trainer")
    device, update = trainer.state.device, trainer._process_function
    about = {
        "parameters": parameters_of(trainer.network),
        "precision": str(resolve_precision(update.precision, device)).removeprefix("torch."),
        "batch": workflow.parser["batch_size"],
        "steps an epoch": len(trainer.data_loader),
        "batches by": "a thread" if trainer.data_loader.num_workers == 0 else "processes",
    }
    pace = Pace(lambda batch: update(trainer, batch), device=device, about=about, answers=answers)
    trainer.add_event_handler(Events.GET_BATCH_STARTED, pace.asked)
    trainer.add_event_handler(Events.GET_BATCH_COMPLETED, lambda: pace.got(trainer.state.batch))
    trainer.add_event_handler(Events.ITERATION_COMPLETED, pace.done)
    workflow.run()


def plain(settings: dict[str, Any], *, answers: TextIO) -> None:
    """The loop of MONAI's tutorials."""
    from monai.data import CacheDataset, DataLoader
    from monai.transforms import Compose
    from monai.utils import set_determinism

    workflow, folder = opened(settings)

    def part(name: str) -> Any:
        return build(workflow, folder, name)

    set_determinism(seed=settings["seed"])
    device, batch_size, workers = torch.device(settings["device"]), workflow.parser["batch_size"], settings["workers"]
    network, loss_function = part("network_def").to(device), part("train::loss")
    rates = {"lr": workflow.parser["learning_rate"], "weight_decay": workflow.parser["weight_decay"]}
    optimizer = torch.optim.AdamW(network.parameters(), **rates)
    transforms = Compose([*part("train::preprocessing"), *part("train::augmentation")])
    dataset = CacheDataset(
        data=part("train::dataset::data"), transform=transforms, cache_rate=1.0, num_workers=workers, progress=False
    )
    loader = DataLoader(
        dataset,
        batch_size=batch_size,
        shuffle=True,
        num_workers=workers,
        drop_last=True,
        pin_memory=device.type == "cuda",
    )

    def step(batch: dict[str, Any]) -> None:
        image, label = batch["image"].to(device), batch["label"].to(device)
        optimizer.zero_grad()
        loss = loss_function(network(image), label)
        loss.backward()
        optimizer.step()
        loss.item()

    about = {"parameters": parameters_of(network), "precision": "float32", "batch": batch_size}
    about |= {"steps an epoch": len(loader), "batches by": f"{workers} processes"}
    pace = Pace(step, device=device, about=about, answers=answers)
    network.train()
    while True:
        for batch in pace.paced(loader):
            step(batch)


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    torch.set_num_threads(given["threads"])
    {"ours": ours, "plain": plain}[given["side"]](given, answers=only_answers())
