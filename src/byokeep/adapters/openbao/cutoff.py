"""Ports Cutoff and StoreHealth: the store's own switch for one client, at every node; and whether the store serves.

Once the active node has committed a write to the client's entity it refuses the client's live tokens and every new
login. A standby that serves reads may lag (0.1 s was seen), so in a cluster the act is done when every node has applied
the write.

Rules
- Each node is asked for its own view, which is the one that it decides logins and live tokens by.
- A cut-off holds when every node has applied it; or, with a node that cannot be asked, when everything signed before it
  has run out. Until then it is not acknowledged. A release is held up by no node that cannot be asked: it refuses.
- A probe of health asks ``sys/leader``: no token, no entry in the audit logs. A node that is sealed, or knows no active
  node, does not serve. Never probed counts as not serving.
- The decision whether the store serves asks nobody: it looks at the age of the last good answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final
from uuid import UUID

from byokeep.adapters.openbao.login import AppRoleLogin
from byokeep.adapters.openbao.provisioning import LOGIN_PATH
from byokeep.core.errors import ByokeepError, Denied, NotFound, Rejected, Unavailable
from byokeep.core.secret import Secret
from byokeep.kernel.freshness import Freshness
from byokeep.wire.bao_http import BaoHttp


class ProbedStoreHealth:
    """What the last probe of a store said.

    Args:
        http: The store.
        believed_s: For how many seconds a good answer is believed.
        deadline_s: Of one probe, in seconds.
        clock: Seconds that only grow.
    """

    def __init__(
        self, http: BaoHttp, *, believed_s: float = 3.0, deadline_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._http = http
        self._deadline_s, self._clock = deadline_s, clock
        self._answered = Freshness(believed_s, _unreachable)

    async def probe(self) -> None:
        """Ask the store now. Raises Unavailable: it does not serve."""
        asked_at = self._clock()
        reply = await self._http.request("GET", "sys/leader", timeout_s=self._deadline_s)
        if reply.data.get("ha_enabled") is not False and not reply.data.get("leader_address"):
            raise Unavailable("store_no_leader")
        self._answered.proved(asked_at)

    def require(self) -> None:
        """Raise Unavailable (``store_unreachable``) when the last good answer is too old."""
        self._answered.require(self._clock())


def _unreachable() -> Unavailable:
    step = "The secret store does not answer; nothing is served until it does."
    return Unavailable("store_unreachable", next_step=step)


LOOK_AGAIN_S: Final = 0.02


class StoreNodes:
    """Every node of the cluster that a store's address leads to.

    Args:
        login: The broker's identity.
        ca_file: PEM file of the only CA to trust; default the system's.
        outlived_s: Seconds after which no login token and no store token from before a cut-off lives.
        within_s: For how many seconds the nodes are waited for at a time.
        clock: Seconds that only grow.
    """

    def __init__(
        self, login: AppRoleLogin, *, ca_file: Path | None = None, outlived_s: float, within_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._login = login
        self._ca_file = ca_file
        self._outlived_s, self._within_s = outlived_s, within_s
        self._clock = clock
        self._nodes: dict[str, BaoHttp] = {}
        self._cut_off_at: dict[str, float] = {}  # of those not confirmed yet

    async def close(self) -> None:
        """Close all connections."""
        while self._nodes:
            await self._nodes.popitem()[1].close()

    async def confirm(self, entity_id: str, disabled: bool) -> None:
        """Return once every node has applied what was just written.

        Raises:
            Unavailable: ``store_node_behind``: a node has not, or cannot be asked; a cut-off does not hold there yet.
        """
        if not disabled:
            self._cut_off_at.pop(entity_id, None)
            with suppress(ByokeepError, TimeoutError):
                await self._applied(entity_id, disabled=False)
            return
        since = self._cut_off_at.setdefault(entity_id, self._clock())
        try:
            await self._applied(entity_id, disabled=True)
        except (ByokeepError, TimeoutError):
            if self._clock() - since < self._outlived_s:
                raise Unavailable("store_node_behind") from None
        self._cut_off_at.pop(entity_id, None)

    async def _applied(self, entity_id: str, *, disabled: bool) -> None:
        async with asyncio.timeout(self._within_s):
            nodes = await self.all()
            await asyncio.gather(*(self._applied_at(node, entity_id, disabled=disabled) for node in nodes))

    async def _applied_at(self, node: BaoHttp, entity_id: str, *, disabled: bool) -> None:
        while True:
            with suppress(NotFound, Denied):  # a node that is behind may know neither the entity nor our token
                reply = await node.request("GET", f"identity/entity/id/{entity_id}", token=await self._login.token())
                if reply.data.get("disabled") is disabled:
                    return
            await asyncio.sleep(LOOK_AGAIN_S)

    async def all(self) -> list[BaoHttp]:
        """Return every node. Raises Unavailable: a member of the cluster has not told the active node its address."""
        status = await self._login.request("GET", "sys/ha-status")
        addresses = {str(node.get("api_address")) for node in status.data.get("nodes", [])}
        if len(addresses) < await self._members():
            raise Unavailable("store_node_unknown")
        for address in addresses - self._nodes.keys():
            self._nodes[address] = BaoHttp(address, ca_file=self._ca_file, this_node=True)
        return [self._nodes[address] for address in addresses]

    async def _members(self) -> int:
        """How many nodes have a copy of the data, as far as the storage knows; 0 when it is no raft."""
        try:
            reply = await self._login.request("GET", "sys/storage/raft/configuration")
        except (NotFound, Rejected):
            return 0
        servers = (reply.data.get("config") or {}).get("servers")
        if not isinstance(servers, list):
            raise Unavailable("store_garbage")
        return len(servers)


class EntityCutoff:
    """Flips ``disabled`` of a client's entity as the identity ``broker``, and looks at it.

    Args:
        login: The broker's identity.
        confirm: Awaited with the entity id and whether it is disabled; returns once that holds at every node.
    """

    def __init__(self, login: AppRoleLogin, *, confirm: Callable[[str, bool], Awaitable[None]] | None = None) -> None:
        self._login = login
        self._confirm = confirm

    async def enroll(self, jwt: str, lease_id: UUID | None = None) -> str:
        """Log in once with the powerless role ``enroll``, which makes the client's entity; returns its id.

        Raises:
            Denied: ``lease_refused``.
            Unavailable: Not enrolled, or not known whether.
        """
        try:
            reply = await self._login.http.request(
                "POST", LOGIN_PATH, body={"role": "enroll", "jwt": Secret(jwt)},
                lease_header=None if lease_id is None else str(lease_id),
            )  # fmt: skip
        except (Rejected, Denied):
            raise Denied("lease_refused") from None
        return _entity(reply.auth.get("entity_id"), Unavailable("store_garbage"))

    async def disable(self, entity_id: str) -> None:
        """Return only when every token of this entity is refused.

        Raises:
            Rejected: ``bad_entity_id``.
            Unavailable: ``entity_unknown``, or the store did not acknowledge: count the client as not cut off.
        """
        await self._set(entity_id, disabled=True)

    async def enable(self, entity_id: str) -> None:
        """Let the entity log in again. Raises as :meth:`disable`."""
        await self._set(entity_id, disabled=False)

    async def disabled(self, entity_id: str) -> bool | None:
        """Return whether the store refuses this entity; None where the policy does not let us look.

        Raises:
            Rejected: ``bad_entity_id``.
            Unavailable: ``entity_unknown``, ``store_garbage``, or the store did not answer.
        """
        path = f"identity/entity/id/{_entity(entity_id, Rejected('bad_entity_id'))}"
        try:
            found = (await self._login.request("GET", path)).data.get("disabled")
        except Denied:
            return None
        except NotFound:
            raise Unavailable("entity_unknown") from None
        if not isinstance(found, bool):
            raise Unavailable("store_garbage")
        return found

    async def _set(self, entity_id: str, *, disabled: bool) -> None:
        path = f"identity/entity/id/{_entity(entity_id, Rejected('bad_entity_id'))}"
        try:
            await self._login.request("POST", path, body={"disabled": disabled})
        except (Rejected, NotFound):
            raise Unavailable("entity_unknown") from None
        if self._confirm is not None:
            await self._confirm(entity_id, disabled)


def _entity(text: object, error: Exception) -> str:
    try:
        if isinstance(text, str) and str(UUID(text)) == text:
            return text
    except ValueError:
        pass
    raise error
