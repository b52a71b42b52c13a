"""A client's key-encryption key, as a seal needs it: there, active, and in the period in which it may protect.

Rules
- The first one is made at the first seal, in the inventory before it protects anything (R2.3-3).
- What its row or its period forbids is not sealed with; no other key is taken instead.

It may not rotate: that is a procedure of its own (:mod:`.kek_work`).
"""

from __future__ import annotations

from byokeep.flows.kek_work import prepare
from byokeep.flows.profile_app import Bench


async def ensure(bench: Bench) -> None:
    """Let a seal begin, making the client's key if there is none.

    Raises:
        Rejected: A code of :class:`byokeep.core.kek.KekFault`, ``key_state`` or ``key_period_over``: there is one, and
            it may not be used.
        Integrity: ``kek_unknown_outside``: its holder shows a version that nobody here made.
        Unavailable: Its holder.
    """
    await prepare(bench.app, bench.actor, bench.custody.keys, bench.profile.client_id)
