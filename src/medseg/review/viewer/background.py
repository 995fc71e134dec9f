"""Overlap with the truth of cases that no table scores, worked out beside everything else."""

from __future__ import annotations

import logging
import threading
from queue import SimpleQueue

from medseg.errors import MedsegError
from medseg.evaluation.overlap import overlap_by_region
from medseg.geometry import grid_difference
from medseg.review.viewer.entries import Entries, Entry
from medseg.review.viewer.shown import Shown

logger = logging.getLogger(__name__)

_SCORES = ("dice", "iou", "precision", "recall")


class Background:
    """A thread that makes the first image ready for the page, then scores the cases that have truth and no scores.

    Surface distances and intervals are for `medseg score`: here the list shows at once which cases to look at.

    Parameters
    ----------
    entries, shown
        Of the viewer.
    """

    def __init__(self, entries: Entries, shown: Shown) -> None:
        self._entries, self._shown = entries, shown
        self._waiting: SimpleQueue[str | None] = SimpleQueue()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="background", daemon=True)

    def start(self) -> None:
        """Begin with the cases that are there."""
        for entry in self._entries.all():
            self.look_at(entry)
        self._thread.start()

    def look_at(self, entry: Entry) -> None:
        """Score a case, if it can be and is not yet."""
        if entry.truth is not None and entry.prediction is not None and not entry.scores:
            self._waiting.put(entry.key)

    def close(self) -> None:
        """End; the case at hand is not waited for long."""
        self._closed.set()
        self._waiting.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout=2.0)

    def _serve(self) -> None:
        self._make_first_ready()
        while (key := self._waiting.get()) is not None and not self._closed.is_set():
            try:
                entry = self._entries.get(key)
                self._entries.change(key, scores=scores_of(entry, names=self._names(entry)))
            except (MedsegError, KeyError) as error:
                logger.debug("a case is not scored: %s", error)

    def _make_first_ready(self) -> None:
        first = next((entry for entry in self._entries.all() if entry.image is not None), None)
        try:
            if first is not None and first.image is not None:
                self._shown.image(first.image)
        except MedsegError as error:
            logger.debug("the first image cannot be shown: %s", error)

    @staticmethod
    def _names(entry: Entry) -> dict[int, str]:
        from medseg.review.viewer.cases import label_names

        return label_names(entry.manifest) or dict(entry.labels)


def scores_of(entry: Entry, *, names: dict[int, str]) -> dict[str, dict[str, float]]:
    """Region to score to value of a case's mask against its truth; without names the labels of the truth.

    Raises
    ------
    MedsegError
        One of them cannot be read.
    """
    from medseg.evaluation.overlap import label_values
    from medseg.intake import read_label

    assert entry.truth is not None
    assert entry.prediction is not None
    truth, mask = read_label(entry.truth, reference=entry.image), read_label(entry.prediction)
    if grid_difference(mask, truth, spatial_dims=truth.array.ndim) is not None:
        return {}
    named = names or {value: f"label {value}" for value in label_values(truth.array) if value}
    found = overlap_by_region(mask.array, truth.array, {name: [value] for value, name in named.items()})
    return {region: {score: getattr(one, score) for score in _SCORES} for region, one in found.items()}
