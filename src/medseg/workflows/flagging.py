"""Failure flags of cases on their way through the stages, by the record in their bundle."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medseg.evaluation.features import CaseFeatures, intensity_features, region_features
from medseg.evaluation.flag_record import FLAGS_FILE, Judgement, flag_record_sha256, read_flag_record, write_flags
from medseg.inference import ClassConfidence, ReadCase, Segmentation

logger = logging.getLogger(__name__)


class Flagging:
    """Measures cases and judges them; does nothing where the bundle has no record for its weights.

    Parameters
    ----------
    path
        models/flags.json of the bundle; None for no flags.
    names
        Label value to name.
    weights_sha256
        Of the weights that the cases are segmented with.
    """

    def __init__(self, path: str | None, *, names: Mapping[int, str], weights_sha256: str) -> None:
        self.names = names
        self.record = None if path is None else read_flag_record(Path(path))
        if self.record is not None and self.record.weights_sha256 != weights_sha256:
            logger.warning("%s was made with other weights, no flags: make it again with medseg flags limits", path)
            self.record = None
        self.sha256 = flag_record_sha256(Path(path)) if path is not None and self.record is not None else None

    @property
    def active(self) -> bool:
        """Whether cases are judged."""
        return self.record is not None

    def look(self, read: ReadCase) -> dict[str, float]:
        """Intensities of what the network is about to get."""
        return intensity_features(read.inputs.numpy(), read.affine) if self.active else {}

    def judge(self, before: Segmentation, after: Segmentation, intensity: Mapping[str, float]) -> Judgement | None:
        """A case by its label maps before and after postprocessing."""
        if self.record is None:
            return None
        return self.record.judge(measured(before, after, intensity, self.names))

    def write(self, judged: Sequence[tuple[str, Judgement]], folder: Path) -> None:
        """Write flags.csv of a run's cases; without a record one of an earlier run goes: it is of other masks."""
        if self.active:
            write_flags(judged, folder / FLAGS_FILE)
        else:
            (folder / FLAGS_FILE).unlink(missing_ok=True)


def measured(
    before: Segmentation, after: Segmentation, intensity: Mapping[str, float], names: Mapping[int, str]
) -> CaseFeatures:
    """The features of a segmented case.

    Parameters
    ----------
    before, after
        Before and after postprocessing.
    intensity
        Of what the network was given.
    names
        Label value to name.
    """
    regions = region_features(after.labels, raw=before.labels.array, names=names, sure=before.confidence)
    return CaseFeatures(dict(intensity), regions)


def case_confidence(confidence: Sequence[ClassConfidence]) -> dict[str, float | None]:
    """How sure the network was of a case: means over all voxels that it gives to any class but the background.

    Returns
    -------
    dict
        "mean_confidence" and "mean_entropy" (nats); None where it gives none.
    """
    found = [one for one in confidence if one.value != 0]
    voxels = sum(one.voxels for one in found)
    if not voxels:
        return {"mean_confidence": None, "mean_entropy": None}
    return {
        name: round(sum(getattr(one, name) * one.voxels for one in found) / voxels, 6)
        for name in ("mean_confidence", "mean_entropy")
    }


def judgement_of(manifest: Mapping[str, Any]) -> Judgement | None:
    """What an earlier run said of a case; None where it said nothing."""
    return Judgement.from_json(manifest) if "flags" in manifest else None
