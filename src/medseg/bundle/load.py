"""A bundle's configuration files, overlays and overrides, opened as a MONAI workflow."""

from __future__ import annotations

import difflib
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias

from medseg.errors import BundleError, user_error

Purpose: TypeAlias = Literal["train", "evaluate", "inference"]
_RUN_IDS: dict[Purpose, str] = {"train": "training", "evaluate": "evaluating", "inference": "inference"}


def open_workflow(
    bundle: Path,
    purpose: Purpose,
    *,
    overlays: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
) -> Any:
    """The ConfigWorkflow that `python -m monai.bundle run` would make of the bundle's files.

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

    Raises
    ------
    BundleError
        A file is missing, or an overlay or override names an id that the configuration does not have (further
        arguments of a component with a `_target_` can be given).
    """
    from monai.bundle import ConfigWorkflow

    configs = bundle / "configs"
    files = [configs / "common.yaml", configs / f"{purpose}.yaml", *(_overlay(configs, name) for name in overlays)]
    for file in files:
        if not file.is_file():
            raise BundleError(f"bundle {bundle}: {file.name} is missing", expected=f"a file {file}")
    with _quiet_libraries(), _readable(bundle, overlays, purpose):
        workflow = ConfigWorkflow(
            config_file=[str(file) for file in files],
            meta_file=str(configs / "metadata.json"),
            logging_file=False,
            run_id=_RUN_IDS[purpose],
        )
    for name, value in (overrides or {}).items():
        if name not in workflow.parser and not _is_argument(name, workflow.parser):
            raise _unknown(name, workflow.parser)
        workflow.parser[name] = value
    workflow.parser["bundle_root"] = str(bundle.resolve())
    return workflow


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
def _readable(bundle: Path, overlays: Sequence[str], purpose: Purpose) -> Iterator[None]:
    """What MONAI raises while it merges files; an id such as `train::loss` it merges only into what is there."""
    import yaml

    try:
        yield
    except (yaml.YAMLError, json.JSONDecodeError) as error:
        raise BundleError(f"bundle {bundle.name}: a file of configs/ is not readable", got=str(error)) from error
    except KeyError as error:
        raise BundleError(
            f"bundle {bundle.name}: overlay {', '.join(overlays)} names an id that {purpose}.yaml does not have",
            got=str(error.args[0]).removeprefix("query key: "),
            next_step=None if purpose == "train" else "name the folder of a run as the bundle: its overlays are merged",
        ) from error


def _overlay(configs: Path, name: str) -> Path:
    known = sorted({path.stem for path in configs.glob("*.yaml")} - {"common", *_RUN_IDS})
    if name not in known:
        raise BundleError(
            f"bundle {configs.parent.name}: unknown overlay",
            got=name,
            expected=", ".join(known) or "none: this bundle has no overlays, in a run's folder they are merged already",
        )
    return configs / f"{name}.yaml"


def _is_argument(name: str, parser: Any) -> bool:
    """True for a further argument of a component that is there: `network_def::dropout`; its class checks the name."""
    parent = name.replace("#", "::").rpartition("::")[0]
    component = parser.get(parent) if parent else None
    return isinstance(component, dict) and "_target_" in component


def _unknown(name: str, parser: Any) -> BundleError:
    top = name.replace("#", "::").split("::")[0]
    known = [key for key in parser.config if key not in ("_meta_", "imports")]
    close = difflib.get_close_matches(top, known, n=1)
    hint = f"did you mean {close[0]}?" if close and top not in known else None
    return BundleError(f"the configuration has no {name}", expected=f"one of {', '.join(known)}", next_step=hint)
