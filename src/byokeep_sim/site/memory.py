"""Who may log in on the simulated websites, and who is.

Rules
- Passwords, cookies and tokens are kept as salted hashes of the simulator's book.
- A session that has ended never comes back, whatever is shown.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from byokeep_sim.book import Book, BookFullError

MOST_SESSIONS: Final = 10_000
MOST_ACCOUNTS: Final = 10_000


class SiteLie(StrEnum):
    """How a page is wrong."""

    NONE = "none"
    TWO_ACCOUNTS = "two_accounts"
    HIDDEN = "hidden"
    AWAY = "away"
    CLEAR = "clear"
    OTHER_HOST = "other_host"
    FRAME = "frame"
    OTHER_ID = "other_id"
    LOOKALIKE = "lookalike"
    SWAPPED = "swapped"
    CHALLENGE = "challenge"
    LOGIN = "login"
    EMPTY = "empty"
    ERROR = "error"


class Logout(StrEnum):
    """What the logout button does: it ends the session, or only says so, or it is out of order."""

    ENDS = "ends"
    FEIGNED = "feigned"
    BROKEN = "broken"


@dataclass(slots=True, kw_only=True)
class SiteSession:
    """Somebody who logged in. The hashes are of both cookies and of both tokens, which are handed out once."""

    platform: str
    account: str
    lasting: str
    passing: str
    device: str = ""
    vault: str = ""
    live: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedSession:
    """What a login or the first visit hands out."""

    first: str = field(repr=False)
    second: str = field(repr=False)


@dataclass(slots=True)
class SiteMemory:
    """All websites of one simulator."""

    book: Book
    lies: dict[str, SiteLie] = field(default_factory=dict)
    logouts: dict[str, Logout] = field(default_factory=dict)
    logins: int = 0
    _passwords: dict[tuple[str, str], str] = field(default_factory=dict)
    _sessions: list[SiteSession] = field(default_factory=list)

    def put_account(self, platform: str, account: str, password: str) -> None:
        """Let an account log in with a password. Raises BookFullError."""
        if len(self._passwords) >= MOST_ACCOUNTS:
            raise BookFullError(f"at most {MOST_ACCOUNTS} accounts")
        self._passwords[platform, account] = self.book.keys.digest(password)

    def log_in(self, platform: str, account: str, password: str) -> IssuedSession | None:
        """Return both cookies, None for a wrong password."""
        if not password or self._passwords.get((platform, account)) != self.book.keys.digest(password):
            return None
        issued = IssuedSession(first=secrets.token_urlsafe(32), second=secrets.token_urlsafe(32))
        lasting, passing = self.book.keys.digest(issued.first), self.book.keys.digest(issued.second)
        self._sessions.append(SiteSession(platform=platform, account=account, lasting=lasting, passing=passing))
        del self._sessions[:-MOST_SESSIONS]
        self.logins += 1
        return issued

    def session(self, platform: str, lasting: str, passing: str) -> SiteSession | None:
        """Return the live session of both cookies."""
        first, second = self.book.keys.digest(lasting), self.book.keys.digest(passing)
        for one in self._sessions:
            if (one.platform, one.lasting, one.passing, one.live) == (platform, first, second, True):
                return one
        return None

    def hand_out(self, session: SiteSession) -> IssuedSession | None:
        """Return both tokens at the first visit, None at every other."""
        if session.device:
            return None
        issued = IssuedSession(first=secrets.token_urlsafe(32), second=secrets.token_urlsafe(32))
        session.device, session.vault = self.book.keys.digest(issued.first), self.book.keys.digest(issued.second)
        return issued

    def knows(self, session: SiteSession, device: str, vault: str) -> bool:
        """Whether these are the session's tokens."""
        shown = (self.book.keys.digest(device), self.book.keys.digest(vault))
        kept = (session.device or "", session.vault or "")
        same = [hmac.compare_digest(one, other) for one, other in zip(shown, kept, strict=True)]
        return bool(session.device) and all(same)

    def end(self, platform: str, account: str) -> int:
        """End all sessions of an account, as a platform does; returns how many lived."""
        found = [one for one in self._sessions if one.live and (one.platform, one.account) == (platform, account)]
        for one in found:
            one.live = False
        return len(found)

    def report(self) -> Mapping[str, Any]:
        """Return how many sessions live and ended, and the switches."""
        counts: dict[str, dict[str, dict[str, int]]] = {}
        for one in self._sessions:
            tally = counts.setdefault(one.platform, {}).setdefault(one.account, {"live": 0, "ended": 0})
            tally["live" if one.live else "ended"] += 1
        return {"sessions": counts, "logins": self.logins, "lies": dict(self.lies), "logouts": dict(self.logouts)}

    def reset(self) -> None:
        """Forget everything."""
        self.lies.clear()
        self.logouts.clear()
        self._passwords.clear()
        self._sessions.clear()
        self.logins = 0
