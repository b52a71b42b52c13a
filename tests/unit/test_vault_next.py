"""What comes next in an incident of the vault: from what is still to do, with ids, and by whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from byokeep.cli import terminal, vault
from byokeep.cli.main import run
from byokeep.core import profile as life
from byokeep.settings import Settings

INCIDENT, OLD, NEW, CLIENT = "incident-1", "old-1", "new-1", "client-1"


@pytest.fixture(autouse=True)
def _flags(tmp_path: Path) -> Any:
    mark = terminal.current.set(
        terminal.TerminalSession(Settings(home=tmp_path), False, given={"token-file": "me.token"})
    )
    yield
    terminal.current.reset(mark)


def told(step: str, *to_do: str, left: int = 0) -> list[str]:
    items = [{"to_do": one, "profile": OLD, "platform": f"p{at}", "new_profile": NEW} for at, one in enumerate(to_do)]
    found = {"incident": INCIDENT, "client_id": CLIENT, "step": step, "items": items, "left": {"validated": left}}
    return vault.lines(found).splitlines()


ME = " --token-file me.token"
VAULT = "byokeep incident vault"


@pytest.mark.parametrize(
    ("step", "to_do", "wanted"),
    [
        ("opened", "", [f"Next: {VAULT} lane-off {INCIDENT}{ME}"]),
        ("lane_off", "", [f"Next: {VAULT} sessions {INCIDENT}{ME}"]),
        ("lane_off", "wait_for_worker",
         ["A worker is working on it. The next command checks again.", f"Next: {VAULT} sessions {INCIDENT}{ME}"]),
        ("lane_off", "end_session_by_hand",
         [f"Next: {VAULT} session-ended {INCIDENT} {OLD} p0{ME}  (after you have logged out at p0 by hand)",
          f"Then: {VAULT} sessions {INCIDENT}{ME}"]),
        ("sessions_ended", "", [f"Next: {VAULT} recreate {INCIDENT}{ME}"]),
        ("sessions_ended", "log_in",
         [f"Next: byokeep profile login {NEW}{ME}",
          f"Then: byokeep profile confirm {NEW} ACCOUNT{ME}  (the user name that you saw)",
          f"Then: {VAULT} recreate {INCIDENT}{ME}"]),
        ("sessions_ended", "confirm_login",
         [f"Next: byokeep profile confirm {NEW} ACCOUNT{ME}  (the user name that you saw)",
          f"Then: {VAULT} recreate {INCIDENT}{ME}"]),
        ("recreated", "", [f"Next: {VAULT} rekey {INCIDENT}{ME}"]),
        ("recreated", "approve_destruction",
         [f"Next: {VAULT} approve {INCIDENT}  (an approver)", f"Then: {VAULT} rekey {INCIDENT}{ME}"]),
        ("rekeyed", "", [f"Next: {VAULT} validate {INCIDENT}{ME}"]),
        ("validated", "", [f"Next: {VAULT} close {INCIDENT}  (an approver)"]),
        ("rekeyed", "make_another",
         [f"Next: {VAULT} recreate {INCIDENT}{ME}  (for new profiles that were destroyed)"]),
        ("validated", "make_another",
         [f"Next: {VAULT} recreate {INCIDENT}{ME}  (for new profiles that were destroyed)"]),
        ("closed", "",
         [f"Next: byokeep kill off --client {CLIENT} --lane browser --reason incident_over{ME}",
          "Then: byokeep kill approve REQUEST  (an approver)"]),
    ],
)  # fmt: skip
def test_each_step_names_what_is_left_of_it(step: str, to_do: str, wanted: list[str]) -> None:
    """Not the step's own command alone, where a person or a second one is waited for."""
    assert told(step, to_do) == wanted
    assert told(step, to_do, to_do)[-1] == wanted[-1]  # two platforms of one profile are said once


def test_an_approver_is_not_told_to_do_an_operator_s_part_with_his_own_token() -> None:
    """What follows an approval is the operator's; what is the approver's keeps the token that was named."""
    found = {"incident": INCIDENT, "client_id": CLIENT, "items": [], "left": {}}
    rekey = vault.lines(found | {"step": "recreated"}, approver=True)
    assert rekey == f"Next: {VAULT} rekey {INCIDENT}  (an operator)"
    close = vault.lines(found | {"step": "validated"}, approver=True)
    assert close == f"Next: {VAULT} close {INCIDENT}{ME}  (an approver)"
    off, on = vault.lines(found | {"step": "closed"}, approver=True).splitlines()
    assert off.endswith("incident_over  (an operator)")
    assert on == f"Then: byokeep kill approve REQUEST{ME}  (an approver)"


def test_many_profiles_are_counted() -> None:
    """The first ones are named, the step's own command is not lost, and the rest is in the table."""
    lines = told("lane_off", *["end_session_by_hand"] * 9, left=9)
    assert lines[:2] == ["Left: validated 9.", "For 4 more see the table."]
    assert len(lines) == 2 + 5 + 1
    assert lines[-1] == f"Then: {VAULT} sessions {INCIDENT}{ME}"


def test_a_profile_says_that_an_incident_is_open_and_that_it_is_due() -> None:
    """Never "it can be used" meanwhile; commands carry the id; what is gone for good is part of nothing."""
    valid = life.ProfileState.VALID
    assert "it can be used" in life.next_step(valid)
    rekey = f"`byokeep profile rekey {OLD}`"
    assert life.next_step(valid, profile=OLD, due="interval") == f"It is due for a new key: {rekey}."
    status = f"`byokeep incident vault status {INCIDENT}`"
    assert life.next_step(valid, profile=OLD, due="interval", incident=INCIDENT) == f"An incident is open: {status}."
    assert "vault open" in life.next_step(valid, profile=OLD, due=life.DueCause.INCIDENT), "a rekey would be refused"
    made = life.next_step(life.ProfileState.CREATED, profile=NEW, incident=INCIDENT)
    assert made.startswith(f"A person logs in once: `byokeep profile login {NEW}`.")
    assert made.endswith(f"{status}.")
    assert status not in life.next_step(life.ProfileState.SHREDDED, incident=INCIDENT)
    waits = life.next_step_of_work("waiting", "", profile=OLD)
    done = life.next_step_of_work("waiting", "", profile=OLD, result=life.LOGIN_DONE)
    assert f"`byokeep profile confirm {OLD} ACCOUNT`" in waits
    assert f"`byokeep profile confirm {OLD} ACCOUNT`" in done
    assert "handoff" in waits
    assert "Done was pressed" in done


def test_a_profile_is_told_what_it_can_do_and_no_more() -> None:
    """Nothing that never was comes back; what was sealed since a proof is told; who has it open as well."""
    out = life.ProfileState.QUARANTINED
    assert "restore" in life.next_step(out)
    never = life.next_step(out, sealed=False)
    assert ("restore" in never, never.endswith("`byokeep profile login`.")) == (False, True)
    unproved = life.next_step(life.ProfileState.VALID, profile=OLD, proved=False)
    assert ("Nothing" in unproved, f"`byokeep profile validate {OLD}`" in unproved) == (False, True)
    assert "Wait until that job ends" in life.next_step_of_work("failed", "profile_in_use")


PROFILE = "7f0c9b1e-8d5b-4a53-9e0c-2f1f6a3c4d5e"
OPEN = ["--client", PROFILE]
ITEM = {
    "client_id": PROFILE, "profile": PROFILE, "platform": "x", "session": "pending", "session_at": None,
    "session_by": None, "to_do": "", "profile_state": "valid", "new_profile": None, "new_state": None,
    "fresh_login": False, "keys": 1, "keys_destroyed": 0, "identity_at": None, "wrong_account_at": None,
    "proved": False,
}  # fmt: skip
FOUND = {
    "incident": PROFILE, "client_id": PROFILE, "everybody": False, "cause": "drill", "step": "lane_off",
    "since": "2026-05-01T12:00:00Z", "since_assumed": True, "opened_by": PROFILE, "opened_at": "2026-05-01T12:00:00Z",
    "closed_at": None, "closed_by": None, "items": [ITEM], "left": {"sessions": 1, "validated": 1},
    "evidence": [{"step": "lane_off", "chain": PROFILE, "seq": 7, "hash": "00" * 32, "at": None, "by": PROFILE}],
    "missing": ["recreated"],
}  # fmt: skip
ALERTS = [
    {"id": "alert-1", "reason": "vault_incident_opened", "client_id": PROFILE, "object_id": PROFILE},
    {"id": "alert-2", "reason": "vault_incident_opened", "client_id": PROFILE, "object_id": "another incident"},
    {"id": "alert-3", "reason": "permit_unknown", "client_id": PROFILE, "object_id": PROFILE},
    {"id": "alert-4", "reason": "profile_due", "client_id": "another client", "object_id": PROFILE},
]  # fmt: skip


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """What the server says about the one incident."""
    monkeypatch.setenv("BYOKEEP_HOME", str(tmp_path))
    said = dict(FOUND)

    async def call(method: str, path: str, **_: Any) -> Any:
        return {"alerts": ALERTS} if path == "/v1/alerts" else said

    monkeypatch.setattr("byokeep.cli.vault.call", call)
    monkeypatch.setattr("byokeep.cli.alert.call", call)
    return said


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["open", *OPEN], 0), (["lane-off", PROFILE], 0), (["sessions", PROFILE], 0),
        (["session-ended", PROFILE, PROFILE, "x"], 0), (["recreate", PROFILE], 0), (["rekey", PROFILE], 0),
        (["approve", PROFILE], 0), (["validate", PROFILE], 0), (["status", PROFILE], 6),
    ],
)  # fmt: skip
def test_a_step_that_was_done_as_far_as_it_goes_ends_with_0(
    words: list[str], code: int, server: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """`status` alone ends with 6 when something is left. Profiles and steps stand in tables."""
    assert run(["incident", "vault", *words]) == code
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert not [line for line in lines if line.startswith(("items", "evidence"))]
    assert len([line for line in lines if line.startswith("client") and "to do" in line]) == 1
    assert f"Next: byokeep incident vault sessions {PROFILE}" in shown.err


def test_a_closed_incident_names_the_alerts_that_still_stand(
    server: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Its own, of this incident and its profiles; no other's."""
    server |= {"step": "closed", "closed_at": "2026-05-02T12:00:00Z", "left": {"validated": 0}, "missing": []}
    assert run(["incident", "vault", "close", PROFILE]) == 0
    told = capsys.readouterr().err
    assert "byokeep alert close alert-1  (vault_incident_opened)" in told
    assert not [name for name in ("alert-2", "alert-3", "alert-4") if name in told]
    assert run(["incident", "vault", "status", PROFILE]) == 0


@pytest.mark.parametrize(("stage", "told"), [("open", True), ("canary", False)])
def test_a_platform_that_is_open_again_names_the_alerts_of_its_loss(
    stage: str, told: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Only then, and this client's alone."""
    monkeypatch.setenv("BYOKEEP_HOME", str(tmp_path))
    alerts = [
        {"id": f"alert-{at}", "reason": reason, "client_id": client, "object_id": PROFILE}
        for at, (reason, client) in enumerate(
            [("platform_closed", PROFILE), ("account_reuse_suspected", PROFILE), ("platform_closed", "another")]
        )
    ]

    lost = {"platform": "x", "cause": "revoked", "stage": stage, "number": 0, "of": 3, "acts": 1, "taken": 0, "done": 0}

    async def call(method: str, path: str, **_: Any) -> Any:
        return {"alerts": alerts} if path == "/v1/alerts" else {"platforms": [lost], "requests": []}

    monkeypatch.setattr("byokeep.cli.incident.call", call)
    monkeypatch.setattr("byokeep.cli.alert.call", call)
    assert run(["incident", "platform", "status", PROFILE]) == 0
    said = capsys.readouterr().err
    assert ["byokeep alert close alert-0  (platform_closed)" in said, "alert-1" in said] == [told, told]
    assert "alert-2" not in said
