"""The headers of every answer: what the page may load, and who may look in."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "font-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""Nothing from elsewhere, no inline code, no worker; data: and blob: for NiiVue's font and pictures drawn here."""

_SECURITY = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "X-Robots-Tag": "noindex, nofollow",
}
STATIC = "/static/"


def secure(headers: MutableHeaders, *, path: str) -> None:
    """Add the headers of every answer; what is of a patient is stored in no cache."""
    for name, value in _SECURITY.items():
        headers[name] = value
    headers["Cache-Control"] = "no-cache" if path.startswith(STATIC) else "no-store"
