"""Whether a DICOM mask was drawn on the image it is given with: frame of reference, series and instances."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from medseg.case import Image
from medseg.errors import GeometryError
from medseg.intake.dicom_source import SourceImages, source_images

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class References:
    """What a mask says of the images it was drawn on; empty where it says nothing."""

    frames: Collection[str]
    series: Collection[str]
    instances: Collection[str]


def check_references(path: Path, references: References, image: Image) -> SourceImages | None:
    """The instances behind `image`, once the mask is known to refer to them; None where the image is no DICOM.

    Raises
    ------
    GeometryError
        The mask refers to another frame of reference, to another series, or to slices that the series lacks.
    """
    source = source_images(image)
    if source is None:
        return None
    if references.frames and source.frame_of_reference and source.frame_of_reference not in references.frames:
        raise _other(path, image, "frame of reference", references.frames, source.frame_of_reference)
    if references.series and source.series not in references.series:
        raise _other(path, image, "series", references.series, source.series)
    _check_instances(path, set(references.instances), image, source, by_series=source.series in references.series)
    return source


def _check_instances(path: Path, wanted: set[str], image: Image, source: SourceImages, *, by_series: bool) -> None:
    missing = wanted - set(source.instances)
    if missing and missing == wanted and by_series:
        # a de-identified or cropped series often has new instance UIDs; series and frame of reference still tell
        logger.warning("%s: none of its %d referenced instances is in the series; going by position", path, len(wanted))
    elif missing:
        raise GeometryError(
            f"{path}: drawn on slices that are not in {image.source}",
            got=f"{len(missing)} of {len(wanted)} referenced instances are missing",
            expected="all of them",
            next_step="give the whole series that it was drawn on",
        )


def _other(path: Path, image: Image, what: str, got: Collection[str], expected: str) -> GeometryError:
    return GeometryError(
        f"{path}: drawn on another {what} than {image.source}",
        got=", ".join(sorted(got)),
        expected=expected,
        next_step="give the series that it was drawn on",
    )
