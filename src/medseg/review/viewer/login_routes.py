"""Routes: come in by password, leave."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from medseg.review.viewer.case_routes import ViewerOf
from medseg.review.viewer.guard import LOGIN, open_session, refusal

router = APIRouter()

_PAGE = Path(__file__).with_name("static") / "login.html"
_LONGEST_PASSWORD = 1000


class Given(BaseModel):
    """A guess."""

    model_config = ConfigDict(extra="forbid")

    password: str = Field(max_length=_LONGEST_PASSWORD)


@router.get(LOGIN)
def page() -> FileResponse:
    """The page that asks for the password."""
    return FileResponse(_PAGE, media_type="text/html")


@router.post(LOGIN)
async def login(given: Given, request: Request, viewer: ViewerOf) -> Response:
    """Open a session for the right password; each wrong one makes the next wait longer.

    Nothing is awaited between the look at the waiting time and the count of a wrong guess, so that guesses sent at
    the same time cannot slip through.
    """
    access, client = viewer.access, request.client.host if request.client is not None else ""
    wait = access.guesses.wait_seconds(client)
    if wait > 0:
        text = f"too many wrong passwords: wait {int(wait) + 1} s"
        return JSONResponse(
            {"error": text, "wait_seconds": int(wait) + 1}, 429, headers={"Retry-After": str(int(wait) + 1)}
        )
    if not access.is_password(given.password):
        access.guesses.wrong(client)
        return refusal(403, "wrong password")
    access.guesses.right(client)
    answer = Response(status_code=204)
    open_session(answer, access, secure=request.url.scheme == "https")
    return answer


@router.post("/logout", status_code=204)
def logout(request: Request, viewer: ViewerOf) -> Response:
    """End this browser's session."""
    viewer.access.sessions.close(request.cookies.get(viewer.access.cookie))
    answer = Response(status_code=204)
    answer.delete_cookie(viewer.access.cookie, path="/", httponly=True, samesite="strict")
    return answer
