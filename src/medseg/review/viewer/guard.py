"""The door: every request is looked at here before anything of it is answered."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medseg.review.viewer.access import Access, Hosts
from medseg.review.viewer.headers import secure
from medseg.review.viewer.receive import TooLargeError

LOGIN = "/login"
_OPEN = frozenset({"/healthz", LOGIN, "/static/login.html", "/static/login.js", "/static/login.css"})
_READING = frozenset({"GET", "HEAD"})
_OURS = "x-medseg"
UPLOADS = "/api/uploads"
CORRECTION = "/correction"
_SMALL_BYTES = 65536
"""Of a body that is neither file nor voxels: also those who have no session can send one."""


class Guard:
    """Refuses what comes from elsewhere: other hosts, other pages, nobody's session; opens sessions by the token.

    Parameters
    ----------
    app
        What answers the requests that pass.
    access, hosts
        Who may come in, and under which names.
    """

    def __init__(self, app: ASGIApp, *, access: Access, hosts: Hosts) -> None:
        self.app, self.access, self.hosts = app, access, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            request = Request(scope)
            answer = self._answer(request) or self.app
            most = None if _is_large(request) else _SMALL_BYTES
            await answer(scope, _limited(receive, most), _secured(send, scope["path"]))

    def _answer(self, request: Request) -> Response | None:
        """The answer to a request that does not pass."""
        if not self.hosts.allow(request.headers.get("host", "")):
            return refusal(421, "this name is not one of the viewer's: open the address that medseg review printed")
        wrong = _foreign(request)
        if wrong is not None:
            return refusal(403, wrong)
        if not _is_large(request) and _length(request) > _SMALL_BYTES:
            return refusal(413, f"the request is too large: at most {_SMALL_BYTES} bytes")
        token = request.query_params.get("token")
        if token is not None and request.url.path == "/" and request.method == "GET":
            return self._by_token(token, request)
        if request.url.path in _OPEN or self.access.sessions.knows(request.cookies.get(self.access.cookie)):
            return None
        return self._no_session(request)

    def _by_token(self, token: str, request: Request) -> Response:
        if not self.access.is_token(token):
            return refusal(403, "wrong token: open the address that medseg review printed last")
        answer: Response = RedirectResponse("/", status_code=303)
        if request.headers.get("sec-fetch-site") == "cross-site":
            # Followed from another page, a redirect would count as that page's too, and would bring no cookie.
            answer = Response("opening ...", headers={"Refresh": "0; url=/"}, media_type="text/plain")
        open_session(answer, self.access, secure=request.url.scheme == "https")
        return answer

    def _no_session(self, request: Request) -> Response:
        if self.access.token is None and request.url.path == "/":
            return RedirectResponse(LOGIN, status_code=303)
        return refusal(401, "no session: open the address that medseg review printed")


def open_session(answer: Response, access: Access, *, secure: bool) -> None:
    """Put a new session's cookie into an answer."""
    answer.set_cookie(access.cookie, access.sessions.open(), path="/", httponly=True, samesite="strict", secure=secure)


def refusal(status: int, text: str, **headers: str) -> JSONResponse:
    """An answer that says why not."""
    return JSONResponse({"error": text}, status_code=status, headers=headers)


def _foreign(request: Request) -> str | None:
    """Why a request is not one of our own page; None where it is, or where it changes nothing and says nothing."""
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    changes = request.method not in _READING
    if origin is not None and not _same(origin, request.headers.get("host", "")):
        return "the request comes from another page"
    elsewhere = site in ("cross-site", "same-site")  # same-site: another port of this computer
    if elsewhere and (changes or request.headers.get("sec-fetch-mode") != "navigate"):
        return "the request comes from another page"
    if changes and (origin is None or request.headers.get(_OURS) != "1"):
        return "the request does not come from the viewer's page: it needs Origin and X-Medseg: 1"
    return None


def _same(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.strip().lower()


def _is_large(request: Request) -> bool:
    """Whether a request brings files or voxels, whose routes count its bytes themselves."""
    path = request.url.path
    return (request.method, path) == ("POST", UPLOADS) or (request.method == "PUT" and path.endswith(CORRECTION))


def _length(request: Request) -> int:
    text = request.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else 0


def _limited(receive: Receive, most: int | None) -> Receive:
    """Stop reading a body beyond `most` bytes, also where its length was not told or was a lie."""
    done = 0

    async def received() -> Message:
        nonlocal done
        message = await receive()
        done += len(message.get("body", b""))
        if most is not None and done > most:
            raise TooLargeError("the request is too large", expected=f"at most {most} bytes")
        return message

    return received


def _secured(send: Send, path: str) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=list(message.get("headers", [])))
            secure(headers, path=path)
            message = {**message, "headers": headers.raw}
        await send(message)

    return sent
