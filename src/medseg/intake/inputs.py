"""FILE_OR_DIR of the commands: which images it stands for, and the id of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.errors import DataError, ImageError
from medseg.intake.files import is_dicom, is_plain_image, stem

if TYPE_CHECKING:
    from medseg.intake.dicom_header import Header

_OUR_OUTPUTS = ("_preview.png", "_comparison.png")


@dataclass(frozen=True)
class Input:
    """One image to work on.

    Attributes
    ----------
    id
        Names the outputs: the file's stem; for DICOM a hash that tells nothing about the patient.
    path
        The file, or the folder of its DICOM series.
    """

    id: str
    path: Path


def find_inputs(path: Path | str) -> tuple[Input, ...]:
    """The images that a file or a folder stands for, by name.

    A file is itself. A folder gives its images, and the DICOM in it and in the folders directly inside it: single
    slices are one series per folder, each X-ray and each multi-frame file is an input of its own. Previews and
    comparisons that medseg wrote, hidden files and files of other kinds are passed over.

    Raises
    ------
    DataError
        No image at all, or two inputs with one id.
    """
    source = Path(path)
    if not source.exists():
        raise DataError(f"{source}: no such file or folder")
    if source.is_file():
        return (Input(case_id(source), source),)
    entries = _visible(source)
    inputs = [Input(stem(e), e) for e in entries if _is_plain_input(e)]
    for folder in (source, *(e for e in entries if e.is_dir())):
        inputs += _dicom_inputs(folder)
    if not inputs:
        raise DataError(
            f"{source}: no readable input in the folder",
            got=f"{len(entries)} files and folders",
            expected="images, a DICOM series, or folders of DICOM series",
        )
    _refuse_twins(inputs)
    return tuple(sorted(inputs, key=lambda found: (found.path, found.id)))


def case_id(path: Path | str) -> str:
    """The id of one input: the file's stem without its suffix (".nii.gz" wholly).

    For DICOM the first 12 hex digits of the SHA-256 of the SeriesInstanceUID; of the SOPInstanceUID for an X-ray,
    as one series holds several of them.
    """
    source = Path(path)
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


def _dicom_inputs(folder: Path) -> list[Input]:
    """X-rays and multi-frame files one each; all single slices of the folder together.

    Files that cannot be read stay inputs: reading them later names what is wrong, for that case alone.
    """
    files = [entry for entry in _visible(folder) if is_dicom(entry)]
    headers = {file: _header_or_none(file) for file in files}
    readable = [h for h in headers.values() if h is not None and h.kind != "other"]
    inputs = [Input(h.id, h.path) for h in readable if h.kind in ("picture", "frames")]
    slices = [h for h in readable if h.kind == "slice"]
    if slices:
        return [*inputs, Input(_series_id(slices), folder)]
    return inputs + [Input(stem(file), file) for file, header in headers.items() if header is None]


def _series_id(slices: Sequence[Header]) -> str:
    from medseg.intake.dicom_header import short_hash

    return short_hash("\n".join(sorted({header.series for header in slices})))


def _header_or_none(path: Path) -> Header | None:
    from medseg.intake.dicom_header import read_header

    try:
        return read_header(path)
    except ImageError:
        return None


def _visible(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def _is_plain_input(path: Path) -> bool:
    return path.is_file() and is_plain_image(path) and not path.name.endswith(_OUR_OUTPUTS) and not is_dicom(path)


def _refuse_twins(inputs: Iterable[Input]) -> None:
    seen: dict[str, Path] = {}
    for found in inputs:
        if found.id in seen:
            raise DataError(
                f"two inputs with the id {found.id}",
                got=f"{seen[found.id]} and {found.path}",
                expected="one output per id",
                next_step="rename one of them, or give them one at a time",
            )
        seen[found.id] = found.path
