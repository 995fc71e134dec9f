"""A bundle in plain text, for `medseg bundle show`: what it does, on which terms, and how its network is built."""

from __future__ import annotations

import ast
import hashlib
import operator
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.bundle.check.expressions import expression_tree
from medseg.bundle.check.lines import Unreadable, read
from medseg.bundle.check.plans import Plan, Reader
from medseg.bundle.locate import WEIGHTS_FILE
from medseg.bundle.metadata import METADATA_FILE, Metadata, read_metadata
from medseg.bundle.printable import printable
from medseg.bundle.trust import let_in, merge, require_trust
from medseg.errors import BundleError

if TYPE_CHECKING:
    from torch import nn

NETWORK_ID = "network_def"
CONFIG_FILES = ("common.yaml", "common.json", "inference.yaml", "inference.json", "train.yaml", "train.json")
"""Where `network_def` is looked for, in this order: medseg's bundles, then those of MONAI's model zoo."""

_FREE_SIZE = 4
_ANY_SIZE = 64
_LARGEST_EXPONENT = 16
_LARGEST_BASE = 10**6


def _power(base: int, exponent: int) -> int:
    if (
        not 0 <= exponent <= _LARGEST_EXPONENT or abs(base) > _LARGEST_BASE
    ):  # 9**9**9 in a stranger's metadata would never end
        raise SyntaxError("not a size: a power that may never end")
    return base**exponent


_ARITHMETIC: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Pow: _power,
}


def describe_bundle(bundle: Path, *, trust: bool = False) -> str:
    """Text on the bundle in the folder `bundle`, with the table of its network's layers.

    Building the network runs what the bundle's configuration names, so an untrusted bundle is held to the list.

    Raises
    ------
    BundleError
        Where metadata or configuration are missing or wrong, or the network cannot be built.
    """
    metadata = read_metadata(bundle)
    config = network_config(bundle)
    lines = [f"{title + ':':<17}{text}" for title, text in _facts(bundle, metadata) if text]
    settings = [f"  {key}: {_plain(value)}" for key, value in read_config(config).items() if _is_setting(key, value)]
    network = _network_table(bundle, config, metadata, trust=trust)
    return printable("\n".join([*lines, "", f"settings ({config.name}):", *settings, "", "network:", network]))


def network_config(bundle: Path) -> Path:
    """The configuration file of the bundle that defines its network."""
    files = [bundle / "configs" / name for name in CONFIG_FILES]
    for file in files:
        if file.is_file() and NETWORK_ID in read_config(file):
            return file
    raise BundleError(f"{bundle}: no network", expected=f"{NETWORK_ID} in configs/common.yaml")


def read_config(path: Path) -> dict[str, Any]:
    """The raw content of one YAML or JSON configuration file, nothing in it evaluated."""
    try:
        content = read(path).root.value()
    except Unreadable as error:
        raise BundleError(f"{path}{f', line {error.line}' if error.line else ''}: {error.what}") from error
    if not isinstance(content, dict):
        raise BundleError(
            f"{path}: no configuration", got=type(content).__name__, expected="a mapping of ids to values"
        )
    return content


def build_network(bundle: Path, config: Path, *, trust: bool = False) -> nn.Module:
    """The untrained network that `config` of the bundle defines.

    Raises
    ------
    BundleError
        It cannot be built, or wants more than an untrusted bundle may.
    """
    plan, reader = Plan("network", (config,), own=False), Reader()
    trusted = require_trust(bundle, merge(bundle, plan, reader), trust=trust)
    if trusted:
        let_in(bundle)
    parser = _parser(trusted=trusted)
    parser.read_meta(str(bundle / METADATA_FILE))
    parser.read_config(str(config))
    parser["bundle_root"] = str(bundle)
    try:
        return parser.get_parsed_content(NETWORK_ID)
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, ImportError) as error:
        raise BundleError(f"{config}: {NETWORK_ID} cannot be built: {_root(error)}") from error


def _parser(*, trusted: bool) -> Any:
    if trusted:
        from monai.bundle import ConfigParser

        return ConfigParser()
    from medseg.bundle.guard import GuardedParser

    return GuardedParser()


def _facts(bundle: Path, metadata: Metadata) -> list[tuple[str, str | None]]:
    labels = ", ".join(f"{value} {name}" for value, name in metadata.labels.items())
    shape = " x ".join(map(str, metadata.spatial_shape))
    channels = f"{metadata.in_channels} channel{'s' if metadata.in_channels > 1 else ''}"
    return [
        ("name", metadata.name),
        ("version", metadata.version),
        ("task", metadata.task),
        ("description", metadata.description),
        ("input", f"{metadata.modality}, {metadata.spatial_dims}-D, {channels}, {shape}"),
        ("labels", labels),
        ("data", metadata.data_source),
        ("copyright", metadata.copyright),
        ("weights", _weights(bundle / WEIGHTS_FILE)),
        ("weights licence", metadata.weights_license or "not stated"),
        ("folder", str(bundle)),
    ]


def _weights(path: Path) -> str:
    if not path.is_file():
        return f"none yet: train the bundle to get {WEIGHTS_FILE}"
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return f"{WEIGHTS_FILE}, {path.stat().st_size / 1e6:.2f} MB, sha256 {digest}"


def _network_table(bundle: Path, config: Path, metadata: Metadata, *, trust: bool) -> str:
    from medseg.networks import describe

    sizes = [example_size(size) for size in metadata.spatial_shape]
    return describe(build_network(bundle, config, trust=trust), (1, metadata.in_channels, *sizes))


def example_size(size: int | str) -> int:
    """A size that the expression of metadata.json allows: "*" any, "16*n" a multiple of 16; variables count as 4."""
    if isinstance(size, int):
        return size
    if size.strip() == "*":
        return _ANY_SIZE
    try:
        return _evaluate(expression_tree(size.strip()).body)
    except (SyntaxError, ZeroDivisionError) as error:
        raise BundleError("a spatial_shape of metadata.json cannot be understood", got=repr(size)) from error


def _evaluate(node: ast.expr) -> int:
    match node:
        case ast.Constant(value=int(value)):
            return value
        case ast.Name(id=name) if len(name) == 1:
            return _FREE_SIZE
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            return _ARITHMETIC[type(op)](_evaluate(left), _evaluate(right))
    raise SyntaxError(f"not a size: {ast.unparse(node)}")


def _is_setting(key: str, value: object) -> bool:
    """Whether a user would change it as a plain value: spacing, window, sizes; no expression, reference or object."""
    if isinstance(value, list):
        return bool(value) and all(_is_setting(key, part) for part in value)
    if isinstance(value, str):
        return not value.startswith(("$", "@", "%"))
    return not key.startswith("_") and isinstance(value, bool | int | float)


def _plain(value: object) -> str:
    return ", ".join(map(_plain, value)) if isinstance(value, list) else str(value)


def _root(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}"
