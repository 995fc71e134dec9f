"""The series among DICOM files, and the choice of one by a rule that the user states."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import DataError
from medseg.intake.dicom_header import WITHHELD, Header, description

AUTO = "auto"
"""The declared rule: no localiser, no secondary capture, original before derived, then the most slices."""

logger = logging.getLogger(__name__)

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_MOST_LISTED = 12
SCATTERED_STEP = "put all of its slices into one folder; where these are copies, take all but one away"


@dataclass(frozen=True)
class Series:
    """Files of one SeriesInstanceUID in one folder, by file name."""

    headers: tuple[Header, ...]

    @property
    def uid(self) -> str:
        return self.headers[0].series

    @property
    def study(self) -> str:
        return self.headers[0].study

    @property
    def number(self) -> str:
        return self.headers[0].number

    @property
    def modality(self) -> str:
        return self.headers[0].modality or "unknown modality"

    @property
    def folder(self) -> Path:
        return self.headers[0].path.parent

    @property
    def description(self) -> str:
        """SeriesDescription; withheld where it repeats a value of the patient. Read when it is asked for."""
        return description(self.headers[0].path)

    @property
    def slices(self) -> int:
        """Slices, frames or pictures."""
        return sum(int(header.tags.get("NumberOfFrames") or 1) for header in self.headers)

    @property
    def is_localiser(self) -> bool:
        return any("LOCALIZER" in part.upper() for part in self.headers[0].image_type)

    @property
    def is_capture(self) -> bool:
        return self.headers[0].sop.startswith(_SECONDARY_CAPTURE)

    @property
    def is_derived(self) -> bool:
        return bool({"DERIVED", "SECONDARY"} & set(self.headers[0].image_type[:2]))

    @property
    def name(self) -> str:
        """Number, modality, slices and UID: enough to choose it by, and nothing of the patient."""
        traits = [
            word
            for word, is_so in (
                ("localiser", self.is_localiser),
                ("secondary capture", self.is_capture),
                ("derived", self.is_derived and not self.is_capture),
            )
            if is_so
        ]
        facts = [self.modality, f"{self.slices} {'image' if self.slices == 1 else 'images'}", *traits]
        return f"series {self.number or 'without number'} ({', '.join(facts)}) {self.uid}"


def series_among(headers: Sequence[Header]) -> list[Series]:
    """Headers grouped by series, in the order in which the series are first met."""
    groups: dict[str, list[Header]] = {}
    for header in headers:
        groups.setdefault(header.series, []).append(header)
    return [Series(tuple(group)) for group in groups.values()]


def listing(found: Sequence[Series]) -> str:
    """The series to choose from, as an error shows them."""
    shown = "; ".join(one.name for one in found[:_MOST_LISTED])
    return shown + (f" and {len(found) - _MOST_LISTED} more" if len(found) > _MOST_LISTED else "")


def choose_series(found: Sequence[Series], wanted: str, *, modality: str | None) -> list[Series]:
    """One series of each study in which one fits; the studies in which none does are logged.

    Parameters
    ----------
    wanted
        A SeriesInstanceUID, SeriesNumber or SeriesDescription (in any case), or `AUTO`.
    modality
        Only series of this modality are considered, unless `wanted` is a UID; None for any.

    Raises
    ------
    DataError
        No series fits, or more than one of a study, or one that lies in several folders: in parts, or as copies.
    """
    by_uid = [one for one in found if one.uid == wanted]
    if by_uid:
        return [_only_one(by_uid, wanted, found)]
    studies = {study: [one for one in found if one.study == study] for study in dict.fromkeys(o.study for o in found)}
    chosen, without = [], []
    for series in studies.values():
        fitting = [one for one in series if modality in (None, one.modality)]
        fitting = _by_rule(fitting) if wanted == AUTO else [one for one in fitting if _is_called(one, wanted)]
        if fitting:
            chosen.append(_only_one(fitting, wanted, found))
        else:
            without.append(_not_one("no series fits", series, wanted, modality))
    if not chosen:
        raise _not_one("no series fits", found, wanted, modality)
    for refusal in without:
        logger.warning("a study is left out: %s", refusal)
    return chosen


def _is_called(one: Series, wanted: str) -> bool:
    if one.number == wanted:
        return True
    text = one.description
    return text != WITHHELD and text.lower() == wanted.strip().lower()


def _by_rule(series: Sequence[Series]) -> list[Series]:
    """Of one study: no localiser or secondary capture, original before derived, then those with the most slices."""
    images = [one for one in series if not (one.is_localiser or one.is_capture)]
    images = [one for one in images if not one.is_derived] or images
    slices: Counter[str] = Counter()
    for one in images:
        slices[one.uid] += one.slices
    return [one for one in images if slices[one.uid] == max(slices.values())]


def _only_one(fitting: Sequence[Series], wanted: str, found: Sequence[Series]) -> Series:
    """The one that fits; refused where it lies in several folders, as one of them alone may be a part of it."""
    if len({one.uid for one in fitting}) > 1:
        raise _not_one("more than one series fits", fitting, wanted, None)
    parts = [one for one in found if one.uid == fitting[0].uid]
    if len(parts) > 1:
        raise DataError(
            f"the series that fits --series {wanted!r} lies in several folders",
            got=", ".join(f"{one.slices} images in {one.folder}" for one in parts[:_MOST_LISTED]),
            expected="all of it in one folder",
            next_step=SCATTERED_STEP,
        )
    return fitting[0]


def _not_one(what: str, among: Sequence[Series], wanted: str, modality: str | None) -> DataError:
    of = "" if modality is None else f" of modality {modality}"
    return DataError(
        f"{what} --series {wanted!r}{of}",
        got=listing(among),
        expected="one series of a study",
        next_step="give its UID to --series; medseg data inspect shows all that is known of each",
    )
