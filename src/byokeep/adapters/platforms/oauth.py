"""What can be asked of a social platform: consent, tokens, renewal, revocation, who it is, what it posted.

Rules
- One call, one request, no retry: whether an act may be repeated is for whoever knows what a one-time token costs.
- Tokens come out as Secret (``core.secret``), refusals as Fault (``core.fault``): one word of a closed list. Nothing
  else of a reply is kept.
- The reply to a renewal is handed over before it is read, so that it can be landed first.
- A reply whose names, ids or scopes repeat a secret that was shown in this exchange is refused whole: those are kept.
- A revocation is proved by use, never by the answer to it (S-OAUTH-9).

It may not read stores, decide what a refusal leads to, or know the time but for rate headers.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from byokeep.adapters.platforms import read
from byokeep.adapters.platforms.calls import PlatformApp, TokenPlace, Values, fillable, send
from byokeep.adapters.platforms.consent import ConsentSide
from byokeep.adapters.platforms.echo import repeats
from byokeep.core.errors import Integrity
from byokeep.core.fault import Fault, FaultCause
from byokeep.core.identity import Face
from byokeep.core.secret import Secret
from byokeep.core.tokens import TokenReply, TokenSet, first_set, renewed
from byokeep.platforms.descriptor import DescribedCall, PlatformDescriptor
from byokeep.wire.outbound import Got, NotGot, Outbound

_OVER: Final = frozenset({FaultCause.REVOKED, FaultCause.EXPIRED})


class Revocation(StrEnum):
    """What is known after a revocation. ``not_offered``: the platform has no call; the person must remove the app."""

    CONFIRMED = "confirmed"
    UNCONFIRMED = "unconfirmed"
    NOT_OFFERED = "not_offered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """What came of a revocation. ``retry_after_s``: when the platform says to come back, None when it does not say."""

    state: Revocation
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentPosts:
    """The evidence of a read: how many posts the list held, and the newest one's id."""

    count: int
    newest_id: str | None


class PlatformClient(ConsentSide):
    """Calls one platform as one app.

    Args:
        descriptor: The platform.
        app: Our app there.
        http: The caller closes it.
        place: Where the platform is; a simulator outside production only.

    Raises:
        Rejected: ``platform_without_oauth``.
    """

    def __init__(
        self,
        descriptor: PlatformDescriptor,
        app: PlatformApp,
        http: Outbound,
        place: TokenPlace | None = None,
    ) -> None:
        super().__init__(descriptor, app, place)
        self._http = http
        self._shown: list[Secret] = [] if app.client_secret is None else [app.client_secret]

    async def exchange(
        self, code: Secret, verifier: Secret | None, *, by: UUID, clock: Callable[[], datetime]
    ) -> TokenSet | Fault:
        """Redeem a code, and trade what it gives for a long-lived token where the platform has two.

        Args:
            by: The operator who began the flow.
            clock: Returns UTC; read when the reply is there.

        Raises:
            Integrity: ``reply_repeats_secret``; ``renews_by_access_token``.
        """
        got = await self._call(self.oauth.exchange, {"code": code, "verifier": verifier})
        reply = self._tokens(self.oauth.exchange, got, first=True)
        if isinstance(reply, Fault):
            return reply
        tokens = first_set(
            reply, platform=self.descriptor.id, issuer=self.oauth.issuer, app_id=self.app.client_id,
            obtained_by=by, at=clock(),
        )  # fmt: skip
        if self.oauth.lengthen is None:
            return self._sound(tokens)
        got = await self._call(self.oauth.lengthen, {"access_token": tokens.access})
        longer = self._tokens(self.oauth.lengthen, got, first=False)
        return longer if isinstance(longer, Fault) else self._sound(renewed(tokens, longer, at=clock()))

    async def refresh(
        self, tokens: TokenSet, *, landed: Callable[[Got], Awaitable[None]], clock: Callable[[], datetime]
    ) -> TokenSet | Fault:
        """Renew a token set: exactly one request.

        Args:
            landed: Told of every 2xx reply before it is read; what it raises ends the call.
            clock: Returns UTC; read when the reply is there.

        Raises:
            Rejected: ``call_lacks_a_value``: there is nothing to renew with. Nothing was sent.
            Integrity: ``token_reply_of_another_account``, ``reply_repeats_secret``, ``renews_by_access_token``.
        """
        got = await self._call(self.oauth.refresh, {"refresh_token": tokens.refresh, "access_token": tokens.access})
        at = clock()
        if isinstance(got, Got) and 200 <= got.status < 300:
            await landed(got)
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
        """Return what the person granted; None when neither a token reply nor a call says so.

        Raises:
            Integrity: ``reply_repeats_secret``.
        """
        if self.oauth.granted is None:
            return tokens.scopes
        document = await self._read(self.oauth.granted.call, {"access_token": tokens.access})
        if isinstance(document, Fault):
            return document
        found = read.granted_scopes(self.oauth.granted, document)
        self._hold(tokens)
        self._refuse_echo(found or ())
        return found

    async def consent_end(self, tokens: TokenSet) -> datetime | Fault | None:
        """Return when the person must consent again although the tokens live, None where no end is known."""
        if self.oauth.inspect is None:
            return tokens.consent_expires_at
        document = await self._read(self.oauth.inspect.call, {"access_token": tokens.access})
        return document if isinstance(document, Fault) else read.moment(read.at(document, self.oauth.inspect.at))

    async def identify(self, tokens: TokenSet) -> tuple[Face, ...] | Fault:
        """Return the accounts that the token opens, as the platform names them.

        Pass them to :func:`byokeep.core.identity.compare` with ``several_allowed`` of the descriptor; a fault is
        ``None`` there: could not be checked.

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
        document = await self._read(self.oauth.identity.call, {"access_token": tokens.access})
        if isinstance(document, Fault):
            return document
        found = read.faces(self.oauth.identity, document)
        return _unreadable() if found is None else found

    async def recent_posts(self, tokens: TokenSet, account: Face) -> RecentPosts | Fault:
        """List the newest posts of an account, read-only. A grant without the scope for it is a fault of its own."""
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
        ids = read.post_ids(posts, document)
        return _unreadable() if ids is None else RecentPosts(count=len(ids), newest_id=ids[0] if ids else None)

    async def revoke(self, tokens: TokenSet) -> Revoked:
        """End a grant at the platform, the refresh token first, then the access token, and prove it by use.

        A token that the platform could not end (503), or whose type it does not revoke, may live on: the other one's
        death proves nothing of it, so that is *unconfirmed*.
        """
        values: Values = {"refresh_token": tokens.refresh, "access_token": tokens.access}
        # ``proof`` is made from the two secrets, so it is there whenever they are.
        app: Values = {"client_id": self.app.client_id, "client_secret": self.app.client_secret, "proof": ""}
        calls = [call for call in self.oauth.revoke if fillable(call, {**app, **values})]
        if not calls:
            return Revoked(state=Revocation.NOT_OFFERED)
        waits, lives_on = [0.0], False
        for call in calls:
            got = await self._call(call, values)
            fault, _ = read.fault_of(self.oauth.errors, call, got, now=time.time())
            if fault is not None and fault.cause not in _OVER:
                lives_on = True
                waits.append(fault.retry_after_s or 0.0)
        seen = await self._faces(tokens)
        dead = isinstance(seen, Fault) and seen.answered and seen.cause in _OVER
        state = Revocation.CONFIRMED if dead and not lives_on else Revocation.UNCONFIRMED
        return Revoked(state=state, retry_after_s=max(waits) or None)

    def _hold(self, tokens: TokenSet) -> None:
        self._shown += [one for one in (tokens.access, tokens.refresh) if one is not None]

    def _refuse_echo(self, texts: Iterable[str | None]) -> None:
        if repeats(texts, self._shown):
            raise Integrity("reply_repeats_secret", platform=self.descriptor.id)

    def _sound(self, tokens: TokenSet) -> TokenSet:
        """Return a set whose open half repeats no secret, and whose access token, which jobs get, renews nothing."""
        if tokens.refresh is not None and tokens.refresh.matches(tokens.access):
            raise Integrity("renews_by_access_token", platform=self.descriptor.id)
        self._hold(tokens)
        self._refuse_echo((*(tokens.scopes or ()), tokens.account_id))
        return tokens

    async def _call(self, call: DescribedCall, values: Values) -> Got | NotGot:
        self._shown += [one for one in values.values() if isinstance(one, Secret)]
        return await send(self._http, self.oauth, call, self.app, self._place, values)

    async def _read(self, call: DescribedCall, values: Values) -> dict[str, Any] | Fault:
        got = await self._call(call, values)
        fault, document = read.fault_of(self.oauth.errors, call, got, now=time.time())
        return fault or document

    def _tokens(self, call: DescribedCall, got: Got | NotGot, *, first: bool) -> TokenReply | Fault:
        fault, document = read.fault_of(self.oauth.errors, call, got, now=time.time())
        if fault is not None:
            return fault
        return read.token_reply(self.oauth.reply, document, first=first) or _unreadable()


def _unreadable() -> Fault:
    return Fault(cause=FaultCause.UNKNOWN, http_status=200, answered=False)
