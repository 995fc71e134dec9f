"""Chest X-rays as the Montgomery set stores them: `CXR_png` and one folder of 0/255 masks per organ.

`ManualMask/leftMask` and `ManualMask/rightMask` are the patient's left and right lung; `ManualMask/heartMask` may be
there too, and then every case needs one: a missing heart would teach that there is none.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medseg.case import Image
from medseg.datasets.layouts.found import Found, Layout, RawCase, files_by_id, subfolder
from medseg.errors import GeometryError, LabelError

_ORGANS = {"leftMask": "left lung", "rightMask": "right lung", "heartMask": "heart"}
_OPTIONAL = "heartMask"


def find(source: Path) -> Found:
    """The X-rays that have a mask of each organ, and a problem for each image or mask that stands alone."""
    images = files_by_id(subfolder(source, "CXR_png"))
    folder = subfolder(source, "ManualMask")
    organs = [o for o in _ORGANS if o != _OPTIONAL or (folder / o).is_dir()]
    masks = {organ: files_by_id(subfolder(folder, organ)) for organ in organs}
    cases, problems = [], []
    for case in sorted(set(images).union(*masks.values())):
        files = {"CXR_png": images.get(case, []), **{organ: masks[organ].get(case, []) for organ in organs}}
        missing = [name for name, found in files.items() if not found]
        twice = [name for name, found in files.items() if len(found) > 1]
        if missing:
            some = next(found[0] for found in files.values() if found)
            problems.append(f"case {case}: no file in {', '.join(missing)} that goes with {some}")
        elif twice:
            problems.append(f"case {case}: several files in {', '.join(twice)}")
        else:
            cases.append(RawCase(case, images[case][0], tuple(files[organ][0] for organ in organs)))
    labels = {0: "background", **{i: _ORGANS[organ] for i, organ in enumerate(organs, start=1)}}
    return Found(tuple(cases), tuple(problems), labels, {"modality": {"0": "X-ray"}})


def read(case: RawCase) -> Image:
    """The masks as one map: 1 left lung, 2 right lung, 3 heart; where they overlap the lower label wins.

    So the lung wins over the heart, and the few pixels drawn as both lungs go to the left one.
    """
    from medseg.intake import read_label

    masks = [read_label(path) for path in case.masks]
    first = masks[0]
    merged = np.zeros(first.array.shape, dtype=np.uint8)
    for value, mask in reversed(list(enumerate(masks, start=1))):
        if mask.array.shape != merged.shape:
            raise GeometryError(
                f"case {case.id}: masks of different size",
                got=f"{mask.array.shape} in {mask.source}",
                expected=f"{merged.shape} as {first.source}",
            )
        if np.unique(mask.array[mask.array != 0]).size > 1:
            raise LabelError(
                f"case {case.id}: mask {mask.source} is not binary",
                got=np.unique(mask.array)[:8].tolist(),
                expected="0 and one other value",
            )
        merged[mask.array != 0] = value
    return Image(merged, first.affine, first.source, None, first.spacing_known)


def _merged(label: Image) -> Image:
    return label


LAYOUT = Layout("montgomery", find, read, lambda values: _merged)
