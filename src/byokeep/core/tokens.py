"""What a social platform gave us for one account: both tokens, scopes, issuer and expiry times, as one versioned set.

Rules
- The set is stored and replaced as a whole. A token never travels without the scopes and expiry times that came with
  it.
- Lifetimes come from replies. What a reply does not say is unknown (``None``), never a constant of ours.
- Empty never overwrites: a renewal without a refresh token keeps the one we have.
- Its stored form is only text (the store's audit log shows numbers and booleans in clear), with a format name. A field
  that is missing, unknown or of another form refuses the whole set.

It may not read the plaintext of a token: :mod:`byokeep.wire.tokens` turns the fields into what the store keeps.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Self
from uuid import UUID

from byokeep.core.canonical import from_stamp, stamp
from byokeep.core.errors import Integrity, Rejected, refusing
from byokeep.core.secret import Secret

FORMAT: Final = "byokeep-token-set/1"
MAX_TOKEN: Final = 8192  # characters
MAX_LIFE_S: Final = 10 * 366 * 86_400
_PLATFORM: Final = re.compile(r"[a-z][a-z0-9_]{0,31}\Z")
_ISSUER: Final = re.compile(r"https?://[A-Za-z0-9.:\[\]-]{1,255}[A-Za-z0-9._~/-]{0,200}\Z")
_LABEL: Final = re.compile(r"[!-~]{1,256}\Z")
_SCOPE: Final = re.compile(r"[!-+\--~]{1,200}\Z")
_NONE: Final = "none"
_ENDS: Final = ("access_expires_at", "refresh_expires_at", "consent_expires_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSet:
    """The tokens of one account.

    Args:
        platform: Id of the platform's descriptor.
        issuer: Who issued them, as the descriptor names it.
        app_id: Public id of our app; account ids of several platforms are valid for only one app.
        access: The access token.
        refresh: The refresh token; None if the platform gives none.
        scopes: What was granted, sorted; None if no reply has said, which never counts as enough.
        account_id: The account as a token reply named it; None if none did.
        obtained_at: When the newest tokens were received, UTC.
        obtained_by: Who gave the consent: an operator's id.
        access_expires_at, refresh_expires_at: UTC; None = the reply did not say.
        consent_expires_at: When the person must consent again although the tokens are live, UTC; None = not known.

    Raises:
        ValueError: A value of another form; the message names only the field.
    """

    platform: str
    issuer: str
    app_id: str
    access: Secret
    refresh: Secret | None = None
    scopes: tuple[str, ...] | None = None
    account_id: str | None = None
    obtained_at: datetime
    obtained_by: UUID
    access_expires_at: datetime | None = None
    refresh_expires_at: datetime | None = None
    consent_expires_at: datetime | None = None

    def __post_init__(self) -> None:
        forms = (
            ("platform", _PLATFORM.match(self.platform)),
            ("issuer", _ISSUER.match(self.issuer)),
            ("app_id", _LABEL.match(self.app_id)),
            ("account_id", self.account_id is None or _LABEL.match(self.account_id)),
            ("scopes", self.scopes is None or self.scopes == scope_set(self.scopes)),
            ("refresh_expires_at", self.refresh is not None or self.refresh_expires_at is None),
        )
        for name, holds in forms:
            if not holds:
                raise ValueError(f"token set: {name}")
        for moment in (self.obtained_at, *(getattr(self, name) for name in _ENDS)):
            if moment is not None and (moment.utcoffset() != timedelta(0) or moment.microsecond):
                raise ValueError("token set: times are whole seconds of UTC")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wipe()

    def wipe(self) -> None:
        """Overwrite our copies of both tokens, as the end of a ``with`` block over them does."""
        self.access.wipe()
        if self.refresh is not None:
            self.refresh.wipe()


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenReply:
    """What a token endpoint answered, read but not yet judged. ``None`` = not in the reply.

    Args:
        access_life_s, refresh_life_s: Lifetimes in seconds from receipt.
    """

    access: Secret
    refresh: Secret | None = None
    scopes: tuple[str, ...] | None = None
    account_id: str | None = None
    access_life_s: int | None = None
    refresh_life_s: int | None = None


def scope_set(scopes: tuple[str, ...]) -> tuple[str, ...]:
    """Return scopes sorted and without duplicates.

    Raises:
        ValueError: A scope is empty, too long, or holds a blank or a comma.
    """
    if not all(_SCOPE.match(scope) for scope in scopes):
        raise ValueError("token set: scopes")
    return tuple(sorted(set(scopes)))


def first_set(
    reply: TokenReply, *, platform: str, issuer: str, app_id: str, obtained_by: UUID, at: datetime
) -> TokenSet:
    """Return the set of a new consent.

    Args:
        at: When the reply was received, UTC.
    """
    at = at.replace(microsecond=0)
    bare = TokenSet(
        platform=platform, issuer=issuer, app_id=app_id, access=reply.access, obtained_at=at, obtained_by=obtained_by
    )
    return renewed(bare, reply, at=at)


def renewed(old: TokenSet, reply: TokenReply, *, at: datetime) -> TokenSet:
    """Return the set that replaces ``old``.

    Args:
        at: When the reply was received, UTC.

    Raises:
        Integrity: ``token_reply_of_another_account``: the reply names an account that is not the set's.
    """
    if old.account_id is not None and reply.account_id not in (None, old.account_id):
        raise Integrity("token_reply_of_another_account", platform=old.platform)
    at = at.replace(microsecond=0)
    kept = reply.refresh is None or (old.refresh is not None and reply.refresh.matches(old.refresh))
    refresh_end = _end(at, reply.refresh_life_s)
    if refresh_end is None and kept:
        refresh_end = old.refresh_expires_at
    refresh = reply.refresh if reply.refresh is not None else old.refresh
    return replace(
        old,
        access=reply.access,
        refresh=refresh,
        scopes=old.scopes if reply.scopes is None else reply.scopes,
        account_id=old.account_id if reply.account_id is None else reply.account_id,
        obtained_at=at,
        access_expires_at=_end(at, reply.access_life_s),
        refresh_expires_at=refresh_end if refresh is not None else None,
    )


def missing_scopes(tokens: TokenSet, needed: frozenset[str]) -> frozenset[str]:
    """Return what is needed and was not granted: all of it if no reply has said what was granted (R5.2-16)."""
    return needed - frozenset(tokens.scopes or ())


def wider_scopes(tokens: TokenSet, asked: frozenset[str]) -> frozenset[str]:
    """Return what was granted although it was never asked for."""
    return frozenset(tokens.scopes or ()) - asked


def _end(at: datetime, life_s: int | None) -> datetime | None:
    return None if life_s is None or not 0 < life_s <= MAX_LIFE_S else at + timedelta(seconds=life_s)


def fields_of(tokens: TokenSet) -> Mapping[str, str | Secret]:
    """Return the fields of the stored form: text, with both tokens still wrapped."""
    return {
        "format": FORMAT,
        "platform": tokens.platform,
        "issuer": tokens.issuer,
        "app_id": tokens.app_id,
        "account_id": tokens.account_id if tokens.account_id is not None else "",
        "access_token": tokens.access,
        "refresh_token": _NONE if tokens.refresh is None else tokens.refresh,
        "scopes": "unknown" if tokens.scopes is None else ",".join(tokens.scopes) + ",",
        **{name: _stamp(getattr(tokens, name)) for name in _ENDS},
        "obtained_at": _stamp(tokens.obtained_at),
        "obtained_by": str(tokens.obtained_by),
    }


def token_set_from(fields: Mapping[str, object]) -> TokenSet:
    """Build a set from the fields of its stored form.

    Raises:
        Integrity: ``token_set_unreadable``; none of the content is repeated.
    """
    with refusing("token_set_unreadable", on=(ValueError, KeyError, Rejected), next_step="Connect the account again."):
        text = {name: value for name, value in fields.items() if isinstance(value, str) and value.isascii()}
        ends = {name: None if text[name] == _NONE else from_stamp(text[name]) for name in _ENDS}
        refresh = text["refresh_token"]
        made = TokenSet(
            platform=text["platform"], issuer=text["issuer"], app_id=text["app_id"],
            account_id=text["account_id"] or None, access=token(text["access_token"]),
            refresh=None if refresh == _NONE else token(refresh), scopes=_scopes(text["scopes"]),
            obtained_at=from_stamp(text["obtained_at"]), obtained_by=UUID(text["obtained_by"]), **ends,
        )  # fmt: skip
        stored = fields_of(made)
        if text.keys() != fields.keys() or stored.keys() != text.keys():
            raise ValueError("fields")
        for name, value in stored.items():
            if not (value.matches(text[name].encode()) if isinstance(value, Secret) else value == text[name]):
                raise ValueError(name)
    return made


def token(value: object) -> Secret:
    """Wrap a token from a reply or from the store.

    Raises:
        ValueError: Not text of 8 to 8192 printable ASCII characters without a blank.
    """
    if not isinstance(value, str) or not 8 <= len(value) <= MAX_TOKEN or not value.isascii():
        raise ValueError("token")
    if any(not "!" <= char <= "~" for char in value):
        raise ValueError("token")
    return Secret(value)


def _scopes(text: str) -> tuple[str, ...] | None:
    return None if text == "unknown" else tuple(filter(None, text.split(",")))


def _stamp(moment: datetime | None) -> str:
    return _NONE if moment is None else stamp(moment)
