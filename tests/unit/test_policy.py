"""Who may do what, and the gate: default deny, first reason named."""

from __future__ import annotations

import itertools
import re
from contextlib import nullcontext
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byokeep.adapters import postgres
from byokeep.core.errors import Denied, NotFound, Rejected
from byokeep.core.gate import GATE_VERSION, DenyReason, GateInput, check_effect, gate_schema
from byokeep.core.model import HUMAN_ROLES, MACHINE_ROLES, Actor, EffectKind, Lane, Role
from byokeep.core.policy import APPROVING, FORBIDDEN_PAIRS, GRANTS, Verb, authorise, check_roles
from byokeep.core.procedure import Procedure, Step
from byokeep.kernel import approvals
from tests.support.advice import assert_advice

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
OPEN = GateInput(
    version=GATE_VERSION,
    effect="publish",
    platform="x",
    lane="api",
    switches_open=True,
    client_active=True,
    job_open=True,
    dry_run=False,
    job_sealing=False,
    lease_kind="use",
    lease_valid=True,
    declared_effects=("publish",),
    declared_platforms=("x",),
    declared_lanes=("api",),
    platform_stage="never_lost",
    canary_free=None,
    enabled_lanes=("api",),
    connected=True,
    connection_recorded=True,
    grant_state="live",
    drift=False,
    profile_usable=None,
    profile_open=None,
    credentials_usable=True,
    identity="match",
    identity_at=NOW - timedelta(minutes=1),
    scheduled="none",
    now=NOW,
    identity_fresh_for=timedelta(minutes=10),
    drill=False,
)


EAST = timezone(timedelta(hours=2))


def actor(*roles: Role, clients: frozenset[Any] | None = None) -> Actor:
    """An actor with these roles."""
    return Actor(id=uuid4(), roles=frozenset(roles), clients=clients, request_id=uuid4())


def test_the_gate_opens_when_everything_holds() -> None:
    """The one good input passes; it is the base of every bad one below."""
    check_effect(OPEN)


@pytest.mark.req("R12-1")
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"version": 2}, "unknown_version"),
        ({"version": 0}, "unknown_version"),
        ({"effect": "teleport"}, "bad_request"),
        ({"effect": ""}, "bad_request"),
        ({"lane": "carrier_pigeon"}, "bad_request"),
        ({"drill": True}, "disaster_recovery_drill"),
        ({"drill": None}, "disaster_recovery_drill"),
        ({"switches_open": False}, "switch_closed"),
        ({"switches_open": None}, "switch_unknown"),
        ({"client_active": False}, "client_not_active"),
        ({"client_active": None}, "client_not_active"),
        ({"job_open": False}, "job_not_open"),
        ({"job_open": None}, "job_not_open"),
        ({"lease_kind": "custody"}, "lease_kind"),
        ({"lease_kind": None}, "lease_kind"),
        ({"lease_valid": False}, "lease_expired"),
        ({"lease_valid": None}, "lease_expired"),
        ({"declared_effects": ()}, "effect_not_declared"),
        ({"declared_platforms": ()}, "platform_not_declared"),
        ({"platform": "tiktok"}, "platform_not_declared"),
        ({"declared_lanes": ()}, "lane_not_declared"),
        ({"enabled_lanes": ()}, "lane_not_enabled"),
        ({"credentials_usable": False}, "credential_not_usable"),
        ({"credentials_usable": None}, "credential_not_usable"),
        ({"identity": "mismatch"}, "identity_mismatch"),
        ({"identity": "unknown"}, "identity_unproven"),
        ({"platform_stage": "closed"}, "platform_closed"),
        ({"platform_stage": "permitted"}, "platform_closed"),
        ({"platform_stage": None}, "platform_unknown"),
        ({"platform_stage": "OPEN"}, "platform_unknown"),
        ({"platform_stage": "canary"}, "canary_stage_full"),
        ({"platform_stage": "canary", "canary_free": False}, "canary_stage_full"),
        ({"enabled_lanes": ("api", "fax")}, "lane_policy_unknown"),
        ({"enabled_lanes": ("API",)}, "lane_policy_unknown"),
        ({"connected": None}, "account_not_connected"),
        ({"connection_recorded": False}, "account_not_connected"),
        ({"connection_recorded": None}, "account_not_connected"),
        ({"grant_state": "needs_reauth"}, "grant_not_live"),
        ({"grant_state": None}, "grant_not_live"),
        ({"drift": True}, "identity_drift"),
        ({"drift": None}, "identity_drift"),
        ({"scheduled": "held"}, "effect_held"),
        ({"scheduled": "missed"}, "effect_missed"),
        ({"scheduled": "cancelled"}, "effect_cancelled"),
        ({"scheduled": None}, "gate_error"),
        ({"identity": "unchecked"}, "identity_unproven"),
        ({"identity": None}, "identity_unproven"),
        ({"identity": "MATCH"}, "identity_unproven"),
        ({"identity_at": None}, "identity_unproven"),
        ({"identity_at": NOW - timedelta(minutes=11)}, "identity_stale"),
        ({"identity_at": NOW + timedelta(minutes=1)}, "identity_stale"),
    ],
)
def test_each_missing_part_denies(change: dict[str, Any], reason: str) -> None:
    """Every single input, when wrong or unknown, denies with its own published reason and next step."""
    with pytest.raises(Denied) as caught:
        check_effect(replace(OPEN, **change))
    assert caught.value.code == reason
    assert caught.value.next_step == DenyReason(reason).next_step
    assert reason in gate_schema()["deny_reasons"]  # type: ignore[operator]


@given(st.data())
def test_no_combination_of_faults_opens_the_gate(data: st.DataObject) -> None:
    """Any set of inputs that differs from the good one in a guarded field denies."""
    bad = {
        "switches_open": [False, None], "client_active": [False, None], "job_open": [False, None],
        "lease_valid": [False, None], "credentials_usable": [False, None], "drill": [True, None],
        "identity": ["mismatch", None], "lease_kind": ["custody", None], "enabled_lanes": [()],
        "platform_stage": ["closed", "canary", None], "connection_recorded": [False, None], "grant_state": ["revoked"],
        "drift": [True, None], "scheduled": ["held", "missed", None],
    }  # fmt: skip
    chosen = data.draw(st.lists(st.sampled_from(sorted(bad)), min_size=1, unique=True))
    change = {name: data.draw(st.sampled_from(bad[name])) for name in chosen}
    with pytest.raises(Denied):
        check_effect(replace(OPEN, **change))


def test_the_schema_is_complete() -> None:
    """The published schema names every input, effect, lane and reason."""
    schema = gate_schema()
    assert schema["inputs"] == [spec.name for spec in fields(GateInput)]
    assert schema["effects"] == [kind.value for kind in EffectKind]
    assert schema["lanes"] == [lane.value for lane in Lane]
    assert set(schema["deny_reasons"]) == {reason.value for reason in DenyReason}  # type: ignore[call-overload]
    assert schema["default"] == "deny"


def test_nobody_may_read_a_value() -> None:
    """No role holds key.read (R4.1-9)."""
    for role in Role:
        with pytest.raises(Denied):
            authorise(actor(role), Verb.KEY_READ)


def test_default_deny() -> None:
    """An actor with no role may do nothing; a verb without a grant is held by nobody."""
    for verb in Verb:
        with pytest.raises(Denied):
            authorise(actor(), verb)
    assert set(GRANTS) == set(Verb)


@pytest.mark.req("S-OWASP-23")
def test_another_client_looks_like_none() -> None:
    """A client outside the assignment answers not_found, as if it did not exist."""
    mine, other = uuid4(), uuid4()
    who = actor(Role.OPERATOR, clients=frozenset({mine}))
    authorise(who, Verb.KEY_WRITE, client_id=mine)
    with pytest.raises(NotFound) as caught:
        authorise(who, Verb.KEY_WRITE, client_id=other)
    assert caught.value.code == "not_found"
    assert caught.value.fields == {}


def test_machines_can_not_do_what_people_do() -> None:
    """No verb is held by a runner and by a person who writes keys, approves or administers (R4.1-10)."""
    writing = {Verb.KEY_WRITE, Verb.KEY_STATE, Verb.CLIENT_CREATE, Verb.SUBJECT_CREATE, Verb.SWITCH_APPROVE_OPEN}
    for verb in writing:
        assert not GRANTS[verb] & MACHINE_ROLES


@pytest.mark.parametrize("pair", sorted(FORBIDDEN_PAIRS, key=sorted))
def test_forbidden_pairs(pair: frozenset[Role]) -> None:
    """Roles that check each other can not sit in one identity (R4.1-12)."""
    with pytest.raises(Rejected) as caught:
        check_roles(pair, machine=False)
    assert caught.value.code == "forbidden_role_pair"


def test_people_and_machines_hold_different_roles() -> None:
    """Operator and runner can not meet in one identity, by kind."""
    for person, machine in itertools.product(HUMAN_ROLES, MACHINE_ROLES):
        for kind in (True, False):
            with pytest.raises(Rejected):
                check_roles(frozenset({person, machine}), machine=kind)
    with pytest.raises(Rejected):
        check_roles(frozenset(), machine=False)
    with pytest.raises(Rejected):
        check_roles(frozenset({Role.RUNNER, Role.DISPATCHER}), machine=True)
    check_roles(frozenset({Role.RUNNER}), machine=True)


@pytest.mark.parametrize(
    ("until", "name", "words"),
    [
        (
            datetime(2026, 1, 31, 14, 5, tzinfo=timezone(timedelta(hours=2))),
            "anna",
            ("until 2026-01-31 12:05Z", "anna"),
        ),
        (None, "", ("for now", "NAME")),
    ],
)
def test_whoever_is_held_approves_nothing_and_is_told_until_when(
    until: datetime | None, name: str, words: tuple[str, str]
) -> None:
    """Every act that is a second person's is refused, with its end in UTC and the way out; other acts pass."""
    who = replace(actor(Role.APPROVER, Role.ADMIN, Role.OPERATOR), held=True, held_until=until, name=name)
    authorise(who, Verb.KEY_WRITE)
    for verb in APPROVING:
        with pytest.raises(Denied, match=r"^approval_held") as caught:
            authorise(who, verb)
        assert caught.value.fields == {"verb": verb.value}
        assert caught.value.next_step == (
            f"Your approvals are held {words[0]}. To end it sooner: `byokeep operator vouch {words[1]}`, run by an"
            " admin and approved by a second one."
        )


def test_a_refusal_says_who_may() -> None:
    """Who may not is told the verb and the roles that may; a verb that nobody holds says so."""
    for verb, roles in ((Verb.CLIENT_CREATE, "admin"), (Verb.KEY_LIST, "approver, auditor, operator"),
                        (Verb.KEY_READ, "none")):  # fmt: skip
        with pytest.raises(Denied, match=r"^not_permitted") as caught:
            authorise(actor(Role.RUNNER), verb)
        assert caught.value.next_step == f"This needs one of these roles: {roles}."
        assert caught.value.fields == {"verb": verb.value}


@pytest.mark.parametrize(
    ("roles", "machine", "code", "words"),
    [
        (set(), False, "no_roles", "at least one role"),
        ({Role.RUNNER}, False, "wrong_kind_of_role", "Give people roles for people"),
        ({Role.OPERATOR}, True, "wrong_kind_of_role", "Give people roles for people"),
        ({Role.RUNNER, Role.DISPATCHER}, True, "one_role_per_machine", "one machine identity for each role"),
        ({Role.OPERATOR, Role.APPROVER}, False, "forbidden_role_pair", "to two people"),
    ],
)
def test_roles_that_do_not_go_together_are_refused_with_advice(
    roles: set[Role], machine: bool, code: str, words: str
) -> None:
    """Each refusal has its own code, says what to do, and a forbidden pair is named in order."""
    with pytest.raises(Rejected, match=rf"^{code}\b") as caught:
        check_roles(frozenset(roles), machine=machine)
    assert_advice(caught.value, words)
    pair = {"first": "approver", "second": "operator"} if code == "forbidden_role_pair" else {}
    assert caught.value.fields == pair


def test_an_approval_counts_with_the_role_that_gives_it() -> None:
    """The database names the roles once more: where they differed, an approval would count for nothing, or for ever."""
    rows = (Path(postgres.__file__).parent / "migrations/objects/rows.sql").read_text()
    by_admin = re.search(r"CASE\s+WHEN a\.action IN \(([^)]*)\) THEN 'admin' ELSE 'approver' END = ANY", rows)
    verbs = {
        approvals.GIVE_RIGHTS: Verb.SUBJECT_APPROVE, approvals.ISSUE_TOKEN: Verb.SUBJECT_APPROVE,
        approvals.TRANSFER_ACCOUNT: Verb.TRANSFER_APPROVE, approvals.RELEASE_SWITCH: Verb.SWITCH_APPROVE_OPEN,
        approvals.START_CANARY: Verb.CANARY_APPROVE, approvals.BREAK_GLASS: Verb.GLASS_APPROVE,
    }  # fmt: skip
    assert by_admin is not None
    for action, verb in verbs.items():
        assert verb.roles == {Role.ADMIN if f"'{action}'" in by_admin[1] else Role.APPROVER}, action
    for verb in Verb:  # a procedure's step
        given = nullcontext() if verb.roles == {Role.APPROVER} else pytest.raises(ValueError, match="approved by")
        with given:
            Procedure(name="exercise", verb=Verb.KEY_STATE, steps=(Step(name="act", approval=verb),))
