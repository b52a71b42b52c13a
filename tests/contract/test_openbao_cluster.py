"""Three real nodes whose standbys serve reads: a kill holds on each, and whoever writes reads what was written."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from byokeep.adapters.openbao.audit import OTHER_NODE, FileStoreAudit
from byokeep.adapters.openbao.login import AppRoleLogin
from byokeep.adapters.openbao.ports import EntityCutoff, StoreNodes, TransitSigner
from byokeep.adapters.openbao.provisioning import Desired, provision
from byokeep.core.errors import ByokeepError, Denied, Unavailable
from byokeep.core.secret import Secret
from byokeep.wire.bao_http import BaoHttp, lease_login, read_secret
from tests.support.cluster import Cluster, running_cluster
from tests.support.hang import hung
from tests.support.openbao import lease_claims

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]
VALUE = "value-of-openai-0123456789"


@asynccontextmanager
async def balancer(cluster: Cluster) -> AsyncIterator[str]:
    """An address that gives each request to the next node, and names no active node."""
    turn = 0

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal turn
        with suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            body = await reader.readexactly(int(length[1])) if length else b""
            turn += 1
            if b" /v1/sys/leader " in head:
                writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            else:
                port = int(cluster.nodes[turn % len(cluster.nodes)].address.rpartition(":")[2])
                answer, there = await asyncio.open_connection("127.0.0.1", port)
                there.write(head + body)
                writer.write(await answer.read())
                there.close()
        writer.close()

    server = await asyncio.start_server(forward, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@dataclass
class Provisioned:
    """The cluster, provisioned; each node as itself, and the broker, which was told a standby's address."""

    cluster: Cluster
    desired: Desired
    nodes: list[BaoHttp]
    broker: AppRoleLogin
    signer: TransitSigner
    place: Path

    async def login(self, node: BaoHttp, client: uuid.UUID) -> Secret:
        """Log in with a fresh lease at one node."""
        jwt = Secret(await self.signer.sign_jwt(lease_claims(self.desired, client, "use", ("openai",))))
        return await lease_login(node, jwt, "use-openai")

    async def client(self) -> tuple[uuid.UUID, str]:
        """A client with a key, known at every node; returns it and its entity."""
        client = uuid.uuid4()
        jwt = await self.signer.sign_jwt(lease_claims(self.desired, client, "enroll"))
        entity = await EntityCutoff(self.broker).enroll(jwt)
        web_login = AppRoleLogin(self.nodes[0], self.place / "web.approle")
        body = {"options": {"cas": 0}, "data": {"value": VALUE}}
        await web_login.request("POST", f"kv/data/clients/{client}/providers/openai", body=body)
        await web_login.close()
        return client, entity

    async def reads(self, node: BaoHttp, client: uuid.UUID, token: Secret) -> bool:
        """Whether a node gives the value to this token now."""
        try:
            return (await read_secret(node, token, f"kv/clients/{client}/providers/openai", 1, None)).matches(
                VALUE.encode()
            )
        except ByokeepError:
            return False


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Provisioned]:
    """The cluster as `byokeep init` leaves it; all of its requests went over a balancer."""
    place = tmp_path_factory.mktemp("c")
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(running_cluster(place))
        desired = Desired(installation_id=uuid.uuid4())
        address = await stack.enter_async_context(balancer(cluster))
        for where in (address, address, cluster.standbys[0].address):  # on a fresh store, and again
            async with BaoHttp(where, timeout_s=10) as http:
                await provision(http, cluster.root, desired, credentials_dir=place / "credentials")
        nodes = [await stack.enter_async_context(_one(node.address)) for node in cluster.nodes]
        http = await stack.enter_async_context(BaoHttp(cluster.standbys[0].address, timeout_s=5))
        broker = AppRoleLogin(http, place / "credentials" / "broker.approle")
        stack.push_async_callback(broker.close)
        yield Provisioned(cluster, desired, nodes, broker, TransitSigner(broker), place / "credentials")


def _one(address: str) -> BaoHttp:
    return BaoHttp(address, timeout_s=5, this_node=True)


async def test_who_was_told_a_standby_reads_what_it_wrote(site: Provisioned) -> None:
    """With a standby's address, or a balancer's, each read that follows a write sees it."""
    async with balancer(site.cluster) as balanced:
        for address in (site.cluster.standbys[1].address, balanced):
            async with BaoHttp(address, timeout_s=5) as http:
                login = AppRoleLogin(http, site.place / "web.approle")
                for _ in range(10):
                    path = f"clients/{uuid.uuid4()}/providers/openai"
                    body = {"options": {"cas": 0}, "data": {"value": VALUE}}
                    await login.request("POST", f"kv/data/{path}", body=body)
                    found = await login.request("GET", f"kv/metadata/{path}")
                    assert found.data["current_version"] == 1
                await login.close()


async def test_an_acknowledged_cut_off_holds_on_every_node(site: Provisioned) -> None:
    """A read or a login that begins after the acknowledgement is refused by each node; so it is after a release."""
    nodes = StoreNodes(site.broker, outlived_s=600)
    cutoff = EntityCutoff(site.broker, confirm=nodes.confirm)
    client, entity = await site.client()
    await cutoff.enable(entity)
    try:
        for _ in range(10):
            tokens = await asyncio.gather(*(site.login(node, client) for node in site.nodes))
            read = [site.reads(node, client, token) for node, token in zip(site.nodes, tokens, strict=True)]
            assert await asyncio.gather(*read) == [True, True, True], "the first reads after a release"
            await cutoff.disable(entity)
            read = [site.reads(node, client, token) for node, token in zip(site.nodes, tokens, strict=True)]
            assert await asyncio.gather(*read) == [False, False, False]
            for node in site.nodes:
                with pytest.raises(Denied, match="lease_refused"):
                    await site.login(node, client)
            await cutoff.enable(entity)
    finally:
        await nodes.close()


async def test_a_kill_of_several_asks_once_which_nodes_there_are(
    site: Provisioned, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many clients it cuts off; each holds on every node."""
    nodes, asked, real = StoreNodes(site.broker, outlived_s=600), 0, StoreNodes.all

    async def counted(self: StoreNodes) -> Any:
        nonlocal asked
        asked += 1
        return await real(self)

    monkeypatch.setattr(StoreNodes, "all", counted)
    cutoff = EntityCutoff(site.broker, confirm=nodes.confirm)
    made = [await site.client() for _ in range(3)]
    try:
        await cutoff.disable(*(entity for _, entity in made))
        assert asked == 1
        for client, _ in made:
            for node in site.nodes:
                with pytest.raises(Denied, match="lease_refused"):
                    await site.login(node, client)
    finally:
        await nodes.close()


async def test_a_node_that_says_nothing_holds_up_a_cut_off_until_all_has_run_out(site: Provisioned) -> None:
    """A frozen standby: not acknowledged, until whatever was signed before is dead anyway; a release waits for none."""
    now = 100.0
    nodes = StoreNodes(site.broker, outlived_s=6.0, within_s=0.5, clock=lambda: now)
    cutoff = EntityCutoff(site.broker, confirm=nodes.confirm)
    _, entity = await site.client()
    with hung(site.cluster.standbys[1].process.pid):
        with pytest.raises(Unavailable, match="store_node_behind"):
            await cutoff.disable(entity)
        now += 5.9
        with pytest.raises(Unavailable, match="store_node_behind"):
            await cutoff.disable(entity)
        now += 0.2
        await cutoff.disable(entity)
        with pytest.raises(Unavailable, match="store_node_behind"):
            await cutoff.disable(entity)  # another one counts from its own beginning
        await cutoff.enable(entity)
    await cutoff.disable(entity)
    await nodes.close()


async def test_every_node_is_probed_in_its_own_audit_files(site: Provisioned) -> None:
    """What each node answers stands in its files and in no other's; a node that is not named is never healthy."""
    nodes = StoreNodes(site.broker, outlived_s=6.0)
    files = {
        f"n{number}/{device}": node.place / f"audit-{device}.jsonl"
        for number, node in enumerate(site.cluster.nodes)
        for device in "ab"
    }
    try:
        found = await FileStoreAudit(site.broker, files, nodes=nodes.all, deadline_s=30.0, min_free_bytes=1).devices()
        assert {device.name: (device.reason, device.records) for device in found} == dict.fromkeys(files, ("", True))
        named = {name: path for name, path in files.items() if not name.startswith("n2/")}
        audit = FileStoreAudit(site.broker, named, nodes=nodes.all, deadline_s=0.3, min_free_bytes=1)
        *_, other = await audit.devices()
        assert (other.name, other.healthy, other.reason) == (OTHER_NODE, False, "node_not_named")
    finally:
        await nodes.close()
