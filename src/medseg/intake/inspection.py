"""What lies under a folder: every series and image, its grid, and every finding against it. Never patient data."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from medseg.case import Image
from medseg.errors import DataError, GeometryError, ImageError, LabelError, MedsegError
from medseg.findings import Finding
from medseg.geometry import orientation, spacing_mm
from medseg.intake.checks import checked_image, checked_label, shear_findings
from medseg.intake.dicom_grid import Plane, grid_findings, in_order, mean_step
from medseg.intake.dicom_header import Header, read_header, uid_name
from medseg.intake.dicom_image import Stack, planes_of, read_picture, read_stack
from medseg.intake.dicom_pixels import refuse_colour
from medseg.intake.files import (
    is_dicom,
    is_plain_image,
    placement_findings,
    read_image,
    read_plain,
    split_series,
    stem,
    visible,
)
from medseg.intake.hounsfield import hu_finding
from medseg.intake.inputs import Input, dicom_headers, folders_below, passed_over
from medseg.intake.own_outputs import is_drawn
from medseg.intake.series import SCATTERED_STEP, Series, series_among
from medseg.pairs import grid_findings as pair_findings

logger = logging.getLogger(__name__)

_IMAGE_FOLDERS = ("images", "imagesTr", "image")
MASK_ENDINGS = ("_mask", "_label", "_labels", "_seg")
"""At the end of a mask's name, in small letters: what its image's name does not have."""

_LABEL_FOLDERS = ("labels", "labelsTr", "label", "masks", "mask")
_CODES = {ImageError: "image", GeometryError: "geometry", LabelError: "label"}
_ONE_SLICE = Finding(
    code="one-slice", severity="warning", what="a single slice: refused where a volume is needed", expected="a volume"
)
_RANKS = ("error", "warning", "note")


@dataclass
class Entry:
    """One series or file.

    Attributes
    ----------
    path
        What to give to other commands: a file, a folder, or FOLDER/#UID.
    kind
        "series", "frames", "picture", "image", "mask", or "object" for a DICOM file without an image.
    slices
        Slices, frames or pictures; None for files that are not DICOM.
    size, spacing_mm, orientation
        Voxels and mm along X, Y, Z, and the directions in which these run; None where they are not known.
    findings
        All that is wrong or odd, the gravest first.
    """

    path: Path
    kind: str
    modality: str | None = None
    study_uid: str | None = None
    series_uid: str | None = None
    series_number: str | None = None
    description: str | None = None
    transfer_syntax: str | None = None
    slices: int | None = None
    size: tuple[int, ...] | None = None
    spacing_mm: tuple[float, ...] | None = None
    orientation: str | None = None
    findings: list[Finding] = field(default_factory=list)

    @property
    def has_errors(self) -> bool:
        return any(finding.severity == "error" for finding in self.findings)


def inspect(path: Path | str, *, modality: str | None = None) -> list[Entry]:
    """Every image under `path`, read whole and checked, by path; archives and formats that are not read are warned of.

    What medseg drew beside its masks, such as previews, is no image.

    Parameters
    ----------
    path
        A file, FOLDER/#UID, or a folder: it and all folders in it are searched.
    modality
        What images are whose files do not say it: values of a "CT" are looked at.

    Raises
    ------
    DataError
        Nothing is there.
    """
    source = Path(path)
    folder, uid = split_series(source)
    if not folder.exists():
        raise DataError(f"{source}: no such file or folder")
    if folder.is_file():
        return _sorted(_file_entries(folder, modality))
    folders = [folder] if uid is not None else folders_below(folder)
    entries = [entry for each in folders for entry in _folder_entries(each, modality)]
    _tell_scattered(entries)
    if uid is None and (unread := passed_over(folder, inputs=[Input("", entry.path) for entry in entries])):
        logger.warning("%s: passed over: %s", folder, unread)
    return _sorted(entry for entry in entries if uid in (None, entry.series_uid))


def _tell_scattered(entries: Sequence[Entry]) -> None:
    """A warning for each folder that holds only a part, or a copy, of a series of slices."""
    series = [entry for entry in entries if entry.kind == "series" and entry.series_uid]
    folders = Counter(entry.series_uid for entry in series)
    slices = {uid: sum(entry.slices or 0 for entry in series if entry.series_uid == uid) for uid in folders}
    for entry in series:
        if folders[entry.series_uid] > 1:
            got = f"{entry.slices} of {slices[entry.series_uid]} slices, in {folders[entry.series_uid]} folders"
            what = "its series lies in other folders too: parts of one volume, or copies"
            finding = Finding("scattered-series", "warning", what, got, "all in one folder", SCATTERED_STEP)
            entry.findings.append(finding)


def _sorted(entries: Iterator[Entry] | Sequence[Entry]) -> list[Entry]:
    found = list(entries)
    for entry in found:
        entry.findings.sort(key=lambda finding: _RANKS.index(finding.severity))
    return found


def _file_entries(file: Path, modality: str | None) -> Iterator[Entry]:
    if is_dicom(file):
        yield from _dicom_entries({file: dicom_headers(file.parent).get(file)}, whole_folder=False)
    else:
        yield _plain_entry(file, modality)


def _folder_entries(folder: Path, modality: str | None) -> Iterator[Entry]:
    files, refusal = _errors_of(lambda: visible(folder), folder)
    if files is None:
        yield Entry(folder, "object", findings=refusal)
        return
    headers = dicom_headers(folder)
    yield from _dicom_entries(headers, whole_folder=True)
    for file in files:
        if file not in headers and file.is_file() and is_plain_image(file) and not is_drawn(file):
            yield _plain_entry(file, modality)


def _dicom_entries(headers: Mapping[Path, Header | None], *, whole_folder: bool) -> Iterator[Entry]:
    unreadable = [file for file, header in headers.items() if header is None]
    for file in unreadable:
        yield Entry(file, "object", findings=_errors_of(partial(read_header, file), file)[1])
    known = [header for header in headers.values() if header is not None]
    for header in known:
        if header.kind == "other":
            what = f"no image but {uid_name(header.sop)}"
            entry = Entry(header.path, "object", findings=[Finding(code="no-image", severity="note", what=what)])
            yield _described(entry, Series((header,)))
    groups = series_among([header for header in known if header.kind != "other"])
    for series in groups:
        alone = whole_folder and len(groups) == 1
        for entry in _series_entries(series, alone=alone, whole_folder=whole_folder):
            if unreadable and entry.kind == "series":
                entry.findings.append(_beside_unreadable(unreadable))
            yield entry


def _series_entries(series: Series, *, alone: bool, whole_folder: bool) -> Iterator[Entry]:
    slices = [header for header in series.headers if header.kind == "slice"]
    if slices:
        folder = slices[0].path.parent
        path = (folder if alone else folder / f"#{series.uid}") if whole_folder else slices[0].path
        yield _volume_entry(Series(tuple(slices)), path, "series")
    for header in series.headers:
        if header.kind == "frames":
            yield _volume_entry(Series((header,)), header.path, "frames")
        elif header.kind == "picture":
            yield _picture_entry(Series((header,)), header)


def _described(entry: Entry, series: Series) -> Entry:
    """The entry with what the headers of its series say."""
    first = series.headers[0]
    entry.modality, entry.study_uid, entry.series_uid = first.modality, series.study or None, series.uid or None
    entry.series_number, entry.slices = series.number or None, series.slices
    entry.transfer_syntax = ", ".join(sorted({uid_name(header.syntax) for header in series.headers}))
    entry.description = series.description or None
    return entry


def _volume_entry(series: Series, path: Path, kind: str) -> Entry:
    entry, headers = _described(Entry(path, kind), series), series.headers
    entry.findings += _traits(series)
    planes, found = _errors_of(lambda: planes_of(headers), path)
    _, grey = _errors_of(lambda: _refuse_colours(headers), path, code="not-grey")
    entry.findings += [*found, *grey]
    if planes is None:
        return entry
    entry.findings += grid_findings(planes)
    _place(entry, planes)
    if not entry.has_errors:
        stack, found = _errors_of(lambda: read_stack(headers, path), path)
        entry.findings += found
        if stack is not None:
            _take_stack(entry, stack)
    return entry


def _refuse_colours(headers: Sequence[Header]) -> None:
    for header in headers:
        refuse_colour(header)


def _take_stack(entry: Entry, stack: Stack) -> None:
    image = Image(stack.array, stack.affine, entry.path, stack.modality)
    _take(entry, image)
    entry.findings += [*stack.findings, *_values_findings(image)]


def _picture_entry(series: Series, header: Header) -> Entry:
    entry = _described(Entry(header.path, "picture"), series)
    entry.findings += _traits(series)
    read, found = _errors_of(lambda: read_picture(header), header.path)
    entry.findings += found
    if read is not None:
        _take(entry, read[0])
        entry.findings += [*read[1], *_values_findings(read[0])]
    return entry


def _plain_entry(file: Path, modality: str | None) -> Entry:
    is_mask = file.parent.name in _LABEL_FOLDERS or bool(_image_folders(file))
    entry = Entry(file, "mask" if is_mask else "image", modality=None if is_mask else modality)
    entry.findings += _errors_of(lambda: placement_findings(file), file)[0] or []
    image, found = _errors_of(lambda: read_plain(file, as_label=is_mask), file)
    entry.findings += found
    if image is None:
        return entry
    _take(entry, image)
    entry.findings += shear_findings(image, is_mask=is_mask)
    if is_mask:
        label, found = _errors_of(lambda: checked_label(image), file)
        entry.findings += [*found, *(_partner_findings(label, file) if label is not None else [])]
    else:
        entry.findings += _values_findings(Image(image.array, image.affine, file, modality))
    return entry


def _partner_findings(label: Image, file: Path) -> list[Finding]:
    """A mask against the image, or folder of a series, of its name beside it; nothing where there is none."""
    own = stem(file)
    names = [own, *(own[: -len(end)] for end in MASK_ENDINGS if own.lower().endswith(end))]
    partners = [
        image
        for name in names  # its own first: scan_seg may be the mask of scan_seg, beside a scan
        for folder in _image_folders(file)
        for image in visible(folder)
        if (image.name if image.is_dir() else stem(image)) in (name, f"{name}_0000")
        if image.is_dir() or is_plain_image(image) or is_dicom(image)
    ]
    if not partners:
        return []
    image, _ = _errors_of(lambda: read_image(partners[0]), file)
    return [] if image is None else pair_findings(image, label)


def _image_folders(file: Path) -> list[Path]:
    """The folders of images beside that of a mask; of labels/site_a/ the folder images/site_a/."""
    folder = file.parent
    if folder.name in _LABEL_FOLDERS:
        found = [folder.parent / name for name in _IMAGE_FOLDERS]
    elif folder.parent.name in _LABEL_FOLDERS:
        found = [folder.parent.parent / name / folder.name for name in _IMAGE_FOLDERS]
    else:
        found = []
    return [one for one in found if one.is_dir()]


def _values_findings(image: Image) -> list[Finding]:
    _, found = _errors_of(lambda: checked_image(image), image.source)
    if image.modality == "CT" and not found and (finding := hu_finding(image.array)) is not None:
        found.append(finding)
    return found


def _place(entry: Entry, planes: Sequence[Plane]) -> None:
    """Size and spacing from the headers, for a series that cannot be read; exact where its slices are even."""
    ordered = in_order(planes)
    step = float(np.linalg.norm(mean_step(ordered)))
    entry.size, entry.spacing_mm = (*ordered[0].size, len(ordered)), (*ordered[0].spacing_mm, step)
    if len(ordered) == 1:
        entry.findings.append(_ONE_SLICE)


def _take(entry: Entry, image: Image) -> None:
    axes = image.array.ndim
    entry.size = tuple(map(int, image.array.shape))
    entry.spacing_mm = spacing_mm(image.affine)[:axes] if image.spacing_known else None
    entry.orientation = orientation(image.affine) if axes == 3 else None


def _traits(series: Series) -> list[Finding]:
    traits = {
        "localiser": (series.is_localiser, "a localiser"),
        "secondary-capture": (series.is_capture, "a secondary capture"),
        "derived": (series.is_derived and not series.is_capture, "derived from other images"),
    }
    return [Finding(code=code, severity="note", what=what) for code, (is_so, what) in traits.items() if is_so]


def _beside_unreadable(files: Sequence[Path]) -> Finding:
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return Finding(
        code="unreadable-file",
        severity="error",
        what="a DICOM file in its folder cannot be read and may be one of its slices",
        got=files[0].name + more,
        next_step="export the series again, or take the file out of the folder",
    )


def _errors_of(read: Callable[[], Any], path: Path, *, code: str | None = None) -> tuple[Any, list[Finding]]:
    """What `read` gives, or None and its refusal as a finding."""
    try:
        return read(), []
    except MedsegError as error:
        what = str(error).removeprefix(f"{path}: ")
        return None, [Finding(code=code or _CODES.get(type(error), "refused"), severity="error", what=what)]
