"""Text of a stranger's bundle, fit for a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text with control signs written out: `\\x1b` could clear the screen or write over what stands there.

    Lines stay lines; letters of all scripts stay as they are.
    """
    kept = (sign if sign == "\n" or sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
    return "".join(kept)
