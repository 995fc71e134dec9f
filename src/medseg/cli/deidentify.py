"""`medseg data deidentify` and `medseg data labels`."""

from __future__ import annotations

import argparse
from pathlib import Path

from medseg.cli.arguments import Commands, add_json, add_output, add_verb
from medseg.cli.console import DONE, SOME_FAILED, say_result


def add_deidentify(commands: Commands) -> None:
    """Add `data deidentify`."""
    parser = add_verb(
        commands,
        "deidentify",
        _deidentify,
        does="copy DICOM files without what tells the patient (PS3.15 basic profile)",
        example="medseg data deidentify study -o anonymous",
    )
    parser.add_argument("source", metavar="SRC", type=Path, help="a DICOM file, or a folder with all below it")
    add_output(parser, does="new folder: one folder for each series, new names")
    add_json(parser)


def add_labels(commands: Commands) -> None:
    """Add `data labels`."""
    parser = add_verb(
        commands,
        "labels",
        _labels,
        does="turn an RTSTRUCT or DICOM SEG into a mask on the grid of its image",
        example="medseg data labels RS.dcm --reference ct_series -o mask.nii.gz --names names.yaml",
    )
    parser.add_argument("mask", metavar="FILE", type=Path, help="RTSTRUCT or DICOM SEG")
    parser.add_argument(
        "--reference", metavar="IMAGE", type=Path, required=True, help="the image it was drawn on: DICOM series or file"
    )
    parser.add_argument(
        "--names",
        metavar="FILE",
        type=Path,
        help="YAML lines `ROI name: label value`; the later wins where they overlap (default: each ROI its number)",
    )
    add_output(parser, metavar="MASK", does="the mask: .nii.gz or .nii; .png for a picture")
    add_json(parser)


def _deidentify(arguments: argparse.Namespace) -> int:
    from medseg.dicom.deidentify import deidentify

    done = deidentify(arguments.source, arguments.output)
    counts = {
        "files": len(done.files),
        "series": done.series,
        "left_out": len(done.failed),
        "not_dicom": done.passed_over,
    }
    text = (
        f"{counts['files']} files of {done.series} series in {arguments.output}; "
        f"{counts['left_out']} left out, {done.passed_over} not DICOM"
    )
    say_result(arguments, text, {"output": arguments.output, **counts})
    return SOME_FAILED if done.failed else DONE


def _labels(arguments: argparse.Namespace) -> int:
    from medseg.errors import LabelError, OutputError, writing
    from medseg.intake import read_label
    from medseg.intake.files import is_dicom
    from medseg.outputs import write_mask

    if arguments.output.resolve() in (arguments.mask.resolve(), arguments.reference.resolve()):
        raise OutputError(f"{arguments.output} would take the place of an input", next_step="name another file")
    if arguments.output.exists():
        raise OutputError(f"{arguments.output} is there already", next_step="give a new file: no mask is replaced")
    if arguments.mask.is_file() and not is_dicom(arguments.mask):  # no reference and no names would count for it
        raise LabelError(
            f"{arguments.mask}: no RTSTRUCT and no DICOM SEG",
            next_step="a mask in another format comes onto the grid of an image by medseg data fix --resample-label",
        )
    label = read_label(arguments.mask, reference=arguments.reference, names=arguments.names)
    with writing(arguments.output):
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        write_mask(label, arguments.output)
    import numpy as np

    values = [int(value) for value in np.unique(label.array) if value]
    text = f"{arguments.output}: {'labels ' + ', '.join(map(str, values)) if values else 'no labels'}"
    say_result(arguments, text, {"output": arguments.output, "labels": values})
    return DONE
