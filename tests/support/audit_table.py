"""A table of operations held against the audit log: what each call leaves there, and that nothing else does.

Use it with ``pytest_plugins = [..., "tests.support.web", "tests.support.audit_table"]`` and the fixture ``scene``.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg
import pytest

from byokeep.core.events import ROW_FIELDS, EventName
from tests.support.broker import Person
from tests.support.web import Desk

DENIED = ("access.decided denied",)
# What the service does by itself on the way: its own actor stands there, in the caller's request.
OF_THE_SERVICE = {"job.opened", "checkpoint.signed", "alert.raised"}
# What a round of the broker may finish before the caller does: the record is the service's then, in its own request.
OF_A_ROUND = {"switch.store_cut_off"}


@dataclass
class Call:
    """One call: how, where, with what; ``broker`` = straight to the broker, as machines do."""

    method: str
    path: str
    body: Any = None
    raw: bytes | None = None
    broker: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Case:
    """One form of an operation: who does it, and the records it leaves, in order."""

    form: str
    who: str | Person | None
    call: Call
    status: int
    leaves: tuple[str, ...]


@dataclass
class Scene:
    """The objects that the operations are about."""

    desk: Desk
    client: UUID
    done: dict[str, Any]
    log: psycopg.Connection[tuple[Any, ...]]
    cases: int = 0
    seen: set[str] = field(default_factory=set)

    def known(self) -> set[tuple[Any, ...]]:
        return set(self.log.execute("SELECT chain, seq FROM byokeep.audit_record").fetchall())

    def records(self, since: set[tuple[Any, ...]]) -> list[dict[str, Any]]:
        """Everything recorded since, oldest first, with its place."""
        rows = self.log.execute(
            "SELECT chain, seq, at <= clock_timestamp(), writer, convert_from(payload, 'UTF8')"
            " FROM byokeep.audit_record ORDER BY at, chain, seq"
        ).fetchall()
        return [
            {"chain": str(chain), "timed": timed, "writer": writer, **json.loads(payload)}
            for chain, seq, timed, writer, payload in rows
            if (chain, seq) not in since
        ]

    async def send(self, case: Case) -> tuple[int, Any, str]:
        """Make the call; returns status, reply and the id of the request where ``web`` tells it."""
        call, who = case.call, case.who
        if call.broker:
            status, reply = await self.desk.stand.call(call.method, call.path, who, call.body, headers=call.headers)
            return status, reply, ""
        status, headers, reply = await self.desk.exchange(
            call.method, call.path, who, call.body, raw=call.raw, headers=call.headers
        )
        return status, reply, headers.get("X-Request-Id", "")

    async def expect_record(self, operation: str, case: Case) -> Any:
        """Make a call and hold what it left against the table."""
        before = self.known()
        status, reply, request_id = await self.send(case)
        found = self.records(before)
        left = [f"{record['event']} {record['outcome']}" for record in found]
        about = (operation, case.form, status, reply if status >= 400 else "", left)
        assert status == case.status, about
        assert left == list(case.leaves), about
        self.check(case, found, request_id, about)
        self.cases += 1
        self.seen |= {record["event"] for record in found}
        return reply

    def check(self, case: Case, found: list[dict[str, Any]], request_id: str, about: Any) -> None:
        """Who, whose, when, by which process, in which request: on every record."""
        person = self.desk.people[case.who] if isinstance(case.who, str) else case.who
        installation = str(self.desk.web.installation_id)
        of_caller = [
            record for record in found if not (record["event"] in OF_A_ROUND and record["actor"] == installation)
        ]
        assert len({record["request"] for record in of_caller}) <= 1, about
        for record in found:
            assert UUID(record["request"]).int, about
            assert record["writer"] in ("byokeep_web", "byokeep_broker"), about
            if record["writer"] == "byokeep_web":
                assert record["request"] == request_id, about
            assert record["timed"] is True, about
            assert record["chain"] == (record["client"] or installation), about
            assert set(record["fields"]) <= EventName(record["event"]).fields | ROW_FIELDS, about
            of_service = record["event"] in OF_THE_SERVICE | OF_A_ROUND and record["actor"] == installation
            if person is None:
                assert record["actor"] == installation or record["outcome"] == "ok", about
            elif not of_service:
                assert (record["actor"], bool(record["roles"])) == (str(person.id), True), about
            if record["outcome"] in ("denied", "rejected", "failed") and record["event"] != "session.login":
                assert record["fields"]["reason"], about


@pytest.fixture
async def scene(desk: Desk) -> AsyncIterator[Scene]:
    client = await desk.stand.client()
    done = await desk.onboard(client)
    desk.stand.account(client)
    reader = desk.stand.db.conninfo("byokeep_auditor") + " options='-c byokeep.scope=all'"
    with psycopg.connect(reader, autocommit=True) as log:
        yield Scene(desk, client, done, log)


def fresh(scene: Scene, role: str, *clients: UUID) -> Person:
    """Somebody who was never refused: many refusals of one person are an alert, and that is a record too."""
    return scene.desk.stand.subject(role, "fresh", clients=clients or None)


async def expect_each(scene: Scene, table: Mapping[str, list[Case]]) -> None:
    for operation, cases in table.items():
        for case in cases:
            await scene.expect_record(operation, case)
    assert scene.cases == sum(len(cases) for cases in table.values()) > 0


def broker_calls(scene: Scene) -> Callable[..., Awaitable[Any]]:
    async def run(
        operation: str, form: str, who: str | Person, method: str, path: str, body: Any, status: int, *leaves: str
    ) -> Any:
        return await scene.expect_record(
            operation, Case(form, who, Call(method, path, body, broker=True), status, leaves)
        )

    return run
