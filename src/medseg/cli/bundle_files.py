"""`medseg bundle trust|unpack|new|pack|diff|verify`: bundles of others, and bundles for others."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.cli.arguments import Commands, UsageError, add_bundle, add_json, add_output, add_verb
from medseg.cli.console import DONE, SOME_FAILED, say_result
from medseg.cli.flags import add_datalist, add_device

if TYPE_CHECKING:
    from medseg.bundle.trust import Trusted
    from medseg.bundle.verify import Reproduced


def add_commands(nouns: Commands) -> None:
    """Add the verbs to the commands of `medseg bundle`."""
    _add_trust(nouns)
    _add_unpack(nouns)
    _add_new(nouns)
    _add_pack(nouns)
    _add_diff(nouns)
    _add_verify(nouns)


def _add_trust(nouns: Commands) -> None:
    parser = add_verb(
        nouns,
        "trust",
        _trust,
        does="show what a bundle wants beyond the list of harmless callables, and trust it until one of its files "
        "changes",
        example="medseg bundle trust downloads/their_bundle\nmedseg bundle trust --list",
    )
    parser.add_argument("bundle", metavar="BUNDLE", nargs="?", help="a bundle's name or folder")
    parser.add_argument("--show", action="store_true", help="only show what it wants")
    parser.add_argument("--list", action="store_true", help="show what is trusted")
    parser.add_argument("--remove", metavar="WHICH", help="stop trusting: a sha256, a name or a folder")
    add_json(parser)


def _add_unpack(nouns: Commands) -> None:
    parser = add_verb(
        nouns,
        "unpack",
        _unpack,
        does="unpack a bundle's zip file, with nothing that leaves its folder",
        example="medseg bundle unpack their_bundle.zip -o their_bundle --sha256 3a7b...",
    )
    parser.add_argument("archive", metavar="FILE.zip", type=Path, help="as medseg bundle pack or the model zoo make it")
    add_output(parser, does="the folder to make")
    parser.add_argument("--sha256", metavar="HASH", help="refuse another file than the one with this hash")
    add_json(parser)


def _add_new(nouns: Commands) -> None:
    parser = add_verb(
        nouns,
        "new",
        _new,
        does="make a new bundle with the configuration of another",
        example="medseg bundle new ct_liver --from ct_lung -o bundles",
    )
    parser.add_argument("name", metavar="NAME", help="of the bundle and its folder")
    parser.add_argument("--from", metavar="BUNDLE", dest="source", required=True, help="a bundle's name or folder")
    parser.add_argument(
        "-o", "--output", metavar="DIR", type=Path, default=Path(), help="where its folder goes (default: here)"
    )
    add_json(parser)


def _add_pack(nouns: Commands) -> None:
    parser = add_verb(
        nouns,
        "pack",
        _pack,
        does="write a bundle with weights as one zip file, without data",
        example="medseg bundle pack runs/first -o lungs.zip",
    )
    add_bundle(parser)
    add_output(parser, metavar="FILE.zip", does="the zip file to write")
    add_json(parser)


def _add_diff(nouns: Commands) -> None:
    parser = add_verb(
        nouns,
        "diff",
        _diff,
        does="show what differs between two bundles: settings, metadata, weights, scores",
        example="medseg bundle diff ct_lung runs/first",
    )
    parser.add_argument("bundle", metavar="A", help="a bundle's name or folder")
    parser.add_argument("other", metavar="B", help="another")
    add_json(parser)


def _add_verify(nouns: Commands) -> None:
    parser = add_verb(
        nouns,
        "verify",
        _verify,
        does="score the test cases anew and compare with the scores that the bundle reports",
        example="medseg bundle verify mr_hippocampus --datalist hippocampus.json",
    )
    add_bundle(parser)
    add_datalist(parser, does="whose test cases are those that the scores were reported on")
    parser.add_argument("-o", "--output", metavar="DIR", type=Path, help="keep masks and scores there")
    add_device(parser, default="as the bundle says")
    parser.add_argument("--trust", action="store_true", help="let the bundle do all it wants (see medseg bundle trust)")
    add_json(parser)


def _trust(arguments: argparse.Namespace) -> int:
    from medseg.bundle.trust import read_trusted, remove_trust

    if sum(map(bool, (arguments.bundle, arguments.list, arguments.remove))) != 1:
        raise UsageError("what to do", expected="one of BUNDLE, --list, --remove WHICH")
    if arguments.list:
        return _say_records(arguments, read_trusted(), "nothing is trusted")
    if arguments.remove:
        return _say_records(arguments, remove_trust(arguments.remove), "", before="no longer trusted: ")
    return _trust_one(arguments)


def _trust_one(arguments: argparse.Namespace) -> int:
    from medseg.bundle.locate import find_bundle
    from medseg.bundle.trust import add_trust, bundle_sha256, bundle_wants

    folder = find_bundle(arguments.bundle)
    wants = bundle_wants(folder)
    lines = [f"  {want.text(folder)}" for want in wants]
    given = bool(wants) and not arguments.show
    digest = add_trust(folder).sha256 if given else bundle_sha256(folder)
    if not wants:
        text = f"{folder.name} keeps to the list: it needs no trust"
    elif given:
        text = "\n".join([f"{folder.name} wants:", *lines, f"trusted until one of its files changes: sha256 {digest}"])
    else:
        text = "\n".join([f"{folder.name} wants:", *lines, f"sha256 {digest}"])
    say_result(arguments, text, {"sha256": digest, "trusted": given, "wants": [asdict(want) for want in wants]})
    return DONE


def _say_records(arguments: argparse.Namespace, records: Sequence[Trusted], nothing: str, *, before: str = "") -> int:
    lines = [f"{before}{one.sha256[:16]} {one.given} {one.name} {one.folder}" for one in records]
    say_result(arguments, "\n".join(lines) or nothing, {"trusted": [asdict(one) for one in records]})
    return DONE


def _unpack(arguments: argparse.Namespace) -> int:
    from medseg.bundle.archive import unpack

    done = unpack(arguments.archive, into=arguments.output, sha256=arguments.sha256)
    say_result(arguments, f"{done.files} files in {done.folder}; sha256 {done.sha256}", asdict(done))
    return DONE


def _new(arguments: argparse.Namespace) -> int:
    from medseg.bundle.locate import find_bundle
    from medseg.bundle.new import new_bundle

    folder = new_bundle(arguments.name, source=find_bundle(arguments.source), parent=arguments.output)
    text = f"{folder}: next, configs/metadata.json (labels, DICOM codes, data), configs/common.yaml (spacing, window)"
    say_result(arguments, text, {"folder": folder})
    return DONE


def _pack(arguments: argparse.Namespace) -> int:
    from medseg.bundle.locate import find_bundle
    from medseg.bundle.pack import pack

    done = pack(find_bundle(arguments.bundle), arguments.output)
    text = f"{done.path}: {done.files} files, {done.bytes / 1e6:.2f} MB, sha256 {done.sha256}"
    say_result(arguments, text, asdict(done))
    return DONE


def _diff(arguments: argparse.Namespace) -> int:
    from medseg.bundle.diff import as_text, diff_bundles
    from medseg.bundle.locate import find_bundle

    first, second = find_bundle(arguments.bundle), find_bundle(arguments.other)
    found = diff_bundles(first, second)
    say_result(arguments, as_text(found, first, second), {"differences": [asdict(one) for one in found]})
    return DONE


def _verify(arguments: argparse.Namespace) -> int:
    from medseg.workflows.verify import verify

    found = verify(
        arguments.bundle,
        datalist=arguments.datalist,
        output_dir=arguments.output,
        device=arguments.device,
        trust=arguments.trust,
    )
    values: list[dict[str, Any]] = [{**asdict(one), "reproduced": one.holds} for one in found]
    say_result(arguments, "\n".join(map(_line, found)), {"regions": values})
    return DONE if all(one.holds for one in found) else SOME_FAILED


def _line(one: Reproduced) -> str:
    measured = "not scored" if one.measured is None else f"{one.measured:.4f} on {_cases(one.cases)}"
    there = f" on {_cases(one.reported_cases)}" if one.reported_cases not in (None, one.cases) else ""
    verdict = "reproduced" if one.holds else "NOT reproduced"
    reported = f"reported {one.reported:.4f} [{one.low:.4f}, {one.high:.4f}]{there}"
    return f"{one.region}: Dice {measured}; {reported}: {verdict}"


def _cases(number: int | None) -> str:
    return f"{number} case{'' if number == 1 else 's'}"
