"""One leg of a training on a machine that is lent for minutes and has no network.

python pipelines/gpu_leg.py BUNDLE --datalist DATALIST.json -o OUT [--before OUT_OF_THE_LEG_BEFORE] [--minutes 9]
    [--wheels DIR] [--overlay NAME ...] [key=value ...]

It needs this checkout, the data, a Python with torch, and wheels of what is missing there, which are installed for this
leg alone. The leg stops behind an epoch before its minutes are over, counted from the start of this script, and leaves
in OUT, in files of at most 15 MB: run.tar.00, run.tar.01, ... (the run with its last checkpoint, which the next leg is
given as --before), model.pt (best weights, float16 where they are larger), log.txt, history.csv, and when the training
is done scores.csv and summary.json of the data list's test part. Legs after the first go on with the settings of the
first. Exit code 0 also where the training is not finished: the last line of log.txt says so.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MOST_BYTES = 15_000_000
TABLES = ("scores.csv", "summary.json")
STARTED = time.monotonic()

logger = logging.getLogger("medseg.gpu_leg")


def main() -> int:
    """Install, unpack, train, pack; score when the training is done."""
    options = _options()
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        if options.wheels is not None:
            install(options.wheels, Path(work) / "site")
        sys.path.insert(0, str(ROOT / "src"))
        run = Path(work) / "run"
        if options.before is not None:
            unpack(options.before, run, log=options.output / "log.txt")
        log_to(options.output / "log.txt")
        if status_of(run) != "done":
            train_on(run, options)
        pack(run, options.output)
        if status_of(run) == "done":
            score(run, options.output, datalist=options.datalist)
        tell(run, options.output)
    return 0


def install(wheels: Path, site: Path) -> None:
    """Wheels as they are, for this process alone: nothing is fetched, nothing of the machine is changed."""
    files = [str(wheel) for wheel in sorted(wheels.glob("*.whl"))]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-cache-dir"]
    subprocess.run([*pip, "--target", str(site), *files], check=True)
    sys.path.insert(0, str(site))


def unpack(before: Path, run: Path, *, log: Path) -> None:
    """The run as the leg before left it, and its log; nothing where that leg was ended before it left a run."""
    parts, whole = sorted(before.glob("run.tar.*")), run.parent / "run.tar"
    if not parts:
        return
    with whole.open("wb") as file:
        for part in parts:
            file.write(part.read_bytes())
    with tarfile.open(whole) as archive:
        archive.extractall(run, filter="data")
    whole.unlink()
    shutil.copyfile(before / "log.txt", log)


def train_on(run: Path, options: argparse.Namespace) -> None:
    """What is left of the run, as far as the time of this leg reaches."""
    from medseg.cli.arguments import overrides
    from medseg.workflows import train

    begun = (run / "models" / "last.pt").is_file()
    left = options.minutes - (time.monotonic() - STARTED) / 60
    changes = overrides(options.changes) | {"stop_after_minutes": left}
    bundle, overlays = (run, []) if begun else (options.bundle, options.overlay)
    train(bundle, datalist=options.datalist, run_dir=run, overlays=overlays, resume=begun, overrides=changes)


def pack(run: Path, out: Path) -> None:
    """The run in parts, its best weights, its curves."""
    whole = run.parent / "run.tar"
    with tarfile.open(whole, "w") as archive:
        archive.add(run, ".", filter=lambda member: None if member.name.endswith("before_last.pt") else member)
    for old in out.glob("run.tar.*"):
        old.unlink()
    with whole.open("rb") as file:
        for i, part in enumerate(iter(lambda: file.read(MOST_BYTES), b"")):
            (out / f"run.tar.{i:02d}").write_bytes(part)
    shutil.copyfile(run / "history.csv", out / "history.csv")
    if (run / "models" / "model.pt").is_file():
        save_weights(run / "models" / "model.pt", out / "model.pt")


def save_weights(best: Path, target: Path) -> None:
    """As they are, or halved to float16 where they are too large."""
    import torch

    if best.stat().st_size <= MOST_BYTES:
        shutil.copyfile(best, target)
        return
    weights = torch.load(best, map_location="cpu", weights_only=True)
    torch.save({name: value.half() if value.is_floating_point() else value for name, value in weights.items()}, target)


def score(run: Path, out: Path, *, datalist: Path) -> None:
    """The table of the test part, by the run's best weights."""
    from medseg.datasets import read_datalist
    from medseg.workflows import evaluate

    if not read_datalist(datalist)["test"]:
        logger.info("the data list has no test part: no table")
        return
    evaluate(run, datalist=datalist, output_dir=run / "evaluation")
    for name in TABLES:
        shutil.copyfile(run / "evaluation" / name, out / name)


def status_of(run: Path) -> str:
    """What run.json says; "" before the first leg."""
    record = run / "run.json"
    return str(json.loads(record.read_text(encoding="utf-8"))["status"]) if record.is_file() else ""


def tell(run: Path, out: Path) -> None:
    """How far the run is, as the last line of the log."""
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    far = f"epoch {record['epoch']} of {record['epochs']}, validation Dice {record['best_validation_dice']}"
    rest = "finished" if record["status"] == "done" else f"not finished, the next leg: --before {out}"
    logger.info("%s; %s", far, rest)


def log_to(path: Path) -> None:
    """To the file and to the screen, what medseg tells, and warnings."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stdout), logging.FileHandler(path, encoding="utf-8")]
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", handlers=handlers, force=True)
    logging.getLogger("medseg").setLevel(logging.INFO)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--datalist", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--before", type=Path, help="what the leg before left; absent: the first leg")
    parser.add_argument("--minutes", type=float, default=9.0, help="for starting and training; scoring comes on top")
    parser.add_argument("--wheels", type=Path, help="folder of wheels to install for this leg")
    parser.add_argument("--overlay", action="append", default=[])
    parser.add_argument("changes", metavar="key=value", nargs="*", default=[])
    return parser.parse_intermixed_args()


if __name__ == "__main__":
    sys.exit(main())
