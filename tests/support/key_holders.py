"""What the tests of key holders need: a token of SoftHSM, an HTTP server of AWS KMS, and each holder as a case."""

from __future__ import annotations

import dataclasses
import logging
import os
import subprocess
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pkcs11
import pytest
from moto.server import ThreadedMotoServer
from pkcs11 import Attribute, ObjectClass

from byokeep.adapters.kms.aws import AwsKeyHolder, connect
from byokeep.adapters.kms.pkcs11 import Pkcs11KeyHolder
from byokeep.adapters.system import SystemClock
from byokeep.core.errors import ByokeepError
from byokeep.core.kek import KekFault, KekScope, KeyContext
from byokeep.core.model import ClientId, Environment
from byokeep.core.secret import Secret
from byokeep.sealing.transit import TransitKeyHolder
from byokeep.wire.bao_http import BaoHttp
from tests.support.openbao import Bao

# Debian, Fedora, macOS; the same list is in tools/softhsm.sh.
MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so", "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)  # fmt: skip


@dataclass
class Token:
    """A fresh token of SoftHSM in a directory of its own."""

    module: str
    label: str
    pin: str
    may_decrypt = Attribute.DECRYPT
    may_encrypt = Attribute.ENCRYPT

    def change(self, kek: str, act: Callable[[list[Any]], object]) -> None:
        """Do something to the key objects of a KEK, oldest first, as somebody else who has the PIN."""
        with pkcs11.lib(self.module).get_token(token_label=self.label).open(rw=True, user_pin=self.pin) as session:
            found = session.get_objects({Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.ID: kek.encode()})
            act(sorted(found, key=lambda key: key.label))

    def plant(self, kek: str, *, bits: int) -> None:
        """Put a key of another length under the KEK's first version, as somebody else who has the PIN."""
        with pkcs11.lib(self.module).get_token(token_label=self.label).open(rw=True, user_pin=self.pin) as session:
            label, named = f"{kek}/v1/20260101T000000Z", kek.encode()
            session.generate_key(pkcs11.KeyType.AES, bits, label=label, id=named, store=True)


def softhsm_token(home: Path) -> Token:
    """Make a token. The library reads its configuration once in a process, so one process has one such directory."""
    (home / "tokens").mkdir()
    config = home / "softhsm2.conf"
    config.write_text(f"directories.tokendir = {home}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n")
    os.environ["SOFTHSM2_CONF"] = str(config)
    made = ["softhsm2-util", "--init-token", "--free", "--label", "byokeep-test", "--pin", "1234", "--so-pin", "5678"]
    subprocess.run(made, check=True, capture_output=True)
    module = next(path for path in MODULES if Path(path).exists())
    return Token(module, "byokeep-test", "1234")


@contextmanager
def moto_kms() -> Iterator[str]:
    """Run the server on a free port of loopback; yields its address. Who we are stands in the environment, as usual."""
    own = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_EC2_METADATA_DISABLED": "true"}
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


HERE = Environment.DEVELOPMENT
DEK = bytes(range(32))


@dataclass
class Case:
    """A holder as one client's custody sees it, the same holder gone, and what an outsider may do to its newest key."""

    name: str
    context: KeyContext
    holder: Any
    as_client: Callable[[ClientId], Any]
    of: Callable[[Environment], Any]
    down: Any
    disable: Callable[[], Awaitable[object]]
    delete: Callable[[], Awaitable[object]]
    deleted: KekFault

    @property
    def scope(self) -> KekScope:
        return self.context.scope


def a_context(**changed: Any) -> KeyContext:
    one = KeyContext(environment=HERE, client_id=ClientId(uuid.uuid4()), profile_id=uuid.uuid4())
    return dataclasses.replace(one, **changed)


def transit_holder(bao: Bao, client: ClientId, environment: Environment = HERE) -> TransitKeyHolder:
    async def login() -> tuple[BaoHttp, Secret, str]:
        return bao.http, await bao.lease(client, "custody", "profile"), "lease-1"

    return TransitKeyHolder(login, environment)


def transit_case(bao: Bao, context: KeyContext) -> Case:
    async def nowhere() -> tuple[BaoHttp, Secret, str]:
        return BaoHttp("unix:///nonexistent/bao.sock"), Secret("s.none"), "lease-1"

    async def as_root(*calls: tuple[str, str, dict[str, object]]) -> None:
        root = await bao.root()
        try:
            for method, below, body in calls:
                path = f"tenant/keys/{context.scope.tenant_kek}{below}"
                await bao.http.request(method, path, token=root, body=body)
        finally:
            await bao.retire(root)

    return Case(
        name="transit", context=context, holder=transit_holder(bao, context.client_id),
        as_client=lambda client: transit_holder(bao, client),
        of=lambda environment: transit_holder(bao, context.client_id, environment),
        down=TransitKeyHolder(nowhere, HERE), disable=lambda: as_root(("DELETE", "/soft-delete", {})),
        delete=lambda: as_root(("POST", "/config", {"deletion_allowed": True}), ("DELETE", "", {})),
        deleted=KekFault.MISSING,
    )  # fmt: skip


def aws_case(address: str, context: KeyContext) -> Case:
    client, name = connect("eu-central-1", address), f"k{uuid.uuid4().hex[:12]}"
    holder = AwsKeyHolder(client, name, HERE)

    async def key_id() -> str:
        newest = (await holder.versions(context.scope)).newest
        return str(client.describe_key(KeyId=f"alias/{name}-development-v{newest}")["KeyMetadata"]["KeyId"])

    async def disable() -> None:
        client.disable_key(KeyId=await key_id())

    async def delete() -> None:
        client.schedule_key_deletion(KeyId=await key_id(), PendingWindowInDays=7)

    return Case(
        name="aws", context=context, holder=holder, as_client=lambda _: holder,
        of=lambda environment: AwsKeyHolder(client, name, environment),
        down=AwsKeyHolder(connect("eu-central-1", "http://127.0.0.1:9"), name, HERE), disable=disable, delete=delete,
        deleted=KekFault.PENDING_DELETION,
    )  # fmt: skip


def pkcs11_holder(token: Token, environment: Environment = HERE, **changed: Any) -> Pkcs11KeyHolder:
    given = {"module": token.module, "token": token.label, "pin": lambda: Secret(token.pin)} | changed
    return Pkcs11KeyHolder(environment=environment, now=SystemClock().now, **given)


def pkcs11_absent(token: Token) -> Pkcs11KeyHolder:
    return pkcs11_holder(dataclasses.replace(token, label="another"))


def pkcs11_case(token: Token, context: KeyContext) -> Case:
    async def disable() -> None:
        token.change(context.scope.tenant_kek, lambda keys: keys[-1].__setitem__(token.may_decrypt, False))

    async def delete() -> None:
        token.change(context.scope.tenant_kek, lambda keys: keys[0].destroy())

    return Case(
        name="pkcs11", context=context, holder=pkcs11_holder(token), as_client=lambda _: pkcs11_holder(token),
        of=lambda environment: pkcs11_holder(token, environment), down=pkcs11_holder(token, module="/nonexistent.so"),
        disable=disable, delete=delete, deleted=KekFault.MISSING,
    )  # fmt: skip


async def code_of(awaited: Awaitable[object]) -> str:
    with pytest.raises(ByokeepError) as caught:
        await awaited
    assert caught.value.__cause__ is None
    return caught.value.code
