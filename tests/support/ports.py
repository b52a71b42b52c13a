"""Ports for servers that a test starts."""

from __future__ import annotations

import secrets
import socket
from pathlib import Path

_FIRST = 10_000


def free_port() -> int:
    """Return a port of loopback that nobody listens on and no outgoing connection is given: below the system's range.

    A port of that range could be taken by any connection before the server binds it.
    """
    end = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = _FIRST + secrets.randbelow(max(end - _FIRST, 10_000))
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
