"""What one holder of key-encryption keys promises alone: walls, kinds of keys, PINs, and what the settings choose."""

from __future__ import annotations

import base64
import dataclasses
import re
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from pkcs11 import GCMParams, Mechanism, PKCS11Error

from byokeep.core.errors import Denied, Rejected, Unavailable
from byokeep.core.kek import KekFault, KeyProvider, Wrapped
from byokeep.core.model import ClientId
from byokeep.core.ref import parse
from byokeep.core.secret import Secret
from byokeep.sealing.transit import TransitKeyHolder
from byokeep.settings import Settings, check
from byokeep.wire.bao_http import BaoHttp
from byokeep.wiring_keys import key_holders
from tests.support.key_holders import (
    DEK,
    HERE,
    Token,
    a_context,
    aws_case,
    pkcs11_absent,
    pkcs11_case,
    pkcs11_holder,
    transit_case,
)
from tests.support.openbao import Bao

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.req("R2.3-5")
async def test_an_old_version_protects_nothing(bao: Bao, token: Token) -> None:
    """After a rotation a wrap names the new version, and the holder itself refuses to protect by an old one."""
    transit, hardware = transit_case(bao, a_context()), pkcs11_case(token, a_context())
    for case in (transit, hardware):
        await case.holder.rotate(case.scope, expected=0)
        old = await case.holder.wrap(Secret(DEK), case.context)
        await case.holder.rotate(case.scope, expected=1)
        new = await case.holder.wrap(Secret(DEK), case.context)
        assert (old.kek_version, new.kek_version) == (1, 2)
        assert (await case.holder.unwrap(old, case.context)).matches(DEK)
        if case is transit:
            assert new.ciphertext.startswith("vault:v2:")
    lease = await bao.lease(transit.context.client_id, "custody", "profile")
    body: dict[str, object] = {
        "plaintext": base64.b64encode(DEK).decode(), "key_version": 1,
        "context": base64.b64encode(transit.context.canonical).decode(),
    }  # fmt: skip
    path = f"tenant/encrypt/{transit.scope.tenant_kek}"
    with pytest.raises(Rejected, match="store_rejected"):
        await bao.http.request("POST", path, token=lease, body=body)
    assert (await bao.http.request("POST", path, token=lease, body=body | {"key_version": 2})).data["key_version"] == 2

    def try_both(keys: list[Any]) -> None:
        assert [key[token.may_encrypt] for key in keys] == [False, True]
        # The library offers no `encrypt` where the attribute is off, so it is turned off under a key in hand.
        given = {"mechanism": Mechanism.AES_GCM, "mechanism_param": GCMParams(bytes(12), b"", 128)}
        keys[1].encrypt(DEK, **given)
        keys[1][token.may_encrypt] = False
        with pytest.raises(PKCS11Error):
            keys[1].encrypt(DEK, **given)

    token.change(hardware.scope.tenant_kek, try_both)


@pytest.mark.req("S-NIST-11")
async def test_a_kek_is_as_strong_as_what_it_wraps(bao: Bao, token: Token) -> None:
    """A weaker or underived key that somebody put under the KEK's name wraps nothing, anew or again."""
    for kind in ({"type": "aes128-gcm96", "derived": True}, {"type": "aes256-gcm96", "derived": False}):
        case = transit_case(bao, a_context())
        root = await bao.root()
        await bao.http.request("POST", f"tenant/keys/{case.scope.tenant_kek}", token=root, body=kind)
        await bao.retire(root)
        text = "vault:v1:" + base64.b64encode(bytes(60)).decode()
        wrapped = Wrapped(holder=KeyProvider.TRANSIT, kek_id=case.scope.tenant_kek, kek_version=1, ciphertext=text)
        assert (await case.holder.versions(case.scope)).faults == (KekFault.FOREIGN,)
        for act in (case.holder.wrap(Secret(DEK), case.context), case.holder.rewrap(wrapped, case.context)):
            with pytest.raises(Rejected, match="kek_foreign"):
                await act
    case = pkcs11_case(token, a_context())
    token.plant(case.scope.tenant_kek, bits=128)
    assert (await case.holder.versions(case.scope)).faults == (KekFault.FOREIGN,)
    with pytest.raises(Rejected, match="kek_foreign"):
        await case.holder.wrap(Secret(DEK), case.context)


async def test_a_rotation_that_was_cut_is_finished(bao: Bao, token: Token) -> None:
    """A new version whose predecessors still protect is no conflict for who asks again; they are closed then."""
    transit, hardware = transit_case(bao, a_context()), pkcs11_case(token, a_context())
    for case in (transit, hardware):
        await case.holder.rotate(case.scope, expected=0)
    lease = await bao.lease(transit.context.client_id, "custody", "profile")
    await bao.http.request("POST", f"tenant/keys/{transit.scope.tenant_kek}/rotate", token=lease, body={})
    await hardware.holder.rotate(hardware.scope, expected=1)
    token.change(hardware.scope.tenant_kek, lambda keys: keys[0].__setitem__(token.may_encrypt, True))
    for case in (transit, hardware):
        cut = await case.holder.versions(case.scope)
        assert (cut.newest, cut.min_encryption) == (2, 1)
        done = await case.holder.rotate(case.scope, expected=1)
        assert (done.newest, done.min_encryption) == (2, 2)


async def test_the_store_keeps_tenants_and_kinds_of_lease_apart(bao: Bao) -> None:
    """Another client's lease gets 403 from OpenBao itself; a use lease unwraps and does nothing else with the key."""
    case = transit_case(bao, a_context())
    await case.holder.rotate(case.scope, expected=0)
    wrapped = await case.holder.wrap(Secret(DEK), case.context)

    async def login(client: ClientId, kind: str, secret: str = "profile") -> tuple[BaoHttp, Secret, str]:
        return bao.http, await bao.lease(client, kind, secret), "lease-1"

    for kind in ("use", "custody"):
        strange = TransitKeyHolder(lambda kind=kind: login(ClientId(uuid.uuid4()), kind), HERE)  # type: ignore[misc]
        undeclared = TransitKeyHolder(lambda kind=kind: login(case.context.client_id, kind, "openai"), HERE)  # type: ignore[misc]
        for holder in (strange, undeclared):
            for act in (
                holder.unwrap(wrapped, case.context), holder.rewrap(wrapped, case.context),
                holder.wrap(Secret(DEK), case.context), holder.rotate(case.scope, expected=1),
                holder.versions(case.scope), holder.retire(case.scope, below=1),
            ):  # fmt: skip
                with pytest.raises(Denied, match="store_denied"):
                    await act
    using = TransitKeyHolder(lambda: login(case.context.client_id, "use"), HERE)
    assert (await using.unwrap(wrapped, case.context)).matches(DEK)
    for act in (using.wrap(Secret(DEK), case.context), using.rewrap(wrapped, case.context), using.versions(case.scope)):
        with pytest.raises(Denied, match="store_denied"):
            await act


async def test_a_key_of_another_kind_is_not_made_and_not_used(bao: Bao) -> None:
    """Custody can not make a key that is not derived, or open one up; one that somebody opened up is foreign."""
    case = transit_case(bao, a_context())
    path = f"tenant/keys/{case.scope.tenant_kek}"
    lease = await bao.lease(case.context.client_id, "custody", "profile")
    kind: dict[str, object] = {"type": "aes256-gcm96", "derived": True}
    for body in (
        {}, {"derived": True}, {"type": "aes256-gcm96"}, kind | {"derived": False}, kind | {"type": "aes128-gcm96"},
        kind | {"exportable": True}, kind | {"allow_plaintext_backup": True}, kind | {"convergent_encryption": True},
    ):  # fmt: skip
        with pytest.raises(Denied, match="store_denied"):
            await bao.http.request("POST", path, token=lease, body=body)
    await case.holder.rotate(case.scope, expected=0)
    lease = await bao.lease(case.context.client_id, "custody", "profile")
    for opened in ("exportable", "allow_plaintext_backup", "deletion_allowed"):
        with pytest.raises(Denied, match="store_denied"):
            await bao.http.request(
                "POST", f"{path}/config", token=lease, body={opened: True, "min_encryption_version": 1}
            )
    root = await bao.root()
    await bao.http.request("POST", f"{path}/config", token=root, body={"deletion_allowed": True})
    await bao.retire(root)
    assert (await case.holder.versions(case.scope)).faults == (KekFault.FOREIGN,)
    with pytest.raises(Rejected, match="kek_foreign"):
        await case.holder.rotate(case.scope, expected=1)


async def test_a_key_of_kms_that_stands_under_two_environments_is_foreign(kms: str) -> None:
    """A version's alias that is gone is missing; a key that staging's alias points at as well wraps nothing."""
    case = aws_case(kms, a_context())
    client = case.holder._client
    await case.holder.rotate(case.scope, expected=0)
    await case.holder.rotate(case.scope, expected=1)
    own = case.holder._alias(1)
    client.delete_alias(AliasName=own)
    found = await case.holder.versions(case.scope)
    assert [version.fault for version in found.versions] == [KekFault.MISSING, None]
    assert (await case.holder.wrap(Secret(DEK), case.context)).kek_version == 2
    newest = client.describe_key(KeyId=case.holder._alias(2))["KeyMetadata"]["KeyId"]
    client.create_alias(AliasName=case.holder._alias(2).replace("development", "staging"), TargetKeyId=newest)
    assert KekFault.FOREIGN in (await case.holder.versions(case.scope)).faults
    with pytest.raises(Rejected, match="kek_foreign"):
        await case.holder.wrap(Secret(DEK), case.context)


async def test_only_a_key_that_kms_made_is_ours_and_only_its_own_word_counts(kms: str) -> None:
    """Imported material and a key of many regions are foreign; a reply by another key is refused, each way."""
    case = aws_case(kms, a_context())
    client = case.holder._client
    await case.holder.rotate(case.scope, expected=0)
    wrapped = await case.holder.wrap(Secret(DEK), case.context)
    made = client.describe_key(KeyId=case.holder._alias(1))["KeyMetadata"]["KeyId"]
    for kind in ({"Origin": "EXTERNAL"}, {"MultiRegion": True}):
        other = client.create_key(KeyUsage="ENCRYPT_DECRYPT", KeySpec="SYMMETRIC_DEFAULT", **kind)["KeyMetadata"]
        client.update_alias(AliasName=case.holder._alias(1), TargetKeyId=other["KeyId"])
        if other["KeyState"] == "Enabled":
            assert (await case.holder.versions(case.scope)).faults == (KekFault.FOREIGN,)
        with pytest.raises(Rejected, match="kek_"):
            await case.holder.wrap(Secret(DEK), case.context)
    client.update_alias(AliasName=case.holder._alias(1), TargetKeyId=made)

    class Liar:
        def __getattr__(self, name: str) -> Any:
            return getattr(client, name)

        def encrypt(self, **given: Any) -> Any:
            return client.encrypt(**given) | {"KeyId": "arn:aws:kms:eu-central-1:666:key/evil"}

        def decrypt(self, **_: Any) -> Any:
            return {"Plaintext": bytes(32), "KeyId": "arn:aws:kms:eu-central-1:666:key/evil"}

        def re_encrypt(self, **given: Any) -> Any:
            return client.re_encrypt(**given) | {"SourceKeyId": "arn:aws:kms:eu-central-1:666:key/evil"}

    case.holder._client = Liar()
    for act in (
        case.holder.wrap(Secret(DEK), case.context), case.holder.unwrap(wrapped, case.context),
        case.holder.rewrap(wrapped, case.context),
    ):  # fmt: skip
        with pytest.raises(Rejected, match="kek_foreign"):
            await act


async def test_the_rights_at_kms_are_those_of_the_page(kms: str) -> None:
    """A whole life of a KEK needs the rights that docs/key-holders.md lists, all of them and no other."""
    asked: set[str] = set()
    case = aws_case(kms, a_context())
    case.holder._client.meta.events.register("before-call.kms", lambda model, **_: asked.add(model.name))
    await case.holder.rotate(case.scope, expected=0)
    old = await case.holder.wrap(Secret(DEK), case.context)
    await case.holder.rotate(case.scope, expected=1)
    moved = await case.holder.rewrap(old, case.context)
    await case.holder.retire(case.scope, below=2)
    assert (await case.holder.unwrap(moved, case.context)).matches(DEK)
    page = (Path(__file__).parents[2] / "docs" / "key-holders.md").read_text("utf-8")
    table = [row for row in page.splitlines() if row.startswith("| `kms:")]
    listed = {right.removesuffix("From").removesuffix("To") for right in re.findall(r"`kms:(\w+)`", "".join(table))}
    assert asked == listed
    assert set(KekFault) == set(re.findall(r"^\| `(kek_\w+)` \|", page, re.MULTILINE))


async def test_a_module_is_asked_for_its_pin_once(token: Token) -> None:
    """A refused PIN is not sent again, for modules lock; a token that is absent and a doubled version are named."""
    context = a_context()
    sent: list[int] = []

    def wrong() -> Secret:
        sent.append(1)
        return Secret("9999")

    holder = pkcs11_holder(token, pin=wrong)
    for _ in range(3):
        with pytest.raises(Unavailable, match="hsm_pin_refused"):
            await holder.versions(context.scope)
    assert len(sent) == 1
    with pytest.raises(Unavailable, match="hsm_token_missing"):
        await pkcs11_absent(token).versions(context.scope)
    good = pkcs11_holder(token)
    await good.rotate(context.scope, expected=0)
    token.change(context.scope.tenant_kek, lambda keys: keys[0].copy({}))
    assert (await good.versions(context.scope)).faults == (KekFault.FOREIGN,)


async def test_the_chosen_keeper_is_built_from_settings(bao: Bao, kms: str, token: Token, tmp_path: Path) -> None:
    """Each setting gives its own keeper, which wraps and unwraps; without its library the start is refused."""
    pin = tmp_path / "pin"
    pin.write_text(f"{token.pin}\n")
    pin.chmod(0o600)
    chosen: list[dict[str, Any]] = [
        {}, {"kek_holder": "aws", "kek_aws_region": "eu-central-1", "kek_aws_endpoint": kms},
        {"kek_holder": "pkcs11", "kek_pkcs11_module": token.module, "kek_pkcs11_token": token.label,
         "kek_pkcs11_pin_file": str(pin)},
    ]  # fmt: skip
    for given in chosen:
        context = a_context()

        async def login(client: ClientId = context.client_id) -> tuple[BaoHttp, Secret, str]:
            return bao.http, await bao.lease(client, "custody", "profile"), "lease-1"

        keeper = key_holders(check(dataclasses.replace(Settings(home=tmp_path), **given)))(login)
        made = await keeper.rotate(context.scope, expected=0)
        assert made.holder.value == given.get("kek_holder", "transit")
        wrapped = await keeper.wrap(Secret(DEK), context)
        assert wrapped.key_ref == parse(str(wrapped.key_ref))
        assert (await keeper.unwrap(wrapped, context)).matches(DEK)


async def test_without_its_library_a_keeper_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal names the extra to install."""
    for extra, module, given in (
        ("aws", "boto3", {"kek_aws_region": "eu-central-1"}),
        ("pkcs11", "pkcs11", {"kek_pkcs11_module": "/m", "kek_pkcs11_token": "t", "kek_pkcs11_pin_file": "/p"}),
    ):
        monkeypatch.delitem(sys.modules, f"byokeep.adapters.kms.{extra}", raising=False)
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(Rejected, match="extra_missing") as caught:
            key_holders(check(dataclasses.replace(Settings(), kek_holder=extra, **given)))
        assert f"byokeep[{extra}]" in caught.value.next_step
