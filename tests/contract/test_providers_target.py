"""Where a key may go: own host, TLS, real address; everything else is refused before the header leaves."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from byokeep.adapters.providers.descriptor import DESCRIPTORS, ProviderDescriptor
from byokeep.adapters.providers.identify import identify
from byokeep.core.errors import Rejected
from byokeep.core.secret import Secret
from byokeep.kernel.ports import OutcomeStatus
from byokeep.wire.transport import Outbound, Transport, address_allowed, trusting

PROVIDERS = sorted(DESCRIPTORS)
KEY = "sk-proj-" + "b4T9" * 12


@dataclass
class TlsStub:
    port: int
    trust: ssl.SSLContext
    seen: list[dict[str, str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"


def self_signed(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stub")])
    names: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    names += [x509.DNSName("api.openai.com"), x509.DNSName("api.example.com")]
    now = datetime.datetime.now(datetime.UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = folder / "stub.key"
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    public = folder / "stub.crt"
    public.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    return public, private


@pytest.fixture
async def stub(tmp_path: Path) -> AsyncIterator[TlsStub]:
    public, private = self_signed(tmp_path)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(public, private)
    seen: list[dict[str, str]] = []

    async def models(request: web.Request) -> web.Response:
        seen.append(dict(request.headers))
        return web.json_response({"object": "list", "data": [{"id": "m"}]})

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", models)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server).start()
    yield TlsStub(runner.addresses[0][1], ssl.create_default_context(cafile=str(public)), seen)
    await runner.cleanup()


async def ask(
    base_url: str | None,
    *,
    trust: ssl.SSLContext | None = None,
    allow_loopback: bool = False,
    descriptor: ProviderDescriptor = DESCRIPTORS["openai"],
) -> Any:
    async with Outbound(trust=trust) as http:
        return await identify(
            descriptor,
            Secret(KEY),
            base_url=base_url,
            http=http,
            account_hasher=lambda text: "h",
            allow_loopback=allow_loopback,
            deadline_s=5,
        )


async def test_an_untrusted_certificate_is_a_tls_error_and_no_request_arrives(stub: TlsStub) -> None:
    """A self-signed certificate ends the check before the header is sent; trusting it makes the same call work."""
    outcome = await ask(stub.url, allow_loopback=True)
    assert (outcome.status, outcome.verified) == (OutcomeStatus.TLS_ERROR, False)
    assert (outcome.http_status, outcome.attempts) == (None, 1)
    assert stub.seen == []
    trusted = await ask(stub.url, allow_loopback=True, trust=stub.trust)
    assert trusted.status is OutcomeStatus.VERIFIED
    assert len(stub.seen) == 1


async def test_no_file_that_the_environment_names_gets_the_keys_of_a_session(
    stub: TlsStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With them whoever recorded the traffic reads the secrets in it; the library itself would write them."""
    kept = tmp_path / "keys.log"
    monkeypatch.setenv("SSLKEYLOGFILE", str(kept))
    ours = tmp_path / "stub.crt"
    for context, written in ((trusting(ours), False), (ssl.create_default_context(cafile=ours), True)):
        assert (await ask(stub.url, allow_loopback=True, trust=context)).status is OutcomeStatus.VERIFIED
        assert ("_SECRET" in kept.read_text() or "CLIENT_RANDOM" in kept.read_text()) is written
    for made in (Transport(ca_file=ours), Outbound()):
        assert made._trusted().keylog_filename is None


async def test_a_certificate_for_another_name_is_a_tls_error(stub: TlsStub) -> None:
    """A trusted certificate that names another host does not get the key."""
    outcome = await ask(f"https://localhost:{stub.port}", allow_loopback=True, trust=stub.trust)
    assert outcome.status is OutcomeStatus.TLS_ERROR
    assert stub.seen == []


FORBIDDEN = [
    "https://attacker.example",
    "https://api.openai.com.attacker.example",
    "https://attacker.example/api.openai.com",
    "https://api.openai.com@attacker.example",
    "https://user:pass@api.openai.com",
    "https://169.254.169.254",
    "http://169.254.169.254",
    "https://[fd00:ec2::254]",
    "https://10.0.0.5",
    "https://192.168.1.1",
    "https://[::ffff:169.254.169.254]",
    "https://0.0.0.0",
    "https://2130706433",
    "https://0x7f.1",
    "http://api.openai.com",
    "http://attacker.example",
    "http://127.0.0.1.attacker.example",
    "ftp://api.openai.com",
    "file:///etc/passwd",
    "https://api.openai.com/?key=1",
    "https://api.openai.com#x",
    "https://api.openai.com\\@attacker.example",
    "https://api.openai.com attacker.example",
    "https://api.openai.com\r\nx: y",
    "https://\u0430pi.openai.com",
    "https://[",
    "https://",
    "api.openai.com",
]


@pytest.mark.req("S-OWASP-31")
@pytest.mark.parametrize("base_url", FORBIDDEN)
@pytest.mark.parametrize("allow_loopback", [True, False])
async def test_a_key_goes_to_no_other_host(
    base_url: str, allow_loopback: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An override to another host, a private or metadata address, or plain HTTP is refused without a connection."""
    connected: list[object] = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: connected.append(a) or [])
    with pytest.raises(Rejected) as refused:
        await ask(base_url, allow_loopback=allow_loopback)
    assert refused.value.code in ("host_not_allowed", "bad_base_url")
    assert "attacker" not in str(refused.value)
    assert connected == []


@pytest.mark.req("S-OWASP-31")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.0.0.2"])
async def test_loopback_is_refused_unless_allowed(stub: TlsStub, host: str) -> None:
    """A loopback override, as in production, is refused by default and the stub sees nothing."""
    for scheme in ("http", "https"):
        with pytest.raises(Rejected) as refused:
            await ask(f"{scheme}://{host}:{stub.port}", trust=stub.trust)
        assert refused.value.code == "host_not_allowed"
    assert stub.seen == []


@pytest.mark.req("S-OWASP-31")
@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "10.1.2.3", "100.64.0.1"])
async def test_a_name_that_resolves_inside_is_refused_before_connecting(
    stub: TlsStub, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider name that resolves to an inner address gets no byte, even with a certificate we trust."""
    descriptor = replace(DESCRIPTORS["openai"], base_url=f"https://api.example.com:{stub.port}")
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *a, **k: real(address, *a, **k))
    connected = count_connections(monkeypatch)
    with pytest.raises(Rejected) as refused:
        await ask(None, descriptor=descriptor, trust=stub.trust)
    assert refused.value.code == "host_not_allowed"
    assert (stub.seen, connected) == ([], [])


@pytest.mark.req("S-OWASP-31")
async def test_of_a_names_addresses_the_inner_ones_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that leads to a public address and to an inner one is reached at the public one alone."""
    both = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 443)) for one in ("10.1.2.3", "192.0.2.1", "8.8.8.8")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: both)
    connected = count_connections(monkeypatch)
    outcome = await ask(None)
    assert (outcome.status, outcome.verified) == (OutcomeStatus.PROVIDER_DOWN, False)
    assert connected == ["8.8.8.8"]


def count_connections(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Refuse every connection, and note where it would have gone."""
    tried: list[str] = []

    async def connect(self: asyncio.AbstractEventLoop, sock: socket.socket, address: tuple[str, int]) -> None:
        tried.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(type(asyncio.get_running_loop()), "sock_connect", connect)
    return tried


async def test_the_same_call_works_when_the_address_is_public(stub: TlsStub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address check lets a public address through, so the refusals above are its doing."""
    descriptor = replace(DESCRIPTORS["openai"], base_url=f"https://api.example.com:{stub.port}")
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *a, **k: real("127.0.0.1", *a, **k))
    monkeypatch.setattr("byokeep.wire.transport.address_allowed", lambda address, **_: address == "127.0.0.1")
    outcome = await ask(None, descriptor=descriptor, trust=stub.trust)
    assert outcome.status is OutcomeStatus.VERIFIED
    assert len(stub.seen) == 1


@pytest.mark.parametrize(
    ("address", "outside", "inside"),
    [
        ("8.8.8.8", True, False),
        ("2606:4700::1111", True, False),
        ("127.0.0.1", False, True),
        ("::1", False, True),
        ("::ffff:127.0.0.1", False, True),
        ("169.254.169.254", False, False),
        ("::ffff:169.254.169.254", False, False),
        ("fe80::1%eth0", False, False),
        ("100.64.0.1", False, False),
        ("192.168.0.1", False, False),
        ("224.0.0.1", False, False),
        ("0.0.0.0", False, False),  # noqa: S104 - judged, not bound
        ("64:ff9b::808:808", True, False),  # NAT64, then 6to4, of 8.8.8.8 and of 10.0.0.1, 169.254.169.254, 127.0.0.1
        ("64:ff9b::a00:1", False, False),
        ("64:ff9b::a9fe:a9fe", False, False),
        ("64:ff9b::7f00:1", False, False),
        ("64:ff9b:1::a00:1", False, False),
        ("2002:808:808::1", True, False),
        ("2002:a00:1::1", False, False),
        ("2002:a9fe:a9fe::1", False, False),
        ("2001:0:4136:e378:8000:63bf:f5ff:fffe", False, False),  # Teredo of 10.0.0.1
        ("fec0::1", False, False),
        ("not an address", False, False),
    ],
)
def test_addresses_are_judged_by_what_they_are(address: str, outside: bool, inside: bool) -> None:
    """Public addresses pass for a provider, loopback ones for a simulator, all others for nobody."""
    assert address_allowed(address, loopback=False) is outside
    assert address_allowed(address, loopback=True) is inside
