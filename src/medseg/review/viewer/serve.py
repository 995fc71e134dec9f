"""Run the viewer: listen, tell the address, serve until a signal, remove what was uploaded."""

from __future__ import annotations

import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import Any

import uvicorn

from medseg.errors import ReviewError
from medseg.review.viewer.app import make_app
from medseg.review.viewer.session import Session
from medseg.review.viewer.settings import Settings
from medseg.review.viewer.viewer import Viewer
from medseg.signals import TERMINATED

logger = logging.getLogger(__name__)

DEFAULT_PORT = 8765
_GRACE_SECONDS = 2
_MOST_CONNECTIONS = 256
_EVERY_ADDRESS = ("0.0.0.0", "::")


def serve(settings: Settings, *, ready: Callable[[str, str], None]) -> None:
    """Serve until SIGINT or SIGTERM; uploads and results of this run are removed at the end.

    Parameters
    ----------
    settings
        With port 0 the usual port is taken, or any free one.
    ready
        Called once the server listens, with the address to tell the user, and one that opens a browser once.

    Raises
    ------
    ReviewError
        The address cannot be listened on, or others reach it and no password is set.
    KeyboardInterrupt, SystemExit
        After SIGINT, after SIGTERM.
    """
    _refuse_open_door(settings)
    _check_certificate(settings)
    with _listening(settings) as listener, _stop_signals() as stopped:
        port = int(listener.getsockname()[1])
        session = Session()
        try:
            viewer = Viewer(replace(settings, port=port, names=_names(settings)), session)
            _run(
                viewer,
                listener,
                lambda: ready(address(viewer, viewer.access.token), address(viewer, viewer.access.one_time_token())),
            )
        finally:
            session.close()
    if signal.SIGTERM in stopped:
        raise SystemExit(TERMINATED)
    raise KeyboardInterrupt


def address(viewer: Viewer, token: str | None) -> str:
    """What to open in a browser."""
    settings = viewer.settings
    name = settings.names[0] if settings.host in _EVERY_ADDRESS else settings.host
    host = f"[{name}]" if ":" in name else name
    scheme = "http" if settings.certificate is None else "https"
    return f"{scheme}://{host}:{settings.port}/" + (f"?token={token}" if token is not None else "")


def _run(viewer: Viewer, listener: socket.socket, ready: Callable[[], None]) -> None:
    class Server(uvicorn.Server):
        """Tells when it listens."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready()

    config = uvicorn.Config(
        make_app(viewer),
        ssl_certfile=viewer.settings.certificate,
        ssl_keyfile=viewer.settings.key,
        log_level="warning",
        access_log=False,  # addresses of cases are nobody's business, and the first one holds the token
        ws="none",
        limit_concurrency=_MOST_CONNECTIONS,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        log_config=None,
    )
    Server(config).run(sockets=[listener])


def _refuse_open_door(settings: Settings) -> None:
    if not settings.is_local and not settings.password:
        raise ReviewError(
            f"other computers reach {settings.host}, and no password is set",
            expected="a password for any address but this computer's own",
            next_step="write one into a file that only you can read, and give --password-file FILE",
        )


def _names(settings: Settings) -> tuple[str, ...]:
    """By which names others may call this computer: those given, or its own."""
    return settings.names if settings.names or settings.is_local else (socket.gethostname(),)


def _check_certificate(settings: Settings) -> None:
    """Before anything is started: uvicorn would only fail later, with a traceback."""
    if settings.certificate is None:
        return
    import ssl

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.certificate, settings.key)
    except (OSError, ValueError) as error:
        raise ReviewError(
            f"certificate {settings.certificate} or its key cannot be used",
            got=type(error).__name__,
            expected="PEM files: --certificate FILE, and --key FILE where the key is in a file of its own",
        ) from error


@contextmanager
def _listening(settings: Settings) -> Iterator[socket.socket]:
    wanted = [settings.port] if settings.port else [DEFAULT_PORT, 0]
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    for port in wanted:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, port))
        except OSError as error:
            listener.close()
            refused = error
            continue
        with listener:
            yield listener
        return
    raise ReviewError(
        f"cannot listen on {settings.host}, port {wanted[0]}",
        got=refused.strerror,
        next_step="give another --port, or leave it out for a free one",
    )


@contextmanager
def _stop_signals() -> Iterator[list[signal.Signals]]:
    """uvicorn stops at a signal and then raises it again, which would end the process before anything is removed."""
    noted: list[signal.Signals] = []

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(signal.Signals(number))

    before: dict[signal.Signals, Any] = {
        number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
