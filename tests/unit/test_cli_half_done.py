"""What a command says when it ends in the middle, was not answered, or could not say all: nothing is told as done, as
clean or as the only one that is not known to be."""

from __future__ import annotations

import fcntl
import io
import json
import os
import re
import socket
import subprocess
import sys
from contextlib import nullcontext
from contextvars import Context
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest
from rich.console import Console

from byokeep.breakglass import grants
from byokeep.cli import api, intake, names, terminal
from byokeep.cli.main import run
from byokeep.cli.terminal import TerminalSession, current
from byokeep.console import incidents as pages
from byokeep.core.errors import ByokeepError, Denied, Pending, Rejected, Unavailable
from byokeep.core.secret import Secret
from byokeep.jobs import jobs, scheduled
from byokeep.kernel import procedures
from byokeep.operations import notify
from byokeep.settings import Settings
from byokeep.tenancy import clients
from byokeep_redact.hooks import streams

ID = "7f0c9b1e-8d5b-4a53-9e0c-2f1f6a3c4d5e"


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BYOKEEP_HOME", str(tmp_path))
    current.set(TerminalSession(settings=Settings(home=tmp_path), as_json=False))


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(" ".join(capsys.readouterr()).split())


async def test_both_lanes_are_stopped_though_the_store_has_not_confirmed_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the console, too; that it has not is told all the same."""
    asked: list[str] = []

    async def ask(_who: object, _method: str, _path: str, body: dict[str, str]) -> None:
        asked.append(body["lane"])
        raise Pending("store_cut_off_pending")

    async def look(*_: object) -> object:
        one = SimpleNamespace(client_id=ID, playbook="provider_key_leaked", kind="suspected_leak")
        return SimpleNamespace(incident=one, run=SimpleNamespace(missing=("kill",)))

    monkeypatch.setattr("byokeep.incidents.incidents.look", look)
    given = {"step": "kill", "accept_gaps": "", "ticket": ""}
    with pytest.raises(Pending):
        await pages._step(cast(Any, SimpleNamespace(app=None, ask=ask)), cast(Any, SimpleNamespace(actor=None)),
                          UUID(ID), given)  # fmt: skip
    assert sorted(asked) == ["api", "browser"]


def test_the_command_stops_both_lanes_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """And ends as pending."""
    asked: list[str] = []

    async def call(*_: str, **__: Any) -> Any:
        return {"missing": ["kill"], "client_id": ID}

    async def kill(*_: str, body: dict[str, str]) -> Any:
        asked.append(body["lane"])
        raise Pending("store_cut_off_pending")

    monkeypatch.setattr("byokeep.cli.incident.call", call)
    monkeypatch.setattr("byokeep.cli.incident.call_kill", kill)
    assert run(["incident", "step", ID, "kill"]) == 7
    assert sorted(asked) == ["api", "browser"]
    assert "store_cut_off_pending" in said(capsys)


def test_a_stack_that_was_killed_is_none(tmp_path: Path) -> None:
    """Its ports may be another program's: no token goes there. Who may not look at the lock takes it at its word."""
    (tmp_path / "stack.json").write_text(json.dumps({"web_url": "http://127.0.0.1:8420"}))
    assert api.web_url() == "http://127.0.0.1:8420"
    with (tmp_path / "byokeep.pid").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert api.web_url() == "http://127.0.0.1:8420"
    with pytest.raises(Unavailable) as refused:
        api.web_url()
    assert refused.value.code == "no_stack"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_was_sent_and_not_answered_may_have_been_done(method: str) -> None:
    """It is told from a server that could not be reached, for what changes something."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        current.set(TerminalSession(settings=Settings(web_url=url), as_json=False))
        with pytest.raises(Unavailable) as refused:
            api.run(api.fetch(method, "/v1/x", anonymous=True, within_s=0.2))
    assert refused.value.code == "server_did_not_answer"
    assert ("may have been done" in refused.value.next_step) is (method == "POST")
    with pytest.raises(Unavailable) as refused:
        api.run(api.fetch(method, "/v1/x", anonymous=True))
    assert refused.value.code == "server_unreachable"


def only_web_answers(code: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let a command's own process end each call with this code; gives which one was asked, as it goes on."""
    asked: list[str] = []

    async def fetch(_: str, __: str, *, at: str = "", **___: Any) -> bytes:
        asked.append("own" if at else "web")
        if at:
            raise Unavailable(code)
        return b'{"by": "web"}'

    monkeypatch.setattr("byokeep.cli.api.fetch", fetch)
    own = "http://127.0.0.1:1"
    settings = Settings(killswitch_url=own, broker_url=own, web_url="http://127.0.0.1:2")
    current.set(TerminalSession(settings=settings, as_json=True))
    return asked


@pytest.mark.parametrize("code", ["server_did_not_answer", "server_certificate_refused", "server_garbage"])
def test_a_kill_goes_by_web_whatever_is_wrong_on_the_way(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate that ended keeps nobody from stopping a client; what the kill process refuses stays refused."""
    only_web_answers(code, monkeypatch)
    assert api.run(api.call_kill("POST", "/v1/switches/close")) == {"by": "web"}
    only_web_answers("database_unavailable", monkeypatch)
    with pytest.raises(Unavailable, match="database_unavailable"):
        api.run(api.call_kill("POST", "/v1/switches/close"))


@pytest.mark.parametrize(("status", "body"), [(502, b""), (401, b""), (503, b'{"message": "no"}')])
def test_what_a_proxy_answers_is_no_refusal_of_a_server(status: int, body: bytes) -> None:
    """So a kill goes on to the next process."""
    assert api._refusal(status, body, "/v1/switches/close", None).code in api._ON_THE_WAY


@pytest.mark.parametrize(("method", "code", "by"), [
    ("POST", "server_did_not_answer", ["own"]), ("POST", "server_unreachable", ["own", "web"]),
    ("GET", "server_did_not_answer", ["own", "web"]), ("POST", "server_garbage", ["own"]),
])  # fmt: skip
def test_what_a_broker_may_have_done_is_not_asked_for_again(
    method: str, code: str, by: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second request of a break glass would be a conflict with the first: that it may have been done is told."""
    asked = only_web_answers(code, monkeypatch)
    with nullcontext() if "web" in by else pytest.raises(Unavailable, match=code):
        api.run(api.call_broker(method, "/v1/breakglass"))
    assert asked == by


def test_a_document_is_json_where_colours_are_forced_and_whatever_a_name_holds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in CI; no character of it turns a terminal's head, and a name that is no UTF-8 is no failure."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(terminal, "out", Console(highlight=False))
    current.set(TerminalSession(settings=Settings(), as_json=True))
    data = {"name": "a\x9b31m\u202e\x7f", "file": "\udcff", "count": 1}
    terminal.show(data)
    shown = capsys.readouterr().out
    assert json.loads(shown) == data
    assert shown.isascii()
    assert "\x1b" not in shown


def test_an_interrupt_says_that_it_may_be_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """130, and one document for a program."""

    async def call(*_: str, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("byokeep.cli.client.call", call)
    assert run(["client", "suspend", ID]) == 130
    told = said(capsys)
    assert "may have been done" in told
    assert "stopped" not in told
    assert run(["client", "suspend", ID, "--json"]) == 130
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "interrupted"


def test_a_client_that_was_made_and_not_enrolled_is_told_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the command that goes on."""

    async def call(_: str, path: str, **__: Any) -> Any:
        if path.endswith("/enroll"):
            raise Unavailable("store_unreachable")
        return {"id": ID}

    monkeypatch.setattr("byokeep.cli.client.call", call)
    assert run(["client", "create", "Acme"]) == 4
    assert f"byokeep client enroll {ID}" in said(capsys)


@pytest.mark.parametrize("both", [False, True], ids=["stdout", "both"])
def test_output_that_the_disk_does_not_take_is_not_a_finding(tmp_path: Path, both: bool) -> None:
    """4, in words where there is room for them; 1 would be one."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "byokeep.cli", "--version", "--home", str(tmp_path)], check=False, stdout=full,
            stderr=full if both else subprocess.PIPE, timeout=60,
        )  # fmt: skip
    assert (done.returncode, both or b"output_not_written" in done.stderr) == (4, True)
    assert b"Traceback" not in (done.stderr or b"")


class Typed(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("typed", "code"), [("", 2), ("yes\n", 2), ("destroyed\n", 0)])
def test_the_last_question_is_asked_beside_the_document(
    typed: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of what is final, `destroyed` too; the end of input is no."""
    asked: list[str] = []

    async def call(_: str, path: str, **__: Any) -> Any:
        asked.append(path)
        return {"id": ID, "client_id": ID, "provider": "openai", "state": "destroyed"}

    monkeypatch.setattr("byokeep.cli.key.call", call)
    monkeypatch.setattr("byokeep.cli.key.names", lambda _: {ID: "Acme/openai"})
    monkeypatch.setattr(sys, "stdin", Typed(typed))
    assert run(["key", "state", ID, "destroyed", "--reason", "over", "--json"]) == code
    shown = capsys.readouterr()
    assert "Acme/openai" in shown.err
    assert ("error" in json.loads(shown.out)) is (code == 2)
    assert bool(asked) is (code == 0)


@pytest.mark.parametrize(("held", "code"), [("nothing of note", 3), (f"sk-ant-api03-{'aB3x9' * 19}", 1)])
def test_a_scan_that_could_not_be_recorded_is_one_document_and_its_findings_count(
    held: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """That is said beside the report; a clean one ends as what refused it."""

    async def call(*_: str, **__: Any) -> Any:
        raise Denied("not_permitted", next_step="Auditors only.")

    monkeypatch.setattr("byokeep.cli.leaks.call", call)
    (tmp_path / "some.log").write_text(f"said {held}\n")
    assert run(["leaks", "scan", str(tmp_path / "some.log"), "--record", "--json"]) == code
    shown = capsys.readouterr()
    assert json.loads(shown.out)["found"] == (code == 1)
    assert "not_permitted" in shown.err


def test_a_file_that_is_written_to_while_it_is_redacted_stays(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Nothing of what was added is lost; a link that was turned meanwhile has nothing put in its place."""
    log, other, link = tmp_path / "some.log", tmp_path / "other", tmp_path / "link"
    pump = streams.pump
    meanwhile: list[Any] = [lambda: log.write_text("early\nlate\n"), lambda: other.replace(log)]

    def slow(*given: Any) -> int:
        size = pump(*given)
        meanwhile.pop(0)()
        return size

    monkeypatch.setattr(streams, "pump", slow)
    log.write_text("early\n")
    assert run(["redact", "--in-place", str(log)]) == 6
    assert log.read_text() == "early\nlate\n"
    assert f"stays as it is: stop who writes to {log}" in said(capsys)
    other.write_text("other\n")
    link.symlink_to(log)
    assert run(["redact", "--in-place", str(link)]) == 6
    assert log.read_text() == "other\n"
    assert {file.name for file in tmp_path.iterdir()} == {"some.log", "link"}


def test_of_many_ids_each_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """So a name that two of them have is not taken for the one that was asked for first."""
    ids = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(700)]

    async def call(*_: str, body: dict[str, list[str]], **__: Any) -> Any:
        assert len(body["ids"]) <= 300
        return {"names": {one: "twin" for one in body["ids"] if one in (ids[0], ids[650])}}

    monkeypatch.setattr("byokeep.cli.api.call", call)
    monkeypatch.setattr("byokeep.cli.api.own_token", lambda: Secret(b"bko_x"))
    with pytest.raises(Rejected, match="name_of_several"):
        names.among("twin", ids, "x")


def test_a_list_that_may_go_on_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """Where lists of the server end, which is known here by their lengths alone; one row fewer is all of it."""
    ends = {jobs.MAX_JOBS, clients.MAX_ROWS, notify._SHOWN, grants._MOST, scheduled.MAX_LISTED, procedures.MOST_RUNS}
    assert ends == terminal.LIMITS
    for count in (99, 100):
        terminal.show([{"id": number} for number in range(count)])
        assert ("There may be more" in capsys.readouterr().err) is (count == 100)


def test_an_incident_is_no_reminder() -> None:
    """The title counts it with the alerts."""
    at = SimpleNamespace(line="incident", code="suspected_leak", source="incident", stage="updated", urgent=True)
    due = SimpleNamespace(line="key", code="key", source="due", stage="in_3_days", urgent=False)
    app = cast(Any, SimpleNamespace(environment=SimpleNamespace(value="production")))
    title, _, weight = notify._message(app, cast(Any, [at, due]))
    assert (title, weight) == ("byokeep production: 1 alerts, 1 reminders", "failure")
    assert notify._message(app, cast(Any, [due]))[2] == "info"


def test_a_token_file_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    """A link and more than a token are told from no file."""
    real, link = tmp_path / "real", tmp_path / "link"
    real.touch(mode=0o600)
    link.symlink_to(real)
    for text, file, code in (("bko_x\n", link, "bad_token_file"), ("bko_x\nbko_y\n", real, "bad_token_file"),
                             ("bko_\u00e9", real, "bad_token_file"), ("", real, "token_file_empty"),
                             ("", tmp_path / "none", "token_file_missing")):  # fmt: skip
        real.write_text(text)
        with pytest.raises(ByokeepError) as refused:
            intake.read_token_file(file)
        assert refused.value.code == code
    real.write_text("bko_x\n")
    assert intake.read_token_file(real).reveal() == b"bko_x"


@pytest.mark.parametrize("words", [
    ["rotate", "due", "--csv", "a.csv", "--signed", "b.json"], ["rotate", "due", "--until", "9999-12-31"],
    ["env", "check", "FILE", "--project", "", "--team", ""], ["env", "check", "FILE", "--project", "", "--team", "a"],
], ids=" ".join)  # fmt: skip
def test_what_would_be_left_out_is_refused(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of two files, a day that no calendar has, a project of an empty name: 2, and nothing is asked or written."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").write_text("A=1\n")
    assert run(words) == 2
    assert re.search(r"Give --csv or|Use days|neither is empty", said(capsys))
    assert {file.name for file in tmp_path.iterdir()} == {"FILE"}


def test_an_export_that_is_too_large_is_called_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not what it is no more, once it was cut."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"[" + b" " * (1 << 20) + b"]")))
    assert run(["env", "check", "--export", "-", "--json"]) == 4
    assert json.loads(capsys.readouterr().out)["unreadable"] == [{"source": "-", "reason": "too_large"}]


@pytest.mark.parametrize("number", ["-1", str(1 << 40)])
@pytest.mark.parametrize(("words", "code"), [
    (["audit", "hash", "--fd"], 2), (["redact", "--values-fd"], 2), (["leaks", "scan", "FILE", "--fingerprints-fd"], 4),
])  # fmt: skip
def test_a_descriptor_that_can_be_none_is_refused(
    words: list[str], code: int, number: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Whatever the number is; a scan says so beside its result."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").write_text("nothing of note\n")
    assert run([*words[:-1], f"{words[-1]}={number}"]) == code
    assert "bad_descriptor" in said(capsys)


def test_half_of_a_value_is_none() -> None:
    """A descriptor that does not wait holds what was written so far."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.write(writing, b"sk-half")
    with pytest.raises(Rejected, match="bad_descriptor"):
        intake.drain(reading)
    os.write(writing, b"sk-whole")
    os.close(writing)
    assert intake.drain(reading) == b"sk-whole"
    os.close(reading)


@pytest.mark.parametrize("words", [["foo", "--help"], ["audit", "list", "--", "x"], ["audit", "list", "--home", ""]])
def test_what_is_refused_before_it_is_parsed_is_told_as_ever(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """In a process in which no command ran before; an empty home is not the current directory."""
    assert Context().run(run, [*words, "--json"] if "--" not in words else words) == 2
    assert "rejected" in capsys.readouterr().err


def test_a_refusal_speaks_of_a_client_if_one_was_named() -> None:
    """A body that leaves the client open asked for none."""
    assert [api._asked_for("/v1/incidents", {"client_id": one}) for one in (ID, None)] == ["client", ""]


@pytest.mark.parametrize(("words", "code"), [
    (["client", "logo", ID, "FILE"], "file_unreadable"),
    (["incident", "postmortem", ID, "--file", "FILE"], "file_unreadable"),
    (["incident", "report", "--client", ID, "--provider-usage", "FILE"], "bad_figures"),
])  # fmt: skip
def test_a_file_without_an_end_is_refused(
    words: list[str], code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pipe that nobody writes to, a device, and figures of as many hours as there are in a thousand years."""
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "FILE"
    os.mkfifo(place)
    assert run(words) == 2
    assert code in said(capsys)
    place.unlink()
    place.symlink_to("/dev/zero")
    assert run(words) == 2
    assert code in said(capsys)
    place.unlink()
    place.write_text("hour,model,requests\n1970-01-01T00:00:00Z,m,1\n2970-01-01T00:00:00Z,m,1\n")
    assert run(words) == (2 if code == "bad_figures" else 4)
