"""What the store keeps of a token set, and of a reply that has just landed: one text each.

Rules
- Canonical JSON of texts. Another spelling, a missing or an extra field makes it refuse the whole.
- The reply to a renewal is kept as it came, before anybody reads it: a crash while reading must not lose a token.

It may not judge: :mod:`byokeep.core.tokens` knows the fields.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from byokeep.core.canonical import canonical_json, from_stamp, parse_canonical, stamp
from byokeep.core.errors import refusing
from byokeep.core.secret import Secret
from byokeep.core.tokens import TokenSet, fields_of, token_set_from

LANDED_FORMAT: Final = "byokeep-landed-reply/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class LandedReply:
    """A reply to a renewal, not yet read.

    Args:
        base: Store version of the token set that was being renewed.
        at: When it was received, UTC, to the second.
    """

    base: int
    at: datetime
    status: int
    body: Secret


def pack_tokens(tokens: TokenSet) -> Secret:
    """Return the stored form of a token set."""
    fields = {
        name: value.reveal().decode() if isinstance(value, Secret) else value
        for name, value in fields_of(tokens).items()
    }
    return Secret(canonical_json(fields))


def unpack_tokens(value: Secret) -> TokenSet:
    """Return the token set of a stored form.

    Raises:
        Integrity: ``token_set_unreadable``.
    """
    return token_set_from(_object(value, "token_set_unreadable"))


def pack_reply(reply: LandedReply) -> Secret:
    """Return the stored form of a landed reply."""
    fields = {
        "format": LANDED_FORMAT,
        "base": str(reply.base),
        "at": stamp(reply.at),
        "status": str(reply.status),
        "body": b64encode(reply.body.reveal()).decode(),
    }
    return Secret(canonical_json(fields))


def unpack_reply(value: Secret) -> LandedReply:
    """Return the landed reply of a stored form.

    Raises:
        Integrity: ``landed_reply_unreadable``.
    """
    fields = _object(value, "landed_reply_unreadable")
    with refusing("landed_reply_unreadable", on=(ValueError, KeyError)):
        text = {name: str(field) for name, field in fields.items() if isinstance(field, str)}
        if text["format"] != LANDED_FORMAT or set(text) != {"format", "base", "at", "status", "body"} != set(fields):
            raise ValueError("fields")
        at = from_stamp(text["at"])
        body = Secret(b64decode(text["body"], validate=True))
        return LandedReply(base=int(text["base"]), at=at, status=int(text["status"]), body=body)


def _object(value: Secret, code: str) -> dict[str, object]:
    with refusing(code, next_step="Connect the account again."):
        found = parse_canonical(value.reveal())
        if not isinstance(found, dict):
            raise ValueError("no object")
    return found
