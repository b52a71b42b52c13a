"""The process that sends one message, which comes in over a pipe with its address; an exit code goes out.

Rules
- It runs by itself and imports nothing of ours. It is given nothing else, and nobody sees what Apprise says.
- A mail for one person goes to exactly that mailbox: what Apprise reads as another, or as several, is refused.
- Redirects are not followed. A target without TLS, or one that checks no certificate, is refused (``plain`` is for
  this machine, outside production).
"""

from __future__ import annotations

import json
import sys


def main() -> int:
    """Deliver; return 0 = delivered, 3 = Apprise is missing, 4 = no target or an unsafe one, 5 = not delivered."""
    try:
        from apprise import Apprise, AppriseAsset  # noqa: PLC0415 - an extra
    except ImportError:
        return 3
    url, title, body, weight, plain, *others = json.load(sys.stdin)
    to = others[0] if others else ""  # the release before named nobody; in an upgrade in place it starts this file
    target = Apprise.instantiate(url, asset=AppriseAsset(http_redirects=False), suppress_exceptions=True)
    open_mail = getattr(target, "secure_mode", "") == "insecure" and not plain
    if target is None or not target.verify_certificate or open_mail:
        return 4
    if to and [mailbox for _, mailbox in getattr(target, "targets", ())] != [to]:
        return 4
    return 0 if target.notify(title=title, body=body, notify_type=weight) else 5


if __name__ == "__main__":
    raise SystemExit(main())
