"""The web application: routes behind the guard."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from anyio.to_thread import run_sync
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.staticfiles import StaticFiles

from medseg.errors import MedsegError
from medseg.review.viewer import case_routes, job_routes, login_routes, review_routes
from medseg.review.viewer.access import Hosts
from medseg.review.viewer.entries import AbsentError
from medseg.review.viewer.guard import Guard, refusal
from medseg.review.viewer.receive import TooLargeError
from medseg.review.viewer.viewer import Viewer

STATIC = Path(__file__).with_name("static")


def make_app(viewer: Viewer) -> Guard:
    """The application of one run; it starts and closes `viewer`."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        viewer.start()
        try:
            yield
        finally:
            await run_sync(viewer.close)

    # Neither the API's own pages nor its schema: they load scripts from elsewhere.
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.state.viewer = viewer
    app.add_exception_handler(MedsegError, _refused)
    app.add_exception_handler(AbsentError, _absent)
    app.add_exception_handler(TooLargeError, _too_large)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _plain)
    app.add_exception_handler(ClientDisconnect, _gone)
    for routes in (case_routes, job_routes, login_routes, review_routes):
        app.include_router(routes.router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_api_route("/", _page, methods=["GET"])
    app.add_api_route("/healthz", _healthy, methods=["GET"])
    # Outside the application, so that its own error pages pass the guard too.
    return Guard(app, access=viewer.access, hosts=Hosts(viewer.settings))


def _page() -> FileResponse:
    return FileResponse(STATIC / "index.html", media_type="text/html")


def _healthy() -> PlainTextResponse:
    return PlainTextResponse("ok\n")


def _refused(request: Request, error: Exception) -> Response:
    return refusal(422, _told(request, error))


def _absent(request: Request, error: Exception) -> Response:
    return refusal(404, _told(request, error))


def _malformed(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    wrong = sorted({".".join(map(str, one["loc"])) for one in error.errors()})
    return refusal(422, f"the request is malformed: {', '.join(wrong)}")


def _plain(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return refusal(error.status_code, str(error.detail).lower(), **dict(error.headers or {}))


def _gone(request: Request, error: Exception) -> Response:
    return refusal(400, "the request is cut off before its end")  # who took an upload back reads no answer


def _too_large(request: Request, error: Exception) -> Response:
    return refusal(413, _told(request, error))


def _told(request: Request, error: Exception) -> str:
    viewer: Any = request.app.state.viewer
    return str(viewer.session.hide(str(error)))
