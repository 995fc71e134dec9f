"""`medseg review`: the viewer in the browser."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.cli.arguments import Commands, UsageError, add_verb, positive
from medseg.cli.console import DONE, complain, say

if TYPE_CHECKING:
    from medseg.review.viewer.settings import Settings

PASSWORD_VARIABLE = "MEDSEG_REVIEW_PASSWORD"
_LEAST_PASSWORD = 8
_OTHERS_READ = 0o044


def add_commands(commands: Commands) -> None:
    """Add `review`."""
    parser = add_verb(
        commands,
        "review",
        _review,
        does="open the viewer: look at masks, segment dropped files, correct, accept, export",
        example="medseg review masks\nmedseg review ct_lung",
    )
    parser.add_argument(
        "source",
        metavar="DIR_OR_BUNDLE",
        nargs="?",
        help="a folder that medseg predict or evaluate filled; or a bundle's name or folder, to segment dropped files",
    )
    parser.add_argument("--bundle", metavar="NAME", help="bundle that is chosen for new images (name or folder)")
    parser.add_argument(
        "--trust",
        action="store_true",
        help="let the bundle do all it wants, now and until its files change (medseg bundle trust shows what that is)",
    )
    truth = parser.add_argument_group("where the true masks and the images are, if the folder does not say so")
    truth.add_argument("--truth", metavar="DIR", type=Path, help="folder of true masks with the names of the cases")
    truth.add_argument("--datalist", metavar="FILE", type=Path, help="images and true masks of the cases")
    _add_door(parser)


def _add_door(parser: argparse.ArgumentParser) -> None:
    door = parser.add_argument_group("who can reach it")
    door.add_argument(
        "--port", metavar="N", type=_port, default=0, help="port to listen on (default: 8765, or a free one)"
    )
    door.add_argument(
        "--host", metavar="ADDRESS", default="127.0.0.1", help="address to listen on (default: this computer alone)"
    )
    door.add_argument(
        "--name",
        metavar="NAME",
        action="append",
        default=[],
        help="name by which browsers on other computers call this one; can be given again",
    )
    door.add_argument(
        "--password-file",
        metavar="FILE",
        type=Path,
        help=f"first line: the password (or in the variable {PASSWORD_VARIABLE}); any other --host needs one",
    )
    door.add_argument("--certificate", metavar="FILE", type=Path, help="certificate in PEM, for https")
    door.add_argument("--key", metavar="FILE", type=Path, help="its key, if it is in a file of its own")
    door.add_argument(
        "--upload-mb", metavar="N", type=positive, default=2000, help="most of one upload (default: 2000)"
    )
    door.add_argument("--no-browser", action="store_true", help="print the address and do not open a browser")


def _review(arguments: argparse.Namespace) -> int:
    from medseg.review.viewer.extra import review_extra

    settings = _settings(arguments)
    with review_extra():
        from medseg.review.viewer.serve import serve

    def ready(address: str, once: str) -> None:
        say(f"open {address}")
        if not settings.is_local and settings.certificate is None:
            complain("whoever listens on the network can read along: give --certificate, or use an SSH tunnel")
        if not arguments.quiet:
            say("Ctrl-C ends the viewer and removes what was uploaded")
        _flush()
        if not arguments.no_browser and settings.is_local:
            _open(once)

    serve(settings, ready=ready)
    return DONE


def _settings(arguments: argparse.Namespace) -> Settings:
    from medseg.review.viewer.settings import MEGABYTE, Limits, Settings

    folder, bundle = _source(arguments.source, arguments.bundle)
    _refuse_without_effect(arguments, folder)
    upload_bytes = arguments.upload_mb * MEGABYTE
    return Settings(
        host=arguments.host,
        port=arguments.port,
        password=_password(arguments.password_file),
        certificate=arguments.certificate,
        key=arguments.key,
        names=tuple(arguments.name),
        folder=folder,
        bundle=bundle,
        trust=arguments.trust,
        truth=arguments.truth,
        datalist=arguments.datalist,
        limits=Limits(upload_bytes=upload_bytes, unpacked_bytes=4 * upload_bytes),
    )


def _refuse_without_effect(arguments: argparse.Namespace, folder: Path | None) -> None:
    if folder is None and (arguments.truth is not None or arguments.datalist is not None):
        raise UsageError(
            "--truth and --datalist are of the cases of a folder",
            got=repr(arguments.source) if arguments.source else "no folder",
            expected="a folder of masks",
            next_step="medseg review MASKS --truth DIR",
        )
    if arguments.key is not None and arguments.certificate is None:
        raise UsageError("--key without its certificate", next_step="give --certificate FILE too, for https")


def _source(source: str | None, bundle: str | None) -> tuple[Path | None, str | None]:
    """Folder to review and bundle to segment with; a bundle's folder or name is a bundle."""
    from medseg.bundle import find_bundle
    from medseg.bundle.metadata import METADATA_FILE

    if source is None:
        return None, bundle
    folder = Path(source)
    if folder.is_dir() and not (folder / METADATA_FILE).is_file():
        return folder.resolve(), bundle
    if bundle is not None:
        raise UsageError("two bundles", got=f"{source} and --bundle {bundle}", next_step="leave one of them out")
    return None, str(find_bundle(source))


def _password(file: Path | None) -> str | None:
    """The password, from a file or the environment: a command line can be read by everybody on a computer."""
    if file is None:
        text = os.environ.get(PASSWORD_VARIABLE)
    else:
        try:
            text = (file.read_text(encoding="utf-8-sig").splitlines() or [""])[0]
            if os.name == "posix" and file.stat().st_mode & _OTHERS_READ:
                complain(f"others on this computer can read {file}: chmod 600 {file}")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--password-file {file} cannot be read", got=type(error).__name__) from error
    if text is not None and len(text) < _LEAST_PASSWORD:
        raise UsageError("the viewer's password is too short", expected=f"at least {_LEAST_PASSWORD} characters")
    return text


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a port from 1 to 65535, or 0 for any free one")
    return int(text)


def _flush() -> None:
    import sys

    sys.stdout.flush()


def _open(address: str) -> None:
    """In a thread: some browsers are only done when the page is, which the server would never be asked for."""
    import threading
    import webbrowser

    threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
