"""Prepared cases on disk: read again in the next run, made again when a transform, a version or a file has changed."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.utils import ImageMetaKey

from medseg.datasets.fingerprint import fingerprint
from medseg.datasets.items import Item
from medseg.errors import BundleError, OutputError
from medseg.files import SharedFolder, atomic_write, sha256_of
from medseg.intake import source_files

logger = logging.getLogger(__name__)

SUFFIX = ".case"
_HEAD = b"medseg case 1 "
_FILE_NAME = str(ImageMetaKey.FILENAME_OR_OBJ)
_PLAIN = (str, int, float, bool, type(None))


class DiskCache:
    """A folder of prepared cases, one file each, named after what they were made from.

    A name is the SHA-256 of the transforms (see `fingerprint`) and of the case: its values, and the content of each
    file that it names, with the voxels that a header has in another one. Whoever changes a transform or a file, or
    installs another version, gets other names; nothing is ever out of date. Files appear whole (written aside, then
    renamed), so that several processes may share a folder; each begins with the hash of its content, and one that is
    damaged is made again with a warning. They hold tensors and plain values and are read without unpickling anything
    else.

    Parameters
    ----------
    folder
        Made if it is absent.
    transforms
        What the cases go through.
    most_gib
        Above this size of the folder the files that were not used for longest are removed by `prune`.

    Raises
    ------
    BundleError
        A transform that cannot be told from another one, or a size that is none.
    OutputError
        Nothing can be kept in `folder`: a file is there, or it may not be written to.
    """

    def __init__(self, folder: str | os.PathLike[str], *, transforms: Callable[[Any], Any], most_gib: float) -> None:
        if not most_gib > 0:
            raise BundleError("disk cache: size in GiB", got=most_gib, expected="above 0")
        self.folder, self.most_bytes = Path(folder), int(most_gib * 2**30)
        self.transforms = fingerprint(transforms)
        self._used: set[str] = set()
        self._made: list[str] = []
        self._full = False
        self._shared: SharedFolder | None = _opened(self.folder)

    def __getstate__(self) -> dict[str, Any]:
        """For workers: the folder's lock stays with the process that opened it."""
        return {**vars(self), "_shared": None}

    def get(self, case: Item, make: Callable[[], Item | list[Item]]) -> Item | list[Item]:
        """The prepared `case`, read, or made by `make` and written."""
        path = self.folder / f"{self._key(case)}{SUFFIX}"
        self._used.add(path.name)
        content = self._read(path)
        if content is not None:
            return _named(content, case)
        made = make()
        self._made.append(path.name)
        self._write(path, made)
        return made

    @property
    def counts(self) -> tuple[int, int]:
        """How many cases were read, and how many were made."""
        made = len(set(self._made))
        return len(self._used) - made, made

    def prune(self) -> int:
        """Remove what was not used for longest, as long as the folder is too large; the number of files removed.

        What this object has read or written stays.
        """
        files = sorted(_sizes(self.folder), key=lambda entry: entry[1])
        excess, removed = sum(size for _, _, size in files) - self.most_bytes, 0
        for path, _, size in files:
            if excess > 0 and path.name not in self._used:
                path.unlink(missing_ok=True)
                excess, removed = excess - size, removed + 1
        if excess > 0:
            logger.warning(
                "the cases of this training take %.1f GiB more in %s than disk_gib allows", excess / 2**30, self.folder
            )
        return removed

    def _key(self, case: Mapping[str, Any]) -> str:
        content = {key: _content_of(value) for key, value in case.items()}
        return hashlib.sha256(json.dumps([self.transforms, content], sort_keys=True).encode()).hexdigest()

    def _read(self, path: Path) -> Item | list[Item] | None:
        try:
            data = path.read_bytes()
            os.utime(path)
        except OSError:  # not there, or another process has just removed it
            return None
        head, _, body = data.partition(b"\n")
        if head != _HEAD + hashlib.sha256(body).hexdigest().encode():
            logger.warning("the cached case %s is damaged and made again", path)
            return None
        decoded: Item | list[Item] = _decoded(torch.load(io.BytesIO(body), weights_only=True))
        return decoded

    def _write(self, path: Path, made: Item | list[Item]) -> None:
        buffer = io.BytesIO()
        torch.save(_encoded(made), buffer)
        body = buffer.getvalue()
        try:
            with atomic_write(path) as aside:
                aside.write_bytes(_HEAD + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
        except OSError as error:
            told, self._full = self._full, True
            if not told:
                logger.warning("not all cases are cached in %s: %s", self.folder, error.strerror)


def _opened(folder: Path) -> SharedFolder:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return SharedFolder(folder)
    except OSError as error:
        raise OutputError(
            f"cache_dir {folder}: prepared cases cannot be kept there",
            got=error.strerror,
            expected="a folder to write to, or a place for one",
            next_step="name another folder: cache_dir=FOLDER, or train without cache_dir",
        ) from error


def _content_of(value: Any) -> Any:
    """A case's value, or of a path what lies there: the same image in another place is the same case."""
    if isinstance(value, (list, tuple)):
        return [_content_of(one) for one in value]
    path = Path(value) if isinstance(value, (str, os.PathLike)) else None
    if path is not None and path.is_file():
        return {"file": "".join(path.suffixes), "sha256": [sha256_of(one) for one in source_files(path)]}
    if path is not None and os.fspath(path) and path.is_absolute() and path.is_dir():
        return {one.relative_to(path).as_posix(): sha256_of(one) for one in sorted(path.rglob("*")) if one.is_file()}
    if not isinstance(value, _PLAIN):
        raise BundleError("a case's value cannot be kept on disk", got=type(value).__name__, next_step="no cache_dir")
    return value


def _encoded(value: Any) -> Any:
    """Tensors and plain values alone, as `torch.load(weights_only=True)` reads them; no file names."""
    if isinstance(value, MetaTensor):
        meta = {key: _encoded(one) for key, one in value.meta.items() if key not in (_FILE_NAME, "affine")}
        return {"is": "image", "values": value.as_tensor().clone(), "affine": value.affine, "meta": meta}
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, np.ndarray) and value.dtype != object:
        return {"is": "array", "values": torch.from_numpy(np.ascontiguousarray(value))}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {"is": "dict", "values": {str(key): _encoded(one) for key, one in value.items()}}
    if isinstance(value, (list, tuple)):
        return [_encoded(one) for one in value]
    if isinstance(value, _PLAIN):
        return value
    raise BundleError(
        "what the transforms make cannot be kept on disk",
        got=f"a {type(value).__name__}",
        expected="tensors, arrays, numbers, texts",
        next_step="train without cache_dir",
    )


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(one) for one in value]
    if not isinstance(value, dict):
        return value
    if value["is"] == "image":
        meta = {key: _decoded(one) for key, one in value["meta"].items()}
        return MetaTensor(value["values"], affine=value["affine"], meta=meta)
    if value["is"] == "array":
        return value["values"].numpy()
    return {key: _decoded(one) for key, one in value["values"].items()}


def _named(content: Item | list[Item], case: Item) -> Item | list[Item]:
    """With the files' names as they are now."""
    for item in content if isinstance(content, list) else [content]:
        for key, value in item.items():
            if isinstance(value, MetaTensor) and isinstance(case.get(key), str):
                value.meta[_FILE_NAME] = case[key]
    return content


def _sizes(folder: Path) -> list[tuple[Path, float, int]]:
    """Files, when they were last used, their sizes."""
    found = []
    for path in folder.glob(f"*{SUFFIX}"):
        try:
            status = path.stat()
        except OSError:  # another process has just removed it
            continue
        found.append((path, status.st_mtime, status.st_size))
    return found
