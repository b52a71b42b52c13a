"""The names of kill switches and the locks that order an effect and a kill.

Rules
- Whoever acts holds the shared lock of every scope of the act until commit; whoever closes, or suspends a client, takes
  the exclusive one. So when that is acknowledged, no act that saw it open is still uncommitted. (Row locks starved the
  closer; advisory locks are granted in the order in which they are requested.)
- Locks are taken in one order, from wide to narrow, so that they cannot deadlock.
- A missing or unreadable global switch, or one of another installation, counts as closed.
- Calls to the store under these locks have a time limit, because a kill waits for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Final
from uuid import UUID

from byokeep.core.errors import Denied, Rejected, Unavailable, refusing
from byokeep.core.gate import DenyReason, deny
from byokeep.core.model import PLATFORMS, Lane
from byokeep.kernel.ports import Tx
from byokeep.kernel.rows import Row

STORE_WITHIN_S: Final = 2.0  # for calls to the store under held switches or a lock; who waits for one gives up after 3
GLOBAL: Final = "global"
LANES_OF_ALL: Final = frozenset({Lane.BROWSER})  # lanes with a switch for every client at once (runbook 7.3)
BROWSER_LANE: Final = f"lane:{Lane.BROWSER.value}"  # how the names of the browser lane's switches end


def client_scopes(client_id: UUID) -> list[str]:
    """Return the scopes of anything done for a client, wide to narrow."""
    return [GLOBAL, f"client:{client_id}"]


def effect_scopes(client_id: UUID, platform: str, lane: str) -> list[str]:
    """Return the scopes of an effect, wide to narrow."""
    base = f"client:{client_id}"
    return [*_of_all(lane), base, f"{base}:platform:{platform}", f"{base}:lane:{lane}"]


def browser_scopes(client_id: UUID) -> list[str]:
    """Return the scopes of a browser that is open for a client, wide to narrow."""
    return [*_of_all(Lane.BROWSER), f"client:{client_id}", f"client:{client_id}:lane:{Lane.BROWSER.value}"]


def _of_all(lane: str | None) -> list[str]:
    return [GLOBAL, f"lane:{lane}"] if lane in LANES_OF_ALL else [GLOBAL]


@dataclass(frozen=True, slots=True)
class Scope:
    """What a switch stops."""

    name: str
    client_id: UUID | None
    cuts_store: bool  # a whole client or everything: the store itself refuses, too
    platform: str | None = None
    lane: str | None = None

    @property
    def wider(self) -> list[str]:
        """The scopes that contain this one, wide to narrow."""
        if self.name == GLOBAL:
            return []
        own = f"client:{self.client_id}"
        if self.client_id is None or self.name == own:
            return [GLOBAL]
        return [*_of_all(self.name.removeprefix(f"{own}:lane:")), own]


def parse_scope(client_id: UUID | None, platform: str | None, lane: str | None) -> Scope:
    """Build a scope: nothing = global, the browser lane of all clients, a client, a client's platform or lane.

    Raises:
        Rejected: ``bad_scope``.
    """
    lanes = LANES_OF_ALL if client_id is None else set(Lane)
    known = platform is None or (client_id is not None and lane is None and platform in PLATFORMS)
    if not known or (lane is not None and lane not in lanes):
        step = "Name nothing (global), the browser lane, a client, a client and a platform, or a client and a lane."
        raise Rejected("bad_scope", next_step=step)
    named = {"client": client_id, "platform": platform, "lane": lane}
    name = ":".join(f"{kind}:{one}" for kind, one in named.items() if one is not None)
    return Scope(name or GLOBAL, client_id, platform is None and lane is None, platform, lane)


def scope_from_name(name: str) -> Scope:
    """Rebuild a scope from its stored name.

    Raises:
        Rejected: ``bad_scope``.
    """
    words = name.split(":")
    said = dict(zip(words[::2], words[1::2], strict=False))
    with suppress(ValueError):
        client_id = UUID(said["client"]) if "client" in said else None
        if (scope := parse_scope(client_id, said.get("platform"), said.get("lane"))).name == name:
            return scope
    raise Rejected("bad_scope")


@lru_cache(maxsize=4096)
def lock_key(scope: str) -> int:
    """Return the advisory lock key of a scope; the same number as ``byokeep.scope_lock_key`` in the database."""
    return int.from_bytes(sha256(b"byokeep/scope/" + scope.encode()).digest()[:8], "big", signed=True)


async def hold_open(tx: Tx, scopes: list[str], *, at_once: bool = False) -> None:
    """Take the shared locks of ``scopes`` until the transaction ends; waits for a close in progress.

    They are held before the next statement begins, so that it sees what was committed until then.

    Args:
        tx: The transaction.
        scopes: Wide to narrow.
        at_once: Take them before returning, for a caller that then waits for more locks.
    """
    keys = [lock_key(scope) for scope in scopes]
    if at_once:
        await tx.all(None, "switch_lock_shared", keys=keys)
    else:
        await tx.ahead("switch_lock_shared", keys=keys)


async def hold_alone(tx: Tx, scope: Scope) -> None:
    """Lock a scope for change once every decision in it has committed, and keep the wider scopes as they are."""
    if scope.wider:
        await hold_open(tx, scope.wider, at_once=True)  # each wait has its own limit
    await tx.ahead("switch_lock_exclusive", scope=scope.name)


@asynccontextmanager
async def while_held() -> AsyncIterator[None]:
    """Limit the time of calls to the store in the block: whoever closes a switch or wants the held lock waits for its
    end.

    Raises:
        Unavailable: ``store_timeout``.
    """
    with refusing("store_timeout", Unavailable, on=TimeoutError):
        async with asyncio.timeout(STORE_WITHIN_S):
            yield


def switches_open(row: Row) -> bool | None:
    """Read ``switch_known`` and ``switch_engaged`` of a facts row: released, engaged, or None = cannot tell."""
    if row["switch_known"] is not True or not isinstance(row["switch_engaged"], str):
        return None
    return not row["switch_engaged"]


def switch_refusal(row: Row) -> Denied:
    """Return the refusal for the widest engaged switch of a facts row: which it is, why, and who may release it."""
    scope, _, reason = row["switch_engaged"].partition(" ")
    who = "An operator asks to release it (`byokeep kill off`), and an approver approves it."
    step = f"Kill switch {scope} is engaged: {reason}. {who}"
    return Denied(DenyReason.SWITCH_CLOSED.value, next_step=step, scope=scope, reason=reason)


def require_open(row: Row) -> None:
    """Check that every switch of the facts row is open.

    Raises:
        Denied: ``switch_closed`` or ``switch_unknown``.
    """
    if (is_open := switches_open(row)) is None:
        raise deny(DenyReason.SWITCH_UNKNOWN)
    if not is_open:
        raise switch_refusal(row)


def require_working(row: Row) -> None:
    """Check that a job may go on: as :func:`require_open`, and its client is active and the job is open.

    Raises:
        Denied: As :func:`require_open`; ``client_not_active``, ``job_not_open``.
    """
    require_open(row)
    if row["client_active"] is not True:
        raise deny(DenyReason.CLIENT_NOT_ACTIVE)
    if row["job_open"] is not True:
        raise deny(DenyReason.JOB_NOT_OPEN)
