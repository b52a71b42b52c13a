"""What single commands say about what the server told: nothing found, a state that is not the last, who did it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock
from uuid import UUID

import pytest

from byokeep import demo
from byokeep.cli import api, intake, job, key, terminal
from byokeep.cli.main import run
from byokeep.cli.terminal import TerminalSession, current, fail
from byokeep.client.http import error_from
from byokeep.core.errors import KINDS, ByokeepError, Denied, Integrity, Pending, RateLimited, Rejected, Unavailable
from byokeep.core.keystate import KeyState, check_transition
from byokeep.core.secret import Secret
from byokeep.http.request import problem
from byokeep.processes import doctor
from byokeep.settings import Settings
from byokeep_redact.search import Report, Unreadable

ID = "7f0c9b1e-8d5b-4a53-9e0c-2f1f6a3c4d5e"
WORK = {
    "work": ID, "profile": ID, "kind": "validate", "state": "done", "reason": "", "result": "valid",
    "generation": None, "asked_by": ID, "asked_at": None, "confirmed_at": None, "ended_at": "2026-05-01T12:00:00Z",
}  # fmt: skip
PROOF = {"platform": "x", "generation": 4, "sha256": "ab" * 32, "file": f"{ID}/{ID}/4-{'ab' * 32}.png"}
PROFILE = {
    "profile": ID, "client_id": ID, "generation": 4, "proved": True, "proofs": [PROOF], "incident": None,
    "accounts": [{"platform": "x", "account": "acme"}],
}  # fmt: skip


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BYOKEEP_HOME", str(tmp_path))


def answers(monkeypatch: pytest.MonkeyPatch, room: str, **by_end: Any) -> None:
    """Let the server answer by the last word of the path; ids end with ``one``."""

    async def call(method: str, path: str, **_: Any) -> Any:
        return dict(by_end[path.partition("?")[0].rsplit("/", 1)[1].replace(ID, "one")])

    for where in (room, "cli.api"):
        monkeypatch.setattr(f"byokeep.{where}.call", call)


def test_a_key_without_dependents(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A sentence, and the empty list for a program."""
    answers(monkeypatch, "profiles.cli", dependents={"count": 0, "dependents": []})
    assert run(["kek", "dependents", "development-a"]) == 0
    assert "Nothing depends on it." in "".join(capsys.readouterr())
    assert run(["kek", "dependents", "development-a", "--json"]) == 0
    assert '"count"' in capsys.readouterr().out


def test_a_grant_is_not_opened_where_nothing_could_unwrap_what_comes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It opens once: who names no file is refused before, and a program gets the whole answer."""
    opened = {"id": ID, "wrapping_token": "hvs.once"}
    asked = AsyncMock(return_value=opened)
    monkeypatch.setattr("byokeep.breakglass.cli.call_broker", asked)
    assert (run(["breakglass", "open", ID]), asked.await_count) == (2, 0)
    assert "--save FILE" in capsys.readouterr().err
    assert run(["breakglass", "open", ID, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == opened


def test_the_end_of_a_key_is_asked_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The state that is shown is the one before a worker was there, and is said to be."""
    answers(monkeypatch, "profiles.cli", end={"kek": "development-a", "version": 1, "state": "deactivated"})
    assert run(["kek", "disable", "development-a", "1"]) == 0
    assert "until a worker has ended it at OpenBao. Then it is destroyed" in capsys.readouterr().err


def test_a_proof_names_its_generation_its_picture_and_the_next_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """With ids and names filled in, the person's name in place of the id; inside an incident that is what is next."""
    found = dict(PROFILE)
    answers(monkeypatch, "profiles.cli", validate=WORK, one=found)

    async def names(method: str, path: str, **_: Any) -> Any:
        return {"names": {ID: "maria"}}

    class Token:
        def reveal(self) -> bytes:
            return b"bko_"

    monkeypatch.setattr("byokeep.cli.api.call", names)
    monkeypatch.setattr("byokeep.cli.api.own_token", Token)
    assert run(["profile", "validate", ID]) == 0
    shown = capsys.readouterr()
    lines = {line.split("  ")[0]: line.split()[-1] for line in shown.out.splitlines() if line}
    assert (lines["generation"], lines["asked by"]) == ("4", "maria")
    assert str(tmp_path / "proofs" / PROOF["file"]) in shown.out
    assert f"Next: byokeep account lane {ID} x acme browser" in shown.err
    found["incident"] = ID
    assert run(["profile", "validate", ID]) == 0
    assert f"Next: byokeep incident vault status {ID}" in capsys.readouterr().err


def test_work_that_failed_names_the_next_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its reason's sentence, then a whole command."""
    failed = WORK | {"state": "failed", "reason": "other_account", "result": ""}
    answers(monkeypatch, "profiles.cli", confirm=failed, one=PROFILE)
    assert run(["profile", "confirm", ID, "acme"]) == 6
    told = capsys.readouterr().err.splitlines()
    assert told[-1] == f"Next: byokeep profile show {ID}"
    assert "Another account was logged in" in told[-2]


@pytest.mark.parametrize("words", [["create", ID], ["confirm", ID]])
def test_an_account_must_be_named(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody is asked without one, and the help says that it is required."""
    assert run(["profile", *words]) == 2
    assert "ACCOUNT or its value is missing" in capsys.readouterr().err
    assert run(["profile", words[0], "--help"]) == 0
    assert "ACCOUNT..." in capsys.readouterr().out


@pytest.mark.parametrize("user", [0, 1000])
def test_a_browser_of_root_has_no_sandbox(user: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Root is told so by doctor."""
    monkeypatch.setattr(doctor.os, "geteuid", lambda: user)
    monkeypatch.setattr(doctor, "find_chromium", lambda: tmp_path / "chromium")
    row = next(iter(doctor._profiles(Settings(home=tmp_path))))
    assert row.ok
    assert ("sandbox" in row.next_step) is (user == 0)


def test_a_consent_that_came_to_nothing_says_what_there_was(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The accounts to pick from as a table with their ids, our name of an account that is held already; a program gets
    one document with both."""
    begun = {
        "connection": ID, "sop": ID, "authorize_url": "https://x.example/?state=s", "binding": "b",
        "redirect_uri": "https://agency.example/x", "expires_at": "2026-05-01T12:00:00Z",
    }  # fmt: skip
    ended = {"connection": ID, "sop": ID, "login": "meta", "state": "failed", "code_points": "", "held_as": "",
             "offered": []}  # fmt: skip
    pages = [{"id": "1040", "name": "Acme_Bakery <U+202E>"}, {"id": "page_2", "name": "-"}]
    several = ended | {"reason": "several_accounts", "offered": pages}
    held = ended | {"reason": "already_connected", "held_as": "cafe"}

    async def pasted(*_: object) -> Secret:
        return Secret("state=s")

    monkeypatch.setattr("byokeep.accounts.cli._pasted", pasted)
    command = ["account", "connect", ID, "meta", "acme", "--paste"]
    answers(monkeypatch, "accounts.cli", connect=begun, answer={}, one=several)
    assert run(command) == 2
    shown = capsys.readouterr()
    assert [line.split() for line in shown.out.splitlines()[-3:]] == [
        ["id", "name"], ["1040", "Acme_Bakery", "<U+202E>"], ["page_2", "-"]
    ]  # fmt: skip
    assert "--pick" in shown.err
    assert run([*command, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["offered"] == pages
    answers(monkeypatch, "accounts.cli", connect=begun, answer={}, one=held)
    assert run(command) == 2
    shown = capsys.readouterr()
    assert shown.out.splitlines()[-1].split() == ["held", "as", "cafe"]
    assert "`held as`" in shown.err
    assert run([*command, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["held_as"] == "cafe"


def test_no_ended_token_is_shown_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A login, and an own token for the older one, ask for names with what they got: the older one has ended."""
    asked: list[str | None] = []

    async def call(method: str, path: str, *, token: Secret | None = None, **_: Any) -> Any:
        if path == "/v1/names":
            asked.append(None if token is None else token.reveal().decode())
            return {"names": {}}
        kind = "session" if path == "/v1/session" else "api"
        return {"id": ID, "subject_id": ID, "token": "bko_new", "kind": kind}

    for room in ("cli.operator", "cli.api"):
        monkeypatch.setattr(f"byokeep.{room}.call", call)
    monkeypatch.setattr("byokeep.cli.operator.read_secret", lambda **_: Secret(b"a long enough pass phrase"))
    old = tmp_path / "old.token"
    old.write_text("bko_old\n")
    old.chmod(0o600)
    for words in (["login", "maria"], ["token"]):
        given = ["--save", str(tmp_path / words[0]), "--token-file", str(old)]
        assert run(["operator", *words, *given]) == 0
    assert asked == ["bko_new", "bko_new"]
    assert f"export BYOKEEP_TOKEN_FILE={tmp_path / 'login'}" in capsys.readouterr().err


def test_a_key_whose_provider_limits_calls_is_waited_for_aloud(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each wait is said once, on standard error; a program gets its one document and nothing else."""
    run_ = {"state": "running", "reason": "", "next_step": "", "id": ID, "ref": ID, "version": 1, "client_id": ID,
            "provider": "kie", "missing": []}  # fmt: skip
    second = run_ | {"reason": "rate_limited", "next_step": "attempt 2 of 5 comes by itself in 2 s."}
    third = second | {"next_step": "attempt 3 of 5 comes by itself in 4 s."}
    ref = {"verification": "verified", "version": 1, "state": "active", "candidate": None}
    answers_ = [run_, run_, second, second, second, third, run_ | {"state": "complete"}]

    async def call(method: str, path: str, **_: Any) -> Any:
        if method == "POST":
            left[:] = answers_
            return {"sop": ID}
        return dict(left.pop(0)) if path.startswith("/v1/sops") else ref

    async def sleep(_: float) -> None:
        return None

    left: list[dict[str, Any]] = []
    for where in ("key", "api"):
        monkeypatch.setattr(f"byokeep.cli.{where}.call", call)
    monkeypatch.setattr("asyncio.sleep", sleep)
    assert run(["key", "verify", ID]) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if "attempt" in line]
    assert told == [second["next_step"], third["next_step"]]
    assert run(["key", "verify", ID, "--json"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert json.loads(shown.out)["state"] == "complete"


@pytest.mark.parametrize(("words", "code"), [(["add", ID, "openai"], 7), (["verify", ID], 4)])
def test_a_key_that_is_stored_and_not_verified_is_told_from_nothing_done(
    words: list[str], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under an engaged kill switch a new key is kept: 7; a verification that decides nothing is 4. What the switch
    means for the key in use is said once."""
    failed = {"state": "failed", "reason": "switch_closed", "next_step": "Verify it later.", "id": ID, "ref": ID,
              "version": 2, "client_id": ID, "provider": "openai", "missing": []}  # fmt: skip
    ref = {"verification": "verified", "version": 1, "state": "active", "candidate": 2}
    replies = {"value": {"version": 2, "sop": ID, "serves": 1, "rotation": ID, "joined": False}, "verify": {"sop": ID},
               "switches": {"switches": [{"closed": True, "scope": "global"}]}}  # fmt: skip

    async def call(_: str, path: str, **__: Any) -> Any:
        return dict(failed if "/sops/" in path else replies.get(path.rpartition("/")[2], ref))

    for where in ("key", "api"):
        monkeypatch.setattr(f"byokeep.cli.{where}.call", call)
    monkeypatch.setattr("byokeep.cli.key.read_secret", lambda **_: Secret(b"sk-x"))
    assert run(["key", *words]) == code
    assert capsys.readouterr().err.count("A kill switch is engaged") == 1


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_no_error_repeats_itself(name: str, kind: type[ByokeepError], capsys: pytest.CaptureFixture[str]) -> None:
    """A code that is the name of its kind is not said twice; any other stands behind the kind."""
    words = name.replace("_", " ")
    fail(kind(name, next_step="Look."), as_json=False)
    assert capsys.readouterr().err == f"{words}\nLook.\n"
    fail(kind(name, next_step="Look.", ref=ID), as_json=False)
    assert capsys.readouterr().err == f"{words}: ref={ID}\nLook.\n"
    fail(kind("too_late", next_step="Look."), as_json=False)
    assert capsys.readouterr().err == f"{words}: too_late\nLook.\n"


@pytest.mark.parametrize(("code", "kind"), [(7, Pending), (4, Unavailable)])
def test_a_kill_that_holds_is_told_from_one_that_does_not(
    code: int, kind: type[Unavailable], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the server names it on the wire: 7 where the switch holds and the store is to follow, 4 where it does not."""
    reply = problem(kind("store_cut_off_pending" if code == 7 else "database_unavailable"), UUID(ID))
    assert reply.status_code == 503

    async def call(*_: object, **__: object) -> Any:
        raise error_from(reply.status_code, json.loads(bytes(reply.body)))

    monkeypatch.setattr("byokeep.cli.kill.call_kill", call)
    assert run(["kill", "on", "--client", ID, "--json"]) == code
    assert ("pending:" in capsys.readouterr().err) is (code == 7)


def test_the_demo_says_what_it_does_before_it_is_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first line is there when the demo's parts begin to be imported; none with --json."""
    said: list[str] = []

    def load(name: str) -> Any:
        said.append(capsys.readouterr().err)
        raise Unavailable("part_not_installed")

    monkeypatch.setattr("byokeep.cli.servers.load", load)
    assert run(["demo"]) == run(["demo", "--json"]) == 4
    assert [text.startswith("byokeep demo: ") for text in said] == [True, False]


@pytest.mark.parametrize(("trouble", "code"), [("init enoent", 4), ("", 4)])
async def test_what_the_demo_could_not_search_is_no_claim_that_fails(trouble: str, code: int) -> None:
    """Exit code 4, with what it was; a search of nothing as well."""
    unread = (Unreadable("/home/init", "enoent"),) if trouble else ()

    async def search(_stage: object) -> None:
        """Search everything."""
        demo._whole(Report(unreadable=unread))

    row = await demo._one(search, "a claim", None, quiet=True)
    assert (row["ok"], row["exit_code"]) == (False, code)
    assert "could_not_check" in row["seen"]
    assert trouble in row["seen"]
    demo._whole(Report(sources_scanned=1, bytes_scanned=1))


@pytest.mark.parametrize(
    ("refusal", "code", "said"),
    [
        (Unavailable("store_timeout"), 4, "broker or store could not be reached (store_timeout)"),
        (Denied("switch_closed"), 3, "a kill switch was engaged"),
    ],
)
async def test_a_command_that_is_ended_says_why_by_its_exit_code(
    refusal: ByokeepError, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """4 when broker or store are away, 3 when the job may not go on."""

    class Stopped:
        class lease:  # noqa: N801 - stands for an attribute
            holds = False

        async def secret(self, _provider: str) -> Secret:
            raise refusal

    running: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    assert await job._watch(cast("Any", Stopped()), ["openai"], cast("Any", running), []) == code
    assert said in " ".join(capsys.readouterr().err.split())


def test_whatever_is_unavailable_says_what_to_do() -> None:
    """Also where it is raised with a code alone; of the store, that nothing serves of what was sent in."""
    store = Unavailable("store_timeout").next_step
    assert "nothing that was sent in serves" in store
    assert "byokeep doctor" in store
    assert "store" not in Unavailable("broker_garbage").next_step
    assert "retry_after_s" in RateLimited("too_many", retry_after_s=3).next_step
    assert Unavailable("store_sealed", next_step="Unseal it.").next_step == "Unseal it."


@pytest.mark.parametrize("name", ["maria", ID])
def test_a_person_is_disabled_by_name_or_id_and_the_way_back_is_told(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The name leads to the id; two of one name are refused."""
    asked: list[str] = []
    people = [{"id": ID, "name": "maria", "kind": "operator"}, {"id": "1", "name": "both", "kind": "operator"},
              {"id": "2", "name": "both", "kind": "machine"}]  # fmt: skip

    async def call(method: str, path: str, body: Any = None, **_: Any) -> Any:
        asked.append(f"{method} {path}")
        found = [one for one in people if one["name"] == body.get("name")]
        return {"found": found, "near": []} if method == "POST" else {"id": ID, "name": "maria", "state": "disabled"}

    monkeypatch.delitem(sys.modules, "pydantic", raising=False)  # a command's own process does not have it
    for module in ("operator", "names"):
        monkeypatch.setattr(f"byokeep.cli.{module}.call", call)
    assert run(["operator", "change", name, "--state", "disabled"]) == 0
    assert asked[-1] == f"PATCH /v1/operators/{ID}"
    assert f"byokeep operator change {ID} --state active" in capsys.readouterr().err.replace("\\\n", "")
    assert run(["operator", "change", "both", "--state", "disabled"]) == 2
    assert asked[-1] == "POST /v1/names/find"


@pytest.mark.parametrize(("scope", "stopped"), [("global", True), (f"client:{ID}", True), ("client:other", False)])
def test_nothing_is_said_to_serve_while_the_kill_switch_is_engaged(
    scope: str, stopped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version in use is named, and that nothing of the client is served until the release."""

    async def call(*_: str) -> Any:
        return {"switches": [{"scope": "global", "closed": False}, {"scope": scope, "closed": True}]}

    monkeypatch.setattr(key, "call", call)
    current.set(TerminalSession(settings=Settings(), as_json=False))
    said = key._serving(ID, 1, "goes on serving.")
    assert ("nothing of this client is served" in said) is stopped
    assert ("goes on serving" in said) is not stopped
    assert "Version 1" in said


@pytest.mark.parametrize(
    ("typed", "code"),
    [(["one word", "one word"], ""), (["one", "two"], "not_the_same"), (["a\rb"] * 2, "several_lines")],
)
def test_a_password_is_asked_for_twice_and_is_one_line(
    typed: list[str], code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a prompt; what differs changes nothing."""
    answers_ = iter(typed)
    monkeypatch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda _: True})())
    monkeypatch.setattr("getpass.getpass", lambda _: next(answers_))
    with pytest.raises(Rejected, match=code) if code else nullcontext():
        assert intake.read_secret(prompt="New password", what="password", chosen=True).reveal() == b"one word"
    assert list(answers_) == []


def test_a_piped_password_of_two_lines_is_refused(tmp_path: Path) -> None:
    """An inner line break is no part of a password; a key's is judged by the server."""
    (tmp_path / "p").write_bytes(b"one\ntwo\n")
    with pytest.raises(Rejected, match="several_lines"):
        intake.read_secret(prompt="", fd=os.open(tmp_path / "p", os.O_RDONLY), what="password", chosen=True)
    assert intake.read_secret(prompt="", fd=os.open(tmp_path / "p", os.O_RDONLY)).reveal() == b"one\ntwo"


def test_a_changed_file_of_evidence_is_said_to_prove_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 5, what it means and what to do."""

    def refuse(*_: object) -> None:
        raise Integrity("bad_signature")

    monkeypatch.setattr("byokeep.client.verify.verify_evidence", refuse)
    monkeypatch.setattr("byokeep.client.verify.verify_report", lambda *_: None)
    monkeypatch.setattr("byokeep.client.verify.read_keys", lambda _: None)
    assert run(["evidence", "verify", "evidence.json", "--keys", "keys.txt"]) == 5
    assert "It proves nothing: export it again" in " ".join(capsys.readouterr().err.split())


def test_what_a_key_can_become_is_said_in_place() -> None:
    """No table has to be looked up."""
    with pytest.raises(Rejected) as refused:
        check_transition(KeyState.DEACTIVATED, KeyState.ACTIVE)
    assert "From deactivated, the next state can be: compromised, destroyed." in refused.value.next_step


def test_a_report_asks_for_figures_only_where_nobody_told_any(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A provider that counted nothing has told: only where there was no source are its figures missing."""
    found: dict[str, Any] = {
        "about": {"kind": "key", "id": ID}, "since": "", "until": "", "since_is": "", "state": "complete", "gaps": [],
        "totals": {}, "reads": [], "calls": [], "provider_usage": {"source": "provider", "asked_at": {}, "series": []},
    }  # fmt: skip
    answers(monkeypatch, "cli.exposure", exposure={"report": found, "digest": ""})
    assert run(["incident", "report", "--key", ID]) == 0
    assert "figures are missing" not in "".join(capsys.readouterr())
    found["provider_usage"] = {"source": "none", "series": []}
    assert run(["incident", "report", "--key", ID]) == 0
    assert "figures are missing" in "".join(capsys.readouterr())
    found |= {"gaps": [{"section": "calls", "why": "job_open", "since": "", "until": ""}], "totals": {"calls": 0}}
    assert run(["incident", "report", "--key", ID]) == 0
    assert "not known" in "".join(capsys.readouterr())  # no zero, where nobody told


@pytest.mark.req("S-ASVS-14")
def test_an_invitation_begins_at_the_address_that_people_open(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The address of the setting, or the one that was called; the token stands where no browser sends it."""
    ours, called = "https://keys.agency.example", "http://127.0.0.1:8420"
    monkeypatch.setattr("byokeep.cli.client.web_url", lambda: called)
    for portal, begins in ((ours, ours), ("", called)):
        answers(monkeypatch, "cli.client", contacts={"id": ID, "token": "T", "portal": portal, "mails": bool(portal)})
        assert run(["client", "invite", ID, "--json"]) == 0
        said = "".join(capsys.readouterr())
        assert f'"{begins}/portal/invitation#T"' in said


@pytest.mark.parametrize("as_json", [False, True])
def test_a_kill_is_acknowledged_before_names_are_asked_for(
    as_json: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Programs get the answer and no name is asked for; people get names, asked for once and not waited for long."""
    asked: list[tuple[str, float]] = []

    async def kill(*_: str, **__: Any) -> Any:
        return {"scope": f"client:{ID}", "client_id": ID, "closed": True, "by": ID, "store_cut_off": True}

    async def call(_: str, path: str, *, within_s: float = 60, **__: Any) -> Any:
        asked.append((path, within_s))
        raise Unavailable("server_unreachable")

    monkeypatch.setattr("byokeep.cli.kill.call_kill", kill)
    monkeypatch.setattr("byokeep.cli.api.call", call)
    monkeypatch.setattr("byokeep.cli.api.own_token", lambda: Secret(b"bko_x"))
    assert run(["kill", "on", "--client", ID, *["--json"] * as_json]) == 0
    assert asked == ([] if as_json else [("/v1/names", 2)])
    said = capsys.readouterr()
    assert f"client:{ID}" in said.out
    assert (f"Kill switch engaged: client:{ID}" in said.err) is not as_json


def test_who_kills_by_name_without_web_is_told_to_give_the_id(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only a command that stops everything, too, says so; a name is not waited for as long as other answers."""
    asked: list[float] = []

    async def call(*_: str, within_s: float = 60, **__: Any) -> Any:
        asked.append(within_s)
        raise Unavailable("server_unreachable", next_step="Is the stack up?")

    monkeypatch.delitem(sys.modules, "pydantic", raising=False)  # a command's own process does not have it
    monkeypatch.setattr("byokeep.cli.names.call", call)
    for command, advised in ((["kill", "on", "--client", "Acme"], True), (["client", "suspend", "Acme"], False)):
        assert run(command) == 4
        said = " ".join(capsys.readouterr().err.split())
        assert [words in said for words in ("client's id, or --everything", "kill panic --client ID")] == [advised] * 2
    assert max(asked) <= 5


@pytest.mark.parametrize(("error", "code", "advised"), [
    (Unavailable("database_unavailable"), 4, True), (Pending("store_cut_off_pending"), 7, False),
])  # fmt: skip
def test_a_kill_that_was_not_taken_names_the_one_that_needs_no_database(
    error: Unavailable, code: int, advised: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that holds, and that only the store has still to confirm, does not."""

    async def kill(*_: str, **__: Any) -> Any:
        raise error

    monkeypatch.setattr("byokeep.cli.kill.call_kill", kill)
    for scope, panic in ((["--client", ID], f"--client {ID}`."), (["--everything"], "--everything`."),
                         (["--client", ID, "--lane", "api"], f"--client {ID}`, which stops all of it.")):  # fmt: skip
        assert run(["kill", "on", *scope]) == code
        assert (f"`byokeep kill panic {panic}" in " ".join(capsys.readouterr().err.split())) is advised


@pytest.mark.parametrize("slow", [False, True])
def test_web_is_asked_for_a_kill_and_not_waited_for_long(slow: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a kill process that did not answer; where it is not known, `web` answers as it does everything."""
    asked: list[tuple[str, float]] = []

    async def fetch(_: str, __: str, *, at: str = "", within_s: float = 60, **___: Any) -> bytes:
        asked.append((at, 0 if at else within_s))  # the kill process has a time of its own
        if at:
            raise Unavailable("server_unreachable")
        return b"{}"

    monkeypatch.setattr("byokeep.cli.api.fetch", fetch)
    at = "http://127.0.0.1:1" if slow else ""
    current.set(TerminalSession(settings=Settings(killswitch_url=at, web_url="http://127.0.0.1:2"), as_json=True))
    api.run(api.call_kill("GET", "/v1/switches"))
    assert asked == ([(at, 0), ("", 15)] if slow else [("", 60)])


@pytest.mark.parametrize(("state", "reason", "left", "said"), [
    ("failed", "revoke_by_hand", 2, "waiting"), ("failed", "database_unavailable", 0, "failed"),
])  # fmt: skip
def test_a_mass_revocation_that_waits_for_people_did_not_fail(
    state: str, reason: str, left: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says what it waits for; one that failed says so."""
    found = {"run": {"id": ID, "state": state, "reason": reason}, "items": [], "left": left}
    answers(monkeypatch, "cli.exposure", one=found)
    assert run(["incident", "revoke", "show", ID]) == 4
    lines = dict(
        line.split(maxsplit=1)
        for line in capsys.readouterr().out.replace("waits for", "waits_for").splitlines()
        if line
    )
    assert (lines["state"], "waits_for" in lines) == (said, said == "waiting")


def test_what_is_due_today_is_not_called_overdue_and_says_its_cause(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Programs and sheets get the state as it is."""
    item = {
        "due_at": "2026-05-01T12:00:00Z",
        "kind": "key",
        "name": "openai",
        "client_id": None,
        "command": "byokeep x",
    }
    items = [item | {"state": "overdue", "days": days, "cause": cause}
             for days, cause in ((0, ""), (-1, ""), (0, "compromised"))]  # fmt: skip
    answers(monkeypatch, "cli.rotate", due={"items": items, "until": "2026-05-15", "more": 0, "digest": "d"})
    assert run(["rotate", "due"]) == 0
    shown = capsys.readouterr().out
    assert [shown.count(one) for one in ("due today  ", "overdue  ", "due today (compromised)")] == [1, 1, 1]


def test_a_machines_token_asks_for_no_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """It is not shown where only people are known: that is refused, and counted."""
    monkeypatch.delitem(sys.modules, "pydantic", raising=False)  # a command's own process does not have it
    answers(monkeypatch, "cli.names", find={"found": [], "near": []})
    file = tmp_path / "dispatcher.token"
    for kind, code in ((b"bkd_", "name_needs_a_person"), (b"bko_", "no_such_name")):
        file.write_bytes(kind + b"x" * 20)
        file.chmod(0o600)
        assert run(["client", "suspend", "acme", "--token-file", str(file)]) != 0
        assert code in capsys.readouterr().err


def test_a_line_for_a_shell_is_pasted_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """However narrow the terminal is."""
    for line in (
        "export BYOKEEP_TOKEN_FILE='/a place/with blanks/in it'",
        "(printf 'X-Vault-Token: '; cat a b) | curl",
    ):
        assert list(terminal._lines([line], 20)) == [line]
    assert len(list(terminal._lines(["Some prose that is longer than that"], 20))) == 2


@pytest.mark.parametrize("held", [None, "2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z"])
def test_who_is_invited_by_one_admin_alone_is_said_to_be_held(
    held: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Until when, and how a second admin ends it; a hold that is over is none."""
    issued = {"kind": "invitation", "token": "bki_x", "id": ID}
    answers(monkeypatch, "cli.operator", tokens=issued, operators={"operators": [{"id": ID, "held_until": held}]})
    assert run(["operator", "token", ID]) == 0
    told = capsys.readouterr().err
    assert ("They cannot approve until 2999-01-01" in told and f"vouch {ID}" in told) is (
        held is not None and held > "2026"
    )


def test_durations_are_read_with_their_unit() -> None:
    """As sizes and times are; a field's name tells, and programs get the number."""
    shown = {("life_s", 900): "15 min", ("gap_s", 6): "6 s", ("gap_s", 0): "0 s", ("count", 900): "900"}
    assert {given: terminal._cell(*given) for given in shown} == shown
    assert (terminal._label("wrapped_for_s"), terminal._label("status")) == ("wrapped for", "status")


def test_who_logs_in_in_a_browser_is_told_where_and_brings_a_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The code is read as a secret is and sent alone; a name and --browser, or neither, asks for nothing."""
    sent: list[Any] = []

    async def call(method: str, path: str, **more: Any) -> Any:
        sent.append((method, path, more.get("body")))
        return {"id": ID, "kind": "cli", "token": "bko_" + "t" * 43, "expires_at": "2026-05-01T12:00:00Z"}

    for room in ("cli.operator", "cli.api"):
        monkeypatch.setattr(f"byokeep.{room}.call", call)
    for words in ([], ["maria", "--browser"]):
        assert run(["operator", "login", *words]) == 2
    assert sent == []
    monkeypatch.setattr("byokeep.cli.operator.web_url", lambda: "https://keep.example")
    monkeypatch.setattr("byokeep.cli.operator.read_secret", lambda **_: Secret("bko_code \n"))
    file = tmp_path / "mine"
    assert run(["operator", "login", "--browser", "--save", str(file)]) == 0
    told = "".join(capsys.readouterr())
    assert ("https://keep.example/console/you" in told, "Make a code" in told, "bko_" in told) == (True, True, False)
    assert sent[0] == ("POST", "/v1/session", {"code": "bko_code"})
    assert file.read_text().startswith("bko_t")


async def test_a_command_ends_when_it_is_told_to_also_while_the_broker_is_silent() -> None:
    """The lease has run out and nobody answers: Ctrl-C does not wait for that, nor does the command's own end."""
    silent = SimpleNamespace(lease=SimpleNamespace(holds=False), secret=lambda _: asyncio.sleep(60))
    loop, told = asyncio.get_running_loop(), list[int]()
    loop.call_later(2.5 * job._LOOK_S, told.append, 2)
    never = asyncio.create_task(asyncio.sleep(60, 0))
    async with asyncio.timeout(5):
        assert await job._watch(cast(Any, silent), ["openai"], never, told) == 130
        assert await job._watch(cast(Any, silent), ["openai"], asyncio.create_task(asyncio.sleep(0.5, 7)), []) == 7
    never.cancel()


@pytest.mark.parametrize(("room", "words", "part"), [
    ("backup", ["backup", "list"], "backup"),
    ("backup", ["backup", "split", "KEY", "shares", "--shares", "3", "--threshold", "2"], "backup"),
    ("operator", ["operator", "recover", "maria", "--save", "mine"], "installation"),
    ("drill", ["drill", "run", "--identity-file", "a", "--seal-key-file", "b", "--recovery-key-file", "c"], "drill"),
])  # fmt: skip
def test_a_command_of_the_host_says_which_part_is_not_installed(
    room: str, words: list[str], part: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """As the servers' commands do: nobody is asked to report what an install leaves out."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(f"byokeep.cli.{room}.harden", lambda: None)
    monkeypatch.setitem(sys.modules, f"byokeep.processes.{part}", None)
    assert run(words) == 4
    assert "part_not_installed" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_what_the_system_does_not_allow_is_no_fault_to_report(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A directory that is a file, for a process that is started alone; what is named has no control characters."""
    place = tmp_path / "logs\x1b[31m"
    place.touch()
    for name in ("harden", "refuse_environment"):
        monkeypatch.setattr(f"byokeep.cli.servers.{name}", lambda: None)
    monkeypatch.setattr("byokeep.cli.servers.load", lambda _: place.rmdir())
    assert run(["web", "--json"]) == 4
    shown = capsys.readouterr()
    assert json.loads(shown.out)["error"]["code"] == "system_refused"
    told = " ".join(shown.err.split())
    assert ("logs?[31m could not be used" in told, "reason=E" in told, "report" in told) == (True, True, False)
    monkeypatch.setattr("byokeep.cli.servers.load", lambda _: (_ for _ in ()).throw(TimeoutError()))
    assert run(["web", "--json"]) == 4
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "internal_error", "no file: nobody can look at it"


def test_a_program_waits_for_no_names(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What a command stopped is confirmed by name to people alone; a `web` that hangs holds up nobody else."""
    asked: list[str] = []

    async def call(_: str, path: str, **__: Any) -> Any:
        asked.append(path)
        return {"id": ID, "names": {}}

    for where in ("client", "api"):
        monkeypatch.setattr(f"byokeep.cli.{where}.call", call)
    monkeypatch.setattr("byokeep.cli.api.own_token", lambda: Secret(b"bko_x"))
    assert run(["client", "suspend", ID, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["id"] == ID
    assert asked == [f"/v1/clients/{ID}/suspend"]
    assert run(["client", "suspend", ID]) == 0
    assert asked[2:] == ["/v1/names"]


def test_the_next_command_reaches_the_home_that_was_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After a restore it starts what was restored and not another home; so do a kill's release and a dry run's end."""
    manifest = SimpleNamespace(id=ID, made_at=datetime(2026, 3, 1, tzinfo=UTC))
    done = SimpleNamespace(manifest=manifest, behind=None, again=0, missing=[], orphans=[], to_do=[])
    host = SimpleNamespace(Brought=lambda **_: None, restore=AsyncMock(return_value=done))
    monkeypatch.setattr("byokeep.cli.backup.harden", lambda: None)
    monkeypatch.setattr("byokeep.cli.backup.load", lambda _: host)
    monkeypatch.setattr("byokeep.cli.kill.call_kill", AsyncMock(return_value={"scope": f"client:{ID}"}))
    monkeypatch.setattr(job, "_dispatched", lambda *_: {"id": ID})
    home = ["--home", str(tmp_path / "new")]
    keys = ["--identity-file", "a", "--seal-key-file", "b", "--recovery-key-file", "c"]
    for words, then in (
        (["backup", "restore", "FILE", *keys, "--checkpoints-lost"], "up"),
        (["kill", "on", "--client", ID], "kill approve REQUEST"),
        (["job", "dry-run", ID, "daily-post", "--rotation", ID], f"rotate resume {ID}"),
    ):
        assert run([*words, *home]) == 0
        assert f"byokeep {then} --home {tmp_path / 'new'}" in capsys.readouterr().err


def test_sizes_and_times_are_told_as_people_read_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A backup's bytes and the time of a checkpoint, which offline verification holds as a time; --json has numbers."""
    row = {"id": ID, "created_at": "2026-05-01T12:00:00Z", "verified_at": None, "counts": False, "size": 1_158_380,
           "unknown": ""}  # fmt: skip

    class Host:
        @staticmethod
        async def listed(_: Settings) -> list[dict[str, Any]]:
            return [row]

    monkeypatch.setattr("byokeep.cli.backup._host", Host)
    assert run(["backup", "list", "--home", str(tmp_path)]) == 0
    assert "1.1 MiB" in capsys.readouterr().out
    assert run(["backup", "list", "--home", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["size"] == 1_158_380
    assert terminal.clean(datetime(2026, 5, 1, 12, 0, 0, 99, UTC)) == "2026-05-01 12:00:00Z"


def test_a_dry_kill_counts_one_job_as_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The number stands where it fits one as well as many."""
    found = {"jobs": [{"id": ID}], "more": False, "ends_jobs": True}

    async def kill(method: str, path: str, **_: Any) -> Any:
        return found if path.endswith("preview") else {"switches": []}

    monkeypatch.setattr("byokeep.cli.kill.call_kill", kill)
    assert run(["kill", "on", "--everything", "--dry-run"]) == 0
    assert "Open jobs that would end for good: 1. To stop them: " in capsys.readouterr().err


def test_an_approver_is_told_where_the_rest_waits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What two admins decide is listed for admins and auditors only."""

    async def call(*_: str, **__: Any) -> Any:
        raise Denied("not_permitted", next_step="This needs one of these roles: admin, auditor.")

    monkeypatch.setattr("byokeep.cli.approve.call", call)
    assert run(["approve"]) == 3
    assert "`byokeep kill status`, `byokeep breakglass list`" in " ".join(capsys.readouterr().err.split())
