"""The client of a social platform: gets, renews and revokes tokens, identifies accounts, lists posts, reads replies.

Rules
- One call is one request, without a retry: only the caller knows what a one-time token costs, and so what may be
  repeated. A list of accounts is asked for to its end.
- Tokens come out as Secret (``core.secret``), refusals as Fault (``core.fault``) with a cause from a closed list.
  Nothing else of a reply is kept: its texts leave only as identity, scopes and ids of posts.
- Refusals come first: what the descriptor's table names as one is one, whatever else the reply holds.
- Ids are texts and are taken as they are. A number, a blank or nothing is not an id. The only exception is the account
  that a token reply names, which some platforms write as a number.
- The reply to a renewal is handed over before it is read, so that it can be landed first.
- A reply whose names, ids or scopes repeat a secret that was shown in this exchange is refused as a whole, because
  those are stored.
- A revocation is proved by use, never by the answer to it (S-OAUTH-9).
- Places are filled from a closed set of values. If a place has no value, the call cannot be made.
- What is put into a path or a query is percent-encoded as one piece, so it cannot add a segment or a parameter.
- Before sending, the request is checked again: a URL holds no secret that it was not declared to hold.
- A platform's text repeats a secret if it holds all of it or any run of 20 characters, in any case.

It may not read stores, decide what a refusal leads to, or know the time except for rate headers and a token's age.
"""

from __future__ import annotations

import base64
import hmac
import re
import time
from asyncio import sleep, timeout
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote, quote_plus, urlencode
from uuid import UUID

from byokeep.core.canonical import strict_object
from byokeep.core.errors import Integrity, Rejected
from byokeep.core.fault import OVER, Fault, FaultCause
from byokeep.core.identity import Face
from byokeep.core.secret import Secret
from byokeep.core.tokens import MAX_LIFE_S, TokenReply, TokenSet, first_set, renewed, scope_set, token
from byokeep.platforms.consent import PlatformApp, TokenPlace
from byokeep.platforms.descriptor import (
    PLACE,
    ClientAuth,
    DescribedCall,
    ErrorRule,
    Errors,
    Granted,
    Identity,
    OAuth,
    PostsCall,
    ReplyFields,
    Surface,
)
from byokeep.wire.transport import Got, NotGot, Outbound, exchange

_LONGEST_ID: Final = 256
_LONGEST_NAME: Final = 400
_MOST_ITEMS: Final = 200
_MOST_PAGES: Final = 20
_FIRST: Final[Mapping[str, str]] = MappingProxyType({})
_BLANKS: Final = re.compile(r"[\s,]+")
_BY_STATUS: Final[Mapping[int, FaultCause]] = {
    401: FaultCause.EXPIRED,
    408: FaultCause.TRANSIENT,
    429: FaultCause.RATE_LIMITED,
}
_MAY_BE_A_LOCK: Final = frozenset(
    {FaultCause.UNKNOWN, FaultCause.EXPIRED, FaultCause.REVOKED, FaultCause.MISSING_SCOPE}
)
# A word that can also refuse an app, a request or a service means a lock only next to a word for the account.
_WHOSE: Final = r"(?<!service.)(?<!developer.)(?:account|member|user|profile|channel)s?"
_LOCKED: Final = r"(?:suspended|banned|locked|blocked|restricted|disabled|deactivated)"
_APART: Final = r"[^a-z0-9.;!?]"
_LOCK: Final = re.compile(
    rf"check_?point|(?<!code)(?<!code.)challenge|captcha|lockout|(?<![a-z])locked|\A(?:suspended|banned)\Z"
    rf"|{_WHOSE}{_APART}*(?:[a-z]{{1,24}}{_APART}+){{0,3}}{_LOCKED}|(?<![a-z]){_LOCKED}{_APART}+{_WHOSE}", re.I
)  # fmt: skip
READ_DEADLINE_S: Final = 15.0
_LIST_S: Final = 60.0  # seconds for all pages of a list
# A token endpoint gets long, because giving up early loses a token that was already rotated.
TOKEN_DEADLINE_S: Final = 60.0
_REPLY_TOOK: Final = timedelta(seconds=TOKEN_DEADLINE_S)  # a life counts from its reply, and began before it
Values = Mapping[str, str | Secret | None]


def fillable(call: DescribedCall, values: Values) -> bool:
    """Whether every place of the call has a value."""
    texts = [call.url, *call.query.values(), *call.form.values()]
    return all(values.get(place) is not None for text in texts for place in PLACE.findall(text))


def _segment(text: str) -> str:
    if text in ("", ".", ".."):
        raise Rejected("call_lacks_a_value")
    return quote(text, safe="")


def _filled(text: str, values: Values) -> str:
    return PLACE.sub(lambda found: _plain(values[found[1]]), text)


def _plain(value: str | Secret | None) -> str:
    if value is None:
        raise Rejected("call_lacks_a_value")
    return value.reveal().decode() if isinstance(value, Secret) else value


_RUN: Final = 20
_SHORTEST: Final = 8  # anything shorter may be in a text by chance


def repeats(texts: Iterable[str | None], secrets: Iterable[Secret | None]) -> bool:
    """Whether any text holds a secret, or a long part of one; wiped secrets are skipped."""
    said = [text.lower() for text in texts if text]
    runs = {text[at : at + _RUN] for text in said for at in range(len(text) - _RUN + 1)}
    for secret in secrets:
        if secret is None or secret.wiped:
            continue
        held = secret.reveal().decode("utf-8", "replace").lower()
        if len(held) < _SHORTEST:
            continue
        if any(held in text for text in said) or any(
            held[at : at + _RUN] in runs for at in range(len(held) - _RUN + 1)
        ):
            return True
    return False


UNREAD: Final = object()


def at(document: Any, path: str) -> Any:
    """Return what is at a dotted path (numbers are places in lists); UNREAD if nothing is."""
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
        # Beyond 2xx the status alone says that the platform gave nothing, whatever happened to the body.
        answered = got.status is not None and got.status >= 300
        why = _by_status(got.status, call, None) if got.status and answered else FaultCause.TRANSIENT
        return Fault(cause=why, http_status=got.status, sent=got.sent, answered=answered), {}
    document, good = strict_object(got.body.reveal()), 200 <= got.status < 300
    if good and document is None and (got.status == 204 or not got.body.reveal().strip()):
        document = {}
    if good and document is None:
        return Fault(cause=FaultCause.UNKNOWN, http_status=got.status, answered=False), {}
    redirected = 300 <= got.status < 400
    cause = None if redirected or document is None else _by_rules(errors.rules, call, got.status, document)
    if cause is None and good:
        if not _says_error(errors, call, document or {}):
            return None, document or {}
        cause = FaultCause.UNKNOWN
    wait = retry_after(got.headers, errors.reset_header, now=now)
    locks = _MAY_BE_A_LOCK if cause else _MAY_BE_A_LOCK | {FaultCause.APP}
    cause = cause or _by_status(got.status, call, document)
    if cause in locks and not redirected and _speaks_of_a_lock(document):
        cause = FaultCause.LOCK_UNKNOWN
    return Fault(cause=cause, http_status=got.status, retry_after_s=wait), {}


def _speaks_of_a_lock(told: Any) -> bool:
    """Whether any text of a refusal, a code or words, is about a lock or a challenge of the account."""
    if isinstance(told, dict | list):
        return any(_speaks_of_a_lock(one) for one in (told.values() if isinstance(told, dict) else told))
    return isinstance(told, str) and _LOCK.search(told) is not None


def _says_error(errors: Errors, call: DescribedCall, document: dict[str, Any]) -> bool:
    """Whether a successful reply holds an error that no rule knows, which is still an error."""
    if call.surface is Surface.API and errors.ok_path:  # ``ok`` is how one platform says that there is none
        return at(document, errors.ok_path) != errors.ok_value or bool(document.get("errors"))
    return bool(document.get("error") or document.get("errors"))


def _by_status(status: int, call: DescribedCall, said: Mapping[str, Any] | None) -> FaultCause:
    of_token = call.surface is Surface.OAUTH
    if status == 401 and (said is None or (of_token and "error" not in said)):
        return FaultCause.UNKNOWN  # a platform says it in its own form; this may be somebody's on the way there
    if status == 401 and of_token:
        return FaultCause.APP  # RFC 6749, 5.2: our app is refused; a grant that is gone is 400 `invalid_grant`
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
    """Return the seconds that a platform wants us to wait; None if it does not say so in numbers."""
    asked = headers.get("retry-after", "")
    if asked.isascii() and asked.isdigit() and len(asked) <= 9:
        return float(asked)
    reset = headers.get(reset_header, "") if reset_header else ""
    if reset.isascii() and reset.isdigit() and len(reset) <= 12:
        return max(0.0, float(reset) - now)
    return None


def token_reply(fields: ReplyFields, document: dict[str, Any], *, first: bool) -> TokenReply | None:
    """Return the tokens of a reply; None if it holds none that can be used.

    Args:
        first: Whether all fields that a new consent needs must be present and valid.
    """
    holder = next((one for path in fields.inside if "access_token" in (one := _table(at(document, path)))), None)
    if holder is None or (first and any(holder.get(name) in (None, "", []) for name in fields.needed)):
        return None
    kind = holder.get("token_type") or "bearer"  # null says nothing
    if not isinstance(kind, str) or kind.lower() != "bearer":
        return None
    try:
        access = token(holder["access_token"])
        refresh = holder.get(fields.refresh) if fields.refresh else None
        if refresh == holder["access_token"]:
            return None  # jobs would then hold what renews
        found = TokenReply(
            access=access,
            refresh=None if refresh in (None, "") else token(refresh),
            scopes=_scopes(holder.get(fields.scope) if fields.scope else None),
            account_id=_id(_text(holder.get(fields.account))) if fields.account else None,
            access_life_s=_life(holder.get("expires_in")),
            refresh_life_s=_life(holder.get(fields.refresh_expires_in) if fields.refresh_expires_in else None),
        )
    except ValueError:
        return None
    if first and "expires_in" in fields.needed and found.access_life_s is None:
        return None
    return found


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _scopes(value: Any) -> tuple[str, ...] | None:
    """Return the scopes of a reply; unreadable ones are not said, because the tokens beside them may be the only ones.
    """
    if isinstance(value, str):
        value = [part for part in _BLANKS.split(value) if part]
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        return None
    try:
        return scope_set(tuple(value)) if value else None
    except ValueError:
        return None


def _life(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 10:
        value = int(value)
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 < value <= MAX_LIFE_S else None


def moment(value: Any) -> datetime | None:
    """Return Unix seconds as UTC; None for 0 and for anything else."""
    return datetime.fromtimestamp(value, UTC) if type(value) is int and 0 < value < 2**33 else None


def faces(identity: Identity, document: dict[str, Any]) -> tuple[Face, ...] | None:
    """Return the accounts of an identity reply; an invalid id is empty. None if the reply has another form."""
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
    """Return the ids of recent posts, newest first; None if the reply has another form."""
    found = at(document, posts.at)
    if found is UNREAD and posts.empty and at(document, posts.empty) == 0:
        return ()
    if not isinstance(found, list) or len(found) > _MOST_ITEMS:
        return None
    ids = tuple(_id(at(one, posts.id)) for one in found)
    return tuple(one for one in ids if one is not None) if None not in ids else None


def granted_scopes(granted: Granted, document: dict[str, Any]) -> tuple[str, ...] | None:
    """Return the scopes that a person granted; None if the reply has another form."""
    found = at(document, granted.at)
    if not isinstance(found, list) or len(found) > _MOST_ITEMS or not all(isinstance(one, dict) for one in found):
        return None
    names = [one.get(granted.name) for one in found if one.get(granted.status) == granted.value]
    try:
        return scope_set(tuple(name for name in names if isinstance(name, str)))
    except ValueError:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Posts:
    """What a read of recent posts proves: how many there were, and the newest one's id."""

    count: int
    newest_id: str | None


class RevocationResult(StrEnum):
    """What is known after an attempt to end a grant at its platform."""

    CONFIRMED = "confirmed"
    UNCONFIRMED = "unconfirmed"
    NOT_OFFERED = "not_offered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The result of an attempt to end a grant.

    Args:
        retry_after_s: When the platform says to come back; None if it does not say.
        final: Whether trying again is of no use.
    """

    ended: RevocationResult
    retry_after_s: float | None = None
    final: bool = False


class PlatformClient:
    """One login of one platform, called as one app of ours. One method, one request, no retry.

    Args:
        oauth: The OAuth of the login.
        app: Our app there.
        http: The caller closes it.
        place: Where the platform is; a simulator only outside production.
        clock: Returns UTC; read when a reply has come.
    """

    def __init__(
        self, oauth: OAuth, app: PlatformApp, http: Outbound, place: TokenPlace | None = None, *,
        clock: Callable[[], datetime],
    ) -> None:  # fmt: skip
        self.oauth, self.app, self.place = oauth, app, place or TokenPlace()
        self._http, self._clock = http, clock
        self._shown: list[Secret] = [] if app.client_secret is None else [app.client_secret]

    async def exchange(self, code: Secret, verifier: Secret | None, *, by: UUID) -> TokenSet | Fault:
        """Redeem a code and, if the platform has long-lived tokens, exchange the result for one.

        Args:
            by: The operator who started the consent.

        Raises:
            Integrity: ``reply_repeats_secret``; ``renews_by_access_token``.
        """
        got = await self._call(self.oauth.exchange, {"code": code, "verifier": verifier})
        reply = self._tokens(self.oauth.exchange, got, first=True)
        if isinstance(reply, Fault):
            return reply
        tokens = first_set(
            reply, platform=self.oauth.id, issuer=self.oauth.issuer, app_id=self.app.client_id,
            obtained_by=by, at=self._clock(),
        )  # fmt: skip
        if self.oauth.lengthen is None:
            return self._sound(tokens)
        got = await self._call(self.oauth.lengthen, {"access_token": tokens.access})
        longer = self._tokens(self.oauth.lengthen, got, first=False)
        return longer if isinstance(longer, Fault) else self._sound(renewed(tokens, longer, at=self._clock()))

    async def refresh(
        self, tokens: TokenSet, *, landed: Callable[[int, Secret, datetime], Awaitable[None]]
    ) -> TokenSet | Fault:
        """Renew a token set: exactly one request.

        Args:
            landed: Gets status, body and time of every 2xx reply before it is read; what it raises ends the call.

        Raises:
            Rejected: ``call_lacks_a_value``: there is nothing to renew with. Nothing was sent.
            Integrity: ``token_reply_of_another_account``, ``reply_repeats_secret``, ``renews_by_access_token``.
        """
        got = await self._call(self.oauth.refresh, {"refresh_token": tokens.refresh, "access_token": tokens.access})
        at = self._clock()
        if isinstance(got, Got) and 200 <= got.status < 300:
            await landed(got.status, got.body, at.replace(microsecond=0))
        reply = self._tokens(self.oauth.refresh, got, first=False)
        return reply if isinstance(reply, Fault) else self._sound(renewed(tokens, reply, at=at))

    def read_landed(self, tokens: TokenSet, *, status: int, body: Secret, at: datetime) -> TokenSet | Fault:
        """Read a reply to a renewal that was landed before a crash, as :meth:`refresh` would have.

        Raises:
            Integrity: As :meth:`refresh`.
        """
        self._hold(tokens)
        reply = self._tokens(self.oauth.refresh, Got(status=status, body=body), first=False)
        return reply if isinstance(reply, Fault) else self._sound(renewed(tokens, reply, at=at))

    async def granted(self, tokens: TokenSet) -> tuple[str, ...] | Fault | None:
        """Return what the person granted; None if neither a token reply nor a call says so.

        Raises:
            Integrity: ``reply_repeats_secret``.
        """
        if self.oauth.granted is None:
            return tokens.scopes
        document = await self._read(self.oauth.granted.call, {"access_token": tokens.access})
        if isinstance(document, Fault):
            return document
        found = granted_scopes(self.oauth.granted, document)
        self._hold(tokens)
        self._refuse_echo(found or ())
        return found

    async def consent_end(self, tokens: TokenSet) -> datetime | Fault | None:
        """Return when the person must consent again although the tokens are live; None if no end is known."""
        if self.oauth.inspect is None:
            return tokens.consent_expires_at
        document = await self._read(self.oauth.inspect.call, {"access_token": tokens.access})
        return document if isinstance(document, Fault) else moment(at(document, self.oauth.inspect.at))

    async def identify(self, tokens: TokenSet) -> tuple[Face, ...] | Fault:
        """Return the accounts that the token gives access to, as the platform names them.

        Pass them to :func:`byokeep.core.identity.compare` with ``several_allowed`` of the descriptor. For a fault pass
        ``None``: it could not be checked.

        Raises:
            Integrity: ``reply_repeats_secret``.
        """
        found = await self._faces(tokens)
        if not isinstance(found, Fault):
            self._hold(tokens)
            texts = [(one.account_id, one.username, one.display_name, one.link) for one in found]
            self._refuse_echo(text for one in texts for text in one)
        return found

    async def _faces(self, tokens: TokenSet) -> tuple[Face, ...] | Fault:
        try:
            async with timeout(_LIST_S):
                return await self._listed(tokens)
        except TimeoutError:
            return Fault(cause=FaultCause.TRANSIENT, answered=False)

    async def _listed(self, tokens: TokenSet) -> tuple[Face, ...] | Fault:
        identity, found, page = self.oauth.identity, list[Face](), _FIRST
        for _ in range(_MOST_PAGES):
            document = await self._read(identity.call, {"access_token": tokens.access}, page)
            if isinstance(document, Fault):
                return document
            if (read := faces(identity, document)) is None:
                break
            known = {one.account_id for one in found}  # a list that moves repeats some, perhaps under a new name
            found += (one for one in read if one.account_id not in known)
            if not identity.next or at(document, identity.next) in (UNREAD, None):
                return tuple(found)
            if (cursor := _id(at(document, identity.cursor))) is None:
                break
            page = {identity.cursor.rpartition(".")[2]: cursor}
        return _unreadable()  # of a part of a list nobody knows who is not there

    async def look(self, tokens: TokenSet, account: Face) -> Posts | Fault:
        """List the newest posts of an account, read-only. A grant without the scope for it has a fault of its own."""
        posts = self.oauth.posts
        if tokens.scopes is not None and posts.scope not in tokens.scopes:
            return Fault(cause=FaultCause.MISSING_SCOPE, sent=False, answered=False)
        values: Values = {
            "access_token": tokens.access, "account": account.account_id, "username": account.username,
            "link": account.link,
        }  # fmt: skip
        document = await self._read(posts.call, values)
        if isinstance(document, Fault):
            return document
        ids = post_ids(posts, document)
        return _unreadable() if ids is None else Posts(count=len(ids), newest_id=ids[0] if ids else None)

    async def revoke(self, tokens: TokenSet) -> Ending:
        """End a grant at the platform, first the refresh token, then the access token, and prove it by use.

        A token that the platform could not end (503), or whose type it does not revoke, may still be live. The other
        token's death proves nothing about it, so the result is *unconfirmed*. So it is, for good, if only the access
        token can be revoked and it has expired by itself.
        """
        values: Values = {"refresh_token": tokens.refresh, "access_token": tokens.access}
        calls = [call for call in self.oauth.revoke if fillable(call, self._known(values))]
        if not calls:
            return Ending(ended=RevocationResult.NOT_OFFERED)
        waits, lives_on = [0.0], False
        for call in calls:
            got = await self._call(call, values)
            fault, _ = fault_of(self.oauth.errors, call, got, now=time.time())
            if fault is not None and fault.cause not in OVER:
                lives_on = True
                waits.append(fault.retry_after_s or 0.0)
        age_s, false_s = (self._clock() - tokens.obtained_at).total_seconds(), self.oauth.refresh_rules.confirm_s
        await sleep(min(max(0.0, false_s - age_s), false_s))  # a younger one may be called dead and live
        seen = await self._faces(tokens)
        dead = isinstance(seen, Fault) and seen.answered and seen.cause in OVER
        over = tokens.access_expires_at is None or tokens.access_expires_at <= self._clock() + _REPLY_TOOK
        by_itself = dead and over and tokens.refresh is not None and self.oauth.revokes_by_access
        ended = RevocationResult.CONFIRMED if dead and not (lives_on or by_itself) else RevocationResult.UNCONFIRMED
        return Ending(ended=ended, retry_after_s=max(waits) or None, final=by_itself)

    def _hold(self, tokens: TokenSet) -> None:
        self._shown += [one for one in (tokens.access, tokens.refresh) if one is not None]

    def _refuse_echo(self, texts: Iterable[str | None]) -> None:
        if repeats(texts, self._shown):
            raise Integrity("reply_repeats_secret", platform=self.oauth.id)

    def _sound(self, tokens: TokenSet) -> TokenSet:
        """Check that a set's open fields repeat no secret, and that its access token, which jobs get, renews nothing.
        """
        if tokens.refresh is not None and tokens.refresh.matches(tokens.access):
            raise Integrity("renews_by_access_token", platform=self.oauth.id)
        self._hold(tokens)
        self._refuse_echo((*(tokens.scopes or ()), tokens.account_id))
        return tokens

    def _known(self, values: Values) -> Values:
        """Return the values for the places of a call: those given, and those of our app."""
        secret, access, proof = self.app.client_secret, values.get("access_token"), None
        if secret is not None and isinstance(access, Secret):
            # Meta's proof that the caller knows the app's secret.
            proof = hmac.digest(secret.reveal(), access.reveal(), "sha256").hex()
        app = {"client_id": self.app.client_id, "client_secret": secret, "redirect_uri": self.app.redirect_uri}
        return {**app, "proof": proof, **values}

    async def _call(self, call: DescribedCall, values: Values, page: Mapping[str, str] = _FIRST) -> Got | NotGot:
        """Make a call; ``page``: what its query says of the part of a list that is asked for.

        Raises:
            Rejected: ``call_lacks_a_value``, ``secret_in_url``, and what :class:`TokenPlace` and
                :func:`~byokeep.wire.transport.exchange` raise. Then nothing was sent.
        """
        self._shown += [one for one in values.values() if isinstance(one, Secret)]
        known = self._known(values)
        if not fillable(call, known):
            raise Rejected("call_lacks_a_value", call=call.name)
        form = {name: _filled(text, known) for name, text in call.form.items()}
        headers, token_call = dict(call.headers), call.surface is Surface.OAUTH
        if token_call and call.form:
            headers |= self._credentials(form)
        if call.bearer:
            headers["authorization"] = "Bearer " + _plain(known["access_token"])
        content = urlencode(form).encode() if form else (call.json or "").encode()
        if content:
            headers["content-type"] = "application/x-www-form-urlencoded" if form else "application/json"
        url, simulated = self._url(call, known, page), self.place.base is not None
        deadline_s = TOKEN_DEADLINE_S if token_call else READ_DEADLINE_S
        return await exchange(
            self._http, call.method, url, headers=headers, content=content, loopback=simulated, deadline_s=deadline_s
        )

    def _credentials(self, form: dict[str, str]) -> dict[str, str]:
        """Return the headers that authenticate the app at the token endpoint, if its form fields do not."""
        if self.oauth.client_auth is ClientAuth.FORM:
            return {}
        if self.app.client_secret is None:
            form["client_id"] = self.app.client_id
            return {}
        # RFC 6749 2.3.1: both parts are form-encoded before they are joined.
        pair = f"{quote_plus(self.app.client_id)}:{quote_plus(_plain(self.app.client_secret))}"
        return {"authorization": "Basic " + base64.b64encode(pair.encode()).decode()}

    def _url(self, call: DescribedCall, known: Values, page: Mapping[str, str]) -> str:
        path = PLACE.sub(lambda found: _segment(_plain(known[found[1]])), call.url)
        query = {**{name: _filled(text, known) for name, text in call.query.items()}, **page}
        url = self.place.at(path) + (f"?{urlencode(query, quote_via=quote)}" if query else "")
        secrets = [_plain(value) for value in known.values() if isinstance(value, Secret)]
        if not call.secret_in_query and any(one in url or quote(one, safe="") in url for one in secrets):
            raise Rejected("secret_in_url", call=call.name)
        return url

    async def _read(
        self, call: DescribedCall, values: Values, page: Mapping[str, str] = _FIRST
    ) -> dict[str, Any] | Fault:
        got = await self._call(call, values, page)
        fault, document = fault_of(self.oauth.errors, call, got, now=time.time())
        return fault or document

    def _tokens(self, call: DescribedCall, got: Got | NotGot, *, first: bool) -> TokenReply | Fault:
        fault, document = fault_of(self.oauth.errors, call, got, now=time.time())
        if fault is not None:
            return fault
        return token_reply(self.oauth.reply, document, first=first) or _unreadable()


def _unreadable() -> Fault:
    return Fault(cause=FaultCause.UNKNOWN, http_status=200, answered=False)
