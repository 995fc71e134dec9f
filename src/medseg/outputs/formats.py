"""The formats in which a label map can be written besides its usual one, and which of them an input allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from traceback import extract_tb
from typing import Any

import numpy as np

from medseg.case import Image, LabelArray, Prediction
from medseg.dicom.codes import SegmentCode
from medseg.dicom.source import quiet_pydicom
from medseg.errors import MedsegError, OutputError
from medseg.files import atomic_write
from medseg.geometry import lps_from_affine
from medseg.intake.dicom_image import turned_findings
from medseg.intake.dicom_source import SourceImages, source_images
from medseg.intake.files import is_dicom, split_series
from medseg.outputs.algorithm import Algorithm
from medseg.outputs.folders import check_file_name
from medseg.outputs.masks import write_mask

_SEGS = ("dicom-seg", "dicom-seg-deflated", "dicom-seg-labelmap")
_DICOM = (*_SEGS, "rtstruct", "sr")
_HIGHDICOM = (*_SEGS, "sr")
_DICOM_FILES = {
    "dicom-seg": "{id}_seg.dcm",
    "dicom-seg-deflated": "{id}_seg_deflated.dcm",
    "dicom-seg-labelmap": "{id}_seg_labelmap.dcm",
    "rtstruct": "{id}_rtstruct.dcm",
    "sr": "{id}_sr.dcm",
}
FORMATS = ("nifti", "nrrd", "mha", "png", *_DICOM)


@dataclass(frozen=True)
class Meaning:
    """What DICOM files say of the labels and of who found them.

    Attributes
    ----------
    segments
        Code and colour of each label value but 0.
    algorithm
        The bundle.
    measurements
        What the bundle measures of the whole label map, by name; None where it could not.
    """

    segments: Mapping[int, SegmentCode]
    algorithm: Algorithm
    measurements: Mapping[str, float | None]


def known_formats(formats: Sequence[str]) -> tuple[str, ...]:
    """`formats`, each once; refused where one is none of `FORMATS`."""
    unknown = [str(name) for name in formats if name not in FORMATS]
    if unknown or isinstance(formats, str):
        got = formats if isinstance(formats, str) else ", ".join(unknown)
        raise OutputError("unknown format", got=got, expected=f"a list of {', '.join(FORMATS)}")
    return tuple(dict.fromkeys(formats))


def check_formats(formats: Sequence[str], *, inputs: Sequence[Path], spatial_dims: int) -> None:
    """Refuse, before any work, formats that cannot be written.

    Parameters
    ----------
    formats
        Some of `FORMATS`.
    inputs
        The images that are going to be segmented.
    spatial_dims
        2 for pictures, 3 for volumes.

    Raises
    ------
    OutputError
        An unknown format, a DICOM format for an input that is not DICOM, contours of a picture, or a missing package.
    """
    known_formats(formats)
    if "rtstruct" in formats and spatial_dims == 2:
        raise OutputError(
            "rtstruct holds contours in the patient's space, which a picture has not",
            got="pictures",
            next_step="leave it out; dicom-seg works for pictures",
        )
    asked = [name for name in formats if name in _DICOM]
    others = [path for path in inputs if not _is_dicom_input(path)]
    if asked and others:
        raise OutputError(
            f"{', '.join(asked)} refer to the DICOM images they were made from",
            got=f"{len(others)} of {len(inputs)} inputs that are not DICOM, such as {others[0]}",
            next_step="give the DICOM series, or ask for nifti, nrrd or mha",
        )
    if any(name in _HIGHDICOM for name in formats) and find_spec("highdicom") is None:
        raise OutputError(
            f"{', '.join(asked)} need a package that is not installed",
            got="no module highdicom",
            next_step="install it: pip install 'medseg[dicom]'",
        )


def write_formats(
    prediction: Prediction, image: Image, folder: Path, *, formats: Sequence[str], meaning: Meaning
) -> dict[str, str]:
    """Write a case's label map in further formats, each file whole or not at all.

    The usual mask (`<id>.nii.gz`, `<id>.png` of a picture) is `write_prediction`'s: asking for it here only names it. A
    volume as "png" is a folder with a file for each slice along Z. "sr" comes with the binary SEG that it refers to.

    Parameters
    ----------
    prediction
        Label map ``(X, Y[, Z])`` on the image's grid.
    image
        ``(C, X, Y[, Z])``; its source is the file or folder, or FOLDER/#UID of a series.
    folder
        Where to write; it must exist.
    formats
        Some of `FORMATS`.
    meaning
        For the DICOM formats.

    Returns
    -------
    dict
        Kind, at least one for each of `formats`, to file name in `folder`.

    Raises
    ------
    OutputError
        The image does not come from DICOM, or its files cannot be referred to.
    """
    check_file_name(prediction.id)
    asked = [name for name in formats if name in _DICOM]
    if not asked:
        return _write_plain(prediction, image, folder, formats)
    source = source_images(image)
    if source is None:
        raise OutputError(f"case {prediction.id}: {', '.join(asked)} of an image that is not DICOM")
    with quiet_pydicom():
        _refuse_turned(prediction, source, asked)
        written = {}
        for kind, data in _make_dicom(prediction, image, asked, source, meaning).items():
            with _made_of_source(kind, prediction.id):
                written[kind] = _save(data, folder, _DICOM_FILES[kind].format(id=prediction.id))
    return {**_write_plain(prediction, image, folder, formats), **written}


def _refuse_turned(prediction: Prediction, source: SourceImages, asked: Sequence[str]) -> None:
    """Results travel without the warnings of the manifest: sides and ratios of a turned X-ray would be believed."""
    found = turned_findings(source.datasets[0]) if prediction.labels.array.ndim == 2 else []
    if found:
        raise OutputError(
            f"case {prediction.id}: {', '.join(asked)} would name left and right wrongly, as {found[0].what}",
            got=found[0].got,
            expected=found[0].expected,
            next_step="turn or mirror the X-ray, if it is a frontal one, and correct its PatientOrientation; or ask for"
            " no DICOM format: the mask comes with a warning",
        )


def _is_dicom_input(path: Path) -> bool:
    source, _ = split_series(path)
    return source.is_dir() or is_dicom(source)


def _write_plain(prediction: Prediction, image: Image, folder: Path, formats: Sequence[str]) -> dict[str, str]:
    labels = Image(prediction.labels.array, image.affine, image.source, image.modality, image.spacing_known)
    volume, written = labels.array.ndim == 3, {}
    if "nifti" in formats:
        written["nifti"] = f"{prediction.id}.nii.gz"
        if not volume:
            write_mask(Image(labels.array[..., None], labels.affine, labels.source), folder / written["nifti"])
    for kind in ("nrrd", "mha"):
        if kind in formats:
            written[kind] = f"{prediction.id}.{kind}"
            _write_itk(labels, folder / written[kind])
    if "png" in formats:
        written |= _write_slices(labels, folder, prediction.id) if volume else {"png": f"{prediction.id}.png"}
    return written


def _write_slices(labels: Image, folder: Path, case_id: str) -> dict[str, str]:
    """A picture of each slice along Z; the first is "png", those after it "png_0002" and so on.

    Those that an earlier run left of a volume with more slices go.
    """
    (folder / f"{case_id}_slices").mkdir(exist_ok=True)
    for path in (folder / f"{case_id}_slices").glob("[0-9]*.png"):
        if path.stem.isdecimal() and int(path.stem) > labels.array.shape[2]:
            path.unlink()
    written = {}
    for k in range(labels.array.shape[2]):
        name = f"{case_id}_slices/{k + 1:04d}.png"
        write_mask(Image(labels.array[:, :, k], labels.affine, labels.source), folder / name)
        written[f"png_{k + 1:04d}" if k else "png"] = name
    return written


def _write_itk(labels: Image, path: Path) -> None:
    import SimpleITK

    n = labels.array.ndim
    origin, spacing, direction = lps_from_affine(labels.affine)
    stored = labels.array.astype(np.uint8 if int(labels.array.max()) <= 255 else np.uint16).T
    made = SimpleITK.GetImageFromArray(np.ascontiguousarray(stored))
    if n == 3:
        made.SetOrigin([float(v) for v in origin])
        made.SetDirection([float(v) for v in direction.ravel()])
    made.SetSpacing([float(v) for v in spacing[:n]])
    with atomic_write(path) as temporary:
        SimpleITK.WriteImage(made, str(temporary), useCompression=True)


def _make_dicom(
    prediction: Prediction, image: Image, formats: Sequence[str], source: SourceImages, meaning: Meaning
) -> dict[str, Any]:
    """Kind to data set, not yet written: a source of which one cannot be made leaves none of them in the folder."""
    labels, made = prediction.labels.array, dict[str, Any]()
    makers: dict[str, Callable[[], Any]] = {
        **{kind: partial(_seg, kind, labels, source, meaning) for kind in _SEGS},
        "rtstruct": lambda: _rtstruct(labels, image, source, meaning),
        "sr": lambda: _sr(labels, image, source, made["dicom-seg"], meaning),
    }
    for kind in (kind for kind in makers if kind in formats or (kind == "dicom-seg" and "sr" in formats)):
        with _made_of_source(kind, prediction.id):
            made[kind] = makers[kind]()
    return made


@contextmanager
def _made_of_source(kind: str, case_id: str) -> Iterator[None]:
    """What libraries say of a source that DICOM does not allow may quote a patient's name: it is not passed on."""
    try:
        yield
    except (MedsegError, OSError):
        raise
    except Exception as error:  # noqa: BLE001 (highdicom and pydicom raise many kinds for one wrong attribute)
        raise OutputError(
            f"case {case_id}: no {kind} can be made of what its source files say",
            got=f"{type(error).__name__} in {_where(error)}",
            next_step="check them with dciodvfy, or ask for nifti",
        ) from None


def _where(error: Exception) -> str:
    """Module and line that raised it: enough to find a fault that is not the source's, and no word of the source."""
    last = extract_tb(error.__traceback__)[-1]
    return f"{'/'.join(Path(last.filename).parts[-2:])}, line {last.lineno}"


def _seg(kind: str, labels: LabelArray, source: SourceImages, meaning: Meaning) -> Any:
    from medseg.outputs.dicom_seg import make_seg

    return make_seg(
        labels,
        source,
        segments=meaning.segments,
        algorithm=meaning.algorithm,
        kind="LABELMAP" if kind == "dicom-seg-labelmap" else "BINARY",
        deflated=kind == "dicom-seg-deflated",
    )


def _rtstruct(labels: LabelArray, image: Image, source: SourceImages, meaning: Meaning) -> Any:
    from medseg.outputs.rtstruct import make_rtstruct

    return make_rtstruct(labels, image.affine, source, segments=meaning.segments, algorithm=meaning.algorithm)


def _sr(labels: LabelArray, image: Image, source: SourceImages, seg: Any, meaning: Meaning) -> Any:
    from medseg.outputs.measurements_sr import make_sr

    return make_sr(
        labels,
        image,
        source,
        seg,
        segments=meaning.segments,
        algorithm=meaning.algorithm,
        measurements=meaning.measurements,
    )


def _save(made: Any, folder: Path, name: str) -> str:
    with atomic_write(folder / name) as temporary:
        made.save_as(temporary, enforce_file_format=True)
    return name
