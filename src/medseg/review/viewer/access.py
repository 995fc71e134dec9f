"""Who may come in: the token of the printed address or a password opens a session, wrong passwords cost time."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from medseg.review.viewer.settings import Settings, is_loopback

SESSION_SECONDS = 12 * 3600.0
"""A session ends when nothing was asked for so long."""

_MOST_SESSIONS = 1000
_MOST_CLIENTS = 10_000
_FREE_GUESSES = 3
_FIRST_WAIT_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 300.0


class Sessions:
    """The sessions that are open, by the secret value of their cookie."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def open(self) -> str:
        """A new session's cookie value; the session that was idle longest makes room for it where there are many."""
        value = secrets.token_urlsafe(32)
        with self._lock:
            self._last[value] = self._clock()
            while len(self._last) > _MOST_SESSIONS:
                self._last.popitem(last=False)
        return value

    def knows(self, value: str | None) -> bool:
        """Whether a cookie is that of a session; a look-up by a 256-bit random value tells nothing by its time."""
        with self._lock:
            last = self._last.get(value or "")
            if value is None or last is None:
                return False
            if self._clock() - last > SESSION_SECONDS:
                del self._last[value]
                return False
            self._last[value] = self._clock()
            self._last.move_to_end(value)
            return True

    def close(self, value: str | None) -> None:
        """End a session."""
        with self._lock:
            self._last.pop(value or "", None)


@dataclass
class _Client:
    wrong: int = 0
    free_at: float = 0.0


class Guesses:
    """Wrong passwords by client: from the fourth on each doubles the time until the next one is looked at."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._clients: OrderedDict[str, _Client] = OrderedDict()
        self._lock = threading.Lock()

    def wait_seconds(self, client: str) -> float:
        """How long this client has to wait until its next guess is looked at."""
        with self._lock:
            known = self._clients.get(client)
            return 0.0 if known is None else max(0.0, known.free_at - self._clock())

    def wrong(self, client: str) -> None:
        """Count a wrong guess."""
        with self._lock:
            known = self._clients.setdefault(client, _Client())
            self._clients.move_to_end(client)
            known.wrong += 1
            beyond = known.wrong - _FREE_GUESSES
            if beyond > 0:
                wait = min(_FIRST_WAIT_SECONDS * 2.0 ** min(beyond - 1, 30), _LONGEST_WAIT_SECONDS)
                known.free_at = self._clock() + wait
            while len(self._clients) > _MOST_CLIENTS:
                self._clients.popitem(last=False)

    def right(self, client: str) -> None:
        """Forget a client's wrong guesses."""
        with self._lock:
            self._clients.pop(client, None)


class Access:
    """Token, password and sessions of one run of the viewer.

    Attributes
    ----------
    token
        Part of the address that is printed; None where a password is asked for instead.
    cookie
        The cookie's name. Browsers do not tell ports apart in cookies, so the port stands in the name.
    """

    def __init__(self, settings: Settings) -> None:
        self.sessions, self.guesses = Sessions(), Guesses()
        self._password = settings.password
        self.token = secrets.token_urlsafe(32) if settings.password is None else None
        self.cookie = f"medseg_review_{settings.port}"
        self._once: set[str] = set()

    def one_time_token(self) -> str | None:
        """A token that works once: for a browser's command line, which every user of a computer can read."""
        if self.token is None:
            return None
        token = secrets.token_urlsafe(32)
        self._once.add(token)
        return token

    def is_token(self, given: str) -> bool:
        """Whether it is the token, compared in constant time, or one that works once and is used up by this."""
        if given in self._once:
            self._once.discard(given)
            return True
        return self.token is not None and hmac.compare_digest(given.encode(), self.token.encode())

    def is_password(self, given: str) -> bool:
        """Whether it is the password, compared in constant time."""
        return self._password is not None and hmac.compare_digest(given.encode(), self._password.encode())


class Hosts:
    """Which Host headers are answered, so that no foreign name that points here (DNS rebinding) reaches the page.

    On loopback these are its own names. On another address also any numeric address, as a number cannot be made to
    point elsewhere, and the names given.
    """

    def __init__(self, settings: Settings) -> None:
        self._numbers = not settings.is_local
        self._names = {name.lower() for name in (settings.host, *settings.names)}

    def allow(self, header: str) -> bool:
        """Whether a request with this Host header is answered."""
        name = host_name(header)
        return bool(name) and (name in self._names or is_loopback(name) or (self._numbers and _is_number(name)))


def host_name(header: str) -> str:
    """Name or address of a Host header, without its port and brackets, in lower case; empty where it is none."""
    text = header.strip().lower()
    if text.startswith("["):
        inside, closed, rest = text[1:].partition("]")
        return inside if closed and (not rest or _is_port(rest)) else ""
    name, colon, port = text.partition(":")
    return name if not colon or _is_port(colon + port) else ""


def _is_port(text: str) -> bool:
    return text.startswith(":") and text[1:].isascii() and text[1:].isdigit()


def _is_number(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
