"""Reads replies of platforms by the paths of their descriptors.

Rules
- Refusals first: what the table names as one is one, whatever else the reply holds.
- Ids are texts and are taken as they stand; a number, a blank or nothing is no id. The single exception is the account
  that a token reply names, which some platforms write as a number.
- Texts of a reply leave only as identity, scopes and ids of posts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from byokeep.core.fault import Fault, FaultCause
from byokeep.core.identity import Face
from byokeep.core.strict_json import strict_object
from byokeep.core.tokens import MAX_LIFE_S, TokenReply, scope_set, token
from byokeep.platforms.descriptor import (
    DescribedCall,
    ErrorRule,
    Errors,
    Granted,
    Identity,
    PostsCall,
    ReplyFields,
    Surface,
)
from byokeep.wire.outbound import Got, NotGot

_LONGEST_ID: Final = 256
_LONGEST_NAME: Final = 400
_MOST_ITEMS: Final = 200
_BLANKS: Final = re.compile(r"[\s,]+")
_BY_STATUS: Final[Mapping[int, FaultCause]] = {
    401: FaultCause.EXPIRED,
    408: FaultCause.TRANSIENT,
    429: FaultCause.RATE_LIMITED,
}
UNREAD: Final = object()


def at(document: Any, path: str) -> Any:
    """Return what stands at a dotted path (numbers are places in lists), UNREAD when nothing does."""
    for step in path.split(".") if path else ():
        if isinstance(document, dict) and step in document:
            document = document[step]
        elif isinstance(document, list) and step.isdecimal() and int(step) < len(document):
            document = document[int(step)]
        else:
            return UNREAD
    return document


def fault_of(
    errors: Errors, call: DescribedCall, got: Got | NotGot, *, now: float
) -> tuple[Fault | None, dict[str, Any]]:
    """Return the refusal in a reply, or None and the reply's object.

    Args:
        now: Unix seconds, for headers that name a time.
    """
    if isinstance(got, NotGot):
        # Past 2xx the status alone says that the platform gave nothing, whatever became of the body.
        answered = got.status is not None and got.status >= 300
        cause = _by_status(got.status) if got.status is not None and answered else FaultCause.TRANSIENT
        return Fault(cause=cause, http_status=got.status, sent=got.sent, answered=answered), {}
    document = strict_object(got.body.reveal())
    if 200 <= got.status < 300:
        return _in_success(errors, call, got, document, now)
    redirected = 300 <= got.status < 400
    named = None if redirected else _by_rules(errors.rules, call, got.status, document or {})
    cause = named or _by_status(got.status)
    wait = retry_after(got.headers, errors.reset_header, now=now)
    return Fault(cause=cause, http_status=got.status, retry_after_s=wait), {}


def _in_success(
    errors: Errors, call: DescribedCall, got: Got, document: dict[str, Any] | None, now: float
) -> tuple[Fault | None, dict[str, Any]]:
    if document is None and (got.status == 204 or not got.body.reveal().strip()):
        document = {}
    if document is None:
        return Fault(cause=FaultCause.UNKNOWN, http_status=got.status, answered=False), {}
    cause = _by_rules(errors.rules, call, got.status, document)
    strange = call.surface is Surface.API and errors.ok_path and at(document, errors.ok_path) != errors.ok_value
    # An error beside data that no rule knows is still an error; ``ok`` is the one platform's way of saying none.
    other = document.get("error") if not (call.surface is Surface.API and errors.ok_path) else None
    if cause is None and (strange or other or document.get("errors")):
        cause = FaultCause.UNKNOWN
    if cause is None:
        return None, document
    wait = retry_after(got.headers, errors.reset_header, now=now)
    return Fault(cause=cause, http_status=got.status, retry_after_s=wait), {}


def _by_status(status: int) -> FaultCause:
    return FaultCause.TRANSIENT if status >= 500 else _BY_STATUS.get(status, FaultCause.UNKNOWN)


def _by_rules(
    rules: tuple[ErrorRule, ...], call: DescribedCall, status: int, document: dict[str, Any]
) -> FaultCause | None:
    short = call.name.rpartition(".")[2]
    for rule in rules:
        fits = (
            (not rule.calls or short in rule.calls)
            and rule.surface in (None, call.surface)
            and (status in rule.statuses or (not rule.statuses and (bool(rule.where) or status >= 300)))
        )
        if fits and all(_text(at(document, path)) in values for path, values in rule.where):
            return rule.cause
    return None


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    return str(value) if type(value) is int else None


def retry_after(headers: Mapping[str, str], reset_header: str, *, now: float) -> float | None:
    """Return the seconds that a platform wants us to wait, None when it does not say so in numbers."""
    asked = headers.get("retry-after", "")
    if asked.isascii() and asked.isdigit() and len(asked) <= 9:
        return float(asked)
    reset = headers.get(reset_header, "") if reset_header else ""
    if reset.isascii() and reset.isdigit() and len(reset) <= 12:
        return max(0.0, float(reset) - now)
    return None


def token_reply(fields: ReplyFields, document: dict[str, Any], *, first: bool) -> TokenReply | None:
    """Return the tokens of a reply, None when it holds none that can be used.

    Args:
        first: Whether the fields that are needed at a new consent must all be there and sound.
    """
    holder = next((one for path in fields.inside if fields.access in (one := _table(at(document, path)))), None)
    if holder is None or (first and any(holder.get(name) in (None, "", []) for name in fields.needed)):
        return None
    kind = holder.get("token_type", "bearer")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        return None
    try:
        access = token(holder[fields.access])
        refresh = holder.get(fields.refresh) if fields.refresh else None
        if refresh == holder[fields.access]:
            return None  # jobs would hold what renews
        found = TokenReply(
            access=access,
            refresh=None if refresh in (None, "") else token(refresh),
            scopes=_scopes(holder.get(fields.scope) if fields.scope else None),
            account_id=_account(holder.get(fields.account) if fields.account else None),
            access_life_s=_life(holder.get(fields.expires_in)),
            refresh_life_s=_life(holder.get(fields.refresh_expires_in) if fields.refresh_expires_in else None),
        )
    except ValueError:
        return None
    if first and fields.expires_in in fields.needed and found.access_life_s is None:
        return None
    return found


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _scopes(value: Any) -> tuple[str, ...] | None:
    if isinstance(value, str):
        value = [part for part in _BLANKS.split(value) if part]
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        return None
    return scope_set(tuple(value)) if value else None


def _account(value: Any) -> str | None:
    text = _text(value)
    return _id(text)


def _life(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 10:
        value = int(value)
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 < value <= MAX_LIFE_S else None


def moment(value: Any) -> datetime | None:
    """Return Unix seconds as UTC, None for 0 and for what is none."""
    return datetime.fromtimestamp(value, UTC) if type(value) is int and 0 < value < 2**33 else None


def faces(identity: Identity, document: dict[str, Any]) -> tuple[Face, ...] | None:
    """Return the accounts of an identity reply; an id that is none is empty. None when the reply has another form."""
    found = at(document, identity.at)
    if isinstance(found, dict) and not identity.listed:
        found = [found]
    if not isinstance(found, list) or len(found) > _MOST_ITEMS or not all(isinstance(one, dict) for one in found):
        return None
    return tuple(
        Face(
            account_id=_id(at(one, identity.id)) or "",
            username=_name(one, identity.username),
            display_name=_name(one, identity.display_name),
            link=_id(at(one, identity.link)) if identity.link else None,
        )
        for one in found
    )


def _id(value: Any) -> str | None:
    good = isinstance(value, str) and 0 < len(value) <= _LONGEST_ID and value.isascii() and value.isprintable()
    return value if good and " " not in value else None


def _name(one: dict[str, Any], path: str) -> str | None:
    value = at(one, path) if path else None
    return value if isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME else None


def post_ids(posts: PostsCall, document: dict[str, Any]) -> tuple[str, ...] | None:
    """Return the ids of recent posts, newest first; None when the reply has another form."""
    found = at(document, posts.at)
    if found is UNREAD and posts.empty and at(document, posts.empty) == 0:
        return ()
    if not isinstance(found, list) or len(found) > _MOST_ITEMS:
        return None
    ids = tuple(_id(at(one, posts.id)) for one in found)
    return tuple(one for one in ids if one is not None) if None not in ids else None


def granted_scopes(granted: Granted, document: dict[str, Any]) -> tuple[str, ...] | None:
    """Return the scopes that a person granted; None when the reply has another form."""
    found = at(document, granted.at)
    if not isinstance(found, list) or len(found) > _MOST_ITEMS or not all(isinstance(one, dict) for one in found):
        return None
    names = [one.get(granted.name) for one in found if one.get(granted.status) == granted.value]
    try:
        return scope_set(tuple(name for name in names if isinstance(name, str)))
    except ValueError:
        return None
