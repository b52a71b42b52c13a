"""What the tests of the key provider need: a client's KEK at a real OpenBao, and what an outsider may do to it."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from byokeep.core.errors import ByokeepError
from byokeep.core.kek import KekScope, KeyContext
from byokeep.core.model import ClientId, Environment
from byokeep.core.secret import Secret
from byokeep.sealing.transit import TransitKeys
from byokeep.wire.bao_http import BaoHttp
from tests.support.openbao import Bao

HERE = Environment.DEVELOPMENT
DEK = bytes(range(32))


@dataclass
class Case:
    """A client's KEK as its custody sees it, an OpenBao that is away, and what an outsider may do to the key."""

    context: KeyContext
    keys: TransitKeys
    as_client: Callable[[ClientId], TransitKeys]
    of: Callable[[Environment], TransitKeys]
    down: TransitKeys
    as_root: Callable[..., Awaitable[None]]

    @property
    def scope(self) -> KekScope:
        return self.context.scope

    async def disable(self) -> None:
        await self.as_root(("DELETE", "/soft-delete", {}))

    async def delete(self) -> None:
        await self.as_root(("POST", "/config", {"deletion_allowed": True}), ("DELETE", "", {}))


def a_context(**changed: Any) -> KeyContext:
    one = KeyContext(environment=HERE, client_id=ClientId(uuid.uuid4()), profile_id=uuid.uuid4())
    return dataclasses.replace(one, **changed)


def transit_keys(bao: Bao, client: ClientId, environment: Environment = HERE) -> TransitKeys:
    async def login() -> tuple[BaoHttp, Secret, str]:
        return bao.http, await bao.lease(client, "custody", "profile"), "lease-1"

    return TransitKeys(login, environment)


def transit_case(bao: Bao, context: KeyContext) -> Case:
    async def nowhere() -> tuple[BaoHttp, Secret, str]:
        return BaoHttp("unix:///nonexistent/bao.sock"), Secret("s.none"), "lease-1"

    async def as_root(*calls: tuple[str, str, dict[str, object]]) -> None:
        root = await bao.root()
        try:
            for method, below, body in calls:
                path = f"tenant/keys/{context.scope.tenant_kek}{below}"
                await bao.http.request(method, path, token=root, body=body)
        finally:
            await bao.retire(root)

    return Case(
        context=context, keys=transit_keys(bao, context.client_id), as_client=lambda client: transit_keys(bao, client),
        of=lambda environment: transit_keys(bao, context.client_id, environment), down=TransitKeys(nowhere, HERE),
        as_root=as_root,
    )  # fmt: skip


async def code_of(awaited: Awaitable[object]) -> str:
    with pytest.raises(ByokeepError) as caught:
        await awaited
    assert caught.value.__cause__ is None
    return caught.value.code
