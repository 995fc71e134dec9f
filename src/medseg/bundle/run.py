"""The folder of a training run, which is itself a complete bundle; named in the bundles' configurations.

A bundle needs to know where it lies, and a run must write down the configuration that it really runs: files, overlays
and command-line overrides merged. MONAI hands neither to a configuration, so both are taken from the ConfigWorkflow
that is evaluating it. `python -m monai.bundle run training` and `medseg train` thereby leave the same folder.
"""

from __future__ import annotations

import atexit
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from medseg.bundle.pack import own_files
from medseg.bundle.resume import read_config, refuse_other_run, with_beginning
from medseg.errors import BundleError, OutputError
from medseg.files import OnlyProcess, atomic_write

WORKFLOW_FILES = ("evaluate.yaml", "inference.yaml")
_WRITTEN = (
    *("configs", "docs", "models", "tensorboard", "LICENSE", "datalist.json", "run.json"),
    *("history.csv", "training.png", "training.svg"),
)
_RUN_VALUES = {
    "run_dir": "@bundle_root",
    "datalist": "$@bundle_root + '/datalist.json'",
    "resume": False,
}


def root() -> str:
    """Folder of the bundle whose configuration is being evaluated: the default of `bundle_root`."""
    return str(running_workflow().config_root_path.resolve().parent)


def open_run(run_dir: str, *, datalist: str, resume: bool) -> None:
    """Make `run_dir` a complete bundle with the configuration that is being run, before training starts.

    Written: configs/ (common.yaml and train.yaml as merged and overridden; evaluate.yaml, inference.yaml, metadata.json
    and logging.conf as they are), datalist.json, LICENSE, docs/README.md and the bundle's own scripts. Weights come
    later, to models/. Where several processes train together, the first does this while the others wait.

    Raises
    ------
    BundleError
        `run_dir` holds anything that would be lost: weights or checkpoints unless `resume`, another bundle, files that
        no run wrote. Or `resume`, and it holds no run, another one (`medseg.bundle.resume`), or a finished one. Or
        another process trains in it. Or the configuration's `seed` is no seed.
    DataError
        The datalist cannot be used, or `resume`, and it has other cases.
    OutputError
        `run_dir` cannot be written.
    """
    from medseg.training.distributed import first_alone  # late: it brings torch

    workflow = running_workflow()
    first_alone(lambda: _open(workflow, run_dir, datalist=datalist, resume=resume))


def _open(workflow: Any, run_dir: str, *, datalist: str, resume: bool) -> None:
    # Late: it brings numpy, which reading a configuration does not need.
    from medseg.datasets.datalist import copy_datalist, read_datalist
    from medseg.datasets.label_meaning import check_label_meaning

    source, target = workflow.config_root_path.resolve(), Path(run_dir).resolve()
    if resume:
        _refuse_no_run(target)
    else:
        _refuse_overwriting(target)
    check_label_meaning(read_datalist(datalist), _labels(workflow), path=datalist, bundle=source.parent.name)
    _refuse_seed(workflow)
    configs = _run_configs(workflow, source)
    try:
        for name in ("configs", "docs", "models"):
            (target / name).mkdir(parents=True, exist_ok=True)
        _refuse_second_process(target)
        if resume:
            _refuse_other_run(workflow, target, configs, datalist)
            configs["train.yaml"] = with_beginning(target, configs["train.yaml"])
        _write_configs(configs, source, target / "configs")  # first: it makes the folder known as one of a run
        if Path(datalist).resolve() != target / "datalist.json":
            copy_datalist(datalist, target / "datalist.json")
        _copy_scripts(source.parent, target)
        _write_readme(source.parent, target)
    except OSError as error:
        raise OutputError(f"{target}: the run's folder cannot be written", got=str(error)) from error


def _refuse_overwriting(target: Path) -> None:
    weights = sorted(f"models/{path.name}" for path in (target / "models").glob("[!.]*.pt"))  # not what a kill left
    found = weights or [name for name in _WRITTEN if _holds(target / name) and not _is_run(target)]
    if found:
        raise BundleError(
            f"{target}: the folder already holds {', '.join(found)}",
            expected="a new folder, so that nothing is lost",
            next_step="name another folder" + (", or continue this run with --resume" if _can_go_on(target) else ""),
        )


def _refuse_seed(workflow: Any) -> None:
    """The order of the cases and their augmentation are drawn from the seed long after the folder is written."""
    if "seed" not in workflow.parser.config:
        return
    seed = workflow.parser.get_parsed_content("seed")
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise BundleError("the configuration's seed", got=repr(seed), expected="a whole number from 0 on")


def _refuse_second_process(target: Path) -> None:
    atexit.register(close_run, target)  # of `python -m monai.bundle run`
    if not OnlyProcess.enter(target / "models"):
        raise BundleError(
            f"{target}: another process trains in this folder",
            expected="one at a time: two would write each other's checkpoints",
            next_step="wait for it or stop it, and go on with --resume; or name another folder",
        )


def close_run(run_dir: Path) -> None:
    """Let another process train in the folder: for programs that go on when their training is over."""
    OnlyProcess.leave(run_dir / "models")


def _holds(path: Path) -> bool:
    """Whether anything would be lost: a run that was killed as it began leaves empty folders, and hidden files."""
    return any(not one.name.startswith(".") for one in path.iterdir()) if path.is_dir() else path.exists()


def _refuse_no_run(target: Path) -> None:
    if not _can_go_on(target):
        raise BundleError(
            f"{target}: no run to resume", expected="models/last.pt of a run", next_step="leave out --resume"
        )


def _can_go_on(folder: Path) -> bool:
    from medseg.training.checkpoint_files import has_checkpoint  # late: it brings torch

    return _is_run(folder) and has_checkpoint(folder / "models")


def _is_run(folder: Path) -> bool:
    common = folder / "configs" / "common.yaml"
    return common.is_file() and read_config(common).get("run_dir") == _RUN_VALUES["run_dir"]


def _refuse_other_run(workflow: Any, target: Path, configs: Mapping[str, Any], datalist: str) -> None:
    refuse_other_run(
        target,
        now={**configs["common.yaml"], **configs["train.yaml"]},
        outputs=_outputs(workflow),
        datalist=datalist,
        epochs=workflow.parser.get_parsed_content("train::trainer::max_epochs"),
    )


def _outputs(workflow: Any) -> Any:
    return workflow.parser.config["_meta_"].get("network_data_format", {}).get("outputs")


def _labels(workflow: Any) -> dict[int, str]:
    """Value to name; nothing where the metadata does not say it in that form."""
    channels = ((_outputs(workflow) or {}).get("pred") or {}).get("channel_def") or {}
    return {int(value): str(name) for value, name in channels.items() if str(value).isdecimal()}


def _run_configs(workflow: Any, source: Path) -> dict[str, dict[str, Any]]:
    """common.yaml and train.yaml of the run, as YAML has them."""
    merged = {key: value for key, value in workflow.parser.config.items() if key != "_meta_"}
    common = read_config(source / "common.yaml")
    merged["bundle_root"] = common["bundle_root"]
    merged |= {key: value for key, value in _RUN_VALUES.items() if key in merged}
    parts = {"common.yaml": {key: merged[key] for key in common}}
    parts["train.yaml"] = {key: value for key, value in merged.items() if key not in common}
    return {name: yaml.safe_load(yaml.safe_dump(_plain(part), sort_keys=False)) for name, part in parts.items()}


def _write_configs(parts: Mapping[str, Mapping[str, Any]], source: Path, configs: Path) -> None:
    for name, part in parts.items():
        with atomic_write(configs / name) as temporary:
            temporary.write_text(yaml.safe_dump(part, sort_keys=False, width=120), encoding="utf-8")
    for name in (*WORKFLOW_FILES, "metadata.json", "logging.conf"):
        if source != configs:
            shutil.copyfile(source / name, configs / name)


def _copy_scripts(bundle: Path, target: Path) -> None:
    """Python that a trusted bundle brings: without it the run's configuration names what is not there."""
    for path in own_files(bundle) if bundle != target else ():
        if path.suffix == ".py":
            copy = target / path.relative_to(bundle)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)


def _write_readme(bundle: Path, target: Path) -> None:
    if bundle == target:
        return
    if (bundle / "LICENSE").is_file():
        shutil.copyfile(bundle / "LICENSE", target / "LICENSE")
    text = (
        f"# A training run of the bundle {bundle.name}\n\n"
        "This folder is a complete MONAI bundle. `run.json` says what ran, `configs/` with which settings,\n"
        "`datalist.json` on which cases, `models/model.pt` are the best weights, `history.csv` and\n"
        "`training.png` are the curves, `tensorboard/` has them too, with pictures of the validation cases.\n"
    )
    (target / "docs" / "README.md").write_text(text, encoding="utf-8")


def _plain(value: Any) -> Any:
    """Overrides from Python or from fire may hold tuples and paths, which plain YAML does not know."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value


def running_workflow() -> Any:
    """The ConfigWorkflow that is evaluating a configuration, found among the callers."""
    from monai.bundle import ConfigWorkflow

    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        workflow = frame.f_locals.get("self")
        if isinstance(workflow, ConfigWorkflow):
            return workflow
    raise BundleError(
        "no bundle is running, so its folder is not known",
        expected="a call from within python -m monai.bundle run, or medseg",
        next_step="give it: --bundle_root FOLDER",
    )
