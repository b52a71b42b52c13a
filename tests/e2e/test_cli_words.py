"""Every command by itself: its help, its words, what it refuses and never prints back. No server is asked."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, get_args
from uuid import uuid4

import pytest
from cyclopts import App
from rich.console import Console

from byokeep.cli import api, choices, terminal
from byokeep.cli.main import app, run
from byokeep.cli.redirect import Listener
from byokeep.client.http import error_from
from byokeep.core import model, next_steps
from byokeep.core.errors import Rejected
from byokeep.core.secret import Secret
from byokeep.settings import Settings
from byokeep_redact.canary import PROVIDERS, new_canary
from tests.support.ports import free_port


def commands(tree: App, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command that does something, by its words."""
    for name in tree:
        if name.startswith("-"):
            continue
        below = tree[name]
        found = list(commands(below, (*path, name)))
        yield from found or [(*path, name)]


ALL = sorted(commands(app))


@pytest.fixture(scope="module")
def nowhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("words") / "none"


@pytest.fixture(autouse=True)
def _no_home(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BYOKEEP_HOME", str(nowhere))
    monkeypatch.setenv("COLUMNS", "80")


def test_the_tree_is_walked() -> None:
    """The walk below really meets the commands, nested ones too."""
    assert len(ALL) > 40
    assert ("key", "add") in ALL
    assert ("up",) in ALL


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_every_command_explains_itself(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` says what the command does and shows an example that begins with the command itself."""
    assert run([*words, "--help"]) == 0
    shown = capsys.readouterr()
    assert f"Usage: byokeep {' '.join(words)}" in shown.out
    assert f"Example: byokeep {' '.join(words)}" in " ".join(shown.out.split())
    assert shown.err == ""
    assert max(map(len, shown.out.splitlines())) <= 80


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_no_command_takes_a_key_as_an_argument(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """A key among the arguments ends with exit code 2 and advice; it is not printed back, in no part.

    Kinds of keys take turns: each form with each of them at some thirty commands.
    """
    forms = (["{}"], ["--value={}"], ["--nope={}"], ["--client={}"], ["x={}", "--json"])
    for turn, form in enumerate(forms, ALL.index(words)):
        key = new_canary(PROVIDERS[turn % len(PROVIDERS)]).decode()
        assert run([*words, *(word.format(key) for word in form)]) == 2
        shown = capsys.readouterr()
        assert key[-12:] not in shown.out + shown.err
        assert key[10:22] not in shown.out + shown.err
        assert "secret_in_argument" in shown.err
        assert "stay in histories" in shown.err


@pytest.mark.parametrize(
    "words", [("audit", "list"), ("incident", "open"), ("incident", "report"), ("job", "schedule")], ids=" ".join
)
def test_a_key_is_named_where_its_name_is_asked_for(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """``--key`` takes a name there, and a key itself no more than anywhere."""
    for before in ([], ["--home", "/nowhere"], ["--json"]):
        assert run([*before, *words, "--key", "ACME/openai", "--nope"]) == 2
        assert "secret_in_argument" not in capsys.readouterr().err
    assert run([*words, "--key", new_canary("openai").decode()]) == 2
    assert "secret_in_argument" in capsys.readouterr().err
    assert run(["key", "add", "--key", "hunter2hunter2"]) == 2
    assert "secret_in_argument" in capsys.readouterr().err


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_flags_that_ask_for_a_value_refuse_whatever_stands_there(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """A word without any shape of a key is refused too where only a value could stand, in two forms by turns."""
    flags = ("--value", "--token", "--password", "--secret-value", "--api-key")
    forms = (("{}", "hunter2hunter2"), ("{}=hunter2hunter2",))
    for turn, flag in enumerate(flags, ALL.index(words)):
        form = forms[turn % 2]
        assert run([*words, *(word.format(flag) for word in form)]) == 2
        shown = capsys.readouterr()
        assert "hunter2" not in shown.out + shown.err
        assert "secret_in_argument" in shown.err


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_words_that_do_not_parse_are_not_printed_back(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """An argument too many may be a pasted secret of an unknown shape."""
    extra = ["zzpasted"] * 6 + ["--unheard-of=zzpasted"]
    code = run([*words, *extra, "--json"])
    shown = capsys.readouterr()
    assert code == 2
    assert "zzpasted" not in shown.out + shown.err
    assert json.loads(shown.out)["error"]["code"] == "usage"
    assert f"See `byokeep {' '.join(words)} --help`." in shown.err


ID = "7f0c9b1e-8d5b-4a53-9e0c-2f1f6a3c4d5e"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["frob"], "Commands: account, alert, "),
        (["nosuch", "--help"], "Commands: account, alert, "),
        (["--home", "x", "nosuch", "-h"], "problem=unknown_command"),
        (["leaks", "scan", "/nonexist"], "Nothing was searched: there is no /nonexist."),
        (["alerts"], "Did you mean alert? Commands: account, "),
        (["kye"], "Did you mean key? Commands: account, "),
        (["redact", "nofile"], "Check that nofile exists and is yours."),
        (["client", "invite", "00000000-0000-4000-8000-000000000000", "--name", ""], "bad_name"),
        (["key", "frob"], "Commands: add, admin, history, interval, inventory, list, purge, show, state, trust, used"),
        (["key", "add"], "argument=CLIENT problem=missing_argument"),
        (["key", "add", "acme!", "openai"], "argument=CLIENT problem=bad_value"),
        (["key", "add", ID, "openia"], "PROVIDER cannot be read: use one of anthropic, google, "),
        (["key", "add", ID, "openai", "--fd", "x"], "--fd cannot be read: give a whole number. "),
        (["operator", "create", "x", "--role", "god"], "--role cannot be read: use one of admin, operator, "),
        (["job", "run", "--secret", "openai"], "argument=--client problem=missing_argument"),
        (["key", "list", ID, "more"], "This command takes fewer arguments."),
        (["client", "list", "--loud"], "This command has no such option."),
        (["kill", "on", "--everything", "--", "more"], "Only `byokeep job run` takes something after --."),
        (["audit", "list", "--limit"], "--limit or its value is missing."),
        (["kill", "on", "--everything=perhaps"], "--everything cannot be read: it takes no value."),
        (["kill", "on"], "bad_scope"),
        (["kill", "on", "--everything", "--client", ID], "bad_scope"),
        (["audit", "verify", "nothing-here.jsonl"], "keys_missing"),
        (["evidence", "verify", "/none", "--keys", "/none"], "unreadable_file"),
        (["audit", "verify", "/dev/null", "--keys", "/none"], "/none cannot be read"),
        (["init"], "admin_token_missing"),
        (["account", "connect", ID, "x", "acme", "--for", "publish,,engage"], "bad_purpose"),
        (["job", "run", "--client", ID, "--secret", "openai", "python", "x.py"], "Put the command to run after --"),
        (["job", "run", "--client", ID, "--secret", "openai", "--", "cat", "{google}"], "add --secret google"),
        (["job", "run", "--client", ID, "--secret", "openai", "--", "no-such-command"], "command_not_found"),
        (["job", "run", "--client", ID, "--secret", "openai", "--", "/tmp"], "The command is a directory"),
        (["job", "run", "--client", ID, "--secret", "x.y"], "use one of anthropic, "),
    ],
)
def test_a_mistake_is_told_by_names_of_ours(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The parameter, the words it may be, and where to read on; exit code 2."""
    assert run(words) == 2
    assert told in capsys.readouterr().err


def test_without_a_stack_commands_say_where_to_get_one(capsys: pytest.CaptureFixture[str], tmp_path: Any) -> None:
    """Exit code 4 and the two ways on."""
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text("bko_x\n")
    nowhere = tmp_path / "not here"
    for words, code in (
        (["client", "list", "--token-file", str(token)], "no_stack"), (["client", "list"], "no_stack"),
        (["doctor"], "home_missing"), (["backup", "list"], "home_missing"),
        (["job", "run", "--client", IDS[0], "--secret", "openai"], "no_broker"),
    ):  # fmt: skip
        argv = [*words, "--home", str(nowhere), *(["--", "true"] if words[0] == "job" else [])]
        assert run(argv) == 4
        said = capsys.readouterr().err
        assert code in said
        assert f"`byokeep up --home '{nowhere}'`" in said
        assert "BYOKEEP_HOME" in said
        assert len(said.splitlines()) == 2


def test_what_is_no_token_file_is_named_as_what_it_is(capsys: pytest.CaptureFixture[str], tmp_path: Any) -> None:
    """A directory is not told to be closed to others; an absent file is no riddle; nobody waits for a pipe."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name, code, told in (
        (".", "bad_token_file", f"{tmp_path} is a directory: name the file"),
        ("pipe", "bad_token_file", f"{tmp_path / 'pipe'} is no plain file: name the file"),
        ("none", "token_file_missing", f"There is no token at {tmp_path / 'none'}."),
    ):
        assert run(["client", "list", "--url", "http://127.0.0.1:9", "--token-file", str(tmp_path / name)]) == 2
        said = capsys.readouterr().err
        assert code in said
        assert told in said


def test_help_works_whatever_the_settings_say(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken environment breaks commands, with a reason; not their help."""
    monkeypatch.setenv("BYOKEEP_STORE_ADRESS", "x")
    assert run(["--help"]) == 0
    assert run(["client", "list"]) == 2
    assert "unknown_setting" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (choices.ApiProvider, {one.value for one in model.API_PROVIDERS}),
        (choices.Platform, {one.value for one in model.PLATFORMS}),
        (choices.Lane, {one.value for one in model.Lane}),
        (choices.Effect, {one.value for one in model.EffectKind}),
        (choices.Risk, {one.value for one in model.Risk}),
    ],
)
def test_the_words_are_those_of_the_model(words: Any, values: set[str]) -> None:
    """A provider, platform, lane or effect that is added can be named on the command line too."""
    assert set(get_args(words)) == values


IDS = [ID, "13368a8d-8e06-4d00-8d2c-3cbfae2f170f"]
ROWS = [
    {"id": one, "client_id": IDS[0], "object_id": IDS[1], "name": "A name with words", "at": "2026-01-31T12:00:00.5Z"}
    for one in IDS
]


@pytest.mark.parametrize("width", [80, 120])
def test_ids_are_never_broken(width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """On a terminal that is too narrow for a table every id still stands on one line, and no line is too long."""
    monkeypatch.setattr(terminal, "out", Console(width=width, force_terminal=True, color_system=None, highlight=False))
    terminal.current.set(terminal.TerminalSession(settings=Settings(), as_json=False))
    terminal.show(ROWS, title="Things")
    shown = capsys.readouterr().out
    for row in ROWS:
        for name in ("id", "client_id", "object_id"):
            assert row[name] in shown
    assert "2026-01-31 12:00:00Z" in shown
    assert max(map(len, shown.splitlines())) <= width


def test_sizes_and_times_are_readable(capsys: pytest.CaptureFixture[str]) -> None:
    """Bytes as KiB, MiB and GiB, microseconds as a time of day in UTC; other numbers as they are."""
    terminal.current.set(terminal.TerminalSession(settings=Settings(), as_json=False))
    data = {"stored_at_us": 1_769_860_800_000_000, "disk_free_bytes": 3 * 2**29, "bytes": 700, "took_us": 5, "seq": 9}
    terminal.show(data)
    terminal.show([data])
    shown = capsys.readouterr().out
    for words in ("2026-01-31 12:00:00Z", "1.5 GiB", "700 bytes", "stored at", "disk free"):
        assert shown.count(words) == 2
    assert "_" not in shown
    terminal.current.set(terminal.TerminalSession(settings=Settings(), as_json=True))
    terminal.show(data)
    assert json.loads(capsys.readouterr().out) == data


def test_hints_fit_the_terminal_and_can_be_copied(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At 80 columns a hint breaks before its command and before options, as a shell reads it; no word is cut."""
    monkeypatch.setattr(
        terminal, "err", Console(width=80, stderr=True, force_terminal=True, color_system=None, highlight=False)
    )
    given = {"home": "/srv/a home", "token-file": "/root/byokeep-tokens/of-maria.token", "url": "https://keep.example"}
    terminal.current.set(terminal.TerminalSession(settings=Settings(), as_json=False, given=given))
    terminal.say("Next, by an operator of this client: " + terminal.again(f"key add {IDS[0]} PROVIDER"))
    first, *lines = capsys.readouterr().err.splitlines()
    assert first == "Next, by an operator of this client:"
    assert max(map(len, lines)) <= 80
    assert shlex.split("\n".join(lines).replace("\\\n", "")) == [
        "byokeep", "key", "add", IDS[0], "PROVIDER", "--home", "/srv/a home", "--url", "https://keep.example",
        "--token-file", "/root/byokeep-tokens/of-maria.token",
    ]  # fmt: skip
    assert "--token-file" not in terminal.again("kill approve X", own_token=False)


def test_every_command_that_is_said_reaches_the_same_home(capsys: pytest.CaptureFixture[str]) -> None:
    """Those that a server or an error names are given the flags of this call as well, each of them once."""
    terminal.current.set(terminal.TerminalSession(settings=Settings(), as_json=False, given={"home": "/srv/b"}))
    terminal.say(f"Next: `byokeep rotate resume {ID} --accept soak_unknown`. See `byokeep kill on --help`.")
    step = f"`byokeep alert list`, or `{terminal.again('alert close X')}`."
    terminal.fail(Rejected("no_way", next_step=step), as_json=False)
    said = capsys.readouterr().err
    assert f"`byokeep rotate resume {ID} --accept soak_unknown --home /srv/b`. See `byokeep kill on --help`." in said
    assert "`byokeep alert list --home /srv/b`, or `byokeep alert close X --home /srv/b`." in said


def test_the_next_command_is_called_as_this_one_was(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A program that its name would not find is named by its path, in hints and in errors; else by its name."""
    own = tmp_path / "bin" / "byokeep"
    own.parent.mkdir()
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(own)])
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert terminal.again("up", own_token=False).startswith(f"{own} up")
    assert run(["key", "frob"]) == 2
    assert f"See `{own} key --help`." in capsys.readouterr().err
    monkeypatch.setenv("PATH", str(own.parent))
    assert terminal.called() == "byokeep"
    monkeypatch.setattr(sys, "argv", ["/usr/lib/byokeep/cli/__main__.py"])
    assert terminal.called() == "byokeep"


def test_a_taken_port_is_told_in_our_words(capsys: pytest.CaptureFixture[str]) -> None:
    """The simulator's port is in use: a code, the port, and what to do; exit code 2."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run(["sim", "--port", str(port)]) == 2
    assert f"port_not_free port={port}" in capsys.readouterr().err


def test_what_stands_in_rows_is_said_in_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A canary's counts, and that nobody renews anything now, are sentences; `--json` has the rows as they came."""
    lost: dict[str, Any] = {"platform": "x", "cause": "revoked", "way": 2, "number": 0, "of": 3, "acts": 1, "taken": 0,
                            "done": 0, "changed_at": "2026-01-31T12:00:00Z"}  # fmt: skip
    rows = [{**lost, "stage": "canary"}, {**lost, "stage": "canary", "number": 1, "acts": 5, "taken": 3, "done": 2},
            {**lost, "stage": "closed"}]  # fmt: skip
    answers = {f"/v1/clients/{ID}/platforms": {"platforms": rows, "requests": []}, "/v1/refreshers": {"refreshers": []}}

    async def call(_: str, path: str) -> Any:
        return answers[path]

    monkeypatch.setattr("byokeep.cli.incident.call", call)
    monkeypatch.setattr("byokeep.accounts.cli.call", call)
    assert run(["incident", "platform", "status", ID]) == 0
    shown = capsys.readouterr().out
    for words in ("stage 1 of 3: 0 of 1 acts done", "stage 2 of 3: 2 of 5 acts done, 1 under way", "not begun"):
        assert words in shown
    assert run(["incident", "platform", "status", ID, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["platforms"] == rows
    assert run(["account", "refreshers"]) == 0
    assert "No renewal is under way" in capsys.readouterr().err


def test_what_leads_to_nothing_is_named_as_what_it_is() -> None:
    """The id in the address of a consent is a client's, whatever else stands there; the article fits the word."""
    asked = api._asked_for(f"/v1/clients/{ID}/logins/x/accounts/acme/connect", None)
    assert asked == "client"
    assert api.no_such("account").startswith("No account has this name there")
    assert api.no_such("key").endswith("the id of a key.")
    assert api.no_such("client").endswith("the id of a client.")
    assert api.no_such("").startswith("Nothing has this id")


async def test_who_waited_in_vain_is_told_for_what() -> None:
    """Nobody came: the run stands in the error, for `evidence show`."""
    uri = f"http://127.0.0.1:{free_port()}/x"
    async with Listener(uri, state=Secret("s" * 43), binding=Secret("b" * 43)) as listener:
        with pytest.raises(Rejected, match=f"not_answered sop={ID}"):
            await listener.answer(limit_s=0.05, sop=ID)


def test_every_next_step_of_a_run_without_evidence_reaches_the_caller() -> None:
    """None is longer, or of other characters, than what a client takes over from a server."""
    reasons = ["", *next_steps.of_outcome(), *next_steps.NEEDS_NEW_KEY, "superseded"]
    for state, reason in product(("failed", "incomplete", "running"), reasons):
        step = next_steps.instead_of_evidence(state, reason, ("leak_check_pass",), ref=uuid4())
        error = error_from(409, {"type": "urn:byokeep:problem:conflict", "code": "x_y", "next_step": step})
        assert error.next_step == step, (state, reason, len(step))


def test_foreign_text_can_not_drive_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters become question marks, markup stays text, a line stays a line."""
    terminal.current.set(terminal.TerminalSession(settings=Settings(), as_json=False))
    terminal.show([{"id": IDS[0], "name": "a\x1b[2Jb\r\nc\u2028d [red]e[/red]"}])
    shown = capsys.readouterr().out
    assert "a?[2Jb??c?d [red]e[/red]" in shown
    assert "\x1b" not in shown
    assert len(shown.splitlines()) == 2


def drifts(*calls: list[str]) -> list[int]:
    """What ``python -m tools.help_drift WORDS`` ends with, call after call; the help is asked for once."""
    program = (
        "import json, sys; from functools import cache; from tools import help_drift as d; d.page = cache(d.page)\n"
        "for sys.argv[1:] in json.loads(sys.argv[1]): print('ended', d.main())"
    )
    asked = [sys.executable, "-c", program, json.dumps(calls)]
    done = subprocess.run(asked, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    return [int(line.removeprefix("ended ")) for line in done.stdout.splitlines() if line.startswith("ended ")]


def test_a_server_loads_no_command_but_its_own() -> None:
    """What starts often starts light: no other command is imported, and none of the HTTP client they share."""
    program = (
        "import sys; from byokeep.cli.main import run; run(['worker', '--config', '/nowhere']);"
        "print(*sorted(set(sys.modules) & {'byokeep.accounts.cli', 'byokeep.profiles.cli', 'aiohttp'}), sep=',')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert "config_unreadable" in done.stderr
    assert done.stdout.strip() == ""


def test_the_page_of_commands_is_what_help_says(tmp_path: Path) -> None:
    """docs/cli.md holds every command; a page that is missing or says something else fails the check."""
    page, altered = tmp_path / "cli.md", tmp_path / "altered.md"
    kept = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    altered.write_text(kept.replace("--fd INT", "--fd STR", 1))
    assert altered.read_text() != kept
    assert drifts([], [str(page)], ["--write", str(page)], [str(page)], [str(altered)]) == [0, 1, 0, 0, 1]
    assert all(f"## byokeep {' '.join(words)}\n" in page.read_text() for words in ALL)
