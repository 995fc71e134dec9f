"""Flags of the commands that work on cases: which images, on what device, how many at once."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from medseg.cli.arguments import Parser, positive


def add_datalist(parser: Parser, *, does: str = "the cases, as medseg data prepare writes them") -> None:
    """The flag --datalist."""
    parser.add_argument("--datalist", metavar="FILE", type=Path, required=True, help=does)


def add_device(parser: Parser, *, default: str = "a GPU if any") -> None:
    """The flag --device."""
    parser.add_argument("--device", metavar="DEVICE", type=device, help=f"cpu, cuda or cuda:1 (default: {default})")


def add_case_options(parser: Parser) -> None:
    """The flags for many cases; each sets the id of its name in the bundle's configuration."""
    parser.add_argument(
        "--resume",
        action="store_true",
        default=None,
        help="skip the cases that were done with the same input, weights and settings, and do the others",
    )
    parser.add_argument("--jobs", metavar="N", type=positive, help="cases in flight at once (default: 2)")
    add_device(parser)
    parser.add_argument("--tta", action="store_true", default=None, help="average over mirrored images: slower, calmer")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), help="of the network (default: auto)")
    parser.add_argument("--backend", metavar="NAME", help="what runs the network: torch, openvino (default: torch)")
    parser.add_argument(
        "--save-probabilities",
        action="store_true",
        default=None,
        help="write the probabilities of each class as 8-bit files",
    )


def device(text: str) -> str:
    """cpu, cuda or cuda:N; whether it is there is seen when the command runs."""
    if not re.fullmatch(r"cpu|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected cpu, cuda or cuda:N")
    return text


def path_or_address(text: str) -> Path | str:
    """A path; a DICOMweb address stays text, as a path has no double slash."""
    from medseg.dicom.web_address import is_web_address

    return text if is_web_address(text) else Path(text)
