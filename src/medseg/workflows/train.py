"""Train a bundle on a datalist."""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medseg.signals import unwound_by_sigterm


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

    SIGTERM ends it with SystemExit(143): between two steps, with a checkpoint and a message how to go on; at once where
    no step was taken yet. A leg of a run (`stop_after_minutes`) that is over returns as a finished run does; run.json
    then says "stopped", and `resume` goes on.

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
    from medseg.bundle.run import close_run
    from medseg.workflows.devices import device_setting

    folder, run = find_bundle(bundle), Path(run_dir).resolve()
    settings: dict[str, Any] = {"datalist": str(Path(datalist).resolve()), "run_dir": str(run), "resume": resume}
    if device is not None:
        settings["device"] = device_setting(device)
    changes = {**(overrides or {}), **settings}
    with unwound_by_sigterm():  # while cases are read; the trainer listens for itself while it runs
        workflow = open_workflow(folder, "train", overlays=overlays, overrides=changes, trust=trust)
        try:
            run_workflow(workflow, folder)
        except SystemExit as end:
            if end.code != 0:
                raise
        finally:
            close_run(run)
            del workflow
            gc.collect()  # engines and handlers hold each other, with cases and weights: what follows needs the memory
    return run
