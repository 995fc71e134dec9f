"""Where training starts: the weights that a user names by a bundle or a file."""

from __future__ import annotations

import logging
from pathlib import Path

from medseg.bundle.locate import WEIGHTS_FILE, find_bundle
from medseg.bundle.metadata import read_metadata
from medseg.errors import BundleError

logger = logging.getLogger(__name__)


def initial_weights_file(source: str | None, *, resume: bool = False) -> str | None:
    """The file with the weights that training starts from; `IN_CHECKPOINT` where a resumed run has them there.

    Parameters
    ----------
    source
        A file, the folder of a bundle or of a run, or the name of a bundle that ships; None for no weights.
    resume
        Nothing is looked for.

    Raises
    ------
    BundleError
        It is none of these, or the bundle comes without models/model.pt.
    """
    if source is None:
        return None
    if resume:
        from medseg.networks.weights import IN_CHECKPOINT  # late: it brings torch

        return IN_CHECKPOINT
    if Path(source).is_file():
        return str(Path(source).resolve())
    bundle = find_bundle(source)
    weights = bundle / WEIGHTS_FILE
    if not weights.is_file():
        found = ", ".join(sorted(f"models/{path.name}" for path in (bundle / "models").glob("*.pt"))) or "no weights"
        raise BundleError(f"{bundle}: no {WEIGHTS_FILE} to start from", got=found, next_step="name a file with weights")
    metadata = read_metadata(bundle)
    labels = ", ".join(name for value, name in sorted(metadata.labels.items()) if value > 0)
    logger.info("initial weights: bundle %s %s, trained for %s", metadata.name, metadata.version, labels)
    return str(weights)
