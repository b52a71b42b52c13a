"""Rows that the gate believes: a service changes none without a record that names it and says what it is then."""

# ruff: noqa: S608 - statements are put together from made-up values
from __future__ import annotations

import json
from uuid import UUID, uuid4

import psycopg
import pytest

from byokeep.adapters.postgres.database import PostgresDatabase
from byokeep.core.errors import Denied
from byokeep.core.events import EventName
from tests.support.postgres import FreshDatabase, statements
from tests.support.postgres_rows import (
    INSTALLATION,
    OPERATOR,
    RUNNER,
    append_sql,
    client_sql,
    event,
    installation_sql,
    platform_sql,
    state_rows,
)

pytest_plugins = ["tests.support.postgres_fixtures"]

UNRECORDED = "BK005"
# What each role may write, and with it alone would open the gate: all of this committed before there were records.
SILENT = (
    ("byokeep_web", "UPDATE byokeep.credential_ref SET verification = 'failed'"),
    ("byokeep_web", "UPDATE byokeep.credential_ref SET state = 'suspended'"),
    ("byokeep_web", "UPDATE byokeep.credential_ref SET version = 2"),
    ("byokeep_worker", "UPDATE byokeep.credential_ref SET expires_at = now()"),
    ("byokeep_web", "UPDATE byokeep.platform_account SET lanes = '{api,browser}'"),
    ("byokeep_worker", "UPDATE byokeep.platform_account SET username = 'other'"),
    ("byokeep_broker", "UPDATE byokeep.platform_account SET identity = 'match', identified_at = now()"),
    ("byokeep_broker", "UPDATE byokeep.account_grant SET state = 'revoked'"),
    ("byokeep_web", "UPDATE byokeep.account_grant SET drift = true"),
    ("byokeep_worker", "UPDATE byokeep.account_grant SET verified_at = now()"),
    ("byokeep_worker", "UPDATE byokeep.account_grant SET external_id = 'other'"),
    ("byokeep_broker", "UPDATE byokeep.client SET state = 'suspended'"),
    ("byokeep_broker", "UPDATE byokeep.client SET entity_id = 'other'"),
    ("byokeep_broker", "UPDATE byokeep.switch SET closed = false, epoch = 3 WHERE closed"),
    ("byokeep_broker", "UPDATE byokeep.switch SET store_cut_off = true WHERE closed"),
    ("byokeep_broker", "UPDATE byokeep.switch SET epoch = 9 WHERE NOT closed"),
)


@pytest.fixture
def client(postgres: FreshDatabase) -> UUID:
    """A client with a row in each table, all on record, and its kill switch engaged."""
    made = uuid4()
    postgres.sql(
        installation_sql()
        + client_sql(made)
        + platform_sql()
        + "INSERT INTO byokeep.switch (scope, client_id, closed, epoch, reason, by, installation_id)"
        f" VALUES ('client:{made}', '{made}', true, 2, 'drill', '{OPERATOR}', '{INSTALLATION}');"
    )
    state_rows(postgres)
    return made


class Sessions:
    """Transactions of the services' roles, as a stolen connection makes them."""

    def __init__(self, database: FreshDatabase) -> None:
        self.database = database

    def run(self, role: str, *sql: str) -> str:
        """Run statements in one transaction; the SQLSTATE that ended it, empty when it was committed."""
        try:
            with psycopg.connect(self.database.conninfo(role)) as connection:
                connection.execute("SELECT set_config('byokeep.scope', 'all', true)")
                for statement in sql:
                    connection.execute(statement)
        except psycopg.Error as error:
            return error.sqlstate or "gone"
        return ""


@pytest.fixture
def sessions(postgres: FreshDatabase) -> Sessions:
    return Sessions(postgres)


def one(database: FreshDatabase, table: str) -> UUID:
    return UUID(database.sql(f"SELECT id FROM byokeep.{table} LIMIT 1"))


def job_sql(client: UUID, job: UUID, *, effects: str = "{}", kind: str = "custody") -> str:
    return (
        "INSERT INTO byokeep.job (id, client_id, dispatcher_id, runner_id, kind, secrets, effects, expires_at)"
        f" VALUES ('{job}', '{client}', '{RUNNER}', '{RUNNER}', '{kind}', '{{openai}}', '{effects}',"
        " now() + interval '1 hour')"
    )


def test_no_role_changes_a_believed_row_in_silence(postgres: FreshDatabase, client: UUID, sessions: Sessions) -> None:
    """Each plain change by a service's role is refused at its commit and leaves the row as it was."""
    tables = ("credential_ref", "platform_account", "account_grant", "client", "switch", "job")
    before = {table: postgres.sql(f"SELECT * FROM byokeep.{table} ORDER BY 1") for table in tables}
    for role, statement in SILENT:
        assert sessions.run(role, statement) == UNRECORDED, statement
    for role in ("byokeep_web", "byokeep_broker", "byokeep_worker"):
        assert sessions.run(role, job_sql(client, uuid4())) == UNRECORDED
    assert sessions.run("byokeep_broker", job_sql(client, uuid4(), kind="use", effects="{publish}")) == UNRECORDED
    key, account = uuid4(), uuid4()
    inserted = (
        "INSERT INTO byokeep.credential_ref (id, client_id, provider, kind, environment, secret_ref, version, state,"
        f" verification, risk, created_by, rotation_due_at) VALUES ('{key}', '{client}', 'anthropic',"
        f" 'provider_api_key', 'development', 'vault://kv/clients/{client}/providers/anthropic', 1, 'active',"
        f" 'verified', 'standard', '{OPERATOR}', now() + interval '9 days')",
        "INSERT INTO byokeep.platform_account (id, client_id, platform, account, username, display_name, lanes,"
        f" created_by) VALUES ('{account}', '{client}', 'x', 'a', 'a', 'a', '{{api}}', '{OPERATOR}')",
        "INSERT INTO byokeep.client (id, name, state, created_by)"
        f" VALUES ('{uuid4()}', 'Other', 'active', '{OPERATOR}')",
    )
    assert [sessions.run("byokeep_web", statement) for statement in inserted] == [UNRECORDED] * 3
    assert {table: postgres.sql(f"SELECT * FROM byokeep.{table} ORDER BY 1") for table in tables} == before


def test_nothing_that_a_role_may_set_lets_a_silent_change_pass(
    postgres: FreshDatabase, client: UUID, sessions: Sessions
) -> None:
    """Checked at once or late, in a savepoint, as a replica: refused; and a role does not turn the triggers off."""
    silent = "UPDATE byokeep.platform_account SET lanes = '{api}'"
    assert sessions.run("byokeep_web", "SET CONSTRAINTS ALL IMMEDIATE", silent) == UNRECORDED
    assert sessions.run("byokeep_web", "SAVEPOINT a", silent, "RELEASE a") == UNRECORDED
    assert sessions.run("byokeep_web", "SET session_replication_role = replica", silent) == "42501"
    assert sessions.run("byokeep_web", "ALTER TABLE byokeep.platform_account DISABLE TRIGGER ALL", silent) == "42501"
    assert sessions.run("byokeep_web", "SELECT set_config('byokeep.state_rows', 'on', true)", silent) == UNRECORDED
    assert sessions.run("byokeep_web", "SELECT byokeep.state_rows()") == "42501"
    account = one(postgres, "platform_account")
    said = event(client, EventName.CONFIG_CHANGED, about=account)  # any service may write this one
    assert sessions.run("byokeep_web", silent, append_sql(said)) == UNRECORDED


def test_a_record_must_name_the_row_in_its_own_transaction_and_come_last(
    postgres: FreshDatabase, client: UUID, sessions: Sessions
) -> None:
    """A record of another object, another event, an earlier transaction, or of before the change does not count."""
    account, job = one(postgres, "platform_account"), one(postgres, "job")
    change = "UPDATE byokeep.platform_account SET lanes = '{api}'"
    said = append_sql(event(client, EventName.LANES_SET, about=account, lanes="api"))
    refused = [
        (change, append_sql(event(client, EventName.LANES_SET, about=job))),
        (change, append_sql(event(client, EventName.KEY_STORED, about=account))),
        (change, append_sql(event(client, EventName.JOB_OPENED, about=account))),
        (said, change),
        (change, said, "UPDATE byokeep.platform_account SET lanes = '{api,browser}'"),
    ]
    for statements_ in refused:
        assert sessions.run("byokeep_web", *statements_) == UNRECORDED, statements_
    assert sessions.run("byokeep_web", said) == ""  # alone, it says nothing of a row
    assert sessions.run("byokeep_web", change) == UNRECORDED
    assert sessions.run("byokeep_web", change, said) == ""
    (payload,) = postgres.sql(
        "SELECT convert_from(payload, 'UTF8') FROM byokeep.audit_record WHERE event = 'account.lanes_set'"
        f" AND chain = '{client}' ORDER BY seq DESC LIMIT 1"
    ).splitlines()
    now = postgres.sql(
        "SELECT byokeep.account_row(a, g) FROM byokeep.platform_account a JOIN byokeep.account_grant g"
        " ON g.account_id = a.id"
    )
    assert json.loads(payload)["fields"]["row"] == now
    assert payload == json.dumps(json.loads(payload), sort_keys=True, separators=(",", ":"))  # canonical


def test_the_digest_in_a_record_is_the_databases_own_word(
    postgres: FreshDatabase, client: UUID, sessions: Sessions
) -> None:
    """A payload that brings its own digest is refused, so nobody says of a row what it is not."""
    account = one(postgres, "platform_account")
    said = event(client, EventName.LANES_SET, about=account, lanes="api")
    with pytest.raises(ValueError, match="row is not in the vocabulary"):
        event(client, EventName.LANES_SET, about=account, row="1:00")
    forged = append_sql(said).replace(b'"lanes":"api"'.hex(), b'"row":"1:00"'.hex())
    assert forged != append_sql(said)
    assert sessions.run("byokeep_web", "UPDATE byokeep.platform_account SET lanes = '{api}'", forged) == "BK004"


def test_what_opens_the_gate_takes_the_word_of_who_may_say_it(
    postgres: FreshDatabase, client: UUID, sessions: Sessions
) -> None:
    """web cannot make a key verified, whatever it puts on record; the worker can, with the record of a verification."""
    ref = one(postgres, "credential_ref")
    pending = "UPDATE byokeep.credential_ref SET verification = 'pending'"
    verified = "UPDATE byokeep.credential_ref SET verification = 'verified'"
    stored = append_sql(event(client, EventName.KEY_STORED, about=ref))
    assert sessions.run("byokeep_web", pending, stored) == ""
    assert sessions.run("byokeep_web", verified, stored) == UNRECORDED
    changed = append_sql(event(client, EventName.KEY_STATE_CHANGED, about=ref))
    assert sessions.run("byokeep_web", verified, changed) == UNRECORDED
    checked = append_sql(event(client, EventName.KEY_VERIFIED, about=ref))
    assert sessions.run("byokeep_web", verified, checked) == "BK003"
    assert sessions.run("byokeep_worker", verified, checked) == ""
    assert sessions.run("byokeep_worker", "UPDATE byokeep.credential_ref SET version = 2", checked) == UNRECORDED
    assert sessions.run("byokeep_web", "UPDATE byokeep.credential_ref SET version = 2", stored) == UNRECORDED
    other = "UPDATE byokeep.credential_ref SET version = 2, verification = 'pending'"
    assert sessions.run("byokeep_web", other, stored) == ""
    ended, back = (f"UPDATE byokeep.credential_ref SET state = '{state}'" for state in ("compromised", "active"))
    assert sessions.run("byokeep_web", ended, changed) == ""
    assert sessions.run("byokeep_web", back, changed) == UNRECORDED
    enrolled = append_sql(event(client, EventName.CLIENT_ENROLLED, about=client))
    renamed = "UPDATE byokeep.client SET entity_id = 'other'"
    assert sessions.run("byokeep_web", renamed, enrolled) == "42501"
    assert sessions.run("byokeep_broker", "UPDATE byokeep.client SET entity_id = 'once'", enrolled) == ""
    assert sessions.run("byokeep_broker", renamed, enrolled) == UNRECORDED
    account = one(postgres, "platform_account")
    said = append_sql(event(client, EventName.LANES_SET, about=account))
    wider, match = (f"UPDATE byokeep.platform_account SET {what}" for what in ("lanes = '{api}'", "identity = 'match'"))
    assert sessions.run("byokeep_broker", wider, said) == UNRECORDED
    assert sessions.run("byokeep_worker", wider, said) == UNRECORDED
    assert sessions.run("byokeep_web", match, said) == UNRECORDED
    assert sessions.run("byokeep_web", wider, said) == ""
    assert sessions.run("byokeep_broker", "UPDATE byokeep.platform_account SET lanes = '{}'", said) == ""
    seen = append_sql(event(client, EventName.ACCOUNT_IDENTIFIED, about=account))
    assert sessions.run("byokeep_broker", match, seen) == ""


def test_a_job_is_opened_on_record_only_ends_and_says_nothing_else(
    postgres: FreshDatabase, client: UUID, sessions: Sessions
) -> None:
    """With its record a job opens; an ended one is not opened again, and one that seals does not stop."""
    job = uuid4()
    opened = append_sql(event(client, EventName.JOB_OPENED, about=job))
    assert sessions.run("byokeep_broker", job_sql(client, job), opened) == ""
    assert sessions.run("byokeep_broker", "UPDATE byokeep.job SET sealing_at = now()") == ""
    assert sessions.run("byokeep_broker", "UPDATE byokeep.job SET sealing_at = NULL") == UNRECORDED
    assert sessions.run("byokeep_broker", "UPDATE byokeep.job SET state = 'killed', closed_at = now()") == ""
    again = "UPDATE byokeep.job SET state = 'open', closed_at = NULL"
    assert sessions.run("byokeep_broker", again, opened) == UNRECORDED


def test_a_release_has_the_record_of_its_switch_and_revision_and_a_kill_waits_for_none(
    postgres: FreshDatabase, client: UUID, sessions: Sessions
) -> None:
    """Releasing without the record, or with that of another revision, is refused; engaging never is."""
    scope = f"client:{client}"
    release = f"UPDATE byokeep.switch SET closed = false, epoch = 3 WHERE scope = '{scope}'"
    for said in (
        event(client, EventName.SWITCH_OPENED, scope=scope, epoch=2),
        event(client, EventName.SWITCH_OPENED, scope="global", epoch=3),
        event(client, EventName.SWITCH_CLOSED, scope=scope, epoch=3),
        event(None, EventName.SWITCH_OPENED, scope=scope, epoch=3),
    ):
        assert sessions.run("byokeep_broker", release, append_sql(said)) == UNRECORDED
    right = append_sql(event(client, EventName.SWITCH_OPENED, scope=scope, epoch=3))
    assert sessions.run("byokeep_broker", release, right) == ""
    assert sessions.run("byokeep_broker", f"UPDATE byokeep.switch SET closed = true WHERE scope = '{scope}'") == ""
    values = f"('lane:api', false, 0, 'installed', '{OPERATOR}', '{INSTALLATION}')"
    made = f"INSERT INTO byokeep.switch (scope, closed, epoch, reason, by, installation_id) VALUES {values}"
    assert sessions.run("byokeep_broker", made.replace("false, 0", "false, 4")) == UNRECORDED
    assert sessions.run("byokeep_broker", made) == ""


def alert_sql(alert: UUID, *, reason: str = "login_unexplained", severity: str = "critical", key: str = "k") -> str:
    return (
        "INSERT INTO byokeep.alert (id, reason, severity, dedup_key)"
        f" VALUES ('{alert}', '{reason}', '{severity}', '{key}')"
    )


def raised(alert: UUID, **changed: str) -> str:
    whose = {"chain": str(INSTALLATION), "severity": "critical"}
    fields = {"alert": str(alert), "reason": "login_unexplained"} | whose | changed
    return append_sql(event(None, EventName.ALERT_RAISED, **fields))


def test_no_role_raises_or_closes_an_alert_without_the_record_that_names_it(
    postgres: FreshDatabase, client: UUID, sessions: Sessions
) -> None:
    """Nor with another alert's record, or one of another reason or severity; a person takes and closes it, at web."""
    alert, other = uuid4(), uuid4()
    close = f"UPDATE byokeep.alert SET closed_at = now(), closed_by = '{OPERATOR}' WHERE id = '{alert}'"
    closed, of_other = (
        append_sql(event(None, EventName.ALERT_CLOSED, alert=str(one), reason="login_unexplained"))
        for one in (alert, other)
    )
    for role in ("byokeep_web", "byokeep_broker", "byokeep_worker"):
        for said in ((), (raised(other),), (raised(alert, severity="info"),), (raised(alert, reason="other"),),
                     (raised(alert, chain=str(client)),)):  # fmt: skip
            assert sessions.run(role, alert_sql(alert), *said) == UNRECORDED
        born_closed = alert_sql(alert).replace("key)", "key, closed_at)").replace("'k')", "'k', now())")
        born_taken = alert_sql(alert).replace("key)", "key, acknowledged_at, acknowledged_by)")
        born_taken = born_taken.replace("'k')", f"'k', now(), '{OPERATOR}')")
        assert sessions.run(role, born_taken, raised(alert)) == UNRECORDED
        born_full = born_closed.replace("closed_at", "count").replace("now()", "2147483647")
        assert [sessions.run(role, born, raised(alert)) for born in (born_closed, born_full)] == [UNRECORDED] * 2
    assert sessions.run("byokeep_worker", alert_sql(alert), raised(alert)) == ""
    assert sessions.run("byokeep_worker", close) == "42501"
    assert sessions.run("byokeep_worker", closed) == "BK003"
    assert sessions.run("byokeep_broker", close, closed) == UNRECORDED
    take = close.replace("closed", "acknowledged")
    taken = append_sql(event(None, EventName.ALERT_ACKNOWLEDGED, alert=str(alert), reason="login_unexplained"))
    for said in ((), (closed,), (raised(alert),)):
        assert sessions.run("byokeep_web", take, *said) == UNRECORDED
    assert sessions.run("byokeep_web", take, taken) == ""
    untake = f"UPDATE byokeep.alert SET acknowledged_at = NULL, acknowledged_by = NULL WHERE id = '{alert}'"
    assert sessions.run("byokeep_web", untake, taken) == UNRECORDED
    for said in ((), (of_other,), (raised(alert),), (taken,)):
        assert sessions.run("byokeep_web", close, *said) == UNRECORDED
    assert sessions.run("byokeep_web", close, closed) == ""
    again = f"UPDATE byokeep.alert SET closed_at = NULL WHERE id = '{alert}'"
    assert sessions.run("byokeep_web", again, closed) == UNRECORDED


def test_the_broker_closes_what_tells_of_a_state_alone(
    postgres: FreshDatabase, client: UUID, sessions: Sessions
) -> None:
    """In its own name and on record; an alert of an event, another's name, no record: refused."""
    own = postgres.sql("SELECT id FROM byokeep.installation")
    state, event_ = uuid4(), uuid4()
    assert sessions.run("byokeep_broker", alert_sql(state, key="state/store"), raised(state)) == ""
    assert sessions.run("byokeep_broker", alert_sql(event_, key="audit/state/"), raised(event_)) == ""
    close = "UPDATE byokeep.alert SET closed_at = now(), closed_by = '{}' WHERE id = '{}'"
    closed = {
        one: append_sql(event(None, EventName.ALERT_CLOSED, alert=str(one), reason="login_unexplained"))
        for one in (state, event_)
    }
    assert sessions.run("byokeep_broker", close.format(own, event_), closed[event_]) == UNRECORDED
    assert sessions.run("byokeep_broker", close.format(OPERATOR, state), closed[state]) == UNRECORDED
    assert sessions.run("byokeep_broker", close.format(own, state)) == UNRECORDED
    assert sessions.run("byokeep_broker", close.format(own, state), closed[state]) == ""


def test_an_alert_only_counts_up(postgres: FreshDatabase, client: UUID, sessions: Sessions) -> None:
    """Nobody lowers its count or its last time, makes it milder, removes it, or lets it count in another's place."""
    alert = uuid4()
    assert sessions.run("byokeep_broker", alert_sql(alert), raised(alert)) == ""
    for role in ("byokeep_web", "byokeep_broker", "byokeep_worker"):
        assert sessions.run(role, "UPDATE byokeep.alert SET count = count + 1") == ""
        for count in (1, 2147483647):
            assert sessions.run(role, f"UPDATE byokeep.alert SET count = {count}") == UNRECORDED
        for moment in ("now() - interval '1 day'", "'infinity'"):
            assert sessions.run(role, f"UPDATE byokeep.alert SET last_seen_at = {moment}") == UNRECORDED
        for statement in ("UPDATE byokeep.alert SET severity = 'info'", "UPDATE byokeep.alert SET reason = 'other'",
                          "UPDATE byokeep.alert SET dedup_key = 'other'", "DELETE FROM byokeep.alert"):  # fmt: skip
            assert sessions.run(role, statement) == "42501"
    mild, real = uuid4(), uuid4()
    said = raised(mild, reason="other", severity="info")
    assert sessions.run("byokeep_worker", alert_sql(mild, reason="other", severity="info", key="taken"), said) == ""
    assert sessions.run("byokeep_broker", alert_sql(real, key="taken"), raised(real)) == ""


def test_the_database_says_when_an_alert_was_opened(postgres: FreshDatabase, client: UUID, sessions: Sessions) -> None:
    """Whatever a role gives: one of in ten years would stand before all others for as long."""
    for role in ("byokeep_web", "byokeep_broker", "byokeep_worker"):
        alert = uuid4()
        later = alert_sql(alert, key=role).replace("key)", "key, opened_at)")
        later = later.replace(f"'{role}')", f"'{role}', now() + interval '10 years')")
        assert sessions.run(role, later, raised(alert)) == ""
        said = f"SELECT opened_at BETWEEN now() - interval '1 hour' AND now() FROM byokeep.alert WHERE id = '{alert}'"
        assert postgres.sql(said) == "t"


async def test_an_unrecorded_commit_is_refused_and_not_in_doubt(postgres: FreshDatabase, client: UUID) -> None:
    """What the database refuses as it commits is told as refused: nobody has to look whether it happened."""
    own = "-- name: lanes_on\nUPDATE byokeep.platform_account SET lanes = '{api}' RETURNING id;"
    database = PostgresDatabase(postgres.url("byokeep_web"), statements=statements(own))
    for ends in (False, True):
        with pytest.raises(Denied, match="audit_refused") as refused:
            async with database.begin(client_id=client) as tx:
                await (tx.last if ends else tx.all)(dict, "lanes_on")
        assert refused.value.fields == {"rule": "row_unrecorded"}
    assert postgres.sql("SELECT lanes FROM byokeep.platform_account") == "{}"
    await database.close()
