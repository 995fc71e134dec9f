"""Folders of images and of masks with the same names: `images/` and `masks/` or `labels/`, pictures or volumes.

A mask may be an RTSTRUCT or a DICOM SEG of its image; `names.yaml` beside the masks then says which ROI is which label.
Names are matched without their suffix; `_mask`, `_label`, `_labels`, `_seg` at the end of a mask's name and nnU-Net's
`_0000` at the end of an image's name do not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import numpy as np

from medseg.case import Image
from medseg.datasets.label_files import WHITE
from medseg.datasets.layouts.found import Found, Layout, RawCase, Rewrite, files_by_id, subfolder
from medseg.errors import LabelError

_IMAGE_FOLDERS = ("images", "imagesTr")
_MASK_FOLDERS = ("masks", "labels", "labelsTr")
_IMAGE_ENDINGS = ("_0000",)
NAMES_FILE = "names.yaml"
_LOSSY = (".jpg", ".jpeg")


def find(source: Path) -> Found:
    """The images that have a mask, and a problem for each image or mask that stands alone."""
    from medseg.intake.inspection import MASK_ENDINGS

    image_folder, mask_folder = subfolder(source, *_IMAGE_FOLDERS), subfolder(source, *_MASK_FOLDERS)
    images, masks = files_by_id(image_folder), files_by_id(mask_folder)
    same = set(images) & set(masks)  # names that fit as they are keep their endings: a slice scan_0000 of scan
    images = _without_endings(images, _IMAGE_ENDINGS, same)
    masks = _without_endings(masks, MASK_ENDINGS, same)
    cases, problems = [], []
    for case in sorted({*images, *masks}):
        image, mask = images.get(case, []), masks.get(case, [])
        if len(image) > 1 or len(mask) > 1:
            problems.append(f"case {case}: two files with one name, {', '.join(map(str, (image + mask)))}")
        elif not mask:
            problems.append(f"case {case}: image {image[0]} without a mask in {mask_folder}")
        elif not image:
            problems.append(f"case {case}: mask {mask[0]} without an image in {image_folder}")
        else:
            cases.append(RawCase(case, image[0], (mask[0],)))
    return Found(tuple(cases), tuple(problems))


def read(case: RawCase) -> Image:
    """The label map as it is stored; a JPEG mask with more than two values is refused, for its edges are blurred."""
    from medseg.intake import read_label

    names = case.masks[0].parent / NAMES_FILE
    label = read_label(case.masks[0], reference=case.image, names=names if names.is_file() else None)
    if case.masks[0].suffix.lower() in _LOSSY and np.unique(label.array).size > 2:
        raise LabelError(
            f"case {case.id}: mask {case.masks[0]} was blurred by JPEG",
            got=f"{np.unique(label.array).size} values",
            expected="one value a label",
            next_step="export the masks as PNG",
        )
    return label


def rewrite(values: Mapping[str, frozenset[int]]) -> Rewrite | None:
    """Binary masks become 0/1: those of a data set in which one value other than 0 and 1 is met, such as 255.

    Some masks may hold 1 and others 255 (or 65535) in its place: white stands for 1 where no mask holds two labels.

    Raises
    ------
    LabelError
        Each mask holds one label, which is white in some and another than 1 in others: one label or two, none can say.
    """
    foreground = frozenset().union(*values.values()) - {0}
    if foreground <= {1} or any(len(own - {0}) > 1 for own in values.values()):
        return None
    if len(foreground) == 1 or foreground <= {1, *WHITE}:
        return _as_binary
    if len(foreground) == 2 and foreground & WHITE:
        _refuse_unclear(values)
    return None


def _refuse_unclear(values: Mapping[str, frozenset[int]]) -> NoReturn:
    first: dict[int, str] = {}
    for case, own in values.items():
        for value in own - {0}:
            first.setdefault(value, case)
    raise LabelError(
        "each mask holds one label, but not all the same",
        got=" and ".join(f"{value} in case {case}" for value, case in sorted(first.items())),
        expected="0 and 1, or 0 and 255, where there is one label",
        next_step="write the masks with 1 for the label; or with 1 and 2 where these are two labels",
    )


def _without_endings(files: dict[str, list[Path]], endings: tuple[str, ...], keep: set[str]) -> dict[str, list[Path]]:
    renamed: dict[str, list[Path]] = {}
    for name, paths in files.items():
        ending = next((e for e in endings if name.lower().endswith(e) and len(name) > len(e)), "")
        case = name if name in keep else name.removesuffix(name[len(name) - len(ending) :])
        renamed.setdefault(case, []).extend(paths)
    return renamed


def _as_binary(label: Image) -> Image:
    return Image((label.array != 0).astype(np.uint8), label.affine, label.source, None, label.spacing_known)


LAYOUT = Layout("pairs", find, read, rewrite)
