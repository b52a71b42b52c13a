"""Procedures: a new one needs its declaration alone, a step counts once and by its record, a run stops and goes on."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from granian.constants import Interfaces
from granian.server.embed import Server
from psycopg.errors import InsufficientPrivilege

from byokeep.client.verify import read_keys, verify_evidence
from byokeep.core.canonical import canonical_json
from byokeep.core.errors import Rejected, Unavailable
from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.policy import Verb
from byokeep.core.procedure import Fields, Procedure, Run, Step
from byokeep.kernel import procedures
from byokeep.kernel.app import App
from tests.support.broker import listening
from tests.support.cli import Shell
from tests.support.ports import free_port
from tests.support.web import Desk, known

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web"]
# The exercise: a procedure of two steps with an approval, from its declaration to the command line.
SEEN: list[str] = []


async def _look(app: App, actor: object, run: Run) -> Fields:
    SEEN.append("look")
    return {"count": 2}


async def _act(app: App, actor: object, run: Run) -> Fields:
    SEEN.append("act")
    return {"version": run.facts["count"]}


EXERCISE = Procedure(
    name="exercise", verb=Verb.KEY_STATE, startable=True,
    steps=(Step(name="look", act=_look), Step(name="act", act=_act, approval=Verb.PROFILE_SHRED)),
)  # fmt: skip


async def test_a_new_procedure_is_its_declaration(desk: Desk, tmp_path: Path) -> None:
    """Two steps and an approval: routes, command line, workers, evidence and the second person come with it."""
    SEEN.clear()  # the console's tests run the same exercise, perhaps in this process
    known(desk, EXERCISE)
    client, about = await desk.stand.client(), uuid4()
    begun = await started(desk, "exercise", client, about)
    assert (begun["state"], begun["waits_for"], begun["missing"]) == ("running", "worker", ["look", "act"])
    await desk.work()
    assert (await desk.call("POST", f"/v1/procedures/{begun['id']}/approve", "operator"))[0] == 403
    assert (await cli(desk, tmp_path, "show", begun["id"]))["waits_for"] == "approval"
    assert (await cli(desk, tmp_path, "approve", begun["id"], who="approver"))["waits_for"] == "worker"
    await desk.work()
    done = await cli(desk, tmp_path, "show", begun["id"])
    assert (done["state"], done["missing"], [one["step"] for one in done["steps"]]) == ("complete", [], ["look", "act"])
    assert SEEN == ["look", "act"]
    bundle, keys = tmp_path / "bundle.json", tmp_path / "keys.txt"
    bundle.write_bytes(canonical_json((await desk.call("POST", f"/v1/evidence/{done['id']}", "auditor"))[1]))
    keys.write_text((await desk.call("GET", "/v1/audit/keys", "auditor"))[1])
    report = verify_evidence(bundle, read_keys(keys))
    assert (report.complete, report.onboarding.name, list(report.onboarding.items)) == (
        True,
        "exercise",
        ["look", "act"],
    )
    assert [one["id"] for one in (await cli(desk, tmp_path, "list"))] == [begun["id"]]


def made(name: str, *steps: Step) -> Procedure:
    return Procedure(name=name, verb=Verb.KEY_STATE, startable=True, abortable=True, steps=steps)


def acting(trail: list[str], name: str, *answers: BaseException | None) -> Any:
    """An act that notes its name, and raises or finds something left as told before it succeeds."""
    left = list(answers)

    async def act(app: App, actor: object, run: Run) -> Fields | None:
        trail.append(name)
        if left:
            if (answer := left.pop(0)) is not None:
                raise answer
            return None
        return {}

    return act


async def test_what_somebody_approved_who_lost_the_client_since_counts_no_more(desk: Desk) -> None:
    """A step that was not done yet takes another approval, and so does the transfer of an account."""
    trail: list[str] = []
    known(desk, made("narrowed", Step(name="one", act=acting(trail, "one"), approval=Verb.PROFILE_SHRED)))
    client = await desk.stand.client()
    run = await started(desk, "narrowed", client)
    wish = {"client_id": str(client), "login": "x", "account": "1"}
    moved = (await desk.stand.call("POST", "/v1/accounts/transfers", "operator", wish | {"reason": "sold"}))[1]["id"]
    given = f"SELECT byokeep.approval_given('{moved}')"
    narrow = {role: desk.stand.subject(role, f"narrow {role}", clients=(client,)) for role in ("approver", "admin")}
    await desk.work()
    path = f"/v1/procedures/{run['id']}/approve"
    assert (await desk.call("POST", path, narrow["approver"]))[0] == 200
    approved = f"/v1/accounts/transfers/{moved}/approve"
    assert (await desk.stand.call("POST", approved, narrow["admin"], wish))[0] == 200
    assert desk.sql(given) == "t"
    for one in narrow.values():
        assert (await desk.call("PATCH", f"/v1/operators/{one.id}", "admin", {"clients": []}))[0] == 200
    await desk.work()
    assert (trail, desk.sql(given)) == ([], "f")
    assert await shown(desk, run) == ("running", "approval", ["one"])
    assert (await desk.call("POST", path, "approver"))[0] == 200
    await desk.work()
    assert trail == ["one"]


async def test_nobody_approves_what_they_asked_for(desk: Desk) -> None:
    """The same person is refused, also by the database; another's approval holds for this step alone, and once."""
    trail: list[str] = []
    steps = (Step(name="one", act=acting(trail, "one"), approval=Verb.PROFILE_SHRED),
             Step(name="two", act=acting(trail, "two"), approval=Verb.PROFILE_SHRED))  # fmt: skip
    known(desk, Procedure(name="twice", verb=Verb.VAULT_OPEN, startable=True, steps=steps))
    run = await started(desk, "twice", await desk.stand.client(), who="approver")
    path = f"/v1/procedures/{run['id']}/approve"
    await desk.work()
    assert (await desk.call("POST", path, "approver"))[1]["code"] == "same_person"
    other = desk.stand.subject("approver", "second")
    assert (await desk.call("POST", path, other))[0] == 200
    assert (await desk.call("POST", path, other))[1]["code"] == "nothing_to_approve"
    await desk.work()
    assert trail == ["one"]
    assert await shown(desk, run) == ("running", "approval", ["two"])
    # An approval is of a step in one state: once the run moved, somebody approves it anew.
    assert (await desk.call("POST", path, other))[0] == 200
    desk.sql("UPDATE byokeep.procedure_run SET revision = revision + 1")
    # A row of the run, which web and worker may write, approves nothing; nor does a request that nobody used.
    desk.sql("UPDATE byokeep.procedure_run SET facts = facts || jsonb_build_object('approved', 'two')")
    await desk.retry_now(2)
    assert (trail, await shown(desk, run)) == (["one"], ("running", "approval", ["two"]))
    # Nor does a row that says it without the record of whoever gave it: it is asked for anew.
    desk.sql("UPDATE byokeep.approval SET approved_by = id, approved_at = now(), used_at = now() WHERE used_at IS NULL")
    await desk.retry_now(2)
    assert (trail, await shown(desk, run)) == (["one"], ("running", "approval", ["two"]))
    forged = (
        "INSERT INTO byokeep.approval (id, action, scope, epoch, reason, requested_by, approved_by)"
        f" SELECT gen_random_uuid(), 'procedure_step', 'x', 0, 'x', '{uuid4()}', '{uuid4()}'"
    )
    for role in ("byokeep_web", "byokeep_worker"):  # who runs steps asks, and approves nothing
        with (
            psycopg.connect(desk.stand.db.conninfo(role)) as session,
            pytest.raises(InsufficientPrivilege, match="row-level"),
        ):
            session.execute(forged)


async def test_a_step_is_done_again_after_a_crash_and_recorded_once(desk: Desk) -> None:
    """What did its work and was cut off before its record does it again; of two at once, one is told that it moved."""
    trail: list[str] = []
    known(desk, made("cut", Step(name="one", act=acting(trail, "one", RuntimeError()), verb=Verb.KEY_STATE)))
    client = await desk.stand.client()
    run = await started(desk, "cut", client, expect=503)
    (run_id,) = desk.sql("SELECT id FROM byokeep.procedure_run WHERE procedure = 'cut'").splitlines()
    again = [desk.call("POST", f"/v1/procedures/{run_id}/resume", "operator") for _ in range(2)]
    codes = sorted(reply.get("code", reply.get("state")) for _, reply in await asyncio.gather(*again))
    assert codes in (["complete", "procedure_moved"], ["complete", "complete"])
    assert run["code"]
    assert desk.sql("SELECT count(*) FROM byokeep.audit_record WHERE event = 'procedure.stepped'") == "1"
    assert trail[:2] == ["one", "one"]


async def test_a_run_is_worked_on_by_one_at_a_time(desk: Desk) -> None:
    """While an act runs no other worker begins it once more, and an abort undoes nothing before it has ended."""
    trail: list[str] = []
    ends = asyncio.Event()

    async def act(app: App, actor: object, run: Run) -> Fields:
        trail.append("begun")
        if trail == ["begun"]:
            await ends.wait()
        trail.append("ended")
        return {}

    known(desk, made("slow", Step(name="one", act=act, undo=acting(trail, "undone"))))
    run = await started(desk, "slow", await desk.stand.client())
    first = asyncio.create_task(desk.work())
    while not trail:
        await asyncio.sleep(0.01)
    for asked in ("resume", "abort"):
        assert (await desk.call("POST", f"/v1/procedures/{run['id']}/{asked}", "operator"))[0] == 200
        await desk.work()
        assert trail == ["begun"]
    ends.set()
    await first
    await desk.work()
    assert (trail, (await shown(desk, run))[0]) == (["begun", "ended", "undone"], "aborted")


async def test_a_step_that_hangs_is_given_up_and_tried_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first attempt never ends by itself; the run stays where it is, and the next attempt does the step."""
    trail: list[str] = []

    async def act(app: App, actor: object, run: Run) -> Fields:
        trail.append("begun")
        if trail == ["begun"]:
            await asyncio.Event().wait()
        return {}

    known(desk, made("hangs", Step(name="one", act=act)))
    run = await started(desk, "hangs", await desk.stand.client())
    with monkeypatch.context() as soon:
        soon.setattr(procedures, "STEP_LIMIT_S", 0.05)
        with pytest.raises(Unavailable, match="step_timed_out"):
            await procedures.resume(desk.worker, desk.worker.system(), UUID(run["id"]))
    assert (trail, (await shown(desk, run))[0]) == (["begun"], "running")
    await desk.work()
    assert (trail, (await shown(desk, run))[0]) == (["begun", "begun"], "complete")


async def test_a_clock_that_was_set_back_holds_up_no_step_that_waits_for_nothing(desk: Desk) -> None:
    """A record of an hour to come is no reason to wait an hour."""
    trail: list[str] = []
    known(desk, made("back", *(Step(name=name, act=acting(trail, name)) for name in ("one", "two"))))
    run = await started(desk, "back", await desk.stand.client())
    behind = replace(desk.worker, clock=SetBack())
    await procedures.resume(behind, behind.system(), UUID(run["id"]))
    assert (trail, (await shown(desk, run))[0]) == (["one", "two"], "complete")


class SetBack:
    """A clock that was an hour ahead, and is right now."""

    def now(self) -> datetime:
        return datetime.now(UTC) - timedelta(hours=1)

    def monotonic(self) -> float:
        return time.monotonic()


async def test_a_stale_revision_moves_nothing(desk: Desk) -> None:
    """A process that looked before another moved the run on leaves no second record."""
    both, inside = asyncio.Event(), asyncio.Event()

    async def slow(app: App, actor: object, run: Run) -> Fields:
        inside.set()
        await both.wait()
        return {}

    known(desk, made("race", Step(name="one", act=slow)))
    run = await started(desk, "race", await desk.stand.client())
    first = asyncio.create_task(procedures.resume(desk.worker, desk.worker.system(), UUID(run["id"])))
    await inside.wait()
    desk.sql("UPDATE byokeep.procedure_run SET revision = revision + 1 WHERE procedure = 'race'")
    both.set()
    with pytest.raises(Exception, match="procedure_moved"):
        await first
    assert desk.sql("SELECT count(*) FROM byokeep.audit_record WHERE event = 'procedure.stepped'") == "0"


async def test_a_refusal_stops_the_run_and_what_is_unavailable_does_not(desk: Desk) -> None:
    """A worker's step that is refused stands there with its code until a person resumes; one that waits is repeated."""
    trail: list[str] = []
    refused = Rejected("bad_thing", next_step="Mend it.")
    stops = made("stops", Step(name="one", act=acting(trail, "one", Unavailable("away"), None, refused)))
    known(desk, stops)
    run = await started(desk, "stops", await desk.stand.client())
    await desk.work()
    assert trail == ["one"]
    assert await shown(desk, run) == ("running", "worker", ["one"])
    await desk.retry_now()
    assert trail == ["one"] * 3
    status, reply = await desk.call("GET", f"/v1/procedures/{run['id']}", "operator")
    assert (status, reply["state"], reply["reason"]) == (200, "failed", "bad_thing")
    assert "resume" in reply["next_step"]
    known(desk, replace(stops, abortable=False))  # that it can be ended is said only where it can
    whole = (await desk.call("GET", f"/v1/procedures/{run['id']}", "operator"))[1]["next_step"]
    assert reply["next_step"] == f"{whole} To end it instead: `byokeep procedure abort {run['id']}`."
    assert (await desk.call("POST", f"/v1/procedures/{run['id']}/resume", "operator"))[0] == 200
    await desk.work()
    assert await shown(desk, run) == ("complete", "", [])
    assert desk.sql("SELECT outcome FROM byokeep.audit_record WHERE event = 'procedure.stepped' ORDER BY seq") == (
        "failed\nok"
    )


async def test_an_aborted_run_undoes_last_step_first(desk: Desk) -> None:
    """Steps that are done are undone by workers, in reverse, also after a cut; so is the next one, maybe begun."""
    trail: list[str] = []
    known(desk, made(
        "undone", Step(name="one", act=acting(trail, "one"), undo=acting(trail, "undo one")),
        Step(name="two", act=acting(trail, "two"), undo=acting(trail, "undo two", Unavailable("away"))),
        Step(name="three", act=acting(trail, "three"), wait=timedelta(hours=1), undo=acting(trail, "undo three")),
    ))  # fmt: skip
    run = await started(desk, "undone", await desk.stand.client())
    await desk.work()
    assert await shown(desk, run) == ("running", "time", ["three"])
    status, reply = await desk.call("POST", f"/v1/procedures/{run['id']}/abort", "operator")
    assert (status, reply["state"]) == (200, "undoing")
    await desk.retry_now()
    assert trail == ["one", "two", "undo three", "undo two", "undo two", "undo one"]
    assert await shown(desk, run) == ("aborted", "", ["one", "two", "three"])
    for act in ("abort", "resume"):
        status, reply = await desk.call("POST", f"/v1/procedures/{run['id']}/{act}", "operator")
        assert (status, reply["code"], "nothing was done" in reply["next_step"]) == (409, "procedure_over", True)
    seen = (await desk.call("GET", f"/v1/procedures/{run['id']}", "operator"))[1]
    assert seen["next_step"].startswith("Nothing to do: it has ended")
    assert desk.sql("SELECT count(*) FROM byokeep.audit_record WHERE event = 'procedure.undone'") == "3"


async def test_a_step_waits_until_it_is_due(desk: Desk) -> None:
    """A wait begins with the step before it; a worker that comes early does nothing, and comes again."""
    trail: list[str] = []
    late = Step(name="two", act=acting(trail, "two"), wait=timedelta(hours=1))
    known(desk, made("waits", Step(name="one", act=acting(trail, "one")), late))
    run = await started(desk, "waits", await desk.stand.client())
    await desk.retry_now()
    assert trail == ["one"]
    desk.sql("UPDATE byokeep.procedure_run SET due_at = NULL WHERE procedure = 'waits'")  # the record says since when
    await desk.retry_now()
    assert trail == ["one"]
    replaced = replace(late, wait=timedelta())
    known(desk, made("waits", Step(name="one", act=acting(trail, "one")), replaced))
    await desk.retry_now()
    assert trail == ["one", "two"]
    assert await shown(desk, run) == ("complete", "", [])


async def test_only_its_own_records_prove_a_run(desk: Desk) -> None:
    """A row that points at another run's record, another step's, or at nothing has not done that step."""
    steps = (Step(name="one", act=acting([], "")), Step(name="two", act=acting([], "")))
    known(desk, made("proved", *steps))
    client = await desk.stand.client()
    run, other = await started(desk, "proved", client), await started(desk, "proved", client)
    await desk.work()
    assert await shown(desk, run) == ("complete", "", [])
    of = "SELECT evidence ->> '{}' FROM byokeep.procedure_run WHERE id = '{}'"
    ours, theirs, second = (desk.sql(of.format(*at)) for at in (
        ("one", run["id"]), ("one", other["id"]), ("two", run["id"])))  # fmt: skip
    for wrong in (theirs, second, "999999"):
        _point(desk, run, wrong)
        assert (await shown(desk, run))[2] == ["one"]
    _point(desk, run, ours)
    assert (await shown(desk, run))[2] == []


@pytest.mark.req("S-ASVS-4")
async def test_nothing_follows_from_a_step_that_is_not_proved(desk: Desk) -> None:
    """A row that says too much stops the run with an alert before the next step, and so does a record that the wrong
    process wrote for a worker's step."""
    trail: list[str] = []
    steps = (Step(name="one", act=acting([], "")), Step(name="two", act=acting(trail, "two"), wait=timedelta(hours=1)))
    known(desk, made("skipped", *steps))
    client = await desk.stand.client()
    run, forged = await started(desk, "skipped", client), await started(desk, "skipped", client)
    await desk.work()
    _point(desk, run, "999999")
    async with desk.web.db.begin(client_id=client) as tx:  # web may write such a record; it does no worker's step
        told = await tx.one(Run, "procedure_get", id=UUID(forged["id"]))
        said = {"run": forged["id"], "stage": "one"}
        receipt = await tx.append(Event(
            name=EventName.PROCEDURE_STEPPED, actor=desk.web.system(), outcome=Outcome.OK, client_id=client,
            object_id=told.object_id, fields=said,
        ))  # fmt: skip
    _point(desk, forged, str(receipt.seq))
    known(desk, made("skipped", *(replace(step, wait=timedelta()) for step in steps)))
    await desk.retry_now(2)
    assert trail == []
    for one in (run, forged):
        reply = (await desk.call("GET", f"/v1/procedures/{one['id']}", "operator"))[1]
        assert (reply["state"], reply["reason"]) == ("failed", "procedure_unproved")
    assert "procedure_unproved" in desk.sql("SELECT reason FROM byokeep.alert")


def _point(desk: Desk, run: dict[str, Any], seq: str) -> None:
    changed = f"jsonb_set(evidence, '{{one}}', '{seq}')"
    desk.sql(f"UPDATE byokeep.procedure_run SET evidence = {changed} WHERE id = '{run['id']}'")  # noqa: S608


async def test_no_run_waits_for_a_task_that_is_gone(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker's step follows a person's at once; a run whose task was lost is handed on by the round of a minute,
    however many older ones wait for people."""
    trail: list[str] = []
    person = Step(name="one", act=acting(trail, "one"), verb=Verb.KEY_STATE)
    known(
        desk,
        made(
            "handed", person, Step(name="two", act=acting(trail, "two")), Step(name="three", act=acting(trail, "three"))
        ),
    )
    client = await desk.stand.client()
    await started(desk, "handed", client)
    await desk.work()
    assert trail == ["one", "two", "three"]
    lost = await started(desk, "handed", client)
    desk.sql("SET search_path = procrastinate; UPDATE procrastinate_jobs SET status = 'failed' WHERE status = 'todo'")
    desk.sql("UPDATE byokeep.procedure_run SET started_at = now() - interval '2 minutes'")
    waits = Step(name="by_hand", act=acting([], ""), verb=Verb.KEY_STATE, approval=Verb.PROFILE_SHRED)
    known(desk, made("waits", waits))
    for _ in range(5):
        await started(desk, "waits", client)
    desk.sql("UPDATE byokeep.procedure_run SET started_at = now() - interval '1 hour' WHERE procedure = 'waits'")
    monkeypatch.setattr(procedures, "_AT_ONCE", 2)
    await desk.work()
    assert (await shown(desk, lost))[0] == "running"
    assert await procedures.go_on(desk.worker) == 1
    await desk.work()
    assert await shown(desk, lost) == ("complete", "", [])


async def test_a_step_is_proved_with_the_brokers_word_alone(desk: Desk) -> None:
    """A record of an approved step, which web may write, proves nothing without the broker's record of the approval."""
    steps = (Step(name="one", act=acting([], ""), verb=Verb.KEY_STATE, approval=Verb.PROFILE_SHRED),)
    known(desk, made("forged", *steps))
    client = await desk.stand.client()
    run = await started(desk, "forged", client)
    async with desk.web.db.begin(client_id=client) as tx:
        told = await tx.one(Run, "procedure_get", id=UUID(run["id"]))
        await procedures.passed(tx, desk.web.system(), EXERCISE, told, steps[0], {})
    assert (await shown(desk, run))[2] == ["one"]
    assert (await desk.call("POST", f"/v1/evidence/{run['id']}", "auditor"))[1]["code"] == "sop_incomplete"


def test_an_approval_takes_a_verb_of_those_who_may_approve() -> None:
    """A step is approved by a verb of approvers alone: the database counts nobody else's."""
    with pytest.raises(ValueError, match="others than approvers"):
        made("wrong", Step(name="one", act=acting([], ""), approval=Verb.PROFILE_READ))


async def test_a_run_is_its_clients_and_its_holders(desk: Desk) -> None:
    """Somebody of another client finds no run; who lacks the verb starts and resumes none; all of it is on record."""
    known(desk, made("theirs", Step(name="one", act=acting([], ""), verb=Verb.KEY_STATE)))
    client, other = await desk.stand.client(), await desk.stand.client()
    run = await started(desk, "theirs", client)
    stranger = desk.stand.subject("operator", "stranger", clients=(other,))
    for method, path in (("GET", ""), ("POST", "/resume"), ("POST", "/abort"), ("POST", "/approve")):
        assert (await desk.call(method, f"/v1/procedures/{run['id']}{path}", stranger))[0] == 404
    assert (await desk.call("GET", "/v1/procedures", stranger))[1] == {"procedures": []}
    for whose, found in ((client, [run["id"]]), (other, [])):
        status, reply = await desk.call("GET", f"/v1/procedures?client_id={whose}", "operator")
        assert (status, [one["id"] for one in reply["procedures"]]) == (200, found)
    assert (await desk.call("GET", f"/v1/procedures?client_id={client}", stranger))[0] == 404
    assert (await desk.call("GET", "/v1/procedures?client_id=acme", "operator"))[0] == 422
    body = {"procedure": "theirs", "client_id": str(client), "object": str(uuid4())}
    assert (await desk.call("POST", "/v1/procedures", "auditor", body))[0] == 403
    assert (await desk.call("POST", "/v1/procedures", stranger, body))[0] == 404
    everybody = {"procedure": "theirs", "object": str(uuid4())}
    assert (await desk.call("POST", "/v1/procedures", stranger, everybody))[0] == 404
    unknown = body | {"procedure": "nobody_knows"}
    assert (await desk.call("POST", "/v1/procedures", "operator", unknown))[1]["code"] == "unknown_procedure"
    assert desk.not_once_on_record() == []


async def shown(desk: Desk, run: dict[str, Any]) -> tuple[str, str, list[str]]:
    status, reply = await desk.call("GET", f"/v1/procedures/{run['id']}", "operator")
    assert status == 200, reply
    return reply["state"], reply["waits_for"], reply["missing"]


async def started(
    desk: Desk, name: str, client: UUID, about: UUID | None = None, *, expect: int = 201, who: str = "operator"
) -> Any:
    body = {"procedure": name, "client_id": str(client), "object": str(about or uuid4())}
    status, reply = await desk.call("POST", "/v1/procedures", who, body)
    assert status == expect, reply
    return dict(reply)


async def cli(desk: Desk, place: Path, *words: str, who: str = "operator") -> Any:
    """Run ``byokeep procedure WORDS --json`` against the desk's ``web``."""
    port = free_port()
    server = Server(desk.api, address="127.0.0.1", port=port, interface=Interfaces.ASGI, log_enabled=False)
    task = asyncio.create_task(server.serve())
    await listening(port)
    token = place / f"{who}.token"
    token.touch(mode=0o600)
    token.write_text(desk.people[who].token)
    try:
        url = f"http://127.0.0.1:{port}"
        ran = await Shell(place).run("procedure", *words, "--json", "--url", url, token=token)
    finally:
        server.stop()
        await task
    assert ran.code == 0, ran.err
    return ran.document
