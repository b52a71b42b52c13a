"""The embedded node: what it is started with, that it survives being killed, and what it refuses to start over."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import signal
import ssl
import stat
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from byokeep.adapters.openbao import embedded
from byokeep.adapters.openbao.embedded import EmbeddedOpenBao, bring_up, socket_path
from byokeep.adapters.openbao.ports import BaoIntake
from byokeep.adapters.openbao.provisioning import Desired
from byokeep.core.errors import Integrity, Rejected, Unavailable
from byokeep.core.model import ClientId, Provider
from byokeep.core.ref import SecretRef
from byokeep.core.secret import Secret
from byokeep.processes.wiring import embedded_store
from byokeep.settings import Settings
from byokeep.wire.bao_http import BaoHttp, read_secret
from tests.support.hang import stop
from tests.support.openbao import Bao, as_in_production, running_openbao

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bao]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded, "spawn", as_in_production)
        async with running_openbao(tmp_path_factory.mktemp("own")) as running:
            yield running


@pytest_asyncio.fixture(loop_scope="session")
async def own(node: Bao) -> Bao:
    """This file's node, started as in production; once more after a test that ended it."""
    if node.server.pid is None:
        await node.server.start()
    return node


async def test_a_killed_node_comes_back_with_its_data_and_a_stale_one_is_ended(own: Bao) -> None:
    """After kill -9 the node is ready again, unattended, with every acknowledged write; so is one whose parent died."""
    intake = BaoIntake(own.web)
    refs = [SecretRef(ClientId(uuid.uuid4()), Provider.OPENAI) for _ in range(10)]
    for number, ref in enumerate(refs):
        await intake.put(ref, Secret(f"v{number}"), cas=0)
    assert own.server.pid is not None
    os.kill(own.server.pid, signal.SIGKILL)
    assert own.server._process.wait() == -signal.SIGKILL
    assert own.server.pid is None
    with pytest.raises(Unavailable, match="store_unreachable"):
        await intake.put(refs[0], Secret("late"), cas=1)
    await own.server.start()
    for number, ref in enumerate(refs):
        token = await own.lease(ref.client_id, "use", "openai")
        assert (await read_secret(own.http, token, ref.path, 1, "lease")).matches(f"v{number}".encode())

    orphan = own.server.pid
    assert orphan is not None
    second = EmbeddedOpenBao(own.server.home)
    (own.server.home / "openbao" / "bao.pid").unlink(missing_ok=True)  # an earlier release's: no number is needed
    await second.start()
    try:
        assert second.pid != orphan
        assert not Path(f"/proc/{orphan}/exe").exists()
        assert not await bring_up(second, own.desired)
        assert await intake.current_version(refs[0]) == 1
    finally:
        await second.stop()


async def test_the_process_has_no_environment_no_core_and_no_open_door(own: Bao) -> None:
    """Empty environment, core limit zero, private files, keys outside the data, and TCP ports that answer nobody."""
    home, pid = own.server.home, own.server.pid
    assert Path(f"/proc/{pid}/environ").read_bytes() == b"HOME=/nonexistent\x00"
    assert re.search(r"Max core file size +0 +0 ", Path(f"/proc/{pid}/limits").read_text())
    assert os.getpgid(pid or 0) == pid
    for path in home.rglob("*"):
        mode = path.lstat().st_mode
        assert not mode & 0o077, path
    assert stat.S_ISSOCK(own.server.socket.lstat().st_mode)
    keys = {path.name for path in (home / "keys").iterdir()}
    assert keys == {"seal.key", "recovery.key"}
    seal = (home / "keys" / "seal.key").read_bytes()
    assert len(seal) == 32
    assert not [path for path in (home / "openbao").rglob("*") if path.is_file() and seal in path.read_bytes()]

    ports = _listening(pid or 0)
    assert ports
    for address, port in ports:
        assert address == "0100007F"  # 127.0.0.1
        context = ssl.create_default_context(cafile=home / "openbao" / "closed-port.pem")
        own_key = home / "openbao" / "closed-port.key"
        for certificate in (False, True):
            if certificate:
                context.load_cert_chain(home / "openbao" / "closed-port.pem", own_key)
            with pytest.raises(ssl.SSLError, match="ALERT"):  # the server's word, not ours
                await _ask(port, context)


async def _ask(port: int, context: ssl.SSLContext) -> bytes:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname="closed-port.invalid"
    )
    try:
        writer.write(b"GET /v1/sys/health HTTP/1.1\r\nHost: x\r\n\r\n")
        return await reader.readexactly(12)
    finally:
        writer.close()


def _listening(pid: int) -> list[tuple[str, int]]:
    inodes = {str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    found = []
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
            address, port = fields[1].split(":")
            found.append((address, int(port, 16)))
    return found


async def test_an_unknown_binary_is_not_started(tmp_path: Path) -> None:
    """A program that is not the pinned one, or none at all, is never run."""
    ran = tmp_path / "ran"
    fake = tmp_path / "bao"
    fake.write_text(f"#!/bin/sh\ntouch {ran}\n")
    fake.chmod(0o755)
    with pytest.raises(Integrity, match="openbao_binary_unknown"):
        await EmbeddedOpenBao(tmp_path / "home", binary=fake).start()
    with pytest.raises(Unavailable, match="openbao_binary_missing"):
        await EmbeddedOpenBao(tmp_path / "home", binary=tmp_path / "none").start()
    digest = hashlib.sha256(fake.read_bytes()).hexdigest()
    for other in (digest[::-1], embedded.PINS[0].sha256):
        with pytest.raises(Integrity, match="openbao_binary_unknown") as caught:
            await EmbeddedOpenBao(tmp_path / "home", binary=fake, sha256=other).start()
        assert (caught.value.fields["sha256"], "store_program_sha256" in caught.value.next_step) == (digest, True)
    assert not ran.exists()
    with pytest.raises(Unavailable, match="openbao_exited"):  # the operator's own is run: this one ends by itself
        await EmbeddedOpenBao(tmp_path / "home", binary=fake, sha256=digest).start()
    assert ran.exists()
    assert len({pin.sha256 for pin in embedded.PINS}) == len(embedded.PINS)


async def test_a_missing_seal_key_is_not_made_anew_over_old_data(own: Bao) -> None:
    """Losing the seal key stops the start with a clear code, and putting it back mends it."""
    key = own.server.home / "keys" / "seal.key"
    content = key.read_bytes()
    await own.server.stop()
    key.unlink()
    with pytest.raises(Integrity, match="seal_key_missing"):
        await own.server.start()
    assert not key.exists()
    key.write_bytes(content)
    for mode in (0o644, 0o640, 0o604):
        key.chmod(mode)
        with pytest.raises(Rejected, match="seal_key_too_open") as caught:
            await own.server.start()
        assert "chmod 600" in caught.value.next_step
    key.chmod(0o600)
    await own.server.start()
    assert not await bring_up(own.server, own.desired)


async def test_a_first_start_cut_short_is_begun_again(tmp_path: Path) -> None:
    """A crash between initialising and provisioning leaves no usable store; the next start makes one as it is set."""
    server = EmbeddedOpenBao(tmp_path)
    await server.start()
    lost = server.initial_root
    assert lost is not None
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    server._process.wait()
    kept = tmp_path / "kept"
    again = embedded_store(Settings(home=tmp_path, credentials_dir=str(kept)))
    await again.start()
    try:
        assert await bring_up(again, Desired(installation_id=uuid.uuid4()))
        assert (kept / "web.approle").exists(), "where the processes of these settings look for it"
        assert not again.unfinished.exists()
        assert len(list((tmp_path / "openbao").glob("data.unfinished-*"))) == 1
        async with BaoHttp(again.address) as http:
            with pytest.raises(Exception, match="store_denied"):
                await http.request("GET", "sys/mounts", token=lost)
    finally:
        await again.stop()


async def test_stop_ends_a_node_that_hangs(own: Bao, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that does not answer SIGTERM is killed after the deadline."""
    from byokeep.adapters.openbao import embedded

    monkeypatch.setattr(embedded, "STOP_S", 0.2)
    assert own.server.pid is not None
    stop(own.server.pid)
    await own.server.stop()
    assert own.server._process.wait() == -signal.SIGKILL
    assert own.server.pid is None


async def test_homes_that_cannot_be_written_into_a_config_are_refused() -> None:
    """Quotes, braces, spaces, newlines, relative paths: refused. A long home gets a short socket path."""
    for bad in ("home", '/a"b', "/a${b}", "/a b", "/a\nb", "/a\\b"):
        with pytest.raises(Rejected, match="bad_home"):
            EmbeddedOpenBao(Path(bad))
    short, long = Path("/srv/byokeep"), Path("/srv/" + "x" * 120)
    assert socket_path(short) == short / "openbao" / "bao.sock"
    assert len(os.fsencode(socket_path(long))) < 100
    assert socket_path(long) != socket_path(Path("/srv/" + "y" * 120))


async def test_a_long_home_works_too(tmp_path: Path) -> None:
    """The node listens at a short private path when its home is too deep for a socket."""
    home = tmp_path / ("long-" * 20)
    home.mkdir(mode=0o700)
    server = EmbeddedOpenBao(home)
    await server.start()
    try:
        assert not str(server.socket).startswith(str(home))
        directory = server.socket.parent
        assert directory.stat().st_mode & 0o777 == 0o700
        async with BaoHttp(server.address) as http:
            assert (await http.request("GET", "sys/health")).status == 200
    finally:
        await server.stop()
    for left in directory.iterdir():
        left.unlink()
    directory.rmdir()
