"""The exposure report: who could read a credential in a span of time, who did, and what was done with it (runbook 7.1).

Rules
- Who could read it comes from the client's audit chain, who did from the store's own log, what was done from the usage
  ledger. Each is compared with what else is known. What differs, or cannot be read, is a gap and never zero.
- A read belongs to a lease if reconciliation says so, by the login with its token, the entity and the time. The header
  that names a lease is chosen by its sender. A read under break glass is known by the token's accessor in the store's
  log.
- A report with a gap is not complete, and says so. A provider is asked what it counted, if it offers that and the
  client gave an administrator's key; otherwise this is known only if somebody provides it.
- A span is 24 to 72 hours; any other has to be asked for explicitly. If nobody knows since when, it is 72 hours, and is
  marked so.
- Nothing is cut: what does not fit is refused.
- It is signed like evidence; its digest is on the client's record before it is signed.

It may not hold a value.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import groupby
from typing import Any, Final
from uuid import UUID

from byokeep.accounts.model import PlatformAccount
from byokeep.audit.disclosure import PURPOSE
from byokeep.audit.log import origin
from byokeep.core import evidence
from byokeep.core.audit import ChainHead
from byokeep.core.errors import Rejected, Unavailable
from byokeep.core.events import EventName
from byokeep.core.model import Actor, ClientId, Provider
from byokeep.core.plain_text import refuse_secret
from byokeep.core.policy import Verb
from byokeep.jobs.lease import told
from byokeep.kernel import incidents
from byokeep.kernel.app import BrokerApp
from byokeep.kernel.command import command, find, permit, record, recorded, stamp
from byokeep.kernel.ports import TORN, StoreEntry, Tx, node_of
from byokeep.keys import provider_usage, usage
from byokeep.keys.refs import get_ref
from byokeep.profiles.profiles import Profile
from byokeep.reconciliation.explain import (
    AFTER_OPENING,
    BEFORE_OPENING,
    IDENTITY,
    LOGINS,
    KnownToUs,
    LeaseRow,
    Request,
    as_uuid,
    explain,
    merge,
    value_read,
)
from byokeep.reconciliation.reconcile import ORDER, SETTLE, Matcher, granted

LEAST: Final = timedelta(hours=24)
MOST: Final = timedelta(hours=72)
_SLACK: Final = timedelta(minutes=5)  # a caller's "72h ago" is a little more by our clock when it arrives
ROWS: Final = 20_000  # for each kind in one report
_TOGETHER: Final = 16  # logins that are compared with their leases in parallel
_LEASE_LIFE: Final = timedelta(minutes=1)  # before the span: a login token from then may still have been used in it
_ONE_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderFigure:
    """What a provider's own page counted for one model, hour by hour from ``since`` on, as a person enters it."""

    model: str
    since: datetime
    requests: tuple[int | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExposureRequest:
    """What to report on: a key, an account, a profile, or otherwise everything of a client.

    Attributes:
        since: Since when others may have had it; None = unknown, or as its incident says.
        any_span: A span other than 24 to 72 hours is intended.
        figures: The provider's own figures, for each hour of the span.
        incident_id: Which incident it is for.
    """

    client_id: UUID | None = None
    ref_id: UUID | None = None
    account_id: UUID | None = None
    profile_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None
    any_span: bool = False
    figures: tuple[ProviderFigure, ...] = ()
    incident_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedExposure:
    """A report, the digest and number of its record, and its signed form."""

    report: dict[str, Any]
    digest: str
    seq: int
    envelope: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    """``secret``: as leases name it, empty = all; ``below``: the place below it in the store, None = any."""

    client_id: ClientId
    kind: str
    object_id: UUID
    secret: str = ""
    below: str | None = None

    def has(self, entry: StoreEntry) -> bool:
        """Whether an entry is a read of one of its values; for a key, also of what is stored below the key."""
        read = value_read(entry.operation, entry.path)
        return read is not None and read[0] == self.client_id and self.secret in ("", read[1])


@dataclass(slots=True)
class _Span:
    since: datetime
    until: datetime
    assumed: bool
    gaps: list[dict[str, Any]] = field(default_factory=list)

    def gap(self, section: str, why: str, **about: Any) -> None:
        said = {"since": self.since, "until": self.until} | about
        plain = {name: _out(value) for name, value in said.items() if value is not None}
        self.gaps.append({"section": section, "why": why, **plain})


async def report(app: BrokerApp, actor: Actor, asked: ExposureRequest) -> SignedExposure:
    """Make, record and sign a report.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`; ``not_found``: an incident of another client.
        Rejected: ``one_subject``; ``bad_span``; ``unusual_span`` without ``any_span``; ``bad_figures``;
            ``too_many_rows``.
        Unavailable: Database or signer.
    """
    about = await _subject(app, actor, asked)
    client_id = about.client_id
    async with recorded(app, actor, Verb.KEY_HISTORY, client_id=client_id, object_id=about.object_id):
        async with app.db.begin(client_id=client_id) as tx:
            begun = await incidents.named(tx, actor, asked.incident_id, client_id)
        assumed = asked.since is None
        if begun is not None and asked.since is None:  # the whole span of the incident
            asked, assumed = replace(asked, since=begun.began_at, any_span=True), begun.began_assumed
        span = _span(app.clock.now(), asked, assumed=assumed)
        if asked.figures:
            metrics = await _by_hand(app, about, asked.figures, span)
        else:
            metrics = await _counted(app, actor, about, span)
        async with app.db.begin(client_id=client_id) as tx:
            first = await tx.one(datetime, "installation_since")
            leases = await _leases(tx, about, span)
        requests, logins = await _store_reads(app, about, span, first, leases)
        known = await _known(app, about, leases, requests, logins)
        async with app.db.begin(client_id=client_id) as tx:
            said = await _sections(tx, app, about, span, requests, leases, known)
            head = await tx.one(ChainHead, "audit_head", chain=client_id)
    found: dict[str, Any] = {
        "v": 1, "origin": origin(app), "client": str(client_id), "made_at": stamp(app.clock.now()),
        "made_by": str(actor.id), "made_by_name": actor.name, "incident": _out(asked.incident_id),
        "about": {"kind": about.kind, "id": str(about.object_id), "secret": about.secret},
        "since": stamp(span.since), "until": stamp(span.until), "since_is": "assumed" if span.assumed else "named",
        "chain": {"seq": head.seq, "hash": head.hash.hex()},
        "state": "incomplete" if span.gaps else "complete", "gaps": span.gaps,
        **said, "provider_usage": metrics,
    }  # fmt: skip
    payload = evidence.exposure_statement(found)
    digest = sha256(payload).hexdigest()
    async with app.db.begin(client_id=client_id) as tx:
        receipt = await record(
            tx, actor, EventName.EXPOSURE_REPORTED, client_id=client_id, object_id=about.object_id, digest=digest,
            since=span.since, until=span.until, count=len(said["reads"]), found=len(span.gaps),
            verification=found["state"], provider=about.secret or None,
            incident=asked.incident_id,
        )  # fmt: skip
    signature, key_id = await app.signer.sign(PURPOSE, evidence.pae(payload))
    signed = evidence.envelope(payload, signature=signature, key_id=key_id)
    return SignedExposure(report=found, digest=digest, seq=receipt.seq, envelope=signed)


async def _subject(app: BrokerApp, actor: Actor, asked: ExposureRequest) -> _Subject:
    named = [one for one in (asked.ref_id, asked.account_id, asked.profile_id) if one is not None]
    verb = Verb.KEY_HISTORY
    if len(named) > 1 or (not named and asked.client_id is None):
        async with recorded(app, actor, verb, client_id=asked.client_id):
            raise Rejected("one_subject", next_step="Give a key, an account, a profile or a client.")
    if asked.ref_id is not None:
        ref = await get_ref(app, actor, asked.ref_id, verb)
        if ref.purpose == "default":
            return _Subject(client_id=ref.client_id, kind="key", object_id=ref.id, secret=ref.provider.value, below="")
        raise Rejected("one_subject", next_step="Give the account of these tokens, or the client.")
    if asked.account_id is not None:
        one = await find(app, actor, verb, PlatformAccount, "exposure_account", asked.account_id)
        place = {"secret": one.platform.value, "below": f"/accounts/{one.id}/"}
        return _Subject(client_id=one.client_id, kind="account", object_id=one.id, **place)
    if asked.profile_id is not None:
        async with command(app, actor, verb, object_id=asked.profile_id) as tx:
            profile = await tx.one(Profile, "profile_get", client_id=None, id=asked.profile_id)
        await permit(app, actor, verb, client_id=profile.client_id)
        place = {"secret": "profile", "below": f"/{profile.id}"}
        return _Subject(client_id=profile.client_id, kind="profile", object_id=profile.id, **place)
    client_id = ClientId(asked.client_id or app.installation_id)
    await permit(app, actor, verb, client_id=client_id)
    return _Subject(client_id=client_id, kind="client", object_id=client_id)


def _span(now: datetime, asked: ExposureRequest, *, assumed: bool) -> _Span:
    until = min(asked.until or now, now)
    since = until - MOST if asked.since is None else asked.since
    if not timedelta() < until - since <= usage.LONGEST:
        step = f"Give a start before the end, at most {usage.LONGEST.days} days earlier."
        raise Rejected("bad_span", next_step=step)
    if not asked.any_span and not LEAST - _SLACK <= until - since <= MOST + _SLACK:
        step = "A report covers 24 to 72 hours. For another span, add `--any-span`."
        raise Rejected("unusual_span", next_step=step)
    return _Span(since, until, assumed=assumed)


_Leases = Mapping[str, Mapping[str, Any]]


async def _leases(tx: Tx, about: _Subject, span: _Span) -> dict[str, dict[str, Any]]:
    """Return the leases that could read it in the span, as on the chain, by id."""
    asked = {"client_id": about.client_id, "since": span.since, "until": span.until, "limit": ROWS + 1}
    rows = await tx.all(dict, "exposure_leases", **asked, before=span.since - _LEASE_LIFE, secret=about.secret)
    return {str(one["lease_id"]): one for one in _fits(rows, most=ROWS)}


async def _store_reads(
    app: BrokerApp, about: _Subject, span: _Span, first: datetime, leases: _Leases
) -> tuple[list[Request], list[Request]]:
    """Return what the store's own log says about reads, and about logins that name one of these leases.

    What the log lacks or cannot tell is a gap.
    """
    found: list[StoreEntry] = []
    whole: dict[str, list[datetime]] = {}
    nodes: set[str] = set()
    try:
        devices = await app.store_audit.devices()
    except Unavailable:
        devices = []
    for device in devices:
        nodes.add(node_of(device.name))
        torn = False
        try:
            async for entry in app.store_audit.entries(device.name, since=span.since - _LEASE_LIFE):
                if entry.at > span.until + ORDER:
                    break
                torn |= entry.kind == TORN
                login = entry.path in LOGINS and entry.lease_header in leases
                if entry.kind != TORN and (login or (span.since <= entry.at < span.until and about.has(entry))):
                    found.append(entry)
                    _fits(found, most=16 * ROWS)
        except Unavailable:
            continue
        if not torn:
            whole.setdefault(node_of(device.name), []).append(device.recording_since or span.until)
    for node in sorted(nodes - whole.keys()) if nodes else [""]:
        span.gap("reads", "store_log_unread", device=node or None)
    for node, begins in whole.items():
        if min(begins) > max(first, span.since) + SETTLE:
            span.gap("reads", "store_log_begins_late", until=min(begins), device=node or None)
    requests, differ = merge(found)
    for one in differ:
        span.gap("reads", one.reason, since=one.at, until=one.at, store_request=one.request_id)
    done = [request for request in requests if not request.refused]
    return [one for one in done if one.path not in LOGINS], [one for one in done if one.path in LOGINS]


async def _known(
    app: BrokerApp, about: _Subject, leases: _Leases, requests: Iterable[Request], logins: Iterable[Request]
) -> KnownToUs:
    """Return the leases that reads name, with the logins that showed their tokens."""
    named = {request.lease_header for request in requests} & leases.keys()
    rows = [
        LeaseRow(
            id=one["lease_id"], client_id=about.client_id, job_id=UUID(one["job_id"]), kind=one["kind"],
            secrets=tuple(one["secrets"]), jwt_iat=one["jwt_iat"], jwt_exp=one["jwt_exp"], issued_at=one["at"],
        )
        for one in (leases[name] for name in sorted(named))
    ]  # fmt: skip
    ttl = timedelta(seconds=app.limits.lease_token_ttl_s)
    known = KnownToUs(leases={one.id: one for one in rows}, token_ttl=ttl)
    matcher = Matcher(app, known, {}, {})
    theirs = [login for login in logins if login.lease_header in named]
    for at in range(0, len(theirs), _TOGETHER):
        await asyncio.gather(*(matcher.explain_login(login) for login in theirs[at : at + _TOGETHER]))
    return known


async def _sections(
    tx: Tx, app: BrokerApp, about: _Subject, span: _Span, requests: Sequence[Request], leases: _Leases,
    known: KnownToUs,
) -> dict[str, Any]:  # fmt: skip
    asked = {"client_id": about.client_id, "since": span.since, "until": span.until, "limit": ROWS + 1}
    grants = await tx.all(dict, "exposure_grants", **asked, secret=about.secret)
    glass = await _under_glass(tx, app, about, span, grants, requests)
    inside = [one for one in leases.values() if one["held"]]
    openings = []
    if about.kind == "profile":
        early = {"before": span.since - AFTER_OPENING, "until": span.until + BEFORE_OPENING}
        openings = await tx.all(dict, "exposure_openings", **asked | early, profile_id=about.object_id)
    for one in await tx.all(dict, "exposure_unrecorded", **asked, secret=about.secret):
        span.gap("reads", "lease_unrecorded", since=one["at"], until=one["at"], lease=one["lease_id"])
    for row in inside:
        if not row["row_there"]:
            span.gap("reads", "lease_row_missing", since=row["at"], until=row["at"], lease=row["lease_id"])
    reads = [_read(one, leases, known, openings, glass) for one in requests if _listed(about, one)]
    for read in reads:
        versioned = read["version"] or read["what"] == "identity_token"
        if why := "read_unexplained" if read["by"] is None else "" if versioned else "version_unknown":
            span.gap("reads", why, since=read["at"], until=read["at"], store_request=read["store_request"])
    shown = [one for one in openings if one["held"] and one["at"] < span.until] if about.kind == "profile" else inside
    _compare(about, span, [one for one in inside if one["at"] >= span.since], requests)
    calls = await _calls(tx, app, about, span, shown)
    for each in (grants, openings, reads, calls):
        _fits(each, most=ROWS)
    return {
        "leases": [_row(one, "seq at lease_id job_id by name kind") for one in shown],
        "grants": [_row(one, "seq at grant_id by name scope") for one in grants], "reads": reads, "calls": calls,
        "totals": {
            "leases_on_chain": len(shown), "reads_at_store": len(reads), "calls": len(calls),
            "readers": len({read["by"] for read in reads} - {None}),
        },
    }  # fmt: skip


def _listed(about: _Subject, request: Request) -> bool:
    read = value_read(request.operation, request.path)
    if read is None or about.below is None:
        return read is not None
    return read[2].startswith(about.below) if about.below else read[2] in ("", IDENTITY)


async def _under_glass(
    tx: Tx, app: BrokerApp, about: _Subject, span: _Span, grants: Sequence[Mapping[str, Any]],
    requests: Iterable[Request],
) -> dict[str, Mapping[str, Any]]:  # fmt: skip
    """Return the reads under break glass: the store's request id -> its grant.

    If a grant was used very often, not every request has its own record: its token identifies the others.
    """
    by_id = {one["grant_id"]: {**one, "job_id": None, "lease_id": None} for one in grants}
    rows = await tx.all(dict, "exposure_grant_reads", client_id=about.client_id, grants=list(by_id))
    found: dict[str, Mapping[str, Any]] = {one["store_request"]: by_id[one["grant_id"]] for one in rows}
    if by_id:
        with suppress(Unavailable, Rejected):  # a device that cannot be reached explains nothing
            devices = [device.name for device in await app.store_audit.devices()]
            theirs = await granted(tx, app, span.since, span.until, devices, {})
            holders = {shown: one.id for one in theirs if one.id in by_id for shown in one.accessors}
            shown_by = {one.id: by_id[holders[one.accessor_hash]] for one in requests if one.accessor_hash in holders}
            found = shown_by | found
    return found


def _read(
    request: Request, leases: _Leases, known: KnownToUs, openings: Sequence[Mapping[str, Any]],
    glass: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:  # fmt: skip
    """Return one read: who, for which job, when and which version; "who" is empty if nothing of ours explains it."""
    read = value_read(request.operation, request.path)
    holder = glass.get(request.id)
    if holder is None and request.lease_header and explain(request, known) is None:
        holder = leases.get(str(as_uuid(request.lease_header) or ""))
    if holder is None and not request.lease_header:
        near = [one for one in openings if -BEFORE_OPENING <= request.at - one["at"] <= AFTER_OPENING]
        holder = near[-1] if near else None
    who = {name: None if holder is None else _out(holder[name]) for name in ("by", "name", "job_id", "lease_id")}
    version = request.version or (holder or {}).get("generation") or 0
    what = "identity_token" if read and read[2] == IDENTITY else "value"
    grant = _out((holder or {}).get("grant_id"))
    return {"at": stamp(request.at), **who, "grant_id": grant, "what": what, "secret": read[1] if read else "",
            "version": version, "store_request": request.id}  # fmt: skip


def _compare(about: _Subject, span: _Span, leases: Iterable[Mapping[str, Any]], requests: Iterable[Request]) -> None:
    """Compare what each holder told of its reads with the store's log; a difference is a gap."""
    seen = Counter(
        (request.lease_header, read[1], read[2] == IDENTITY)
        for request in requests if (read := value_read(request.operation, request.path))
    )  # fmt: skip
    for lease in leases:
        logins, reads = told(lease)
        if lease["kind"] != "use" or logins is None or about.kind in ("account", "profile"):
            continue
        for secret in lease["secrets"] if about.secret == "" else [about.secret]:
            said, own = reads.get(secret, 0), str(lease["lease_id"])
            if said != seen[own, secret, False] or said < seen[own, secret, True]:
                span.gap("reads", "reads_differ", since=lease["at"], until=lease["at"], lease=lease["lease_id"])


async def _calls(
    tx: Tx, app: BrokerApp, about: _Subject, span: _Span, shown: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return permits, and calls that runners reported; missing reports are gaps."""
    asked = {"since": span.since, "until": span.until, "limit": ROWS + 1}
    jobs = [UUID(one["job_id"]) for one in shown if one["job_id"]] if about.kind == "profile" else None
    secret = "" if about.kind == "profile" else about.secret
    rows = await tx.all(dict, "exposure_calls", client_id=about.client_id, secret=secret, jobs=jobs, **asked)
    for one in await tx.all(dict, "usage_untold", ids=[about.client_id], provider=about.secret, **asked):
        if jobs is None or one["job_id"] in jobs:
            span.gap("calls", one["why"], since=one["since"], until=one["until"], lease=one["lease_id"])
    unknown = await usage.unseen(tx, span.since, span.until) + usage.forgotten(app, span.since)
    for gap in unknown:
        span.gap("calls", gap.why, since=gap.since, until=gap.until)
    return [_row(one, "at what provider tool outcome args_digest job_id lease_id by name") for one in rows]


async def _counted(app: BrokerApp, actor: Actor, about: _Subject, span: _Span) -> dict[str, Any]:
    """Return what the providers themselves report for the client's accounts, if they do; what is missing is a gap."""
    providers = [about.secret] if about.kind == "key" else []
    if about.kind == "client":
        async with app.db.begin(client_id=about.client_id) as tx:
            providers = await tx.all(str, "exposure_providers", client_id=about.client_id)
    named = {"since": _hour(span.since), "until": span.until}
    runs = {one: await provider_usage.ask(app, actor, about.client_id, Provider(one), **named) for one in providers}
    if not any(runs.values()):
        return _provider_usage((), span)
    ends = app.clock.monotonic() + provider_usage.WAIT_S  # for all of them: they are asked in parallel
    series, asked_at = list[dict[str, Any]](), dict[str, str]()
    hours = [_hour(span.since) + timedelta(hours=n) for n in range(-(-(span.until - _hour(span.since)) // _ONE_HOUR))]
    for provider, run in runs.items():
        told = "no_source" if run is None else await provider_usage.told(app, actor, run, ends=ends)
        if isinstance(told, str):
            span.gap("provider_usage", told, provider=provider)
            continue
        asked_at[provider] = stamp(told.asked_at)
        for why, those in groupby(hours, key=told.why_not):
            if why:
                first, *_, last = [*(each := list(those)), each[-1]]
                span.gap("provider_usage", why, since=first, until=last + _ONE_HOUR, provider=provider)
        series += [
            {"provider": provider, "model": model, "hour": stamp(at), "hours": told.width // _ONE_HOUR, told.unit: many}
            for model, at, many in told.rows
        ]
    return {"source": "provider", "asked_at": asked_at, "series": series}


async def _by_hand(app: BrokerApp, about: _Subject, figures: Sequence[ProviderFigure], span: _Span) -> dict[str, Any]:
    """Return the figures that a person brought. They name no provider: of a client with several, some are unknown."""
    if about.kind == "client":
        async with app.db.begin(client_id=about.client_id) as tx:
            if len(await tx.all(str, "exposure_providers", client_id=about.client_id)) > 1:
                span.gap("provider_usage", "no_source")
    return _provider_usage(figures, span)


def _provider_usage(figures: Sequence[ProviderFigure], span: _Span) -> dict[str, Any]:
    """Return the provider's own figures; each hour of the span without one is a gap."""
    if not figures:
        span.gap("provider_usage", "no_source")
        return {"source": "none", "series": []}
    series: dict[str, dict[datetime, int]] = {}
    for one in figures:
        refuse_secret("model", one.model)
        known = {one.since + timedelta(hours=n): many for n, many in enumerate(one.requests) if many is not None}
        whole = one.since == _hour(one.since) and all(0 <= many < 2**53 for many in known.values())
        within = all(_hour(span.since) <= hour < span.until for hour in known)
        if not provider_usage.MODEL.match(one.model) or not whole or not within or one.model in series:
            step = "Give each model once (letters, digits and _.:/-), with the requests of whole hours of the span."
            raise Rejected("bad_figures", next_step=step)
        series[one.model] = known
    hour = _hour(span.since)
    while hour < span.until:
        if any(hour not in known for known in series.values()):
            span.gap("provider_usage", "hour_missing", since=hour, until=hour + timedelta(hours=1))
        hour += timedelta(hours=1)
    rows = [(model, hour, many) for model, known in sorted(series.items()) for hour, many in sorted(known.items())]
    return {"source": "by_hand", "series": [
        {"model": model, "hour": stamp(hour), "requests": many} for model, hour, many in rows]}  # fmt: skip


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def _fits(rows: Sequence[Any], *, most: int) -> Sequence[Any]:
    if len(rows) > most:
        raise Rejected("too_many_rows", next_step="Give one credential, or a shorter span with --any-span.", most=most)
    return rows


def _row(row: Mapping[str, Any], names: str) -> dict[str, Any]:
    return {name: _out(row[name]) for name in names.split()}


def _out(value: Any) -> Any:
    if isinstance(value, datetime):
        return stamp(value)
    return str(value) if isinstance(value, UUID) else value
