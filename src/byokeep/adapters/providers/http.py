"""The HTTP client for identity calls.

Rules
- No redirects, no environment (proxies, netrc), no cookies kept, certificates always checked.
- The library's loggers write URLs and headers; they stay silent whatever the process's logging says.
"""

from __future__ import annotations

import logging
import ssl
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final

import httpx2

_LOGGERS: Final = ("httpx2", *(f"httpcore2.{part}" for part in ("connection", "http11", "http2", "proxy", "socks")))


class _NoCookies(logging.Filter):
    """Lets no record through."""

    def filter(self, record: logging.LogRecord) -> bool:
        return False


_NOTHING: Final = _NoCookies()


def silence() -> None:
    """Keep the HTTP library out of every log. A filter survives a later ``dictConfig``; a level would not."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_NOTHING)


def new_http_client(*, trust: ssl.SSLContext | None = None) -> httpx2.AsyncClient:
    """Return a client for :func:`identify`; the caller closes it.

    Args:
        trust: Certificates to trust; None for the system's.
    """
    silence()
    return httpx2.AsyncClient(
        verify=trust or ssl.create_default_context(),
        trust_env=False,
        follow_redirects=False,
        http2=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        timeout=httpx2.Timeout(10.0),
        limits=httpx2.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=5.0),
    )
