"""Where a server of ours is: one grammar of addresses for the store and the broker.

Rules
- ``https://host[:port]``, ``unix:///absolute/path``, or ``http://`` on a numeric loopback address; nothing after it,
  and no user info.

It may not open a connection.
"""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from byokeep.core.errors import Rejected, refusing


def parse_address(address: str, base: str, bad: str, insecure: str) -> tuple[str | None, str]:
    """Return (socket path or None, base URL).

    Args:
        address: As configured.
        base: The base URL that represents the socket.
        bad, insecure: The codes of the two refusals.

    Raises:
        Rejected: ``bad`` or ``insecure``; the address is never echoed.
    """
    with refusing(bad, Rejected):
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port
    if parts.query or parts.fragment or "@" in address or parts.scheme not in ("unix", "http", "https"):
        raise Rejected(bad, next_step="Use https://host:port or unix:///path, and nothing after it.")
    if parts.scheme == "unix":
        if host or not parts.path.startswith("/"):
            raise Rejected(bad, next_step="Use unix:///absolute/path.")
        return parts.path, base
    if not host or parts.path not in ("", "/"):
        raise Rejected(bad, next_step="Use https://host:port or unix:///path, and nothing after it.")
    if parts.scheme == "http" and not is_loopback(host):
        raise Rejected(insecure, next_step="Use https. Plain http works only for a loopback address.")
    shown = f"[{host}]" if ":" in host else host
    return None, f"{parts.scheme}://{shown}" + (f":{port}" if port else "")


def is_loopback(host: str, *, named: bool = False) -> bool:
    """Whether a host is this machine.

    Args:
        host: A host of a URL, without brackets.
        named: Whether ``localhost`` counts; a file or DNS decides what it means.
    """
    if host == "localhost":
        return named
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
