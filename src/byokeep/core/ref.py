"""The one grammar of a secret reference (docs/spec/ref.md).

Rules
- ``vault://kv/clients/{client_id}/providers/{provider}`` is for values, ``kms://{holder}/{key_id}`` for keys. Below a
  provider are its webhook secret and, for each account on a platform, the parts of :class:`SecretPart`.
- ``vault://kv/clients/{client_id}/profiles/{profile}`` is for the record of a sealed browser profile.
- There is one canonical spelling: ``str()`` gives back byte for byte what :func:`parse` accepts.
- A reference names a place. It has no version, query, user info or fragment.

It may not normalise: a second spelling of a place is refused, not repaired (R1.1-3, R4.1-5).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

from byokeep.core.errors import Rejected
from byokeep.core.model import ClientId, Provider

MAX_LENGTH: Final = 200  # characters
_UUID: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_VAULT: Final = re.compile(
    rf"vault://kv/clients/({_UUID})/providers/([a-z]{{1,16}})(?:/(webhook|admin)|/accounts/({_UUID})/([a-z]{{1,16}}))?\Z"
)
_PROFILE: Final = re.compile(rf"vault://kv/clients/({_UUID})/profiles/({_UUID})\Z")
_KMS: Final = re.compile(r"kms://(transit)/([a-z0-9][a-z0-9-]{0,62})\Z")
_LOGIN: Final = re.compile(r"[a-z][a-z0-9_]{0,31}\Z")
_NEXT: Final = "Use vault://kv/clients/<client uuid>/providers/<provider> in lower case; see docs/spec/ref.md."


class SecretPart(StrEnum):
    """What is stored below a provider. ``WEBHOOK`` and ``ADMIN`` belong to the client, the others to one account.

    ``ADMIN``: the key that makes and ends the client's keys at the provider, only for custody. ``TOKENS``: the whole
    token set, only for custody. ``ACCESS``: only the access token, for jobs. ``VERIFIER`` and ``CODE``: of a consent in
    progress, destroyed when it ends. ``LANDING``: the key of a reply that has just come in.
    """

    WEBHOOK = "webhook"
    ADMIN = "admin"
    TOKENS = "tokens"
    ACCESS = "access"
    VERIFIER = "verifier"
    CODE = "code"
    LANDING = "landing"


_OF_CLIENT: Final = frozenset({None, SecretPart.WEBHOOK, SecretPart.ADMIN})


@dataclass(frozen=True, slots=True)
class SecretRef:
    """A place in the store: one client, one provider, and at most one part below it.

    Raises:
        ValueError: A part without its account, or an account without a part.
    """

    client_id: ClientId
    provider: Provider
    part: SecretPart | None = None
    account_id: UUID | None = None

    def __post_init__(self) -> None:
        if (self.account_id is None) != (self.part in _OF_CLIENT):
            raise ValueError("every other part is one account's")

    def __str__(self) -> str:
        return f"vault://{self.path}"

    @property
    def path(self) -> str:
        """The runbook's path, ``kv/clients/{client_id}/providers/{provider}`` (SOP 5.1)."""
        base = f"kv/clients/{self.client_id}/providers/{self.provider.value}"
        if self.part is None:
            return base
        return f"{base}/{self.part}" if self.account_id is None else f"{base}/accounts/{self.account_id}/{self.part}"


@dataclass(frozen=True, slots=True)
class ProfileRef:
    """The place of a sealed profile's record: its wrapped key and manifest. The sealed bytes are stored elsewhere."""

    client_id: ClientId
    profile_id: UUID

    def __str__(self) -> str:
        return f"vault://{self.path}"

    @property
    def path(self) -> str:
        """``kv/clients/{client_id}/profiles/{profile_id}``."""
        return f"kv/clients/{self.client_id}/profiles/{self.profile_id}"


@dataclass(frozen=True, slots=True)
class KeyRef:
    """A key that stays inside its holder."""

    holder: str
    key_id: str

    def __str__(self) -> str:
        return f"kms://{self.holder}/{self.key_id}"


def parse(text: str) -> SecretRef | ProfileRef | KeyRef:
    """Parse a reference.

    Raises:
        Rejected: ``bad_secret_ref``; the text is never repeated.
    """
    if len(text) <= MAX_LENGTH and text.isascii():
        if found := _VAULT.match(text):
            client, provider, own, account, part = found.groups()
            if provider in set(Provider) and (account is None or part in set(SecretPart) - _OF_CLIENT):
                below = SecretPart(part or own) if part or own else None
                return SecretRef(ClientId(UUID(client)), Provider(provider), below, UUID(account) if account else None)
        elif found := _PROFILE.match(text):
            return ProfileRef(ClientId(UUID(found.group(1))), UUID(found.group(2)))
        elif found := _KMS.match(text):
            return KeyRef(found.group(1), found.group(2))
    raise Rejected("bad_secret_ref", next_step=_NEXT)


@dataclass(frozen=True, slots=True)
class AppRef:
    """Where the secret of our own app at a login is stored; ``login`` is the id of a platform's data file.

    Raises:
        Rejected: ``unknown_login``.
    """

    provider: Provider
    login: str

    def __post_init__(self) -> None:
        if not _LOGIN.match(self.login):
            raise Rejected("unknown_login", next_step="See `byokeep account logins`.")

    @property
    def path(self) -> str:
        """The path in the store's KV."""
        return f"kv/platform/apps/{self.provider.value}/{self.login}"


def given_id(text: str) -> UUID:
    """Parse an id of an address or a form: lower-case canonical UUID only. Raises Rejected: ``bad_request``."""
    if re.fullmatch(_UUID, text):
        return UUID(text)
    raise Rejected("bad_request", next_step="Use the ids that the pages show.")


def parse_client_id(text: str) -> ClientId:
    """Parse a client id: lower-case canonical UUID only.

    Raises:
        Rejected: ``bad_client_id``.
    """
    if re.fullmatch(_UUID, text):
        return ClientId(UUID(text))
    raise Rejected("bad_client_id", next_step="Use the client's UUID, as `byokeep client list` prints it.")


def parse_provider(text: str) -> Provider:
    """Parse a provider name exactly as published; no case folding, no aliases (R3.2-2).

    Raises:
        Rejected: ``unknown_provider``.
    """
    if text in set(Provider):
        return Provider(text)
    raise Rejected("unknown_provider", next_step="Use one of: " + ", ".join(p.value for p in Provider) + ".")
