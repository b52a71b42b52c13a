"""Comparing the store's own audit log with ours: every login, read and write must be explained (runbook 8.2).

Rules
- A login is matched by signing the lease's claims again and hashing the result as the store did. Ed25519 is
  deterministic, so the same lease gives the same bytes, and nobody can forge the match.
- A device that was recreated hashes with another key. A login from before then is compared with the lease that its
  header names and with what that lease's holder told, and a warning says that it could not be verified.
- What could not be read is *unknown*, and unknown is not clean. If nothing was read, that is unknown, too.
- A finding opens an alert; the run itself is recorded, whatever it found.
- A long span is processed in parts that fit into memory, each recorded. A running broker continues where it stopped
  itself; only after a start does it rely on what a record says. It knows its own records by their hashes. Any other
  record raises the alert ``reconciled_by_another``, and so does one that does not begin where the one before it ended.
- What a part looks back at is not read again, but for the seam, if the part before it was read in full.
- After a clock that ran ahead was set right, the rounds go back to where the last run ended that is over by now.
- A part that could not be read in full is tried again until it is ``GIVE_UP`` long; what no device shows is never
  skipped. In a cluster this applies while no node can be read. A node that stays unreadable beside others is left
  behind, recorded as unknown, for an auditor to process again.
- Each row that can open something must be what its last record says; otherwise it is a finding (ADR 0039). Such a
  finding engages the kill switch of its client, or the global one if it has no client; two people release it like any
  other.
- So does a client that the store was told to refuse without a switch (`byokeep kill panic`, while the database could
  not be reached).
- What a wrapped answer left at the store is ended at once. A running broker tries again each round until it is.

It may not act on any other finding, or mend a row: people do.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias
from uuid import UUID

from byokeep.breakglass.model import secrets_of
from byokeep.core.errors import ByokeepError, Denied, Pending, Unavailable
from byokeep.core.events import EventName, FieldValue, Outcome
from byokeep.core.model import Actor
from byokeep.core.policy import Verb, authorise_every_client
from byokeep.core.secret import Secret
from byokeep.jobs.lease import claims, pinned, told
from byokeep.jobs.switches import engage
from byokeep.kernel.app import BrokerApp
from byokeep.kernel.command import open_alert, raise_alert, record, unblocked
from byokeep.kernel.ports import HASHED_NAME, StoreEntry, Tx, node_of
from byokeep.kernel.rows import Row, reader
from byokeep.reconciliation import explain as rules
from byokeep.reconciliation.explain import TOLD_WITHIN, LogFinding, merge
from byokeep.tenancy.scopes import GLOBAL, scope_from_name

LOOK_BACK: Final = 1_000  # records that are read at a start: a few hours of rounds
ANOTHER: Final = "reconciled_by_another"


@dataclass(frozen=True, slots=True)
class _RunRecord:
    """A record of the broker's that says that a span was explained or, without times, that one was not."""

    seq: int
    hash_hex: str
    at: datetime
    since: datetime | None
    until: datetime | None
    malformed: bool


@dataclass(frozen=True, slots=True)
class _Begin:
    """Where the first run began, and the last record that was reported as somebody else's."""

    until: datetime
    told_seq: int


def _run(row: Row) -> _RunRecord:
    since, until = _time(row["since"]), _time(row["until"])
    without = row["since"] is None and row["until"] is None
    sound = since is not None and until is not None and since <= until <= row["at"]
    return _RunRecord(row["seq"], row["hash_hex"], row["at"], since, until, malformed=not (without or sound))


def _time(text: str | None) -> datetime | None:
    try:
        at = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return at if at.tzinfo else None


_Proofs: TypeAlias = dict[tuple[UUID, str, str], dict[str, object]]


@dataclass(slots=True)
class Before:
    """What a part that was read in full leaves to the one that begins at ``until``, so as not to be read again.

    ``proved``: a lease, a device, and its hash of the token that a login showed -> the claims of that token.
    """

    until: datetime | None = None
    requests: Sequence[rules.Request] = ()  # logins, and those that name a lease
    names: Sequence[StoreEntry] = ()
    proved: _Proofs = field(default_factory=dict)

    def at(self, since: datetime) -> bool:
        """Whether this is what came before ``since``; otherwise it is forgotten."""
        if self.until != since:
            self.until, self.requests, self.names = None, (), ()
        return self.until is not None

    def keep(
        self, until: datetime, first: datetime, requests: Iterable[rules.Request], names: Iterable[StoreEntry]
    ) -> None:  # fmt: skip
        """Take over what the next part looks back at, from ``first`` on."""
        of_leases = (one for one in requests if one.lease_header or one.path in rules.LOGINS)
        self.requests = [one for one in of_leases if one.at >= first]
        self.names = [one for one in names if one.at >= first]
        self.until = until

    def forget(self, leases: Mapping[UUID, rules.LeaseRow]) -> None:
        """Forget the proofs of other leases than these."""
        self.proved = {one: said for one, said in self.proved.items() if one[0] in leases}


class Reconciled:
    """How far one broker process has reconciled."""

    def __init__(self) -> None:
        self._until: datetime | None = None
        self._seq = 0  # of the last record that was checked
        self._own: dict[str, datetime | None] = {}  # hashes of our records not yet checked -> the span's end
        self.copies: list[str] = []  # paths where wrapped answers may have left something
        self.before = Before()

    async def look(self, app: BrokerApp) -> datetime:
        """Return where the next run begins, and report records that somebody else wrote.

        Raises:
            Unavailable: The database.
        """
        if self._until is None:
            until, runs, others = await _on_record(app)
        else:
            runs = await _runs(app, self._seq)
            ends = [end for run in runs if (end := self._own.get(run.hash_hex)) is not None]
            until, others = max([self._until, *ends]), any(run.hash_hex not in self._own for run in runs)
            if until > app.clock.now() - SETTLE:  # a clock that ran ahead was set right
                until, _, _ = await _on_record(app)
        if others:
            await raise_alert(app, reason=ANOTHER, key="audit/reconciled", severity="critical")
        self._until = until
        for run in runs:
            self._seq = max(self._seq, run.seq)
            self._own.pop(run.hash_hex, None)
        return until

    def say(self, hash_hex: str, until: datetime | None) -> None:
        """Note a record as our own; called before it is committed, because the answer to a commit can be lost."""
        self._own[hash_hex] = until

    def done(self, until: datetime) -> None:
        """Continue after a part that is on record."""
        self._until = until


async def _runs(app: BrokerApp, after: int, limit: int = LOOK_BACK) -> list[_RunRecord]:
    asked = {"installation_id": app.installation_id, "after": after, "limit": limit}
    return await app.db.read(_run, "audit_reconciled_runs", asked, every_client=True)


async def _on_record(app: BrokerApp) -> tuple[datetime, list[_RunRecord], bool]:
    """Return the end without a seam, what was read, and whether a seam was found that nobody was told of."""
    asked = {"installation_id": app.installation_id}
    [begin] = await app.db.read(_Begin, "audit_reconciled_begin", asked, every_client=True)
    limit = LOOK_BACK
    while True:  # further back only past hours whose every run is left out
        runs = await _runs(app, 0, limit)
        stand = _in_time(runs, app.clock.now() - SETTLE)
        if len(runs) < limit or any(run.until and not run.malformed for run in stand):
            break
        limit *= 10
    until, seam = _end_of(begin.until, stand, whole=len(runs) < limit)
    return until, runs, seam > begin.told_seq


def _in_time(runs: Sequence[_RunRecord], latest: datetime) -> list[_RunRecord]:
    """Return the runs in order, but for those that ended later than a run behind them or its record, or than now: a
    clock that ran ahead was set right, and what the store did since has times that they claim.
    """
    stand = []
    for run in sorted(runs, key=lambda run: run.seq, reverse=True):
        if run.malformed or run.until is None or run.until <= latest:
            stand.append(run)
            if not run.malformed and run.until is not None:  # this one went back past all that ended later
                latest = min(latest, run.until)
        latest = min(latest, run.at)
    return stand[::-1]


def _end_of(begin: datetime, runs: Sequence[_RunRecord], *, whole: bool) -> tuple[datetime, int]:
    """Return the end of the consecutive runs, and the number of the last record that does not follow another."""
    until, first, seam = begin, True, 0
    for run in runs:
        if run.malformed:
            seam = run.seq
        elif run.since is None or run.until is None:
            continue
        elif (first and (not whole or run.since <= begin)) or run.since == until:
            until, first = run.until, False
        else:
            until, seam = (min(until, run.until) if run.since < until else until), run.seq
    return until, seam


REASON: Final = "row_unrecorded"
CUT_OFF: Final = "cut_off_unexplained"


_KINDS: Final = ("switch", "client", "job", "account", "key")


async def look_for_unrecorded(app: BrokerApp, at: datetime) -> list[LogFinding]:
    """Return the rows that differ from their records, and close the gate because of them.

    Raises:
        Unavailable: The database.
    """
    found = []
    for kind in _KINDS:
        statement = "unrecorded_switches" if kind == "switch" else f"unrecorded_{kind}s"
        for row in await app.db.read(dict, statement, {}, every_client=True):
            reason = f"{kind}_unrecorded"
            found.append(LogFinding(reason=reason, at=at, client_id=row["client_id"], object_id=row["id"]))
    await close_gates(app, (one.client_id for one in found))
    return found


async def _follow_store(
    app: BrokerApp, found: Iterable[LogFinding], known: rules.KnownToUs, told: Sequence[tuple[str, str]]
) -> ByokeepError | None:
    """Engage the switch of each client that the store was told to refuse without one; the global switch if it was all.
    Returns what :func:`close_gates` does.

    A client whose switch was already engaged counts as refused, if the store was told to refuse several. If there is
    only one client, nobody can tell what was meant, and the global switch is engaged.
    """
    cut = {one.client_id for one in found if one.reason == CUT_OFF and one.client_id is not None}
    several = len({entity for _, entity in told if entity in known.entities}) > 1 or len(known.entities) == 1
    every = bool(cut) and several and all(closed or client_id in cut for client_id, closed in known.entities.values())
    return await close_gates(app, [None] if every else cut, reason=CUT_OFF)


async def close_gates(app: BrokerApp, clients: Iterable[UUID | None], *, reason: str = REASON) -> ByokeepError | None:
    """Engage the kill switch of each client that has a finding; ``None`` = the global one.

    One whose cut-off at the store is pending counts as engaged. A failure for one does not keep another from being
    engaged; the first is returned.
    """
    failed = None
    for client_id in dict.fromkeys(clients):
        name = GLOBAL if client_id is None else f"client:{client_id}"
        try:
            found = await app.db.read(dict, "switch_read", {"scope": name}, every_client=True)
            if not any(row["closed"] for row in found):
                with suppress(Pending):
                    await engage(app, app.system(), scope_from_name(name), reason)
        except ByokeepError as error:
            failed = failed or error
    return failed


BEFORE: Final = TOLD_WITHIN + timedelta(seconds=5)  # plus a token's life: how old the use of a lease judged now may be
SETTLE: Final = timedelta(seconds=10)  # a write's record follows the write; newer requests are judged next time
NEAR: Final = timedelta(seconds=30)  # between a lease's issue and its login, clocks included
MAX_ALERTS: Final = 50  # for one part; the count is in the result
_COPIES_S: Final = 20.0  # seconds for all paths of a part: what was found waits for them
_COPIES_AT_ONCE: Final = 3  # refused twice each, fewer than would look like a search for a way in
MAX_ENTRIES: Final = 50_000  # for one device and part; some 50 MB
ORDER: Final = timedelta(seconds=5)  # entries of parallel requests are not strictly in order
REKEYED_WITHIN: Final = timedelta(seconds=10)  # of the last answer hashed with another key; a probe comes every 5 s
GIVE_UP: Final = timedelta(minutes=5)  # a longer part with something unread is recorded as such, and left behind


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """What was found. ``state`` is ``clean``, ``findings`` or ``unknown``; ``unread`` names devices not read.

    ``until`` is where the next run begins: after what was judged.
    """

    state: str
    findings: tuple[LogFinding, ...]
    unread: tuple[str, ...]
    requests: int
    logins: int
    until: datetime


@dataclass(slots=True)
class _Log:
    """What the devices hold, until when, which were read or not, and since when those of each node record.

    ``until`` is earlier than was asked for if a device holds more than fits into memory.
    """

    until: datetime
    entries: list[StoreEntry] = field(default_factory=list)
    read: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    begins: dict[str, datetime] = field(default_factory=dict)


def _lease(row: Row) -> rules.LeaseRow:
    used_logins, used_reads = told(row)
    known = {"used_logins": used_logins, "used_reads": used_reads, "versions": pinned(row)}
    return reader(rules.LeaseRow)({**row, **known})


# Kinds of rows besides those that close the gate (:mod:`byokeep.reconciliation.reconcile`).
_UNRECORDED: Final = ("subject", "token", "alert")


async def reconcile(app: BrokerApp, actor: Actor, *, since: datetime, own: Reconciled | None = None) -> Reconciliation:
    """Explain everything that the store recorded from ``since`` until ten seconds ago.

    Args:
        app: The broker.
        actor: An auditor, or the broker itself every minute.
        since: Start of the span; give the last run's ``until``.
        own: The state of the broker's rounds, which notes each recorded part.

    Raises:
        Denied: Not the actor's to run.
        Unavailable: The database could not be read, or the result could not be recorded.
    """
    authorise_every_client(actor, Verb.AUDIT_RUN)
    end, done, hashes = app.clock.now() - SETTLE, None, dict[tuple[UUID, str], str]()
    before = own.before if own else Before()
    moved = await look_for_unrecorded(app, end)  # first: it needs no store, and closes the gate
    while True:
        part = await _part(app, actor, since, end, moved, own, hashes, before)
        done = part if done is None else _both(done, part)
        if part.until <= since or part.until >= end:
            return done
        since, moved = part.until, []


def _both(one: Reconciliation, other: Reconciliation) -> Reconciliation:
    states = {one.state, other.state}
    return Reconciliation(
        state=next((state for state in ("unknown", "findings") if state in states), "clean"),
        findings=one.findings + other.findings, unread=tuple(sorted({*one.unread, *other.unread})),
        requests=one.requests + other.requests, logins=one.logins + other.logins, until=other.until,
    )  # fmt: skip


async def _part(
    app: BrokerApp, actor: Actor, since: datetime, end: datetime, moved: Sequence[LogFinding], own: Reconciled | None,
    hashes: dict[tuple[UUID, str], str], before: Before,
) -> Reconciliation:  # fmt: skip
    reach = timedelta(seconds=app.limits.lease_token_ttl_s) + BEFORE
    first = since - reach
    log = await _read(app, since - ORDER if before.at(since) else first, since, end)
    until, ours = log.until, actor.id == app.installation_id
    joined, found = await asyncio.to_thread(_joined, log.entries, log.read, since, until)
    judged = [request for request in joined if request.at >= since]
    requests = list({one.id: one for one in (*joined, *before.requests, *judged)}.values())
    names = [one for one in (*before.names, *log.entries) if one.name_hash and one.device in log.read]
    logins = [request for request in requests if request.path in rules.LOGINS and not request.refused]
    async with app.db.begin(every_client=True) as tx:
        known = await _known(tx, app, first, until, log.read, hashes)
        for kind in _UNRECORDED:
            for row_id in await tx.all(UUID, f"audit_{kind}s_unrecorded"):
                found.append(LogFinding(reason=f"{kind}_unrecorded", at=until, object_id=row_id))
        for flooded in await tx.all(UUID, "audit_alerts_flood"):
            found.append(LogFinding(reason="alerts_flooded", at=until, object_id=flooded))
        for row in await tx.all(dict, "audit_leases_told_twice", first=since, last=until):
            about = {"client_id": row["client_id"], "lease_id": row["id"]}
            found.append(LogFinding(reason="lease_use_surplus", at=row["at"], **about))
        created = await tx.one(datetime, "installation_since")
    # What came before the log is in another file, or nowhere. The broker's rounds leave nothing out, so that is a
    # finding; whoever asks about a time that the log does not reach is told that it was not read.
    late = {name: at for name, at in log.begins.items() if at > since + SETTLE and not rules.restored(at, known)}
    if ours and late:
        found.append(LogFinding(reason="store_log_begins_late", severity="warning", at=max(late.values())))
    told_off = rules.put_out(judged)
    known.stops = frozenset(by for by, _ in told_off if by)
    matcher = Matcher(app, known, await _rekeyed(app, names), before.proved)
    for login in logins:
        missing = await matcher.explain_login(login)
        if missing and login.at >= since:
            found.append(missing)
    found += matcher.not_compared(since)
    found += [*moved, *await asyncio.to_thread(_unexplained, judged, known)]
    following = _follow_store(app, found if ours else (), known, told_off)
    failed, kept = await asyncio.gather(following, _end_copies(app, judged, own))
    if failed is not None:
        raise failed  # the log is read once: the next round comes back to this part of it
    found += [LogFinding(reason="wrapped_copy_kept", at=until)] * len(kept)
    found += await asyncio.to_thread(rules.surplus, requests, known, since - TOLD_WITHIN, until - TOLD_WITHIN)
    missed = set() if ours else {node for node, at in late.items() if at > created + rules.SETUP_FOR}
    unseen, behind = bool(log.unread) or not joined, [name for name in log.read if node_of(name) in missed]
    unknown = unseen or bool(behind)
    again = not log.read or (unknown and until - since < GIVE_UP)
    result = Reconciliation(
        state="unknown" if unknown else "findings" if found else "clean", findings=tuple(found),
        unread=(*log.unread, *behind), requests=len(judged), logins=sum(login.at >= since for login in logins),
        until=since if again else until,
    )  # fmt: skip
    await _record(app, actor, result, rules.probing(judged), since, rules.logins_refused(judged), own, unseen=unseen)
    before.forget(known.leases)
    if not unknown:
        before.keep(until, until - reach, requests, names)
    return result


async def _end_copies(app: BrokerApp, judged: Sequence[rules.Request], own: Reconciled | None) -> list[str]:
    """End the copies that wrapped answers left at the store, also where an earlier round could not; return the paths
    where some may be left. Nothing is raised: what was found is told all the same.
    """
    left = list(dict.fromkeys([*rules.copied(judged), *(own.copies if own else ())]))
    gate, refused = asyncio.Semaphore(_COPIES_AT_ONCE), False

    async def end(path: str) -> None:
        nonlocal refused
        async with gate:
            if refused:
                return
            left.remove(path)
            left.append(path)  # if it takes too long, others come first the next time
            try:
                await app.cutoff.end_copies(path)
                left.remove(path)
            except Denied:  # as an earlier release set up the store: so it refuses every path
                refused = True
            except ByokeepError:
                pass

    with suppress(TimeoutError):
        async with asyncio.timeout(_COPIES_S):
            await asyncio.gather(*map(end, left))
    if own:
        own.copies = left
    return left


def _joined(
    entries: list[StoreEntry], read: list[str], since: datetime, until: datetime
) -> tuple[list[rules.Request], list[LogFinding]]:
    """Join the devices' entries; what ends behind ``until`` is the next part's, but is joined with what began before.

    Runs in a thread, because an hour of a busy store is seconds of work, and permits and kills wait for the loop.
    """
    requests, found = merge(entries)
    found = [one for one in found if since <= one.at <= until] + rules.gaps(entries, read, first=since, last=until)
    found += rules.torn([one for one in entries if one.at <= until], read, first=since)
    return [one for one in requests if one.at <= until], found


def _unexplained(judged: Sequence[rules.Request], known: rules.KnownToUs) -> list[LogFinding]:
    """Return what nothing explains. Runs in a thread, like :func:`_joined`."""
    return [missing for one in judged if one.path not in rules.LOGINS and (missing := rules.explain(one, known))]


async def _read(app: BrokerApp, first: datetime, since: datetime, end: datetime) -> _Log:
    log = _Log(end)
    try:
        devices = await app.store_audit.devices()
    except Unavailable:
        return _Log(end, unread=["all"])
    for device in devices:
        entries: list[StoreEntry] = []
        try:
            async for entry in app.store_audit.entries(device.name, since=first):
                if entry.at > end + ORDER:
                    continue  # of a clock that ran ahead: what was written since it was set right stands behind
                if entry.at > log.until + ORDER:
                    break
                entries.append(entry)
                if len(entries) >= MAX_ENTRIES and entry.at > since + 2 * ORDER:
                    log.until = min(log.until, entry.at - ORDER)
                    break
        except Unavailable:
            log.unread.append(device.name)
            continue
        log.read.append(device.name)
        node, begins = node_of(device.name), device.recording_since or first
        log.begins[node] = min(begins, log.begins.get(node, begins))
        log.entries += entries
    log.entries = [entry for entry in log.entries if entry.at <= log.until + ORDER]
    return log


async def granted(
    tx: Tx, app: BrokerApp, first: datetime, last: datetime, read: Sequence[str], hashes: dict[tuple[UUID, str], str]
) -> list[rules.GrantRow]:
    """Return the break-glass grants whose tokens may have been used in a span, each in the form of a lease.

    ``hashes`` keeps those that the store was asked for, by grant and device: for whoever asks again about the same.
    """
    found = []
    for row in await tx.all(dict, "glass_issued_between", first=first, last=last):
        for device in read if row["accessor"] else ():
            if (row["id"], device) not in hashes:
                hashes[row["id"], device] = await app.store_audit.hash(device, Secret(row["accessor"]))
        found.append(rules.GrantRow(
            id=row["id"], client_id=row["client_id"], job_id=row["id"], kind="breakglass",
            secrets=tuple(secrets_of(row["scope"])), jwt_iat=row["jwt_iat"], jwt_exp=row["jwt_exp"],
            issued_at=row["issued_at"], used_logins=1, life_s=row["life_s"],
            accessors=frozenset(hashes[row["id"], device] for device in read if row["accessor"]),
        ))  # fmt: skip
    return found


async def _known(
    tx: Tx, app: BrokerApp, since: datetime, until: datetime, read: Sequence[str], hashes: dict[tuple[UUID, str], str]
) -> rules.KnownToUs:
    first, last = since - NEAR, until + SETTLE + NEAR
    # A grant that a clock which ran ahead dated later than now still gives what is read under it.
    grants = await granted(tx, app, first, datetime.max.replace(tzinfo=UTC), read, hashes)
    leases = [*grants, *await tx.all(_lease, "audit_leases_between", first=first, last=last)]
    writes = await tx.all(dict, "audit_store_requests", first=first, last=last)
    openings: dict[tuple[UUID, UUID], list[datetime]] = {}
    for row in await tx.all(dict, "audit_profile_openings", first=first - rules.AFTER_OPENING, last=last):
        openings.setdefault((row["client_id"], row["profile_id"]), []).append(row["at"])
    mints: dict[tuple[UUID, str], list[datetime]] = {}
    for row in await tx.all(dict, "audit_mints", first=first - rules.AFTER_MINT, last=last):
        mints.setdefault((row["client_id"], row["provider"]), []).append(row["at"])
    entities = await tx.all(dict, "switch_entities", client_id=None, opening="")
    return rules.KnownToUs(
        leases={lease.id: lease for lease in leases},
        token_ttl=timedelta(seconds=app.limits.lease_token_ttl_s),
        writes={row["store_request"]: (row["client_id"], row["path"]) for row in writes},
        app_writes={row["store_request"]: row["path"] for row in writes},
        seals=await tx.all(rules.AnnouncedSeal, "audit_seals_announced", first=first - rules.SEAL_FOR, last=last),
        openings=openings,
        mints=mints,
        backups=await tx.all(lambda row: (row["begun"], row["over"]), "audit_backups_begun", first=first, last=last),
        restores=await tx.all(datetime, "audit_restores", first=first, last=last),
        setups=await tx.all(datetime, "audit_config_times", first=first - timedelta(minutes=10), last=last),
        entities={row["entity_id"]: (row["client_id"], row["own_closed"] or row["global_closed"]) for row in entities},
        moves=await tx.all(rules.EntityUpdate, "audit_switch_moves", first=first),
        grants=grants,
    )


async def _rekeyed(app: BrokerApp, names: Iterable[StoreEntry]) -> dict[str, datetime]:
    """Return, for each device whose key has changed, until when it hashed with another key than now.

    Only replies that the store itself worded prove that. Without one, a login that does not match is not excused.
    """
    named: dict[str, list[tuple[datetime, str]]] = {}
    for entry in names:
        named.setdefault(entry.device, []).append((entry.at, entry.name_hash))
    until = {}
    for device, seen in named.items():
        now = await app.store_audit.hash(device, Secret(HASHED_NAME))
        if others := [at for at, name_hash in seen if name_hash != now]:
            last = max(others)
            later = (at for at, name_hash in seen if name_hash == now and at > last)
            until[device] = min([last + REKEYED_WITHIN, *later])
    return until


class Matcher:
    """Finds the lease whose token a login showed. It signs each candidate once, and hashes it once for each device."""

    def __init__(self, app: BrokerApp, known: rules.KnownToUs, rekeyed: Mapping[str, datetime],
                 proved: _Proofs) -> None:  # fmt: skip
        self._app, self._known, self._rekeyed, self._proved = app, known, rekeyed, proved
        self._not_compared: Counter[str] = Counter()
        self._tokens: dict[UUID, Secret] = {}
        self._hashes: dict[tuple[UUID, str], str] = {}

    async def explain_login(self, login: rules.Request) -> LogFinding | None:
        """Note an explained login; return a finding for any other."""
        lease = await self._lease_of(login) or self._named_by(login)
        if lease is None:
            return rules.finding("login_unexplained", login)
        self._known.logins.setdefault((lease.id, login.entity_id), []).append(login.at)
        if login.lease_header and login.lease_header != str(lease.id):
            return rules.finding("lease_header_forged", login, lease.client_id, lease.id)
        return None

    def not_compared(self, since: datetime) -> list[LogFinding]:
        """Return a finding for each device recreated since then, with the number of logins that were not compared."""
        return [
            LogFinding(
                reason="store_log_rekeyed", severity="warning", at=at, device=device, count=self._not_compared[device]
            )
            for device, at in self._rekeyed.items()
            if at >= since
        ]

    def _named_by(self, login: rules.Request) -> rules.LeaseRow | None:
        """Return the lease that a login names which came before its devices were recreated and cannot be compared."""
        hint = self._hint(login)
        until = [self._rekeyed.get(device) for device in login.login_hashes]
        if hint is None or not until or not all(moment and login.at <= moment for moment in until):
            return None
        self._not_compared.update(login.login_hashes.keys())
        return hint

    def _hint(self, login: rules.Request) -> rules.LeaseRow | None:
        hint = self._known.leases.get(rules.as_uuid(login.lease_header) or UUID(int=0))
        return hint if hint is not None and abs(hint.issued_at - login.at) <= NEAR else None

    async def _lease_of(self, login: rules.Request) -> rules.LeaseRow | None:
        # The header is nearly always right. Trying it first keeps the work proportional to the number of logins;
        # searching all leases for each login would stop a busy broker for seconds.
        hint = self._hint(login)
        if hint is not None and await self._showed(login, hint):
            return hint
        near = [lease for lease in self._known.leases.values() if abs(lease.issued_at - login.at) <= NEAR]
        for lease in sorted(near, key=lambda lease: abs(lease.issued_at - login.at)):
            if await self._showed(login, lease):
                return lease
        return None

    async def _showed(self, login: rules.Request, lease: rules.LeaseRow) -> bool:
        """Whether a login showed this lease's token."""
        said = self._claims(lease)
        for device, expected in login.login_hashes.items():
            proof = lease.id, device, expected
            if self._proved.get(proof) == said or await self._hash(lease, device) == expected:
                self._proved[proof] = said
                return True
        return False

    def _claims(self, lease: rules.LeaseRow) -> dict[str, object]:
        said = claims(
            self._app, client_id=lease.client_id, job_id=lease.job_id, lease_id=lease.id, kind=lease.kind,
            secrets=list(lease.secrets), iat=lease.jwt_iat,
        )  # fmt: skip
        own = {"exp": lease.jwt_exp} | ({"life_s": lease.life_s} if isinstance(lease, rules.GrantRow) else {})
        return {**said, **own}

    async def _hash(self, lease: rules.LeaseRow, device: str) -> str:
        if lease.id not in self._tokens:
            self._tokens[lease.id] = Secret(await self._app.signer.sign_jwt(self._claims(lease)))
        if (lease.id, device) not in self._hashes:
            self._hashes[lease.id, device] = await self._app.store_audit.hash(device, self._tokens[lease.id])
        return self._hashes[lease.id, device]


def _by_alert(findings: Sequence[LogFinding]) -> list[tuple[int, str, LogFinding]]:
    """Return each with its place among those of its alert, the first of each before the second of any, and that key."""
    seen, found = Counter[str](), []
    for one in findings:
        key = f"reconcile/{one.reason}/{one.object_id or one.client_id or one.device or 'platform'}"
        seen[key] += 1
        found.append((seen[key], key, one))
    return sorted(found, key=lambda it: it[0])


async def _record(
    app: BrokerApp, actor: Actor, result: Reconciliation, refused: Sequence[UUID], since: datetime, logins: int,
    own: Reconciled | None, *, unseen: bool,
) -> None:  # fmt: skip
    outcome = Outcome.OK if result.state == "clean" else Outcome.FAILED
    facts: dict[str, FieldValue] = {}
    if actor.id == app.installation_id and result.until > since:  # the broker's rounds continue from there
        facts = {"since": since.isoformat(), "until": result.until.isoformat()}
    async with unblocked(app) as tx:
        for _, key, one in _by_alert(result.findings)[:MAX_ALERTS]:  # many of one kind hide no other
            await open_alert(
                tx, app, None, reason=one.reason, key=key, severity=one.severity, client_id=one.client_id, at=one.at,
                object_id=one.object_id or one.lease_id,
            )  # fmt: skip
        for entity in refused[:MAX_ALERTS]:
            key = f"reconcile/store_denials/{entity}"
            await open_alert(tx, app, None, reason="store_denials", key=key, severity="warning", object_id=entity)
        for _ in range(min(logins, MAX_ALERTS)):
            key = "reconcile/store_logins_refused"
            await open_alert(tx, app, None, reason="store_logins_refused", key=key, severity="warning")
        if unseen:
            await open_alert(tx, app, None, reason="store_audit_unread", key="reconcile/unread")
        receipt = await record(
            tx, actor, EventName.AUDIT_RECONCILED, facts, outcome=outcome, reason=result.state, rows=result.requests,
            count=result.logins, found=len(result.findings),
        )  # fmt: skip
        if own is not None:
            own.say(receipt.hash_hex, result.until)
    app.platform_chain.proved(app.clock.monotonic())
    if own is not None:
        own.done(result.until)
