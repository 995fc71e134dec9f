"""A bundle's configuration files, overlays and overrides, opened as a MONAI workflow."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias

from medseg.bundle.check import check_before_data, check_before_run
from medseg.bundle.check.findings import COMMAND_LINE
from medseg.bundle.check.lines import Node
from medseg.bundle.check.merged import Merged
from medseg.bundle.check.plans import refuse_zoo
from medseg.bundle.settings import settings_behind
from medseg.bundle.trust import let_in, merged_for, require_trust
from medseg.errors import BundleError, user_error

logger = logging.getLogger(__name__)

Purpose: TypeAlias = Literal["train", "evaluate", "inference"]
_SYNTAX = ("$", "@", "%")
"""What expressions, references and macros begin with."""
_RUN_IDS: dict[Purpose, str] = {"train": "training", "evaluate": "evaluating", "inference": "inference"}


def open_workflow(
    bundle: Path,
    purpose: Purpose,
    *,
    overlays: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
    trust: bool = False,
) -> Any:
    """The ConfigWorkflow that `python -m monai.bundle run` would make of the bundle's files.

    A bundle that nobody has trusted is held to the list of allowed.toml, and its folder stays off `sys.path`.

    Parameters
    ----------
    bundle
        The bundle's folder.
    purpose
        Which of train.yaml, evaluate.yaml, inference.yaml is merged behind common.yaml.
    overlays
        Names of further files of configs/ ("smoke"), merged last.
    overrides
        Ids and values that win over all files, e.g. {"epochs": 3, "train::dataset::cache": False}.
    trust
        Record the bundle as one that may do whatever it wants, and run it as such.

    Raises
    ------
    BundleError
        The check of the configuration found mistakes (all are named, with file and line), in its text or when its
        network was built without data. Or the bundle wants more than an untrusted one may, or is laid out otherwise.
    """
    refuse_zoo(bundle)
    check_before_run(bundle, purpose, overlays=overlays, overrides=overrides)
    files = [bundle / "configs" / f"{name}.yaml" for name in ("common", purpose, *overlays)]
    merged = merged_for(bundle, purpose, overlays=overlays, overrides=overrides)
    trusted = require_trust(bundle, merged, trust=trust)
    if trusted:
        let_in(bundle)
    with _quiet_libraries(), _readable(bundle):
        workflow = _workflow(files, purpose, writable=None if trusted else _writable(overrides or {}))
    for name, value in {**(overrides or {}), "bundle_root": str(bundle.resolve())}.items():
        workflow.parser[name] = literal(value)
    if purpose != "train":
        _take_checked_precision(merged, workflow.parser)
    with _quiet_libraries():
        check_before_data(merged, workflow.parser)
    return workflow


def _take_checked_precision(merged: Merged, parser: Any) -> None:
    """Float32 in place of "auto" where the network sees other images than those that its record of bfloat16 is of."""
    behind = settings_behind("preprocessing", merged.root.value())
    elsewhere = {COMMAND_LINE, *map(str, merged.plan.overlays)}
    changed = sorted({name for name in behind for node in [merged.find(name)] if node and _is_from(node, elsewhere)})
    if changed and parser.config.get("precision") == "auto":
        logger.info("precision auto: float32; bfloat16 was not checked with another %s", ", ".join(changed))
        parser["precision"] = "fp32"


def _is_from(node: Node, files: Collection[str]) -> bool:
    return node.file in files or any(_is_from(inner, files) for _, inner in node.children())


def literal(value: Any) -> Any:
    """`value` as MONAI leaves it alone: in every text of a configuration it takes a # for :: (a folder run#2)."""
    if not isinstance(value, str) or "#" not in value or value.startswith(_SYNTAX):
        return value
    return "$" + "".join(f"\\x{ord(sign):x}" if sign in "#@%" else sign for sign in repr(value))


def _writable(overrides: Mapping[str, Any]) -> list[Path]:
    """The folders that whoever runs the bundle has named for its results."""
    names = ("output_dir", "run_dir", "cache_dir")
    return [Path(str(overrides[name])) for name in names if overrides.get(name) is not None]


def _workflow(files: Sequence[Path], purpose: Purpose, *, writable: Sequence[Path] | None) -> Any:
    """MONAI's workflow over the files; one that is held to the list where `writable` is given."""
    meta_file = str(files[0].parent / "metadata.json")
    named, run_id = [str(file) for file in files], _RUN_IDS[purpose]
    if writable is None:
        from monai.bundle import ConfigWorkflow

        return ConfigWorkflow(config_file=named, meta_file=meta_file, logging_file=False, run_id=run_id)
    from medseg.bundle.guard import GuardedWorkflow

    return GuardedWorkflow(config_file=named, meta_file=meta_file, run_id=run_id, writable=writable)


def run_workflow(workflow: Any, bundle: Path) -> None:
    """Initialise, run and finalise a workflow of `open_workflow`.

    Raises
    ------
    MedsegError
        Whatever of ours stopped it, freed from MONAI's wrappings; a configuration that MONAI cannot instantiate
        becomes a BundleError that names the bundle and the root cause.
    """
    with _bundle_errors(bundle), _quiet_libraries():
        workflow.initialize()
        workflow.run()
        workflow.finalize()


def build(workflow: Any, bundle: Path, name: str) -> Any:
    """The component `name` of a workflow of `open_workflow`; errors are those of `run_workflow`."""
    with _bundle_errors(bundle), _quiet_libraries():
        return workflow.parser.get_parsed_content(name)


@contextmanager
def _bundle_errors(bundle: Path) -> Iterator[None]:
    """Turn what MONAI raises for a broken configuration into a BundleError that names the bundle and the root cause."""
    try:
        yield
    except Exception as error:
        known = user_error(error)
        if known is not None:
            raise known from error
        wrong = _wrong_configuration(error)
        if wrong is None:
            raise
        root: BaseException = error
        while root.__cause__ is not None:
            root = root.__cause__
        got = None if root is error else f"{type(root).__name__}: {root}"
        raise BundleError(f"bundle {bundle}: {wrong}", got=got) from error


def _wrong_configuration(error: Exception) -> str | None:
    """What MONAI says is wrong with the configuration; None where the error is of something that ran."""
    text = " ".join(str(error).split())
    if text.startswith("Failed to instantiate"):
        return text.partition(" with keywords")[0]
    if text.startswith("Failed to evaluate"):
        return None if ".run()" in text else text
    if isinstance(error, SyntaxError):
        return f"an expression is no Python: {(error.text or '').strip()} ({error.msg})"
    named = text.startswith(("the referring item", "Cannot locate class or function"))
    return text.rstrip(".") if named else None


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Silence by name what MONAI and ignite say that no user can act on.

    - LoadImage makes one of each of MONAI's readers beside ours, and its nvImageCodec reader warns that it lacks CUDA
      packages which we never use.
    - MONAI warns that logging is not configured from a file; that is what we ask for: the command has set it up.
    - ignite logs an exception twice before raising it; it is told once, by whoever catches it.
    """
    quiet = {
        "monai.data.nvimgcodec_pydicom_plugin": logging.ERROR,
        "monai.bundle.workflows": logging.ERROR,
        "ignite.engine.engine": logging.CRITICAL,
    }
    if logging.getLogger().isEnabledFor(logging.INFO):  # who asked for a full log gets it
        quiet = {}
    before = {name: logging.getLogger(name).level for name in quiet}
    for name, level in quiet.items():
        logging.getLogger(name).setLevel(level)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "NvImgCodecPydicomReader: nvImageCodec decoder plugin", UserWarning)
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


@contextmanager
def _readable(bundle: Path) -> Iterator[None]:
    """What MONAI's own reader of YAML does not take although it is YAML, such as `<<`."""
    import yaml

    try:
        yield
    except yaml.YAMLError as error:
        raise BundleError(f"bundle {bundle.name}: a file of configs/ is not readable", got=str(error)) from error
