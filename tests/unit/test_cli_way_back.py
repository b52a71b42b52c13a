"""What the command line says while an account or a platform is lost, and of a consent that did something else."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from byokeep.accounts import cli
from byokeep.cli.main import run
from byokeep.core import next_steps
from byokeep.core.secret import Secret

ID = "7f0c9b1e-8d5b-4a53-9e0c-2f1f6a3c4d5e"
BEGUN = {
    "connection": ID, "sop": ID, "authorize_url": "https://x.example/?state=s", "binding": "b",
    "redirect_uri": "https://agency.example/x", "expires_at": "2026-05-01T12:00:00Z",
}  # fmt: skip
ENDED = {"connection": ID, "sop": ID, "login": "x", "state": "quarantined", "reason": "other_account",
         "code_points": "", "held_as": "", "offered": []}  # fmt: skip
LOST = {"platform": "x", "cause": "compromised", "stage": "closed", "way": 1, "number": 0, "of": 3, "acts": 1,
        "taken": 0, "done": 0, "changed_at": "2026-01-31T12:00:00Z"}  # fmt: skip
ACME = {"platform": "x", "login": "x", "account": "acme", "state": "needs_reauth", "next": "connect"}


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BYOKEEP_HOME", str(tmp_path))


def served(monkeypatch: pytest.MonkeyPatch, **by_end: Any) -> list[tuple[str, Any]]:
    """Let the server answer by the last word of the path; returns what it was sent."""
    sent: list[tuple[str, Any]] = []

    async def call(method: str, path: str, *, body: Any = None, **_: Any) -> Any:
        end = path.rsplit("/", 1)[1].replace(ID, "one")
        sent.append((f"{method} {end}", body))
        return by_end[end]

    async def pasted(*_: object) -> Secret:
        return Secret("state=s")

    for room in ("accounts.cli", "cli.api", "cli.incident", "cli.way_back"):
        monkeypatch.setattr(f"byokeep.{room}.call", call)
    monkeypatch.setattr("byokeep.accounts.cli._pasted", pasted)
    return sent


@pytest.mark.parametrize(
    ("said", "purposes"), [([], None), (["--for", ""], []), (["--for", "publish,engage"], ["publish", "engage"])]
)
def test_a_reconnect_says_nothing_of_purposes_unless_it_is_told(
    said: list[str], purposes: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --for the server keeps what it was for; an empty one is reading alone."""
    sent = served(monkeypatch, connect=BEGUN, answer={}, one=ENDED)
    assert run(["account", "connect", ID, "x", "acme", "--paste", *said]) == 6
    assert dict(sent)["POST connect"] == {"purposes": purposes, "pick": None}


def test_a_port_that_is_taken_ends_nobodys_consent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is begun, so that what somebody else began goes on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        uri = f"http://127.0.0.1:{taken.getsockname()[1]}/x"
        sent = served(monkeypatch, apps={"apps": [{"login": "x", "redirect_uri": uri}]}, connect=BEGUN)
        assert run(["account", "connect", ID, "x", "acme"]) == 4
    assert "port_taken" in capsys.readouterr().err
    assert [what for what, _ in sent] == ["GET apps"]


def test_the_account_that_answered_is_named_with_the_command_to_look(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: its name and that its tokens may have ended; nobody's that we may know: neither."""
    served(monkeypatch, connect=BEGUN, answer={}, one=ENDED | {"held_as": "acme2"})
    assert run(["account", "connect", ID, "x", "acme", "--paste"]) == 6
    assert "may have ended its older tokens" in (said := capsys.readouterr().err)
    assert f"byokeep account show {ID} x acme2" in said
    served(monkeypatch, connect=BEGUN, answer={}, one=ENDED)
    assert run(["account", "connect", ID, "x", "acme", "--paste"]) == 6
    assert "older tokens" not in capsys.readouterr().err


def test_a_look_alike_is_not_called_another_account(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which character differs, and what to do; after a look as well."""
    served(monkeypatch, connect=BEGUN, answer={}, one=ENDED | {"code_points": "<U+0456>"})
    assert run(["account", "connect", ID, "x", "acme", "--paste"]) == 6
    said = capsys.readouterr().err
    assert "expected id" in said
    assert "<U+0456>" in said
    assert "Another account answered" not in said
    found = {"state": "mismatch", "reason": "identity_mismatch", "username": "acme", "display_name": "Acme Bakery",
             "said_username": "acme", "said_display_name": "Acme Bak<U+0435>ry"}  # fmt: skip
    assert cli._judged(found) == (6, next_steps.of_look("look_alike"))
    assert cli._judged(found | {"said_display_name": "Acme Bakery"}) == (6, next_steps.of_look("mismatch"))


@pytest.mark.parametrize(
    ("reason", "words"),
    [("reuse_suspected", "treat it as theft"), ("locked", "The owner does that"), ("superseded", "Nothing was stolen"),
     ("chain_broken", "answer to a renewal was lost"), ("reauth", "no longer honours this consent")],
)  # fmt: skip
def test_each_loss_says_what_has_to_be_done_first(reason: str, words: str) -> None:
    """The reason on record decides; each has an alert with a line of its own."""
    code, said = cli._judged({"state": "needs_reauth", "reason": reason})
    assert code == 6
    assert words in said
    assert next_steps.of_alert(f"account_{reason}")


def test_a_closed_platform_says_which_account_counts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the list, in the status and when it is closed: the login that is missing, as a command; then the canary."""
    other = ACME | {"account": "acme2", "state": "connected", "next": "lane"}
    served(monkeypatch, platforms={"platforms": [LOST], "requests": []}, accounts={"accounts": [ACME, other]},
           close=LOST, alerts={"alerts": []})  # fmt: skip
    for words in (["account", "list", ID], ["incident", "platform", "status", ID],
                  ["incident", "platform", "close", ID, "x", "--reason", "compromised"]):  # fmt: skip
        assert run(words) == 0
        said = capsys.readouterr().err
        assert "x is closed for this client (compromised)" in said
        assert f"byokeep account connect {ID} x acme\n" in said
        assert "acme2" not in said
    assert f"byokeep incident platform canary {ID} x\n" in said
    assert "CODE" not in said
    served(monkeypatch, platforms={"platforms": [LOST | {"stage": "permitted"}]}, accounts={"accounts": [other]})
    assert run(["account", "list", ID]) == 0
    assert f"until its canary. Next: byokeep incident platform canary {ID} x" in capsys.readouterr().err
    served(monkeypatch, platforms={"platforms": [LOST]}, accounts={"accounts": [other]})
    assert run(["account", "list", ID]) == 0
    assert f"byokeep account connect {ID} x acme2" in capsys.readouterr().err
    served(monkeypatch, platforms={"platforms": [LOST | {"stage": "open"}]}, accounts={"accounts": [other]})
    assert run(["account", "list", ID]) == 0
    assert "closed" not in capsys.readouterr().err


def test_a_connected_account_is_shown_with_whose_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Id, name and purposes; fewer permissions than before keep a lost platform closed, and that is said."""
    at = ACME | {"external_id": "2244", "username": "acme.bakery", "display_name": "Acme", "purposes": ["publish"],
                 "policy": "off"}  # fmt: skip
    done = ENDED | {"state": "connected", "reason": ""}
    served(monkeypatch, connect=BEGUN, answer={}, one=done, acme=at,
           platforms={"platforms": [LOST | {"cause": "missing_scope"}]})  # fmt: skip
    assert run(["account", "connect", ID, "x", "acme", "--paste"]) == 0
    shown = capsys.readouterr()
    for word in ("2244", "acme.bakery", "publish"):
        assert word in shown.out
    assert "stays closed" in shown.err


def test_who_stops_waiting_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """130, and where to look."""
    served(monkeypatch, connect=BEGUN)

    async def stopped(*_: object) -> Secret:
        raise KeyboardInterrupt

    monkeypatch.setattr("byokeep.accounts.cli._pasted", stopped)
    assert run(["account", "connect", ID, "x", "acme", "--paste"]) == 130
    assert capsys.readouterr().err.splitlines()[-1].startswith("Stopped waiting.")


def test_a_secret_in_an_argument_and_a_missing_word_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    """That it stands in a history now, and never the word itself; which words a reason may be."""
    assert run(["account", "app", "set", "x", "plain-secret", "--app-id", "a", "--redirect-uri", "b"]) == 2
    said = capsys.readouterr().err
    assert "history" in said
    assert "plain-secret" not in said
    assert run(["incident", "platform", "close", ID, "x"]) == 2
    assert "compromised, identity_mismatch, lockout" in capsys.readouterr().err
