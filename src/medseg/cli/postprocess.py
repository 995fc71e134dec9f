"""`medseg postprocess`: which clean-up of its label maps helps a bundle."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from medseg.cli.arguments import Commands, add_bundle, add_json, add_noun, add_verb, seed
from medseg.cli.console import DONE, say_result
from medseg.cli.flags import add_datalist, add_device

if TYPE_CHECKING:
    from medseg.workflows.tune import LabelChoice


def add_commands(commands: Commands) -> None:
    """Add `postprocess tune`."""
    nouns = add_noun(commands, "postprocess", does="clean up label maps after the network")
    parser = add_verb(
        nouns,
        "tune",
        _tune,
        does="try largest component, minimum volume and hole filling for each label on validation cases, and write "
        "what helped into the bundle",
        example="medseg postprocess tune runs/first --datalist phantoms/datalist.json\n"
        "medseg postprocess tune runs/first --datalist phantoms/datalist.json --print-only",
    )
    add_bundle(parser)
    add_datalist(parser, does="whose validation cases are segmented once, then cleaned up in each way")
    parser.add_argument(
        "--part", metavar="PART", default="validation", help="part of the datalist; all but validation are refused"
    )
    add_device(parser, default="as the bundle says")
    parser.add_argument("--seed", metavar="S", type=seed, default=0, help="of folds and resamples (default: 0)")
    parser.add_argument("--print-only", action="store_true", help="show the result, leave the bundle as it is")
    parser.add_argument(
        "--trust",
        action="store_true",
        help="let the bundle do all it wants, now and until its files change (medseg bundle trust shows what that is)",
    )
    add_json(parser)


def _tune(arguments: argparse.Namespace) -> int:
    from medseg.workflows.tune import tune_postprocessing, write_tuning

    tuning = tune_postprocessing(
        arguments.bundle,
        datalist=arguments.datalist,
        part=arguments.part,
        seed=arguments.seed,
        device=arguments.device,
        trust=arguments.trust,
    )
    written = [] if arguments.print_only else write_tuning(tuning, arguments.bundle)
    lines = [_line(one) for one in tuning.labels]
    lines.append(f"{tuning.record['cases']} validation cases, {tuning.record['folds']} folds by patient")
    if not tuning.changes:
        lines.append("nothing helped: the postprocessing stays as it is")
    lines.append("written: " + ", ".join(map(str, written)) if written else "nothing written")
    say_result(arguments, "\n".join(lines), {**tuning.record, "files": written})
    return DONE


def _line(one: LabelChoice) -> str:
    low, high = one.gain_ci95
    verdict = "helps" if one.helps else "does not help"
    best = "as it was" if one.chosen is None else str(one.chosen)
    return (
        f"{one.name}: Dice {one.present:.4f} as it was, best: {best}; "
        f"gain on patients not chosen on {one.gain:+.4f} [{low:+.4f}, {high:+.4f}]: {verdict}"
    )
