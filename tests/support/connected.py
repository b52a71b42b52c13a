"""A connected account as the flows of connecting leave it: grant, reference, tokens in the store, the record of it."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID, uuid4

from byokeep.adapters.postgres.database import PostgresDatabase
from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.model import ClientId, Provider
from byokeep.core.ref import SecretPart, SecretRef
from byokeep.core.secret import Secret
from byokeep.wire.bao_http import BaoHttp, lease_login, write_secret
from tests.support.broker import Stand


@dataclass(frozen=True)
class Account:
    """What a test needs to know of one."""

    client: UUID
    platform: str
    name: str
    id: UUID
    external_id: str

    @property
    def where(self) -> str:
        return f"WHERE client_id = '{self.client}' AND account_id = '{self.id}'"

    @property
    def face(self) -> dict[str, str]:
        return {"id": self.external_id, "username": self.name, "display_name": "Acme Ltd"}


async def connect(
    stand: Stand, client: UUID, platform: str = "x", name: str = "acme", *, lanes: str = "api", recorded: bool = True
) -> Account:
    """A live, verified account with version 1 of its access token in the store."""
    account = Account(client, platform, name, uuid4(), uuid4().hex)
    by = stand.people["operator"].id
    ref = SecretRef(ClientId(client), Provider(platform), SecretPart.TOKENS, account.id)
    stand.db.sql(
        "INSERT INTO byokeep.platform_account (id, client_id, platform, account, username, display_name, lanes,"
        f" identity, identified_at, created_by) VALUES ('{account.id}', '{client}', '{platform}', '{name}', '{name}',"
        f" 'Acme Ltd', '{{{lanes}}}', 'match', now(), '{by}');"
        "INSERT INTO byokeep.account_grant (client_id, account_id, provider, login, app_id, external_id, username,"
        " display_name, state, version, access_version, scopes_known, obtained_by, verified_at) VALUES"
        f" ('{client}', '{account.id}', '{platform}', '{platform}', 'our-app', '{account.external_id}', '{name}',"
        f" 'Acme Ltd', 'live', 1, 1, true, '{by}', now());"
        "INSERT INTO byokeep.credential_ref (id, client_id, provider, kind, purpose, environment, secret_ref, version,"
        f" state, verification, risk, created_by, rotation_due_at, account_id) VALUES ('{uuid4()}', '{client}',"
        f" '{platform}', 'oauth_token_set', 'account', 'development', '{ref}', 1, 'active', 'verified', 'standard',"
        f" '{by}', now() + interval '90 days', '{account.id}')"
    )
    if recorded:
        await record(stand, account)
    return account


async def record(stand: Stand, account: Account, *, of: UUID | None = None) -> None:
    """Put ``platform_connected`` on record, as the process that connects does, and let the grant name it."""
    worker = PostgresDatabase(stand.db.url("byokeep_worker"), pool_size=1)
    try:
        async with worker.begin(client_id=account.client) as tx:
            receipt = await tx.append(
                Event(
                    name=EventName.CONNECTED, actor=stand.app.system(), outcome=Outcome.OK, client_id=account.client,
                    object_id=of or account.id, fields={"platform": account.platform, "account": account.name},
                )
            )  # fmt: skip
    finally:
        await worker.close()
    stand.db.sql(f"UPDATE byokeep.account_grant SET connected_seq = {receipt.seq} {account.where}")


async def put_access(stand: Stand, account: Account, value: str, *, version: int = 1) -> None:
    """Write an access token as custody does, and move the account's pin to it."""
    job = await stand.job(
        account.client, kind="custody", runner_id=str(stand.people["custodian"].id), secrets=[account.platform],
        platforms=[], lanes=[], effects=[],
    )  # fmt: skip
    lease = await stand.lease(job, "custodian")
    path = SecretRef(ClientId(account.client), Provider(account.platform), SecretPart.ACCESS, account.id).path
    async with BaoHttp(stand.store.address, timeout_s=5) as bao:
        token = await lease_login(
            bao, Secret(lease["jwt"]), f"custody-{account.platform}", lease_id=lease["lease_id"]
        )  # fmt: skip
        await write_secret(bao, token, path, Secret(value), cas=version - 1, lease_id=lease["lease_id"])
    stand.db.sql(f"UPDATE byokeep.account_grant SET access_version = {version} {account.where}")
