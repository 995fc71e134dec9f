"""What a chain of transforms is, as a hash: the same for the same result, another one when anything changes."""

from __future__ import annotations

import dis
import enum
import functools
import hashlib
import inspect
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePath
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any

import numpy as np
import torch

import medseg
from medseg.datasets.sources import source_hash
from medseg.errors import BundleError
from medseg.files import sha256_of

PACKAGES = ("medseg", "monai", "torch", "numpy", "scipy", "nibabel", "SimpleITK", "pydicom", "pillow", "scikit-image")
"""Whoever reads files or computes in a transform; that one is not installed counts, too."""

_OWN_ROOMS = (
    *("intake", "transforms", "dicom", "geometry.py", "case.py"),
    *("datasets/fingerprint.py", "datasets/sources.py"),
)
_VERSIONED = frozenset(
    {"medseg", "monai", "torch", "numpy", "scipy", "nibabel", "SimpleITK", "pydicom", "PIL", "skimage"}
)
_REFERENCES = "__local_refs"
"""The global in which a function of a MONAI configuration finds what its `@name` stand for."""
_PLAIN = (str, bytes, int, float, complex, type(None), PurePath)
_NAMED = (
    torch.dtype,
    torch.device,
    torch.memory_format,
    np.dtype,
    np.generic,
    enum.Enum,
    BuiltinFunctionType,
    logging.Logger,
)


def fingerprint(chain: Callable[[Any], Any]) -> str:
    """SHA-256 over the transforms' classes, settings and code, and the versions of all packages that they rest on.

    Settings are read from the objects themselves, so that a default that changed counts like a value in a
    configuration. Code outside the versioned packages counts by its file and by those that it imports (`source_hash`);
    where it has no file, in a notebook or a configuration, by its byte code and the globals that it names. medseg's
    own counts by its files.

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
    if isinstance(thing, BuiltinFunctionType) and not _is_bound(thing):  # its text may tell where its class lies
        return f"{type(thing).__name__} {thing.__module__}.{thing.__qualname__}"
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
        tensor = thing.detach().cpu()
        tensor = tensor.float() if thing.dtype == torch.bfloat16 else tensor  # NumPy has no bfloat16
        return f"{type(thing).__name__} of {thing.dtype} {inside(tensor.numpy())}"
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
        return f"class {_name(thing)} {_rests_on(thing, inside)}"
    if isinstance(thing, functools.partial):
        return f"partial {inside([thing.func, thing.args, thing.keywords])}"
    if isinstance(thing, MethodType):
        return f"method {inside([thing.__func__, thing.__self__])}"
    if isinstance(thing, FunctionType):
        captured = [cell.cell_contents for cell in thing.__closure__ or ()]
        kept = inside([thing.__defaults__, thing.__kwdefaults__, captured])
        return f"function {_name(thing)} {_byte_code(thing.__code__)} {kept} {_rests_on(thing, inside)}"
    return f"module {thing.__name__} {_rests_on(thing, inside)}" if isinstance(thing, ModuleType) else None


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


def _rests_on(code: type | FunctionType | ModuleType, inside: _Inside) -> str:
    """What decides what code outside the versioned packages does, beyond its own byte code."""
    module = _module_name(code)
    if module.partition(".")[0] in _VERSIONED | sys.stdlib_module_names:
        return ""
    try:
        file = Path(inspect.getfile(code))
    except (TypeError, OSError):
        file = None
    if file is not None and file.is_file():
        return source_hash(module, file, without=_VERSIONED)
    if isinstance(code, FunctionType):
        return inside(_named_globals(code))
    return inside([code.__bases__, dict(_members(code))]) if isinstance(code, type) else ""


def _module_name(code: type | FunctionType | ModuleType) -> str:
    """Of a function the one that it is written in: a decorator may have given it another name."""
    if isinstance(code, FunctionType):
        return str(code.__globals__.get("__name__", ""))
    return code.__name__ if isinstance(code, ModuleType) else code.__module__


def _named_globals(function: FunctionType) -> dict[str, Any]:
    """The values of the globals that a function names, of a configuration's references those alone that it names."""
    names, attributes, texts = set[str](), set[str](), set[object]()
    left = [function.__code__]
    while left:
        code = left.pop()
        names |= {step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
        attributes |= set(code.co_names)
        texts |= {one for one in code.co_consts if isinstance(one, str)}
        left += [one for one in code.co_consts if isinstance(one, CodeType)]
    found = {name: value for name, value in function.__globals__.items() if name in names}
    if _REFERENCES in found:
        found[_REFERENCES] = {name: value for name, value in found[_REFERENCES].items() if name in texts}
    packages = [value for value in found.values() if isinstance(value, ModuleType)]
    return found | {one.__name__: one for package in packages for one in _submodules(package, attributes)}


def _submodules(package: ModuleType, names: set[str]) -> Iterator[ModuleType]:
    """Those that code with these names may reach from `package`: `import a.b` binds `a`, and the code says `a.b.f`."""
    for name, value in vars(package).items():
        if name in names and isinstance(value, ModuleType) and value.__name__ == f"{package.__name__}.{name}":
            yield value
            yield from _submodules(value, names)


def _members(kind: type) -> Iterator[tuple[str, Any]]:
    """Methods and attributes that are written in a class, without what Python adds."""
    for name, value in vars(kind).items():
        if isinstance(value, (staticmethod, classmethod)):
            yield name, value.__func__
        elif isinstance(value, property):
            yield name, [value.fget, value.fset, value.fdel]
        elif isinstance(value, FunctionType) or not (name.startswith(("__", "_abc_")) or _is_slot(value)):
            yield name, value


def _is_slot(value: Any) -> bool:
    return isinstance(value, (GetSetDescriptorType, MemberDescriptorType))


def _byte_code(code: CodeType) -> str:
    """What the code does, wherever it stands."""
    text = repr((code.co_code, [_constant(one) for one in code.co_consts], code.co_names, code.co_varnames))
    return hashlib.sha256(text.encode()).hexdigest()


def _constant(value: Any) -> str:
    if isinstance(value, CodeType):
        return _byte_code(value)
    return repr(sorted(map(repr, value)) if isinstance(value, frozenset) else value)  # a set's order is the process's


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
