"""Routes: uploads and segmentations."""

from __future__ import annotations

from typing import Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict

from medseg.errors import ReviewError
from medseg.review.viewer.case_routes import ViewerOf
from medseg.review.viewer.entries import AbsentError, Entry
from medseg.review.viewer.receive import receive_files
from medseg.review.viewer.viewer import Viewer

router = APIRouter(prefix="/api")


class Wanted(BaseModel):
    """What is to be segmented with which bundle: a case, or all cases of an upload that the bundle takes."""

    model_config = ConfigDict(extra="forbid")

    bundle: str
    case: str | None = None
    upload: str | None = None


@router.post("/uploads", status_code=201)
async def upload(request: Request, viewer: ViewerOf) -> dict[str, Any]:
    """Take in files, and tell the cases that they make."""
    viewer.jobs.warm_up()
    folder = viewer.uploads.new_folder()
    length = request.headers.get("content-length", "")
    try:
        files = await receive_files(
            request.stream(),
            content_type=request.headers.get("content-type", ""),
            declared=int(length) if length.isascii() and length.isdigit() else None,
            folder=folder,
            limits=viewer.settings.limits,
        )
    except BaseException:
        viewer.uploads.drop(folder)
        raise
    taken = await run_sync(viewer.uploads.take, folder, files)
    first = taken.cases[0]
    return {
        "upload": taken.id,
        "kind": first.kind,
        "name": first.name,
        "modality": first.modality,
        "cases": [viewer.summary(entry) for entry in taken.cases],
        "refused": list(taken.refused),
    }


@router.delete("/cases/{key}", status_code=204)
def remove(key: str, viewer: ViewerOf) -> Response:
    """Remove an uploaded case with its files; cases of the reviewed folder stay."""
    entry = viewer.entries.get(key)
    if entry.source != "upload":
        raise ReviewError(f"case {entry.name} is of the reviewed folder", expected="an uploaded case")
    viewer.jobs.cancel_case(key)
    viewer.uploads.remove_case(entry)
    return Response(status_code=204)


@router.post("/jobs", status_code=202)
def segment(wanted: Wanted, viewer: ViewerOf) -> dict[str, Any]:
    """Queue the segmentation of a case, or of each case of an upload that the bundle takes."""
    jobs = [viewer.segment(entry, wanted.bundle) for entry in _wanted(wanted, viewer)]
    return {"job": jobs[0].id, "case": jobs[0].case, "jobs": [job.id for job in jobs]}


@router.get("/jobs")
def jobs(viewer: ViewerOf) -> list[dict[str, Any]]:
    """Every job of this run, the oldest first."""
    return viewer.jobs.all()


@router.delete("/jobs/{job}", status_code=204)
def cancel(job: str, viewer: ViewerOf) -> Response:
    """Cancel a job."""
    viewer.jobs.cancel(job)
    return Response(status_code=204)


def _wanted(wanted: Wanted, viewer: Viewer) -> list[Entry]:
    if (wanted.case is None) == (wanted.upload is None):
        raise ReviewError("what to segment", expected="either a case or an upload")
    if wanted.case is not None:
        return [viewer.entries.get(wanted.case)]
    found = list(viewer.uploads.cases(wanted.upload or ""))
    if not found:
        raise AbsentError("no such upload")
    return viewer.fitting(found, wanted.bundle)
