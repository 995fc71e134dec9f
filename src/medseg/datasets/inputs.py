"""The images of a file or folder as items of a data set, for plain MONAI runs of an inference configuration."""

from __future__ import annotations

import os
from pathlib import Path

from medseg.errors import DataError


def list_inputs(path: str | os.PathLike[str]) -> list[dict[str, str]]:
    """[{"id", "image"}] for an image, a folder of images, a DICOM series folder, or a folder of such folders.

    Raises
    ------
    DataError
        Nothing readable is there.
    """
    from medseg.intake import find_inputs

    found = [{"id": item.id, "image": str(Path(item.path).absolute())} for item in find_inputs(Path(path))]
    if not found:
        raise DataError(f"{path}: no image found", next_step="give an image file or a folder of images")
    return found
