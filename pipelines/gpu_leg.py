"""One leg of a training on a machine that is lent for minutes and has no network.

python pipelines/gpu_leg.py BUNDLE --datalist DATALIST.json -o OUT [--before OUT_OF_THE_LEG_BEFORE] [--minutes 9]
    [--wheels DIR] [--overlay NAME ...] [key=value ...]

It needs this checkout, the data, a Python with torch, and wheels of what is missing there, which are installed for this
leg alone. The leg stops behind an epoch before its minutes are over, counted from the start of this script, and leaves
in OUT, in files of at most 15 MB: run.tar.00, run.tar.01, ... (the run with its last checkpoint, which the next leg is
given as --before), model.pt (best weights, float16 where they are larger), log.txt, history.csv, and when the training
is done scores.csv and summary.json of the data list's test part. Legs after the first go on with the settings of the
first. A leg that ends in another way (SIGTERM, Ctrl-C, an error) leaves the same of its last checkpoint.

Exit code 0 also where the training is not finished: the last line of log.txt says so. 1: the training failed, 2: wrong
input, 130 and 143: stopped by Ctrl-C, by SIGTERM.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer

ROOT = Path(__file__).resolve().parents[1]
MOST_BYTES = 15_000_000
INTERRUPTED = 130
END_OF_TAR = bytes(2 * tarfile.BLOCKSIZE)
TABLES = ("scores.csv", "summary.json")
STARTED = time.monotonic()

logger = logging.getLogger("medseg.gpu_leg")


def main() -> int:
    """Install, unpack, train, pack; score when the training is done."""
    options = _options()
    log = options.output / "log.txt"
    options.output.mkdir(parents=True, exist_ok=True)
    if options.before is not None and not log.exists() and (options.before / log.name).is_file():
        shutil.copyfile(options.before / log.name, log)
    log_to(log)
    sys.path.insert(0, str(ROOT / "src"))
    from medseg.errors import MedsegError, TrainingError
    from medseg.signals import unwound_by_sigterm

    with tempfile.TemporaryDirectory() as work, unwound_by_sigterm():
        try:
            leg(Path(work), options)
        except MedsegError as error:
            logger.error("%s", error)
            return 1 if isinstance(error, TrainingError) else 2
        except KeyboardInterrupt:
            return INTERRUPTED
        finally:
            tell(Path(work) / "run", options.output)
    return 0


def leg(work: Path, options: argparse.Namespace) -> None:
    """All that is done in the folder `work`; however the training ends, its last checkpoint is packed."""
    run = work / "run"
    if options.wheels is not None:
        install(options.wheels, work / "site")
    if options.before is not None:
        unpack(options.before, run, out=options.output)
    try:
        if status_of(run) != "done":
            train_on(run, options)
    finally:
        with undisturbed():
            pack(run, options.output)
    if status_of(run) == "done":
        try:
            score(run, options.output, datalist=options.datalist)
        except BaseException:
            logger.warning("trained and not scored: another leg with --before %s scores it", options.output)
            raise


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Neither SIGTERM nor Ctrl-C ends what takes seconds and is all that stays of the leg."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def install(wheels: Path, site: Path) -> None:
    """Wheels as they are, for this process alone: nothing is fetched, nothing of the machine is changed."""
    from medseg.errors import DataError

    files = [str(wheel) for wheel in sorted(wheels.glob("*.whl"))]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-cache-dir"]
    if not files or subprocess.run([*pip, "--target", str(site), *files], check=False).returncode:
        raise DataError("--wheels cannot be installed", got=f"{len(files)} wheels in {wheels}", next_step="see above")
    sys.path.insert(1, str(site))  # behind this checkout


def unpack(before: Path, run: Path, *, out: Path) -> None:
    """The run as the leg before left it; nothing where that leg was ended before it left a run.

    Raises
    ------
    DataError
        It is not whole, or it lies in `out`, where this leg's would take its place.
    """
    from medseg.errors import DataError

    if before.resolve() == out.resolve():
        raise DataError("--before and -o are one folder", got=before, next_step="give this leg a folder of its own")
    parts = sorted(before.glob("run.tar.*"), key=lambda part: int(part.suffix[1:]))
    if not parts:
        logger.warning("--before %s holds no run.tar.00: this leg starts at epoch 1", before)
        return
    whole = run.parent / "run.tar"
    _join(parts, whole)
    with tarfile.open(whole) as archive:
        archive.extractall(run, filter="data")
    whole.unlink()


def _join(parts: Sequence[Path], whole: Path) -> None:
    from medseg.errors import DataError

    tail = b""
    with whole.open("wb") as file:
        for part in parts:
            content = part.read_bytes()
            file.write(content)
            tail = (tail + content)[-len(END_OF_TAR) :]
    if tail != END_OF_TAR or [part.suffix for part in parts] != [f".{i:02d}" for i in range(len(parts))]:
        raise DataError(
            f"--before {parts[0].parent}: no whole run",
            got=", ".join(part.name for part in parts),
            expected="all parts that the leg left",
            next_step="fetch them again, or give the leg before it",
        )


def train_on(run: Path, options: argparse.Namespace) -> None:
    """What is left of the run, as far as the time of this leg reaches."""
    from medseg.cli.arguments import overrides
    from medseg.workflows import train

    begun = (run / "models" / "last.pt").is_file()
    left = max(0.0, options.minutes - (time.monotonic() - STARTED) / 60)  # 0 is a leg of one epoch
    changes = overrides(options.changes) | {"stop_after_minutes": left}
    bundle, overlays = (run, []) if begun else (options.bundle, options.overlay)
    train(bundle, datalist=options.datalist, run_dir=run, overlays=overlays, resume=begun, overrides=changes)


def pack(run: Path, out: Path) -> None:
    """The run in parts, its best weights, its curves; nothing where there is no checkpoint to go on from.

    Raises
    ------
    OutputError
        They cannot be written.
    """
    from medseg.errors import OutputError

    if not (run / "models" / "last.pt").is_file():
        return
    try:
        for old in out.glob("run.tar.*"):
            old.unlink()
        with tarfile.open(fileobj=Parts(out), mode="w|", bufsize=1 << 20) as archive:
            archive.add(run, ".", filter=_of_the_run)
        copy_present(("history.csv",), run, out)
        if (run / "models" / "model.pt").is_file():
            save_weights(run / "models" / "model.pt", out / "model.pt")
    except OSError as error:
        raise OutputError(f"{out}: the run cannot be packed", got=str(error), next_step="free some space") from error


def _of_the_run(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Without the checkpoint before the last, locks, and what was never written to its end."""
    name = Path(member.name).name
    return None if name == "before_last.pt" or (name.startswith(".") and name != ".") else member


class Parts(io.RawIOBase):
    """A file to write to that becomes files of at most `MOST_BYTES`: run.tar.00, run.tar.01, ...

    Nothing of it lies elsewhere: the disk of the run may be full.
    """

    def __init__(self, out: Path) -> None:
        self.out, self.written = out, 0

    def write(self, data: Buffer, /) -> int:
        """Append, and begin the next part where one is full."""
        rest = memoryview(data)
        while rest:
            number, used = divmod(self.written, MOST_BYTES)
            with (self.out / f"run.tar.{number:02d}").open("ab") as part:
                count = part.write(rest[: MOST_BYTES - used])
            self.written += count
            rest = rest[count:]
        return memoryview(data).nbytes


def copy_present(names: Sequence[str], source: Path, target: Path) -> None:
    """Those of the files that are there."""
    for name in names:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def save_weights(best: Path, target: Path) -> None:
    """As they are, or halved to float16 where they are too large."""
    import torch

    if best.stat().st_size <= MOST_BYTES:
        shutil.copyfile(best, target)
        return
    weights = torch.load(best, map_location="cpu", weights_only=True)
    torch.save({name: value.half() if value.is_floating_point() else value for name, value in weights.items()}, target)
    size = target.stat().st_size
    if size > MOST_BYTES:
        text = "%s has %.1f MB even in float16, more than %g MB: it is in run.tar.* too, as models/model.pt in float32"
        logger.warning(text, target, size / 1e6, MOST_BYTES / 1e6)


def score(run: Path, out: Path, *, datalist: Path) -> None:
    """The table of the test part, by the run's best weights."""
    from medseg.datasets import read_datalist
    from medseg.workflows import evaluate

    if not read_datalist(datalist)["test"]:
        logger.info("the data list has no test part: no table")
        return
    report = evaluate(run, datalist=datalist, output_dir=run / "evaluation")
    if report.failed:
        logger.warning("%d of %d test cases have no scores", len(report.failed), len(report.cases))
    copy_present(TABLES, run / "evaluation", out)


def status_of(run: Path) -> str:
    """What run.json says; "" before the first leg."""
    record = run / "run.json"
    return str(json.loads(record.read_text(encoding="utf-8"))["status"]) if record.is_file() else ""


def tell(run: Path, out: Path) -> None:
    """How far the run is, as the last line of the log; nothing of one that never began."""
    if not status_of(run):
        return
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    best = f"best {record['best_validation_score_name']} {record['best_validation_score']}"
    far = f"epoch {record['epoch']} of {record['epochs']}, {best}"
    rest = "finished"
    if record["status"] != "done":
        why = record["reason"] if record["reason"] in ("stopped by SIGTERM", "KeyboardInterrupt: ") else "not finished"
        goes_on = f"the next leg: --before {out}" if (out / "run.tar.00").is_file() else "no checkpoint, begin anew"
        rest = f"{why.partition(':')[0]}, {goes_on}"
    logger.info("%s; %s", far, rest)


def log_to(path: Path) -> None:
    """To the file and to the screen, what medseg tells, and warnings."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stdout), logging.FileHandler(path, encoding="utf-8")]
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", handlers=handlers, force=True)
    logging.getLogger("medseg").setLevel(logging.INFO)
    # It would tell to go on in the run's folder, which is a temporary one; `tell` says how the next leg does.
    logging.getLogger("medseg.training.stops").setLevel(logging.ERROR)


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
