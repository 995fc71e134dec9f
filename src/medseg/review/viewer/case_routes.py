"""Routes: the state, the cases, their images and masks."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse

from medseg.review.viewer.cases import mask_name
from medseg.review.viewer.entries import AbsentError
from medseg.review.viewer.viewer import Viewer

router = APIRouter(prefix="/api")

What: TypeAlias = Literal["image", "prediction", "truth", "correction"]


def viewer_of(request: Request) -> Viewer:
    """The viewer that the application serves."""
    viewer: Viewer = request.app.state.viewer
    return viewer


ViewerOf: TypeAlias = Annotated[Viewer, Depends(viewer_of)]


@router.get("/state")
def state(viewer: ViewerOf) -> dict[str, Any]:
    """Version, bundles, limits."""
    return viewer.state()


@router.get("/cases")
def cases(viewer: ViewerOf) -> list[dict[str, Any]]:
    """Every case."""
    return [viewer.summary(entry) for entry in viewer.entries.all()]


@router.get("/cases/{key}")
def case(key: str, viewer: ViewerOf) -> dict[str, Any]:
    """All that is shown of one case."""
    return viewer.details(viewer.entries.get(key))


@router.get("/cases/{key}/preview.png")
def preview(key: str, viewer: ViewerOf) -> FileResponse:
    """The picture that lies beside the mask."""
    entry = viewer.entries.get(key)
    if entry.preview is None:
        raise AbsentError(f"case {entry.name} has no preview")
    return FileResponse(entry.preview, media_type="image/png")


@router.get("/cases/{key}/mask")
def mask(key: str, viewer: ViewerOf) -> FileResponse:
    """The mask as a file to keep: the correction where there is one."""
    entry = viewer.entries.get(key)
    correction = viewer.correction(entry)
    path = correction or entry.prediction
    if path is None:
        raise AbsentError(f"case {entry.name} has no mask")
    name = mask_name(entry, path, corrected=correction is not None)
    return FileResponse(path, media_type="application/octet-stream", filename=name)


@router.get("/cases/{key}/{what}.nii")
def volume(key: str, what: What, viewer: ViewerOf) -> FileResponse:
    """A volume or its label map, uncompressed: over loopback that is fastest."""
    path = viewer.file(viewer.entries.get(key), what)
    if path.suffix != ".nii":
        raise AbsentError("this case is a picture: ask for .png")
    return FileResponse(path, media_type="application/octet-stream")


@router.get("/cases/{key}/{what}.nii.gz")
def packed(key: str, what: What, viewer: ViewerOf) -> FileResponse:
    """The same, compressed for slow networks."""
    path = viewer.file(viewer.entries.get(key), what)
    if path.suffix != ".nii":
        raise AbsentError("this case is a picture: ask for .png")
    return FileResponse(viewer.shown.compressed(path), media_type="application/gzip")


@router.get("/cases/{key}/{what}.png")
def picture(key: str, what: What, viewer: ViewerOf) -> FileResponse:
    """A picture in grey, or its label map whose grey values are the labels."""
    path = viewer.file(viewer.entries.get(key), what)
    if path.suffix != ".png":
        raise AbsentError("this case is a volume: ask for .nii")
    return FileResponse(path, media_type="image/png")
