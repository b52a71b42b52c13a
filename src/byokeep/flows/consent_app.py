"""What ``byokeep web`` gets for beginning a consent: the catalog of logins, and a place for our apps' secrets.

Rules
- Nothing here talks to a platform: web sends a person's browser there and takes the answer, no more.
- What is written through these ports can not be read back by this process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from byokeep.core.model import Lane, Provider
from byokeep.core.secret import Secret
from byokeep.ports import Written


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginInfo:
    """A way to log in at a platform, as the catalog has it.

    Attributes:
        oauth: Whether it has OAuth at all; without, the browser lane is the only one and ``why_not`` says so.
        secret_optional: Whether our app there may be a public one.
        purposes: What scopes can be asked for beside those of connecting.
    """

    id: str
    provider: Provider
    name: str
    lanes: tuple[Lane, ...]
    oauth: bool
    why_not: str
    secret_optional: bool
    purposes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A consent as it begins. ``url`` holds state and challenge: for the person who began, for nobody else."""

    url: str = field(repr=False)
    verifier: Secret | None


class Consents(Protocol):
    """The catalog of logins."""

    def logins(self) -> Sequence[LoginInfo]:
        """Return all of them, by id."""

    def begin(self, login: str, *, app_id: str, redirect_uri: str, state: str, purposes: Sequence[str]) -> Begun:
        """Return where to send the person. Raises Rejected(``unknown_login``, ``platform_without_oauth``)."""

    def check_issuer(self, login: str, iss: str | None) -> None:
        """Let an answer pass that can not be another issuer's. Raises Rejected(``wrong_issuer``)."""

    def clean_code(self, login: str, code: str) -> Secret:
        """Return the code without what the platform hangs on to it. Raises Rejected(``bad_code``)."""


class AppSecrets(Protocol):
    """Where the secrets of our own apps are written. Nobody reads them here."""

    async def put(self, provider: Provider, login: str, value: Secret, *, cas: int) -> Written:
        """Write version ``cas + 1``. Raises Conflict(``stale_version``), Unavailable."""

    async def current(self, provider: Provider, login: str) -> int:
        """Return the newest version's number, 0 when there is none."""
