"""The series among DICOM files, and the choice of one by a rule that the user states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medseg.errors import DataError
from medseg.intake.dicom_header import WITHHELD, Header, description

AUTO = "auto"
"""The declared rule: no localiser, no secondary capture, original before derived, then the most slices."""

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_MOST_LISTED = 12


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
    """One series of each study.

    Parameters
    ----------
    wanted
        A SeriesInstanceUID, SeriesNumber or SeriesDescription (in any case), or `AUTO`.
    modality
        Only series of this modality are considered; None for any.

    Raises
    ------
    DataError
        A study in which no series fits, or more than one.
    """
    by_uid = [one for one in found if one.uid == wanted]
    if by_uid:
        return _each_study(by_uid, wanted, found)
    of_modality = [one for one in found if modality in (None, one.modality)]
    fitting = [one for one in of_modality if wanted == AUTO or _is_called(one, wanted)]
    for study in {one.study for one in found} - {one.study for one in fitting}:
        raise _not_one("no series fits", [one for one in found if one.study == study], wanted, modality)
    return _each_study(_by_rule(fitting) if wanted == AUTO else fitting, wanted, found)


def _is_called(one: Series, wanted: str) -> bool:
    if one.number == wanted:
        return True
    text = one.description
    return text != WITHHELD and text.lower() == wanted.strip().lower()


def _by_rule(found: Sequence[Series]) -> list[Series]:
    kept: list[Series] = []
    for study in dict.fromkeys(one.study for one in found):
        images = [one for one in found if one.study == study and not (one.is_localiser or one.is_capture)]
        images = [one for one in images if not one.is_derived] or images
        most = max((one.slices for one in images), default=0)
        kept += [one for one in images if one.slices == most]
        if not images:
            raise _not_one("only localisers and secondary captures", [o for o in found if o.study == study], AUTO, None)
    return kept


def _each_study(fitting: Sequence[Series], wanted: str, found: Sequence[Series]) -> list[Series]:
    for study in dict.fromkeys(one.study for one in fitting):
        rivals = [one for one in fitting if one.study == study]
        if len(rivals) > 1:
            raise _not_one("more than one series fits", rivals, wanted, None)
    return list(fitting)


def _not_one(what: str, among: Sequence[Series], wanted: str, modality: str | None) -> DataError:
    of = "" if modality is None else f" of modality {modality}"
    return DataError(
        f"{what} --series {wanted!r}{of}",
        got=listing(among),
        expected="exactly one series of each study",
        next_step="give its UID to --series; medseg data inspect shows all that is known of each",
    )
