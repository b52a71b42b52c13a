"""Our app at a platform while accounts are being connected: it is not exchanged, and no secret goes with another's id.

Real store and database, simulated platforms.
"""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import pytest

from byokeep.accounts import connect, maintenance
from byokeep.accounts.model import OAuthGrant
from byokeep.accounts.refresher_app import opened
from byokeep.core.errors import Denied, Unavailable
from byokeep.core.model import Provider
from byokeep.core.ref import AppRef
from byokeep.core.sealed_record import KEPT
from byokeep.tenancy import scopes
from tests.support.connect import Office, back
from tests.support.social import SECRET

pytest_plugins = [
    "tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web", "tests.support.connect",
]  # fmt: skip


async def name_app(
    office: Office, app_id: str, raw: bytes = b"another-app-secret-9876543210", who: str = "admin"
) -> tuple[int, Any]:  # fmt: skip
    """Name an app at X, as an admin does."""
    query = urlencode({"app_id": app_id, "redirect_uri": back("x")})
    return await office.desk.call("PUT", f"/v1/apps/x?{query}", who, raw=raw)


async def test_a_session_is_no_app_s_secret(office: Office) -> None:
    """A browser's session that is pasted as one is refused and stored nowhere; who may not name an app is told that."""
    before = office.sql("SELECT secret_version FROM byokeep.platform_app WHERE login = 'x'")
    session = b"auth_token=%s; ct0=%s" % (b"9f8e7d6c5b4a3928", b"1706f5e4d3c2b1a0")
    for who, code in (("admin", "use_profile_vault"), ("operator", "not_permitted")):
        assert (await name_app(office, "app", session, who))[1]["code"] == code
    assert office.sql("SELECT secret_version FROM byokeep.platform_app WHERE login = 'x'") == before


@pytest.mark.parametrize("how_far", ["started", "answered", "taken"])
async def test_no_other_app_is_named_while_a_consent_is_under_way(office: Office, how_far: str) -> None:
    """Another app is refused until the consent has ended; then the present one's secret may still be exchanged."""
    client = await office.client()
    begun = await office.begin(client, "x")
    if how_far != "started":
        said = await office.consent(begun["authorize_url"], "x")
        await office.bring(client, begun, said)
    office.sql(f"UPDATE byokeep.connection SET state = '{how_far}'")  # noqa: S608 - a word of this file
    status, reply = await name_app(office, "other")
    assert (status, reply["code"]) == (409, "app_in_use")
    assert office.sql("SELECT app_id FROM byokeep.platform_app WHERE login = 'x'") == "app"
    assert (await name_app(office, "app"))[0] == 200
    office.sql("UPDATE byokeep.connection SET state = 'expired', ended_at = now()")
    assert (await name_app(office, "other"))[0] == 200


async def test_a_consent_that_nobody_answered_in_time_holds_no_app(office: Office) -> None:
    """Its time is up, and the sweep has not come by yet: another app may be named."""
    client = await office.client()
    await office.begin(client, "x")
    office.sql("UPDATE byokeep.connection SET started_at = now() - interval '12 minutes',"
               " expires_at = now() - interval '2 minutes'")  # fmt: skip
    assert (await name_app(office, "other"))[0] == 200


async def test_what_came_of_another_app_is_not_recorded(office: Office) -> None:
    """The app is another one by the time the tokens are to be recorded: nothing is stored."""
    client = await office.client()
    begun = await office.begin(client, "x")
    said = await office.consent(begun["authorize_url"], "x")
    await office.bring(client, begun, said)
    real = office.app.platform

    def changed(at: Any, secret: Any) -> Any:
        office.sql("UPDATE byokeep.platform_app SET app_id = 'other' WHERE login = 'x'")
        return real(at, secret)

    object.__setattr__(office.app, "platform", changed)
    await office.finish()
    done = await office.look(client, begun)
    assert (done["state"], done["reason"]) == ("failed", "app_changed")
    await office.nothing_kept(client, "x", begun["account_id"])


async def test_no_secret_is_shown_with_the_id_of_another_app(office: Office) -> None:
    """A grant of another app is neither looked at nor ended with our secret; its tokens are destroyed unproved."""
    client = await office.client()
    done = await office.connected(client, "x")
    office.sql("UPDATE byokeep.platform_app SET app_id = 'other' WHERE login = 'x'")
    shown: list[Any] = []
    object.__setattr__(office.app, "platform", lambda at, secret: shown.append((at, secret)))
    same = {"client_id": client, "account_id": UUID(done["account_id"])}
    async with office.app.db.begin(client_id=client) as tx:
        grant = await tx.one(OAuthGrant, "grant_of", **same)
    with pytest.raises(Denied, match="app_changed"):
        async with opened(office.app, grant):
            raise AssertionError("opened")
    assert (await office.act(client, "x", "disconnect"))[0] == 200
    await maintenance.end_disconnected(office.app)
    now = await office.state(client, "x")
    assert (now["state"], now["reason"]) == ("disconnected", "unconfirmed")
    assert not any((await office.live(client, "x", done["account_id"])).values())
    assert shown == []
    assert SECRET not in office.sql("SELECT * FROM byokeep.account_grant")


async def test_what_was_not_recorded_pushes_no_secret_out_of_the_store(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More secrets than the store keeps of a place reach it, none of them recorded: the one in use is still there."""
    assert (await name_app(office, "app"))[0] == 200
    place = AppRef(Provider.X, "x")
    used = await office.desk.web.intake.current_version(place)

    async def away(*_: Any, **__: Any) -> Any:
        raise Unavailable("database_unavailable")

    with monkeypatch.context() as patched:
        patched.setattr(connect, "record", away)
        for _ in range(KEPT + 1):
            assert (await name_app(office, "app"))[0] == 503
    assert used in await office.desk.web.intake.live_versions(place)


async def test_a_store_that_hangs_keeps_nobody_from_the_apps(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the store takes one app's secret and never ends, who begins a consent waits a while, not in vain."""
    client, intake, hanging = await office.client(), office.desk.web.intake, asyncio.Event()
    whole = intake.put

    async def hang(place: Any, value: Any, *, cas: int) -> Any:
        if isinstance(place, AppRef):
            hanging.set()
            await asyncio.Event().wait()
        return await whole(place, value, cas=cas)

    monkeypatch.setattr(intake, "put", hang)
    monkeypatch.setattr(scopes, "STORE_WITHIN_S", 1.0)
    naming = asyncio.create_task(name_app(office, "app"))
    hung = asyncio.create_task(hanging.wait())
    await asyncio.wait((naming, hung), return_when=asyncio.FIRST_COMPLETED)
    assert hung.done(), naming.result()
    await office.begin(client, "x")
    status, reply = await naming
    assert (status, reply["code"]) == (503, "store_timeout")
