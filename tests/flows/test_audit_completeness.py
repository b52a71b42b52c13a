"""What each operation leaves on record when it succeeds, is refused, and fails: exactly this and nothing else."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import json
from uuid import UUID, uuid4

import pytest

from byokeep.adapters.openbao.audit import FileStoreAudit
from byokeep.adapters.openbao.embedded import audit_files
from byokeep_redact.search import Sweep
from tests.support.audit_table import DENIED, Call, Case, Scene, broker_calls, expect_each, fresh
from tests.support.broker import Person, Stand, since
from tests.support.web import Desk

pytest_plugins = [
    "tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web", "tests.support.audit_table",
]  # fmt: skip
PASSWORD = "a long enough pass phrase"


@pytest.mark.req("R1.4-1")
async def test_operations_on_keys(scene: Scene) -> None:
    """Write, renew, list, read, verify, suspend and prove a key: one event, or an intent and its result."""
    desk, ref, sop = scene.desk, scene.done["ref"], scene.done["sop"]
    place = f"/v1/clients/{scene.client}/providers/openai/value"
    refs = f"/v1/clients/{scene.client}/refs"
    stranger = fresh(scene, "operator", uuid4_client := await desk.stand.client())
    other = f"/v1/clients/{uuid4_client}/providers/kie/value"
    written = ("job.opened ok", "key.write intended", "key.stored ok")  # the job will verify it
    rotated = (*written, "procedure.started ok", "key.rotation ok")
    table = {
        "create": [
            Case("success", "operator", Call("PUT", other, raw=desk.canary("kie")), 202, written),
            Case("denied", fresh(scene, "auditor"), Call("PUT", place, raw=desk.canary()), 403, DENIED),
            Case("foreign", stranger, Call("PUT", place, raw=desk.canary()), 404, DENIED),
            Case("rejected", "operator", Call("PUT", place, raw=b"no key"), 422, ("key.write rejected",)),
            Case("failed", "operator", Call("PUT", other, raw=desk.canary("kie")), 409, ("key.write failed",)),
        ],
        "update": [
            Case("success", "operator", Call("PUT", place, raw=desk.canary()), 202, rotated),
            Case("failed", "operator", Call("PUT", place, raw=desk.canary()), 409, ("key.write failed",)),
        ],
        "list": [
            Case("success", "operator", Call("GET", refs), 200, ("key.listed ok",)),
            Case("denied", fresh(scene, "admin"), Call("GET", refs), 403, DENIED),
            Case("foreign", stranger, Call("GET", refs), 404, DENIED),
        ],
        "inventory": [
            Case("success", "auditor", Call("GET", "/v1/inventory"), 200, ("key.listed ok",)),
            Case("denied", fresh(scene, "admin"), Call("GET", "/v1/inventory"), 403, DENIED),
        ],
        "read": [
            Case("success", "operator", Call("GET", f"/v1/refs/{ref}"), 200, ("key.metadata_read ok",)),
            Case("denied", fresh(scene, "admin"), Call("GET", f"/v1/refs/{ref}"), 403, DENIED),
            Case("foreign", stranger, Call("GET", f"/v1/refs/{ref}"), 404, DENIED),
            Case("absent", fresh(scene, "operator"), Call("GET", f"/v1/refs/{uuid4()}"), 404, DENIED),
        ],
        "verify": [
            Case("success", "operator", Call("POST", f"/v1/refs/{ref}/verify"), 202, ("job.opened ok",)),
            Case("denied", fresh(scene, "auditor"), Call("POST", f"/v1/refs/{ref}/verify"), 403, DENIED),
        ],
        "evidence": [
            Case("success", "auditor", Call("POST", f"/v1/evidence/{sop}"), 200,
                 ("evidence.signed intended", "checkpoint.signed intended")),
            Case("denied", fresh(scene, "admin"), Call("POST", f"/v1/evidence/{sop}"), 403, DENIED),
            Case("absent", fresh(scene, "auditor"), Call("POST", f"/v1/evidence/{uuid4()}"), 404, DENIED),
        ],
        "revoke": [
            Case("success", "operator",
                 Call("POST", f"/v1/refs/{ref}/state", {"to": "suspended", "reason": "a_test"}), 200,
                 ("key.state_changed ok",)),
            Case("denied", fresh(scene, "auditor"),
                 Call("POST", f"/v1/refs/{ref}/state", {"to": "active", "reason": "a_test"}), 403, DENIED),
            Case("rejected", "operator",
                 Call("POST", f"/v1/refs/{ref}/state", {"to": "destroyed", "reason": "a_test"}), 422,
                 ("key.state_changed rejected",)),
        ],
    }  # fmt: skip
    await expect_each(scene, table)
    assert {"key.write", "key.stored", "key.listed", "key.metadata_read", "key.state_changed"} <= scene.seen


@pytest.mark.req("R1.4-1")
async def test_operations_on_people_tokens_and_sessions(scene: Scene) -> None:
    """Grants, changes of rights, tokens, log in and log out: each form leaves its one record."""
    desk = scene.desk
    ann = await scene.expect_record("grant", Case("success", "admin", Call("POST", "/v1/operators", {
        "name": "Ann", "roles": ["auditor"], "all_clients": True}), 201, ("operator.created ok",)))  # fmt: skip
    bot = await scene.expect_record("grant", Case("machine", "admin", Call("POST", "/v1/machines", {
        "name": "Bot", "role": "runner"}), 201, ("machine.created ok",)))  # fmt: skip
    room, words = f"/v1/operators/{ann['id']}", {"name": "Ann", "password": PASSWORD}
    issued = await scene.expect_record(
        "token", Case("success", "admin", Call("POST", f"{room}/tokens", {"days": 1}), 201, ("token.issued ok",))
    )
    password, invited = Call("PUT", f"{room}/password", raw=PASSWORD.encode()), Person(UUID(ann["id"]), issued["token"])
    await scene.expect_record("password", Case("invited", invited, password, 204,
                                               ("operator.changed ok", "token.revoked ok")))  # fmt: skip
    session = await scene.expect_record("login", Case("success", None, Call("POST", "/v1/session", words), 201,
                                            ("session.login ok",)))  # fmt: skip
    known, admin = Person(UUID(ann["id"]), session["token"]), fresh(scene, "admin")
    table = {
        "grant": [
            Case("waits", "admin", Call("POST", "/v1/machines", {"name": "Two", "role": "runner"}), 202,
                 ("machine.created intended",)),
            Case("denied", fresh(scene, "operator"), Call("POST", "/v1/operators", {"name": "B", "roles": ["auditor"]}),
                 403, DENIED),
            Case("rejected", "admin", Call("POST", "/v1/operators", {"name": "B", "roles": ["operator", "approver"]}),
                 422, ("operator.created rejected",)),
            Case("failed", "admin", Call("POST", "/v1/operators", {"name": "Ann", "roles": ["auditor"]}), 409,
                 ("operator.created failed",)),
        ],
        "policy change": [
            Case("success", "admin", Call("PATCH", room, {"all_clients": False}), 200, ("operator.changed ok",)),
            Case("machine", "admin", Call("PATCH", f"/v1/machines/{bot['id']}", {"clients": []}), 200,
                 ("machine.changed ok",)),
            Case("wider", "admin", Call("PATCH", f"/v1/machines/{bot['id']}", {"all_clients": True}), 202,
                 ("machine.changed intended",)),
            Case("its token", "admin", Call("POST", f"/v1/machines/{scene.desk.people['runner'].id}/tokens", {}), 202,
                 ("token.issued intended",)),
            Case("denied", fresh(scene, "auditor"), Call("PATCH", room, {"all_clients": True}), 403, DENIED),
            Case("own", admin, Call("PATCH", f"/v1/operators/{admin.id}", {"all_clients": False}), 403, DENIED),
            Case("rejected", "admin", Call("PATCH", room, {"roles": ["operator", "approver"]}), 422,
                 ("operator.changed rejected",)),
        ],
        "token": [
            Case("denied", fresh(scene, "auditor"), Call("POST", f"{room}/tokens", {"days": 1}), 403, DENIED),
            Case("rejected", "admin", Call("POST", f"{room}/tokens", {"days": 0}), 422, ("token.issued rejected",)),
            Case("of another", "admin", Call("POST", f"{room}/tokens", {"days": 1}), 201,
                 ("alert.raised ok", "token.issued ok")),
            Case("renewed", "admin", Call("POST", f"{room}/tokens", {"days": 1}), 201,
                 ("token.issued ok", "token.revoked ok")),
        ],
        "revoke": [
            Case("denied", fresh(scene, "auditor"), Call("DELETE", f"/v1/tokens/{issued['id']}"), 403, DENIED),
            Case("absent", fresh(scene, "admin"), Call("DELETE", f"/v1/tokens/{uuid4()}"), 404, DENIED),
        ],
        "login": [
            Case("denied", None, Call("POST", "/v1/session", words | {"password": "wrong password"}), 401,
                 ("session.login denied",)),
            Case("unknown", None, Call("POST", "/v1/session", words | {"name": "Nobody"}), 401,
                 ("session.login denied",)),
        ],
        "password": [
            Case("denied", fresh(scene, "auditor"), password, 403, DENIED),
            Case("rejected", known, Call("PUT", f"{room}/password", raw=b"short"), 422,
                 ("operator.changed rejected",)),
        ],
        "logout": [Case("success", known, Call("DELETE", "/v1/session"), 204, ("session.logout ok",))],
    }  # fmt: skip
    scene.cases = 0
    await expect_each(scene, table)
    live = (await desk.call("GET", f"{room}/tokens", "admin"))[1]["tokens"]
    ended = Call("DELETE", f"/v1/tokens/{live[0]['id']}")
    await scene.expect_record("revoke", Case("success", "admin", ended, 200, ("token.revoked ok",)))


@pytest.mark.req("R1.4-1")
async def test_operations_on_clients_accounts_and_switches(scene: Scene) -> None:
    """Clients, accounts, kill and its lifting, alerts: each form leaves its records, from web and from the broker."""
    desk, client = scene.desk, scene.client
    call = Call("POST", "/v1/clients", {"name": "Acme"})
    made = await scene.expect_record("create", Case("success", "admin", call, 201, ("client.created ok",)))
    one, kill = f"/v1/clients/{made['id']}", {"client_id": str(client), "reason": "a_test"}
    account = {"platform": "x", "account": "new", "username": "new", "display_name": "New"}
    accounts = f"/v1/clients/{client}/accounts"
    alert = uuid4()
    desk.sql("INSERT INTO byokeep.alert (id, client_id, reason, severity, dedup_key) VALUES"
             f" ('{alert}', '{client}', 'a_test', 'info', 'x')")  # fmt: skip
    table = {
        "create": [
            Case("denied", fresh(scene, "operator"), Call("POST", "/v1/clients", {"name": "B"}), 403, DENIED),
            Case("rejected", "admin", Call("POST", "/v1/clients", {"name": "platform"}), 422,
                 ("client.created rejected",)),
            Case("failed", "admin", Call("POST", "/v1/clients", {"name": "Acme"}), 409, ("client.created failed",)),
        ],
        "enrol": [
            Case("denied", fresh(scene, "operator"), Call("POST", f"{one}/enroll"), 403, DENIED),
            Case("success", "admin", Call("POST", f"{one}/enroll"), 200,
                 ("client.enrolled intended", "client.enrolled ok")),
        ],
        "suspend": [
            Case("denied", fresh(scene, "operator"), Call("POST", f"{one}/suspend"), 403, DENIED),
            Case("success", "admin", Call("POST", f"{one}/suspend"), 200, ("client.suspended ok",)),
            Case("failed", "admin", Call("POST", f"{one}/suspend"), 409, ("client.suspended failed",)),
            Case("enrol failed", "admin", Call("POST", f"{one}/enroll"), 409, ("access.decided failed",)),
        ],
        "resume": [
            Case("success", "admin", Call("POST", f"{one}/resume"), 200, ("client.resumed ok",)),
            Case("failed", "admin", Call("POST", f"{one}/resume"), 409, ("client.resumed failed",)),
        ],
        "account": [
            Case("success", "operator", Call("POST", accounts, account), 201, ("account.registered ok",)),
            Case("denied", fresh(scene, "auditor"), Call("POST", accounts, account), 403, DENIED),
            Case("rejected", "operator", Call("POST", accounts, account | {"platform": "openai"}), 422,
                 ("account.registered rejected",)),
            Case("failed", "operator", Call("POST", accounts, account), 409, ("account.registered failed",)),
        ],
        "config change": [
            Case("success", "operator", Call("POST", f"{accounts}/x/new/lane", {"policy": "api"}), 200,
                 ("account.lanes_set ok",)),
            Case("denied", fresh(scene, "auditor"), Call("POST", f"{accounts}/x/new/lane", {"policy": "off"}), 403,
                 DENIED),
        ],
        "kill": [
            Case("denied", fresh(scene, "auditor"), Call("POST", "/v1/switches/close", kill), 403, DENIED),
            Case("rejected", "operator", Call("POST", "/v1/switches/close", kill | {"reason": "No Code"}), 422,
                 ("access.decided rejected",)),
            Case("failed", "operator", Call("POST", "/v1/switches/open-requests", kill), 409,
                 ("access.decided failed",)),
            Case("success", "operator", Call("POST", "/v1/switches/close", kill), 200,
                 ("switch.closed ok", "switch.store_cut_off ok")),
        ],
        "alert": [
            Case("denied", fresh(scene, "auditor"), Call("POST", f"/v1/alerts/{alert}/close"), 403, DENIED),
            Case("success", "operator", Call("POST", f"/v1/alerts/{alert}/close"), 200, ("alert.closed ok",)),
        ],
    }  # fmt: skip
    scene.cases = 0
    await expect_each(scene, table)
    await _lifted(scene, kill)


async def _lifted(scene: Scene, kill: dict[str, str]) -> None:
    """Lifting a kill: asked for by one, refused to the wrong ones, approved by another, and only once."""
    ask, asked = "/v1/switches/open-requests", ("switch.open_requested ok",)
    await scene.expect_record("lift", Case("denied", fresh(scene, "auditor"), Call("POST", ask, kill), 403, DENIED))
    wish = await scene.expect_record("lift", Case("asked", "operator", Call("POST", ask, kill), 201, asked))
    approve, opened = Call("POST", f"{ask}/{wish['id']}/approve"), ("switch.opened intended", "switch.opened ok")
    await scene.expect_record("lift", Case("role", fresh(scene, "operator"), approve, 403, DENIED))
    absent = Call("POST", f"{ask}/{uuid4()}/approve")
    await scene.expect_record("lift", Case("absent", fresh(scene, "approver"), absent, 404, DENIED))
    await scene.expect_record("lift", Case("approved", "approver", approve, 200, opened))
    await scene.expect_record("lift", Case("again", fresh(scene, "approver"), approve, 403, ("switch.opened denied",)))
    again = Call("POST", ask, kill)
    await scene.expect_record("lift", Case("failed", "operator", again, 409, ("access.decided failed",)))


@pytest.mark.req("R1.4-1")
async def test_operations_of_jobs_leases_and_permits(scene: Scene) -> None:
    """Jobs, leases (which are the reading of values), identity and permits: each form leaves its one record."""
    desk, client = scene.desk, scene.client
    spec = {
        "client_id": str(client), "runner_id": str(desk.people["runner"].id), "secrets": ["openai"],
        "platforms": ["x"], "lanes": ["api"], "effects": ["publish"],
    }  # fmt: skip
    expect_record = broker_calls(scene)
    job = await expect_record("job", "success", "dispatcher", "POST", "/v1/jobs", spec, 201, "job.opened ok")
    await expect_record("job", "denied", fresh(scene, "runner"), "POST", "/v1/jobs", spec, 403, *DENIED)
    foreign = fresh(scene, "dispatcher", await desk.stand.client())
    await expect_record("job", "foreign", foreign, "POST", "/v1/jobs", spec, 404, *DENIED)
    wrong = spec | {"secrets": ["openai", "openai"]}
    await expect_record("job", "rejected", "dispatcher", "POST", "/v1/jobs", wrong, 422, "access.decided rejected")
    leases = f"/v1/jobs/{job['id']}/leases"
    lease = await expect_record("lease", "success", "runner", "POST", leases, None, 201, "lease.issued intended")
    await expect_record("lease", "denied", fresh(scene, "operator"), "POST", leases, None, 403, *DENIED)
    await expect_record("lease", "foreign", fresh(scene, "runner"), "POST", leases, None, 404, "lease.issued denied")
    kie = await expect_record(
        "job", "other", "dispatcher", "POST", "/v1/jobs", spec | {"secrets": ["kie"]}, 201, "job.opened ok"
    )
    missing = f"/v1/jobs/{kie['id']}/leases"
    await expect_record("lease", "failed", "runner", "POST", missing, None, 403, "lease.issued denied")
    beat, permits = f"/v1/leases/{lease['lease_id']}", f"/v1/leases/{lease['lease_id']}/permits"
    await expect_record("heartbeat", "foreign", fresh(scene, "runner"), "GET", beat, None, 404, *DENIED)
    await expect_record("heartbeat", "denied", fresh(scene, "auditor"), "GET", beat, None, 403, *DENIED)
    who = f"/v1/accounts/{client}/x/acme/identity"
    said = {"lease_id": lease["lease_id"], "id": "acme", "username": "acme", "display_name": "Acme Ltd"}
    await expect_record("identity", "success", "runner", "POST", who, said, 200, "account.identified ok")
    await expect_record("identity", "foreign", fresh(scene, "runner"), "POST", who, said, 404, *DENIED)
    wish = {"version": 1, "effect": "publish", "platform": "x", "account": "acme", "lane": "api",
            "idempotency_key": "a-test-of-records"}  # fmt: skip
    permit = await expect_record("permit", "success", "runner", "POST", permits, wish, 201, "permit.issued intended")
    await expect_record("permit", "failed", "runner", "POST", permits, wish, 409, "permit.issued denied")
    await expect_record(
        "permit", "denied", "runner", "POST", permits, wish | {"effect": "comment"}, 403, "permit.issued denied"
    )
    await expect_record("permit", "role", fresh(scene, "operator"), "POST", permits, wish, 403, *DENIED)
    await expect_record("permit", "foreign", fresh(scene, "runner"), "POST", permits, wish, 404, "permit.issued denied")
    close = f"/v1/permits/{permit['permit_id']}/close"
    await expect_record("close", "foreign", fresh(scene, "runner"), "POST", close, {"outcome": "done"}, 404, *DENIED)
    await expect_record("close", "success", "runner", "POST", close, {"outcome": "done"}, 200, "permit.closed ok")
    await expect_record("close", "failed", "runner", "POST", close, {"outcome": "failed"}, 409, "access.decided failed")
    end = f"/v1/jobs/{job['id']}/close"
    await expect_record("end", "foreign", fresh(scene, "runner"), "POST", end, None, 404, *DENIED)
    await expect_record(
        "end", "absent", fresh(scene, "runner"), "POST", f"/v1/jobs/{uuid4()}/close", None, 404, *DENIED
    )
    await expect_record("end", "success", "dispatcher", "POST", end, None, 200, "job.closed ok")
    await expect_record("lease", "ended", "runner", "POST", leases, None, 403, "lease.issued denied")
    await expect_record(
        "kill", "role", fresh(scene, "runner"), "POST", "/v1/switches/close", {"reason": "a_test"}, 403, *DENIED
    )


async def test_a_verification_over_which_nothing_is_signed_is_on_record(stand: Stand) -> None:
    """An edited head: the checkpoint that goes before is refused, and the verification has failed, on record."""
    assert (await stand.call("POST", "/v1/audit/verify", "auditor"))[1]["state"] == "ok"
    stand.db.sql("ALTER TABLE byokeep.audit_head DISABLE TRIGGER USER;"
                 "UPDATE byokeep.audit_head SET hash = sha256('x');"
                 "ALTER TABLE byokeep.audit_head ENABLE TRIGGER USER")  # fmt: skip
    assert (await stand.call("POST", "/v1/audit/verify", "auditor"))[0] == 409
    assert len(stand.events("audit.verified", "failed")) == 1
    assert {"audit_log_broken", "checkpoint_refused"} <= set(stand.alerts())


@pytest.mark.req("R1.4-1")
async def test_operations_on_the_audit_itself(scene: Scene) -> None:
    """Reading, exporting, verifying, reconciling, hashing and signing are on record, done or refused."""
    one = {"client_id": str(scene.client)}
    table = {}
    for name, call, leaves in (
        ("read", Call("GET", f"/v1/audit?client_id={scene.client}"), ("audit.read ok",)),
        ("export", Call("POST", "/v1/audit/export", one), ("audit.exported ok",)),
        ("checkpoint", Call("POST", "/v1/audit/checkpoint"), ("checkpoint.signed intended",)),
        ("verify", Call("POST", "/v1/audit/verify"), ("checkpoint.signed intended", "audit.verified ok")),
        ("hash", Call("POST", "/v1/audit/hash", raw=b"a value"), ("audit.hashed ok",)),
        ("proof", Call("POST", f"/v1/audit/proof/{scene.client}"),
         ("audit.exported ok", "checkpoint.signed intended")),
    ):  # fmt: skip
        table[name] = [
            Case("success", "auditor", call, 200, leaves),
            Case("denied", fresh(scene, "operator"), call, 403, DENIED),
        ]
    narrow = fresh(scene, "auditor", await scene.desk.stand.client())
    table["foreign"] = [
        Case("export", narrow, Call("POST", "/v1/audit/export", one), 404, DENIED),
        Case("read", narrow, Call("GET", f"/v1/audit?client_id={scene.client}"), 404, DENIED),
        Case("proof", narrow, Call("POST", f"/v1/audit/proof/{scene.client}"), 404, DENIED),
    ]
    await expect_each(scene, table)
    reconcile = Call("POST", "/v1/audit/reconcile", {"minutes": 1})
    await scene.expect_record("reconcile", Case("denied", fresh(scene, "operator"), reconcile, 403, DENIED))


@pytest.mark.req("R8.2-6")
async def test_the_stores_log_holds_hashes_that_an_auditor_can_match(desk: Desk) -> None:
    """The value is in no file of the store's log, and the auditor's keyed hash of it is in each, at the write."""
    trails = desk.stand.store.trails()
    client, value = await desk.stand.client(), desk.canary()
    await desk.onboard(client, value)
    files = audit_files(desk.stand.store.home)
    written, sweep = since(trails), Sweep(desk.canaries)
    for name, data in written.items():
        report = sweep.scan_bytes(data, source=name)
        assert report.bytes_scanned > 0
        assert not report.findings
        assert sweep.scan_bytes(data[-4096:] + value, source="planted").findings
    status, digests = await desk.call("POST", "/v1/audit/hash", "auditor", raw=value)
    assert (status, set(digests)) == (200, set(files))
    assert digests["a"] != digests["b"]
    _, other = await desk.call("POST", "/v1/audit/hash", "auditor", raw=desk.canary())
    for device, path in files.items():
        lines = written[path.name].decode().splitlines()
        entries = [json.loads(line) for line in lines if f"clients/{client}/" in line]
        asked = [entry["request"] for entry in entries if entry["type"] == "request"]
        [write] = [request for request in asked if request["operation"] in ("create", "update")]
        assert write["data"]["data"]["value"] == digests[device]
        assert digests[device].startswith("hmac-sha256:")
        assert other[device] not in json.dumps(entries)
    for who in ("operator", "approver", "admin", "runner"):
        assert (await desk.call("POST", "/v1/audit/hash", who, raw=value))[0] == 403


@pytest.mark.req("R8.2-6")
async def test_odd_values_leave_no_trace_in_the_stores_log(desk: Desk) -> None:
    """Bytes, digits, nested and malformed bodies, and a value in a header: none stands in the log of the store."""
    trails = desk.stand.store.trails()
    client = await desk.stand.client()
    marks = [desk.canary(state="") for _ in range(4)]
    place = f"/v1/clients/{client}/providers/kie/value"
    digits = b"8271828182845904523536028747135266"
    for value in (
        b"\xff\xfe" + marks[0], b'{"key": "' + marks[1] + b'"}', b'{"data": {"value": "' + marks[2], digits,
    ):  # fmt: skip
        headers = {"X-Byokeep-Lease": marks[3].decode(), "X-Secret": marks[3].decode()}
        await desk.call("PUT", place, "operator", raw=value, headers=headers)
        await desk.work()
    audit = FileStoreAudit(desk.stand.app.store_audit._login, audit_files(desk.stand.store.home))  # type: ignore[attr-defined]
    assert all(device.healthy for device in await audit.devices())
    for name, data in since(trails).items():
        report = Sweep(desk.canaries).scan_bytes(data, source=name)
        assert report.bytes_scanned > 0
        assert not report.findings
        assert digits not in data
