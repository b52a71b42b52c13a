"""Whether the broker gets its records onto the platform's chain, and who must not go on while it does not.

Rules
- The rounds prove it by what they have to record anyway: each reconciliation and each checkpoint. A start has as long
  for the first of them as there is between two.
- While it cannot, no alert can be raised, so leases and permits fail closed. Kills, withdrawals and the end of jobs
  never ask here.
- The hot path reads a number in memory. It opens again by itself, with the next record.

It may not append anything.
"""

from __future__ import annotations

from typing import Final

from byokeep.core.errors import Unavailable
from byokeep.flows.app import BrokerApp

APPENDED_FOR_S: Final = 90.0  # seconds: one checkpoint and a half, four reconciliations


def appended(app: BrokerApp) -> None:
    """Say that a record on the platform's chain was committed just now."""
    chain = app.platform_chain
    chain.appended_at = max(chain.appended_at, app.clock.monotonic())


def require_appended(app: BrokerApp) -> None:
    """Refuse while the rounds cannot put anything on record.

    Raises:
        Unavailable: ``audit_chain_held``.
    """
    if app.clock.monotonic() - app.platform_chain.appended_at > APPENDED_FOR_S:
        step = (
            "The broker gets no record onto the platform's chain: see who holds a transaction open at the database"
            " (pg_stat_activity), and the alerts. Kills still work."
        )
        raise Unavailable("audit_chain_held", next_step=step, retry_after_s=1)
