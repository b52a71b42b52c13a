"""Requests for browser profiles in the store's own audit log are explained by a lease for profiles and nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from byokeep.profiles.checkout import FRESH_S
from byokeep.reconciliation.explain import (
    AFTER_OPENING,
    BEFORE_OPENING,
    SEAL_FOR,
    AnnouncedSeal,
    EntityUpdate,
    KnownToUs,
    LeaseRow,
    Request,
    explain,
)

NOW = datetime(2026, 5, 1, tzinfo=UTC)
CLIENT, PROFILE, ENTITY = uuid4(), uuid4(), str(uuid4())
RECORD = f"kv/data/clients/{CLIENT}/profiles/{PROFILE}"
KEK = f"production-{CLIENT}"
READS = [("read", RECORD), ("update", f"tenant/decrypt/{KEK}")]
WRITES = [
    ("create", RECORD), ("update", RECORD), ("update", RECORD.replace("/data/", "/destroy/")),
    ("update", f"tenant/encrypt/{KEK}"), ("update", f"tenant/rewrap/{KEK}"), ("update", f"tenant/keys/{KEK}"),
    ("update", f"tenant/keys/{KEK}/rotate"), ("update", f"tenant/keys/{KEK}/config"),
]  # fmt: skip


def known(kind: str, secret: str = "profile", client: UUID = CLIENT) -> tuple[KnownToUs, Request]:
    """What is known of one lease, and a request that names it."""
    lease = LeaseRow(
        id=uuid4(), client_id=client, job_id=uuid4(), kind=kind, secrets=(secret,), jwt_iat=0, jwt_exp=3, issued_at=NOW
    )
    found = KnownToUs(
        leases={lease.id: lease}, token_ttl=timedelta(seconds=2), logins={(lease.id, ENTITY): [NOW]}, setups=[NOW]
    )
    request = Request(
        id=str(uuid4()), at=NOW, operation="", path="", entity_id=ENTITY, lease_header=str(lease.id), refused=False,
        login_hashes={},
    )  # fmt: skip
    return found, request


def reason(found: KnownToUs, request: Request, what: tuple[str, str], **changed: object) -> str:
    """The reason of the finding; empty when the request is explained."""
    missing = explain(replace(request, operation=what[0], path=what[1], **changed), found)  # type: ignore[arg-type]
    return missing.reason if missing else ""


@pytest.mark.parametrize("what", READS + WRITES)
def test_a_lease_for_profiles_explains_what_its_kind_may(what: tuple[str, str]) -> None:
    """Custody explains all of it, use an unwrapping; another secret, client, entity or time explains nothing."""
    assert reason(*known("custody"), what) == ""
    in_use = {READS[0]: "record_under_use_lease", READS[1]: ""}
    assert reason(*known("use"), what) == in_use.get(what, "write_under_use_lease")
    assert reason(*known("custody", "openai"), what) == "lease_header_forged"
    assert reason(*known("custody", client=uuid4()), what) == "lease_header_forged"
    assert reason(*known("custody"), what, entity_id=str(uuid4())) == "lease_header_forged"
    assert reason(*known("custody"), what, at=NOW + timedelta(seconds=4)) == "use_outside_lease"
    unnamed = "read_without_lease" if what in READS else "write_unexplained"
    assert reason(*known("custody"), what, lease_header="") == unnamed


def test_an_opening_explains_that_the_broker_reads_its_record() -> None:
    """For a while after it, this profile's, read alone: not another's, not earlier or later, no write."""
    found, request = known("use")
    found.openings = {(CLIENT, PROFILE): [NOW]}
    nameless = replace(request, lease_header="")
    assert timedelta(seconds=FRESH_S) < AFTER_OPENING
    for offset in (-BEFORE_OPENING, timedelta(0), timedelta(seconds=FRESH_S), AFTER_OPENING):
        assert reason(found, nameless, READS[0], at=NOW + offset) == ""
    second = timedelta(seconds=1)
    for at in (NOW - BEFORE_OPENING - second, NOW + AFTER_OPENING + second):
        assert reason(found, nameless, READS[0], at=at) == "read_without_lease"
    for one, other in ((PROFILE, uuid4()), (CLIENT, uuid4())):
        what = ("read", RECORD.replace(str(one), str(other)))
        assert reason(found, nameless, what) == "read_without_lease"
    assert reason(found, nameless, READS[1]) == "read_without_lease"
    for what in WRITES:
        assert reason(found, nameless, what) == "write_unexplained"
    assert reason(found, request, READS[0], entity_id="") == "lease_header_forged"


def test_what_no_lease_may_do_with_a_kek_is_a_finding() -> None:
    """Export, deletion and trimming are on no list; the mount's configuration is part of a set-up on record."""
    found, request = known("custody")
    for what in (
        ("read", f"tenant/export/encryption-key/{KEK}"), ("delete", f"tenant/keys/{KEK}/soft-delete"),
        ("update", f"tenant/keys/{KEK}/trim"), ("update", f"tenant/backup/{KEK}"), ("list", "tenant/keys"),
        ("update", f"tenant/decrypt/{CLIENT}"),
    ):  # fmt: skip
        assert reason(found, request, what) == "unlisted_request"
    assert reason(found, request, ("update", "tenant/config/keys")) == ""
    later = NOW + timedelta(hours=1)
    assert reason(found, request, ("update", "tenant/config/keys"), at=later) == "store_setup_changed"
    assert reason(found, request, ("read", RECORD.replace("/data/", "/metadata/")), lease_header="") == ""


def test_a_seal_that_was_announced_stands_for_one_write_of_its_own_record() -> None:
    """In time, at its place, by nobody's lease, once: cut off, a warning. Earlier, later, after it was recorded,
    another profile's, another kind of write, a second one: unexplained."""
    _, plain = known("custody")
    path, sealed_at = f"kv/clients/{CLIENT}/profiles/{PROFILE}", NOW + timedelta(minutes=1)
    write = replace(plain, operation="update", path=RECORD, lease_header="", at=NOW + timedelta(seconds=30))

    def told(request: Request, *seals: AnnouncedSeal) -> list[tuple[str, str]]:
        found = KnownToUs(leases={}, token_ttl=timedelta(seconds=2), seals=list(seals))
        said = [explain(request, found) for _ in range(2)]
        return [(one.reason, one.severity) for one in said if one is not None]

    unexplained, cut_off = ("write_unexplained", "critical"), ("write_cut_off", "warning")
    open_, done = (AnnouncedSeal(path=path, since=NOW, until=until) for until in (None, sealed_at))
    for seal in (open_, done):
        assert told(write, seal) == [cut_off, unexplained]
        assert told(write, seal, seal) == [cut_off, cut_off]
        for other in (
            replace(write, at=NOW - timedelta(seconds=2)),
            replace(write, path=RECORD.replace(str(PROFILE), str(uuid4()))),
            replace(write, path=RECORD.replace("/data/", "/destroy/")),
        ):
            assert told(other, seal) == [unexplained, unexplained]
    assert told(replace(write, at=sealed_at + timedelta(seconds=2)), done) == [unexplained, unexplained]
    assert told(replace(write, at=NOW + SEAL_FOR - timedelta(seconds=2)), open_) == [cut_off, unexplained]
    assert told(replace(write, at=NOW + SEAL_FOR + timedelta(seconds=2)), open_) == [unexplained, unexplained]


def test_a_release_explains_no_cut_off_right_after_it() -> None:
    """Who puts a client out seconds after its release did not do that for the release; a close near it does explain."""
    entity, release = str(uuid4()), EntityUpdate(at=NOW, client_id=CLIENT, opens=True)
    found, request = known("use")
    found.entities = {entity: (CLIENT, False)}
    what, after = ("update", f"identity/entity/id/{entity}"), NOW + timedelta(seconds=5)
    found.moves = [release]
    assert reason(found, request, what, at=after) == "cut_off_unexplained"
    assert reason(found, request, what, at=NOW - timedelta(seconds=5)) == "", "it was engaged until then"
    found.moves = [release, replace(release, at=NOW + timedelta(seconds=3), opens=False)]
    assert reason(found, request, what, at=after) == ""
    found.moves = [replace(release, at=NOW - timedelta(seconds=5), opens=False), release]
    assert reason(found, request, what, at=after) == "cut_off_unexplained", "what was closed was released since"


def test_who_puts_entities_out_may_list_them() -> None:
    """A panic asks the store who there is, and tells the database; one that did not is a finding of its own. By another
    identity, and of anything else, it is another finding."""
    found, request = known("use")
    found.stops, found.setups = frozenset({request.entity_id}), ()
    engaged = EntityUpdate(at=NOW, client_id=CLIENT, opens=False, panic=True)
    for path in ("identity/entity/id", "identity/entity/id/"):
        for moves, said in (([engaged], ""), ([replace(engaged, panic=False)], "kill_panic"), ([], "kill_panic")):
            found.moves = moves
            assert reason(found, request, ("list", path)) == said
        assert reason(found, request, ("list", path), entity_id=str(uuid4())) == "store_setup_changed"
    assert reason(found, request, ("list", "identity/entity/name")) == "store_setup_changed"


def test_what_a_restore_asks_its_store_is_explained_by_its_record() -> None:
    """Before the record, within an hour, by nobody's identity; no value is among it."""
    found = KnownToUs(leases={}, token_ttl=timedelta(seconds=2), restores=[NOW])
    asked = [
        ("update", "sys/leases/revoke-prefix/auth/approle/login"), ("list", f"kv/metadata/clients/{CLIENT}/providers/"),
        ("read", f"tenant/keys/{KEK}"), READS[1],
    ]  # fmt: skip
    _, request = known("custody")
    own = {"entity_id": "", "lease_header": ""}
    for what in asked:
        assert reason(found, request, what, at=NOW - timedelta(minutes=50), **own) == ""
        assert reason(found, request, what, at=NOW - timedelta(minutes=61), **own)
        assert reason(found, request, what, at=NOW + timedelta(seconds=2), **own)
        assert reason(found, request, what, lease_header="")
        assert reason(found, request, what, **own, machine="broker")
    for what in (READS[0], *WRITES):
        assert reason(found, request, what, **own)
    # What sets the store up again came with it, by an identity or the root token, however late the stack is started.
    for what in (("update", "sys/policies/acl/broker"), ("update", "auth/approle/role/web"), ("read", "sys/mounts")):
        for entity in ("", request.entity_id):
            assert reason(found, request, what, at=NOW - timedelta(minutes=50), entity_id=entity) == ""
            for at in (NOW - timedelta(minutes=61), NOW + timedelta(seconds=2), NOW + timedelta(minutes=50)):
                assert reason(found, request, what, at=at, entity_id=entity) == "store_setup_changed"
