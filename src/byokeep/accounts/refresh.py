"""Renewing tokens before they expire: which are due, one renewal of each at a time, step by step as its journal says.

Rules
- Before the request leaves, the old tokens and our app's secret have been read, the landing key is in the store, a slot
  of full size is on the disk, and *sent* is committed with every switch open.
- A reply is landed before it is read. If the disk fails at that moment, the reply is still read from memory.
- The store's compare-and-set decides whose tokens are next. Then the access token is written, then the pins move, in
  one transaction. A version that was destroyed, as a consent does with what it takes back, is nobody's.
- A grant that a person ended meanwhile is not renewed; what the platform still gave is given back. While a consent of
  the account is being finished, no request leaves and no grant is given up: the consent may have ended its tokens.
- What cannot be done now stays as recorded, and is taken up again after a growing pause. Only what
  :mod:`byokeep.core.refresh` allows is repeated. A wait that the platform asked for is stored in the database.
- Each renewal is a task of its own that nothing cancels; a process that stops lets them end first.
- Another machine's renewals are left alone, and people are told of those that do not end. Once a person has declared
  that machine gone, they are ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from byokeep.accounts import refresh_journal
from byokeep.accounts.leftovers import RenewalInHand
from byokeep.accounts.model import OAuthGrant
from byokeep.accounts.refresh_journal import give_up, lose_permission, refuse_while_consenting
from byokeep.accounts.refresher_app import RefresherApp, UnderWay, newest_there, read_tokens, write_after
from byokeep.core import refresh as machine
from byokeep.core.errors import ByokeepError, Conflict, Denied, Integrity, NotFound, Rejected, Unavailable
from byokeep.core.fault import Fault, FaultCause
from byokeep.core.reenable import RecoveryCause as Lost
from byokeep.core.ref import SecretPart
from byokeep.core.refresh import Decision, Do, LandingStep, Phase, RenewalAct
from byokeep.core.secret import Secret
from byokeep.core.tokens import TokenSet, missing_scopes, wider_scopes
from byokeep.kernel.command import Said, Severity, open_alert
from byokeep.kernel.rows import Row
from byokeep.platforms.descriptor import ScopePurpose

HALTED_S: Final = 3600.0
_ALWAYS: Final = frozenset({Do.SEND, Do.HALT, Do.FINISH})  # the others first check that the grant is held
_LOST: Final = {RenewalAct.LOCKED: Lost.LOCKOUT, RenewalAct.REAUTH: Lost.REVOKED}


class Attempt(RenewalInHand):
    """One attempt at one renewal."""

    _old: TokenSet | None = None
    _fault: Fault | None = None
    _confirmed = False
    _refused = ""

    async def go(self) -> str:
        """Do what the journal allows; returns how it ended, as a code.

        Raises:
            ByokeepError: Something could not be reached or was refused; the journal says how far it came.
        """
        acts: dict[Do, Callable[[], Awaitable[LandingStep | str]]] = {
            Do.MARK: self._mark, Do.SEND: self._send, Do.PLACE: self._place, Do.ADOPT: self._adopt,
            Do.DECIDE: self._decide, Do.REPORT_BROKEN: self._report_broken, Do.HALT: self._halt,
            Do.FINISH: self._finish,
        }  # fmt: skip
        try:
            newest = await self._newest()
            landed = await self.app.slots.has(self.renewal.id)
            step: LandingStep | str = self._next(machine.Resumed(newest, landed, self.app.clock.now()))
            while isinstance(step, LandingStep):
                over = step.do not in _ALWAYS and not await self._held()
                step = await (self._give_back() if over else acts[step.do]())
            return step
        finally:
            for secret in (self._old, self.new, self._key):
                if secret is not None:
                    secret.wipe()

    async def _newest(self) -> int:
        return await newest_there(self.custody, self.grant.place(SecretPart.TOKENS), self.renewal.journal.base)

    async def _held(self) -> bool:
        async with self.app.db.begin(client_id=self.grant.client_id) as tx:
            return await refresh_journal.goes_on(tx, self.renewal)

    async def _give_back(self) -> str:
        """Renew nothing and leave nothing live, because a person has ended or replaced the grant."""
        came = await self.give_back()
        await self._tidy()
        return came.value

    def _next(self, happened: machine.LandingEvent) -> LandingStep:
        step = machine.next_step(self.login.refresh_rules, self.renewal.journal, happened)
        self.renewal = replace(self.renewal, journal=step.journal)
        return step

    async def _mark(self) -> LandingStep | str:
        await self._make_ready()
        before = self.renewal
        step = self._next(machine.Sent(self.app.clock.now()))
        if await refresh_journal.mark_sent(self.app, self.renewal):
            return step
        self.renewal = before
        return await self._give_back()

    async def _make_ready(self) -> None:
        """Get everything ready that a reply needs."""
        await self._tokens()
        await self.ask()
        place = self.grant.place(SecretPart.LANDING)
        if self._key is None and self.renewal.landing_version:
            with suppress(NotFound, Unavailable):
                self._key = await self.custody.read(place, self.renewal.landing_version)
        if self._key is None:
            key = Secret(self.app.ids.token())
            written = await self.custody.write(place, key, cas=await self.custody.newest(place))
            self._key, self.renewal = key, replace(self.renewal, landing_version=written.version)
        await self.app.slots.prepare(self.renewal.id)

    async def _tokens(self) -> TokenSet:
        if self._old is None:
            place = self.grant.place(SecretPart.TOKENS)
            self._old = await read_tokens(self.custody, place, self.renewal.journal.base)
        return self._old

    async def _send(self) -> LandingStep:
        landed = False
        old, platform, key = await self._tokens(), await self.ask(), self._key
        if key is None:
            raise Integrity("no_landing_key")

        async def land(status: int, body: Secret, at: datetime) -> None:
            nonlocal landed
            landed = True
            try:
                await self.app.slots.land(
                    self.renewal.id, key, base=self.renewal.journal.base, status=status, body=body, at=at
                )
            except Unavailable:
                await self._alert("reply_not_landed")

        try:
            answer = await platform.refresh(old, landed=land)
        except Rejected as error:  # nothing was sent
            await self._alert(error.code)
            answer = Fault(cause=FaultCause.UNKNOWN, sent=False, answered=False)
        except Integrity as error:
            answer = None
            self._refused = error.code
        if landed:
            self._next(machine.Landed())
            with suppress(ByokeepError):  # the slot says the same
                await refresh_journal.save(self.app, self.renewal)
        return await self._read(answer, landed=landed)

    async def _read(self, answer: TokenSet | Fault | None, *, landed: bool) -> LandingStep:
        """Continue with a reply that was read; None = it says what no reply may, and the token may be spent."""
        if isinstance(answer, TokenSet):
            self.new = answer
            return LandingStep(self.renewal.journal, Do.PLACE)
        now = self.app.clock.now()
        if landed:
            await self.app.slots.clear(self.renewal.id)
        if answer is None:
            await self._alert(self._refused)
            return LandingStep(self.renewal.journal, Do.REPORT_BROKEN)
        self._fault = answer
        if landed and not answer.answered:
            return self._next(machine.UnreadableResponse(now))
        return self._next(machine.RefusedResponse(answer, now))

    async def _place(self) -> LandingStep | str:
        new = self.new or await self._read_landed()
        if isinstance(new, LandingStep):
            return new
        place = self.grant.place(SecretPart.TOKENS)
        try:
            written = await write_after(self.custody, place, new, self.renewal.journal.base)
        except Conflict:
            return self._next(machine.PlacedResponse(won=False))
        self._next(machine.PlacedResponse(won=True))
        return await self._pin(new, written.version, "", "renewed", store_request=written.request_id)

    async def _read_landed(self) -> TokenSet | LandingStep:
        """Return the tokens in the slot; the next step if there are none."""
        found = await self.reply()
        if found is None:
            await self._alert("landed_reply_unreadable")
            await self.app.slots.clear(self.renewal.id)
            return self._next(machine.UnreadableResponse(self.app.clock.now()))
        status, body, at = found
        try:
            answer: TokenSet | Fault | None = (await self.ask()).read_landed(
                await self._tokens(), status=status, body=body, at=at
            )
        except Integrity as error:
            answer = None
            self._refused = error.code
        finally:
            body.wipe()
        if isinstance(answer, TokenSet):
            self.new = answer
            return answer
        return await self._read(answer, landed=True)

    async def _adopt(self) -> str:
        """Pin what the store has: ours, interrupted before it was pinned, or a sibling's. What an unfinished consent
        has put there is not on record yet, and what a finished one has put there is not ours.
        """
        async with self.app.db.begin(client_id=self.grant.client_id) as tx:
            await refuse_while_consenting(tx, self.grant)
        if not await self._held():
            return await self._give_back()
        place, newest = self.grant.place(SecretPart.TOKENS), await self._newest()
        if newest <= self.renewal.journal.base:  # it was taken back meanwhile
            raise Conflict("grant_changed", next_step="This is retried with the state that it has by then.")
        # Not as this renewal's pair, which may be given back: it may be a person's new login.
        with await read_tokens(self.custody, place, newest) as adopted:
            self.renewal = self.renewal.at(Phase.CLOSED)
            return await self._pin(adopted, newest, "adopted", "adopted")

    async def _pin(self, tokens: TokenSet, version: int, reason: str, ended: str, **more: Said) -> str:
        place = self.grant.place(SecretPart.ACCESS)
        written = await self.custody.write(place, tokens.access, cas=await self.custody.newest(place))
        pinned = await refresh_journal.placed(
            self.app, self.login, self.renewal, tokens, version=version,
            access_version=written.version, reason=reason, attempts=self.renewal.journal.lost + 1, **more,
        )  # fmt: skip
        if not pinned:
            await self.custody.destroy(place, [written.version])
            return await self._give_back()
        if self._old is not None and self._old.scopes is not None and wider_scopes(tokens, frozenset(self._old.scopes)):
            await self._alert("scopes_wider_than_before", severity="warning")
        await self._tidy()
        needed = frozenset(self.login.scopes_for(ScopePurpose.READ, *self.grant.purposes))
        if tokens.scopes is not None and missing_scopes(tokens, needed):
            await lose_permission(self.app, self.renewal)
            return "missing_scope"
        return ended

    async def _decide(self) -> LandingStep | str:
        fault = self._fault or Fault(cause=FaultCause.TRANSIENT, answered=False)
        tries = self.grant.tries + 1
        decision = self._after(fault, tries)
        if decision.act is RenewalAct.REREAD:
            newer = await self._newest() > self.renewal.journal.base
            decision = self._after(fault, tries, reread=True, newer=newer)
        fields = _told(fault)
        match decision.act:
            case RenewalAct.ADOPT:
                return await self._adopt()
            case RenewalAct.CONFIRM:
                self._confirmed = True
                await asyncio.sleep(decision.wait_s)
                return LandingStep(self.renewal.journal, Do.MARK)
            case RenewalAct.REAUTH | RenewalAct.LOCKED:
                return await self._end(decision, fields)
        if decision.alert:
            await self._alert("platform_app_refused")
        await refresh_journal.put_off(
            self.app, self.renewal, wait_s=decision.wait_s, tries=tries, reason=decision.act.value,
            **fields,
        )  # fmt: skip
        return decision.act.value

    def _after(self, fault: Fault, tries: int, **known: bool) -> Decision:
        seed = refresh_journal.seed_of(self.grant.account_id, self.renewal.journal.base)
        rules = self.login.refresh_rules
        return machine.after_fault(rules, fault, tries=tries, confirmed=self._confirmed, seed=seed, **known)

    async def _end(self, decision: Decision, fields: dict[str, Said]) -> str:
        await refresh_journal.save(self.app, self.renewal)  # its answer is known, should the end have to wait
        self._next(machine.GaveUp())
        cause = Lost.COMPROMISED if decision.suspect_reuse else _LOST[decision.act]
        reason = "reuse_suspected" if decision.suspect_reuse else decision.act.value
        if fields["cause"] == FaultCause.LOCK_UNKNOWN:
            reason = FaultCause.LOCK_UNKNOWN.value
        return await self._give_up(cause, reason, **fields)

    async def _give_up(self, lost_by: Lost, reason: str, /, **fields: Said) -> str:
        told = await give_up(self.app, self.renewal, lost_by, reason=reason, **fields)
        if not told:
            return await self._give_back()
        await self._tidy()
        return told

    async def _report_broken(self) -> str:
        self.renewal = self.renewal.at(Phase.BROKEN)
        fields = _told(self._fault) if self._fault is not None else {}
        fields["attempts"] = max(self.renewal.journal.lost, 1)
        return await self._give_up(Lost.CHAIN_BROKEN, "chain_broken", **fields)

    async def _halt(self) -> str:
        """Make no call, because the store is older than what is on record: it was rolled back."""
        await self._alert("store_rolled_back")
        if self.renewal.journal.phase is not Phase.STARTED:
            raise Integrity("store_rolled_back", next_step="Restore the store to its newest state.")
        await refresh_journal.put_off(
            self.app, self.renewal, wait_s=HALTED_S, tries=self.grant.tries, reason="store_rolled_back"
        )
        return "halted"

    async def _finish(self) -> str:
        return "finished"

    async def _tidy(self) -> None:
        """Remove the slot and destroy its key; `maintenance.clear_slots` removes a slot that is left."""
        with suppress(ByokeepError):
            await self.app.slots.clear(self.renewal.id)
        with suppress(ByokeepError):
            if self.renewal.landing_version:
                await self.custody.destroy(self.grant.place(SecretPart.LANDING), [self.renewal.landing_version])

    async def _alert(self, reason: str, severity: Severity = "critical") -> None:
        with suppress(ByokeepError):
            async with self.app.db.begin(client_id=self.grant.client_id) as tx:
                await self.grant.alert(tx, self.app, reason=reason, severity=severity)


def _told(fault: Fault) -> dict[str, Said]:
    return {"cause": fault.cause.value, "http_status": fault.http_status}


MOST: Final = 16  # renewals in parallel
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 30.0
OVERDUE: Final = timedelta(minutes=10)


async def renew(app: RefresherApp, grant: OAuthGrant) -> str:
    """Renew one account's tokens if they are due and nobody else does it; returns how it ended, as a code.

    Raises:
        ByokeepError: It cannot be done now. The journal says how far it came, and it is taken up again.
    """
    login = app.logins.get(grant.login)
    if login is None or login.provider is not grant.provider:
        raise Denied("unknown_login", next_step="This version does not know the login of this account.")
    renewal = await refresh_journal.take(app, grant)
    if renewal is None:
        return "not_due"
    async with app.custodian.open(renewal.job_id) as custody, AsyncExitStack() as held:
        ended = await Attempt(app, login, renewal, custody, held).go()
    with suppress(ByokeepError):  # an open job ends by itself
        await app.custodian.close(renewal.job_id)
    return ended


class Renewals(UnderWay[UUID]):
    """The renewals of one process, by account.

    Args:
        app: The refresher's ports.
        told: Called with the grant and how its renewal ended, as a code.
    """

    def __init__(self, app: RefresherApp, told: Callable[[OAuthGrant, str], None] = lambda _, __: None) -> None:
        super().__init__()
        self._app, self._told = app, told
        self._pauses: dict[UUID, tuple[float, float]] = {}

    async def start_due(self) -> int:
        """Start the renewals that are due; returns how many. Raises Unavailable."""
        room = MOST - len(self._running)
        if room <= 0:
            return 0
        async with self._app.db.begin(every_client=True) as tx:
            now, limit = self._app.clock.now(), room + len(self._pauses)
            due = await tx.all(OAuthGrant, "refresh_due", now=now, owner=self._app.owner, limit=limit)
        return self._start_some(due, room)

    async def resume(self) -> int:
        """Take up what was interrupted here or left by a machine that is gone, and report others' that do not end.

        Returns:
            How many were started.

        Raises:
            Unavailable: The database.
        """
        async with self._app.db.begin(every_client=True) as tx:
            await tx.all(UUID, "refresh_take_over", owner=self._app.owner)
            limit = MOST + len(self._pauses)
            found = await tx.all(OAuthGrant, "refresh_cut_off", owner=self._app.owner, limit=limit)
            foreign = await tx.all(dict, "refresh_foreign", owner=self._app.owner)
        started = self._start_some(found, MOST)
        for row in foreign:
            with suppress(Exception):  # one that cannot be reported is tried again, and hides no other
                await self._tell_foreign(row)
        return started

    def _start_some(self, grants: list[OAuthGrant], room: int) -> int:
        started, now = 0, self._app.clock.monotonic()
        for grant in grants:
            under_way = self._running.values()
            if (
                started >= room
                or grant.account_id in under_way
                or self._pauses.get(grant.account_id, (0.0, 0.0))[0] > now
            ):
                continue
            self._start(grant.account_id, self._renew(grant))
            started += 1
        return started

    async def _renew(self, grant: OAuthGrant) -> None:
        try:
            ended = await renew(self._app, grant)
            self._pauses.pop(grant.account_id, None)
        except Exception as error:  # of any kind: it is reported, and tried again
            ended = error.code if isinstance(error, ByokeepError) else f"failed_{type(error).__name__.lower()}"
            await self._overdue(grant, unforeseen=not isinstance(error, ByokeepError))
            pause_s = min(2 * self._pauses.get(grant.account_id, (0.0, FIRST_PAUSE_S / 2))[1], LONGEST_PAUSE_S)
            self._pauses[grant.account_id] = self._app.clock.monotonic() + pause_s, pause_s
        self._told(grant, ended)

    async def _overdue(self, grant: OAuthGrant, *, unforeseen: bool) -> None:
        """Tell people of a renewal that should be done by now; at once if the error was unforeseen."""
        since = grant.due_at or grant.changed_at  # an ended grant is no longer due, and has to give back
        if not unforeseen and self._app.clock.now() - since < OVERDUE:
            return
        with suppress(Exception):
            async with self._app.db.begin(client_id=grant.client_id) as tx:
                await grant.alert(tx, self._app, reason="renewal_overdue", severity="warning")

    async def _tell_foreign(self, row: Row) -> None:
        async with self._app.db.begin(client_id=row["client_id"]) as tx:
            await open_alert(tx, self._app, self._app.system(), reason="renewal_of_another_owner",
                              client_id=row["client_id"], object_id=row["account_id"])  # fmt: skip
