"""Who may do what in the database: roles, row policies, and the audit trail that nobody rewrites."""

# ruff: noqa: S608 - statements are put together from names of tables
from __future__ import annotations

import re
from collections.abc import Iterator
from uuid import UUID, uuid4

import psycopg
import pytest

from byokeep.adapters.postgres.database import PostgresDatabase, load
from byokeep.adapters.postgres.embedded import ROLES
from byokeep.core.audit import read_payload
from byokeep.core.errors import Denied
from byokeep.core.events import EventName
from tests.support.postgres import FreshDatabase, drop_database, fresh_database, statements
from tests.support.postgres_rows import OPERATOR, RUNNER, client_sql, event, populate

pytest_plugins = ["tests.support.postgres_fixtures"]

SERVICES = [role for role in ROLES if role != "byokeep_owner"]
WALLED = {
    "client": "id", "credential_ref": "client_id", "sop_run": "client_id", "platform_account": "client_id",
    "job": "client_id", "lease": "client_id", "permit": "client_id", "key_transition": "client_id",
    "alert": "client_id", "leak_fingerprint": "client_id", "audit_record": "chain", "audit_head": "chain",
    "account_grant": "client_id", "connection": "client_id", "refresh_journal": "client_id", "reenabling": "client_id",
    "scheduled_effect": "client_id", "profile": "client_id", "profile_account": "client_id",
    "profile_generation": "client_id", "profile_opening": "client_id", "profile_work": "client_id",
    "profile_incident": "client_id", "profile_incident_item": "client_id", "kek_version": "client_id",
    "kek_rotation": "client_id", "vault_key_transition": "client_id", "procedure_run": "client_id",
    "notification": "client_id", "due_start": "client_id", "incident": "client_id",
    "tool_call": "client_id", "lease_calls": "client_id", "job_template": "client_id", "dry_run": "client_id",
    "revocation_item": "client_id",
    "provider_usage": "client_id", "contact_address": "client_id", "portal_look": "client_id",
}  # fmt: skip
# Tables with a client_id and no wall: see objects/walls.sql.
NOT_WALLED = {"switch", "subject_client", "usage"}  # usage: a view, walled by its tables

ANYTHING = "00000000-0000-4000-8000-00000000000f"
REFUSED_TO_ALL = (
    "INSERT INTO byokeep.audit_record SELECT * FROM byokeep.audit_record",
    "UPDATE byokeep.audit_record SET outcome = 'ok'",
    "DELETE FROM byokeep.audit_record",
    "DELETE FROM byokeep.tool_call",
    "UPDATE byokeep.lease_calls SET count = 0",
    "UPDATE byokeep.dry_run SET number = 1",
    "TRUNCATE byokeep.audit_record",
    "UPDATE byokeep.audit_head SET seq = 0",
    f"INSERT INTO byokeep.audit_head (chain, seq, hash) VALUES ('{ANYTHING}', 0, '')",
    "DELETE FROM byokeep.audit_epoch",
    "UPDATE byokeep.audit_vocabulary SET writers = '{byokeep_web}'",
    "UPDATE byokeep.key_transition SET reason = 'x'",
    "DELETE FROM byokeep.credential_ref",
    "DELETE FROM byokeep.switch",
    "UPDATE byokeep.credential_ref SET secret_ref = 'x'",
    "ALTER TABLE byokeep.audit_record DISABLE TRIGGER ALL",
    "DROP TABLE byokeep.audit_record",
    "CREATE TABLE byokeep.mine (id int)",
    "CREATE TABLE public.mine (id int)",
    "CREATE TEMP TABLE mine (id int)",
    "SET ROLE byokeep_owner",
    "SET session_replication_role = replica",
)
# What makes a session, a password or the end of a token: the broker's alone, whose names ever stand in it.
LOGINS = (
    f"SELECT byokeep.token_issue('{ANYTHING}', '{OPERATOR}', '\\x00', 'session', 60, NULL, 0, 'session.login',"
    f" '{OPERATOR}', '{ANYTHING}', '')",
    f"SELECT byokeep.token_end('{ANYTHING}', 0, 'session.logout', '{OPERATOR}', '{ANYTHING}', '')",
    f"SELECT byokeep.password_put('{OPERATOR}', 'x', '{ANYTHING}', '')",
)
REFUSED = {
    "byokeep_web": (
        "INSERT INTO byokeep.lease DEFAULT VALUES",
        "INSERT INTO byokeep.permit DEFAULT VALUES", "INSERT INTO byokeep.switch DEFAULT VALUES",
        "UPDATE byokeep.switch SET closed = false", "INSERT INTO byokeep.approval DEFAULT VALUES",
        "INSERT INTO byokeep.audit_epoch DEFAULT VALUES", "SELECT args FROM procrastinate.procrastinate_jobs",
        "DELETE FROM byokeep.leak_fingerprint", "UPDATE byokeep.leak_fingerprint SET ref_id = client_id",
        "UPDATE byokeep.revocation_item SET state = 'revoked'", "UPDATE byokeep.revocation_item SET seq = 1",
        "INSERT INTO byokeep.provider_usage DEFAULT VALUES", "UPDATE byokeep.job SET state = 'closed'",
        "UPDATE byokeep.client SET created_by = id", "UPDATE byokeep.api_token SET keyed_hash = NULL",
        "UPDATE byokeep.client SET state = 'active'", "UPDATE byokeep.client SET name = 'x'",
        "LOCK TABLE byokeep.subject_client IN ROW EXCLUSIVE MODE",
        "INSERT INTO byokeep.subject DEFAULT VALUES", "UPDATE byokeep.subject SET roles = '{admin}'",
        "UPDATE byokeep.subject SET password_phc = NULL", "INSERT INTO byokeep.api_token DEFAULT VALUES",
        "UPDATE byokeep.api_token SET expires_at = now()", "UPDATE byokeep.api_token SET revoked_at = NULL",
        "INSERT INTO byokeep.subject_client DEFAULT VALUES", "DELETE FROM byokeep.subject_client",
        "DELETE FROM byokeep.api_token", "DELETE FROM byokeep.subject", "SELECT byokeep.able_admins()",
        f"SELECT byokeep.subject_put('{ANYTHING}', 'machine', 'x', '{{runner}}', 'active', true, '{{}}', NULL, 0,"
        f" 'machine.created', '{ANYTHING}', '{ANYTHING}', '')",
        "SELECT password_phc FROM byokeep.subject", "SELECT * FROM byokeep.subject", "SELECT byokeep.subject_lock()",
        *LOGINS,
    ),
    "byokeep_broker": (
        "UPDATE byokeep.subject SET password_phc = NULL", "UPDATE byokeep.api_token SET revoked_at = now()",
        "INSERT INTO byokeep.subject_client DEFAULT VALUES", "UPDATE byokeep.subject SET held_until = NULL",
        "INSERT INTO byokeep.subject DEFAULT VALUES", "UPDATE byokeep.subject SET roles = '{admin}'",
        "INSERT INTO byokeep.api_token DEFAULT VALUES", "INSERT INTO byokeep.client DEFAULT VALUES",
        "INSERT INTO byokeep.credential_ref DEFAULT VALUES", "UPDATE byokeep.credential_ref SET state = 'active'",
        "SELECT * FROM byokeep.value_fingerprint", "DELETE FROM procrastinate.procrastinate_jobs",
        "SELECT * FROM byokeep.leak_fingerprint",
    ),
    "byokeep_killswitch": (
        "UPDATE byokeep.switch SET closed = false", "UPDATE byokeep.job SET state = 'open'",
        "UPDATE byokeep.job SET state = 'closed'", "INSERT INTO byokeep.job DEFAULT VALUES",
        "INSERT INTO byokeep.switch (scope, closed, epoch, reason, by, installation_id)"
        " SELECT 'lane:browser', false, 0, 'installed', id, id FROM byokeep.installation",
        "INSERT INTO byokeep.lease DEFAULT VALUES", "INSERT INTO byokeep.permit DEFAULT VALUES",
        "INSERT INTO byokeep.approval DEFAULT VALUES", "UPDATE byokeep.approval SET used_at = now()",
        "UPDATE byokeep.client SET state = 'active'", "UPDATE byokeep.alert SET closed_at = now()",
        "SELECT password_phc FROM byokeep.subject", "UPDATE byokeep.api_token SET revoked_at = NULL",
        "SELECT subject_id FROM byokeep.passkey", "SELECT identity FROM byokeep.sso_link",
        "SELECT * FROM byokeep.credential_ref", "SELECT * FROM byokeep.audit_record",
        "SELECT * FROM byokeep.value_fingerprint", "SELECT id FROM procrastinate.procrastinate_jobs",
        "SELECT * FROM byokeep.leak_fingerprint", *LOGINS,
    ),
    "byokeep_worker": (
        "INSERT INTO byokeep.lease DEFAULT VALUES",
        "INSERT INTO byokeep.permit DEFAULT VALUES", "INSERT INTO byokeep.credential_ref DEFAULT VALUES",
        "SELECT keyed_hash FROM byokeep.api_token", "SELECT password_phc FROM byokeep.subject",
        "SELECT id FROM byokeep.passkey", "SELECT identity FROM byokeep.sso_link",
        "UPDATE byokeep.switch SET closed = false", "UPDATE byokeep.client SET state = 'active'",
        "UPDATE byokeep.permit SET state = 'done'", "UPDATE byokeep.job SET state = 'open'",
        "UPDATE byokeep.job SET state = 'closed'",
        "SELECT digests FROM byokeep.leak_fingerprint", "UPDATE byokeep.leak_fingerprint SET ref_id = client_id",
        "UPDATE byokeep.value_fingerprint SET ref_id = ref_id", "DELETE FROM byokeep.leak_fingerprint", *LOGINS,
    ),
    "byokeep_auditor": (
        "SELECT keyed_hash FROM byokeep.api_token", "SELECT password_phc FROM byokeep.subject",
        "UPDATE byokeep.alert SET closed_at = now()", "INSERT INTO byokeep.client DEFAULT VALUES",
        "SELECT id FROM procrastinate.procrastinate_jobs", "UPDATE byokeep.switch SET closed = true",
        "SELECT * FROM byokeep.value_fingerprint", "SELECT * FROM byokeep.leak_fingerprint", *LOGINS,
    ),
}  # fmt: skip
ALLOWED = {
    "byokeep_web": ("SELECT * FROM byokeep.api_token", "SELECT byokeep.subject_recorded(NULL)"),
    "byokeep_broker": (
        "UPDATE byokeep.switch SET closed = true",
        "SELECT keyed_hash FROM byokeep.api_token",
        "SELECT password_phc FROM byokeep.subject",
    ),
    "byokeep_killswitch": (
        "UPDATE byokeep.switch SET closed = true",
        "UPDATE byokeep.job SET state = 'killed'",
        "SELECT * FROM byokeep.switch",
        "SELECT keyed_hash FROM byokeep.api_token",
    ),
    "byokeep_worker": ("UPDATE byokeep.credential_ref SET verification = 'failed'", "SELECT * FROM byokeep.switch"),
    "byokeep_auditor": ("SELECT name, roles FROM byokeep.subject", "SELECT * FROM byokeep.audit_record"),
}


@pytest.fixture(scope="module")
def full(request: pytest.FixtureRequest) -> Iterator[tuple[FreshDatabase, UUID, UUID]]:
    """A database with a row in every table and two clients."""
    database = fresh_database(request.getfixturevalue("postgres_server"))
    mine, other = populate(database), uuid4()
    database.sql(client_sql(other))
    yield database, mine, other
    drop_database(database)


def attempt(database: FreshDatabase, role: str, statement: str) -> str:
    """Run a statement as a role and roll it back; returns the refusal's SQLSTATE, or nothing."""
    with psycopg.connect(database.conninfo(role)) as connection:
        try:
            connection.execute("SET LOCAL byokeep.scope = 'all'")
            connection.execute(statement.encode())
        except psycopg.Error as refused:
            return refused.sqlstate or "gone"
        finally:
            connection.rollback()
    return ""


@pytest.mark.req("S-ASVS-32")
@pytest.mark.parametrize("role", SERVICES)
def test_postgres_roles_can_not_stand_in_for_each_other(full: tuple[FreshDatabase, UUID, UUID], role: str) -> None:
    """Each role is refused what is another's, for want of the right, and allowed what is its own."""
    for statement in (*REFUSED_TO_ALL, *REFUSED[role]):
        assert attempt(full[0], role, statement) == "42501", statement
    for statement in ALLOWED[role]:
        assert attempt(full[0], role, statement) == "", statement


@pytest.mark.req("S-ASVS-32")
def test_postgres_grants_are_least(shared_postgres: FreshDatabase) -> None:
    """No service has TRUNCATE, REFERENCES, TRIGGER or a way to another role; no table lets rows go."""
    listed = shared_postgres.sql(
        "SELECT grantee, privilege_type, table_name FROM information_schema.role_table_grants"
        " WHERE table_schema = 'byokeep' AND grantee LIKE 'byokeep\\_%' AND grantee <> 'byokeep_owner'"
    ).splitlines()
    assert len(listed) > 50, "no grants were looked at"
    rights = {tuple(line.split("|")) for line in listed}
    assert {right[1] for right in rights} == {"SELECT", "INSERT", "UPDATE"}
    people = {"subject", "subject_client", "api_token", "passkey", "sso_link"}
    assert not [right for right in rights if right[1] != "SELECT" and right[2] in people]
    assert not [right for right in rights if right[1] != "SELECT" and right[2] in ("audit_record", "audit_head")]
    assert (
        shared_postgres.sql(
            "SELECT m.roleid::regrole, m.member::regrole, m.admin_option FROM pg_auth_members m"
            " WHERE m.roleid >= 16384 OR m.member >= 16384"
        )
        == "pg_signal_backend|byokeep_owner|f"
    ), "the owner's function ends who keeps a kill waiting, and nobody else is a member of anything"
    assert shared_postgres.sql(
        "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'byokeep\\_%'"
        " AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication)"
    ) == "0"  # fmt: skip
    open_functions = (
        "SELECT count(*) FROM pg_proc WHERE pronamespace = 'byokeep'::regnamespace AND proacl::text ~ '[{,]=X'"
    )
    assert shared_postgres.sql(open_functions) == "0"


@pytest.mark.req("S-OWASP-15")
async def test_postgres_audit_trail_is_append_only(full: tuple[FreshDatabase, UUID, UUID]) -> None:
    """UPDATE, DELETE and TRUNCATE of the trail fail for every role, for the owner and for a superuser."""
    database, mine, _ = full
    broker = PostgresDatabase(database.url("byokeep_broker"), statements=statements())
    async with broker.begin(client_id=mine) as tx:
        await tx.append(event(mine))
    await broker.close()
    before = database.sql("SELECT count(*), sum(seq) FROM byokeep.audit_record")
    for table, change in (("audit_record", "outcome = 'ok'"), ("audit_epoch", "leaf = ''")):
        for statement in (
            f"UPDATE byokeep.{table} SET {change}", f"DELETE FROM byokeep.{table}", f"TRUNCATE byokeep.{table}"
        ):  # fmt: skip
            for role in SERVICES:
                assert attempt(database, role, statement) == "42501", (role, statement)
            assert attempt(database, "byokeep_owner", statement) == "BK001", statement
            guarded = f"DO $$ BEGIN SET session_replication_role = replica; {statement};" + (
                " RAISE 'it went through'; EXCEPTION WHEN SQLSTATE 'BK001' THEN NULL; END $$"
            )
            database.sql(guarded)
    for statement in ("UPDATE byokeep.audit_head SET seq = 0", "DELETE FROM byokeep.audit_head"):
        assert attempt(database, "byokeep_owner", statement) == "BK001", statement
    assert attempt(database, "byokeep_owner", "TRUNCATE byokeep.audit_head") == "BK001"
    assert database.sql("SELECT count(*), sum(seq) FROM byokeep.audit_record") == before


@pytest.mark.req("S-ASVS-32")
async def test_postgres_audit_events_have_their_writers(full: tuple[FreshDatabase, UUID, UUID]) -> None:
    """A role can not record another process's event, an unknown event, or columns that its payload does not say."""
    database, mine, other = full
    for role, name in (
        ("byokeep_web", EventName.LEASE_ISSUED), ("byokeep_broker", EventName.CLIENT_CREATED),
        ("byokeep_worker", EventName.SWITCH_OPENED), ("byokeep_auditor", EventName.KEY_STORED),
    ):  # fmt: skip
        opened = PostgresDatabase(database.url(role), statements=statements())
        with pytest.raises(Denied, match="audit_refused rule=not_this_writer"):
            async with opened.begin(client_id=mine) as tx:
                await tx.append(event(mine, name))
        await opened.close()
    said = (
        '{"actor":"%(a)s","client":"%(c)s","event":"job.opened","fields":{},"object":null,"outcome":"ok",'
        '"request":"%(a)s","roles":["dispatcher"],"v":1}'
    )
    call = "SELECT * FROM byokeep.audit_append('%s', '%s', '%s', NULL, '%s', '%s', convert_to('%s', 'UTF8'))"
    a, payload = ANYTHING, said % {"a": ANYTHING, "c": mine}
    assert attempt(database, "byokeep_broker", call % (mine, "job.opened", a, a, "ok", payload)) == ""
    for chain, said_event, actor, outcome, state in (
        (mine, "job.closed", a, "ok", "BK004"), (mine, "job.opened", OPERATOR, "ok", "BK004"),
        (mine, "job.opened", a, "denied", "BK004"), (other, "job.opened", a, "ok", "BK004"),
        (mine, "job.invented", a, "ok", "BK002"),
    ):  # fmt: skip
        assert attempt(database, "byokeep_broker", call % (chain, said_event, actor, a, outcome, payload)) == state
    assert attempt(database, "byokeep_broker", call % (mine, "job.opened", a, a, "ok", "no json")) == "BK004"


MALFORMED = {
    "a member more": ('"v":1}', '"v":1,"w":1}'),
    "a member less": (',"v":1}', "}"),
    "another version": ('"v":1}', '"v":2}'),
    "a space": ('"v":1}', '"v":1 }'),
    "another order": ('"roles":["dispatcher"],"v":1}', '"v":1,"roles":["dispatcher"]}'),
    "a repeated member": ('"v":1}', '"v":1,"v":1}'),
    "an escape": ("dispatcher", "\\u0064ispatcher"),
    "roles no list": ('["dispatcher"]', '"dispatcher"'),
    "no roles": ('["dispatcher"]', "[]"),
    "a role that is no text": ('["dispatcher"]', "[1]"),
    "a text too long": ("{}", '{"kind":"' + "a" * 129 + '"}'),
    "a field twice": ("{}", '{"kind":"a","kind":"a"}'),
    "a comma more": ("{}", '{"kind":"a",}'),
    "fields no object": ("{}", "[]"),
    "no object at all": None,
    "an unknown field": ("{}", '{"note":"x"}'),
    "another event's field": ("{}", '{"jwt_iat":1}'),
    "prose in a field": ("{}", '{"kind":"My password is"}'),
    "a field of another type": ("{}", '{"kind":["use"]}'),
    "a field that is null": ("{}", '{"kind":null}'),
    "a truth value": ("{}", '{"kind":true}'),
    "a fraction": ("{}", '{"kind":1.5}'),
    "another spelling of a number": ("{}", '{"kind":1e1}'),
    "a number too large": ("{}", '{"kind":9007199254740992}'),
    "fields out of order": ("{}", '{"runner":"b","kind":"a"}'),
    "a field's name with a letter for any": ("{}", '{"k_nd":"a"}'),
    "a part of a field's name": ("{}", '{"kin":"a"}'),
    "not our letters": ("{}", '{"kind":"usé"}'),
}  # fmt: skip


@pytest.mark.req("R1.2-6")
@pytest.mark.parametrize("name", MALFORMED)
def test_postgres_takes_no_record_that_a_verifier_would_refuse(
    full: tuple[FreshDatabase, UUID, UUID], name: str
) -> None:
    """Whatever the payload says beyond its columns, or in another spelling, is refused: a record stays for ever."""
    database, mine, _ = full
    good = (
        f'{{"actor":"{ANYTHING}","client":"{mine}","event":"job.opened","fields":{{}},"object":null,"outcome":"ok",'
        f'"request":"{ANYTHING}","roles":["dispatcher"],"v":1}}'
    )
    call = (
        f"SELECT * FROM byokeep.audit_append('{mine}', 'job.opened', '{ANYTHING}', NULL, '{ANYTHING}', 'ok',"
        " convert_to('%s', 'UTF8'))"
    )
    change = MALFORMED[name]
    bad = good.replace(*change) if change else '["job.opened"]'
    assert bad != good
    read_payload(good.encode())
    assert attempt(database, "byokeep_broker", call % bad) == "BK004"
    longest = '{"effects":"","expires_at":"2026-01-31T12:00:00Z","kind":"' + "a" * 128 + '","runner":-1}'
    for fields in (longest, '{"reason":9006999999999999}', '{"kind":0}', "{}"):
        assert attempt(database, "byokeep_broker", call % good.replace("{}", fields)) == ""


def test_postgres_the_auditors_role_holds_no_clients_chain(full: tuple[FreshDatabase, UUID, UUID]) -> None:
    """It puts its own reading on the platform's chain, and appends to no client's."""
    database, mine, _ = full
    installation = database.sql("SELECT id FROM byokeep.installation")
    for chain, client, state in ((installation, "null", ""), (mine, f'"{mine}"', "BK003")):
        said = (
            f'{{"actor":"{ANYTHING}","client":{client},"event":"audit.read","fields":{{}},"object":null,"outcome":"ok",'
            f'"request":"{ANYTHING}","roles":["auditor"],"v":1}}'
        )
        call = f"SELECT byokeep.audit_append('{chain}', 'audit.read', '{ANYTHING}', NULL, '{ANYTHING}', 'ok', '{said}')"
        assert attempt(database, "byokeep_auditor", call) == state


def test_postgres_every_client_table_has_its_wall(shared_postgres: FreshDatabase) -> None:
    """A table with a client's id has a row policy or a reason not to; the functions pin their search path."""
    named = shared_postgres.sql(
        "SELECT table_name FROM information_schema.columns WHERE table_schema = 'byokeep' AND column_name = 'client_id'"
    ).split()
    assert set(named) - NOT_WALLED == {table for table, column in WALLED.items() if column == "client_id"}
    walled = shared_postgres.sql(
        "SELECT relname FROM pg_class JOIN pg_policy ON polrelid = pg_class.oid"
        " WHERE relrowsecurity AND polname = 'client_wall'"
    ).split()
    assert sorted(walled) == sorted(WALLED)
    assert shared_postgres.sql("SELECT reloptions FROM pg_class WHERE relname = 'usage'") == "{security_invoker=true}"
    unpinned = "SELECT count(*) FROM pg_proc WHERE pronamespace = 'byokeep'::regnamespace AND proconfig IS NULL"
    assert shared_postgres.sql(unpinned) == "0"
    definers = "SELECT proname FROM pg_proc WHERE pronamespace = 'byokeep'::regnamespace AND prosecdef"
    forgets = {"calls_forget", "notifications_forget", "reminders_over"}
    triggers = {f"{kind}_recorded" for kind in ("key", "account", "job", "client", "switch", "alert")}
    people = {"able_admins", "machine_own", "password_put", "session_seen", "subject_lock",
              "subject_put", "passkey_end", "passkey_put", "passkey_recorded", "passkey_used", "sso_link_end",
              "sso_link_put", "sso_recorded", "subject_recorded", "token_end", "token_issue",
              "token_recorded"}  # fmt: skip
    passes = {"dek_used"}  # the wall: whose key id it is
    looks = {"alert_on_record", "approval_asked", "approval_given", "revocation_left", "audit_hold"}
    known = {"audit_append", "end_blockers", "rotation_due_now", "withdraw_again", *forgets, *passes} | looks | triggers
    assert set(shared_postgres.sql(definers).split()) == known | people
    # What web and worker may call with the owner's rights looks something up, appends a record, holds a chain, lets go
    # of what is older than it is kept, closes an alert whose cause is over, or says that a session is used: it makes
    # nobody.
    web = {"session_seen", "subject_recorded", "token_recorded"}
    for role, more in (("byokeep_web", web), ("byokeep_worker", forgets | passes)):
        may = f"{definers} AND has_function_privilege('{role}', oid, 'EXECUTE') AND prorettype <> 'trigger'::regtype"
        assert set(shared_postgres.sql(may).split()) == {"audit_append"} | looks | more, role


@pytest.mark.req("S-ASVS-32")
def test_postgres_web_says_no_login_password_or_end_of_a_token(shared_postgres: FreshDatabase) -> None:
    """Records of people, their passwords, sessions and tokens are the broker's to write: web puts none in anyone's
    name."""
    listed = dict(
        line.split("|")
        for line in shared_postgres.sql("SELECT event, writers FROM byokeep.audit_vocabulary").splitlines()
    )
    theirs = [event for event in listed if event.split(".")[0] in ("session", "token", "operator", "machine")]
    assert len(theirs) == 8
    assert {listed[event] for event in theirs} == {"{byokeep_broker}"}


def test_postgres_a_token_only_ends_and_roles_stay_apart(full: tuple[FreshDatabase, UUID, UUID]) -> None:
    """The database's owner, too, brings no token back, makes none live longer, and gives nobody both sides."""
    database, _, _ = full
    database.sql("UPDATE byokeep.api_token SET revoked_at = now()")
    for statement in (
        "UPDATE byokeep.api_token SET revoked_at = NULL",
        "UPDATE byokeep.api_token SET expires_at = expires_at + interval '1 second'",
    ):
        assert attempt(database, "byokeep_owner", statement) == "42501", statement
    assert attempt(database, "byokeep_owner", "UPDATE byokeep.api_token SET expires_at = now()") == ""
    for pair in ("operator,approver", "admin,operator", "admin,approver", "admin,auditor", "operator,auditor"):
        roles = f"UPDATE byokeep.subject SET roles = '{{{pair}}}' WHERE kind = 'operator'"
        assert attempt(database, "byokeep_owner", roles) == "23514", pair
    assert (
        attempt(database, "byokeep_owner", "UPDATE byokeep.subject SET roles = '{approver}' WHERE kind = 'operator'")
        == ""
    )


@pytest.mark.req("S-OWASP-23")
async def test_postgres_without_a_client_sees_nothing(full: tuple[FreshDatabase, UUID, UUID]) -> None:
    """Opened for no client the data layer shows no client's row and writes none; for one, his alone; for all, all."""
    database, mine, other = full
    counting = "\n".join(
        f"-- name: of_{t}\nSELECT DISTINCT {column} AS id FROM byokeep.{t}" for t, column in WALLED.items()
    )
    change = "\n-- name: move\nUPDATE byokeep.client SET state = 'active' WHERE id = :id RETURNING id"
    foreign = (
        "\n-- name: raise_for\nINSERT INTO byokeep.alert (id, client_id, reason, severity, dedup_key)"
        " VALUES (:id, :client, 'x', 'info', 'y')"
    )
    web = PostgresDatabase(database.url("byokeep_web"), statements=statements(counting + foreign))
    mailed = "\n-- name: of_contact_address\nSELECT DISTINCT client_id AS id FROM byokeep.contact_address"
    broker = PostgresDatabase(database.url("byokeep_broker"), statements=statements(change + mailed))
    for client in (mine, other):
        async with broker.begin(client_id=client) as tx:
            await tx.append(event(client))

    for scope, expected in (({}, set()), ({"client_id": mine}, {mine}), ({"every_client": True}, {mine, other})):
        async with broker.begin(**scope) as tx:
            assert {row["id"] for row in await tx.all(dict, "of_contact_address")} == expected, scope
        async with web.begin(**scope) as tx:
            for table in set(WALLED) - {"contact_address"}:  # the broker's alone
                seen = {row["id"] for row in await tx.all(dict, f"of_{table}")}
                assert seen == expected, (table, scope)
    async with broker.begin(client_id=mine) as tx:
        assert await tx.all(dict, "move", id=other) == []
    async with broker.begin() as tx:
        assert await tx.all(dict, "move", id=mine) == []
    for scope in ({}, {"client_id": mine}):
        with pytest.raises(Denied, match="database_denied"):
            async with web.begin(**scope) as tx:  # type: ignore[arg-type]
                await tx.all(dict, "raise_for", id=uuid4(), client=other)
    with pytest.raises(ValueError, match="not both"):
        async with web.begin(client_id=mine, every_client=True):
            pass
    await web.close()
    await broker.close()


@pytest.mark.parametrize("role", ["byokeep_web", "byokeep_worker"])
def test_postgres_only_the_broker_opens_use_jobs(full: tuple[FreshDatabase, UUID, UUID], role: str) -> None:
    """Web and worker open custody jobs alone; a job that may use a key is refused to them and not to the broker."""
    database, mine, _ = full
    job = (
        "INSERT INTO byokeep.job (id, client_id, dispatcher_id, runner_id, kind, effects, expires_at)"
        f" VALUES ('{uuid4()}', '{mine}', '{RUNNER}', '{RUNNER}', '%s', '%s', now() + interval '1 hour')"
    )
    assert attempt(database, role, job % ("custody", "{}")) == ""
    for kind, effects in (("use", "{}"), ("use", "{publish}")):
        assert attempt(database, role, job % (kind, effects)) == "42501"
        assert attempt(database, "byokeep_broker", job % (kind, effects)) == ""


def test_postgres_only_the_broker_moves_break_glass(full: tuple[FreshDatabase, UUID, UUID]) -> None:
    """Web and worker neither begin a grant nor end one, so that none is out of sight before its review."""
    database, mine, _ = full
    named = "INSERT INTO byokeep.procedure_run (id, client_id, procedure, object_id, asked_by, started_by) VALUES"
    for procedure in ("break_glass", "break_glass_drill"):
        run = f"{named} ('{{}}', '{mine}', '{procedure}', '{mine}', '{RUNNER}', '{RUNNER}')"
        for role in ("byokeep_web", "byokeep_worker"):
            assert attempt(database, role, run.format(uuid4())) == "42501"
        assert attempt(database, "byokeep_broker", run.format(uuid4())) == ""
    grant = uuid4()
    database.sql(run.format(grant))
    end = f"UPDATE byokeep.procedure_run SET state = 'complete', closed_at = now(), closed_by = '{RUNNER}'"
    for role, moved in (("byokeep_web", 0), ("byokeep_worker", 0), ("byokeep_broker", 1)):
        with psycopg.connect(database.conninfo(role)) as connection:
            connection.execute("SET LOCAL byokeep.scope = 'all'")
            assert connection.execute(f"{end} WHERE id = '{grant}'".encode()).rowcount == moved, role
            connection.rollback()


def test_postgres_every_statement_fits_the_schema_and_a_role(shared_postgres: FreshDatabase) -> None:
    """Every packaged statement can be planned, and at least one service has the rights that it needs."""
    connections = {role: psycopg.connect(shared_postgres.conninfo(role), autocommit=True) for role in SERVICES}
    nobody_may: dict[str, str] = {}
    for name, statement in load().items():
        numbered, places = statement.replace("%%", "%"), list(dict.fromkeys(re.findall(r"%\((\w+)\)s", statement)))
        for number, place in enumerate(places, start=1):
            numbered = numbered.replace(f"%({place})s", f"${number}")
        refusals = []
        for connection in connections.values():
            try:
                connection.execute(f"EXPLAIN (GENERIC_PLAN) {numbered}".encode())
            except psycopg.Error as refused:
                refusals.append(str(refused).splitlines()[0])
        if len(refusals) == len(SERVICES):
            nobody_may[name] = refusals[0]
    for connection in connections.values():
        connection.close()
    assert nobody_may == {}
    with psycopg.connect(shared_postgres.conninfo("byokeep_web")) as web, pytest.raises(psycopg.errors.UndefinedColumn):
        web.execute("EXPLAIN (GENERIC_PLAN) SELECT no_such FROM byokeep.client WHERE id = $1")
