"""What the database refuses by itself, whoever writes: values, foreign places, unknown providers, doubled keys."""

# ruff: noqa: S608 - statements are put together from made-up values
from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from uuid import UUID, uuid4

import psycopg
import pytest

from byokeep.adapters.postgres.database import PostgresDatabase
from byokeep.core.errors import Conflict, Rejected
from byokeep.core.events import EventName
from byokeep.core.model import Provider
from byokeep.core.ref import parse
from tests.support.postgres import FreshDatabase, statements
from tests.support.postgres_rows import OPERATOR, event, installation_sql

pytest_plugins = ["tests.support.postgres_fixtures"]

INSERT_REF = """
INSERT INTO byokeep.credential_ref
    (id, client_id, provider, kind, purpose, environment, secret_ref, version, state, verification, risk, created_by,
     rotation_due_at)
VALUES (%(id)s, %(client)s, %(provider)s, 'provider_api_key', %(purpose)s, 'development', %(ref)s, 1, 'active',
    'verified', 'standard', %(operator)s, now() + %(due)s::interval)
"""

# Names and types under which a value or a ciphertext would be stored, and the columns that look so but are not.
VALUE_NAME = re.compile(r"value|secret|token|passw|cipher|crypt|cookie|plain|credential|bearer|wrapped|(^|_)key|blob")
NOT_A_VALUE = {
    "credential_ref.secret_ref": "a place, by constraint",
    "job.secrets": "names of providers",
    "lease.secrets": "names of providers",
    "job_template.secrets": "names of providers",
    "api_token.keyed_hash": "keyed hash of our own token; the key is in the store",
    "subject.password_phc": "argon2id of an operator's own password",
    "subject.password_mark": "digest of password_phc",
    "permit.idempotency_key": "made by the caller, one use",
    "scheduled_effect.idempotency_key": "made by the caller, one use",
    "platform_app.secret_version": "which version the store has; a number",
    "alert.dedup_key": "made from ids",
    "incident.dedup_key": "made from ids, by constraint",
    "profile_generation.blob_key": "where the sealed blob lies: ids and a number",
    "profile_generation.blob_size": "bytes of the sealed blob; a number",
    "profile_generation.blob_sha256": "digest of a ciphertext",
    "profile_generation.key_state": "state of the key that sealed it",
    "profile_incident_item.key_destroyed_at": "when",
    "vault_key_transition.key_id": "an id of ours, by constraint",
}
BINARY = {
    "api_token.keyed_hash", "audit_head.hash", "audit_record.hash", "audit_record.payload", "audit_epoch.leaf",
    "audit_epoch.heads", "connection.state_hash", "connection.binding_hash",
    "passkey.identifier", "passkey.public_half",  # public by their nature
    "sso_link.identity",
    "profile_generation.blob_sha256", "profile_generation.manifest_hash", "profile_generation.accounts_hash",
    "portal_look.logo",  # a picture that people are shown, by constraint
    "procedure_run.evidence", "procedure_run.facts",  # numbers, ids and codes alone, by constraint
}  # fmt: skip


@pytest.fixture(scope="module")
def client(shared_postgres: FreshDatabase) -> UUID:
    """A client beside another one."""
    mine, other = uuid4(), uuid4()
    shared_postgres.sql(installation_sql())
    for name, made in (("Mine", mine), ("Other", other)):
        shared_postgres.sql(
            f"INSERT INTO byokeep.client (id, name, created_by) VALUES ('{made}', '{name}', '{OPERATOR}')"
        )
    return mine


@pytest.fixture
def owner(shared_postgres: FreshDatabase) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A connection as owner whose work is rolled back: past grants and row policies, not past constraints."""
    connection = psycopg.connect(shared_postgres.conninfo("byokeep_owner"))
    yield connection
    connection.rollback()
    connection.close()


def insert(owner: psycopg.Connection[tuple[object, ...]], client: UUID, **changed: str) -> str:
    """Insert a reference; returns the constraint that refused it, or nothing."""
    provider = changed.get("provider", "openai")
    values = {
        "id": uuid4(), "client": client, "provider": provider, "purpose": "default", "operator": OPERATOR,
        "ref": f"vault://kv/clients/{client}/providers/{provider}", "due": "90 days",
    }  # fmt: skip
    try:
        with owner.transaction(force_rollback=True):
            owner.execute(INSERT_REF, values | changed)
    except psycopg.errors.CheckViolation as refused:
        return refused.diag.constraint_name or ""
    except psycopg.errors.DataError:
        return "not a value of the type"
    return ""


@pytest.mark.req("R1.1-3")
def test_postgres_secret_ref_takes_a_pointer_only(owner: psycopg.Connection[tuple[object, ...]], client: UUID) -> None:
    """A value, a decorated pointer, another scheme and a huge one are refused by the grammar and by a constraint."""
    good = f"vault://kv/clients/{client}/providers/openai"
    assert insert(owner, client) == ""
    assert str(parse(good)) == good
    for bad in (
        "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789", f"{good}?value=sk-abc", f"{good}#v", f"{good} ", f" {good}",
        f"{good}\n", good.replace("vault", "VAULT"), good.replace("vault://", "vault://user:pw@"), good + "x" * 10_000,
        good.upper(), good.replace("openai", "../openai"), f"https://kv/clients/{client}/providers/openai", "",
    ):  # fmt: skip
        assert insert(owner, client, ref=bad) == "credential_ref_secret_ref_ck", bad[:80]
        with pytest.raises(Rejected, match="bad_secret_ref"):
            parse(bad)


@pytest.mark.req("R3.2-3")
def test_postgres_secret_ref_stays_with_its_client(owner: psycopg.Connection[tuple[object, ...]], client: UUID) -> None:
    """A row of one client can not point to another's place, to another provider's, or to a place of the platform."""
    for bad in (
        f"vault://kv/clients/{uuid4()}/providers/openai",
        f"vault://kv/clients/{client}/providers/anthropic",
        "vault://kv/platform/token-key",
        "kms://transit/leases",
    ):
        assert insert(owner, client, ref=bad) == "credential_ref_secret_ref_ck", bad


@pytest.mark.req("R3.2-2")
def test_postgres_provider_is_a_closed_set(owner: psycopg.Connection[tuple[object, ...]], client: UUID) -> None:
    """Exactly the published providers fit; case, blanks, look-alikes, wildcards and paths do not."""
    for provider in Provider:
        assert insert(owner, client, provider=provider.value) == ""
    for bad in ("Google", "openai ", " openai", "\u043epenai", "*", "../x", "", "openai/meta", "stripe"):
        assert "provider" in insert(owner, client, provider=bad), repr(bad)


@pytest.mark.req("R3.2-5")
def test_postgres_rotation_is_due_within_bounds(owner: psycopg.Connection[tuple[object, ...]], client: UUID) -> None:
    """A rotation date in the past, at once, beyond the bound or not a time at all is refused."""
    for good in ("1 day", "400 days"):
        assert insert(owner, client, due=good) == ""
    for bad in ("-1 day", "0", "401 days", "7000 years", "infinity"):
        assert insert(owner, client, due=bad) == "credential_ref_rotation_due_at_ck", bad
    assert insert(owner, client, due="soon") == "not a value of the type"


@pytest.mark.req("R3.2-1")
@pytest.mark.parametrize(
    "column", ["client_id", "provider", "secret_ref", "created_at", "created_by", "rotation_due_at", "state", "version"]
)
def test_postgres_a_reference_lacks_nothing(
    owner: psycopg.Connection[tuple[object, ...]], client: UUID, column: str
) -> None:
    """Every field of a reference must be there; a row without one is refused, a whole row is taken."""
    whole = {
        "id": uuid4(), "client": client, "provider": "openai", "purpose": "default", "operator": OPERATOR,
        "ref": f"vault://kv/clients/{client}/providers/openai", "due": "90 days",
    }  # fmt: skip
    with owner.transaction(force_rollback=True):
        owner.execute(INSERT_REF, whole)
        with pytest.raises(psycopg.errors.NotNullViolation), owner.transaction():
            owner.execute(f"UPDATE byokeep.credential_ref SET {column} = NULL WHERE id = %(id)s", whole)


@pytest.mark.req("R3.2-6")
async def test_postgres_two_creates_make_one_ref(shared_postgres: FreshDatabase, client: UUID) -> None:
    """Of two creates at the same time one wins and one is told Conflict with the constraint's name, each time."""
    own = "-- name: ref_insert\n" + re.sub(r"%\((\w+)\)s", r":\1", INSERT_REF.replace("%(due)s::interval", ":due"))
    own = own.replace("'active'", "'pre_activation'").replace("'verified'", "'pending'")  # as one is made
    own = own.replace("now() + :due", "now() + CAST(:due AS interval)")
    database = PostgresDatabase(shared_postgres.url("byokeep_web"), statements=statements(own))

    async def create(purpose: str) -> str:
        values = {"id": uuid4(), "client": client, "provider": Provider.META, "purpose": purpose, "due": "90 days"}
        ref = f"vault://kv/clients/{client}/providers/meta"
        try:
            async with database.begin(client_id=client) as tx:
                await tx.all(dict, "ref_insert", **values, ref=ref, operator=OPERATOR)
                await tx.append(event(client, EventName.KEY_STORED, about=values["id"]))
                await asyncio.sleep(0.01)
        except Conflict as conflict:
            return f"{conflict.code}:{conflict.fields['constraint']}"
        return "made"

    for attempt in range(5):
        outcomes = await asyncio.gather(create(f"try{attempt}"), create(f"try{attempt}"))
        assert sorted(outcomes) == ["already_exists:credential_ref_one_live_uq", "made"]
    await database.close()


def value_like_columns(database: FreshDatabase) -> list[str]:
    """Columns whose name or type could hold a value or a ciphertext."""
    rows = database.sql(
        "SELECT table_name || '.' || column_name, column_name, data_type FROM information_schema.columns"
        " WHERE table_schema = 'byokeep' ORDER BY 1"
    ).splitlines()
    assert len(rows) > 100, "no columns were looked at"
    found = []
    for place, column, kind in (row.split("|") for row in rows):
        named = VALUE_NAME.search(column) and place not in NOT_A_VALUE
        typed = kind in ("bytea", "json", "jsonb", "xml", "oid") and place not in BINARY
        if named or typed:
            found.append(place)
    return found


@pytest.mark.req("R1.1-2")
def test_postgres_has_no_column_for_a_value(postgres: FreshDatabase) -> None:
    """No column is named or typed for a value or a ciphertext; a column that is, is found."""
    assert value_like_columns(postgres) == []
    for added in ("secret_value text", "ciphertext text", "wrapped_dek text", "notes jsonb", "extra bytea"):
        postgres.sql(f"ALTER TABLE byokeep.client ADD COLUMN {added}")
        name = added.split()[0]
        assert value_like_columns(postgres) == [f"client.{name}"], "the check must see it"
        postgres.sql(f"ALTER TABLE byokeep.client DROP COLUMN {name}")


@pytest.mark.req("R1.1-2")
def test_postgres_a_runs_facts_take_no_value(owner: psycopg.Connection[tuple[object, ...]]) -> None:
    """Figures, ids, codes and times stand in them; a key, a sentence, anything nested or too long is refused."""
    insert = "INSERT INTO byokeep.procedure_run (id, procedure, object_id, asked_by, started_by, facts, evidence)"

    def refused(facts: object, evidence: object = {}) -> bool:
        values = (uuid4(), "x", uuid4(), OPERATOR, OPERATOR, json.dumps(facts), json.dumps(evidence))
        try:
            with owner.transaction(force_rollback=True):
                owner.execute(insert + " VALUES (%s, %s, %s, %s, %s, %s::jsonb, %s::jsonb)", values)
        except psycopg.errors.CheckViolation:
            return True
        return False

    good = {
        "version": 3,
        "provider": "openai",
        "job": str(uuid4()),
        "at": "2026-05-01T12:00:00Z",
        "reason": "",
        "ok": True,
    }
    assert not refused(good, {"write": 7})
    for bad in ("sk-proj-abcdefghijklmnopqrstuvwxyz", "A" * 40, "two words", "a" * 41, ["a"], {"a": 1}):
        assert refused({"x": bad}), bad
    assert not refused({"count": -3, "most": 2**53 - 1}, {"write": 0, "done": 2**53 - 1})
    for evidence in ("7", {"write": "7"}, {"write": [7]}, [7], *({"write": one} for one in (-1, 1.5, 2**53, 1e300))):
        assert refused({}, evidence), evidence
    for number in (1.5, 2**53, -(2**53), 1e300):
        assert refused({"version": number}), number
    assert refused("sk")


def test_postgres_names_take_no_secret(owner: psycopg.Connection[tuple[object, ...]]) -> None:
    """A client's name with the shape of a key is refused; a company's name is not."""

    def refused(name: str) -> bool:
        try:
            with owner.transaction(force_rollback=True):
                owner.execute(
                    "INSERT INTO byokeep.client (id, name, created_by) VALUES (%s, %s, %s)", (uuid4(), name, OPERATOR)
                )
        except psycopg.errors.CheckViolation:
            return True
        return False

    assert not refused("Müller & Söhne (Köln), Ltd.".replace(",", ""))
    for bad in ("sk-proj-abcdefghijklmnopqrstuvwxyz", "A" * 40, "x\ny", "<script>", ""):
        assert refused(bad), bad
