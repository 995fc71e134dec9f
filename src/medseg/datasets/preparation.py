"""From a folder of images and masks to a checked, split datalist."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medseg.case import Image
from medseg.datasets.datalist import SECTIONS, by_section, relative_path, write_json
from medseg.datasets.label_files import write_label
from medseg.datasets.layouts import Found, Layout, RawCase, find_layout
from medseg.datasets.leakage import Thumbnail, find_duplicates, leakage_report, thumbnail
from medseg.datasets.patients import patients_of
from medseg.datasets.problems import refuse_all
from medseg.datasets.splits import split_by_patient
from medseg.errors import DataError, LabelError, MedsegError, OutputError
from medseg.files import sha256_of

_log = logging.getLogger(__name__)
_MOST_THREADS = 4
_MOST_SHOWN = 8
_LABEL_MARK = ".medseg_prepared"
_LEAKAGE_FILE = "leakage.json"


@dataclass(frozen=True)
class _Checked:
    """What is remembered of a case after its image and label were read."""

    raw: RawCase
    thumbnail: Thumbnail
    values: frozenset[int]
    modality: str | None
    spatial_dims: int


def prepare(
    layout: str,
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    seed: int = 42,
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    patient_regex: str | None = None,
    patient_csv: str | None = None,
) -> Path:
    """Read and check every case of `source`, split by patient, and write the datalist.

    Label maps that have to be merged or renumbered are written into `<stem of output>_labels/` and the duplicates
    found into `leakage.json`, both beside the datalist, which itself is written last and whole. Nothing is written
    when any case has a problem.

    Parameters
    ----------
    layout
        "montgomery", "decathlon" or "pairs".
    source
        The folder in that layout.
    output
        The datalist to write, a .json.
    seed, fractions
        Of the split: see `split_by_patient`.
    patient_regex, patient_csv
        How the patient of a case is found: see `patients_of`. By default each case is its own patient.

    Returns
    -------
    Path
        `output`.

    Raises
    ------
    DataError
        The source does not have the layout, or some cases are incomplete, unreadable, doubtful or without a
        patient: all of them are named, with their files, in one message.
    OutputError
        `output` is a file of the source that no `prepare` wrote, or the folder for label maps is somebody else's.
    """
    kind, folder, target = find_layout(layout), Path(source), Path(output).absolute()
    _refuse_paths(folder, target)
    found = kind.find(folder)
    _refuse_overwriting(target, folder, found)
    checked, problems = _check_all(kind, found)
    patients, without = patients_of([c.id for c in found.cases], pattern=patient_regex, table=patient_csv)
    refuse_all([*found.problems, *_twins(found.cases), *problems, *without], where=f"data set {folder}")
    if not checked:
        raise DataError(f"{folder} holds no case", next_step=f"check the path and the layout {layout}")
    _refuse_mixed(checked, folder)
    parts = split_by_patient(patients.values(), fractions=fractions, seed=seed)
    labels = _write_labels(kind, checked, target)
    content = _header(found, checked, kind, folder) | {"seed": seed, "fractions": [float(f) for f in fractions]}
    content |= by_section(
        (parts[patient], _item(case, patient, labels[case.raw.id], target))
        for case, patient in ((case, patients[case.raw.id]) for case in checked)
    )
    _report_leakage(content, checked, target)
    return write_json(content, target)


def _refuse_paths(folder: Path, target: Path) -> None:
    if target.suffix.lower() != ".json" or target.is_dir():
        raise DataError("the datalist to write", got=str(target), expected="a file name ending in .json")
    if target.name == _LEAKAGE_FILE:
        raise DataError("the datalist to write", got=target.name, expected="another name: the duplicates go there")
    if not folder.exists():
        raise DataError(f"{folder} does not exist", next_step="give the folder of the data set")


def _refuse_overwriting(target: Path, folder: Path, found: Found) -> None:
    """The list that came with the data may be the only one: a datalist of `prepare` alone is written anew."""
    file, root = target.resolve(), (folder if folder.is_dir() else folder.parent).resolve()
    is_read = found.file is not None and file == found.file.resolve()
    if is_read or (file.is_file() and root in file.parents and not _is_prepared(file)):
        raise OutputError(
            f"{target} belongs to the data set and would be overwritten",
            expected="a new file, or a datalist of medseg data prepare",
            next_step="give the name of a new file",
        )


def _is_prepared(file: Path) -> bool:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and {"fractions", *SECTIONS} <= content.keys()


def _twins(cases: Sequence[RawCase]) -> list[str]:
    first: dict[str, Path] = {}
    return [
        f"case {case.id}: two cases have this id, {first[case.id]} and {case.image}"
        for case in cases
        if first.setdefault(case.id, case.image) is not case.image
    ]


def _check_all(layout: Layout, found: Found) -> tuple[list[_Checked], list[str]]:
    def check(raw: RawCase) -> _Checked | str:
        try:
            return _check(layout, raw, found)
        except MedsegError as error:
            text = str(error)
            return text if f"case {raw.id}" in text else f"case {raw.id}: {text}"

    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        results = list(pool.map(check, found.cases))
    return [r for r in results if isinstance(r, _Checked)], [r for r in results if isinstance(r, str)]


def _check(layout: Layout, raw: RawCase, found: Found) -> _Checked:
    from medseg.intake import check_pair, read_image

    image, label = read_image(raw.image), layout.read(raw)
    check_pair(image, label, case_id=raw.id, labels=None)
    values = frozenset(int(v) for v in np.unique(label.array))
    _refuse_unnamed(values, raw, found)
    return _Checked(raw, thumbnail(image), values, image.modality, label.array.ndim)


def _refuse_unnamed(values: frozenset[int], raw: RawCase, found: Found) -> None:
    """Refuse a mask with values that the source's list gives no name."""
    named = values if found.labels is None else frozenset({0, *found.labels})
    if unnamed := sorted(values - named):
        more = f" and {len(unnamed) - _MOST_SHOWN} more" if len(unnamed) > _MOST_SHOWN else ""
        raise LabelError(
            f"case {raw.id}: {raw.masks[0]}: the mask holds values that have no name in {found.file or 'the layout'}",
            got=", ".join(map(str, unnamed[:_MOST_SHOWN])) + more,
            expected="only " + ", ".join(map(str, sorted(named))),
            next_step='name them under "labels" there, or correct the mask',
        )


def _refuse_mixed(checked: Sequence[_Checked], folder: Path) -> None:
    """Refuse pictures beside volumes; say so where there is nothing to learn."""
    first: dict[int, Path] = {}
    for case in checked:
        first.setdefault(case.spatial_dims, case.raw.image)
    if len(first) > 1:
        raise DataError(
            f"data set {folder} mixes pictures and volumes",
            got=" and ".join(f"{image} ({dims}-D)" for dims, image in sorted(first.items())),
            expected="images of as many axes",
            next_step="prepare the two kinds apart, each in a folder of its own",
        )
    if all(case.values <= {0} for case in checked):
        _log.warning("data set %s: no mask holds a label, all %d are empty: are these the masks?", folder, len(checked))


def _write_labels(layout: Layout, checked: Sequence[_Checked], target: Path) -> dict[str, Path]:
    """The label file of each case: its own, or the one written beside the datalist.

    RTSTRUCT and DICOM SEG are written too: they are no label map without their image.
    """
    from medseg.intake.files import is_dicom

    rewrite = layout.rewrite({c.raw.id: c.values for c in checked})
    written = [c.raw for c in checked if rewrite is not None or is_dicom(c.raw.masks[0])]
    folder = _label_folder(target) if written else target.parent
    files = {c.raw.id: c.raw.masks[0] for c in checked}
    for raw in written:
        label = layout.read(raw)
        files[raw.id] = write_label(label if rewrite is None else rewrite(label), folder, raw.id)
    return files


def _label_folder(target: Path) -> Path:
    """The folder for labels beside the datalist, with a mark in it: what lies in one without may be somebody's own."""
    folder = target.with_name(f"{target.stem}_labels")
    ours = _is_prepared(target) or (folder / _LABEL_MARK).exists()
    if not ours and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(
            f"{folder} is there, and no datalist of prepare is beside it: label maps would be written into it",
            expected="no such folder, or one of an earlier medseg data prepare",
            next_step="give -o another name, or move the folder away",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _LABEL_MARK).touch()
    except OSError as error:
        raise OutputError(f"{folder} cannot be written", got=error.strerror, next_step="choose another -o") from error
    return folder


def _item(case: _Checked, patient: str, label: Path, target: Path) -> dict[str, Any]:
    return {
        "id": case.raw.id,
        "patient": patient,
        "image": relative_path(case.raw.image, target.parent),
        "label": relative_path(label, target.parent),
        "sha256": {"image": _digest(case.raw.image), "label": _digest(label)},
    }


def _header(found: Found, checked: Sequence[_Checked], layout: Layout, folder: Path) -> dict[str, Any]:
    values = frozenset().union(*(c.values for c in checked))
    binary = layout.rewrite({c.raw.id: c.values for c in checked}) is not None or values <= {0, 1}
    names = found.labels or (
        {0: "background", 1: "foreground"}
        if binary
        else {0: "background", **{v: f"label {v}" for v in sorted(values - {0})}}
    )
    return {
        "name": folder.resolve().name,
        "description": f"made by medseg data prepare {layout.name}",
        "tensorImageSize": f"{checked[0].spatial_dims}D",
        "modality": {"0": checked[0].modality or "unknown"},
        **found.about,
        "labels": {str(value): name for value, name in names.items()},
    }


def _report_leakage(content: dict[str, Any], checked: Sequence[_Checked], target: Path) -> None:
    from medseg.intake import read_image

    files = {c.raw.id: c.raw.image for c in checked}

    def load(case: str) -> Image:
        return read_image(files[case])

    report = leakage_report(content, find_duplicates({c.raw.id: c.thumbnail for c in checked}, load))
    file = write_json(report, target.with_name(_LEAKAGE_FILE))
    if report["across_parts"]:
        _log.warning(
            "duplicates, identical or mirrored, that stand in two parts: %d; scores will be too good; see %s",
            report["across_parts"],
            file,
        )


def _digest(path: Path) -> str:
    """SHA-256 of a file, or of the digests of several: a header and its voxels, a DICOM folder's by their names."""
    from medseg.intake import source_files

    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else source_files(path)
    if path.is_file() and len(files) == 1:
        return sha256_of(path)
    return hashlib.sha256("".join(sha256_of(p) for p in files).encode()).hexdigest()
