"""`medseg pacs`: series from a PACS, files to it."""

from __future__ import annotations

import argparse
import logging
import signal
from pathlib import Path
from typing import NoReturn

from medseg.cli.arguments import Commands, add_json, add_noun, add_output, add_verb, positive
from medseg.cli.console import DONE, say, say_result

_ADDRESS = "dicomweb://HOST[:PORT][/prefix], or dicomwebs:// for TLS"
_CREDENTIALS = """\
credentials come from the environment: MEDSEG_DICOMWEB_TOKEN, or MEDSEG_DICOMWEB_USER and MEDSEG_DICOMWEB_PASSWORD;
REQUESTS_CA_BUNDLE names the certificates to trust besides the usual ones
"""


def add_commands(commands: Commands) -> None:
    """Add `pacs pull`, `push`, `send` and `receive`."""
    nouns = add_noun(commands, "pacs", does="fetch series from a PACS, bring files to it")
    _add_pull(nouns)
    _add_push(nouns)
    _add_send(nouns)
    _add_receive(nouns)


def _add_pull(commands: Commands) -> None:
    parser = add_verb(
        commands,
        "pull",
        _pull,
        does="retrieve a series, or all of a study, by DICOMweb",
        example="medseg pacs pull dicomweb://localhost:8042/dicom-web/studies/1.2.3 -o study",
    )
    parser.epilog = f"{parser.epilog}\n\n{_CREDENTIALS}"
    parser.add_argument("address", metavar="ADDRESS", help=f"{_ADDRESS}; then /studies/UID[/series/UID]")
    add_output(parser, does="folder for one folder a series; names are hashes of UIDs")
    add_json(parser)


def _add_push(commands: Commands) -> None:
    parser = add_verb(
        commands,
        "push",
        _push,
        does="store DICOM files by DICOMweb and find them again",
        example="medseg pacs push masks dicomweb://localhost:8042/dicom-web",
    )
    parser.epilog = f"{parser.epilog}\n\n{_CREDENTIALS}"
    _add_path(parser)
    parser.add_argument("address", metavar="ADDRESS", help=_ADDRESS)
    add_json(parser)


def _add_send(commands: Commands) -> None:
    parser = add_verb(
        commands,
        "send",
        _send,
        does="send DICOM files by C-STORE",
        example="medseg pacs send masks localhost:4242 --called ORTHANC",
    )
    _add_path(parser)
    parser.add_argument("peer", metavar="HOST:PORT", help="where the PACS listens")
    parser.add_argument("--called", metavar="AET", default="ANY-SCP", help="the PACS's title (default: ANY-SCP)")
    parser.add_argument("--calling", metavar="AET", default="MEDSEG", help="our title (default: MEDSEG)")
    add_json(parser)


def _add_receive(commands: Commands) -> None:
    parser = add_verb(
        commands,
        "receive",
        _receive,
        does="listen for C-STORE and write one folder a series, until interrupted",
        example="medseg pacs receive -o inbox --port 11112 --host 0.0.0.0 --allow ORTHANC",
    )
    add_output(parser, does="folder for one folder a series; names are hashes of UIDs")
    parser.add_argument("--port", metavar="N", type=_port, default=11112, help="port to listen at (default: 11112)")
    parser.add_argument(
        "--host", metavar="ADDRESS", default="127.0.0.1", help="address to listen at (default: 127.0.0.1)"
    )
    parser.add_argument("--aet", metavar="AET", default="MEDSEG", help="our title (default: MEDSEG)")
    parser.add_argument(
        "--allow", metavar="AET", action="append", default=[], help="take from this title only; again for more"
    )
    parser.add_argument("--stop-after", metavar="N", type=positive, help="stop after so many series")
    add_json(parser)


def _add_path(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="FILE_OR_DIR", type=Path, help="a DICOM file, or a folder that holds some")


def _pull(arguments: argparse.Namespace) -> int:
    _quieten(arguments)
    from medseg.dicom.transfer import pull

    folders = pull(arguments.address, output_dir=arguments.output)
    values = {"output": arguments.output, "series": [folder.name for folder in folders]}
    return _done(arguments, f"{len(folders)} series in {arguments.output}", values)


def _push(arguments: argparse.Namespace) -> int:
    _quieten(arguments)
    from medseg.dicom.transfer import push

    count = push(arguments.path, address=arguments.address)
    return _done(arguments, f"{count} files stored and found again", {"files": count})


def _send(arguments: argparse.Namespace) -> int:
    _quieten(arguments)
    from medseg.dicom.transfer import send

    count = send(arguments.path, peer=arguments.peer, called=arguments.called, calling=arguments.calling)
    return _done(arguments, f"{count} files sent", {"files": count})


def _receive(arguments: argparse.Namespace) -> int:
    _quieten(arguments)
    from medseg.dicom.transfer import receive

    received: list[dict[str, object]] = []
    before = signal.signal(signal.SIGTERM, _interrupted)  # so that nothing half-received is left behind
    try:
        for series in receive(
            arguments.output,
            port=arguments.port,
            host=arguments.host,
            title=arguments.aet,
            allowed=arguments.allow,
            stop_after=arguments.stop_after,
        ):
            received.append({"folder": series.folder, "instances": series.instances})
            if not (arguments.quiet or arguments.json):
                say(f"{series.folder}: {series.instances} instances")
    except KeyboardInterrupt:
        pass  # how it is meant to end
    finally:
        signal.signal(signal.SIGTERM, before)
    return _done(arguments, f"stopped; {len(received)} series received", {"series": received})


def _interrupted(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _quieten(arguments: argparse.Namespace) -> None:
    """What pynetdicom logs as an error our own message tells, with what to do about it."""
    if not arguments.debug:
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) >= 1 << 16:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a port: 0 to 65535")
    return int(text)


def _done(arguments: argparse.Namespace, result: str, values: dict[str, object]) -> int:
    say_result(arguments, result, values)
    return DONE
