"""What a reconciliation reads stays in step with what it explains: a busy client's hour is read as any other."""

# ruff: noqa: S608 - statements are put together from made-up ids
from __future__ import annotations

import json
import re
from importlib import resources
from typing import Any
from uuid import uuid4

import pytest

from byokeep.adapters.postgres.database import parse
from tests.support.postgres import FreshDatabase
from tests.support.postgres_rows import OPERATOR, RUNNER, installation_sql

pytest_plugins = ["tests.support.postgres_fixtures"]

LEASES, OTHERS = 2_000, 20_000  # leases of one client; records of its chain about other things
SPAN = ("now() - interval '1 hour'", "now()")


@pytest.fixture
def busy(postgres: FreshDatabase) -> FreshDatabase:
    """A database in which one client had a busy hour, and of which the planner knows nothing: so after a crash."""
    client, job = uuid4(), uuid4()
    postgres.sql(
        "SET session_replication_role = replica;"  # the rows alone count here: no chain is built
        + installation_sql()
        + f"""
        INSERT INTO byokeep.client (id, name, created_by) VALUES ('{client}', 'Busy', '{OPERATOR}');
        INSERT INTO byokeep.job (id, client_id, dispatcher_id, runner_id, kind, secrets, expires_at)
        VALUES ('{job}', '{client}', '{RUNNER}', '{RUNNER}', 'use', '{{openai}}', now() + interval '1 hour');
        INSERT INTO byokeep.lease (id, client_id, job_id, runner_id, kind, secrets, jwt_iat, jwt_exp, issued_at)
        SELECT gen_random_uuid(), '{client}', '{job}', '{RUNNER}', 'use', '{{openai}}', 1, 4,
               now() - interval '1 second' * (n % 3000)
          FROM generate_series(1, {LEASES}) n;
        INSERT INTO byokeep.audit_record
            (chain, seq, at, event, actor_id, object_id, request_id, outcome, writer, payload, hash)
        SELECT '{client}', row_number() OVER (), l.issued_at, 'lease.issued', '{RUNNER}', l.id, gen_random_uuid(),
               'intended', 'byokeep_broker', '{{}}', '' FROM byokeep.lease l;
        INSERT INTO byokeep.audit_record
            (chain, seq, at, event, actor_id, object_id, request_id, outcome, writer, payload, hash)
        SELECT '{client}', {LEASES} + n, now() - interval '1 second' * (n % 3000), 'permit.issued', '{RUNNER}',
               gen_random_uuid(), gen_random_uuid(), 'ok', 'byokeep_broker', '{{}}', ''
          FROM generate_series(1, {OTHERS}) n;
        """
    )
    return postgres


def explained(database: FreshDatabase, name: str, file: str = "audit.sql") -> dict[str, Any]:
    """How the server ran a statement of ours over the hour."""
    folder = resources.files("byokeep.adapters.postgres").joinpath("sql")
    text = parse([(file, folder.joinpath(file).read_text())])[name]
    for bind, value in zip(("first", "last"), SPAN, strict=True):
        text = re.sub(rf"%\({bind}\)s|:{bind}\b", value, text)
    found = json.loads(database.sql(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {text}"))
    plan: dict[str, Any] = found[0]["Plan"]
    return plan


def test_leases_are_looked_up_by_their_own_record(busy: FreshDatabase) -> None:
    """All leases of the hour are found, in a few pages each and not in the whole chain for each."""
    plan = explained(busy, "audit_leases_between")
    assert plan["Actual Rows"] == LEASES
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 20 * LEASES


def test_writes_are_found_among_other_records(busy: FreshDatabase) -> None:
    """Looking for what was written opens no record about anything else."""
    plan = explained(busy, "audit_store_requests")
    assert plan["Actual Rows"] == 0
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 100


def test_when_a_database_became_older_is_found_among_its_checkpoints(busy: FreshDatabase) -> None:
    """Of very many the newest that says so, whichever event it is; what only names it in another place is none."""
    said = '{"fields":{"reason":"checkpoint_mismatch"}}'
    put = (
        "SET session_replication_role = replica; INSERT INTO byokeep.audit_record (chain, seq, at, event, actor_id,"
        " object_id, request_id, outcome, writer, payload, hash) SELECT i.id, {seq}, now() - interval '{ago} minutes',"
        " '{event}', i.id, i.id, i.id, '{outcome}', 'x', '{said}', '' FROM byokeep.installation i"
    )
    checkpoint = {"event": "checkpoint.signed", "outcome": "intended", "ago": 90}
    busy.sql(put.format(**checkpoint, seq="n", said='{"fields":{}}') + f", generate_series(1, {OTHERS}) n")
    assert explained(busy, "restored_at", "backups.sql")["Actual Rows"] == 0
    busy.sql(put.format(event="backup.restored", outcome="failed", ago=5, seq=OTHERS + 1, said="{}"))
    busy.sql(put.format(**checkpoint, seq=OTHERS + 2, said='{"fields":{"x":"checkpoint_mismatch"}}'))
    plan = explained(busy, "restored_at", "backups.sql")
    assert plan["Actual Rows"] == 0
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 20
    for event, outcome, seq in (("backup.restored", "ok", OTHERS + 3), ("checkpoint.signed", "intended", OTHERS + 4)):
        busy.sql(put.format(event=event, outcome=outcome, ago=90, seq=seq, said=said))
        assert explained(busy, "restored_at", "backups.sql")["Actual Rows"] == 1, event


def test_drills_and_records_beyond_a_head_are_found_without_a_look_at_the_log(busy: FreshDatabase) -> None:
    """The first page asks for the last drills and a verification for what no head covers: a few pages of very many."""
    busy.sql("SET session_replication_role = replica; DELETE FROM byokeep.audit_head")
    for name, file, rows in (
        ("glass_last_drill", "breakglass.sql", 1), ("drill_passed", "drills.sql", 1), ("audit_beyond", "audit.sql", 1),
    ):  # fmt: skip
        plan = explained(busy, name, file)
        assert plan["Actual Rows"] == rows, name
        assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 60, name
