"""The counts of a fuzz run as docs/concepts/robustness.md."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

_TEXT = """\
# Bad input

A file that is damaged, truncated, hostile or simply something else ends in an error that names it, or reads as exactly
what it holds. It never ends the process, never takes more memory than there is, and never becomes a wrong volume in
silence.

## What is refused before it is followed

- Sizes that the file cannot hold: declared against held bytes, before memory is taken (DICOM, NIfTI, NRRD, MetaImage;
  pictures by Pillow's own limit).
- Images larger than the memory: twice their size against the memory of the machine or its container.
- Archives that inflate without end: gzip and deflate by their highest ratio (1032); deflated DICOM is inflated piece by
  piece, up to 4.3 GB.
- Files that name other files: the voxels of MetaImage and NRRD only in the header's folder or below; a DICOMDIR is no
  image, and nothing that it names is opened.
- Fewer or more voxels than declared: NIfTI, NRRD and MetaImage to the byte, also within gzip and zlib. (SimpleITK fills
  up a compressed MetaImage that ends early with whatever the memory held.)
- Links that lead back: each folder once. Pipes and devices are not read.
- Numbers of axes on which ITK ends the process: fields of MetaImage and NRRD are counted before ITK sees them.

## Counts

    python tests/robustness/robustness_fuzz.py --count {count} --seed {seed} --report docs/concepts/robustness.md

wrote this table: {seeds} good files, each damaged systematically (cut at about 60 places; in DICOM each tag missing
and empty, and in explicit DICOM each with {vrs} wrong VRs and {lengths} wrong lengths) and {count} times at random
(bits, bytes, blocks cut out, inserted, doubled, zeroed, the end cut off). An image that was read counts as correct when
its values and its place equal those of another reading of the same damaged bytes (nibabel, SimpleITK, Pillow, pydicom
with the formulas of the standard); a file that was cut, only when it equals the undamaged image. A change that nobody
can see (a pixel without a checksum) is correct in this sense. For NRRD and MetaImage the other reading is SimpleITK
too, which ours is built on: it shows that nothing is lost behind it, not that it is right.

{table}

The tests repeat a part of this with another seed; `pytest -m slow tests/robustness` runs a larger one.
"""


def write_report(counts: Counter[tuple[str, str, str]], path: Path, *, count: int, seed: int) -> None:
    """Write the document; `counts` by (seed file, damage, outcome)."""
    from robustness_fuzz import BAD, LENGTHS, VRS

    seeds = list(dict.fromkeys(name for name, _, _ in counts))
    rows = [["file", "damaged", "refused by name", "read correctly", *BAD]]
    for name in [*seeds, "all"]:
        of = _outcomes(counts, name)
        rows.append([name, str(of.total()), str(of["refused"]), str(of["correct"]), *(str(of[bad]) for bad in BAD)])
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    table = "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
    text = _TEXT.format(count=count, seed=seed, seeds=len(seeds), vrs=len(VRS) - 1, lengths=len(LENGTHS), table=table)
    path.write_text(text, encoding="utf-8")


def _outcomes(counts: Counter[tuple[str, str, str]], name: str) -> Counter[str]:
    """Of one seed file or of all."""
    found: Counter[str] = Counter()
    for (seed, _, outcome), number in counts.items():
        if name in (seed, "all"):
            found[outcome] += number
    return found
