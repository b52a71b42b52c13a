"""A reference has one spelling; every other text is refused and not repeated."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byokeep.core.errors import Rejected
from byokeep.core.model import ClientId, Provider
from byokeep.core.ref import AppRef, KeyRef, ProfileRef, SecretPart, SecretRef, parse, parse_client_id, parse_provider
from tests.support.advice import assert_advice

CLIENT = "7f0c9b1e-2a4d-4c55-9d3e-0a1b2c3d4e5f"
GOOD = f"vault://kv/clients/{CLIENT}/providers/openai"
KEY = "sk-proj-Zq8vT1nW4xY7bC0dF3gH6jK9mP2rS5u"


@given(st.uuids(), st.sampled_from(Provider))
def test_round_trip(client: UUID, provider: Provider) -> None:
    """What is written is read back byte for byte."""
    ref = SecretRef(ClientId(client), provider)
    assert parse(str(ref)) == ref
    assert str(parse(str(ref))) == str(ref)
    assert ref.path == f"kv/clients/{client}/providers/{provider.value}"


@given(st.text(max_size=220))
def test_nothing_else_parses(text: str) -> None:
    """Arbitrary text is refused, or is exactly its own canonical form."""
    refusal = None
    try:
        assert str(parse(text)) == text
    except Rejected as error:
        refusal = error
    # Short texts occur in the code by chance.
    assert refusal is None or (refusal.code == "bad_secret_ref" and (len(text) < 12 or text not in str(refusal)))


@pytest.mark.parametrize(
    "bad",
    [
        KEY,
        f"vault://kv/clients/{CLIENT}/providers/openai?value={KEY}",
        f"vault://user:pw@kv/clients/{CLIENT}/providers/openai",
        f"{GOOD}#x",
        f"{GOOD} ",
        f" {GOOD}",
        f"{GOOD}\n",
        f"{GOOD}/",
        GOOD.replace("vault", "VAULT"),
        GOOD.replace(CLIENT, CLIENT.upper()),
        GOOD.replace("openai", "open-ai"),
        GOOD.replace("openai", "\u043epenai"),
        GOOD.replace("/providers", "/../providers"),
        GOOD.replace("clients/", "clients/%2e%2e/"),
        GOOD.replace("clients/", "clients//"),
        "vault://kv/clients/*/providers/openai",
        "vault://kv/clients/{{identity.entity.id}}/providers/openai",
        f"vault://kv/clients/{CLIENT}/providers/openai\x00",
        "vault://" + "a" * 10_000,
        "kms://transit/../x",
        "kms://unknown/x",
        "",
    ],
)
@pytest.mark.req("R4.1-5")
def test_named_defects(bad: str) -> None:
    """Each trick of encoding, case and injection is refused with one code and no echo."""
    with pytest.raises(Rejected) as caught:
        parse(bad)
    assert caught.value.code == "bad_secret_ref"
    assert_advice(caught.value, "vault://kv/clients/<client uuid>/providers/<provider>")
    assert KEY not in f"{caught.value}{caught.value.next_step}"


def test_key_refs() -> None:
    """A key is named by its holder and id."""
    assert parse("kms://transit/leases") == KeyRef("transit", "leases")


@pytest.mark.parametrize("bad", [CLIENT.upper(), f"{{{CLIENT}}}", CLIENT.replace("-", ""), f"urn:uuid:{CLIENT}", "root",
                                 f"{CLIENT}\n", f"../{CLIENT}", CLIENT[:-1] + "\uff10"])  # fmt: skip
@pytest.mark.req("R4.1-5")
def test_client_ids_have_one_spelling(bad: str) -> None:
    """UUIDs that Python's parser would repair are refused."""
    with pytest.raises(Rejected, match=r"bad_client_id\b") as caught:
        parse_client_id(bad)
    assert_advice(caught.value, "the client's UUID", "`byokeep client list`")
    good = uuid4()
    assert parse_client_id(str(good)) == good


@pytest.mark.parametrize("bad", ["Google", "openai ", "\u043epenai", "*", "../x", "open-router", "OpenRouter", ""])
@pytest.mark.req("R3.2-2")
def test_provider_names_are_exact(bad: str) -> None:
    """No case folding, no aliases, no look-alikes."""
    with pytest.raises(Rejected) as caught:
        parse_provider(bad)
    assert caught.value.code == "unknown_provider"
    assert_advice(caught.value, "Use one of: google, anthropic, openai, ")
    assert all(parse_provider(provider.value) is provider for provider in Provider)


ACCOUNT = UUID("0f8fad5b-d9cb-469f-a165-70867728950e")


@pytest.mark.parametrize("part", SecretPart)
def test_a_part_is_a_clients_webhook_or_one_accounts(part: SecretPart) -> None:
    """The webhook's secret and the administrator's key have no account, every other part has one; all is read back."""
    client = ClientId(UUID(CLIENT))
    fits, misfits = (None, ACCOUNT) if part in (SecretPart.WEBHOOK, SecretPart.ADMIN) else (ACCOUNT, None)
    ref = SecretRef(client, Provider.X, part, fits)
    below = part.value if fits is None else f"accounts/{ACCOUNT}/{part}"
    assert str(ref) == f"vault://kv/clients/{CLIENT}/providers/x/{below}"
    assert parse(str(ref)) == ref
    for account, named in ((misfits, part), (ACCOUNT, None)):
        with pytest.raises(ValueError, match=r"^every other part is one account's$"):
            SecretRef(client, Provider.X, named, account)


@pytest.mark.parametrize(
    "below", ["webhook/x", "tokens", "access", f"accounts/{ACCOUNT}", f"accounts/{ACCOUNT}/webhook",
              f"accounts/{ACCOUNT}/secret", f"accounts/{str(ACCOUNT).upper()}/tokens", "accounts//tokens"],
)  # fmt: skip
def test_nothing_else_lies_below_a_provider(below: str) -> None:
    """A part that is not one account's, an account without a part and an unknown part are refused."""
    with pytest.raises(Rejected, match="bad_secret_ref"):
        parse(f"{GOOD}/{below}")


def test_a_profile_and_a_key_have_their_places() -> None:
    """Both are put together as they are read; their places are spelt in one way."""
    profile = ProfileRef(ClientId(UUID(CLIENT)), ACCOUNT)
    assert profile.path == f"kv/clients/{CLIENT}/profiles/{ACCOUNT}"
    assert parse(str(profile)) == profile
    assert parse(f"kms://transit/{'k' * 63}") == KeyRef("transit", "k" * 63)
    assert str(KeyRef("transit", "slot0")) == "kms://transit/slot0"
    for bad in (f"{profile}/", f"kms://transit/{'k' * 64}", "kms://transit/-k", "kms://transit/K", "kms://aws/k"):
        with pytest.raises(Rejected, match="bad_secret_ref"):
            parse(bad)


def test_where_our_own_apps_secret_lies() -> None:
    """One place for each login of a platform; what is no login's name is refused before it gets into a path."""
    assert AppRef(Provider.META, "instagram_login").path == "kv/platform/apps/meta/instagram_login"
    assert AppRef(Provider.X, "x" * 32).path == f"kv/platform/apps/x/{'x' * 32}"
    for bad in ("", "X", "../x", "x/y", "1x", "_x", "x-y", "x\n", "x" * 33):
        with pytest.raises(Rejected, match=r"^unknown_login\b") as caught:
            AppRef(Provider.X, bad)
        assert_advice(caught.value, "`byokeep account logins`")
