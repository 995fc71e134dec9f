"""What a chain of transforms is, as a hash: the same for the same result, another one when anything changes."""

from __future__ import annotations

import enum
import functools
import hashlib
import inspect
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch

import medseg
from medseg.errors import BundleError
from medseg.files import sha256_of

PACKAGES = ("medseg", "monai", "torch", "numpy", "scipy", "nibabel", "SimpleITK", "pydicom", "pillow", "scikit-image")
"""Whoever reads files or computes in a transform; that one is not installed counts, too."""

_OWN_ROOMS = ("intake", "transforms", "dicom", "geometry.py", "case.py", "datasets/fingerprint.py")
_VERSIONED = frozenset({"medseg", "monai", "torch", "numpy", "scipy", "nibabel", "builtins", "functools", "logging"})
_PLAIN = (str, bytes, int, float, complex, type(None), PurePath)
_NAMED = (torch.dtype, torch.device, torch.memory_format, np.dtype, np.generic, enum.Enum, BuiltinFunctionType)


def fingerprint(chain: Callable[[Any], Any]) -> str:
    """SHA-256 over the transforms' classes, settings and code, and the versions of all packages that they rest on.

    Settings are read from the objects themselves, so that a default that changed counts like a value in a
    configuration. Code outside the versioned packages counts by its source or byte code, medseg's own by its files.

    Raises
    ------
    BundleError
        A setting that cannot be told from another one, such as an open file.
    """
    parts = [f"{name} {_version(name)}" for name in PACKAGES]
    parts += [f"python {sys.version_info[:2]}", f"source {_own_source()}", describe(chain)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def describe(thing: Any, within: tuple[int, ...] = ()) -> str:
    """`thing` with all that is in it, as text that another process writes alike.

    Parameters
    ----------
    thing
        A transform, or a setting of one.
    within
        Ids of what `thing` is a part of, so that circles end.

    Raises
    ------
    BundleError
        Something in it has no content that can be read.
    """
    if isinstance(thing, _NAMED) and not _is_bound(thing):
        return f"{type(thing).__name__} {thing!r}"
    if isinstance(thing, _PLAIN):
        return f"{type(thing).__name__} {thing!r}"
    if id(thing) in within:
        return f"circle {len(within) - within.index(id(thing))}"
    inside = functools.partial(describe, within=(*within, id(thing)))
    for kind in (_of_numbers, _of_container, _of_code):
        text = kind(thing, inside)
        if text is not None:
            return text
    return _of_object(thing, inside)


_Inside = Callable[[Any], str]


def _of_numbers(thing: Any, inside: _Inside) -> str | None:
    if isinstance(thing, torch.Tensor):
        return f"{type(thing).__name__} of {thing.dtype} {inside(thing.detach().cpu().float().numpy())}"
    if isinstance(thing, np.ndarray):
        values = inside(thing.tolist()) if thing.dtype == object else hashlib.sha256(thing.tobytes()).hexdigest()
        return f"array {thing.dtype} {thing.shape} {values}"
    return "random state" if isinstance(thing, np.random.RandomState) else None  # no transform here draws


def _of_container(thing: Any, inside: _Inside) -> str | None:
    if isinstance(thing, Mapping):
        return f"{{{', '.join(sorted(f'{inside(key)}: {inside(value)}' for key, value in thing.items()))}}}"
    if isinstance(thing, (set, frozenset)):
        return f"set [{', '.join(sorted(inside(one) for one in thing))}]"
    if isinstance(thing, (list, tuple)):
        return f"{type(thing).__name__} [{', '.join(inside(one) for one in thing)}]"
    return None


def _of_code(thing: Any, inside: _Inside) -> str | None:
    if isinstance(thing, type):
        return f"class {_name(thing)} {_source(thing)}"
    if isinstance(thing, functools.partial):
        return f"partial {inside([thing.func, thing.args, thing.keywords])}"
    if isinstance(thing, MethodType):
        return f"method {inside([thing.__func__, thing.__self__])}"
    if isinstance(thing, FunctionType):
        captured = [cell.cell_contents for cell in thing.__closure__ or ()]
        kept = inside([thing.__defaults__, thing.__kwdefaults__, captured])
        return f"function {_name(thing)} {_byte_code(thing.__code__)} {kept}"
    return f"module {thing.__name__}" if isinstance(thing, ModuleType) else None


def _of_object(thing: Any, inside: _Inside) -> str:
    """By class and attributes."""
    slots = [name for each in type(thing).__mro__ for name in getattr(each, "__slots__", ())]
    content = {
        **{name: getattr(thing, name) for name in slots if hasattr(thing, name)},
        **getattr(thing, "__dict__", {}),
    }
    if not content and not hasattr(thing, "__dict__"):
        raise BundleError(
            "a transform holds what cannot be told from another one, so its results cannot be kept on disk",
            got=f"a {type(thing).__name__}",
            next_step="train without cache_dir",
        )
    return f"{inside(type(thing))} {inside(content)}"


def _is_bound(thing: Any) -> bool:
    """A method of an object written in C, whose text would tell where it lies in memory and not what it is."""
    return isinstance(thing, BuiltinFunctionType) and not isinstance(thing.__self__, (ModuleType, type, type(None)))


def _name(thing: type | FunctionType) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"


def _source(kind: type) -> str:
    """The file in which a class outside the versioned packages is written, by its hash."""
    if kind.__module__.split(".")[0] in _VERSIONED or kind.__module__ in sys.stdlib_module_names:
        return ""
    try:
        return sha256_of(Path(inspect.getfile(kind)))
    except (TypeError, OSError):  # written in a notebook, or compiled
        return str([_byte_code(one.__code__) for one in vars(kind).values() if isinstance(one, FunctionType)])


def _byte_code(code: CodeType) -> str:
    """What the code does, wherever it stands."""
    constants = [_byte_code(one) if isinstance(one, CodeType) else repr(one) for one in code.co_consts]
    text = repr((code.co_code, constants, code.co_names, code.co_varnames))
    return hashlib.sha256(text.encode()).hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


@functools.cache
def _own_source() -> str:
    """medseg's rooms that read and prepare images: its version alone would not tell one checkout from the next."""
    here = Path(medseg.__file__).parent
    rooms = [here / room for room in _OWN_ROOMS]
    files = [file for room in rooms for file in ([room] if room.is_file() else sorted(room.rglob("*.py")))]
    return hashlib.sha256("".join(sha256_of(file) for file in files).encode()).hexdigest()
