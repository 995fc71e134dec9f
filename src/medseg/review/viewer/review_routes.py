"""Routes: corrections, reviews, export."""

from __future__ import annotations

import json
import secrets
from typing import Annotated, Any
from urllib.parse import unquote

from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.background import BackgroundTask

from medseg.review.viewer.case_routes import ViewerOf
from medseg.review.viewer.corrections import most_bytes
from medseg.review.viewer.export import datalist_of, write_archive
from medseg.review.viewer.receive import TooLargeError
from medseg.review.viewer.reviews import Status

router = APIRouter(prefix="/api")

_LONGEST_NAME = 200
_LONGEST_COMMENT = 10_000


class Verdict(BaseModel):
    """What someone says of a case; `version` of its correction was looked at, 0: its mask as it was segmented."""

    model_config = ConfigDict(extra="forbid")

    status: Status | None
    comment: str = Field(default="", max_length=_LONGEST_COMMENT)
    by: str = Field(default="", max_length=_LONGEST_NAME)
    version: int | None = Field(default=None, ge=0)


@router.put("/cases/{key}/review")
def review(key: str, verdict: Verdict, viewer: ViewerOf) -> dict[str, Any]:
    """Accept, reject, comment."""
    entry = viewer.entries.get(key)
    viewer.review(entry, **verdict.model_dump())
    found: dict[str, Any] = viewer.summary(entry)["review"]
    return found


@router.put("/cases/{key}/correction")
async def correct(
    key: str,
    request: Request,
    viewer: ViewerOf,
    x_shape: Annotated[str, Header()],
    x_by: Annotated[str, Header()] = "",
    based_on: Annotated[int | None, Query(alias="from", ge=0)] = None,
) -> dict[str, Any]:
    """Save painted labels as the next version of the case's corrections; `from` is the version painted on."""
    entry, by = viewer.entries.get(key), unquote(x_by)[:_LONGEST_NAME]
    body = await _body(request, most=min(most_bytes(x_shape), viewer.settings.limits.upload_bytes))

    def save() -> dict[str, Any]:
        return viewer.correct(entry, body, shape=x_shape, by=by, based_on=based_on)

    record = await run_sync(save)
    before = viewer.corrections.before(entry, record["version"])
    if based_on is not None and before not in (0, based_on):
        return {**record, "note": f"version {before} was saved meanwhile by another: both are kept"}
    return record


@router.get("/export")
def export(viewer: ViewerOf) -> Response:
    """The datalist of the accepted cases."""
    cases, changed = viewer.accepted()
    content = datalist_of(cases, labels=viewer.export_labels(cases), left_out=changed)
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    return Response(text, media_type="application/json", headers=_download("datalist.json"))


@router.get("/export.zip")
def archive(viewer: ViewerOf) -> Response:
    """The accepted cases with their images and labels."""
    found, changed = viewer.accepted()
    cases = [one for one in found if one.entry.image is not None]
    without = [one.id for one in found if one.entry.image is None]
    path = viewer.session.folder / f"export_{secrets.token_hex(8)}.zip"
    images = {one.entry.key: viewer.portable_image(one.entry) for one in cases}
    write_archive(cases, path, images=images, labels=viewer.export_labels(cases), left_out=[*changed, *without])
    return FileResponse(
        path, media_type="application/zip", filename="accepted.zip", background=BackgroundTask(path.unlink)
    )


def _download(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"'}


async def _body(request: Request, *, most: int) -> bytes:
    found = bytearray()
    async for chunk in request.stream():
        found += chunk
        if len(found) > most:
            raise TooLargeError("the correction is too large", expected=f"at most {most} bytes")
    return bytes(found)
