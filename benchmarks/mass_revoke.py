"""Revoke 500 connections of one integration: how long the local cut takes, against a bare database's own steps."""

# ruff: noqa: S608 - statements are put together from made-up ids
from __future__ import annotations

import time
from typing import Final

import psycopg

from benchmarks.load import Run
from benchmarks.report import Row
from benchmarks.stage import Stage
from byokeep.adapters.postgres.connections import driver_arguments
from byokeep.processes.wiring import database_url

MANY: Final = 500
LIMIT_S: Final = 1.0
PLATFORMS: Final = ("tiktok", "youtube", "linkedin", "meta")
# What a database does for the same rows, in tables of its own without rules: three changes and two records of each.
_BARE: Final = (
    "UPDATE bench_grant SET due_at = NULL", "UPDATE bench_ref SET state = 'deactivated'",
    "UPDATE bench_account SET lanes = '{}'",
    f"INSERT INTO bench_record SELECT n, repeat('x', 400) FROM generate_series(1, {2 * MANY}) AS n",
    f"INSERT INTO bench_item SELECT gen_random_uuid(), 'pending' FROM generate_series(1, {MANY})",
)  # fmt: skip


def _connections(ready: Stage, platform: str) -> str:
    """Accounts of a platform with live grants, spread over the clients."""
    clients, by = ",".join(f"'{one}'::uuid" for one in ready.clients), "(SELECT id FROM byokeep.subject LIMIT 1)"
    place = f"'vault://kv/clients/' || client || '/providers/{platform}/accounts/' || id || '/tokens'"
    return (
        "CREATE TEMP TABLE made AS SELECT gen_random_uuid() AS id, n,"
        f" (ARRAY[{clients}])[1 + n % {len(ready.clients)}] AS client FROM generate_series(1, {MANY}) AS n;"
        "INSERT INTO byokeep.platform_account (id, client_id, platform, account, username, display_name, lanes,"
        f" identity, identified_at, created_by) SELECT id, client, '{platform}', 'acme' || n, 'acme' || n, 'Acme',"
        f" '{{api}}', 'match', now(), {by} FROM made;"
        "INSERT INTO byokeep.account_grant (client_id, account_id, provider, login, app_id, external_id, username,"
        " display_name, state, version, access_version, scopes_known, obtained_by, verified_at, due_at)"
        f" SELECT client, id, '{platform}', '{platform}', 'our-app', 'ext' || n, 'acme' || n, 'Acme', 'live', 1, 1,"
        f" true, {by}, now(), now() + interval '1 day' FROM made;"
        "INSERT INTO byokeep.credential_ref (id, client_id, provider, kind, purpose, environment, secret_ref, version,"
        " state, verification, risk, created_by, rotation_due_at, account_id) SELECT gen_random_uuid(), client,"
        f" '{platform}', 'oauth_token_set', 'account', 'development', {place}, 1, 'active', 'verified', 'standard',"
        f" {by}, now() + interval '60 days', id FROM made;"
        "DROP TABLE made"
    )


def _tables() -> str:
    columns = (("grant", "due_at", "timestamptz", "now()"), ("ref", "state", "text", "'active'"),
               ("account", "lanes", "text[]", "'{api}'::text[]"))  # fmt: skip
    made = [
        f"CREATE TEMP TABLE bench_{name} AS SELECT gen_random_uuid() AS id, {value}::{kind} AS {column}"
        f" FROM generate_series(1, {MANY})"
        for name, column, kind, value in columns
    ]
    return ";".join([*made, "CREATE TABLE IF NOT EXISTS bench_record (n int, payload text)",
                     "CREATE TABLE IF NOT EXISTS bench_item (id uuid PRIMARY KEY, state text)"])  # fmt: skip


async def mass_revoke(ready: Stage) -> list[Row]:
    """Return one row: each integration once, and the bare steps after each."""
    cut, bare = Run(1), Run(1)
    url = database_url(ready.scene.stack.settings, "byokeep_owner")
    connection = await psycopg.AsyncConnection.connect(**driver_arguments(url, "bench"), autocommit=True)  # type: ignore[arg-type]
    async with connection as owner:
        await owner.execute("CREATE SCHEMA IF NOT EXISTS bench; SET search_path TO bench, pg_temp")
        for platform in PLATFORMS:
            await owner.execute(_connections(ready, platform))
            await owner.execute("SELECT byokeep.state_rows()")
            began = time.perf_counter()
            body = {"reason": "provider_breached", "provider": platform}
            made = await ready.scene.api("operator", "POST", "/v1/mass-revocations", body=body)
            cut.took.append(time.perf_counter() - began)
            if made["left"] != MANY:
                raise SystemExit(f"{made['left']} of {MANY} were cut off")
            await owner.execute("DROP TABLE IF EXISTS bench_grant, bench_ref, bench_account; " + _tables())
            began = time.perf_counter()
            async with owner.transaction():
                for statement in _BARE:
                    await owner.execute(statement)
            bare.took.append(time.perf_counter() - began)
        await owner.execute("DROP SCHEMA bench CASCADE")
    return [
        Row(
            what=f"mass revocation of {MANY} connections, local cut", callers=1, p50=f"{cut.ms(50):.0f} ms",
            p99=f"{cut.ms(99):.0f} ms", rate=f"{MANY / (cut.ms(50) / 1000):,.0f}/s", aim=f"<= {LIMIT_S:.0f} s",
            ratio=f"{cut.ms(50) / bare.ms(50):.1f}", held=cut.ms(99) <= LIMIT_S * 1000,
            note=f"the database's own steps {bare.ms(50):.1f} ms; each: {[round(one * 1000) for one in cut.took]} ms",
        )
    ]  # fmt: skip
