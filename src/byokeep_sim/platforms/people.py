"""Accounts of people, client apps, and what a person answers when asked for consent.

Rules
- All of it is made up; a client secret stays in memory because the platforms sign with it, and is shown nowhere.
- What can not be used is refused with one sentence.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from byokeep_sim.asked import LONGEST_SECRET, flag, needed, texts
from byokeep_sim.faults import BadControlError, choice, text

ACCOUNT_FIELDS: Final = ("platform", "account", "id", "username", "display_name", "posts", "owner", "kind")
APP_FIELDS: Final = (
    "platform",
    "client_id",
    "client_secret",
    "redirect_uris",
    "public",
    "partner",
    "testing",
    "require_proof",
    "id_scope",
    "webhook_secret",
)
CONSENT_FIELDS: Final = ("platform", "account", "accounts", "scopes", "deny")
_MOST_POSTS: Final = 100


def digits(seed: str, count: int) -> str:
    """Return a decimal number without leading zero that follows from the seed."""
    number = int.from_bytes(hashlib.sha256(seed.encode()).digest(), "big")
    return str(10 ** (count - 1) + number % (9 * 10 ** (count - 1)))


@dataclass(frozen=True, slots=True, kw_only=True)
class SimAccount:
    """An account on a platform.

    Args:
        name: How the controls call it.
        owner: The person behind it; several accounts may have one, such as pages or channels.
        kind: ``person`` or ``organization``.
        posts: Texts of its posts, newest first.
    """

    name: str
    id: str
    username: str
    display_name: str
    owner: str
    kind: str = "person"
    posts: tuple[str, ...] = ()

    @property
    def person_id(self) -> str:
        """Id of the person behind the account."""
        return digits(f"person {self.owner}", 16)

    @property
    def linked_id(self) -> str:
        """Id of the Instagram account that belongs to a page."""
        return "1784" + digits(f"instagram {self.id}", 13)

    @property
    def union_id(self) -> str:
        """Id that all apps of one developer see."""
        return "u-" + hashlib.sha256(f"union {self.id}".encode()).hexdigest()[:32]

    def seen_by(self, app: SimApp) -> str:
        """Return the id that this app sees, where a platform gives each app another one."""
        return self.id if not app.id_scope else digits(f"{app.id_scope} {self.id}", 19)

    def post_id(self, number: int) -> str:
        """Return the id of a post."""
        return digits(f"post {self.id} {len(self.posts) - number}", 19)

    def report(self) -> dict[str, Any]:
        """Return the account as JSON-ready fields."""
        return {
            "account": self.name,
            "id": self.id,
            "username": self.username,
            "display_name": self.display_name,
            "owner": self.owner,
            "kind": self.kind,
            "person_id": self.person_id,
            "linked_id": self.linked_id,
            "union_id": self.union_id,
            "posts": [self.post_id(number) for number in range(len(self.posts))],
        }


STRANGER: Final = SimAccount(
    name="stranger",
    id="9999999999999999999",
    username="stranger",
    display_name="Somebody Else",
    owner="stranger",
    posts=("not yours",),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimApp:
    """A client app.

    Args:
        public: It has no secret (X).
        partner: It gets refresh tokens (LinkedIn).
        testing: Its refresh tokens live seven days (Google).
        require_proof: Every call of its tokens must carry ``appsecret_proof`` (Meta).
        id_scope: Apps with another word here see other account ids.
    """

    client_id: str
    secret: str = field(repr=False)
    webhook_secret: str = field(repr=False)
    redirect_uris: tuple[str, ...]
    public: bool = False
    partner: bool = False
    testing: bool = False
    require_proof: bool = False
    id_scope: str = ""

    def accepts(self, secret: str) -> bool:
        """Whether this is the app's secret."""
        return bool(secret) and hmac.compare_digest(self.secret.encode(), secret.encode())

    def report(self) -> dict[str, Any]:
        """Return the app as JSON-ready fields, without its secrets."""
        return {
            "client_id": self.client_id,
            "redirect_uris": list(self.redirect_uris),
            "public": self.public,
            "partner": self.partner,
            "testing": self.testing,
            "require_proof": self.require_proof,
            "id_scope": self.id_scope,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """What the person at the browser will answer.

    Args:
        account: The account picked, empty for the first one of the platform.
        accounts: Further accounts of the same person that are ticked, such as pages; None for all.
        scopes: The scopes granted, None for all that are asked for.
    """

    account: str = ""
    accounts: tuple[str, ...] | None = None
    scopes: tuple[str, ...] | None = None
    deny: bool = False


def account(spec: Mapping[str, Any]) -> SimAccount:
    """Read an account. Raises BadControlError."""
    posts = spec.get("posts", 0)
    if isinstance(posts, int) and not isinstance(posts, bool) and 0 <= posts <= _MOST_POSTS:
        posts = [f"post {number}" for number in range(posts, 0, -1)]
    name = needed(spec, "account", 64)
    return SimAccount(
        name=name,
        id=needed(spec, "id", 200),
        username=needed(spec, "username", 200),
        display_name=needed(spec, "display_name", 200),
        owner=text(spec, "owner", 64) or name,
        kind=choice(spec, "kind", ("person", "organization"), "person"),
        posts=texts({"posts": posts}, "posts", 500, _MOST_POSTS) or (),
    )


def app(spec: Mapping[str, Any]) -> SimApp:
    """Read a client app. Raises BadControlError."""
    public = flag(spec, "public")
    secret = text(spec, "client_secret", LONGEST_SECRET)
    if public == bool(secret):
        raise BadControlError("an app has a client_secret or is public")
    return SimApp(
        client_id=needed(spec, "client_id", 200),
        secret=secret,
        webhook_secret=text(spec, "webhook_secret", LONGEST_SECRET) or secret,
        redirect_uris=texts(spec, "redirect_uris", 2048, 20) or (),
        public=public,
        partner=flag(spec, "partner"),
        testing=flag(spec, "testing"),
        require_proof=flag(spec, "require_proof"),
        id_scope=text(spec, "id_scope", 64),
    )


def consent(spec: Mapping[str, Any]) -> Consent:
    """Read a consent. Raises BadControlError."""
    return Consent(
        account=text(spec, "account", 64),
        accounts=texts(spec, "accounts", 64, 100),
        scopes=texts(spec, "scopes", 200, 50),
        deny=flag(spec, "deny"),
    )
