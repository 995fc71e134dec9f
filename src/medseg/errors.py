"""The errors that a user of medseg meets: each says what, got, expected, next step, in that order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class MedsegError(ValueError):
    """Something in the user's input or set-up that medseg refuses.

    The entry point shows the message without a traceback and exits 2; any other exception is a bug.

    Parameters
    ----------
    what
        What is wrong, naming the case id and the file; never patient data.
    got, expected
        The value met and the value that would have been right; left out where there is none.
    next_step
        What the user can do about it, where possible an exact command.
    """

    def __init__(self, what: str, *, got: object = None, expected: object = None, next_step: str | None = None) -> None:
        parts = [what]
        if got is not None:
            parts.append(f"got {got}")
        if expected is not None:
            parts.append(f"expected {expected}")
        if next_step is not None:
            parts.append(next_step)
        super().__init__("; ".join(parts))


def first_line(error: BaseException) -> str:
    """What an error says, in one line; its name where it says nothing, as when an empty file is read."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


class ImageError(MedsegError):
    """A file that is unreadable, or whose pixels cannot be a medical image."""


class GeometryError(MedsegError):
    """Grids, spacings, positions or orientations that do not fit together."""


class LabelError(MedsegError):
    """A mask whose values are not labels, or not labels of the bundle."""


class DataError(MedsegError):
    """A data set, layout, split or datalist that cannot be used as it is."""


class BundleError(MedsegError):
    """A bundle, its configuration or its weights that cannot be used as they are."""


class TrainingError(MedsegError):
    """A training run that cannot go on (loss not finite, damaged checkpoint)."""


class RunError(MedsegError):
    """A run over many cases that cannot go on (a stage has died, the disk is full); what was done is kept."""


class OutputError(MedsegError):
    """A result that cannot be written where it was asked for."""


class PacsError(MedsegError):
    """A PACS that cannot be reached, refuses, or answers with what cannot be trusted."""


class ReviewError(MedsegError):
    """A viewer that cannot be opened as asked, or a request to it that is refused."""


def user_error(error: BaseException) -> MedsegError | None:
    """The MedsegError at the root of `error`, looking through the exceptions that libraries wrap round it."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, MedsegError):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


@contextmanager
def writing(path: object, *, next_step: str = "choose another output") -> Iterator[None]:
    """Tell what the system refuses while `path` is written (no such folder, read-only, full) as an OutputError."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path} cannot be written", got=error.strerror or error, next_step=next_step) from error
