"""What every DICOM result says of how it was made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from medseg.dicom.codes import Code, SegmentCode
from medseg.errors import OutputError
from medseg.intake.dicom_source import SourceImages

SERIES_NUMBER = 9100
"""Results are series of their own; high numbers keep them behind the images of the study."""


@dataclass(frozen=True)
class Algorithm:
    """Which bundle made the result.

    Attributes
    ----------
    name, version
        Of the bundle.
    """

    name: str
    version: str


@contextmanager
def dicom_extra() -> Iterator[None]:
    """Import the packages of the extra `dicom` inside; OutputError where one is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise OutputError(
            "writing DICOM SEG and SR needs packages that are not installed",
            got=f"no module {error.name}",
            next_step="install them: pip install 'medseg[dicom]'",
        ) from error


def new_uid() -> str:
    """A UID that nothing else has."""
    from pydicom.uid import generate_uid

    return str(generate_uid())


def tracking_uid(source: SourceImages, algorithm: Algorithm, number: int) -> str:
    """The same for the same region of the same series by the same bundle, whenever it is made."""
    from pydicom.uid import generate_uid

    return str(generate_uid(entropy_srcs=[source.series, algorithm.name, algorithm.version, str(number)]))


def tracking_id(algorithm: Algorithm, segment: SegmentCode) -> str:
    """What reports call the region."""
    return f"{algorithm.name} {segment.name}"[:64]


def coded(code: Code) -> Any:
    """A code as highdicom takes it."""
    from pydicom.sr.coding import Code as Coding

    return Coding(code.value, code.scheme, code.meaning)
