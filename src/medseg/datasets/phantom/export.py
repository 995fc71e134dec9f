"""Phantoms into files: the `pairs` layout (images/, labels/), on request DICOM beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medseg.case import Case, Image
from medseg.datasets.phantom.ct import ct_phantom
from medseg.datasets.phantom.xray import xray_phantom
from medseg.datasets.splits import refuse_seed
from medseg.errors import DataError, writing
from medseg.files import atomic_folder


def write_phantoms(folder: Path, *, cases: int, seed: int, kind: str, dicom: bool, wide: bool = False) -> list[Path]:
    """Write phantoms as a data set that `medseg data prepare pairs FOLDER` takes.

    Parameters
    ----------
    folder
        Made here; refused when it exists and holds anything. It appears whole or not at all.
    cases
        How many; case i is drawn from `numpy.random.SeedSequence([seed, i])`, i from 1.
    kind
        "ct": images/<id>.nii.gz, int16 HU; "xray": images/<id>.png, 8 bits. Labels beside them in labels/.
    dicom
        Also write dicom/<id>/, a CT series or one X-ray.
    wide
        CT volumes of all kinds of patients and scans, some without lungs: see `ct_phantom`.

    Returns
    -------
    list of Path
        The images, in order of their ids.
    """
    folder = Path(folder)
    _check(folder, cases, kind, wide)
    refuse_seed(seed)
    with writing(folder), atomic_folder(folder) as building:
        images = [_write_case(building, kind, seed, number, dicom=dicom, wide=wide) for number in range(1, cases + 1)]
    return [folder / path.relative_to(building) for path in images]


def _check(folder: Path, cases: int, kind: str, wide: bool) -> None:
    if kind not in ("ct", "xray"):
        raise DataError("unknown kind of phantom", got=repr(kind), expected='"ct" or "xray"')
    if wide and kind != "ct":
        raise DataError("only CT phantoms are widened", got=f"kind {kind}", next_step="leave --wide out, or ask for ct")
    if cases < 1:
        raise DataError("no phantoms to write", got=f"{cases} cases", expected="1 or more")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(
            f"{folder} is there already and not an empty folder", next_step="give a new folder, or remove it first"
        )


def _write_case(folder: Path, kind: str, seed: int, number: int, *, dicom: bool, wide: bool) -> Path:
    name = f"phantom_{kind}_{number:04d}"
    if kind == "ct":
        case = ct_phantom((seed, number), case_id=name, wide=wide)
    else:
        case = xray_phantom((seed, number), case_id=name)
    assert case.label is not None, "phantoms carry their truth"
    for part in ("images", "labels"):
        (folder / part).mkdir(exist_ok=True)
    suffix, save = (".nii.gz", _save_nifti) if kind == "ct" else (".png", _save_png)
    image = folder / "images" / f"{name}{suffix}"
    save(case.image, image)
    save(case.label, folder / "labels" / f"{name}{suffix}")
    if dicom:
        _write_dicom(case, folder / "dicom" / name, kind, (seed, number))
    return image


def _write_dicom(case: Case, folder: Path, kind: str, seed: tuple[int, int]) -> None:
    from medseg.dicom import write_series, write_xray

    if kind == "ct":
        write_series(case.image, folder, series_description=case.id, seed=seed)
    else:
        folder.mkdir(parents=True)
        write_xray(case.image, folder / f"{case.id}.dcm", series_description=case.id, seed=seed)


def _save_nifti(image: Image, path: Path) -> None:
    import nibabel

    array = image.array[0] if image.array.ndim == 4 else image.array
    nifti = nibabel.Nifti1Image(array, image.affine)
    nifti.header.set_xyzt_units("mm")
    nifti.set_qform(image.affine, code=1)
    nifti.set_sform(image.affine, code=1)
    nibabel.save(nifti, path)


def _save_png(image: Image, path: Path) -> None:
    from PIL import Image as Picture

    array = image.array[0] if image.array.ndim == 3 else image.array
    Picture.fromarray(np.ascontiguousarray(array.T)).save(path)
