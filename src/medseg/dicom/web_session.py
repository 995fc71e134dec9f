"""HTTP as a PACS needs it: credentials from the environment, verified TLS, whole answers, retries with backoff."""

from __future__ import annotations

import base64
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from time import sleep
from typing import Any, TypeVar

from medseg.dicom.extra import pacs_extra
from medseg.dicom.retries import Retries
from medseg.dicom.web_address import WebAddress
from medseg.errors import PacsError

with pacs_extra():
    import requests
    from requests.adapters import HTTPAdapter

logger = logging.getLogger(__name__)

TOKEN, USER, PASSWORD = "MEDSEG_DICOMWEB_TOKEN", "MEDSEG_DICOMWEB_USER", "MEDSEG_DICOMWEB_PASSWORD"
PLAIN = "MEDSEG_DICOMWEB_PLAIN"
CONNECT_S, READ_S = 10.0, 120.0
"""Seconds until a connection stands, and between two bytes of an answer."""
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers that may be better the next time; any other error is final at once."""
_TAIL_BYTES = 1024
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_BOUNDARY = re.compile(r"""boundary="?([^";,]+)"?""", re.IGNORECASE)

Result = TypeVar("Result")


class IncompleteAnswer(requests.exceptions.ChunkedEncodingError):
    """An answer in several parts that ends before its closing delimiter."""


class Authorization(requests.auth.AuthBase):
    """Sets the header, also to nothing: without an object of ours requests would take passwords from ~/.netrc."""

    def __init__(self, value: str | None) -> None:
        self._value = value

    def __call__(self, request: Any) -> Any:
        if self._value is not None:
            request.headers["Authorization"] = self._value
        return request


def authorization(address: WebAddress, environment: Mapping[str, str] = os.environ) -> Authorization:
    """Bearer or basic credentials from the environment, none where none are set.

    Raises
    ------
    PacsError
        A token and a user at once, a user without password, characters that no header can hold, or credentials that
        would go over the network in clear text.
    """
    token, user, password = (environment.get(name) or None for name in (TOKEN, USER, PASSWORD))
    if token is not None and (user is not None or password is not None):
        raise PacsError(f"both {TOKEN} and {USER} or {PASSWORD} are set", next_step="unset one of them")
    if (user is None) != (password is None):
        raise PacsError(f"only one of {USER} and {PASSWORD} is set", next_step="set both")
    if token is None and (user is None or password is None):
        return Authorization(None)
    if not address.encrypted and environment.get(PLAIN) != "1":
        raise PacsError(
            f"{address.service} would get the credentials unencrypted",
            expected="dicomwebs://",
            next_step=f"set {PLAIN}=1 where the network is trusted",
        )
    return Authorization(_bearer(token) if token is not None else _basic(user or "", password or ""))


def _bearer(token: str) -> str:
    if not _VISIBLE.fullmatch(token):
        raise PacsError(f"{TOKEN} holds a space or a character that no token has", next_step="set it again")
    return f"Bearer {token}"


def _basic(user: str, password: str) -> str:
    if ":" in user:
        raise PacsError(f"{USER} holds a colon, which HTTP's basic credentials cannot", next_step="use a token")
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")


class _Adapter(HTTPAdapter):
    """One request: no redirect is followed, and an answer in parts must be whole."""

    def send(
        self,
        request: Any,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> Any:
        request.headers.pop("Host", None)  # dicomweb-client sets it without the port
        response = super().send(request, stream, timeout, verify, cert, proxies)
        if 300 <= response.status_code < 400:
            response.close()
            raise PacsError(
                "the PACS sends us to another address",
                got=f"HTTP {response.status_code}",
                expected="an answer",
                next_step="check host, port and prefix, and whether it wants dicomwebs://",
            )
        boundary = _BOUNDARY.search(response.headers.get("Content-Type", ""))
        if boundary is not None:
            whole = _whole(response.iter_content, boundary[1].encode("latin-1"))
            response.iter_content = whole  # type: ignore[method-assign]
        return response


def _whole(read: Callable[..., Iterator[bytes]], boundary: bytes) -> Callable[..., Iterator[bytes]]:
    """`iter_content`, which raises at the end where the closing delimiter did not come."""

    def iter_content(chunk_size: int | None = 1, decode_unicode: bool = False) -> Iterator[bytes]:
        tail = b""
        for chunk in read(chunk_size, decode_unicode):
            tail = (tail + bytes(chunk))[-_TAIL_BYTES - len(boundary) :]
            yield chunk
        if b"--" + boundary + b"--" not in tail:
            raise IncompleteAnswer("the answer ends before its closing delimiter")

    return iter_content


def open_session(address: WebAddress, environment: Mapping[str, str] = os.environ) -> requests.Session:
    """A session for one service. Certificates are always verified; REQUESTS_CA_BUNDLE names a hospital's own."""
    session = requests.Session()
    session.auth = authorization(address, environment)
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter())
    return session


def with_retries(action: Callable[[], Result], *, doing: str, service: str, retries: Retries) -> Result:
    """Do `action` until it succeeds, fails for good, or the attempts are used up.

    Parameters
    ----------
    action
        Raises requests' errors; it can be done again from the start.
    doing
        For messages: "query the series".
    service
        For messages: the address without credentials.
    retries
        How often, and how long to wait.

    Raises
    ------
    PacsError
        Whatever requests raised; what the server wrote is not repeated, as it may hold patient data.
    """
    for attempt in range(1, retries.attempts + 1):
        try:
            return action()
        except requests.RequestException as error:
            if attempt == retries.attempts or not may_pass(error):
                raise _told(error, doing=doing, service=service, attempts=attempt) from error
            wait = retries.wait_s(attempt, asked_s=_asked_s(error))
            logger.info("%s: cannot %s (%s); again in %.1f s", service, doing, _cause(error), wait)
            sleep(wait)
    raise AssertionError("unreachable: the last attempt returns or raises")


def may_pass(error: requests.RequestException) -> bool:
    """Whether the same request could succeed later: 5xx, timeouts, broken connections; never a wrong certificate."""
    if isinstance(error, requests.HTTPError):
        return error.response is not None and error.response.status_code in PASSING
    broken = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
    return isinstance(error, broken) and not isinstance(error, requests.exceptions.SSLError)


def _asked_s(error: requests.RequestException) -> float:
    told = "" if error.response is None else error.response.headers.get("Retry-After", "")
    return float(told) if told.isdecimal() else 0.0


def _cause(error: requests.RequestException) -> str:
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP {error.response.status_code}"
    kinds = {
        requests.exceptions.SSLError: "no trusted certificate",
        IncompleteAnswer: "an answer that ends early",
        requests.Timeout: "no answer in time",
        requests.exceptions.ChunkedEncodingError: "a connection that broke",
        requests.ConnectionError: "no connection, or one that broke",
    }
    return next((text for kind, text in kinds.items() if isinstance(error, kind)), type(error).__name__)


def _told(error: requests.RequestException, *, doing: str, service: str, attempts: int) -> PacsError:
    cause = _cause(error)
    return PacsError(
        f"{service}: cannot {doing}",
        got=cause if attempts == 1 else f"{cause} after {attempts} attempts",
        next_step=_next_step(error),
    )


def _next_step(error: requests.RequestException) -> str:
    if isinstance(error, requests.exceptions.SSLError):
        return "name the certificate of your authority in REQUESTS_CA_BUNDLE, and check the host's name"
    status = None if error.response is None else error.response.status_code
    if status in (401, 403):
        return f"set {TOKEN}, or {USER} and {PASSWORD}"
    if status == 404:
        return "check prefix and UIDs of the address"
    return "check that the server runs and the address is right, then try again"
