"""Another key in the place of a version: found out by the rows, whatever name, alias or label it goes by."""

# ruff: noqa: S608 - statements are put together from our own ids

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pkcs11
import pytest
from pkcs11 import Attribute, MechanismFlag

from byokeep.adapters.kms.aws import AwsKeyHolder, connect
from byokeep.client import ClientSettings
from byokeep.core.errors import Rejected
from byokeep.core.kek import KekFault, KekScope
from byokeep.core.model import ClientId
from byokeep.core.secret import Secret
from byokeep.flows import kek_work
from byokeep.flows.kek_pins import PinnedKeys
from byokeep.worker.key_custody import BrokerKekCustodian
from tests.support.broker import Stand
from tests.support.keks import HERE, Keys, keys_on
from tests.support.key_holders import DEK, Token, moto_kms, pkcs11_holder, softhsm_token

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker"]


@dataclass
class Swapped:
    """A worker whose holder is reached behind its back."""

    keys: Keys
    holder: Any
    swap: Callable[[KekScope, int], None]


@pytest.fixture(scope="session")
def token(tmp_path_factory: pytest.TempPathFactory) -> Token:
    return softhsm_token(tmp_path_factory.mktemp("hsm"))


@pytest.fixture(scope="session")
def kms() -> Iterator[str]:
    with moto_kms() as address:
        yield address


@pytest.fixture(params=["aws", "pkcs11"])
async def swapped(request: pytest.FixtureRequest, stand: Stand) -> AsyncIterator[Swapped]:
    holder: Any
    if request.param == "aws":
        client, name = connect("eu-central-1", request.getfixturevalue("kms")), f"k{uuid4().hex[:12]}"
        holder = AwsKeyHolder(client, name, HERE)

        def swap(scope: KekScope, version: int) -> None:
            other = client.create_key(KeyUsage="ENCRYPT_DECRYPT", KeySpec="SYMMETRIC_DEFAULT")["KeyMetadata"]["KeyId"]
            client.update_alias(AliasName=f"alias/{name}-development-v{version}", TargetKeyId=other)
    else:
        token: Token = request.getfixturevalue("token")
        holder = pkcs11_holder(token)

        def swap(scope: KekScope, version: int) -> None:
            token.change(scope.tenant_kek, lambda keys: keys[version - 1].destroy())
            with pkcs11.lib(token.module).get_token(token_label=token.label).open(rw=True, user_pin=token.pin) as one:
                one.generate_key(
                    pkcs11.KeyType.AES, 256, id=scope.tenant_kek.encode(), store=True,
                    label=f"{scope.tenant_kek}/v{version}/20260101T000000Z",
                    capabilities=MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT,
                    template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.MODIFIABLE: True},
                )  # fmt: skip

    settings = ClientSettings(broker_url=stand.url, runner_token_file=stand.home / "custodian.token", attempts=2)
    async with keys_on(stand, kek_custodian=BrokerKekCustodian(settings, lambda login: holder)) as keys:
        yield Swapped(keys, holder, swap)


async def prepared(keys: Keys, client: ClientId) -> int:
    async with keys.custody(client) as custody:
        return (await kek_work.prepare(keys.app, keys.system, custody.keys, client)).version


async def test_another_key_under_the_name_of_a_version_protects_nothing(swapped: Swapped) -> None:
    """No seal begins, no wrap is taken, no rotation hides it, and the comparison raises the alert."""
    keys = swapped.keys
    client = await keys.client()
    scope, pinned = keys.scope(client), PinnedKeys(keys.app, swapped.holder)
    assert await prepared(keys, client) == 1
    assert await kek_work.check(keys.app, keys.system, client) == ()
    assert (await pinned.wrap(Secret(DEK), keys.context(client, uuid4()))).kek_version == 1
    swapped.swap(scope, 1)
    assert (await swapped.holder.versions(scope)).faults == (), "by itself it looks like ours"
    assert (await pinned.versions(scope)).faults == (KekFault.FOREIGN,)
    old = await swapped.holder.wrap(Secret(DEK), keys.context(client, uuid4()))
    for act in (
        pinned.wrap(Secret(DEK), keys.context(client, uuid4())), prepared(keys, client),
        pinned.rotate(scope, expected=1),
        kek_work.rotate(keys.app, keys.person(), client, expected=1, reason="scheduled"),
    ):  # fmt: skip
        with pytest.raises(Rejected, match="kek_foreign"):
            await act
    assert old.identity != keys.sql(f"SELECT identity FROM byokeep.kek_version WHERE kek_id = '{old.kek_id}'")
    found = await kek_work.check(keys.app, keys.system, client)
    assert [(one.version, one.finding.value) for one in found] == [(1, "kek_altered_outside")]
    assert keys.stand.alerts().count("kek_altered_outside") == 1


async def test_an_old_version_that_was_replaced_is_found_and_a_key_from_before_is_pinned(swapped: Swapped) -> None:
    """A version without an identity gets it at a comparison, once; afterwards another key there is told."""
    keys = swapped.keys
    client = await keys.client()
    assert await prepared(keys, client) == 1
    where = f"WHERE holder = '{(await swapped.holder.versions(keys.scope(client))).holder.value}'"
    keys.sql(f"UPDATE byokeep.kek_version SET identity = '' {where}")
    assert await kek_work.check(keys.app, keys.system, client) == ()
    first = keys.sql(f"SELECT identity FROM byokeep.kek_version {where} ORDER BY made_at DESC LIMIT 1")
    assert first
    await kek_work.rotate(keys.app, keys.person(), client, expected=1, reason="scheduled")
    swapped.swap(keys.scope(client), 1)
    found = await kek_work.check(keys.app, keys.system, client)
    assert (1, "kek_altered_outside") in [(one.version, one.finding.value) for one in found]
    status = await swapped.holder.versions(keys.scope(client))
    with pytest.raises(Rejected, match="kek_foreign"):
        await kek_work.end_versions(
            keys.app, keys.person("approver"), client, kek_id=status.kek_id, holder=status.holder, version=1,
            reason="not_needed",
        )  # fmt: skip
    kept = f"SELECT count(*) FROM byokeep.kek_version {where} AND identity = '{first}'"
    assert keys.sql(kept) == "1", "never told anew"
