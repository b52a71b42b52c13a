"""What closes the gate automatically: a database that lost records, an undone withdrawal, a copied installation.

Rules
- A log that does not continue the one outside the database engages the global kill switch, once. Two people release it,
  and their approval makes the database as it is the new base (:func:`byokeep.audit.log.rebase`).
- What is withdrawn (kill switches, people and machines, clients, tokens) is kept outside the database, with the record
  that withdrew it. While that record is in the database, the database has the last word. If it is gone, an older
  history was restored, and what it withdrew is withdrawn again, on record and with an alert, before the first lease.
- At the start the store is asked, too: a switch is engaged for whomever it refuses while no switch in the database
  does.
- A revoked token needs no record: it never comes back. Nothing is kept about one that has expired.
- An installation that is not where it was made comes up closed, as if by a person: on record, open jobs end, the store
  is cut off, two people open it. A store that the copy only points at belongs to the original, and is left alone.

It may not release or give back anything, or tell a copy from an original that was moved: only a person knows.
"""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import suppress
from typing import Final, TypeVar
from uuid import UUID

from byokeep.audit import log
from byokeep.core.audit import ChainHead
from byokeep.core.errors import Integrity, NotFound, Pending
from byokeep.core.events import EventName
from byokeep.jobs import switches
from byokeep.jobs.switches import COPIED
from byokeep.kernel.app import BrokerApp
from byokeep.kernel.command import open_alert, raise_alert, record
from byokeep.kernel.ports import Tx
from byokeep.kernel.rows import reader
from byokeep.tenancy.scopes import GLOBAL, scope_from_name

REASON: Final = "withdrawal_undone"
_CHANGED: Final = {"operator": EventName.OPERATOR_CHANGED, "machine": EventName.MACHINE_CHANGED}


async def hold(app: BrokerApp) -> int:
    """Save outside what is withdrawn, and withdraw again what came back; returns how many that were.

    Raises:
        Integrity, Unavailable: As the port; or the database.
    """
    async with app.db.begin(every_client=True) as tx:
        standing = await _standing(tx)
        tokens = await tx.all(UUID, "withdrawals_tokens")
    await app.tombstones.withdraw(standing)
    await app.tombstones.add(tokens)
    undone = await _undone(app, standing)
    for what in undone:
        await _again(app, what)
    ids = sorted(await app.tombstones.all())
    back = await app.db.read(UUID, "withdrawals_tokens_back", {"ids": ids}, every_client=True)
    for token in back:
        await _end(app, "token", token)
    if undone:
        async with app.db.begin(every_client=True) as tx:
            await app.tombstones.withdraw(await _standing(tx))
    return len(undone) + len(back)


async def _standing(tx: Tx) -> dict[str, ChainHead]:
    """Return what is withdrawn now, each with its record."""
    return dict(await tx.all(lambda row: (str(row["what"]), reader(ChainHead)(row)), "withdrawals"))


async def _undone(app: BrokerApp, standing: dict[str, ChainHead]) -> list[str]:
    """Return what was saved outside, is no longer withdrawn, and whose record is not in the database."""
    kept = {what: head for what, head in (await app.tombstones.withdrawn()).items() if what not in standing}
    if not kept:
        return []
    heads = list(kept.values())
    async with app.db.begin(every_client=True) as tx:
        at = {"chains": [head.chain for head in heads], "seqs": [head.seq for head in heads]}
        there = set(await tx.all(ChainHead, "audit_at", **at))
    return sorted(what for what, head in kept.items() if head not in there)


async def _again(app: BrokerApp, what: str) -> None:
    kind, _, name = what.partition(":")
    if kind != "switch":
        await _end(app, kind, UUID(name))
        return
    scope = scope_from_name(name)
    with suppress(NotFound):  # a client that does not exist has nothing to stop
        with suppress(Pending):  # it is engaged, and the store is told again
            await switches.engage(app, app.system(), scope, REASON)
        async with app.db.begin(every_client=True) as tx:
            key = f"{REASON}:{name}"
            await open_alert(tx, app, None, reason=REASON, key=key, client_id=scope.client_id)


async def _end(app: BrokerApp, kind: str, one: UUID) -> None:
    """Revoke a token, disable a subject or suspend a client once more."""
    async with app.db.begin(every_client=True) as tx:
        found = await tx.one(lambda row: str(row["kind"] or ""), "withdraw_again", kind=kind, id=one)
        if not found:
            return
        client = one if kind == "client" else None
        name = EventName.CLIENT_SUSPENDED if client else EventName.TOKEN_REVOKED
        fields = {"token": str(one)} if kind == "token" else {}
        name = _CHANGED.get(found, name)
        await record(tx, app.system(), name, fields, client_id=client, object_id=one, reason=REASON)
        about = None if client else one
        await open_alert(tx, app, None, reason=REASON, key=f"{REASON}:{one}", client_id=client, object_id=about)


T = TypeVar("T")
# A place that is gone or was moved says nothing about the database: an alert, and the next checkpoint covers the gap.
_OF_THE_PLACE: Final = frozenset({"file_replaced", "not_our_file"})


async def at_start(app: BrokerApp) -> None:
    """Check everything once, before anything is served.

    Raises:
        Unavailable: It could not be checked; then nothing may be served.
    """
    with suppress(Integrity):  # then the gate is closed, and people are told
        await closing(app, log.look(app))
    await hold(app)
    await switches.follow_store(app)


async def closing(app: BrokerApp, work: Awaitable[T]) -> T:
    """Await a comparison of the database with what is kept outside, and close the gate if they do not match.

    Raises:
        What ``work`` raises; Unavailable: the gate could not be closed.
    """
    try:
        return await work
    except Integrity as error:
        if error.code not in _OF_THE_PLACE:
            await _close(app)
        raise


async def _close(app: BrokerApp) -> None:
    found = await app.db.read(dict, "switch_read", {"scope": GLOBAL})
    if any(row["closed"] and row["reason"] == log.REASON for row in found):
        return
    try:
        with suppress(Pending):  # the row is closed; the broker keeps telling the store
            await switches.engage(app, app.system(), scope_from_name(GLOBAL), log.REASON)
    finally:
        await raise_alert(app, reason=log.REASON, key=log.KEY, severity="critical")


async def close_copy(app: BrokerApp, *, own_store: bool) -> bool:
    """Close the global switch of an installation that is not where it was made, and tell people.

    Args:
        app: The broker's ports, before it serves.
        own_store: Whether the store was copied with it; then the broker's next round disables its entities.

    Returns:
        False if there is no switch yet: this is a first start, and everything counts as closed.

    Raises:
        Unavailable: The database; then nothing may be started.
    """
    async with app.db.begin(every_client=True) as tx:
        await tx.all(None, "switch_lock_exclusive", scope=GLOBAL)
        if await tx.maybe(lambda row: str(row["scope"]), "switch_read", scope=GLOBAL) is None:
            return False
        killed = await tx.one(
            switches.Killed, "switch_close", scope=GLOBAL, client_id=None, reason=COPIED, by=app.installation_id,
            installation_id=app.installation_id, cuts_store=True, cut_off=not own_store,
        )  # fmt: skip
        closed = EventName.SWITCH_CLOSED
        await record(tx, app.system(), closed, scope=GLOBAL, epoch=killed.epoch, reason=COPIED, count=killed.jobs)
        await open_alert(tx, app, None, reason=COPIED, key=switches.COPIED_KEY)
    return True
