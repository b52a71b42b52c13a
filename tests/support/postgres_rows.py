"""Rows for tests of the database: one made-up row for every table, with plain SQL as its owner's superuser."""

# ruff: noqa: S608 - statements are put together from made-up values
from __future__ import annotations

from uuid import UUID, uuid4

import psycopg

from byokeep.core.audit import canonical_payload
from byokeep.core.events import Event, EventName, FieldValue, Outcome
from byokeep.core.model import Actor, Role
from byokeep.tenancy.tokens import Subject
from tests.support.people import subject_sql
from tests.support.postgres import FreshDatabase

OPERATOR = UUID("00000000-0000-4000-8000-000000000001")
RUNNER = UUID("00000000-0000-4000-8000-000000000002")
INSTALLATION = UUID("00000000-0000-4000-8000-000000000003")


def installation_sql() -> str:
    """An installation, an operator and a runner."""
    return f"""
    INSERT INTO byokeep.installation (id, environment, store_recorded_at)
        VALUES ('{INSTALLATION}', 'development', 'infinity');
    INSERT INTO byokeep.subject (id, kind, name, roles) VALUES
        ('{OPERATOR}', 'operator', 'Ada', '{{operator}}'), ('{RUNNER}', 'machine', 'Runner 1', '{{runner}}');
    """


def recorded_sql() -> str:
    """The same, each person and machine with the record of it."""
    made = (
        Subject(id=row_id, kind=kind, name=name, roles=frozenset({role}), state="active", all_clients=False,
                clients=frozenset())
        for row_id, kind, name, role in (
            (OPERATOR, "operator", "Ada", Role.OPERATOR), (RUNNER, "machine", "Runner 1", Role.RUNNER)
        )
    )  # fmt: skip
    return f"INSERT INTO byokeep.installation (id, environment) VALUES ('{INSTALLATION}', 'development');" + "".join(
        subject_sql(one, INSTALLATION) for one in made
    )


def client_sql(client: UUID) -> str:
    """A client with one row in each table that is his."""
    ref, job, lease, account = uuid4(), uuid4(), uuid4(), uuid4()
    profile, incident, contact = uuid4(), uuid4(), uuid4()
    return f"""
    INSERT INTO byokeep.client (id, name, created_by) VALUES ('{client}', 'Client {client.hex[:8]}', '{OPERATOR}');
    INSERT INTO byokeep.subject_client (subject_id, client_id) VALUES ('{OPERATOR}', '{client}');
    INSERT INTO byokeep.credential_ref
        (id, client_id, provider, kind, environment, secret_ref, version, state, verification, risk, created_by,
         rotation_due_at)
    VALUES ('{ref}', '{client}', 'openai', 'provider_api_key', 'development',
        'vault://kv/clients/{client}/providers/openai', 1, 'active', 'verified', 'standard', '{OPERATOR}',
        now() + interval '90 days');
    INSERT INTO byokeep.sop_run (id, client_id, sop, provider, started_by)
    VALUES ('{uuid4()}', '{client}', 'onboard_key', 'openai', '{OPERATOR}');
    INSERT INTO byokeep.procedure_run (id, client_id, procedure, object_id, asked_by, started_by)
    VALUES ('{uuid4()}', '{client}', 'x', '{ref}', '{OPERATOR}', '{OPERATOR}');
    INSERT INTO byokeep.platform_account (id, client_id, platform, account, username, display_name, created_by)
    VALUES ('{account}', '{client}', 'tiktok', 'acct1', 'acct', 'Acct', '{OPERATOR}');
    INSERT INTO byokeep.job (id, client_id, dispatcher_id, runner_id, kind, secrets, expires_at)
    VALUES ('{job}', '{client}', '{RUNNER}', '{RUNNER}', 'use', '{{openai}}', now() + interval '1 hour');
    INSERT INTO byokeep.lease (id, client_id, job_id, runner_id, kind, secrets, jwt_iat, jwt_exp)
    VALUES ('{lease}', '{client}', '{job}', '{RUNNER}', 'use', '{{openai}}', 1, 4);
    INSERT INTO byokeep.permit (id, client_id, job_id, lease_id, platform, account, lane, effect, idempotency_key)
    VALUES ('{uuid4()}', '{client}', '{job}', '{lease}', 'tiktok', 'acct1', 'api', 'publish', 'key-{client.hex[:8]}');
    INSERT INTO byokeep.tool_call (id, client_id, job_id, lease_id, provider, tool, outcome, at)
    VALUES ('{uuid4()}', '{client}', '{job}', '{lease}', 'openai', 'responses.create', 'ok', now());
    INSERT INTO byokeep.job_template (client_id, name, runner_id, secrets, platforms, lanes, set_by)
    VALUES ('{client}', 'daily-post', '{OPERATOR}', '{{openai}}', '{{}}', '{{}}', '{OPERATOR}');
    INSERT INTO byokeep.dry_run (client_id, job_id, template, run_id, ref_id, version, number)
    VALUES ('{client}', '{job}', 'daily-post', '{uuid4()}', '{ref}', 1, 1);
    INSERT INTO byokeep.lease_calls (client_id, lease_id, count, missing) VALUES ('{client}', '{lease}', 1, 0);
    INSERT INTO byokeep.key_transition (id, client_id, ref_id, state_from, state_to, reason, by)
    VALUES ('{uuid4()}', '{client}', '{ref}', 'pre_activation', 'active', 'verified', '{OPERATOR}');
    INSERT INTO byokeep.value_fingerprint (ref_id, version, fingerprint) VALUES ('{ref}', 1, repeat('0a', 32));
    INSERT INTO byokeep.leak_fingerprint (client_id, ref_id, version, format, digests)
    VALUES ('{client}', '{ref}', 1, 1, ARRAY[repeat('0b', 16), repeat('0c', 16)]);
    INSERT INTO byokeep.account_grant
        (client_id, account_id, provider, login, app_id, external_id, state, version, scopes_known, obtained_by)
    VALUES ('{client}', '{account}', 'tiktok', 'tiktok', 'app', '{client.hex}', 'live', 1, true, '{OPERATOR}');
    INSERT INTO byokeep.connection
        (id, client_id, account_id, job_id, sop_id, login, state_hash, binding_hash, redirect_uri, started_by,
         expires_at, request_id)
    VALUES ('{uuid4()}', '{client}', '{account}', '{job}', '{uuid4()}', 'tiktok', sha256('{client}'), sha256('bound'),
        'http://127.0.0.1:8431/callback', '{OPERATOR}', now() + interval '10 minutes', '{uuid4()}');
    INSERT INTO byokeep.refresh_journal (id, client_id, account_id, base, phase, owner, job_id)
    VALUES ('{uuid4()}', '{client}', '{account}', 1, 'started', '{uuid4()}', '{job}');
    INSERT INTO byokeep.reenabling (client_id, platform, cause, stage, stages, number, taken, done, way, revision)
    VALUES ('{client}', 'x', 'revoked', 'closed', '{{1,5,20}}', 0, 0, 0, 1, 0);
    INSERT INTO byokeep.scheduled_effect
        (id, client_id, platform, account, lane, effect, idempotency_key, due_at, created_by)
    VALUES ('{uuid4()}', '{client}', 'tiktok', 'acct1', 'api', 'publish', 'later-{client.hex[:8]}', now(),
        '{OPERATOR}');
    INSERT INTO byokeep.profile (id, client_id, packing, created_by, confirmed_at, confirmed_by, state, generation)
    VALUES ('{profile}', '{client}', 'portable', '{OPERATOR}', now(), '{OPERATOR}', 'sealed', 1);
    INSERT INTO byokeep.profile_account (client_id, profile_id, account_id, platform)
    VALUES ('{client}', '{profile}', '{account}', 'tiktok');
    INSERT INTO byokeep.profile_generation
        (client_id, profile_id, generation, dek_id, holder, kek_id, kek_version, blob_key, blob_sha256, blob_size,
         packed_size, manifest_hash, record_version, browser_version, sealed_by, job_id)
    VALUES ('{client}', '{profile}', 1, '{uuid4()}', 'transit', '{client}', 1, '{profile}-1', sha256('blob'), 9, 9,
        sha256('manifest'), 1, '156', '{RUNNER}', '{job}');
    INSERT INTO byokeep.profile_opening
        (client_id, profile_id, epoch, generation, purpose, job_id, opener_id, until)
    VALUES ('{client}', '{profile}', 1, 1, 'use', '{job}', '{RUNNER}', now() + interval '1 minute');
    INSERT INTO byokeep.profile_work (id, client_id, profile_id, kind, asked_by)
    VALUES ('{uuid4()}', '{client}', '{profile}', 'validate', '{OPERATOR}');
    INSERT INTO byokeep.kek_version
        (holder, kek_id, version, client_id, environment, algorithm, bits, owner, protect_until, process_until,
         changed_by)
    VALUES ('transit', '{client}', 1, '{client}', 'development', 'aes256-gcm96', 256, 'security',
        now() + interval '365 days', now() + interval '730 days', '{OPERATOR}');
    INSERT INTO byokeep.kek_rotation (id, client_id, holder, kek_id, from_version, to_version, started_by)
    VALUES ('{uuid4()}', '{client}', 'transit', '{client}', 1, 2, '{OPERATOR}');
    INSERT INTO byokeep.vault_key_transition (id, client_id, kind, key_id, version, state_from, state_to, reason, by)
    VALUES ('{uuid4()}', '{client}', 'kek', '{client}', 1, 'pre_activation', 'active', 'made', '{OPERATOR}');
    INSERT INTO byokeep.profile_incident (id, client_id, cause, since)
    VALUES ('{incident}', '{client}', 'suspected_leak', now());
    INSERT INTO byokeep.profile_incident_item (incident_id, client_id, profile_id, platform)
    VALUES ('{incident}', '{client}', '{profile}', 'tiktok');
    INSERT INTO byokeep.alert (id, client_id, reason, severity, dedup_key)
    VALUES ('{uuid4()}', '{client}', 'test', 'info', '{client}');
    INSERT INTO byokeep.incident
        (id, client_id, kind, severity, source, dedup_key, noticed_at, began_at, began_assumed, opened_by)
    VALUES ('{incident}', '{client}', 'artifact_exposure', 'P1', 'person', 'artifact_exposure/{client}', now(), now(),
        false, '{OPERATOR}');
    INSERT INTO byokeep.revocation_item (run_id, client_id, object_id, kind, provider, version, cut_seq)
    SELECT id, '{client}', '{profile}', 'account', 'x', 1, 1 FROM byokeep.procedure_run
     WHERE client_id = '{client}' LIMIT 1;
    INSERT INTO byokeep.provider_usage (run_id, client_id, told)
    SELECT id, '{client}', '{{}}' FROM byokeep.procedure_run WHERE client_id = '{client}' LIMIT 1;
    INSERT INTO byokeep.portal_look (client_id, colour) VALUES ('{client}', '#1d4ed8');
    INSERT INTO byokeep.subject (id, kind, name, roles)
    VALUES ('{contact}', 'operator', '{contact.hex[:12]}', ARRAY['contact']);
    INSERT INTO byokeep.contact_address (subject_id, client_id, address)
    VALUES ('{contact}', '{client}', 'ada@client.example');
    INSERT INTO byokeep.due_start (kind, item, client_id, provider, due_at, tried_at, tries)
    VALUES ('profile', '{profile}', '{client}', '', now(), now(), 1);
    INSERT INTO byokeep.notification
        (id, client_id, source, about, at, stage, target, code, urgent, made_at, next_at)
    VALUES ('{uuid4()}', '{client}', 'due', 'profile/{profile}', now(), 'due', 'oncall', 'profile', false, now(),
        now());
    """


def platform_sql() -> str:
    """The rows that belong to no client."""
    return f"""
    INSERT INTO byokeep.api_token (id, subject_id, keyed_hash, kind, expires_at)
    VALUES ('{uuid4()}', '{OPERATOR}', sha256('made up'), 'api', now() + interval '1 day');
    INSERT INTO byokeep.passkey (id, subject_id, identifier, public_half, uses, name)
    VALUES ('{uuid4()}', '{OPERATOR}', sha256('made up'), sha256('made up'), 0, 'phone');
    INSERT INTO byokeep.sso_link (subject_id, identity) VALUES ('{OPERATOR}', sha256('made up'));
    INSERT INTO byokeep.switch (scope, closed, epoch, reason, by, installation_id)
    VALUES ('global', false, 1, 'opened_at_start', '{OPERATOR}', '{INSTALLATION}');
    INSERT INTO byokeep.approval (id, action, scope, epoch, reason, requested_by)
    VALUES ('{uuid4()}', 'open_switch', 'global', 1, 'drill', '{OPERATOR}');
    INSERT INTO byokeep.platform_app (login, provider, environment, app_id, redirect_uri, secret_version, set_by)
    VALUES ('tiktok', 'tiktok', 'development', 'app', 'http://127.0.0.1:8431/callback', 1, '{OPERATOR}');
    INSERT INTO byokeep.audit_epoch (number, leaf, heads) VALUES (0, '\\x7b7d', '\\x7b7d');
    """


def populate(database: FreshDatabase) -> UUID:
    """Put one row into every table; returns the client."""
    client = uuid4()
    database.sql(installation_sql() + client_sql(client) + platform_sql())
    return client


def event(
    client: UUID | None, name: EventName = EventName.LEASE_ISSUED, *, about: UUID | None = None, **fields: FieldValue
) -> Event:
    """An event of the system's own, in a client's chain or the platform's."""
    actor = Actor(id=uuid4(), roles=frozenset({Role.SYSTEM}), clients=None, request_id=uuid4())
    said: dict[str, FieldValue] = {"reason": f"test_{uuid4().hex}"} | fields
    return Event(name=name, actor=actor, outcome=Outcome.OK, client_id=client, object_id=about, fields=said)


def append_sql(one: Event) -> str:
    """The call by which a process appends an event, as one statement."""
    about = "NULL" if one.object_id is None else f"'{one.object_id}'"
    chain = f"'{one.client_id}'" if one.client_id else "(SELECT id FROM byokeep.installation)"
    return (
        f"SELECT seq FROM byokeep.audit_append({chain}, '{one.name.value}', '{one.actor.id}', {about},"
        f" '{one.actor.request_id}', '{one.outcome.value}', '\\x{canonical_payload(one).hex()}')"
    )


def state_rows(database: FreshDatabase, statements: str = "") -> None:
    """Put every row on record as it stands, as an upgrade does: for tests that write rows with plain SQL.

    Args:
        statements: Run before, in the same transaction: a broker that looks between the two would close the gate.
    """
    with psycopg.connect(database.conninfo("byokeep_owner")) as owner:
        if statements:
            owner.execute(statements)
        owner.execute("SELECT byokeep.state_rows()")


def pointed(run: object, step: str) -> str:
    """Which record a run names for a step."""
    return f"SELECT evidence ->> '{step}' FROM byokeep.procedure_run WHERE id = '{run}'"


def points(run: object, step: str, seq: object) -> str:
    """Let a run name another record for a step, or none (``NULL``)."""
    changed = f"evidence - '{step}'" if seq == "NULL" else f"""evidence || '{{"{step}": {seq}}}'"""
    return f"UPDATE byokeep.procedure_run SET evidence = {changed} WHERE id = '{run}'"
