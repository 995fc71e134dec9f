"""`medseg config show`: the configuration that a command would run, and where each value comes from."""

from __future__ import annotations

import argparse

from medseg.cli.arguments import Commands, add_bundle, add_configuration, add_json, add_noun, add_verb, overrides
from medseg.cli.console import DONE, say_result

PURPOSES = ("train", "evaluate", "inference")


def add_commands(commands: Commands) -> None:
    """Add `config show`."""
    nouns = add_noun(commands, "config", does="look at a bundle's configuration")
    parser = add_verb(
        nouns,
        "show",
        _show,
        does="show the merged configuration of a bundle, each value with the file and line it comes from",
        example="medseg config show ct_lung --id train::optimizer\n"
        "medseg config show ct_lung --purpose inference --overlay smoke overlap=0.25 --resolve",
    )
    add_bundle(parser)
    parser.add_argument("--purpose", choices=PURPOSES, default="train", help="of which command (default: train)")
    parser.add_argument("--id", metavar="ID", help="only what stands at and below this id; _meta_ shows the metadata")
    parser.add_argument(
        "--resolve",
        action="store_true",
        help="evaluate expressions too, such as $len(@labels); imports MONAI",
    )
    add_configuration(parser)
    add_json(parser)


def _show(arguments: argparse.Namespace) -> int:
    changes = overrides(arguments.overrides)
    from medseg.bundle.locate import find_bundle
    from medseg.bundle.show_config import as_text, as_values, resolved, settings
    from medseg.bundle.trust import merged_for

    folder, overlays = find_bundle(arguments.bundle), tuple(arguments.overlay)
    merged = merged_for(folder, arguments.purpose, overlays=overlays, overrides=changes)
    rows, values = settings(merged, only=arguments.id), {}
    if arguments.resolve:
        from medseg.bundle.load import open_workflow

        workflow = open_workflow(folder, arguments.purpose, overlays=overlays, overrides=changes, trust=arguments.trust)
        values = resolved(merged, workflow.parser, only={row.name for row in rows})
    say_result(arguments, as_text(rows, values=values), {"settings": as_values(rows, values=values)})
    return DONE
