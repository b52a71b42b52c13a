"""People, machines and tokens as SQL for a superuser: through the functions of the database, as the broker would."""

# ruff: noqa: S608 - statements are put together from made-up values
from __future__ import annotations

from hashlib import sha256
from uuid import UUID, uuid4

from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.model import Actor, Role
from byokeep.kernel.command import record_params
from byokeep.tenancy.tokens import Subject, subject_event


def as_broker(statement: str, role: str = "byokeep_broker") -> str:
    """The statement, run by a role of ours."""
    return f"SET SESSION AUTHORIZATION {role};SELECT FROM {statement};RESET SESSION AUTHORIZATION;"


def system(installation: UUID) -> Actor:
    return Actor(id=installation, roles=frozenset({Role.SYSTEM}), clients=None, request_id=uuid4())


def _said(event: Event) -> str:
    said = record_params(event)
    payload = said["payload"]
    assert isinstance(payload, bytes)
    return f"'{said['event']}', '{said['actor']}', '{said['request']}', '\\x{payload.hex()}'"


def subject_sql(subject: Subject, installation: UUID, *, new: bool = True) -> str:
    """Make a person or machine, or change one, with a second person's word as far as one is needed."""
    event, approval = subject_event(system(installation), subject, Outcome.OK, new=new), uuid4()
    roles = ",".join(f"'{role.value}'" for role in subject.roles)
    clients = ",".join(f"'{client}'" for client in subject.clients)
    return (
        "INSERT INTO byokeep.approval (id, action, scope, epoch, reason, requested_by, approved_by, used_at,"
        f" expires_at) VALUES ('{approval}', 'give_rights', 'rights:{subject.id}:{subject.rights}', 0, 'a_test',"
        f" '{uuid4()}', '{installation}', now() + interval '1 minute', now() + interval '1 hour');"
    ) + as_broker(
        f"byokeep.subject_put('{subject.id}', '{subject.kind}', '{subject.name}', ARRAY[{roles}]::text[],"
        f" '{subject.state}', {subject.all_clients}, ARRAY[{clients}]::uuid[], '{approval}', 0, {_said(event)})"
    )


def token_sql(subject: UUID, keyed_hash: bytes, installation: UUID, *, kind: str = "api", life_s: int = 86_400) -> str:
    """Issue a token, with a second person's word as far as one is needed."""
    token, approval = uuid4(), uuid4()
    event = Event(
        name=EventName.TOKEN_ISSUED, actor=system(installation), outcome=Outcome.OK, object_id=subject,
        fields={"subject": str(subject), "token": str(token), "kind": kind, "life_s": life_s,
                "digest": sha256(keyed_hash).hexdigest()},
    )  # fmt: skip
    return (
        "INSERT INTO byokeep.approval (id, action, scope, epoch, reason, requested_by, approved_by, used_at,"
        f" expires_at) SELECT '{approval}', 'issue_token', 'token:{subject}:{life_s}', record_seq, 'a_test',"
        f" '{installation}', '{uuid4()}', now() + interval '1 minute', now() + interval '1 hour'"
        f" FROM byokeep.subject WHERE id = '{subject}';"
    ) + as_broker(
        f"byokeep.token_issue('{token}', '{subject}', '\\x{keyed_hash.hex()}', '{kind}', {life_s}, '{approval}', 0,"
        f" {_said(event)})"
    )
