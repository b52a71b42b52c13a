"""Whether a version of a key-encryption key may protect or open something now (S-NIST-2..8).

Rules
- Asked before a data-encryption key is wrapped, and before one is unwrapped: the row's state first, then its periods.
- A version without a row is nobody's: it protects nothing and opens nothing.
"""

from __future__ import annotations

from datetime import datetime

from byokeep.core.errors import Integrity
from byokeep.core.key_periods import may_process, may_protect
from byokeep.flows import kek_book
from byokeep.flows.app import App
from byokeep.flows.kek_book import Kek
from byokeep.ports import Tx


async def check_protect(tx: Tx, app: App, *, holder: str, kek_id: str, version: int) -> Kek:
    """Let a version wrap a new key; returns its row.

    Raises:
        Rejected: ``key_state``; ``key_period_over``; ``key_not_yet_valid``.
        Integrity: ``kek_unknown_outside``.
    """
    kek = await _row(tx, app, holder=holder, kek_id=kek_id, version=version)
    may_protect(kek.state, kek.now, kek.periods)
    return kek


async def check_process(tx: Tx, app: App, *, holder: str, kek_id: str, version: int, protected_at: datetime) -> Kek:
    """Let a version unwrap a key that it wrapped at ``protected_at``; returns its row.

    Args:
        protected_at: When the key was sealed with, as its row says. A version that is younger took it over in a rewrap,
            and counts from its own first day.

    Raises:
        Rejected: ``key_state``; ``key_period_over``; ``protected_in_suspension``; ``protected_outside_period``.
        Denied: ``key_compromised``.
        Integrity: ``kek_unknown_outside``.
    """
    kek = await _row(tx, app, holder=holder, kek_id=kek_id, version=version)
    spans = await kek_book.suspensions(tx, kek)
    may_process(kek.state, kek.now, kek.periods, protected_at=max(protected_at, kek.made_at), suspensions=spans)
    return kek


async def _row(tx: Tx, app: App, *, holder: str, kek_id: str, version: int) -> Kek:
    found = await tx.maybe(Kek, "kek_look", holder=holder, kek_id=kek_id, version=version)
    if found is None or found.environment != app.environment.value:
        raise Integrity("kek_unknown_outside", next_step="No row stands for this key; see `byokeep kek status`.",
                        version=version)  # fmt: skip
    return found
