"""Bad input by the thousand: seeded mutations of good files, each read in this process and judged.

    python tests/robustness/robustness_fuzz.py --count 500 --seed 1 [--json FILE] [--report docs/concepts/robustness.md]

`--count` is the number of random mutations of each format; the systematic ones (every tag missing, every length and VR
wrong, every cut) come on top. Memory is limited, and each reading has seconds.
"""

from __future__ import annotations

import argparse
import copy
import faulthandler
import json
import logging
import os
import random
import resource
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import dcmread
from robustness_oracle import independent
from robustness_seeds import SECRET, readable, write_seeds

from medseg.errors import MedsegError
from medseg.intake import read_image

GOOD = ("refused", "correct")
BAD = ("crashed", "wrong", "unnamed", "leaked", "only we read it")
DICOM = ("series", "slice", "implicit", "deflated", "rle", "x-ray", "enhanced")
EXPLICIT = ("series", "slice", "x-ray", "enhanced")
VRS = (b"AE", b"CS", b"DS", b"FD", b"IS", b"LO", b"OB", b"OW", b"PN", b"SQ", b"UI", b"UN", b"US", b"ZZ")
LENGTHS = (0, 1, 0xFFFE, 0x7FFFFFFF, 0xFFFFFFFF)
SECONDS, MEMORY_BYTES = 20, 6 << 30


@dataclass(frozen=True)
class Bad:
    """One bad file: of which seed, by which kind of damage, and its bytes."""

    seed: str
    damage: str
    data: bytes


@dataclass(frozen=True)
class Verdict:
    """What became of it: one of `GOOD` or `BAD`, and what was said."""

    outcome: str
    said: str


def random_damage(seed: str, data: bytes, draw: random.Random) -> Bad:
    """One random mutation: bits, bytes, blocks, or several of them."""
    changed, damage = bytearray(data), draw.choice(("bits", "bytes", "cut out", "inserted", "doubled", "zeros", "cut"))
    at = draw.randrange(len(changed))
    near = min(at, draw.randrange(len(changed)))  # headers are at the start: hit them more often
    end = near + 1 + int(draw.random() ** 3 * 64)
    if damage == "bits":
        for _ in range(draw.randrange(1, 9)):
            changed[min(draw.randrange(len(changed)), draw.randrange(len(changed)))] ^= 1 << draw.randrange(8)
    elif damage == "bytes":
        changed[near:end] = draw.randbytes(len(changed[near:end]))
    elif damage == "cut out":
        del changed[near:end]
    elif damage == "inserted":
        changed[near:near] = draw.randbytes(end - near)
    elif damage == "doubled":
        changed[near:near] = changed[near:end]
    elif damage == "zeros":
        changed[near:end] = bytes(len(changed[near:end]))
    else:
        del changed[at:]
    return Bad(seed, damage, bytes(changed))


def systematic_damage(seed: str, path: Path) -> Iterator[Bad]:
    """Cuts all over the file; for DICOM each tag missing, empty, with wrong length and wrong VR."""
    data = path.read_bytes()
    for end in sorted({*range(0, len(data), max(1, len(data) // 60)), len(data) - 1, len(data) - 2}):
        yield Bad(seed, "truncated", data[:end])
    if seed in DICOM:
        yield from _without_tags(seed, path)
    if seed in EXPLICIT:
        yield from _wrong_elements(seed, data)


def _without_tags(seed: str, path: Path) -> Iterator[Bad]:
    with tempfile.TemporaryDirectory() as folder:
        for damage, change in (("missing tag", _delete), ("empty tag", _empty)):
            for tag in list(dcmread(path).keys()):
                file = copy.deepcopy(dcmread(path))
                change(file, tag)
                written = Path(folder) / "a.dcm"
                try:
                    file.save_as(written)
                except (ValueError, AttributeError, KeyError, TypeError):
                    continue  # pydicom does not write it, so nobody sends it
                yield Bad(seed, damage, written.read_bytes())


def _delete(file: object, tag: object) -> None:
    del file[tag]  # type: ignore[attr-defined]


def _empty(file: object, tag: object) -> None:
    file[tag].value = None if file[tag].VR != "SQ" else []  # type: ignore[index]


def _wrong_elements(seed: str, data: bytes) -> Iterator[Bad]:
    """Each top-level element with other VRs and lengths; explicit VR little endian, so they are found by walking."""
    at = 132
    while at + 8 <= len(data):
        vr, long = data[at + 4 : at + 6], data[at + 4 : at + 6] in (b"OB", b"OW", b"SQ", b"UN", b"UT", b"OF")
        size = int.from_bytes(data[at + 8 : at + 12] if long else data[at + 6 : at + 8], "little")
        for other in VRS:
            if other != vr:
                yield Bad(seed, "wrong VR", data[: at + 4] + other + data[at + 6 :])
        for length in LENGTHS:
            field = (length if long else length & 0xFFFF).to_bytes(4 if long else 2, "little")
            start = at + (8 if long else 6)
            yield Bad(seed, "wrong length", data[:start] + field + data[start + len(field) :])
        at += (12 if long else 8) + size


def judge(bad: Bad, seed_path: Path, original: tuple[np.ndarray, np.ndarray]) -> Verdict:
    """Read one bad file in the place of its seed."""
    good, path = seed_path.read_bytes(), readable(bad.seed, seed_path)
    seed_path.write_bytes(bad.data)
    signal.alarm(SECONDS)
    try:
        return _verdict(bad, path, original)
    finally:
        signal.alarm(0)
        seed_path.write_bytes(good)


def _verdict(bad: Bad, path: Path, original: tuple[np.ndarray, np.ndarray]) -> Verdict:
    try:
        image = read_image(path)
    except MedsegError as error:
        outcome = "leaked" if SECRET in str(error) else "refused" if str(path.parent) in str(error) else "unnamed"
        return Verdict(outcome, str(error))
    except Exception as error:  # noqa: BLE001 (whatever else comes out is what is looked for)
        return Verdict("crashed", f"{type(error).__name__}: {error}")
    try:
        values, affine = original if bad.damage in ("truncated", "cut") else independent(path)
    except Exception as error:  # noqa: BLE001 (the other reading refuses it in its own way)
        return Verdict("only we read it", f"{type(error).__name__}: {error}")
    same = _same(image.array[0], values) and _same_place(image.affine, affine, image.array.ndim - 1)
    return Verdict("correct" if same else "wrong", f"{image.array.shape[1:]} against {values.shape}")


def _same(ours: np.ndarray, theirs: np.ndarray) -> bool:
    return ours.shape == theirs.shape and bool(np.allclose(ours, theirs, rtol=1e-5, atol=1e-3))


def _same_place(ours: np.ndarray, theirs: np.ndarray, axes: int) -> bool:
    if axes == 2:
        ours, theirs = np.diag(np.linalg.norm(ours[:2, :2], axis=0)), np.diag(np.linalg.norm(theirs[:2, :2], axis=0))
    return bool(np.allclose(ours, theirs, rtol=1e-4, atol=1e-3))


def run(*, count: int, seed: int, every: int = 1) -> tuple[Counter[tuple[str, str, str]], list[dict[str, str]]]:
    """(seed, damage, outcome) counted, and each bad outcome with what was said and the file in hex."""
    counts: Counter[tuple[str, str, str]] = Counter()
    failures: list[dict[str, str]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, path in write_seeds(Path(folder)).items():
            original, draw = independent(readable(name, path)), random.Random(f"{seed} {name}")
            assert _verdict(Bad(name, "none", b""), readable(name, path), original).outcome == "correct", name
            data = path.read_bytes()
            for bad in (
                *list(systematic_damage(name, path))[seed % every :: every],
                *(random_damage(name, data, draw) for _ in range(count)),
            ):
                verdict = judge(bad, path, original)
                counts[name, bad.damage, verdict.outcome] += 1
                if verdict.outcome not in GOOD:
                    failures.append({"seed": name, "damage": bad.damage, **vars(verdict), "data": bad.data.hex()})
    return counts, failures


def _mute_libraries() -> None:
    """What ITK and libtiff write to standard error about each file; a crash of the process still tells where."""
    faulthandler.enable(file=os.fdopen(os.dup(2), "w"))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _too_slow(signum: int, frame: object) -> None:
    raise TimeoutError(f"not read within {SECONDS} s")


def main(words: list[str] | None = None) -> int:
    """Run, write what came out, and give 1 where anything did that must not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every", type=int, default=1, help="take each Nth of the systematic ones")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--report", type=Path)
    options = parser.parse_args(words)
    _mute_libraries()
    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGALRM, _too_slow)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    counts, failures = run(count=options.count, seed=options.seed, every=options.every)
    rows = [{"seed": s, "damage": d, "outcome": o, "count": n} for (s, d, o), n in sorted(counts.items())]
    if options.json:
        options.json.write_text(json.dumps({"counts": rows, "failures": failures}, indent=1), encoding="utf-8")
    if options.report:
        from robustness_report import write_report

        write_report(counts, options.report, count=options.count, seed=options.seed)
    sys.stdout.write(f"{sum(counts.values())} files: {dict(Counter(o for _, _, o in counts.elements()))}\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
