"""What each checklist checks (runbook 10): its items as data, each with the probe that answers it.

Rules
- An item is answered by a check made now, or by records since the last sign-off. What could not be checked is unknown.
- An item that is not ok says what to do. If its probe died without an answer, the item's own advice is shown.
- What people review themselves is a list beside the items, with one signature over both.

It may not repair what it finds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID, uuid5

from byokeep.core.backup import QUARTER
from byokeep.core.canonical import canonical_json
from byokeep.core.events import EventName
from byokeep.core.incident import IncidentKind
from byokeep.kernel.app import BrokerApp
from byokeep.kernel.ports import LEAST_FREE_BYTES, Tx
from byokeep.kernel.probes import SKEW_S, Figures, ProbeOutcome, failed, ok, skew_s, unknown
from byokeep.kernel.rows import Row
from byokeep.kernel.worker_rounds import late_rounds
from byokeep.operations import internal
from byokeep.operations.due import AHEAD, DueItem, DueList, read_due

SLOW_S: Final = 1.0  # a login at the store, which is two writes
SCAN_WITHIN: Final = timedelta(hours=24)
LEAST_DAYS: Final = 7  # of usage, before an hour is compared with them
UNUSED: Final = timedelta(days=90)
MOST: Final = 500  # rows of a list
LEAK_ALERTS: Final = ("key_leak_suspected", "leak_scan_found", "shared_value", "kek_compromised")
KEPT_ALERTS: Final = ("orphan_kept", "orphan_not_destroyed", "webhook_secret_not_destroyed")
LEAK_INCIDENTS: Final = (
    IncidentKind.SUSPECTED_LEAK, IncidentKind.TOKEN_COMPROMISED, IncidentKind.ARTIFACT_EXPOSURE,
)  # fmt: skip


class Checklist(StrEnum):
    """How often it is gone through."""

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAccess:
    """Something that lets more be reached than at the last review: a new path, a role, a grant.

    Attributes:
        chain: Whose records it stands in, at the place ``seq``.
        event: What happened; ``by`` did it.
        what: The path, the roles and why they changed, or what the grant is for.
        readers: Of a client's: the machines that can get values for it.
    """

    chain: UUID
    seq: int
    at: datetime
    kind: str
    event: str
    client_id: UUID | None
    object_id: UUID | None
    what: str
    by: UUID
    readers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusedGrant:
    """A client's AI key, a machine that runs or opens jobs, or a person, idle for 90 days; ``words`` stops it.

    A person is idle who neither signed in nor did anything that is on record, whatever tokens they have. Not looked at:
    keys of accounts, other machines, grants of accounts, job templates.
    """

    kind: str
    item: UUID
    client_id: UUID | None
    client: str | None
    name: str
    since: datetime
    words: tuple[str, ...]

    @property
    def command(self) -> str:
        """The command as it is typed."""
        return "byokeep " + " ".join(self.words)


@dataclass(slots=True, kw_only=True)
class ChecklistLook:
    """What a probe has, and where it leaves what people are to read.

    Attributes:
        now: By the database's clock.
        since: The last sign-off of an earlier day, week or month; before the first, the installation.
        said: By item, what its figures count or name: who signs one has not seen another.
    """

    app: BrokerApp
    now: datetime
    since: datetime
    due: DueList | None = None
    access: Sequence[NewAccess] = ()
    unused: Sequence[UnusedGrant] = ()
    said: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Check:
    """An item of a checklist; ``then`` is what to do when its probe cannot say."""

    name: str
    probe: Callable[[ChecklistLook], Awaitable[ProbeOutcome]]
    then: str


async def newest(
    app: BrokerApp, about: UUID, event: EventName, *, fields: Mapping[str, str] = {}, outcome: str = "",
    actor_id: UUID | None = None, before: str = "", tx: Tx | None = None,
) -> Row | None:  # fmt: skip
    """Return the newest record of an event about something, whose fields are those; None = there is none.

    Args:
        tx: A transaction that sees every client: asked in it, on its connection.
    """
    asked = {"installation_id": app.installation_id, "about": about, "event": event.value, "outcome": outcome,
             "fields": canonical_json(dict(fields)).decode(), "actor_id": actor_id, "before": before}  # fmt: skip
    if tx is not None:
        return await tx.maybe(dict, "checklist_last", **asked)
    rows: list[Row] = await app.db.read(dict, "checklist_last", asked, every_client=True)
    return rows[0] if rows else None


async def _vault(look: ChecklistLook) -> ProbeOutcome:
    clock = look.app.clock
    before = clock.now()
    found = await look.app.store_health.look()
    [database] = await look.app.db.read(datetime, "clock_now", {})
    after = clock.now()
    took_ms = round(found.took_s * 1000)
    if found.state != "serving":
        step = "Unseal it, or find out why it has no active node: docs/runbook.md, the store is down."
        return failed("vault", f"store_{found.state}", step)
    if found.took_s > SLOW_S:
        step = f"A write took {took_ms} ms, {SLOW_S:g} s is the bound: look at disk and load of the store's host."
        return failed("vault", "store_slow", step, write_ms=took_ms)
    for name, at, rough in (("store", found.at, timedelta(seconds=1)), ("database", database, timedelta())):
        if (apart_s := skew_s(before - rough, at, after)) > SKEW_S:
            step = f"The clocks of broker and {name} differ. Check that a time service runs on both machines."
            return failed("vault", "clock_skew", step, skew_s=round(apart_s))
    return ok("vault", write_ms=took_ms)


async def _audit_devices(look: ChecklistLook) -> ProbeOutcome:
    devices = await look.app.store_audit.devices()
    bad = [one for one in devices if not one.healthy and one.reason != "disk_low"]
    look.said["audit_devices"] = sorted(f"{one.name} {one.reason}" for one in bad)
    if not devices:
        return failed("audit_devices", "no_audit_device", "Give the store an audit device: docs/openbao-access.md.")
    if bad:
        named = ", ".join(look.said["audit_devices"])
        away = all(one.reason.startswith("store_") for one in bad)  # no probe could be made
        step = "See `byokeep audit health`, and runbook section 8.2 for a device that does not record."
        return (unknown if away else failed)(
            "audit_devices", bad[0].reason, step, devices=len(devices), not_healthy=named
        )
    return ok("audit_devices", devices=len(devices))


async def _disk(look: ChecklistLook) -> ProbeOutcome:
    step = "Free some space on the disk of the store's audit files: a full disk stops the store."
    every = await look.app.store_audit.devices()  # 0 free on a disk that is not low: it could not be looked at
    devices = [one for one in every if one.reason == "disk_low" or one.disk_free_bytes]
    low = [one for one in devices if one.reason == "disk_low" or one.disk_free_bytes < LEAST_FREE_BYTES]
    look.said["disk"] = sorted(one.name for one in low)
    if await look.app.db.read(UUID, "alert_open_of", {"key": "state/reserve"}, every_client=True):
        return failed("disk", "disk_reserve_missing", "Free some space on the disk of the broker.")
    if not devices:
        return unknown("disk", "disk_not_seen", step)
    free = min(one.disk_free_bytes for one in devices) >> 20
    if low:
        return failed("disk", "disk_low", step, free_mib=free)
    return ok("disk", free_mib=free) if len(devices) == len(every) else unknown("disk", "disk_not_seen", step)


async def _leak_alerts(look: ChecklistLook) -> ProbeOutcome:
    step = "Deal with each one: `byokeep alert list`, `byokeep incident list`; runbook sections 7.1 and 7.2."
    return await _none_open(look, "leak_alerts", LEAK_ALERTS, LEAK_INCIDENTS, look.since, step)


async def _kept_orphans(look: ChecklistLook) -> ProbeOutcome:
    step = "See `byokeep alert list`, then `Orphans after a restore` in docs/runbook.md; close those that are done."
    return await _none_open(look, "kept_orphans", KEPT_ALERTS, (), look.now, step)


async def _none_open(
    look: ChecklistLook, item: str, alerts: Iterable[str], incidents: Iterable[IncidentKind], since: datetime, step: str
) -> ProbeOutcome:
    asked = {"reasons": list(alerts), "kinds": [kind.value for kind in incidents], "since": since}
    rows: list[Row] = await look.app.db.read(dict, "checklist_leaks", asked, every_client=True)
    look.said[item] = [str(row["item"]) for row in rows]
    if not rows:
        return ok(item)
    where = _some({row["client"] or "platform" for row in rows})
    return failed(item, rows[0]["reason"], step, found=len(rows), clients=where)


async def _leak_scan(look: ChecklistLook) -> ProbeOutcome:
    step = "Run `byokeep leaks scan PATHS --live --record` over logs, code and shared folders, as an auditor."
    asked = {"installation_id": look.app.installation_id, "since": look.since}
    rows: list[Row] = await look.app.db.read(dict, "checklist_scans", asked, every_client=True)
    standing = [row for row in rows if row["fields"]["result"] != "clean"]
    whole = [row for row in rows if row["fields"]["result"] == "clean" and row["fields"].get("live")]
    scan = next(iter(standing or whole or rows), None)
    if scan is None or (not standing and scan["at"] < look.now - SCAN_WITHIN):
        return unknown("leak_scan", "not_scanned", step)
    told = scan["fields"]
    figures = {name: told.get(name, 0) for name in ("sources", "found", "unknown", "excluded", "known")}
    look.said["leak_scan"] = [*(str(row["seq"]) for row in standing), *(f"{name} {n}" for name, n in figures.items())]
    again = "then scan the same paths again."
    if told["result"] == "findings":
        then = f"Remove and rotate what it found, {again} Runbook section 7.1."
        return failed("leak_scan", "leak_scan_found", then, **figures)
    if standing:
        then = "Make readable what it could not read, replace live keys without fingerprints (`byokeep key add`),"
        then = f"{then} {again}"
        return unknown("leak_scan", "scan_not_whole", f"{then} {step}", **figures)
    if not whole:
        return unknown("leak_scan", "scan_without_live_values", step, **figures)
    return ok("leak_scan", **figures)


async def _usage(look: ChecklistLook) -> ProbeOutcome:
    since = look.since
    rows: list[Row] = await look.app.db.read(dict, "checklist_unusual", {"since": since}, every_client=True)
    look.said["usage"] = [f"{row['client']} {row['provider']}" for row in rows]
    if rows:
        where = _some(look.said["usage"])
        step = "See `byokeep usage`, then see what used the key: `byokeep key used KEY`; runbook section 7.1."
        return failed("usage", "usage_unusual", step, found=len(rows), where=where)
    if "watch_usage" in await late_rounds(look.app.db):
        return unknown("usage", "usage_not_compared", "No worker is comparing hours. See `byokeep doctor`.")
    day = {"since": look.now - timedelta(hours=24)}
    [seen] = await look.app.db.read(dict, "checklist_usage", day, every_client=True)
    if not seen["uses"]:
        return unknown("usage", "no_data", "Nothing was used for a day. Do jobs run? `byokeep usage --since 7d`.")
    if seen["days"] < LEAST_DAYS:
        step = f"It takes {LEAST_DAYS} days to compare with; {seen['days']} are there. Look at `byokeep usage`."
        return unknown("usage", "no_baseline", step, uses=seen["uses"], days=seen["days"])
    return ok("usage", uses=seen["uses"])


async def _due(look: ChecklistLook) -> ProbeOutcome:
    async with look.app.db.begin(every_client=True) as tx:
        look.due = await read_due(tx, look.app.limits, look.now, until=look.now + AHEAD)
    late = [one for one in look.due.items if one.state in ("overdue", "unknown")]
    figures: Figures = {"items": len(look.due.items) + look.due.more, "late": len(late)}
    if look.due.more:
        return unknown("rotation_due", "list_too_long", "Deal with the items listed, then look again.", **figures)
    if late:
        return failed("rotation_due", f"rotation_{late[0].state}", f"{_name(late[0])}: `{late[0].command}`.", **figures)
    return ok("rotation_due", "", **figures)


def _name(one: DueItem) -> str:
    return " ".join(filter(None, (one.client, one.kind.value, one.name)))


async def _access(look: ChecklistLook) -> ProbeOutcome:
    rows: list[Row] = await look.app.db.read(dict, "checklist_access", {"limit": MOST}, every_client=True)
    found = [NewAccess(**{name: row[name] for name in NewAccess.__dataclass_fields__}) for row in rows]
    look.access = sorted(found, key=lambda one: (one.at, str(one.chain), one.seq))
    left = rows[0]["total"] - len(rows) if rows else 0
    if left:
        return unknown("new_access", "list_too_long", "Review and sign these. The rest is shown next.", left=left)
    return ok("new_access", found=len(rows))


async def _unused(look: ChecklistLook) -> ProbeOutcome:
    asked = {"before": look.now - UNUSED, "limit": MOST + 1}
    found = await look.app.db.read(UnusedGrant, "checklist_unused", asked, every_client=True)
    look.unused = found[:MOST]
    if look.unused:
        step = f"Stop what nobody needs any longer: `{look.unused[0].command}`."
        if len(found) > MOST:
            return unknown("unused_grants", "list_too_long", f"{step} Then look again.", found=MOST)
        return failed("unused_grants", "unused_grants", step, found=len(look.unused))
    return ok("unused_grants")


async def _drill(look: ChecklistLook) -> ProbeOutcome:
    app, about = look.app, look.app.installation_id
    if not app.limits.drills:
        step = "Drill the restore by your servers' own methods, and sign with a ticket that names the evidence."
        return unknown("drill", "drill_elsewhere", step)
    last = await newest(app, about, EventName.DRILL_COMPLETED)
    [passed] = await app.db.read(dict, "drill_passed", {}, every_client=True)
    due = (passed["at"] or passed["since"]) + QUARTER
    look.said["drill"] = [str(last["seq"])] if last else []
    figures = {"due_at": f"{due:%Y-%m-%d}", "last": f"{passed['at']:%Y-%m-%d}" if passed["at"] else "none made yet"}
    bad = last if last and last["outcome"] not in ("ok", "intended") else None
    if report := (bad["fields"] if bad else passed).get("digest"):
        figures["report"] = report
    step = "Run `byokeep drill run` on the host."
    if last and last["outcome"] == "intended":
        return unknown("drill", "drill_not_over", f"Wait for the drill that runs. If it was killed: {step}", **figures)
    if bad:
        return failed("drill", "drill_failed", f"Fix what its report names, then run it again. {step}", **figures)
    return failed("drill", "drill_overdue", step, **figures) if due <= look.now else ok("drill", **figures)


async def _internal(look: ChecklistLook) -> ProbeOutcome:
    last = await internal.last(look.app)
    due = last.rotated_at + timedelta(days=internal.EVERY_DAYS)
    look.said["internal_tokens"] = [str(last.running or last.rotated_at.isoformat())]
    figures = {"rotated_at": f"{last.rotated_at:%Y-%m-%d}", "due_at": f"{due:%Y-%m-%d}"}
    step = "Run `byokeep rotate internal` on the host."
    if last.running is not None:
        return failed("internal_tokens", "rotation_not_done", f"It was started but not completed. {step}", **figures)
    if due <= look.now:
        return failed("internal_tokens", "internal_rotation_overdue", step, **figures)
    return ok("internal_tokens", **figures)


def _some(names: Sequence[str] | set[str]) -> str:
    """The first few of some names."""
    few = sorted(names)
    return ", ".join(few[:3]) + (f" and {len(few) - 3} more" if len(few) > 3 else "")


_LOGS: Final = "See the broker's log, then ask again."
CHECKS: Final[Mapping[Checklist, Sequence[Check]]] = {
    Checklist.DAILY: (
        Check("vault", _vault, "Check that the store is running and unsealed, and has disk space: `byokeep doctor`."),
        Check("audit_devices", _audit_devices, "See `byokeep audit health`."),
        Check("disk", _disk, "Check the disks of the store and the broker by hand."),
        Check("leak_alerts", _leak_alerts, _LOGS),
        Check("kept_orphans", _kept_orphans, _LOGS),
        Check("leak_scan", _leak_scan, _LOGS),
        Check("usage", _usage, _LOGS),
    ),
    Checklist.WEEKLY: (
        Check("rotation_due", _due, _LOGS),
        Check("new_access", _access, _LOGS),
        Check("unused_grants", _unused, _LOGS),
    ),
    Checklist.MONTHLY: (Check("drill", _drill, _LOGS), Check("internal_tokens", _internal, _LOGS)),
}  # fmt: skip


def object_of(installation_id: UUID, kind: Checklist) -> UUID:
    """Return what the records of a checklist are about."""
    return uuid5(installation_id, f"checklist/{kind}")
