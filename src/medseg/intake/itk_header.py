"""What a MetaImage or NRRD header declares, checked before SimpleITK follows it: where its voxels are, and how many."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from medseg.deflate import DEFLATE_ERRORS, zlib
from medseg.errors import GeometryError, ImageError
from medseg.findings import Finding
from medseg.intake.checks import no_orientation, refuse_too_large, unreadable

_LARGEST_HEADER = 1 << 20
_DEFLATE_LIMIT = 1032
"""The most that deflate can shrink anything (zlib's technical notes)."""
_ZLIB_OR_GZIP = 47
"""zlib's wbits for "32 + 15": whichever of the two the stream begins as."""
_CHUNK_BYTES = 1 << 22
_MOST_AXES = 5
_DATA = "elementdatafile"
_ONE_EACH = ("elementspacing", "elementsize", "offset", "position", "origin", "centerofrotation")
_MATRICES = ("transformmatrix", "rotation", "orientation")
_SPACES = ("left-posterior-superior", "right-anterior-superior", "left-anterior-superior", "lps", "ras", "las")
"""Of NRRD: those in which axes are directions in the patient."""
_MILLIMETRES = ("", "?", "???", "mm", "millimeter", "millimeters", "millimetre", "millimetres")
_SCALING = {"elementtointensityfunctionslope": 1.0, "elementtointensityfunctionoffset": 0.0}
_META_BYTES = {"CHAR": 1, "UCHAR": 1, "SHORT": 2, "USHORT": 2, "INT": 4, "UINT": 4, "LONG": 4, "ULONG": 4}
_META_BYTES |= {"LONG_LONG": 8, "ULONG_LONG": 8, "FLOAT": 4, "DOUBLE": 8}
_NRRD_BYTES = {"char": 1, "int8": 1, "byte": 1, "short": 2, "int16": 2, "ushort": 2, "uint16": 2, "int": 4, "uint": 4}
_NRRD_BYTES |= {
    "int32": 4,
    "uint32": 4,
    "int64": 8,
    "uint64": 8,
    "longlong": 8,
    "ulonglong": 8,
    "float": 4,
    "double": 8,
}


@dataclass(frozen=True)
class _Declared:
    """What a header says about its voxels.

    `packing` is "raw", "deflate" (zlib or gzip) or "other"; `packed_bytes` the length of the packed voxels where the
    format states it; `skips` whether something may stand before the voxels; `files` is empty where the voxels follow
    the header in the same file.
    """

    size: tuple[int, ...]
    itemsize: int
    packing: str
    skips: bool
    header_bytes: int
    files: tuple[str, ...]
    packed_bytes: str | None = None


def check_itk_header(path: Path) -> None:
    """Refuse a header whose voxels lie outside its folder, are fewer than it declares, or would not fit the memory.

    Raises
    ------
    ImageError
        As above, a scaling of the values that ITK does not apply, or a header that cannot be read.
    GeometryError
        Lengths in another unit than mm, which ITK takes for mm.
    """
    with path.open("rb") as file:
        text = file.read(_LARGEST_HEADER)
    declared = _nrrd(text, path) if text.startswith(b"NRRD") else _meta(text, path)
    files = [path.parent / _inside(name, path) for name in declared.files] or [path]
    for file_ in files:
        if not file_.is_file():
            raise ImageError(f"{path}: the file of its voxels is not there", got=file_.name)
    start = 0 if declared.files else declared.header_bytes
    held, wanted = files[0].stat().st_size - start, math.prod(declared.size) * declared.itemsize
    if min(declared.size) < 1 or wanted > held * (1 if declared.packing == "raw" else _DEFLATE_LIMIT):
        raise _other_size(path, declared, f"{held}")
    refuse_too_large(math.prod(declared.size), declared.itemsize, path)
    if declared.packed_bytes not in (None, str(held)):
        raise ImageError(
            f"{path}: its CompressedDataSize is not the length of its compressed voxels",
            got=declared.packed_bytes or "none",
            expected=held,
            next_step="the file is damaged, or its writer left it out: write it again, by SimpleITK or uncompressed",
        )
    if declared.packing == "deflate" and not declared.skips:
        held = _inflated_bytes(files[0], start=start, enough=wanted + 1)
    if held != wanted and not declared.skips and declared.packing != "other":
        raise _other_size(path, declared, f"{held}" if held <= wanted else "more")


def voxel_files(path: Path) -> list[Path]:
    """The file beside a header that holds its voxels, if it is there; none where they follow the header.

    Raises
    ------
    OSError
        The header cannot be read.
    """
    with path.open("rb") as file:
        text = file.read(_LARGEST_HEADER)
    fields, name = (_nrrd_fields(text)[0], "datafile") if text.startswith(b"NRRD") else (_meta_fields(text)[0], _DATA)
    return [path.parent / fields[name]] if name in fields and (path.parent / fields[name]).is_file() else []


def itk_findings(path: Path) -> list[Finding]:
    """A warning where the header does not say how the voxels lie in the patient, so that left and right are a guess."""
    with path.open("rb") as file:
        text = file.read(_LARGEST_HEADER)
    if text.startswith(b"NRRD"):
        fields = _nrrd_fields(text)[0]
        space = fields.get("space", "none")
        said = fields.get("dimension") == "2" or space.lower().removesuffix("-time") in _SPACES
        got, expected = f"space: {space[:40]}", "one of the patient, such as left-posterior-superior"
    else:
        fields = _meta_fields(text)[0]
        said = fields.get("ndims") == "2" or any(name in fields for name in _MATRICES)
        got, expected = "no TransformMatrix", "TransformMatrix"
    return [] if said else [no_orientation(got, expected)]


def _inflated_bytes(path: Path, *, start: int, enough: int) -> int:
    """How many bytes the zlib or gzip stream from byte `start` on holds, counted up to `enough`.

    ITK leaves memory as it finds it where a stream ends early, and says nothing.
    """
    inflater, size = zlib.decompressobj(wbits=_ZLIB_OR_GZIP), 0
    with unreadable(path, "a compressed volume", *DEFLATE_ERRORS, EOFError), path.open("rb") as file:
        file.seek(start)
        while size < enough and not inflater.eof:
            chunk = inflater.unconsumed_tail or file.read(_CHUNK_BYTES)
            if not chunk:
                raise EOFError(f"its compressed voxels end early, after {size} bytes")
            size += len(inflater.decompress(chunk, _CHUNK_BYTES))
    return size


def _other_size(path: Path, declared: _Declared, held: str) -> ImageError:
    return ImageError(
        f"{path}: the header does not declare the voxels that its file holds",
        got=f"size {declared.size} of {declared.itemsize} bytes against {held} bytes",
        expected=f"{math.prod(declared.size) * declared.itemsize} bytes",
        next_step="the file is damaged or truncated: copy or export it again",
    )


def _inside(name: str, path: Path) -> str:
    """The name of a data file in the header's folder or below; anything else may be any file of this computer."""
    lexical, windows = PurePosixPath(name.replace("\\", "/")), PureWindowsPath(name)
    if lexical.is_absolute() or windows.drive or ".." in lexical.parts:
        raise ImageError(
            f"{path}: its header names a file outside its folder",
            expected="voxels in the same folder or below",
            next_step="put header and voxels into one folder and name the file alone",
        )
    return name


def _meta(text: bytes, path: Path) -> _Declared:
    fields, length = _meta_fields(text)
    size = _numbers(fields.get("dimsize", ""), path)
    _refuse_counts(fields, len(size), path)
    _refuse_units([fields.get("distanceunits", "")], path)
    _refuse_scaling(fields, path)
    kind = fields.get("elementtype", "").upper().removeprefix("MET_").removesuffix("_ARRAY")
    if kind not in _META_BYTES or _DATA not in fields:
        raise _no_header(path, "ElementType and ElementDataFile")
    channels = _numbers(fields.get("elementnumberofchannels", "1"), path)
    packing = "deflate" if fields.get("compresseddata", "").lower() == "true" else "raw"
    skips, files = fields.get("headersize", "0") != "0", _meta_files(fields[_DATA], path)
    packed = None if packing == "raw" else fields.get("compresseddatasize", "")  # without it ITK reads at random
    return _Declared(size, _META_BYTES[kind] * channels[0], packing, skips, length, files, packed)


def _meta_fields(text: bytes) -> tuple[dict[str, str], int]:
    """A MetaImage header: `Key = value` lines, the last of them ElementDataFile; and its length in bytes."""
    fields: dict[str, str] = {}
    length = 0
    for line in text.split(b"\n"):
        length += len(line) + 1
        key, sign, value = line.decode("latin-1").partition("=")
        if not sign:
            break
        fields[key.strip().lower()] = value.strip()
        if key.strip().lower() == _DATA:
            break
    return fields, length


def _refuse_counts(fields: Mapping[str, str], axes: int, path: Path) -> None:
    """Refuse fields of more numbers than there are axes: ITK ends the process on some of these."""
    wanted = dict.fromkeys(_ONE_EACH, axes) | dict.fromkeys(_MATRICES, axes**2)
    wrong = [name for name, count in wanted.items() if name in fields and len(fields[name].split()) != count]
    if axes > _MOST_AXES or fields.get("ndims") != str(axes) or wrong:
        raise _no_header(path, f"fields for {axes} axes, at most {_MOST_AXES}")


def _refuse_units(units: Sequence[str], path: Path) -> None:
    others = [unit for unit in units if unit.strip().lower() not in _MILLIMETRES]
    if others:
        raise GeometryError(
            f"{path}: lengths in another unit", got=", ".join(others), expected="mm", next_step="write it in mm"
        )


def _refuse_scaling(fields: Mapping[str, str], path: Path) -> None:
    stated = {name: fields[name] for name in _SCALING if name in fields}
    if any(not _equals(text, _SCALING[name]) for name, text in stated.items()):
        raise ImageError(
            f"{path}: its values are stored scaled, which ITK ignores",
            got=", ".join(f"{name} {text}" for name, text in stated.items()),
            expected="slope 1 and offset 0",
            next_step="write it again with the values themselves",
        )


def _equals(text: str, value: float) -> bool:
    try:
        return float(text) == value
    except ValueError:
        return False


def _meta_files(name: str, path: Path) -> tuple[str, ...]:
    if name.upper() == "LOCAL":
        return ()
    if name.upper().startswith("LIST") or "%" in name:
        raise _several_files(path)
    return (name,)


def _nrrd(text: bytes, path: Path) -> _Declared:
    fields, length = _nrrd_fields(text)
    size, kind = _numbers(fields.get("sizes", ""), path), fields.get("type", "").lower()
    if fields.get("dimension") != str(len(size)) or len(size) > _MOST_AXES:
        raise _no_header(path, f"sizes of as many axes as dimension says, at most {_MOST_AXES}")
    _refuse_units(re.findall(r'"([^"]*)"', f"{fields.get('spaceunits', '')} {fields.get('units', '')}"), path)
    kind = kind.removeprefix("signed ").replace("unsigned ", "u").removesuffix("_t").replace("long long", "longlong")
    itemsize = _NRRD_BYTES.get({"uchar": "byte", "uint8": "byte"}.get(kind, kind).removesuffix(" int"))
    encoding = fields.get("encoding", "").lower()
    if itemsize is None or encoding not in ("raw", "gzip", "gz", "bzip2", "bz2"):
        raise _no_header(path, "type and encoding (raw, gzip or bzip2)")
    skips = "byteskip" in fields or "lineskip" in fields
    packing = "raw" if encoding == "raw" else "deflate" if encoding in ("gzip", "gz") else "other"
    return _Declared(size, itemsize, packing, skips, length, _nrrd_files(fields.get("datafile"), path))


def _nrrd_fields(text: bytes) -> tuple[dict[str, str], int]:
    """An NRRD header: `field: value` lines up to an empty one; and its length in bytes."""
    end = re.search(rb"\r?\n\r?\n", text)
    header = text if end is None else text[: end.start()]
    fields = {}
    for line in header.decode("latin-1").splitlines()[1:]:
        key, sign, value = line.partition(":")
        if sign and not line.startswith("#") and not value.startswith("="):
            fields[key.strip().lower().replace(" ", "")] = value.strip()
    return fields, len(text) if end is None else end.end()


def _nrrd_files(name: str | None, path: Path) -> tuple[str, ...]:
    if name is None:
        return ()
    if name.upper().startswith("LIST") or "%" in name:
        raise _several_files(path)
    return (name,)


def _numbers(text: str, path: Path) -> tuple[int, ...]:
    words: Sequence[str] = text.split()
    if not words or not all(word.isdecimal() and len(word) < 20 for word in words):
        raise _no_header(path, "sizes of whole numbers")
    return tuple(int(word) for word in words)


def _no_header(path: Path, expected: str) -> ImageError:
    return ImageError(f"{path}: no readable MetaImage or NRRD header", expected=expected)


def _several_files(path: Path) -> ImageError:
    return ImageError(
        f"{path}: its voxels lie in a list of files",
        expected="one file of voxels",
        next_step="write the volume again as one file",
    )
