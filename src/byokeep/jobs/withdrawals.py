"""What was stopped stays stopped, whatever is restored: kill switches, people and machines, clients, tokens.

Rules
- Each is kept outside the database with the record that withdrew it. While that record stands in the database, the
  database knows what came of it later, and has the last word. Where the record is gone, its history was put back, and
  what it withdrew is withdrawn again, on record and with an alert.
- A revoked token needs no record: it never comes back. Of one that has expired nothing is kept.

It may not give anything back.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final
from uuid import UUID

from byokeep.core.audit import ChainHead
from byokeep.core.errors import NotFound, Unavailable
from byokeep.core.events import Event, EventName, Outcome
from byokeep.jobs import switches
from byokeep.kernel.app import BrokerApp
from byokeep.kernel.command import open_alert
from byokeep.kernel.rows import reader
from byokeep.tenancy.scopes import scope_from_name

REASON: Final = "withdrawal_undone"
_CHANGED: Final = {"operator": EventName.OPERATOR_CHANGED, "machine": EventName.MACHINE_CHANGED}


async def hold(app: BrokerApp) -> int:
    """Keep what is withdrawn, and withdraw again what came back; returns how much that was.

    Raises:
        Integrity, Unavailable: As the port says; or the database.
    """
    async with app.db.begin(every_client=True) as tx:
        standing = dict(await tx.all(lambda row: (str(row["what"]), reader(ChainHead)(row)), "withdrawals"))
        tokens = await tx.all(UUID, "withdrawals_tokens")
    await app.tombstones.withdraw(standing)
    await app.tombstones.add(tokens)
    undone = await _undone(app, standing)
    for what in undone:
        await _again(app, what)
    ids = sorted(await app.tombstones.all())
    async with app.db.begin(every_client=True) as tx:
        back = await tx.all(UUID, "withdrawals_tokens_back", ids=ids)
    for token in back:
        await _end(app, "token", token)
    if undone:
        async with app.db.begin(every_client=True) as tx:
            await app.tombstones.withdraw(
                dict(await tx.all(lambda row: (str(row["what"]), reader(ChainHead)(row)), "withdrawals"))
            )
    return len(undone) + len(back)


async def _undone(app: BrokerApp, standing: dict[str, ChainHead]) -> list[str]:
    """What is kept, does not stand, and whose record is not in the database."""
    kept = {what: head for what, head in (await app.tombstones.withdrawn()).items() if what not in standing}
    if not kept:
        return []
    heads = list(kept.values())
    async with app.db.begin(every_client=True) as tx:
        there = set(
            await tx.all(
                ChainHead, "audit_at", chains=[head.chain for head in heads], seqs=[head.seq for head in heads]
            )
        )
    return sorted(what for what, head in kept.items() if head not in there)


async def _again(app: BrokerApp, what: str) -> None:
    kind, _, name = what.partition(":")
    if kind != "switch":
        await _end(app, kind, UUID(name))
        return
    with suppress(NotFound, Unavailable):  # a client that is not there has nothing to stop; the store is told again
        scope = scope_from_name(name)
        await switches.engage(app, app.system(), scope, REASON)
        async with app.db.begin(every_client=True) as tx:
            await open_alert(tx, app, None, reason=REASON, key=f"{REASON}:{name}",
                           client_id=scope.client_id)  # fmt: skip


async def _end(app: BrokerApp, kind: str, one: UUID) -> None:
    """Revoke a token, disable a subject or suspend a client once more."""
    async with app.db.begin(every_client=True) as tx:
        found = await tx.one(lambda row: str(row["kind"] or ""), "withdraw_again", kind=kind, id=one)
        if not found:
            return
        client = one if kind == "client" else None
        name = EventName.CLIENT_SUSPENDED if client else EventName.TOKEN_REVOKED
        fields = {"token": str(one)} if kind == "token" else {}
        await tx.append(
            Event(name=_CHANGED.get(found, name), actor=app.system(), outcome=Outcome.OK, client_id=client,
                  object_id=one, fields={**fields, "reason": REASON})
        )  # fmt: skip
        about = None if client else one
        await open_alert(tx, app, None, reason=REASON, key=f"{REASON}:{one}", client_id=client, object_id=about)
