"""The images of a file or folder as items of a data set, for plain MONAI runs of an inference configuration."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from medseg.errors import DataError

logger = logging.getLogger(__name__)


def list_inputs(
    path: str | os.PathLike[str], *, series: str | int | None = None, modality: str | None = None
) -> list[dict[str, str]]:
    """[{"id", "image"}] for an image, a folder of images, a DICOM series folder, or a folder of such folders.

    Masks of a folder that medseg wrote are no images. A warning tells of them, and of archives and other images in the
    folder that are no inputs.

    Parameters
    ----------
    series, modality
        Which DICOM series to take of each study, as in `medseg.intake.find_inputs`; None takes every one.

    Raises
    ------
    DataError
        Nothing readable is there.
    """
    from medseg.intake import find_inputs, is_ours, passed_over

    wanted = None if series is None else str(series)
    items = find_inputs(Path(path), series=wanted, modality=None if wanted is None else modality)
    images = [item for item in items if item.path.is_dir() or not is_ours(item.path)]
    if not images:
        next_step = "give an image file or a folder of images"
        raise DataError(f"{path}: no image found", got=f"{len(items)} masks that medseg wrote", next_step=next_step)
    if len(images) < len(items):
        logger.warning("%s: passed over: %d masks that medseg wrote", path, len(items) - len(images))
    found = [{"id": item.id, "image": str(Path(item.path).absolute())} for item in images]
    aside = passed_over(Path(path), inputs=items) if Path(path).is_dir() else None
    if aside is not None:
        logger.warning("%s: passed over: %s", path, aside)
    return found
