"""A reference has one spelling; every other text is refused and not repeated."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byokeep.core.errors import Rejected
from byokeep.core.model import ClientId, Provider
from byokeep.core.ref import KeyRef, SecretRef, parse, parse_client_id, parse_provider

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
        "kms://aws/../x",
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
    assert KEY not in f"{caught.value}{caught.value.next_step}"


def test_key_refs() -> None:
    """A key is named by its holder and id."""
    assert parse("kms://transit/leases") == KeyRef("transit", "leases")


@pytest.mark.parametrize("bad", [CLIENT.upper(), f"{{{CLIENT}}}", CLIENT.replace("-", ""), f"urn:uuid:{CLIENT}", "root",
                                 f"{CLIENT}\n", f"../{CLIENT}", CLIENT[:-1] + "\uff10"])  # fmt: skip
def test_client_ids_have_one_spelling(bad: str) -> None:
    """UUIDs that Python's parser would repair are refused."""
    with pytest.raises(Rejected):
        parse_client_id(bad)
    assert parse_client_id(str(uuid4()))


@pytest.mark.parametrize("bad", ["Google", "openai ", "\u043epenai", "*", "../x", "open-router", "OpenRouter", ""])
def test_provider_names_are_exact(bad: str) -> None:
    """No case folding, no aliases, no look-alikes."""
    with pytest.raises(Rejected) as caught:
        parse_provider(bad)
    assert caught.value.code == "unknown_provider"
    assert all(parse_provider(provider.value) is provider for provider in Provider)
