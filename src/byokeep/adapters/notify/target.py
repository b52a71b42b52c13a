"""Where messages go: private files with one address each, and Apprise in a process of its own for every message.

Rules
- A target is a file ``NAME.url``, closed to others. It is read for each message, so a new one counts at once.
- Only the schemes of :data:`SCHEMES` are accepted: encrypted, certificates checked, redirects not followed. A target
  without TLS must be on this machine, and not in production.
- Apprise speaks HTTP and SMTP by itself. It runs in a child that has none of our connections or credentials and nothing
  in its environment that leads elsewhere. It gets the address over a pipe (ADR 0067).
- A failure is a code.
- ``portal.url`` is no target of messages: it is the mail server that sends contact persons their codes.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

from byokeep.adapters.notify import child
from byokeep.core.errors import Unavailable
from byokeep.core.secret import Secret
from byokeep.process import child_setup, clean_environment

# Mail, Slack, Teams (by a workflow), and any receiver of a webhook.
SCHEMES: Final = frozenset({"mailtos", "slack", "workflow", "workflows", "jsons"})
_PLAIN: Final = frozenset({"mailto", "json"})
_HERE: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_FILE: Final = re.compile(r"([a-z][a-z0-9_-]{0,31})\.url\Z")
WITHIN_S: Final = 30.0
PORTAL: Final = "portal"
_CODES: Final = {0: "", 3: "extra_missing", 4: "bad_target"}


class AppriseTargets:
    """The targets of a directory.

    Args:
        place: The directory; a missing one holds none.
        read: Returns a private file's content, or raises Unavailable.
        production: Whether everything must be encrypted.
    """

    def __init__(self, place: Path, *, read: Callable[[Path], bytes], production: bool) -> None:
        self._place, self._read, self._production = place, read, production

    def names(self) -> list[str]:
        """Return the names of the targets."""
        try:
            found = {one[1] for file in self._place.iterdir() if (one := _FILE.match(file.name))}
        except OSError:
            return []
        return sorted(found - {PORTAL})

    def mails(self) -> bool:
        """Whether there is a server that sends mail to contact persons."""
        return (self._place / f"{PORTAL}.url").is_file()

    async def mail(self, to: str, title: str, body: str) -> str:
        """Mail one person through the server of ``portal.url``; returns a code of what went wrong, empty = sent."""
        return await self.send(PORTAL, title, body, "info", to=to)

    async def send(self, target: str, title: str, body: str, weight: str, *, to: str = "") -> str:
        """Deliver a message; returns a code of what went wrong, empty = delivered.

        Args:
            to: Whom to mail, instead of the target's own recipient.
        """
        try:
            address = Secret(self._read(self._place / f"{target}.url").strip())
        except (Unavailable, ValueError) as error:
            return error.code if isinstance(error, Unavailable) else "bad_target"
        try:
            plain = self._plain(address)
            if to:
                address = _to(address, to)
            return await _in_a_child(address, [title, body, weight], plain=plain, to=to)
        except ValueError:
            return "scheme_not_allowed"
        finally:
            address.wipe()

    def _plain(self, address: Secret) -> bool:
        """Whether an address is one without TLS on this machine. Raises ValueError: not allowed."""
        parts = urlsplit(address.reveal().decode())
        plain = parts.scheme in _PLAIN and parts.hostname in _HERE and not self._production
        if not plain and parts.scheme not in SCHEMES:
            raise ValueError
        return plain


def _to(address: Secret, to: str) -> Secret:
    """Return a mail server's address with the one person to mail. Raises ValueError: not a mail server's address."""
    text = address.reveal().decode()
    parts = urlsplit(text)
    if not parts.scheme.startswith("mailto") or "to=" in parts.query:
        raise ValueError
    return Secret(f"{text}{'&' if parts.query else '?'}to={quote(to, safe='@')}")


async def _in_a_child(address: Secret, message: list[str], *, plain: bool, to: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", child.__file__, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL, env=clean_environment(), cwd="/", start_new_session=True,
        preexec_fn=child_setup(),
    )  # fmt: skip
    try:
        async with asyncio.timeout(WITHIN_S):
            await process.communicate(json.dumps([address.reveal().decode(), *message, plain, to]).encode())
    except TimeoutError:
        return "target_timeout"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return _CODES.get(process.returncode or 0, "not_delivered")
