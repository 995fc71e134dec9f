"""A whole chest CT from file to file with ct_lung at 1.5 mm: medseg, MONAI's own way and nnU-Net v2's predictor.

python benchmarks/inference_ct.py [CT.nii.gz] [--runs 5] [--device cpu] [--nnunet VENV] [--make-nnunet VENV]

The CT is chest_ct_nlst/ct.nii.gz of the reference images (MEDSEG_DATA) unless one is given. All sides run the same
weights, spacing, window, overlap and blend; each is timed in one process after imports, loading the model and one
warm-up, from opening the input to the closed .nii.gz, one side after the other, again and again. MONAI runs with its
defaults in float32. nnU-Net runs our network through `nnUNetPredictor.manual_initialization`, without mirroring, in a
virtual environment of its own: `--make-nnunet VENV` makes it (nnunetv2, monai, and the same build of torch), needed
once. Beside it stands the cold start of `medseg predict`: the command from its start to its end.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from copy import deepcopy
from pathlib import Path

import torch
from measure import Table, interleaved, median, publish, reference_images, skip
from sides import MedsegSide, MonaiSide

from medseg.inference import resolve_precision
from medseg.intake import read_image
from medseg.workflows.precision import dice_of_labels

HERE = Path(__file__).resolve().parent
SPACING_MM, WINDOW, OVERLAP, MODE = 1.5, [112, 96, 96], 0.5, "gaussian"
OVERRIDES = {"spacing_mm": [SPACING_MM] * 3, "window": WINDOW, "overlap": OVERLAP}
TARGETS = {"MONAI": 8, "nnU-Net": 5}


def main(source: Path, *, runs: int, device: str, nnunet: Path | None) -> None:
    """Measure, print, write results."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fast = resolve_precision("auto", torch.device(device)) == torch.bfloat16  # at another spacing auto is float32
        overrides = {**OVERRIDES, "device": f"$torch.device('{device}')", "precision": "bf16" if fast else "fp32"}
        ours = MedsegSide("ct_lung", overrides)
        monai = MonaiSide(
            deepcopy(ours.network).to(memory_format=torch.contiguous_format).eval(),  # type: ignore[call-overload]
            spacing_mm=SPACING_MM,
            window=WINDOW,
            overlap=OVERLAP,
            mode=MODE,
            device=torch.device(device),
        )
        masks = {side: folder / f"{side}.nii.gz" for side in ("medseg", "MONAI", "nnU-Net")}
        ways = {"medseg": lambda: ours(source, masks["medseg"]), "MONAI": lambda: monai(source, masks["MONAI"])}
        stages = {"medseg": ours.stages.seconds, "MONAI": monai.stages.seconds}
        peer = Peer(nnunet, ours.network, source, masks["nnU-Net"], device) if nnunet else None
        if peer:
            ways["nnU-Net"], stages["nnU-Net"] = peer, peer.stages
        whole = interleaved(ways, runs=runs)
        if peer:
            peer.close()
        # What MONAI's way does: float32, and the air around the body is run.
        masks["medseg as MONAI"] = folder / "plain.nii.gz"
        MedsegSide("ct_lung", {**overrides, "precision": "fp32", "foreground": None})(source, masks["medseg as MONAI"])
        tables = [_cases(whole, stages), _stages(stages), _agreement(masks)]
        tables[0].notes += [
            f"windows: MONAI {monai.windows}; medseg leaves out those over air, see its plan",
            f"medseg's network in {str(ours.segmenter.precision_on(torch.device(device))).removeprefix('torch.')}",
            "cold start of `medseg predict`, whole command: "
            f"{_cold_start(source, folder / 'cold', device, overrides['precision']):.2f} s",
        ]
    kind = device.replace(":", "") + ("" if fast else "_float32")  # figures of another kind of machine stay
    publish(f"inference_ct_{kind}", tables, settings={"runs": runs, "image": _shape(source)})


def _cases(whole: dict[str, list[float]], stages: dict[str, dict[str, list[float]]]) -> Table:
    table = Table(
        "One chest CT, file to file",
        ["side", "case, s (median)", "shortest", "longest", "times medseg", "network, s", "times medseg", "target"],
    )
    ours, ours_network = median(whole["medseg"]), _of(stages["medseg"]["network"])
    for side, seconds in whole.items():
        network = _of(stages[side]["network"])
        row = [side, median(seconds), min(seconds), max(seconds), median(seconds) / ours, network]
        table.rows.append([*row, network / ours_network, f">= {TARGETS[side]}" if side in TARGETS else ""])
    share = ours_network / ours
    table.notes.append(f"the network's share of medseg's time: {share:.0%}")
    return table


def _stages(stages: dict[str, dict[str, list[float]]]) -> Table:
    names = list(stages["medseg"])
    table = Table("Stages, median seconds", ["stage", *stages])
    for name in names:
        table.rows.append([name, *(_of(side[name]) if name in side else "" for side in stages.values())])
    return table


def _of(seconds: list[float]) -> float:
    """Without the first, which warms up."""
    return median(seconds[1:])


def _agreement(masks: dict[str, Path]) -> Table:
    table = Table("Labels of two sides, Dice", ["side", "beside", "left lung", "right lung"])
    pairs = [("medseg", "MONAI"), ("medseg as MONAI", "MONAI"), ("medseg", "nnU-Net")]
    for side, other in pairs:
        if masks[side].exists() and masks[other].exists():
            one, two = (read_image(masks[name]).array[0] for name in (side, other))
            table.rows.append([side, other, *(f"{dice_of_labels(one, two, value):.4f}" for value in (1, 2))])
    table.notes.append(
        "medseg as MONAI: in float32, with the air around the body run, too (precision=fp32 foreground=null)"
    )
    return table


def _cold_start(source: Path, output: Path, device: str, precision: str) -> float:
    changes = [f"spacing_mm={[SPACING_MM] * 3}", f"window={WINDOW}", f"precision={precision}"]
    command = [str(Path(sys.executable).with_name("medseg")), "predict", "ct_lung", "-i", str(source)]
    started = time.perf_counter()
    subprocess.run([*command, "-o", str(output), "--device", device, "--quiet", *changes], check=True)
    return time.perf_counter() - started


def _shape(source: Path) -> str:
    image = read_image(source)
    return f"{'x'.join(map(str, image.array.shape[1:]))}"


class Peer:
    """nnU-Net in a process of its own environment, loaded once; each call is one case."""

    def __init__(self, venv: Path, network: torch.nn.Module, source: Path, target: Path, device: str) -> None:
        weights = target.with_suffix(".pt")
        torch.save({name: value.cpu() for name, value in network.state_dict().items()}, weights)
        settings = {"spacing_mm": SPACING_MM, "window": WINDOW, "overlap": OVERLAP, "device": device}
        settings |= {"weights": str(weights), "source": str(source), "target": str(target)}
        settings["threads"] = torch.get_num_threads()
        self.stages: dict[str, list[float]] = {}
        command = [str(venv / "bin" / "python"), "-W", "ignore", str(HERE / "nnunet_side.py"), json.dumps(settings)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._answer()

    def __call__(self) -> None:
        """One case; its stages are added."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        for stage, seconds in json.loads(self._answer()).items():
            self.stages.setdefault(stage, []).append(seconds)

    def close(self) -> None:
        """Let the process end."""
        self.process.communicate()

    def _answer(self) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("@"):
                return line[1:]
        _, errors = self.process.communicate()
        raise RuntimeError(f"nnU-Net's process ended:\n{errors[-3000:]}")


def make_nnunet(venv: Path) -> None:
    """A virtual environment with nnU-Net v2 and the build of torch that this one has."""
    constraints = HERE.parent / "constraints.txt"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--constraint", str(constraints)]
    # torch first and alone: nnunetv2 would take whichever build, with its packages for GPUs, comes first.
    subprocess.run([*pip, "--no-deps", f"torch=={torch.__version__.partition('+')[0]}"], check=True)
    subprocess.run([*pip, "nnunetv2>=2.8,<2.9"], check=True)
    subprocess.run([*pip, "--no-deps", "monai"], check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ct", type=Path, nargs="?")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--nnunet", type=Path, help="virtual environment with nnunetv2")
    parser.add_argument("--make-nnunet", type=Path, metavar="VENV", help="make that environment first")
    given = parser.parse_args()
    if given.device.startswith("cuda") and not torch.cuda.is_available():
        skip("no GPU on this machine")
    ct = given.ct or reference_images() / "chest_ct_nlst" / "ct.nii.gz"
    if not ct.is_file():
        skip(f"no CT at {ct}: name one, or set MEDSEG_DATA")
    if given.make_nnunet:
        make_nnunet(given.make_nnunet)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        main(ct, runs=given.runs, device=given.device, nnunet=given.nnunet or given.make_nnunet)
