"""Leases for connected accounts: which tokens a job gets, a newer one for an expired one, and who may ask."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from byokeep.accounts import recovery
from byokeep.cli import job as cli_job
from byokeep.client import lease as client_lease
from byokeep.core.errors import Denied, Rejected, Unavailable
from byokeep.core.events import EventName
from byokeep.kernel.command import record
from tests.support.broker import Stand, reconciled
from tests.support.connected import connect, put_access
from tests.support.postgres_rows import state_rows

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker"]


@pytest.mark.req("S-OWASP-4")
async def test_a_job_gets_the_access_token_of_each_usable_account(stand: Stand) -> None:
    """Named x/ACCOUNT, pinned to its part and version; lost, unverified, unwritten, expired ones are left out."""
    client = await stand.client("openai")
    names = ("acme", "beta", "lost", "failed", "empty", "late")
    made = {name: await connect(stand, client, "x", name) for name in names}
    await connect(stand, client, "tiktok", "acme")
    stand.db.sql(
        f"UPDATE byokeep.account_grant SET access_version = 3 {made['beta'].where};"
        f"UPDATE byokeep.account_grant SET state = 'needs_reauth' {made['lost'].where};"
        f"UPDATE byokeep.account_grant SET access_version = 0 {made['empty'].where};"
        f"UPDATE byokeep.credential_ref SET verification = 'failed' {made['failed'].where};"
        f"UPDATE byokeep.credential_ref SET expires_at = now() {made['late'].where}"
    )
    other = await stand.client()
    await connect(stand, other, "x", "foreign")
    lease = await stand.lease(await stand.job(client, secrets=["openai", "x"]))
    base = f"kv/clients/{client}/providers"
    assert lease["secrets"] == {
        "openai": {"path": f"{base}/openai", "version": 1},
        "x/acme": {"path": f"{base}/x/accounts/{made['acme'].id}/access", "version": 1},
        "x/beta": {"path": f"{base}/x/accounts/{made['beta'].id}/access", "version": 3},
    }
    assert lease["store"]["roles"] == {"openai": "use-openai", "x/acme": "use-x", "x/beta": "use-x"}
    stand.db.sql("UPDATE byokeep.account_grant SET state = 'revoked' WHERE provider = 'x'")
    job = await stand.job(client, secrets=["openai", "x"])
    status, reply = await stand.call("POST", f"/v1/jobs/{job}/leases", "runner")
    assert (status, reply["code"]) == (403, "credential_not_usable")
    custody = await stand.job(
        client, kind="custody", runner_id=str(stand.people["custodian"].id), secrets=["x"], platforms=[], lanes=[],
        effects=[],
    )  # fmt: skip
    assert (await stand.lease(custody, "custodian"))["secrets"] == {"x": {"path": f"{base}/x", "version": 0}}


async def test_the_sdk_reads_a_token_and_a_newer_one_when_it_has_expired(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One renewal is asked for however many see the expired token, and all of them get the newer one."""
    monkeypatch.setattr(client_lease, "FIRST_LOOK_S", 0.05)
    client = await stand.client()
    account = await connect(stand, client)
    await put_access(stand, account, "access-token-one-0001")
    stand.db.sql(f"UPDATE byokeep.account_grant SET due_at = now() + interval '1 hour' {account.where}")
    since = stand.app.clock.now()
    async with stand.keep() as keep, keep.job(client=client, secrets=["x"]) as job:
        assert (await job.secret("x/acme")).reveal() == b"access-token-one-0001"
        with pytest.raises(Denied, match="not_declared"):
            await job.secret("x/other")
        with pytest.raises(Denied, match="not_declared"):
            await job.secret("x")

        async def refresher() -> None:
            while "t" not in stand.db.sql(f"SELECT due_at <= now() FROM byokeep.account_grant {account.where}"):
                await asyncio.sleep(0.05)
            await put_access(stand, account, "access-token-two-0002", version=2)

        found: list[Any] = await asyncio.gather(refresher(), *(job.secret("x/acme", fresh=True) for _ in range(8)))
        assert {secret.reveal() for secret in found[1:]} == {b"access-token-two-0002"}
        assert (await job.secret("x/acme")).reveal() == b"access-token-two-0002"
        assert len(stand.events("tokens.refresh_asked")) == 1
        # Somebody else's renewal is taken over without asking.
        await put_access(stand, account, "access-token-three-3", version=3)
        assert (await job.secret("x/acme", fresh=True)).reveal() == b"access-token-three-3"
        assert len(stand.events("tokens.refresh_asked")) == 1
    state_rows(stand.db)
    stated = await reconciled(stand, since)
    assert (stated.state, stated.findings) == ("clean", ()), stated


async def test_a_renewal_that_does_not_come_ends_the_wait(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing older is returned: renewal_pending after the time for it, and a lost grant is said to be lost."""
    monkeypatch.setattr(client_lease, "FIRST_LOOK_S", 0.05)
    monkeypatch.setattr(client_lease, "FRESH_WITHIN_S", 0.5)
    client = await stand.client()
    account = await connect(stand, client)
    await put_access(stand, account, "access-token-one-0001")
    await connect(stand, client, "x", "other")
    async with stand.keep() as keep, keep.job(client=client, secrets=["x"]) as job:
        await job.secret("x/acme")
        with pytest.raises(Unavailable, match="renewal_pending"):
            await job.secret("x/acme", fresh=True)
        stand.db.sql(f"UPDATE byokeep.account_grant SET state = 'needs_reauth' {account.where}")
        with pytest.raises(Denied, match="credential_not_usable"):
            await job.secret("x/acme", fresh=True)


async def test_who_may_ask_for_a_renewal_and_when_it_becomes_due(stand: Stand) -> None:
    """The job's own runner, for a platform that it declared and the current version; nobody else."""
    client = await stand.client()
    account = await connect(stand, client)
    await connect(stand, client, "tiktok", "acme")
    job = await stand.job(client, secrets=["x"])
    path = f"/v1/jobs/{job}/renewals"
    body = {"secret": "x/acme", "version": 1}

    async def ask(who: Any = "runner", **changed: Any) -> tuple[int, Any]:
        status, reply = await stand.call("POST", path, who, body | changed)
        return status, reply.get("asked", reply.get("code"))

    assert await ask() == (202, False)  # nothing to renew with
    stand.db.sql(f"UPDATE byokeep.account_grant SET due_at = now() + interval '1 hour' {account.where}")
    assert await ask(version=0) == (202, False)
    assert await ask(version=2) == (202, False)
    assert await ask() == (202, True)
    assert await ask() == (202, False)
    assert stand.db.sql(f"SELECT due_at <= now() FROM byokeep.account_grant {account.where}").strip() == "t"
    assert await ask(secret="x/none") == (404, "not_found")
    assert await ask(secret="x") == (422, "bad_secret_name")
    assert await ask(secret="tiktok/acme") == (403, "platform_not_declared")
    assert (await ask("dispatcher"))[0] == 403
    assert (await ask(stand.subject("runner", "Another")))[0] == 404
    stand.db.sql(f"UPDATE byokeep.account_grant SET state = 'revoked' {account.where}")
    assert await ask() == (403, "grant_not_live")
    await stand.call("POST", f"/v1/jobs/{job}/close", "dispatcher")
    assert await ask() == (403, "job_not_open")


async def test_renewals_are_had_a_few_times_an_hour(stand: Stand) -> None:
    """Whoever calls each new token expired has it renewed a few times; then people are told, and it comes in its own
    time."""
    client = await stand.client()
    account = await connect(stand, client)
    path = f"/v1/jobs/{await stand.job(client, secrets=['x'])}/renewals"

    async def ask(version: int, newest: int, due: str = "1 hour") -> bool:
        stand.db.sql(
            f"UPDATE byokeep.account_grant SET access_version = {newest}, due_at = now() + interval '{due}'"
            f" {account.where}"
        )
        return bool((await stand.call("POST", path, "runner", {"secret": "x/acme", "version": version}))[1]["asked"])

    said: dict[str, Any] = {"platform": "x", "account": account.id, "version": 1}
    async with stand.app.db.begin(client_id=client) as tx:  # as a break-glass does
        await record(tx, stand.app.system(), EventName.REFRESH_ASKED, said, client_id=client, object_id=account.id)
    assert [await ask(one, one) for one in range(1, recovery.ASKED_MOST + 1)] == [True] * recovery.ASKED_MOST
    assert [await ask(1, 7), await ask(7, 7, "-1 hour")] == [False] * 2  # a newer one is there, or is to come
    assert "renewals_asked_often" not in stand.alerts()
    assert [await ask(8, 8), await ask(9, 9)] == [False] * 2
    assert "renewals_asked_often" in stand.alerts()
    assert len(stand.events("tokens.refresh_asked")) == recovery.ASKED_MOST + 1


@pytest.mark.parametrize("name", ["x/acme", "openai"])
async def test_a_command_reads_an_account_s_token(
    stand: Stand, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """byokeep job run puts it where the command names it and where its environment does, and nowhere else."""
    client = await stand.client()
    account = await connect(stand, client)
    await put_access(stand, account, "access-token-one-0001")
    value = {"x/acme": "access-token-one-0001", "openai": await stand.key(client, "openai")}[name]
    keep = stand.keep()
    monkeypatch.setattr(cli_job, "client_settings", lambda: keep._settings)
    monkeypatch.setattr(cli_job, "say", lambda _: None)
    script = 'cat "$1" > named && cat "$BYOKEEP_SECRET_%s_FILE" > told && env > seen' % (
        "X_ACME" if "/" in name else "OPENAI"
    )  # fmt: skip
    command = ["sh", "-c", f"cd {tmp_path} && {script}", "sh", "{" + name + "}"]
    assert await cli_job._run(command, [name], client=client) == 0
    assert [(tmp_path / file).read_text() for file in ("named", "told")] == [value, value]
    assert value not in (tmp_path / "seen").read_text()


@pytest.mark.parametrize("names", [["x"], ["x/"], ["skool/acme"], ["x/a b"], ["sk-live-1"], ["x/a.b", "x/a_b"]])
def test_a_name_that_is_none_is_refused_and_not_repeated(names: list[str]) -> None:
    """A platform alone, an account of a platform without tokens, a pasted key, two names that would be one variable."""
    with pytest.raises(Rejected) as refused:
        cli_job._check_names(names)
    assert names[0] not in str(refused.value)
