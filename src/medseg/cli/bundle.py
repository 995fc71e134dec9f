"""`medseg bundle`: which bundles there are, and what is in one."""

from __future__ import annotations

import argparse

from medseg.cli.arguments import Commands, add_bundle, add_noun, add_verb
from medseg.cli.console import DONE, say


def add_commands(commands: Commands) -> None:
    """Add `bundle list` and `bundle show`."""
    nouns = add_noun(commands, "bundle", does="look at the bundles")
    add_verb(nouns, "list", _list, does="list the bundles that come with medseg", example="medseg bundle list")
    show = add_verb(
        nouns,
        "show",
        _show,
        does="show a bundle's labels, data, network layers and parameter counts",
        example="medseg bundle show ct_lung",
    )
    add_bundle(show)


def known_bundles() -> str:
    """The names of the bundles that come with medseg, for messages."""
    from medseg.bundle import list_bundles

    return ", ".join(entry.name for entry in list_bundles()) or "none"


def _list(arguments: argparse.Namespace) -> int:
    from medseg.bundle import list_bundles

    for entry in list_bundles():
        weights = "trained" if entry.weights else "no weights yet"
        say(f"{entry.name:<16} {entry.version:<7} {weights:<14} {entry.task}: {', '.join(entry.labels)}")
    return DONE


def _show(arguments: argparse.Namespace) -> int:
    from medseg.bundle import describe_bundle, find_bundle

    say(describe_bundle(find_bundle(arguments.bundle)))
    return DONE
