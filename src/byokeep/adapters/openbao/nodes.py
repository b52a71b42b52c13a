"""The nodes of the store's cluster: whether each of them has applied a change of a client's entity.

Rules
- Each node is asked for its own view, which is the one that it decides logins and live tokens by.
- A cut-off holds when every node has applied it; or, with a node that cannot be asked, when everything signed before it
  has run out. Until then it is not acknowledged.
- A release is held up by no node that cannot be asked: such a node refuses, which is the safe side.

It may not change anything.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from byokeep.adapters.openbao.login import AppRoleLogin
from byokeep.core.errors import ByokeepError, Denied, NotFound, Rejected, Unavailable
from byokeep.wire.bao_http import BaoHttp

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
