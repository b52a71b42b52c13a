"""The manifest of a sealed browser profile (docs/spec/manifest.md).

Rules
- A manifest names one profile of one client at one generation, the accounts that it must open, and who sealed it. Its
  hash is bound to the blob (:mod:`byokeep.core.sealed_record`), so that no copy of it can be edited.
- A record is what the vault stores: the manifest, the wrapped key, and which blob they belong to.
- There is one spelling: ``canonical`` gives back byte for byte what a parser accepts. What no writer would write is
  refused.
- Whoever opens a profile says which one it wants (:class:`RecordPlace`), and does not trust what the vault says.

It may not hold a key that is not wrapped, or decide whether a generation is the newest: the flow counts them.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from byokeep.core.canonical import canonical_json, from_stamp, parse_canonical, stamp
from byokeep.core.errors import Integrity, Rejected
from byokeep.core.identity import Fingerprint
from byokeep.core.model import PLATFORMS, ClientId, Environment, ProfileId, Provider

FORMAT: Final = "byokeep-profile-manifest/1"
MAX_SIZE: Final = 64 * 1024  # bytes
MAX_ACCOUNTS: Final = 32
MAX_GENERATION: Final = 2**53 - 1
# Ids on a website are the same for everybody, unlike those that a platform gives to an app.
BROWSER_APP: Final = "browser"
_ACCOUNT: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
_ACCOUNT_ID: Final = re.compile(r"[!-~]{1,256}\Z")
_BROWSER: Final = re.compile(r"(0|[1-9][0-9]{0,5})(\.(0|[1-9][0-9]{0,5})){3}\Z")
_NAME: Final = 400  # characters
_NOT_SHOWN: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})


class Packing(StrEnum):
    """What of a profile directory is in the blob: the state of its sessions alone, or all but caches."""

    PORTABLE = "portable"
    FULL = "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordPlace:
    """Which profile the caller means: from its own rows, never from what the vault or the blob says."""

    environment: Environment
    client_id: ClientId
    profile_id: ProfileId
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedAccount:
    """The account that a profile must be logged in to on one platform.

    Args:
        platform: One of :data:`~byokeep.core.model.PLATFORMS`.
        account: Our name for it.
        account_id: The platform's stable id.
        username, display_name: As the platform shows them; None if it gives none.

    Raises:
        Rejected: ``bad_manifest``; ``field`` names what is wrong.
    """

    platform: Provider
    account: str
    account_id: str
    username: str | None
    display_name: str | None

    def __post_init__(self) -> None:
        _require(platform=self.platform in PLATFORMS, account=bool(_ACCOUNT.match(self.account)))
        _require(account_id=bool(_ACCOUNT_ID.match(self.account_id)))
        _require(username=_is_name(self.username), display_name=_is_name(self.display_name))

    @property
    def fingerprint(self) -> Fingerprint:
        """What :func:`byokeep.core.identity.compare` compares with; the app is :data:`BROWSER_APP`."""
        return Fingerprint(
            account_id=self.account_id, username=self.username, display_name=self.display_name, app_id=BROWSER_APP
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a sealed profile is.

    Args:
        generation: Counts the seals of this profile, from 1.
        platforms: Sorted, each once, at least one.
        accounts: Sorted by platform and name; at least one for each of these platforms, and none for any other.
        created_by: Id of whoever sealed it, set by the server.
        created_at: When, whole seconds of UTC, set by the server.
        browser_version: Four numbers; an older browser may spoil the profile.

    Raises:
        Rejected: ``bad_manifest``; ``field`` names what is wrong.
    """

    environment: Environment
    client_id: ClientId
    profile_id: ProfileId
    generation: int
    platforms: tuple[Provider, ...]
    accounts: tuple[ExpectedAccount, ...]
    created_by: UUID
    created_at: datetime
    packing: Packing
    browser_version: str

    def __post_init__(self) -> None:
        keys = [(one.platform.value, one.account) for one in self.accounts]
        _require(
            generation=type(self.generation) is int and 1 <= self.generation <= MAX_GENERATION,
            platforms=bool(self.platforms)
            and set(self.platforms) <= PLATFORMS
            and list(self.platforms) == sorted(set(self.platforms)),
            accounts=keys == sorted(set(keys))
            and len(keys) <= MAX_ACCOUNTS
            and {one.platform for one in self.accounts} == set(self.platforms),
            created_at=self.created_at.utcoffset() == timedelta(0) and not self.created_at.microsecond,
            browser_version=bool(_BROWSER.match(self.browser_version)),
        )
        _require(size=len(self.canonical) <= MAX_SIZE)

    @property
    def canonical(self) -> bytes:
        """The bytes that are hashed and stored."""
        ids = {"client_id": str(self.client_id), "profile_id": str(self.profile_id), "created_by": str(self.created_by)}
        return canonical_json(asdict(self) | ids | {"format": FORMAT, "created_at": stamp(self.created_at)})

    @property
    def hash(self) -> bytes:
        """SHA-256 (32 bytes) of the canonical bytes."""
        return hashlib.sha256(self.canonical).digest()

    @property
    def accounts_hash(self) -> bytes:
        """SHA-256 (32 bytes) of the accounts alone, canonical."""
        return hashlib.sha256(canonical_json([asdict(one) for one in self.accounts])).digest()

    @property
    def place(self) -> RecordPlace:
        """Which profile the manifest says it is."""
        return RecordPlace(
            environment=self.environment, client_id=self.client_id, profile_id=self.profile_id,
            generation=self.generation,
        )  # fmt: skip


def parse_manifest(data: bytes) -> Manifest:
    """Parse a stored manifest.

    Raises:
        Integrity: ``manifest_unreadable``: no writer would have written it.
    """
    try:
        if len(data) > MAX_SIZE:
            raise ValueError("too long")
        found = _manifest_of(parse_canonical(data))
        if found.canonical != data:  # another format, an extra field, another spelling of an id
            raise ValueError("another spelling")
    except (ValueError, TypeError, KeyError, AttributeError, Rejected):
        raise Integrity("manifest_unreadable", next_step="Find out who can write to the vault of profiles.") from None
    return found


def _manifest_of(fields: Any) -> Manifest:
    return Manifest(
        environment=Environment(fields["environment"]), client_id=ClientId(UUID(fields["client_id"])),
        profile_id=ProfileId(UUID(fields["profile_id"])), generation=fields["generation"],
        platforms=tuple(map(Provider, fields["platforms"])),
        accounts=tuple(ExpectedAccount(**one | {"platform": Provider(one["platform"])}) for one in fields["accounts"]),
        created_by=UUID(fields["created_by"]), packing=Packing(fields["packing"]),
        created_at=from_stamp(fields["created_at"]),
        browser_version=fields["browser_version"],
    )  # fmt: skip


def _is_name(text: object) -> bool:
    """Whether a name may be shown: any script, no control characters, and no longer than platforms allow."""
    if text is None:
        return True
    return (
        isinstance(text, str)
        and 0 < len(text) <= _NAME
        and not any(unicodedata.category(char) in _NOT_SHOWN for char in text)
    )


def _require(**holds: bool) -> None:
    for field, held in holds.items():
        if not held:
            raise Rejected("bad_manifest", next_step="See docs/spec/manifest.md.", field=field)
