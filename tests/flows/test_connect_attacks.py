"""The attacks on a consent by their names: each is refused, nothing is stored, and nothing happens at a platform.

Twelve lies of an identity endpoint, on every platform, are in ``test_connect_hostile``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import UUID

import pytest

from byokeep.accounts import maintenance
from byokeep.cli.redirect import Listener
from byokeep.core.model import Provider
from byokeep.core.ref import SecretPart, SecretRef
from byokeep.core.secret import Secret
from tests.support.broker import Person
from tests.support.connect import Office
from tests.support.ports import free_port
from tests.support.social import SECRET

pytest_plugins = [
    "tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web", "tests.support.connect",
]  # fmt: skip


def query_of(begun: dict[str, Any]) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(begun["authorize_url"]).query, strict_parsing=True))


class Scene:
    """An operator who connects ``acme`` on X, and an attacker with an account, a login and a consent of their own."""

    def __init__(self, office: Office, client: UUID, begun: dict[str, Any], attacker: Person) -> None:
        self.office, self.client, self.begun, self.attacker = office, client, begun, attacker

    async def refused(self, said: dict[str, str], code: str, who: str | Person = "operator", **changed: str) -> None:
        """The answer is refused at the door."""
        status, reply = await self.office.bring(self.client, self.begun, said, who=who, **changed)
        assert (status >= 400, reply["code"]) == (True, code), reply

    async def gives_nothing(self, said: dict[str, str]) -> None:
        """The answer is taken, and the platform gives nothing for its code."""
        assert (await self.office.bring(self.client, self.begun, said))[0] == 200
        assert await self.office.finish() == 1
        assert (await self.office.look(self.client, self.begun))["reason"] == "exchange_refused"

    async def own(self) -> dict[str, str]:
        """What the right person's browser brings back."""
        return await self.office.consent(self.begun["authorize_url"], "x")

    async def theirs(
        self, name: str = "attackers", client: UUID | None = None
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """The attacker's own consent, answered with their own account."""
        begun = await self.office.begin(client or self.client, "x", name, who=self.attacker)
        return begun, await self.office.consent(begun["authorize_url"], "x", "bravo")


async def state_replay(scene: Scene) -> None:
    """An answer that ended a consent is brought again, to it and to a newer one of the same account."""
    refused = await scene.office.consent(scene.begun["authorize_url"], "x", deny=True)
    assert (await scene.office.bring(scene.client, scene.begun, refused))[1]["state"] == "failed"
    said = await scene.own()
    await scene.refused(said, "connection_over")
    scene.begun = await scene.office.begin(scene.client, "x")
    await scene.refused(said, "wrong_state")


async def mix_up(scene: Scene) -> None:
    """TikTok's answer, with X's state, at TikTok's address and then at X's; and an issuer that is not X's."""
    office, redeemed = scene.office, (await scene.office.social.calls("x")).get("token")
    tiktok = await office.begin(scene.client, "tiktok", "other")
    said = await office.consent(tiktok["authorize_url"], "tiktok")
    mixed = said | {"state": query_of(scene.begun)["state"]}
    await scene.refused(mixed, "wrong_redirect", redirect=tiktok["redirect_uri"])
    await scene.refused(said, "wrong_state")
    await scene.refused(await scene.own() | {"iss": "https://www.tiktok.com"}, "wrong_issuer")
    assert "token" not in await office.social.calls("tiktok")
    assert (await office.social.calls("x")).get("token") == redeemed


async def code_injection(scene: Scene) -> None:
    """The code of the attacker's consent is put into the right person's answer."""
    _, stolen = await scene.theirs()
    await scene.gives_nothing(await scene.own() | {"code": stolen["code"]})


async def login_csrf(scene: Scene) -> None:
    """The person is made to finish the attacker's consent: state and code fit, the binding and the person do not."""
    begun, said = await scene.theirs()
    mine, scene.begun = scene.begun, begun
    await scene.refused(said, "another_persons_connection")
    await scene.refused(said, "wrong_binding", who=scene.attacker, binding=mine["binding"])
    scene.begun = mine
    await scene.refused(said, "wrong_state")


async def redirect_tamper(scene: Scene) -> None:
    """The browser came to another address than the one that was named, by a letter or by a ``next``."""
    said, right = await scene.own(), scene.begun["redirect_uri"]
    for where in (right + "/", right.upper(), right + "?next=//evil.example", "https://evil.example/x", right + "#a",
                  right.replace("127.0.0.1", "localhost")):  # fmt: skip
        await scene.refused(said, "wrong_redirect", redirect=where)


async def foreign_session(scene: Scene) -> None:
    """The right answer in somebody else's session: a colleague's, another client's operator's, nobody's."""
    said, stand = await scene.own(), scene.office.desk.stand
    await scene.refused(said, "another_persons_connection", who=scene.attacker)
    stranger = stand.subject("operator", "Stranger", clients=(await scene.office.client(),))
    await scene.refused(said, "not_found", who=stranger)
    await scene.refused(said, "not_permitted", who="approver")
    path = f"/v1/clients/{scene.client}/connections/{scene.begun['connection']}/answer"
    assert (await scene.office.desk.call("POST", path, None, raw=b"state=a"))[0] == 401


async def pkce_reuse(scene: Scene) -> None:
    """The verifier of an earlier consent lies where this one's should: it opens nothing a second time, and the
    challenge of each consent is its own."""
    office, place = scene.office, scene.office.place(scene.client, "x", scene.begun["account_id"], "verifier")
    async with office.custody(scene.client, "x") as custody:
        at = await custody.newest(place)
        first: Secret = await custody.read(place, at)
    challenge = query_of(scene.begun)["code_challenge"]
    assert first.reveal().decode() not in json.dumps(scene.begun)  # whoever sees the address can redeem nothing
    scene.begun = await office.begin(scene.client, "x")
    assert query_of(scene.begun)["code_challenge"] != challenge
    verifier = SecretRef(place.client_id, Provider.X, SecretPart.VERIFIER, place.account_id)
    await office.desk.web.intake.put(verifier, Secret(first.reveal()), cas=at + 1)
    await scene.gives_nothing(await scene.own())


ATTACKS: list[Callable[[Scene], Awaitable[None]]] = [
    state_replay, mix_up, code_injection, login_csrf, redirect_tamper, foreign_session, pkce_reuse,
]  # fmt: skip


@pytest.mark.req("S-OAUTH-1", "S-OAUTH-2", "S-OAUTH-3")
@pytest.mark.parametrize("first", [True, False], ids=["first", "again"])
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
async def test_each_attack_is_refused_and_leaves_nothing(
    office: Office, attack: Callable[[Scene], Awaitable[None]], first: bool
) -> None:
    """At a first consent nothing is stored; at a later one the tokens stay as they were. No grant, no effect, no lane,
    no record that says connected; it is on record as refused or failed."""
    client = await office.client()
    before = None if first else await office.connected(client, "x")
    stand = office.desk.stand
    connected = len(stand.events("platform_connected"))
    refusals = refused_so_far(office)
    attacker = stand.subject("operator", "Attacker", clients=(client,))
    scene = Scene(office, client, await office.begin(client, "x"), attacker)
    await attack(scene)
    office.sql(
        "UPDATE byokeep.connection SET expires_at = started_at + interval '1 microsecond' WHERE state = 'started'"
    )
    await maintenance.tend(office.app)
    assert len(stand.events("platform_connected")) == connected
    assert refused_so_far(office) > refusals
    rows = office.sql("SELECT account_id, version FROM byokeep.account_grant").splitlines()
    if before is None:
        await office.nothing_kept(client, "x", scene.begun["account_id"])
        assert rows == []
    else:
        live = await office.live(client, "x", before["account_id"])
        assert live == {"tokens": [1], "access": [1], "code": [], "verifier": []}
        assert rows == [f"{before['account_id']}|1"]
    assert (await office.social.show("effects"))["total"] == 0
    assert office.sql("SELECT count(*) FROM byokeep.platform_account WHERE lanes <> '{}'") == "0"


def refused_so_far(office: Office) -> int:
    stand = office.desk.stand
    return sum(
        len(stand.events(name, outcome))
        for name, outcome in (
            ("connection.answered", "rejected"), ("access.decided", "denied"), ("platform_connect_failed", "failed"),
        )
    )  # fmt: skip


@pytest.mark.req("S-OAUTH-4")
async def test_only_an_exact_address_takes_an_answer_and_sends_nobody_elsewhere(office: Office) -> None:
    """An app's address is https, or http on this machine, without query, fragment or user; the listener at it sends a
    browser to its own clean address whatever ``next`` says, and answers no other host."""
    for uri in ("http://evil.example/x", "https://a.example/x?next=1", "https://a.example/x#f", "ftp://a.example/x",
                "https://user@a.example/x", "//a.example/x", "javascript:alert(1)", "https://a.example",
                "http://127.0.0.1.evil.example/x", "https://a.example/x y", "https://a.example/*"):  # fmt: skip
        path = f"/v1/apps/x?{urlencode({'app_id': 'app', 'redirect_uri': uri})}"
        status, reply = await office.desk.call("PUT", path, "admin", raw=SECRET.encode())
        assert (status, reply["code"]) == (422, "bad_redirect_uri"), uri
    port = free_port()
    uri, state = f"http://127.0.0.1:{port}/x", "s" * 43
    async with Listener(uri, state=Secret(state), binding=Secret("b" * 43)) as listener:
        for target, host in (("//evil.example/x", ""), ("/x?next=//evil.example", ""), ("/x/../y", ""), ("/X", ""),
                             (f"/x2?state={state}&code=c", ""), (f"/x/?state={state}&code=c", ""),
                             (f"/x?state={state}&code=c", "evil.example"),
                             (f"/x?state={state}&state={state}&code=c", "")):  # fmt: skip
            said = await asked(port, target, host or f"127.0.0.1:{port}")
            assert b"location:" not in said.lower(), target
            assert said.split()[1] in (b"400", b"404"), target
        said = await asked(port, f"/x?state={state}&code=c0de&next=//evil.example", f"127.0.0.1:{port}")
        assert b"\r\nLocation: /x/done\r\n" in said
        assert b"evil" not in said
        assert dict(parse_qsl((await listener.answer(limit_s=1, sop="s")).reveal().decode()))["redirect"] == uri


async def asked(port: int, target: str, host: str) -> bytes:
    """What a listener answers to a request as it is written."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    reply = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return reply
