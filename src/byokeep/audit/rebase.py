"""Whether the database still continues what stands outside it, and how two people let it go on when it does not.

Rules
- An older database put back, an edited one, a chain that is gone: all of it is found here, for what was published and
  what was copied must still stand in the database, byte for byte.
- A rebase forgets nothing: the epochs that do not fit stay where they are, signed. One more epoch says that it
  continues none of them, names every head as it stands, and why; whoever verifies sees it (ADR 0036).
- A rebase is made on the word that opens the global switch, and by nothing else.

It may not change a record, and it mends no chain that is broken in itself: restore the database then.
"""

from __future__ import annotations

from typing import Final

from byokeep.audit.audit import StoredEpoch, compare, microseconds, must_hold, published, sign_epoch
from byokeep.core.audit import ChainHead
from byokeep.core.epoch import LogState, SignedEpoch, heads_data, inconsistent, parse_leaf
from byokeep.core.errors import Integrity
from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.model import Actor
from byokeep.kernel.app import BrokerApp
from byokeep.kernel.ports import Tx

REASON: Final = "checkpoint_mismatch"


async def look(app: BrokerApp) -> None:
    """Compare the database with the last epoch and the last records copied: two questions, whatever the log's length.

    Raises:
        Integrity: ``checkpoint_inconsistent``.
        Unavailable: Database or checkpoint directory.
    """
    epoch, tail = await app.checkpoints.newest()
    async with app.db.begin(every_client=True) as tx:
        if epoch is not None:
            number = parse_leaf(epoch.leaf).epoch
            stored = await tx.all(
                StoredEpoch,
                "audit_epochs_from",
                number=number,
                limit=1,
            )
            if not stored or stored[0].number != number:
                raise inconsistent("database_rolled_back", epoch=number)
            if stored[0].leaf != epoch.leaf:
                raise inconsistent("epoch_differs", epoch=number)
        await must_hold(tx, tail)


async def rebase(app: BrokerApp, actor: Actor) -> bool:
    """Make the database as it stands the new base of the log, if it does not continue what was published.

    Returns:
        False when it does, and nothing was to be done.

    Raises:
        Integrity: What stands outside is broken in itself, or the database holds another log than this one.
        Unavailable: Signer, database or checkpoint directory; nothing was opened, and the next try goes on from there.
    """
    while True:
        async with app.db.begin(every_client=True) as tx:
            await tx.one(None, "audit_epoch_lock")
            state = await published(app)
            if await _fits(app, tx, state):
                return False
            waiting = await tx.all(
                StoredEpoch,
                "audit_epochs_from",
                number=state.size,
                limit=1,
            )
            if waiting:  # committed and not published: an epoch whose line was lost outside, or a rebase cut off
                epoch = SignedEpoch(waiting[0].leaf, waiting[0].heads, b"")
            else:
                await _give_back(app, tx, state)
                epoch = await _rebased(app, tx, state, actor)
        await sign_epoch(app, state, epoch)
        if parse_leaf(epoch.leaf).rebased:
            return True


async def _fits(app: BrokerApp, tx: Tx, state: LogState) -> bool:
    try:
        await compare(tx, state)
        await must_hold(tx, (await app.checkpoints.copied_heads()).values())
    except Integrity:
        return False
    return True


async def _give_back(app: BrokerApp, tx: Tx, state: LogState) -> None:
    """Put the epochs that were published and are lost back into the database, so that it knows of each number."""
    newest = await tx.one(int, "audit_epoch_newest")
    if newest + 1 == state.size:
        return
    number = 0
    async for epoch in app.checkpoints.epochs():
        if newest < number < state.size:
            await tx.one(int, "audit_epoch_insert", number=number, leaf=epoch.leaf, heads=epoch.heads)
        number += 1


async def _rebased(app: BrokerApp, tx: Tx, state: LogState, actor: Actor) -> SignedEpoch:
    heads = await tx.all(ChainHead, "audit_heads")
    leaf = state.next_leaf(heads, at_us=max(microseconds(app.clock.now()), state.at_us), rebased=REASON).data()
    after = state.advance(leaf, heads)
    epoch = SignedEpoch(leaf, heads_data(heads), b"")
    await tx.one(int, "audit_epoch_insert", number=state.size, leaf=leaf, heads=epoch.heads)
    await tx.append(
        Event(
            name=EventName.CHECKPOINT_SIGNED, actor=actor, outcome=Outcome.INTENDED,
            fields={"epoch": after.size - 1, "size": after.size, "count": len(after.heads),
                    "root": after.edge.root().hex(), "reason": REASON},
        )
    )  # fmt: skip
    return epoch
