"""Parts of a network named by patterns: "encoder*" is every name that begins so, dots included."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from medseg.errors import BundleError


def matching(patterns: Sequence[str], names: Iterable[str], *, what: str = "weights") -> set[str]:
    """The names that fit any of the patterns.

    Parameters
    ----------
    patterns
        As a shell has them: `*` stands for anything, `?` for one character, `[ab]` for one of these.
    names
        Of the network's parameters or tensors.
    what
        They are called in the error.

    Raises
    ------
    BundleError
        A pattern fits none of them; the message shows how names begin. Or one text is given in place of a list.
    """
    if isinstance(patterns, str):  # which is a sequence, too: of its letters
        raise BundleError("patterns are a list", got=repr(patterns), expected=f"'[\"{patterns}\"]'")
    listed, found = list(names), set()
    for pattern in patterns:
        fitting = {name for name in listed if fnmatchcase(name, pattern)}
        if not fitting:
            raise _fits_none(pattern, listed, what)
        found |= fitting
    return found


def _fits_none(pattern: str, names: Sequence[str], what: str) -> BundleError:
    begins = sorted({f"{name.split('.')[0]}*" for name in names})
    if len(begins) == 1:
        begins = sorted({f"{'.'.join(name.split('.')[:2])}*" for name in names})
    return BundleError(
        f"no {what} of the network fit the pattern", got=repr(pattern), expected=f"for instance {', '.join(begins[:8])}"
    )
