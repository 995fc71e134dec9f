"""Addresses of DICOMweb services: dicomweb://HOST[:PORT][/prefix][/studies/UID[/series/UID]]."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from medseg.dicom.names import is_uid
from medseg.errors import PacsError

FORM = "dicomweb://HOST[:PORT][/prefix]/studies/UID[/series/UID], or dicomwebs:// for TLS"
_PROTOCOLS = {"dicomweb": "http", "dicomwebs": "https"}
_TARGET = re.compile(r"(?P<prefix>.*?)(?:/studies/(?P<study>[^/]+)(?:/series/(?P<series>[^/]+))?)?")
_PREFIX = re.compile(r"(/(?!\.+(?:/|$))[A-Za-z0-9._~-]+)*")
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:]+")
_LOOPBACK = re.compile(r"localhost|127(\.[0-9]{1,3}){3}|::1")


@dataclass(frozen=True)
class WebAddress:
    """A DICOMweb service, or a study or series there.

    Attributes
    ----------
    scheme
        "dicomweb" (http) or "dicomwebs" (https: TLS, certificates verified).
    host, port
        Where the service is; no port: 80 and 443.
    prefix
        The path of the service, such as "/dicom-web"; empty where it has none.
    study, series
        UIDs of what is meant there; None: all.
    """

    scheme: str
    host: str
    port: int | None = None
    prefix: str = ""
    study: str | None = None
    series: str | None = None

    @classmethod
    def parse(cls, text: str) -> WebAddress:
        """Read an address.

        Raises
        ------
        PacsError
            Another form, a UID that is none, or a user and password in it: the command line is no place for them.
        """
        parts = _split(text)
        target = _TARGET.fullmatch(parts.path.rstrip("/"))
        host = parts.hostname or ""
        if not host or not _HOST.fullmatch(host) or target is None or not _PREFIX.fullmatch(target["prefix"]):
            raise _wrong(text)
        for uid in (target["study"], target["series"]):
            if uid is not None and not is_uid(uid):
                raise PacsError("wrong UID in a DICOMweb address", got=repr(uid), expected="digits and dots")
        return cls(parts.scheme, host, parts.port, target["prefix"], target["study"], target["series"])

    @property
    def url(self) -> str:
        """The service as http or https."""
        return f"{_PROTOCOLS[self.scheme]}://{self._place}"

    @property
    def encrypted(self) -> bool:
        """Whether nobody on the way can listen: TLS, or never off this machine."""
        return self.scheme == "dicomwebs" or _LOOPBACK.fullmatch(self.host) is not None

    @property
    def service(self) -> str:
        """The service without study and series, as the user writes it."""
        return f"{self.scheme}://{self._place}"

    @property
    def _place(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host + ("" if self.port is None else f":{self.port}") + self.prefix


def is_web_address(text: object) -> bool:
    """Whether a command's input is meant as a DICOMweb address and not as a file."""
    return str(text).startswith(tuple(f"{scheme}:" for scheme in _PROTOCOLS))


def _split(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise _wrong(text) from None
    if "@" in text:
        raise PacsError(
            "a DICOMweb address holds no user and no password: other users of the machine see the command line",
            next_step="put them into MEDSEG_DICOMWEB_USER and MEDSEG_DICOMWEB_PASSWORD",
        )
    if parts.scheme not in _PROTOCOLS or parts.query or parts.fragment:
        raise _wrong(text)
    return parts


def _wrong(text: str) -> PacsError:
    shown = repr(text) if "@" not in text else None
    return PacsError("wrong DICOMweb address", got=shown, expected=FORM)
