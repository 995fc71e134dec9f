"""What the viewer is told when it starts."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Limits:
    """How much one upload may bring.

    Attributes
    ----------
    upload_bytes
        Of one request, as sent; also of one correction, unpacked.
    files
        Files of one upload, and entries of one archive.
    unpacked_bytes
        All that an archive may become.
    ratio
        How many times an archive may grow. Deflate gets label maps down to a thousandth, images to a half.
    free_bytes
        What must stay free on the disk.
    """

    upload_bytes: int = 2000 * MEGABYTE
    files: int = 20_000
    unpacked_bytes: int = 8000 * MEGABYTE
    ratio: int = 200
    free_bytes: int = 500 * MEGABYTE


@dataclass(frozen=True)
class Settings:
    """Where the viewer listens, who may come in, and what it shows.

    Attributes
    ----------
    host, port
        Where it listens.
    password
        Asked of everybody where given; needed on any address that other computers reach.
    certificate, key
        PEM files for https; None for http.
    names
        Further names by which browsers may call this computer.
    folder
        A folder of predictions or of an evaluation; None: the page starts empty.
    bundle
        Name or folder of the bundle that is chosen for new images; None: the user chooses.
    trust
        Let that bundle do all it wants.
    truth, datalist
        Where the true masks (and images) are.
    limits
        Of uploads.
    """

    host: str = "127.0.0.1"
    port: int = 0
    password: str | None = None
    certificate: Path | None = None
    key: Path | None = None
    names: tuple[str, ...] = ()
    folder: Path | None = None
    bundle: str | None = None
    trust: bool = False
    truth: Path | None = None
    datalist: Path | None = None
    limits: Limits = field(default_factory=Limits)

    @property
    def is_local(self) -> bool:
        """Whether only this computer's own browsers reach it."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether an address or name is this computer's own loopback."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
