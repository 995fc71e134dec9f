"""FILE_OR_DIR of the commands: which images it stands for, and the id of each."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.errors import DataError, ImageError
from medseg.intake.files import (
    ITK,
    dicom_files,
    is_dicom,
    is_plain_image,
    may_be_file,
    refuse_other_encodings,
    split_series,
    stem,
    suffix,
    visible,
)
from medseg.intake.itk_header import voxel_files
from medseg.intake.own_outputs import is_drawn, is_ours, is_picture_of_mask

if TYPE_CHECKING:
    from medseg.intake.dicom_header import Header
    from medseg.intake.series import Series

_PACKED = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar")
_NOT_READ = (".hdr", ".img", ".mgz", ".mgh", ".mnc", ".par", ".rec", ".npy", ".npz")


@dataclass(frozen=True)
class Input:
    """One image to work on.

    Attributes
    ----------
    id
        Names the outputs: the file's stem; for DICOM a hash that tells nothing about the patient.
    path
        The file, the folder of its DICOM series, or FOLDER/#UID for one of several series in a folder; `read_image`
        reads each, and `source_files` lists what is behind it.
    """

    id: str
    path: Path


def find_inputs(path: Path | str, *, series: str | None = None, modality: str | None = None) -> tuple[Input, ...]:
    """The images that a file or a folder stands for, by name.

    A file is itself. A folder gives its images, and the DICOM in it and in all folders below: single slices are one
    series per folder, each X-ray and each multi-frame file is an input of its own. Where it holds neither, the other
    images in all folders below are taken, but for masks that medseg wrote (those with a manifest). Previews and
    comparisons that medseg wrote, hidden files and files of other kinds are passed over. A file or a folder below that
    cannot be read stays an input: reading it later names what is wrong, for that case alone.

    Parameters
    ----------
    series
        Which DICOM series to take of each study: a SeriesInstanceUID, SeriesNumber, SeriesDescription, or "auto" (no
        localiser or secondary capture, original before derived, then the most slices). None: every one; where a folder
        holds several series of slices it stays one input, which is refused when it is read.
    modality
        With `series`: only series of this DICOM modality are considered.

    Raises
    ------
    DataError
        No image at all, two inputs with one id, a name that is not UTF-8, or no single series that fits `series`.
    """
    source = Path(path)
    folder, uid = split_series(source)
    if uid is not None:
        return (Input(case_id(source), source),)
    if not source.exists():
        raise DataError(f"{source}: no such file or folder")
    if source.is_file():
        _refuse_choice(source, series)
        _refuse_picture_of_mask(source)
        return (Input(case_id(source), source),)
    inputs = _chosen_inputs(source, series, modality) if series is not None else _all_inputs(folder)
    if not inputs:
        raise _nothing_in(source)
    refuse_other_encodings(found.path for found in inputs)
    _refuse_twins(inputs)
    return tuple(sorted(inputs, key=lambda found: (found.path, found.id)))


def passed_over(folder: Path, *, inputs: Iterable[Input] = ()) -> str | None:
    """What may be an image in a folder, or below it, and is none of its `inputs`, by suffix and number; or None.

    Archives, formats that are not read, and images other than DICOM that `find_inputs` did not take; of files named
    like a preview of medseg those that have no manifest beside them, and may be images.
    """
    taken = {one.path for one in inputs}
    found: dict[str, Counter[str]] = {}
    for here in folders_below(folder):
        for path in _listed(here):
            why = _why_aside(path)
            if why is not None and path not in taken and may_be_file(path) and not is_dicom(path):
                found.setdefault(why, Counter())[suffix(path)] += 1
    told = [", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items())) + f" {why}" for why, kinds in found.items()]
    return "; ".join(sorted(told)) or None


def why_unread(path: Path) -> str | None:
    """Why a file whose suffix promises an image cannot be read by any reader of ours; None for all others."""
    kind = suffix(path)
    if kind in _PACKED:
        return "to be unpacked"
    return "of a format that is not read" if kind in _NOT_READ else None


def _why_aside(path: Path) -> str | None:
    """Why a file, by its name, is no input though it may hold an image."""
    if (unread := why_unread(path)) is not None:
        return unread
    if is_picture_of_mask(path):
        return None if is_drawn(path) else "named like what medseg draws: rename them if they are images"
    if is_plain_image(path) and not is_ours(path):
        return "beside DICOM or below other images: give them by themselves"
    return None


def require_input(path: Path | str) -> None:
    """Refuse a path that stands for no image, and look no further than its first: fast where there are thousands.

    Raises
    ------
    DataError
        Nothing is there, or no image.
    ImageError
        A file of an unknown format.
    """
    source = Path(path)
    if not source.is_dir():
        find_inputs(source)
        return
    if any(_is_plain_input(entry) for entry in visible(source)):
        return
    if not any(_is_series_or_closed(folder) or _images_in(folder) for folder in folders_below(source)):
        raise _nothing_in(source)


def case_id(path: Path | str) -> str:
    """The id of one input: the file's stem without its suffix (".nii.gz" wholly).

    For DICOM the first 12 hex digits of the SHA-256 of the SeriesInstanceUID; of the SOPInstanceUID for an X-ray,
    as one series holds several of them.
    """
    source = Path(path)
    _, uid = split_series(source)
    if uid is not None:
        return _hash([uid])
    if source.is_dir():
        found = _dicom_inputs(source)
        if not found:
            raise ImageError(f"{source}: the folder holds no DICOM images")
        return found[0].id
    if is_dicom(source):
        header = _header_or_none(source)
        return header.id if header is not None else stem(source)
    if not is_plain_image(source):
        raise ImageError(f"{source}: unknown image format", got=f"suffix {source.suffix!r}")
    return stem(source)


def source_files(path: Path | str) -> tuple[Path, ...]:
    """The files behind one input: itself and those that it names, or the slices of its DICOM series by file name."""
    source = Path(path)
    folder, uid = split_series(source)
    if uid is None and not source.is_dir():
        return (source, *(voxel_files(source) if suffix(source) in ITK else ()))
    from medseg.intake.dicom_image import headers_of

    return tuple(header.path for header in headers_of(folder, series=uid))


def folders_below(folder: Path) -> list[Path]:
    """`folder` and all folders in it, by path, without hidden ones; a link that leads back is not followed twice.

    One that cannot be read is there, and nothing that is in it.
    """
    found, waiting, seen = [], [folder], set()
    while waiting:
        here = waiting.pop()
        identity = (here.stat().st_dev, here.stat().st_ino)
        if identity not in seen:
            seen.add(identity)
            found.append(here)
            waiting += _folders_in(here)
    return sorted(found)


def _folders_in(folder: Path) -> list[Path]:
    return [entry for entry in _listed(folder) if _is_folder(entry)]


def _listed(folder: Path) -> list[Path]:
    """As `visible`, and nothing where the folder cannot be read."""
    try:
        return visible(folder)
    except DataError:
        return []


def dicom_headers(folder: Path) -> dict[Path, Header | None]:
    """Each DICOM file directly in `folder` with its header, or None where it cannot be read.

    A folder that cannot be read stands there itself, without a header.
    """
    try:
        return {file: _header_or_none(file) for file in dicom_files(folder)}
    except DataError:
        return {folder: None}


def _is_series_or_closed(folder: Path) -> bool:
    return _is_closed(folder) or any(is_dicom(file) for file in _listed(folder))


def _nothing_in(folder: Path) -> DataError:
    expected = "images, a DICOM series, or folders of them"
    return DataError(f"{folder}: no readable input in the folder", got=passed_over(folder), expected=expected)


def _all_inputs(source: Path) -> list[Input]:
    images = [Input(stem(entry), entry) for entry in visible(source) if _is_plain_input(entry)]
    folders = folders_below(source)
    dicom = [one for folder in folders for one in _dicom_inputs(folder)]
    if not images and all(_is_closed(one.path) for one in dicom):
        images = [Input(stem(entry), entry) for folder in folders for entry in _images_in(folder)]
    return images + dicom


def _images_in(folder: Path) -> list[Path]:
    """The images directly in a folder of images, without what medseg wrote."""
    return [entry for entry in _listed(folder) if _is_plain_input(entry) and not is_ours(entry)]


def _is_closed(path: Path) -> bool:
    """A folder that cannot be listed."""
    if not _is_folder(path):
        return False
    try:
        visible(path)
    except DataError:
        return True
    return False


def _chosen_inputs(source: Path, series: str, modality: str | None) -> list[Input]:
    from medseg.intake.series import choose_series, series_among

    visible(source)
    found: list[Series] = []
    lost: list[Input] = []
    lone: dict[Path, bool] = {}
    for folder in folders_below(source):
        headers = dicom_headers(folder)
        groups = series_among([h for h in headers.values() if h is not None and h.kind != "other"])
        lone[folder] = len(groups) == 1
        found += groups
        if not groups:  # among readable slices an unreadable one is told of when their series is read
            lost += _unreadable(headers)
    if not found and not lost:
        raise DataError(f"{source}: no DICOM series to choose from", got=f"--series {series!r}")
    chosen = choose_series(found, series, modality=modality) if found else []
    return lost + [one for each in chosen for one in _inputs_of(each, alone=lone[each.headers[0].path.parent])]


def _dicom_inputs(folder: Path) -> list[Input]:
    """X-rays and multi-frame files one each; all single slices of the folder together.

    What cannot be read stays an input, the folder itself or a file in it.
    """
    from medseg.intake.series import series_among

    headers = dicom_headers(folder)
    images = [h for h in headers.values() if h is not None and h.kind != "other"]
    groups = series_among(images)
    volumes = [group for group in groups if any(header.kind == "slice" for header in group.headers)]
    inputs = [Input(h.id, h.path) for h in images if h.kind in ("picture", "frames")]
    if len(volumes) == 1:
        return [*inputs, *(i for i in _inputs_of(volumes[0], alone=len(groups) == 1) if i not in inputs)]
    if volumes:
        return [*inputs, Input(_hash(volume.uid for volume in volumes), folder)]
    return inputs + _unreadable(headers)


def _is_folder(path: Path) -> bool:
    """As `Path.is_dir`, which raises where a link leads into a closed folder."""
    return os.path.isdir(path)  # noqa: PTH112


def _unreadable(headers: Mapping[Path, Header | None]) -> list[Input]:
    """Those without a header; folders of one name have ids of their own."""
    lost = [path for path, header in headers.items() if header is None]
    return [Input(_hash([str(path.absolute())]) if _is_folder(path) else stem(path), path) for path in lost]


def _inputs_of(series: Series, *, alone: bool) -> list[Input]:
    """The inputs of one series, the only one of its folder or not."""
    inputs = [Input(h.id, h.path) for h in series.headers if h.kind in ("picture", "frames")]
    slices = [header for header in series.headers if header.kind == "slice"]
    if slices:
        folder = slices[0].path.parent
        inputs.append(Input(_hash([series.uid]), folder if alone else folder / f"#{series.uid}"))
    return inputs


def _hash(uids: Iterable[str]) -> str:
    from medseg.intake.dicom_header import short_hash

    return short_hash("\n".join(sorted(uids)))


def _header_or_none(path: Path) -> Header | None:
    from medseg.intake.dicom_header import read_header

    try:
        return read_header(path)
    except ImageError:
        return None


def _is_plain_input(path: Path) -> bool:
    return may_be_file(path) and is_plain_image(path) and not is_picture_of_mask(path) and not is_dicom(path)


def _refuse_picture_of_mask(source: Path) -> None:
    if is_picture_of_mask(source) and not is_dicom(source):
        raise DataError(
            f"{source}: by its name a preview or the like that medseg wrote, and no image",
            next_step="give the image that it shows; rename the file if it is one",
        )


def _refuse_choice(source: Path, series: str | None) -> None:
    if series is not None:
        raise DataError(
            f"{source}: a single file leaves no series to choose",
            got=f"--series {series!r}",
            next_step="leave --series out, or give the folder",
        )


def _refuse_twins(inputs: Iterable[Input]) -> None:
    seen: dict[str, Path] = {}
    for found in inputs:
        if found.id in seen:
            raise DataError(
                f"two inputs with the id {found.id}",
                got=f"{seen[found.id]} and {found.path}",
                expected="one output per id",
                next_step=_twins_step(found.path),
            )
        seen[found.id] = found.path


def _twins_step(path: Path) -> str:
    """One id of two series' folders is one series: half of it must not be given alone."""
    if path.is_dir() or split_series(path)[1] is not None:
        from medseg.intake.series import SCATTERED_STEP

        return f"they hold one series: {SCATTERED_STEP}"
    return "rename one of them, or give them, or their folders, one at a time"
