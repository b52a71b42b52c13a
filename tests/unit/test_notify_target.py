"""A target of messages: a private file, a closed list of schemes, and a child that tells nothing but a code."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from byokeep.adapters.notify import child, target
from byokeep.adapters.notify.target import AppriseTargets
from byokeep.adapters.openbao.login import read_private


@dataclass
class Receiver:
    """A webhook's server that answers as it is told, and keeps what it got."""

    port: int = 0
    answer: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    got: list[bytes] = field(default_factory=list)

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.splitlines() if line.lower().startswith(b"content-l"))
        self.got.append(head + await reader.readexactly(length))
        if self.answer:
            writer.write(self.answer)
            await writer.drain()
        else:
            await reader.read()  # until whoever asks has gone: new Pythons close what nobody holds
        writer.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    server = await asyncio.start_server(made.take, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()


@pytest.fixture
def to(tmp_path: Path) -> Callable[..., Any]:
    """Send a message to an address in a file of this mode."""

    async def send(address: str, *, mode: int = 0o600, production: bool = False) -> str:
        file = tmp_path / "oncall.url"
        file.unlink(missing_ok=True)
        file.touch(mode=mode)
        file.write_text(address + "\n")
        out = AppriseTargets(tmp_path, read=read_private, production=production)
        assert (out.names(), out.mails()) == (["oncall"], False)
        (tmp_path / "portal.url").touch()
        assert (out.names(), out.mails()) == (["oncall"], True)  # which mails contact persons, and gets no alert
        (tmp_path / "portal.url").unlink()
        return await out.send("oncall", "a title", "a body", "failure")

    return send


async def test_a_message_arrives_as_it_was_given(receiver: Receiver, to: Any) -> None:
    """Title and body reach the webhook; a refusal of the webhook, and none at all, are not delivered."""
    address = f"json://127.0.0.1:{receiver.port}/hook"
    assert await to(address) == ""
    head, _, body = receiver.got[0].partition(b"\r\n\r\n")
    said = json.loads(body)
    assert head.startswith(b"POST /hook ")
    assert (said["title"], said["message"], said["type"]) == ("a title", "a body", "failure")
    receiver.answer = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
    assert await to(address) == "not_delivered"
    assert await to("json://127.0.0.1:1/hook") == "not_delivered"


def test_a_process_of_the_release_before_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    """It names nobody to mail, and in an upgrade in place it starts the new file."""
    monkeypatch.setattr("sys.stdin", StringIO(json.dumps(["none://", "a title", "a body", "failure", False])))
    assert child.main() == 4


async def test_a_redirect_is_not_followed_and_no_proxy_is_asked(
    receiver: Receiver, to: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a webhook answers leads nowhere else, and neither does the environment."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    receiver.answer = (
        b"HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:%d/else\r\nContent-Length: 0\r\n\r\n" % receiver.port
    )
    assert await to(f"json://127.0.0.1:{receiver.port}/hook") == "not_delivered"
    assert len(receiver.got) == 1


async def test_a_target_that_hangs_is_given_up(receiver: Receiver, to: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever never answers holds a round for a bounded time, and its child is gone."""
    monkeypatch.setattr(target, "WITHIN_S", 3.0)
    receiver.answer = b""
    assert await to(f"json://127.0.0.1:{receiver.port}/hook") == "target_timeout"


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("discord://1/2", "scheme_not_allowed"),
        ("https://hooks.example/services/1", "scheme_not_allowed"),
        ("file:///etc/passwd", "scheme_not_allowed"),
        ("json://10.0.0.1/hook", "scheme_not_allowed"),
        ("json://localhost.example/hook", "scheme_not_allowed"),
        ("jsons://127.0.0.1:1/hook?verify=no", "bad_target"),
        ("mailtos://a:b@127.0.0.1?to=a@b.example&mode=insecure", "bad_target"),
        ("slack://x", "bad_target"),
        ("", "scheme_not_allowed"),
        ("jsons://[", "scheme_not_allowed"),
    ],
)
async def test_what_is_not_on_the_list_or_not_encrypted_is_refused(to: Any, address: str, code: str) -> None:
    """Another scheme, a host that is not this machine without TLS, a certificate unchecked: nothing is sent."""
    assert await to(address) == code


async def test_plain_addresses_and_open_files_are_refused(receiver: Receiver, to: Any) -> None:
    """In production everything is encrypted; a file that others may read is no secret any more."""
    address = f"json://127.0.0.1:{receiver.port}/hook"
    assert await to(address, production=True) == "scheme_not_allowed"
    assert await to(address, mode=0o644) == "credentials_unsafe"
    assert receiver.got == []


@pytest.mark.parametrize(
    ("address", "code"),
    [("o+tag_1@x.example", "not_delivered"), ("1,b@x.example", "bad_target"), ("a;b@x.example", "bad_target"),
     ("o'b@x.example", "bad_target"), ("<b@x.example", "bad_target"), ('x"b@x.example', "bad_target")],
)  # fmt: skip
async def test_a_mail_goes_to_the_one_mailbox_that_was_named(tmp_path: Path, address: str, code: str) -> None:
    """What the mail program takes for several addresses, or another one, is not sent; there is no server here."""
    file = tmp_path / "portal.url"
    file.touch(mode=0o600)
    file.write_text("mailto://127.0.0.1:1?from=us@x.example")
    assert await AppriseTargets(tmp_path, read=read_private, production=False).mail(address, "title", "body") == code
