"""Train a bundle on a datalist."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def train(
    bundle: str | os.PathLike[str],
    *,
    datalist: str | os.PathLike[str],
    run_dir: str | os.PathLike[str],
    overlays: Sequence[str] = (),
    resume: bool = False,
    device: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    trust: bool = False,
) -> Path:
    """Run the `training` of a bundle, as `python -m monai.bundle run training` does, and return the run's folder.

    Parameters
    ----------
    bundle
        Folder or name of a bundle.
    datalist
        MSD-style JSON with training and validation parts.
    run_dir
        The run's folder; becomes a complete bundle.
    overlays
        Files of the bundle's configs/ merged last, such as "smoke".
    resume
        Continue the run that `run_dir` holds.
    device
        "cpu", "cuda" or "cuda:1"; as the bundle says if None.
    overrides
        Ids of the configuration and their values.
    trust
        Let the bundle do whatever it wants, and remember that until its files change.

    Raises
    ------
    BundleError, DataError, TrainingError
        As their names say; the folder then holds the last good checkpoint.
    """
    from medseg.bundle import find_bundle
    from medseg.bundle.load import open_workflow, run_workflow
    from medseg.workflows.devices import device_setting

    folder, run = find_bundle(bundle), Path(run_dir).resolve()
    settings: dict[str, Any] = {"datalist": str(Path(datalist).resolve()), "run_dir": str(run), "resume": resume}
    if device is not None:
        settings["device"] = device_setting(device)
    changes = {**(overrides or {}), **settings}
    workflow = open_workflow(folder, "train", overlays=overlays, overrides=changes, trust=trust)
    run_workflow(workflow, folder)
    return run
