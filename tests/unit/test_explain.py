"""What the platform's own processes ask of the store is explained by who asked, and not by the path alone."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any
from uuid import UUID, uuid4

import pytest

from byokeep.adapters.openbao.provisioning import MACHINES
from byokeep.jobs.lease import pinned
from byokeep.reconciliation.explain import KnownToUs, LeaseRow, Request, copied, explain
from byokeep.reconciliation.reconcile import SETTLE, _end_of, _in_time, _RunRecord

NOW = datetime(2026, 5, 1, tzinfo=UTC)
APP = "kv/data/platform/apps/x/x"
OWN = [
    *[("update", f"transit/sign/{key}") for key in ("leases", "checkpoints", "evidence")],
    ("update", "transit/hmac/fingerprints/sha2-256"),
    ("update", "kv/metadata/platform/apps/x/x"),
    ("update", f"identity/oidc/key/{UUID(int=1)}"),
    ("create", f"identity/oidc/role/{UUID(int=1)}-openai"),
    *[("read", f"kv/data/platform/{key}-key") for key in ("token", "machine", "scan")],
]


def request(operation: str, path: str, **more: object) -> Request:
    plain = Request(
        id=str(uuid4()), at=NOW, operation=operation, path=path, entity_id="", lease_header="", refused=False,
        login_hashes={},
    )  # fmt: skip
    return replace(plain, **more)  # type: ignore[arg-type]


def reason(known: KnownToUs, one: Request) -> str:
    found = explain(one, known)
    return found.reason if found else ""


def granted(machine: str, path: str) -> bool:
    """Whether a machine's policy names a path."""
    policy = (files("byokeep.adapters.openbao") / "policies" / f"{machine}.hcl").read_text()
    return any(re.fullmatch(one.replace("+", "[^/]+"), path) for one in re.findall(r'^path "([^"]+)"', policy, re.M))


@pytest.mark.parametrize(("operation", "path"), OWN)
def test_what_only_our_machines_do_is_explained_by_the_machines_that_may(operation: str, path: str) -> None:
    """A signature, a fingerprint or the read of a key: the machines whose policy grants it, and no other token."""
    known = KnownToUs(leases={}, token_ttl=timedelta(seconds=2))
    may = {machine for machine in MACHINES if not reason(known, request(operation, path, machine=machine))}
    assert may == {machine for machine in MACHINES if granted(machine, path)} != set()
    assert reason(known, request(operation, path)) in ("unlisted_request", "store_setup_changed")
    assert reason(known, request(operation, path, entity_id=str(uuid4()), lease_header=str(uuid4())))


def test_the_secret_of_our_app_is_read_under_custody_of_its_platform() -> None:
    """By the entity that logged in with such a lease, in time; without one it is a finding, as under another one."""
    entity = str(uuid4())

    def known(kind: str = "custody", secret: str = "x") -> tuple[KnownToUs, Request]:
        lease = LeaseRow(id=uuid4(), client_id=uuid4(), job_id=uuid4(), kind=kind, secrets=(secret,), jwt_iat=0,
                         jwt_exp=3, issued_at=NOW)  # fmt: skip
        found = KnownToUs(
            leases={lease.id: lease}, token_ttl=timedelta(seconds=2), logins={(lease.id, entity): [NOW]}, setups=[NOW]
        )
        return found, request("read", APP, entity_id=entity, lease_header=str(lease.id))

    found, one = known()
    assert reason(found, one) == ""
    assert reason(found, replace(one, lease_header="")) == "read_without_lease"
    assert reason(found, replace(one, lease_header="", entity_id="", machine="web")) == "read_without_lease"
    assert reason(found, replace(one, lease_header=str(uuid4()))) == "lease_header_forged"
    assert reason(found, replace(one, entity_id=str(uuid4()))) == "lease_header_forged"
    assert reason(found, replace(one, at=NOW + timedelta(seconds=4))) == "use_outside_lease"
    assert reason(*known(secret="tiktok")) == "lease_header_forged"
    assert reason(*known(kind="use")) == "use_outside_lease"
    assert reason(found, replace(one, path=APP.replace("/data/", "/metadata/"), lease_header="")) == ""


@pytest.mark.parametrize(("operation", "path"), [
    ("update", "transit/hmac/fingerprints/sha2-256"), ("read", "kv/data/platform/scan-key")
])  # fmt: skip
def test_the_fingerprints_of_a_made_key_are_made_under_custody_of_its_place(operation: str, path: str) -> None:
    """By whoever logged in with such a lease, in time: not under a job's lease or an account's, or another's header."""
    entity = str(uuid4())

    def told(kind: str = "custody", secret: str = "openai", mints: str = "openai", **other: Any) -> str:
        lease = LeaseRow(id=uuid4(), client_id=uuid4(), job_id=uuid4(), kind=kind, secrets=(secret,), jwt_iat=0,
                         jwt_exp=3, issued_at=NOW)  # fmt: skip
        known = KnownToUs(
            leases={lease.id: lease}, token_ttl=timedelta(seconds=2), logins={(lease.id, entity): [NOW]},
            mints={(lease.client_id, mints): [NOW]},
        )  # fmt: skip
        return reason(known, replace(request(operation, path, entity_id=entity, lease_header=str(lease.id)), **other))

    assert told() == ""
    assert told(kind="use") == "use_outside_lease"
    assert told(at=NOW + timedelta(seconds=4)) == "use_outside_lease"
    assert {told(secret="tiktok"), told(secret="profile"), told(entity_id=str(uuid4()))} == {"lease_header_forged"}
    assert told(lease_header=str(uuid4())) == "lease_header_forged"
    assert told(mints="google") == "unlisted_request"  # nothing was made there
    assert told(operation="delete") in ("unlisted_request", "store_setup_changed")


def test_web_alone_has_the_store_keep_more_versions_of_what_it_writes() -> None:
    """Of a key, a webhook's secret and an administrator's key; of an account's tokens nobody, and no other machine."""
    known = KnownToUs(leases={}, token_ttl=timedelta(seconds=2))
    for below in ("", "/webhook", "/admin", f"/accounts/{uuid4()}/tokens"):
        one = request("update", f"kv/metadata/clients/{uuid4()}/providers/x{below}", machine="web")
        assert reason(known, one) == ("write_unexplained" if "accounts" in below else "")
        assert reason(known, replace(one, machine="broker")) == "write_unexplained"


def test_an_answer_that_is_wrapped_or_unwrapped_is_a_finding_whatever_else_explains_it() -> None:
    """A read under a lease, for its client; an unwrapped value; and the broker alone ends what was left."""
    entity, client = str(uuid4()), uuid4()
    lease = LeaseRow(id=uuid4(), client_id=client, job_id=uuid4(), kind="use", secrets=("x",), jwt_iat=0, jwt_exp=3,
                     issued_at=NOW)  # fmt: skip
    known = KnownToUs(
        leases={lease.id: lease}, token_ttl=timedelta(seconds=2), logins={(lease.id, entity): [NOW]}, setups=[NOW]
    )
    path = f"kv/data/clients/{client}/providers/x"
    read = request("read", path, entity_id=entity, lease_header=str(lease.id))
    assert reason(known, read) == ""
    found = explain(replace(read, wrapped=True), known)
    assert found is not None
    assert (found.reason, found.client_id, found.severity) == ("answer_wrapped", client, "critical")
    kept = [replace(read, wrapped=True), request("update", f"tenant/decrypt/production-{client}", wrapped=True),
            request("update", "sys/wrapping/unwrap", wrapped=True)]  # fmt: skip
    assert {reason(known, one) for one in kept} == {"answer_wrapped"}
    others = [request("update", "sys/wrapping/wrap", wrapped=True), request("update", "sys/wrapping/unwrap"),
              replace(read, wrapped=True, refused=True)]  # fmt: skip
    assert [reason(known, one) for one in others] == ["", "", ""]
    login = request("update", "auth/approle/login", wrapped=True)  # ended by its path all machines' tokens would be
    assert copied([*kept, *others, read, login]) == sorted(one.path for one in kept)
    token = request("read", f"identity/oidc/token/{client}-x", wrapped=True)
    app = replace(read, path=APP, wrapped=True)
    for one, whose in ((token, (client, None)), (app, (client, lease.id)), (replace(app, entity_id="x"), (None, None))):
        found = explain(one, known)
        assert found is not None
        assert (found.client_id, found.lease_id) == whose
    public = request("read", "identity/oidc/.well-known/keys", wrapped=True)
    assert reason(known, public) == "", "anybody can ask for it, without a token"
    found = explain(replace(public, machine="web", accessor_hash="h"), known)
    assert found is not None
    assert (found.reason, found.severity) == ("answer_wrapped", "warning")
    assert reason(known, request("read", "sys/raw/x", wrapped=True, accessor_hash="h")) == "unlisted_request"
    for one in kept:
        ends = request("update", f"sys/leases/revoke-prefix/{one.path}", machine="broker")
        assert [reason(known, ends), reason(known, replace(ends, machine="web"))] == ["", "unlisted_request"]


def test_a_job_reads_the_version_that_its_lease_pinned() -> None:
    """Another one is a finding; not in custody, of a lease whose record names none, or where the log names none."""
    entity, client = str(uuid4()), uuid4()
    lease = LeaseRow(id=uuid4(), client_id=client, job_id=uuid4(), kind="use", secrets=("x",), jwt_iat=0, jwt_exp=3,
                     issued_at=NOW, versions={"x": 1})  # fmt: skip

    def read(version: int, below: str = "", **changed: object) -> str:
        leases = {lease.id: replace(lease, **changed)}  # type: ignore[arg-type]
        known = KnownToUs(leases=leases, token_ttl=timedelta(seconds=2), logins={(lease.id, entity): [NOW]})
        path = f"kv/data/clients/{client}/providers/x{below}"
        one = request("read", path, entity_id=entity, lease_header=str(lease.id), version=version)
        return reason(known, one)

    assert [read(version) for version in (0, 1, 2)] == ["", "", "version_not_pinned"]
    assert [read(2, kind="custody"), read(2, versions={}), read(2, "/webhook")] == ["", "", ""]
    assert [pinned({"secrets": ["x", "y"], "versions": said}) for said in ("0,3", None)] == [{"x": 0, "y": 3}, {}]
    assert [read(version, versions={"x": 0}) for version in (0, 1)] == ["", "version_not_pinned"], "it pinned nothing"


@pytest.mark.parametrize("back_s", [21, 28, 35, 294, 1_001, 3_599])
def test_a_start_finds_no_seam_where_a_clock_was_set_back(back_s: int) -> None:
    """Runs of every 20 seconds, set back once: the next one begins where those end that are over, and so says each
    start after it."""
    runs, until, now = list[_RunRecord](), NOW, NOW + SETTLE
    for seq in range(403):
        now += timedelta(seconds=20 - back_s * (seq == 400))
        if seq == 400:
            until, _ = _end_of(NOW, _in_time(runs, now - SETTLE), whole=True)
        runs.append(_RunRecord(seq, "", now, until, now - SETTLE, malformed=False))
        until = now - SETTLE
        assert seq < 400 or _end_of(NOW, _in_time(runs, now), whole=True) == (until, 0)
