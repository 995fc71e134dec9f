"""The Basic Application Level Confidentiality Profile of DICOM (PS3.15, table E.1-1), applied to a data set.

The table comes from dicom-anonymizer, which follows the standard. Its own engine is not used: it leaves the items of
sequences alone, keeps a dummy date where the table says "remove", and its UIDs are the process's, not a run's.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, TypeAlias

from medseg import __version__
from medseg.errors import ImageError, OutputError

Action: TypeAlias = Literal["remove", "empty", "dummy", "uid", "items"]

EDITION = "2026c"
_ACTIONS: Mapping[str, Action] = {
    "X_TAGS": "remove",
    "Z_TAGS": "empty",
    "X_Z_TAGS": "empty",
    "D_TAGS": "dummy",
    "Z_D_TAGS": "dummy",
    "X_D_TAGS": "dummy",
    "X_Z_D_TAGS": "dummy",
    "U_TAGS": "uid",
    "X_Z_U_STAR_TAGS": "items",
}
"""Where the table leaves a choice by type (X/Z, X/D, Z/D), the one that is right for every type."""

_DUMMIES: Mapping[str, object] = {
    **dict.fromkeys(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT"), "ANONYMIZED"),
    **dict.fromkeys(("DS", "IS"), "0"),
    **dict.fromkeys(("FD", "FL", "SL", "SS", "SV", "UL", "US", "UV", "AT"), 0),
    **dict.fromkeys(("OB", "OW", "OF", "OD", "OL", "OV", "UN"), b"\0" * 8),
    "AS": "000Y",
    "DA": "19000101",
    "DT": "19000101000000",
    "TM": "000000",
    "UR": "http://anonymized.invalid",
}
_WHOLE_TEXT = ("ContentSequence", "EncapsulatedDocument")
"""Objects that are text through and through: cleaning them is a person's work."""
_PSEUDONYM_DIGITS = 12


@dataclass(frozen=True)
class Confidentiality:
    """One run: the same UID or patient always becomes the same new one; without the run's secret nobody can tell which.

    Attributes
    ----------
    secret
        Random for each run.
    """

    secret: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)

    def uid(self, original: str) -> str:
        """The new UID of `original`."""
        from pydicom.uid import generate_uid

        return str(generate_uid(entropy_srcs=[self.secret, original])) if original else ""

    def pseudonym(self, patient: str) -> str:
        """What stands in for a patient."""
        digest = hashlib.sha256(f"{self.secret} {patient}".encode()).hexdigest()
        return f"ANON-{digest[:_PSEUDONYM_DIGITS].upper()}"

    def apply(self, dataset: Any) -> None:
        """De-identify a data set in place, with the items of its sequences and its file meta information.

        Attributes of the table are removed, emptied or replaced as it says; private and unknown ones are removed;
        PatientID and PatientName become the patient's pseudonym, so that patients stay apart.

        Raises
        ------
        ImageError
            Text burned into the pixels, or an object that is text throughout (a report, a document).
        """
        _refuse_text(dataset)
        pseudonym = self.pseudonym(_patient(dataset))
        self._clean(dataset)
        dataset.PatientID = dataset.PatientName = pseudonym
        self._mark(dataset)
        self._clean_meta(dataset)

    def _clean(self, dataset: Any) -> None:
        ranges, single = _table()
        for tag in list(dataset.keys()):
            element = dataset[tag]
            action = single.get((tag.group, tag.element)) or _of_range(tag, ranges)
            if tag.is_private or element.VR == "UN" or not _is_known(tag):
                action = "remove"
            if action is None:
                action = "dummy" if element.VR == "PN" else "items"
            self._do(action, element, dataset)

    def _do(self, action: Action, element: Any, dataset: Any) -> None:
        if action == "remove":
            del dataset[element.tag]
        elif action == "empty":
            element.clear()
        elif action == "uid" or (action == "dummy" and element.VR == "UI"):
            values = element.value if element.VM > 1 else [element.value or ""]
            element.value = [self.uid(str(value)) for value in values]
        elif action == "dummy":
            element.value = _dummy(element.VR)
        elif element.VR == "SQ":
            for item in element.value:
                self._clean(item)

    def _mark(self, dataset: Any) -> None:
        from pydicom.dataset import Dataset

        profile = Dataset()
        profile.CodeValue, profile.CodingSchemeDesignator = "113100", "DCM"
        profile.CodeMeaning = "Basic Application Confidentiality Profile"
        dataset.PatientIdentityRemoved = "YES"
        dataset.DeidentificationMethod = [f"medseg {__version__}", f"PS3.15 {EDITION} table E.1-1"]
        dataset.DeidentificationMethodCodeSequence = [profile]
        dataset.LongitudinalTemporalInformationModified = "REMOVED"

    def _clean_meta(self, dataset: Any) -> None:
        from pydicom.dataset import FileMetaDataset

        meta = FileMetaDataset()
        meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
        dataset.file_meta, dataset.preamble = meta, b"\0" * 128


def _patient(dataset: Any) -> str:
    """PatientID, family and given name: the same in all files of a patient, however their writers spell the name.

    Case, empty or further parts of a name and the issuer differ between the devices of one hospital. Where all are
    empty the study stands for its patient: others without a name are someone else.
    """
    name = str(dataset.get("PatientName") or "").partition("=")[0].split("^")
    parts = [str(dataset.get("PatientID") or "").strip(), *(part.strip().casefold() for part in name[:2])]
    return "\n".join(parts if any(parts) else ["", "", str(dataset.get("StudyInstanceUID") or "")])


def table() -> dict[tuple[int, ...], Action]:
    """(group, element), or (group, element, group mask, element mask) of a range, to what is done with it.

    Raises
    ------
    OutputError
        The package that holds the table is not installed.
    """
    try:
        from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c as fields
    except ModuleNotFoundError as error:
        raise OutputError(
            "de-identification needs a package that is not installed",
            got=f"no module {error.name}",
            next_step="install it: pip install 'medseg[dicom]'",
        ) from error
    return {tuple(tag): action for name, action in _ACTIONS.items() for tag in getattr(fields, name)}


@cache
def _table() -> tuple[list[tuple[tuple[int, ...], Action]], dict[tuple[int, ...], Action]]:
    """Ranges, and single tags."""
    rules = table()
    return [(tag, a) for tag, a in rules.items() if len(tag) > 2], {tag: a for tag, a in rules.items() if len(tag) == 2}


def _of_range(tag: Any, ranges: list[tuple[tuple[int, ...], Action]]) -> Action | None:
    for (group, element, group_mask, element_mask), action in ranges:
        if tag.group & group_mask == group and tag.element & element_mask == element & element_mask:
            return action
    return None


def _is_known(tag: Any) -> bool:
    from pydicom.datadict import dictionary_has_tag, repeater_has_tag

    return dictionary_has_tag(tag) or repeater_has_tag(tag) or tag.element == 0


def _dummy(vr: str) -> object:
    from pydicom.dataset import Dataset

    return [Dataset()] if vr == "SQ" else _DUMMIES[vr]


def _refuse_text(dataset: Any) -> None:
    from pydicom.uid import UID

    if str(dataset.get("BurnedInAnnotation", "")).upper() == "YES":
        raise ImageError("text is burned into its pixels", next_step="black it out first, or leave the file out")
    found = [name for name in _WHOLE_TEXT if name in dataset]
    if found:
        kind = UID(str(dataset.get("SOPClassUID", ""))).name
        raise ImageError("a report or document cannot be de-identified", got=kind, expected="images and masks")
