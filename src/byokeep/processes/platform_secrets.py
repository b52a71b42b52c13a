"""The platform's own secrets on this host (runbook 2.2): which there are, and their rotation while everything serves.

Rules
- Rights at the store are assembled for a rotation and end with it. With the embedded store they are a root token made
  from the provisioner's identity and this host's recovery keys; with your own store, an admin token that is given.
- One process at a time rotates here. The next one resumes what was cut off; ``byokeep up`` looks for that every few
  seconds, before a new key of leases is signed with.
- A stack itself rotates what is due. If the recovery keys were taken away, as they should be in production, it cannot,
  and the due list says when a person has to.

It may not rotate what was made with a key and is kept, such as the hashes of tokens.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from byokeep.adapters.openbao.login import log_in
from byokeep.adapters.openbao.provisioning import (
    MACHINES,
    accept_newest,
    generate_root,
    retire_roots,
    rotate_secret_ids,
    rotate_signing_keys,
)
from byokeep.adapters.openbao.provisioning import rotate_leases as rotate_lease_key
from byokeep.adapters.postgres.logins import GRACE, MAKER, ROLES
from byokeep.core.errors import ByokeepError, Conflict, Unavailable
from byokeep.core.procedure import Run
from byokeep.core.secret import Secret
from byokeep.kernel.app import App
from byokeep.kernel.command import open_alert
from byokeep.kernel.durable_write import durable_write
from byokeep.kernel.procedures import RunStatus
from byokeep.operations import internal
from byokeep.process import alone
from byokeep.processes import wiring
from byokeep.processes.installation import local_tokens, renew_logins, renew_machines_in
from byokeep.settings import Settings
from byokeep.tenancy import bootstrap
from byokeep.wire.bao_http import BaoHttp

_LOGINS: Final = "database-logins"


@contextlib.asynccontextmanager
async def _store_admin(settings: Settings, admin_token: Secret | None) -> AsyncIterator[tuple[BaoHttp, Secret]]:
    """Yield the store with an admin's token; for the embedded one, a root made for this and ended with it.

    A file says so for as long as that token may be alive, also after a crash.
    """
    async with wiring.store_http(settings) as http:
        if admin_token is not None:
            yield http, admin_token
            return
        store = wiring.embedded_store(settings)
        provisioner, _ = await log_in(http, wiring.credentials(settings, "provisioner.approle"))
        await asyncio.to_thread(durable_write, store.root_live, b"")
        root = await generate_root(http, provisioner, store.recovery_keys())
        try:
            yield http, root
        finally:
            await retire_roots(http, root)
            root.wipe()
        store.root_live.unlink(missing_ok=True)


async def rotate_internal(
    settings: Settings, admin_token: Secret | None = None, *, public_keys: bool = True, grace: timedelta = GRACE
) -> RunStatus:
    """Rotate the platform's own secrets while everything serves, or resume what was cut off.

    Args:
        settings: This installation's, which is running.
        admin_token: As :func:`rotate_leases`.
        public_keys: As :func:`byokeep.operations.internal.rotate`.
        grace: How long the database accepts old logins. None: they end before anything else is done, even if the
            resumed rotation has had that step.

    Raises:
        Conflict: ``rotation_running``: another process is rotating.
    """

    async def secret_ids(_run: Run) -> int:
        await bootstrap.store_provisioned(app, component="secret-ids")
        async with _store_admin(settings, admin_token) as (http, admin):
            place = wiring.credentials(settings)
            return await rotate_secret_ids(http, admin, credentials_dir=place, alone=settings.embedded_store)

    async def signing_keys(run: Run) -> int:
        await bootstrap.store_provisioned(app, component="signing-keys")
        async with _store_admin(settings, admin_token) as (http, admin):
            return await rotate_signing_keys(http, admin, public=bool(run.facts.get("public_keys")))

    async def machine_tokens(_run: Run) -> int:
        if not settings.embedded_database:
            return 0
        async with wiring.broker_app(settings) as broker:
            return await renew_machines_in(wiring.credentials(settings), broker, left_s=bootstrap.LOCAL_TOKEN_S)

    async def database_logins(_run: Run) -> int:
        return await renew_logins(settings, grace=grace) if ended is None else ended

    steps = (secret_ids, signing_keys, database_logins, machine_tokens)
    ended, failed = None, None
    with _rotating(settings):
        if not grace:  # one was stolen, and may be the one this host would log in with
            try:
                ended = await renew_logins(settings, grace=grace)
            except (ByokeepError, OSError) as error:
                failed = error
        async with wiring.host_app(settings, {step.__name__: step for step in steps}) as (app, starter):
            try:
                if failed is not None:
                    raise failed
                if ended is not None:
                    await bootstrap.store_provisioned(app, component=_LOGINS)
                return await internal.rotate(app, starter, public_keys=public_keys)
            except (ByokeepError, OSError):
                async with app.db.begin(every_client=True) as tx:
                    await open_alert(tx, app, app.system(), reason="internal_rotation_failed")
                raise
            finally:
                await _undropped(app)


async def _undropped(app: App) -> None:
    """Raise an alert for logins whose end has come and that own something: none that our processes use ever do."""
    if await app.db.read(lambda row: str(row["name"]), "logins_undropped", {}):
        async with app.db.begin(every_client=True) as tx:
            await open_alert(tx, app, app.system(), reason="database_login_owns")


async def rotate_if_due(settings: Settings) -> None:
    """Resume a rotation that was cut off, or rotate what is due if this host can; a failure is an alert."""
    if not settings.embedded_store or not wiring.embedded_store(settings).recovery_keys():
        return
    async with wiring.host_app(settings) as (app, _):
        last = await internal.last(app)
        age = app.clock.now() - last.rotated_at
        if last.running is None and age.days < internal.EVERY_DAYS:
            # `incident rotate-leases` was, which is no run: it left a root, and perhaps a new key that is not accepted.
            if was_cut_off(settings):
                with _rotating(settings):
                    await bootstrap.store_provisioned(app, component="root-token")
                    async with _store_admin(settings, None) as (http, admin):
                        await accept_newest(http, admin)
            return
    await rotate_internal(settings, public_keys=False)


async def platform_secrets(settings: Settings) -> list[dict[str, str]]:
    """Return the platform's own secrets: which exist, when they were rotated and are due, and how it is done."""
    async with wiring.host_app(settings) as (_, app):
        rotated = (await internal.last(app)).rotated_at
        left = {one.name: one.left_s or 0.0 for one in await local_tokens(app.db)}
        now = app.clock.now()
    rows = []

    def row(secret: str, how: str, *, since: datetime | None = None, due: datetime | None = None) -> None:
        told = ["-" if at is None else f"{at.astimezone(UTC):%Y-%m-%d}" for at in (since, due)]
        rows.append(
            {"secret": secret, "owner": settings.kek_owner, "rotated_at": told[0], "due_at": told[1], "how": how}
        )

    by_us, due = "rotate internal", rotated + timedelta(days=internal.EVERY_DAYS)
    for machine in MACHINES:
        row(f"secret id of {machine}", by_us, since=rotated, due=due)
    for key in ("leases", "checkpoints", "evidence"):
        row(f"signing key of {key}", by_us, since=rotated, due=due if key == "leases" else None)
    for name, left_s in left.items():
        ends = now + timedelta(seconds=left_s)
        since = ends - timedelta(seconds=bootstrap.LOCAL_TOKEN_S)
        row(f"token of {name}", by_us, since=since, due=ends - timedelta(seconds=bootstrap.RENEW_LEFT_S))
    for key in ("token-key", "machine-key", "scan-key", "fingerprints"):
        row(f"digest key {key}", "kept: every digest made with it would end")
    if settings.embedded_database:
        row("database roles", "none: the operating system vouches for each role")
        return rows
    for role in (*ROLES, MAKER):  # nothing rotates the maker's
        file, name = wiring.login_file(settings, role), f"database login of {role.removeprefix('byokeep_')}"
        if role != MAKER and file.exists():
            since = datetime.fromtimestamp(file.stat().st_mtime, UTC)
            row(name, by_us, since=since, due=since + timedelta(days=internal.EVERY_DAYS))
        else:
            row(name, "yours: what database_url's service, passfile or certificate gives")
    return rows


def was_cut_off(settings: Settings) -> bool:
    """Whether a rotation ended midway: a root of the store may be alive, and nobody is working on it."""
    if not settings.embedded_store or not wiring.embedded_store(settings).root_live.exists():
        return False
    try:
        with _rotating(settings):
            return True
    except (ByokeepError, OSError):
        return False


@contextlib.contextmanager
def _rotating(settings: Settings) -> Iterator[None]:
    """Be the only one on this host who rotates."""
    refusal = Conflict("rotation_running", next_step="Another process is rotating here. Wait until it ends.")
    place = wiring.credentials(settings)
    if not place.is_dir():
        raise Unavailable("credentials_missing", next_step="Name the installation's home: --home, BYOKEEP_HOME.")
    with alone(place / "rotate.lock", refusal):
        yield


async def rotate_leases(settings: Settings, admin_token: Secret | None) -> int:
    """Give this installation's leases a new signing key, and let the store accept no other.

    Args:
        settings: This installation's; its store is running.
        admin_token: For your own store; ``None`` = the embedded one, whose recovery keys are on this host.

    Returns:
        The new version's number.

    Raises:
        Conflict: ``rotation_running``.
    """
    with _rotating(settings):  # another would end the root token of this one
        async with _store_admin(settings, admin_token) as (http, admin):
            version = await rotate_lease_key(http, admin)
        # In the owner's name: no service may claim that this was done.
        async with wiring.database(settings, "byokeep_owner") as owner, wiring.web_app(settings) as app:
            await bootstrap.store_provisioned(replace(app, db=owner), component="lease-key")
    return version
