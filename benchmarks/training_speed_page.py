"""docs/concepts/training_speed.md from the results of training_speed.py."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from measure import RESULTS, Table

PAGE = Path(__file__).resolve().parents[1] / "docs" / "concepts" / "training_speed.md"


def write_page() -> None:
    """Write the page anew from all results there are."""
    PAGE.write_text(page(sorted(RESULTS.glob("training_speed_*.json"))), encoding="utf-8")


def page(results: Sequence[Path]) -> str:
    """The page's text: the introduction and the tables of each machine."""
    parts = [INTRODUCTION]
    for path in results:
        content = json.loads(path.read_text(encoding="utf-8"))
        about = {key: value for key, value in content["about"].items() if value}
        on = f"{about['cpu']} ({about['features']})" if about.get("features") else about["cpu"]
        parts.append(f"## Measured on {on}, {about['device']}, {about['date']}\n")
        parts += [Table(**table).markdown() for table in content["tables"]]
        parts.append("; ".join(f"{key} {value}" for key, value in about.items()) + ".\n")
    if not results:
        parts.append("No results have been published yet.\n")
    return "\n".join(parts).rstrip() + "\n"


INTRODUCTION = """# How fast training is, and why

<!-- written by benchmarks/training_speed.py --page from benchmarks/results: change nothing here -->

## The step

`medseg train` runs MONAI's `SupervisedTrainer` with `medseg.training.TrainingStep` and `medseg.datasets.CaseLoader`.
What makes them fast, with the name under which the tables below leave it out:

- **Cached cases.** Reading, resampling and scaling are done once for each case, with threads, and kept in memory
  (`CaseDataset`); with `cache_dir=FOLDER` on disk as well, under a name made from the transforms, their versions and
  the content of the files: a changed transform is prepared anew.
- **A thread that prepares batches.** The next two batches are augmented while the network computes (`CaseLoader`).
  torch and NumPy let go of Python's lock, so no process is started and nothing is copied. Its tensor operations use
  one core. Where that is too slow, `workers=N` takes processes: the batches are the same.
- **Augmentation in batches on the device.** `--overlay gpu_augmentation`: the draws are made case by case as ever, what
  was drawn is applied to the whole batch where the network runs.
- **bfloat16.** Convolutions in bfloat16 where the hardware multiplies it (AMX or AVX512-BF16 CPUs, GPUs from Ampere
  on); weights, loss and optimiser stay in float32. `precision=fp32` switches it off.
- **Channels-last.** Images and weights lie in memory with the channels of a voxel together, as the kernels of
  convolutions on CPUs and tensor cores want them; otherwise each convolution copies its input first.
- **Norms that keep the layout.** torch's instance norm copies such tensors to the other layout and back, forwards and
  backwards; ours is batch normalisation of one sample at a time, which is the same and copies nothing.
- **No waiting for the device.** The step reads nothing from a GPU; whether a loss is finite is looked at one step
  later.
- **A batch that fits.** Where the device's memory does not hold a batch, half as many samples at once go through the
  network, and again half; the log says so. What the way back needs is computed again part by part, so that loss and
  gradient stay those of the whole batch, whatever the device: slower by one more forward pass.
- **torch.compile.** `compile_mode=default` fuses what stands between convolutions; it takes a minute or more to begin.

The log tells at the end of a run, or of a part of it, which share of the steps' time was spent waiting for data,
TensorBoard and `history.csv` tell it for each epoch; above 5 % the run warns and says what to do.

## How it is measured

<!-- ci: parse: minutes of training, and nnU-Net in an environment of its own -->
```bash
python benchmarks/training_speed.py --nnunet .venv-nnunet/bin/python --profile
```

Each side trains in a process of its own with the same number of threads; one runs at a time, the others are stopped,
and the turns go round, so that whatever slows the machine down for a while slows all of them down. *Whole training* is
from asking for a batch to the end of its step, without validation and checkpoints; *step alone* is the step on one
batch again and again. A figure is the median over the rounds; a ratio is the median of each round's ratio.

- **medseg, as shipped**: the bundle's `train.yaml` as `medseg train` builds it, all handlers included.
- **MONAI's plain loop**: that of MONAI's tutorials (`CacheDataset`, `DataLoader` with as many worker processes as
  threads, forward, backward, step, `loss.item()`) with the bundle's network, loss, optimiser, transforms, patch and
  batch, in float32. It clips no gradients, which ours does, and keeps no moving average of the weights, which ours
  does for the hippocampus.
- **nnU-Net's trainer**: `nnUNetTrainer.train_step` on its own loader with its own augmentation in as many worker
  processes as threads. Its plan is given our patch, our batch, and our number of stages, widths, kernels and, for the
  2-D network, BatchNorm. What its plan cannot make the same: its network is a PlainConvUNet with strided convolutions
  for pooling and losses at all resolutions but the coarsest (ours: two for the hippocampus, one for X-rays); SGD
  instead of AdamW; its own, heavier augmentation, with patches that are drawn larger and cropped. It works in float32
  on a CPU and in float16 with torch.compile on a GPU, as it does by itself. Its cases are those that our transforms
  have prepared.
"""
