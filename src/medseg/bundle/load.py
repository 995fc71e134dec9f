"""A bundle's configuration files, overlays and overrides, opened as a MONAI workflow."""

from __future__ import annotations

import difflib
import logging
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
        A file is missing, or an override names an id that the configuration does not have.
    """
    from monai.bundle import ConfigWorkflow

    configs = bundle / "configs"
    files = [configs / "common.yaml", configs / f"{purpose}.yaml", *(_overlay(configs, name) for name in overlays)]
    for file in files:
        if not file.is_file():
            raise BundleError(f"bundle {bundle}: {file.name} is missing", expected=f"a file {file}")
    with _quiet():
        workflow = ConfigWorkflow(
            config_file=[str(file) for file in files],
            meta_file=str(configs / "metadata.json"),
            logging_file=False,
            run_id=_RUN_IDS[purpose],
        )
    for name, value in (overrides or {}).items():
        if name not in workflow.parser:
            raise _unknown(name, workflow.parser)
        workflow.parser[name] = value
    workflow.parser["bundle_root"] = str(bundle.resolve())
    return workflow


@contextmanager
def bundle_errors(bundle: Path) -> Iterator[None]:
    """Turn what MONAI raises for a broken configuration into a BundleError that names the bundle and the root cause."""
    try:
        yield
    except Exception as error:
        known = user_error(error)
        if known is not None:
            raise known from error
        if not str(error).startswith("Failed to instantiate"):
            raise
        root: BaseException = error
        while root.__cause__ is not None:
            root = root.__cause__
        raise BundleError(
            f"bundle {bundle}: {str(error).splitlines()[0].split('.')[0]}", got=f"{type(root).__name__}: {root}"
        ) from error


def _overlay(configs: Path, name: str) -> Path:
    file = configs / f"{name}.yaml"
    if not file.is_file() or file.parent != configs:
        ours = {"common", "train", "evaluate", "inference"}
        known = sorted(path.stem for path in configs.glob("*.yaml") if path.stem not in ours)
        raise BundleError(f"bundle {configs.parent.name}: unknown overlay", got=name, expected=", ".join(known))
    return file


def _unknown(name: str, parser: Any) -> BundleError:
    top = name.replace("#", "::").split("::")[0]
    known = [key for key in parser.config if key not in ("_meta_", "imports")]
    close = difflib.get_close_matches(top, known, n=1)
    hint = f"did you mean {close[0]}?" if close and top not in known else None
    return BundleError(f"the configuration has no {name}", expected=f"one of {', '.join(known)}", next_step=hint)


@contextmanager
def _quiet() -> Iterator[None]:
    """MONAI warns that logging is not configured from a file; that is what we ask for: the command has set it up."""
    logger = logging.getLogger("monai.bundle.workflows")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
